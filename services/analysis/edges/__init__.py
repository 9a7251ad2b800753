"""Where analysis touches the outside: DuckDB and its process."""

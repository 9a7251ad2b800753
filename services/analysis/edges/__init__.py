"""Where analysis touches the outside: DuckDB, and the processes in which it runs."""

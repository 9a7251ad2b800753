"""Where ingest touches the outside: disk, bus and clock: how chunks come in."""

"""Where registration touches the outside: volumes that are read, and files that are written."""

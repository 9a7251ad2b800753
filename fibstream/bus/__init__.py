"""Events between processes: their bytes, their topics, and the adapters of the port ``Bus``."""

"""Files of a dataset: shards with stamps inside, metadata, adapters of the port ``Files``."""

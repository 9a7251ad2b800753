"""The stages of ingest, one file each; pure."""

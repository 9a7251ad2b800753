"""One recipe a file, each with its ``RECIPE``."""

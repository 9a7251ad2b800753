"""Composition: all services together, pipelines, and reports on whole datasets."""

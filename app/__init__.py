"""Composition: all services together, pipelines, and what is told of a whole dataset."""

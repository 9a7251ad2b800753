"""Readers of the field's volume formats."""

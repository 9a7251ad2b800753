"""The client of running services."""

from .client import Client

__all__ = ["Client"]

"""Indices and shapes of what a test draws."""

from collections.abc import Iterable
from typing import SupportsInt

from fibstream.core.grid import Index


def triple(values: Iterable[SupportsInt]) -> Index:
    """Return three numbers, one an axis, as plain integers."""
    z, y, x = map(int, values)
    return z, y, x

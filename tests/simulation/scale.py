"""Volumes of the simulation are small: what needs many chunks happens with few of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from fibstream.kernels import hosted
from fibstream.kernels.watershed import split


@contextmanager
def small_scale() -> Iterator[None]:
    """Take snapshots of open objects after five chunks, and split components of two."""
    with patch.object(hosted, "EPOCH", 5), patch.object(split, "GIANT", 2):
        yield

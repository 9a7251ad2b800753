"""Decoded chunks that are kept: one memory for all sources of a process."""

from functools import cache
from typing import Any

from fibstream.volumes.formats import CACHE_BYTES


@cache
def _pool() -> Any:
    import tensorstore

    return tensorstore.Context({"cache_pool": {"total_bytes_limit": CACHE_BYTES}})


def source_context() -> Any:
    """Return the tensorstore.Context of a source that is opened.

    What it keeps counts in the pool of the process, which some thirty arrays of a cell would fill
    thirty times; and is its own, so that a file that is opened again is read again.
    """
    import tensorstore

    return tensorstore.Context({"memory_key_value_store": {}}, parent=_pool())

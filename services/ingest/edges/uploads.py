"""Chunks that are uploaded in pieces: counted, joined and checked before anything is written."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import LimitExceeded, WrongUse
from fibstream.core.grid import Index
from fibstream.core.keys import content_hash

MAX_UNDER_WAY = 2 << 30  # bytes of all uploads together: two of the largest uint16 chunk, and more


class Uploads:
    """The memory that all uploads at a time may take."""

    def __init__(self, limit: int = MAX_UNDER_WAY) -> None:
        self._limit = limit
        self._taken = 0
        self._lock = threading.Lock()

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Reserve ``size`` bytes; raise LimitExceeded when too many are taken."""
        with self._lock:
            if self._taken + size > self._limit:
                raise LimitExceeded(
                    f"uploads of {self._taken} bytes are under way, and {self._limit} are the"
                    " limit: send it again later"
                )
            self._taken += size
        try:
            yield
        finally:
            with self._lock:
                self._taken -= size


def join(pieces: Iterable[bytes], size: int) -> bytearray:
    """Return all pieces joined; raise WrongUse unless they have ``size`` bytes together."""
    data = bytearray(size)
    end = 0
    for piece in pieces:
        begin, end = end, end + len(piece)
        if end > size:
            raise WrongUse(f"pieces: more than the {size} bytes that the header promised")
        data[begin:end] = piece
    if end != size:
        raise WrongUse(f"pieces: {end} bytes, and the header promised {size}")
    return data


def voxels_of(data: bytearray, shape: Index, dtype: str, checksum: str) -> NDArray[Any]:
    """Return little-endian bytes in C order as voxels (z, y, x), without a copy.

    ``checksum`` is the content hash, or empty; raises WrongUse where the voxels have another.
    """
    voxels = np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).reshape(shape)
    if checksum and checksum != (found := content_hash(voxels)):
        raise WrongUse(f"checksum {checksum[:64]}: the voxels that came have {found}")
    return voxels

"""Pieces of voxels on their way in: joined, counted and checked before anything is written."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import TooMuch, WrongUse
from fibstream.core.grid import Index
from fibstream.core.keys import content_hash

MAX_UNDER_WAY = 2 << 30  # bytes of all uploads together: two of the largest uint16 chunk, and more


class Uploads:
    """The memory that all uploads under way may take."""

    def __init__(self, limit: int = MAX_UNDER_WAY) -> None:
        self._limit = limit
        self._taken = 0
        self._lock = threading.Lock()

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Hold ``size`` bytes; raise TooMuch when too many are under way."""
        with self._lock:
            if self._taken + size > self._limit:
                raise TooMuch(
                    f"uploads of {self._taken} bytes are under way, and {self._limit} are the"
                    " limit: send it again later"
                )
            self._taken += size
        try:
            yield
        finally:
            with self._lock:
                self._taken -= size


def joined(pieces: Iterable[bytes], size: int) -> bytearray:
    """Return all pieces in one; raise WrongUse unless they are ``size`` bytes together."""
    whole = bytearray(size)
    end = 0
    for piece in pieces:
        begin, end = end, end + len(piece)
        if end > size:
            raise WrongUse(f"pieces: more than the {size} bytes that the header promised")
        whole[begin:end] = piece
    if end != size:
        raise WrongUse(f"pieces: {end} bytes, and the header promised {size}")
    return whole


def voxels_of(data: bytearray, shape: Index, dtype: str, checksum: str) -> NDArray[Any]:
    """Return bytes as voxels in C order, little endian; raise WrongUse on another checksum."""
    voxels = np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).reshape(shape)
    if checksum and checksum != (found := content_hash(voxels)):
        raise WrongUse(f"checksum {checksum[:64]}: the voxels that came have {found}")
    return voxels

"""Chunks that are uploaded in pieces: counted, joined and checked before anything is written."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import LimitExceeded, WrongUse
from fibstream.core.grid import Index
from fibstream.core.keys import content_hash

MAX_UNDER_WAY = 2 << 30  # bytes of all uploads together: eight of the largest uint16 chunk
MAX_OF_CLIENT = 1 << 30  # of those of one client: four of them, which `land` has under way


class Uploads:
    """The memory that all uploads at a time may take."""

    def __init__(self, limit: int = MAX_UNDER_WAY, part: int = MAX_OF_CLIENT) -> None:
        self._limit = limit
        self._part = part
        self._taken: Counter[str] = Counter()  # by client
        self._lock = threading.Lock()

    @contextmanager
    def reserve(self, size: int, client: str = "") -> Iterator[None]:
        """Reserve ``size`` bytes; raise LimitExceeded when all, or this client, have too many."""
        with self._lock:
            for taken, limit, whose in (
                (self._taken.total(), self._limit, ""),
                (self._taken[client], self._part, " of this client"),
            ):
                if taken + size > limit:
                    raise LimitExceeded(
                        f"uploads{whose} of {taken} bytes are under way, and {limit} are the"
                        " limit: send it again later"
                    )
            self._taken[client] += size
        try:
            yield
        finally:
            with self._lock:
                self._taken[client] -= size
                self._taken += Counter()  # forgets clients with none


def join(pieces: Iterable[bytes], size: int) -> bytearray:
    """Return all pieces joined; raise WrongUse unless they have ``size`` bytes together.

    Memory is taken as they come: a promise alone costs none.
    """
    data = bytearray()
    for piece in pieces:
        if len(data) + len(piece) > size:
            raise WrongUse(f"pieces: more than the {size} bytes that the header promised")
        data += piece
    if len(data) != size:
        raise WrongUse(f"pieces: {len(data)} bytes, and the header promised {size}")
    return data


def voxels_of(data: bytearray, shape: Index, dtype: str, checksum: str) -> NDArray[Any]:
    """Return little-endian bytes in C order as voxels (z, y, x), without a copy.

    ``checksum`` is the content hash, or empty; raises WrongUse where the voxels have another.
    """
    voxels = np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).reshape(shape)
    if checksum and checksum != (found := content_hash(voxels)):
        raise WrongUse(f"checksum {checksum[:64]}: the voxels that came have {found}")
    return voxels

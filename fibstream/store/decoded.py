"""Inner chunks that were decoded lately: chunks side by side are read with halos that overlap."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from numpy.typing import NDArray

# Of uint8, the block of a chunk of 256 voxels with a halo of 64, or many of smaller ones.
LIMIT = 64 << 20


class Decoded:
    """The arrays used last, at most ``limit`` bytes together; with 0 it keeps none.

    A key names a content, so that what is found under it is what decoding would yield again.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._size = 0
        self._parts: OrderedDict[Hashable, NDArray[Any]] = OrderedDict()

    def find(self, key: Hashable) -> NDArray[Any] | None:
        """Return what is kept under a key; nobody may write to it."""
        if key not in self._parts:
            return None
        self._parts.move_to_end(key)
        return self._parts[key]

    def keep(self, key: Hashable, part: NDArray[Any]) -> None:
        """Keep an array that is not kept yet; those that were not used for longest go."""
        self._parts[key] = part
        self._size += part.nbytes
        while self._size > self._limit:
            _, oldest = self._parts.popitem(last=False)
            self._size -= oldest.nbytes


NOTHING = Decoded(0)

"""The connected pieces of a mask that is read block by block: objects of what has no ids."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Index

from .components import find_components, paint

Ids = NDArray[np.uint64]


class Pieces:
    """Pieces connected by faces of voxels, of blocks that come in raster order.

    A block is numbered by itself; ``names`` says afterwards which numbers are one piece, so each
    block is read once and only faces are kept.
    """

    def __init__(self) -> None:
        self._parent: list[int] = [0]  # a union-find; a piece is named by its smallest number
        self._faces: dict[tuple[int, Index], Ids] = {}  # axis and block of what comes next

    def add(self, index: Index, mask: NDArray[np.bool_]) -> Ids:
        """Return the number of each voxel of a block, 0 outside the mask.

        Parameters
        ----------
        index
            Of the block on the grid, (z, y, x); its neighbours before it have been added.
        mask
            The block, ``(z, y, x)``.
        """
        found = find_components(mask, 6, background=False, core=_shape(mask))
        start = len(self._parent)
        numbers = np.arange(start, start + found.first.size, dtype=np.uint64)
        self._parent.extend(numbers.tolist())
        ids = paint(found, numbers, _shape(mask))
        for axis in range(3):
            before = self._faces.pop((axis, index), None)
            if before is not None:
                self._unite(before, ids.take([0], axis))
            z, y, x = (i + (a == axis) for a, i in enumerate(index))
            self._faces[axis, (z, y, x)] = ids.take([-1], axis)
        return ids

    def _unite(self, one: Ids, other: Ids) -> None:
        both = (one > 0) & (other > 0)
        pairs: NDArray[Any] = np.unique(np.stack([one[both], other[both]], 1), axis=0)
        for a, b in pairs.tolist():
            first, last = sorted((self._root(a), self._root(b)))
            self._parent[last] = first

    def _root(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number

    def names(self) -> Mapping[int, int]:
        """Return the piece of each number, 0 of 0; call it when all blocks have been added."""
        return {number: self._root(number) for number in range(len(self._parent))}


def _shape(mask: NDArray[np.bool_]) -> Index:
    z, y, x = mask.shape
    return z, y, x

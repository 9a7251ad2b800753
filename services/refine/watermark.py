"""How far the objects of an acquisition are settled: the slice below which none changes any more.

It follows two logs, in any order and with repetitions: which chunks are cut into fragments, and the
last change of every object.
"""

import heapq
from typing import NamedTuple

from fibstream.core.events import Change
from fibstream.core.grid import Grid, Index
from fibstream.core.ids import voxel

OPEN: frozenset[Change] = frozenset({"opened", "grown"})


class Watermark(NamedTuple):
    """``z`` slices are settled; ``open_objects`` are not closed, wherever they begin."""

    z: int
    open_objects: int


def begins(id_: int) -> int:
    """Return the slice in which an object begins: an id is 1 + its smallest global voxel id."""
    return voxel(id_ - 1)[0]


def least(marks: list[Watermark]) -> Watermark:
    """Return the watermark of several organelles together."""
    return Watermark(min(m.z for m in marks), sum(m.open_objects for m in marks))


class Finality:
    """The watermark of one organelle.

    ``z`` is the largest number of slices for which two things hold: every chunk in them is cut (an
    absent one counts), and every object that begins in them and was reported is closed or final.
    Objects of later chunks begin later, and what is closed does not change: so it moves back only
    for a chunk that is cut anew, or an object that was too small to be reported before.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._cut: dict[int, bytearray] = {}  # flags of each incomplete layer of chunks
        self._complete: set[int] = set()
        self._layers = 0  # complete ones from the first on
        self._open: set[int] = set()
        self._heap: list[int] = []  # ids that are or were open; the least begins first

    def cut(self, index: Index, *, done: bool = True) -> None:
        """Note that a chunk is cut into fragments, or with ``done=False`` no longer is."""
        z, y, x = index
        _, rows, columns = self.grid.count
        if not self.grid.contains(index) or (z in self._complete and done):
            return
        flags = self._cut.setdefault(z, bytearray([z in self._complete]) * (rows * columns))
        self._complete.discard(z)
        flags[y * columns + x] = done
        if all(flags):
            self._complete.add(z)
            del self._cut[z]
        self._layers = min(self._layers, z) if not done else self._layers
        while self._layers in self._complete:
            self._layers += 1

    def changed(self, id_: int, change: Change) -> None:
        """Note the last change of an object."""
        if change not in OPEN:
            self._open.discard(id_)
        elif id_ not in self._open:
            self._open.add(id_)
            heapq.heappush(self._heap, id_)

    @property
    def watermark(self) -> Watermark:
        """The watermark as it is now."""
        while self._heap and self._heap[0] not in self._open:
            heapq.heappop(self._heap)
        z = min(self._layers * self.grid.chunk[0], self.grid.extent[0])
        if self._heap:
            z = min(z, begins(self._heap[0]))
        return Watermark(z, len(self._open))

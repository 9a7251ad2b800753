"""Where labelled objects lie, and which lie in the known cells whole: from rows of all cells.

Rows are a summary with at least ``id`` (uint64), ``low`` and ``high`` (int64, (n, 3)): of each
object of a cell its id and its first and last voxel along (z, y, x), in voxels of the volume. A
row whose last voxel is before its first is of an object that only touches the cell.
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from fibstream.core.events import Place
from fibstream.core.fold import NoFold
from fibstream.core.grid import Box, Grid, Index
from fibstream.core.stage import Arrays, Input
from fibstream.core.subject import ObjectId, Subject, pack_box

# To all neighbours: an object of connectivity 26 may go on across an edge or a corner alone.
STEPS: tuple[Index, ...] = tuple(
    (z, y, x) for z, y, x in product((-1, 0, 1), repeat=3) if (z, y, x) != (0, 0, 0)
)
Span = tuple[Index, Index]  # the first and the last voxel of an object in a cell


def going_on(rows: Arrays, index: Index, known: Container[Index], grid: Grid) -> Iterator[int]:
    """Yield the ids of a cell that may go on in a neighbour which is not known."""
    for step in STEPS:
        if _unknown(index, step, known, grid):
            yield from rows["id"][_reaching(rows, grid.box(index), step)].tolist()


def _unknown(index: Index, step: Index, known: Container[Index], grid: Grid) -> bool:
    z, y, x = (i + s for i, s in zip(index, step, strict=True))
    return grid.contains((z, y, x)) and (z, y, x) not in known


def _reaching(rows: Arrays, box: Box, step: Index) -> NDArray[np.bool_]:
    """Return which rows of a cell may go on in the neighbour at ``step``."""
    reaching = np.ones(len(rows["id"]), bool)
    for axis, s in enumerate(step):
        if s:
            plane = box.start[axis] if s < 0 else box.stop[axis] - 1
            reaching &= rows["low" if s < 0 else "high"][:, axis] == plane
    return reaching


class ObjectBoxes(NoFold):
    """The boxes of closed objects, those that go on in no unknown cell, for tasks of ``stages``.

    Parameters
    ----------
    source
        The rows of each chunk.
    stages
        Names of the stages whose outputs belong to one of these objects each.
    grid
        The chunks.
    """

    def __init__(self, source: Input, stages: Sequence[str], grid: Grid) -> None:
        self.inputs = (source,)
        self._stages = stages
        self._grid = grid
        self._cells: dict[int, dict[Index, Span]] = {}  # by object
        self._ids: dict[Index, list[int]] = {}  # by cell that is known
        self._open: set[int] = set()
        self._dirty: dict[int, None] = {}

    def put(self, source: Input, index: Index, content: str, summary: Arrays) -> None:  # noqa: ARG002
        """Take the rows of one chunk in place of earlier ones."""
        before = self._ids.get(index)
        for number in before or ():
            self._dirty[number] = None
            del self._cells[number][index]
            if not self._cells[number]:
                del self._cells[number]
        here = (summary["low"] <= summary["high"]).all(axis=1)
        self._ids[index] = summary["id"][here].tolist()
        low, high = summary["low"][here].tolist(), summary["high"][here].tolist()
        for number, first, last in zip(self._ids[index], low, high, strict=True):
            self._dirty[number] = None
            self._cells.setdefault(number, {})[index] = tuple(first), tuple(last)
        if before is None:
            self._look_again(index)

    def _look_again(self, index: Index) -> None:
        """Have the open objects of the neighbours of a cell that is now known checked."""
        for step in STEPS:
            z, y, x = (i + s for i, s in zip(index, step, strict=True))
            self._dirty.update(dict.fromkeys(self._open.intersection(self._ids.get((z, y, x), ()))))

    def seal(self, grid: Grid) -> None:
        """Take the grid of the sealed volume: what ends there is open no more."""
        self._grid = grid
        self._dirty.update(dict.fromkeys(sorted(self._open)))

    def extra(self, stage: str, subject: Subject) -> bytes | None:
        """Return the packed box of a closed object; None of one that is open or unknown."""
        if stage not in self._stages or not isinstance(subject, ObjectId):
            return None
        spans = self._cells.get(subject.number)
        if spans is None or self._is_open(spans):
            return None
        firsts, lasts = zip(*spans.values(), strict=True)
        az, ay, ax = (min(axis) for axis in zip(*firsts, strict=True))
        bz, by, bx = (max(axis) + 1 for axis in zip(*lasts, strict=True))
        return pack_box(Box((az, ay, ax), (bz, by, bx)))

    def _is_open(self, spans: dict[Index, Span]) -> bool:
        return any(
            _unknown(index, step, self._ids, self._grid)
            for index, span in spans.items()
            for step in _steps(span, self._grid.box(index))
        )

    def dirty(self) -> Iterable[Place]:
        """Return the outputs of objects whose box, or that itself, may have changed."""
        changed, self._dirty = self._dirty, {}
        for number in changed:
            spans = self._cells.get(number)
            held = self._open.add if spans and self._is_open(spans) else self._open.discard
            held(number)
        return [(stage, ObjectId(number)) for number in changed for stage in self._stages]


def _steps(span: Span, box: Box) -> Iterator[Index]:
    """Yield the steps to neighbours of a cell with a box in which an object may go on."""
    sides = (
        (0, *(-1,) * (first == start), *(1,) * (last == stop - 1))
        for first, last, start, stop in zip(*span, *box, strict=True)
    )
    yield from ((z, y, x) for z, y, x in product(*sides) if z or y or x)

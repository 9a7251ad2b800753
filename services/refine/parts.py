"""The fold of a part: what its labels, ids of another organelle, say of each object."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from fibstream.core.events import Change, ObjectChanged
from fibstream.core.fold import NoFold
from fibstream.core.grid import Grid, Index
from fibstream.core.stage import Arrays, Input


class Told(NamedTuple):
    """What was last reported of an object."""

    voxels: int
    final: bool


class PartFold(NoFold):
    """The objects of the part ``name``: the voxels of each id in all chunks.

    Only the whole of the other organelle's labels tells that an id stays, so an object is open
    until every chunk of the sealed volume is counted, and final from then on. The summaries are the
    state, the last one of a chunk wins.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._counts: dict[Index, Counter[int]] = {}
        self._voxels: Counter[int] = Counter()
        self._expected = math.inf  # chunks; unknown before the seal
        self._told: dict[int, Told] = {}
        self._changed: set[int] = set()
        self.inputs = (Input(f"fragments/{name}", f"summaries/fragments/{name}"),)
        self.organelles = (name,)

    def put(self, source: Input, index: Index, content: str, summary: Arrays) -> None:  # noqa: ARG002
        """Take the voxels of each id in a chunk; they replace earlier ones of the same chunk."""
        counts = Counter(
            dict(zip(summary["ids"].tolist(), summary["voxels"].tolist(), strict=True))
        )
        before, was_whole = self._counts.get(index, Counter()), self._whole
        self._counts[index] = counts
        self._voxels.subtract(before)
        self._voxels.update(counts)
        self._changed |= before.keys() | counts.keys()
        for id_ in before.keys() - counts.keys():
            if not self._voxels[id_]:
                del self._voxels[id_]
        if self._whole != was_whole:
            self._changed.update(self._voxels)

    def seal(self, grid: Grid) -> None:
        """Take how many chunks there are."""
        self._expected = math.prod(grid.count)
        self._changed.update(self._voxels)

    def changes(self) -> Iterator[ObjectChanged]:
        """Yield the changes of objects since the last call, by id."""
        changed, self._changed = sorted(self._changed), set()
        for id_ in changed:
            before = self._told.pop(id_, None)
            voxels = self._voxels.get(id_, 0)
            if not voxels:
                if before is not None:
                    yield ObjectChanged(self._name, "withdrawn", id_, before.voxels, None)
                continue
            now = self._told[id_] = Told(voxels, self._whole)
            if now != before:
                yield ObjectChanged(self._name, _kind(before, now), id_, voxels, None)

    @property
    def _whole(self) -> bool:
        return len(self._counts) >= self._expected


def _kind(before: Told | None, now: Told) -> Change:
    if now.final:
        return "final"
    return "opened" if before is None else "grown"

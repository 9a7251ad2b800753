"""The fold that a planner hosts: objects of the fragments of all chunks, labels of each chunk."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from fibstream.core.events import ObjectChanged, Place
from fibstream.core.fold import NoFold
from fibstream.core.grid import Grid, Index
from fibstream.core.stage import Arrays, Input
from fibstream.core.subject import Subject

from .objects import ObjectChange

EPOCH = 64  # chunks: landings between two snapshots of open objects


class ChunkObjects(Protocol):
    """Objects made of summaries of chunks, such as `kernels.objects.ObjectFold`."""

    def put(self, chunk: Index, summary: Arrays) -> None:
        """Take the summary of a chunk; it replaces an earlier one of the same chunk."""

    def seal(self) -> None:
        """Make closed objects final: no chunk will be acquired again."""

    def snapshot(self) -> None:
        """Let the labels of open objects follow what is known now."""

    def mapping(self, chunk: Index) -> bytes:
        """Return the labels of a chunk's fragments; KeyError for a chunk without a summary."""

    def dirty(self) -> set[Index]:
        """Return the chunks whose mapping may have changed since the last call."""

    def changes(self) -> list[ObjectChange]:
        """Return the changes of objects since the last call, by id."""


class HostedObjects(NoFold):
    """The objects of ``name``: made of the summaries ``source``, for tasks of stage ``labels``."""

    def __init__(self, name: str, source: Input, labels: str, fold: ChunkObjects) -> None:
        self._name = name
        self._labels = labels
        self._fold = fold
        self._epoch = 0
        self.inputs = (source,)
        self.organelles = (name,)

    def put(self, source: Input, index: Index, content: str, summary: Arrays) -> None:  # noqa: ARG002
        """Take the summary of a chunk's fragments."""
        self._fold.put(index, summary)

    def landed(self, count: int) -> None:
        """Take a snapshot of open objects each time an epoch of chunks has landed."""
        if count // EPOCH > self._epoch:
            self._epoch = count // EPOCH
            self._fold.snapshot()

    def seal(self, grid: Grid) -> None:  # noqa: ARG002
        """Make closed objects final: the extent is known."""
        self._fold.seal()

    def extra(self, stage: str, subject: Subject) -> bytes | None:
        """Return the mapping of one chunk of labels; None while its summary is not known."""
        if stage != self._labels or not isinstance(subject, tuple):
            return None
        try:
            return self._fold.mapping(subject)
        except KeyError:
            return None

    def dirty(self) -> Iterable[Place]:
        """Return the chunks of labels whose mapping may have changed."""
        return [(self._labels, index) for index in self._fold.dirty()]

    def changes(self) -> Iterator[ObjectChanged]:
        """Yield the changes of objects."""
        for change in self._fold.changes():
            yield ObjectChanged(self._name, change.kind, change.id, change.voxels, change.into)

"""The port of a fold: global answers from the summaries of a dataset, hosted by a planner. Pure."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from .events import ObjectChanged, Place
from .grid import Grid, Index
from .stage import Arrays, Input
from .subject import Subject


class Fold(Protocol):
    """A pure function of all summaries: their order, repetition and grouping do not matter."""

    inputs: tuple[Input, ...]  # the summaries that it takes
    organelles: tuple[str, ...]  # the names under which it reports changes of objects

    def put(self, source: Input, index: Index, content: str, summary: Arrays) -> None:
        """Take the summary of one chunk, with its content hash; it replaces an earlier one."""

    def landed(self, count: int) -> None:
        """Take the number of chunks that have landed or were declared absent."""

    def seal(self, grid: Grid) -> None:
        """Take the grid of the sealed volume."""

    def extra(self, stage: str, subject: Subject) -> bytes | None:
        """Return the bytes that a task of a folded stage carries; None while not yet known.

        Of an object they are its box, as `pack_box` packs it; None where there is no such object.
        """

    def dirty(self) -> Iterable[Place]:
        """Return the outputs whose ``extra`` may have changed since the last call.

        The first call returns those of all objects.
        """

    def changes(self) -> Iterable[ObjectChanged]:
        """Return the changes of objects since the last call."""


class NoFold:
    """A fold that does nothing: of a service without one, and a base for partial ones."""

    inputs: tuple[Input, ...] = ()
    organelles: tuple[str, ...] = ()

    def put(self, source: Input, index: Index, content: str, summary: Arrays) -> None:
        """Ignore a summary."""

    def landed(self, count: int) -> None:
        """Ignore the number of landed chunks."""

    def seal(self, grid: Grid) -> None:
        """Ignore the seal."""

    def extra(self, stage: str, subject: Subject) -> bytes | None:  # noqa: ARG002
        """Return None: no stage is folded."""
        return None

    def dirty(self) -> Iterable[Place]:
        """Return nothing."""
        return ()

    def changes(self) -> Iterable[ObjectChanged]:
        """Return nothing."""
        return ()


class Folds:
    """Several folds as one: each takes the summaries that it names."""

    def __init__(self, folds: Sequence[Fold]) -> None:
        self._folds = folds
        self.inputs = tuple(source for fold in folds for source in fold.inputs)
        self.organelles = tuple(name for fold in folds for name in fold.organelles)

    def put(self, source: Input, index: Index, content: str, summary: Arrays) -> None:
        """Hand the summary of one chunk to every fold that takes it."""
        for fold in self._folds:
            if source in fold.inputs:
                fold.put(source, index, content, summary)

    def landed(self, count: int) -> None:
        """Hand on the number of landed chunks."""
        for fold in self._folds:
            fold.landed(count)

    def seal(self, grid: Grid) -> None:
        """Hand on the grid of the sealed volume."""
        for fold in self._folds:
            fold.seal(grid)

    def extra(self, stage: str, subject: Subject) -> bytes | None:
        """Return what the fold that knows a stage adds to its task."""
        found = (fold.extra(stage, subject) for fold in self._folds)
        return next((extra for extra in found if extra is not None), None)

    def dirty(self) -> Iterable[Place]:
        """Return the outputs of all folds whose ``extra`` may have changed."""
        return [place for fold in self._folds for place in fold.dirty()]

    def changes(self) -> Iterable[ObjectChanged]:
        """Return the changes of the objects of all folds."""
        return [change for fold in self._folds for change in fold.changes()]

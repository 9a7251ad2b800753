"""What a planner may host beside its frontier: a pure fold over the summaries of a dataset."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from .events import ObjectChanged
from .frontier import Place
from .grid import Grid, Index
from .stage import Arrays, Input


@dataclass(frozen=True)
class Result:
    """Files that belong to no chunk (tables), with the key that names them before they exist."""

    stage: str
    key: str
    paths: tuple[str, ...]
    make: Callable[[], dict[str, bytes]]  # the content of each path


class Fold(Protocol):
    """Several summaries in, global answers out; order, repetition and grouping do not matter."""

    inputs: tuple[Input, ...]

    def put(self, source: Input, index: Index, content: str, summary: Arrays) -> None:
        """Take a chunk's summary, whose hash is ``content``; it replaces the one before."""

    def landed(self, count: int) -> None:
        """Learn how many chunks have landed (or were declared absent)."""

    def seal(self, grid: Grid) -> None:
        """Learn that the extent is known."""

    def extra(self, stage: str, index: Index) -> bytes | None:
        """Return what a task of a folded stage carries; None while it cannot be said."""

    def dirty(self) -> Iterable[Place]:
        """Return the chunks whose ``extra`` may have changed since the last call."""

    def news(self) -> Iterable[ObjectChanged]:
        """Return what happened to objects since the last call."""

    def results(self, *, idle: bool) -> Iterable[Result]:
        """Return the results that are due; ``idle``: nothing else is left to do."""


class NoFold:
    """The fold of a service that has none, and what others need not say again."""

    inputs: tuple[Input, ...] = ()

    def put(self, source: Input, index: Index, content: str, summary: Arrays) -> None:
        """Nothing is folded."""

    def landed(self, count: int) -> None:
        """Nothing depends on it."""

    def seal(self, grid: Grid) -> None:
        """Nothing depends on it."""

    def extra(self, stage: str, index: Index) -> bytes | None:  # noqa: ARG002
        """No task carries anything."""
        return None

    def dirty(self) -> Iterable[Place]:
        """Nothing changes."""
        return ()

    def news(self) -> Iterable[ObjectChanged]:
        """Nothing happens."""
        return ()

    def results(self, *, idle: bool) -> Iterable[Result]:  # noqa: ARG002
        """Nothing is due."""
        return ()

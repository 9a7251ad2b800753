"""Which rules of the protocol hold, which faults are drawn, and who takes steps."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from fibstream.core.dataset import Dataset
from fibstream.core.errors import NotFound
from fibstream.core.grid import Grid, Index
from fibstream.core.ports import Delivery, Files
from fibstream.runtime.planner import Planner
from fibstream.runtime.worker import Worker
from fibstream.services.ingest.edges.landing import land
from fibstream.store.record import RecordWatch
from fibstream.store.store import Store

from .outside import Folder, FolderFiles


class Diverged(AssertionError):
    """The schedule ended in a wrong state, or did not end."""


def outdated(watch: RecordWatch) -> bool:
    """Whether a host drops what it has open of a dataset: it was deleted, or its record changed."""
    try:
        return watch.changed()
    except NotFound:
        return True


@dataclass
class Rules:
    """The protocol's rules as the world applies them; teeth are tests that replace one."""

    worker: Callable[..., Worker] = Worker
    planner: Callable[..., Planner] = Planner
    store: Callable[..., Store] = Store
    land: Callable[..., Generator[None, None, Any]] = land
    files: Callable[[Folder], Files] = FolderFiles
    outdated: Callable[[RecordWatch], bool] = outdated
    reconcile: bool = True
    grid: Callable[[Dataset, set[Index]], Grid] = field(default=lambda dataset, _: dataset.grid)


@dataclass
class Faults:
    """How many of each fault a schedule may draw."""

    crashes: int = 4
    naps: int = 3
    rewinds: int = 2
    duplicates: int = 3
    losses: int = 3
    flips: int = 2
    torn: int = 2
    # What users and operators do at any moment; drawn in some seeds alone, for the time they take.
    recreations: int = 0
    updates: int = 0
    seals: int = 0
    parks: int = 0

    @classmethod
    def of(cls, seed: int) -> Faults:
        """Return what the schedule of a seed may draw."""
        if seed % 5 == 1:
            return cls(recreations=1, parks=2)
        return cls(updates=1, seals=2, parks=3) if seed % 5 == 2 else cls()


@dataclass
class Actor:
    """Something that takes steps; a worker or landing can die or fall asleep between two."""

    steps: Iterator[None]
    kind: str
    delivery: Delivery | None = None
    owner: str = ""
    result: Callable[[], None] = lambda: None

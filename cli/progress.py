"""Progress of a run: bars on a terminal, plain lines otherwise; all of it goes to stderr."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.progress import track as rich_track

from fibstream import registry
from fibstream.bus import wire
from fibstream.bus.reading import event_of
from fibstream.core.dataset import Dataset
from fibstream.core.events import ObjectChanged, Progress
from fibstream.core.ports import Bus
from fibstream.core.rules import object_rules

T = TypeVar("T")
LINE_S = 5.0  # between two plain lines


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Yield items and show how many are done: a bar on a terminal, otherwise lines."""
    if total is None:
        items = list(items)
        total = len(items)
    console = Console(stderr=True)
    if console.is_terminal:
        yield from rich_track(items, what, total, console=console)
        return
    said = time.monotonic()
    for number, item in enumerate(items, 1):
        yield item
        if number == total or time.monotonic() > said + LINE_S:
            said = time.monotonic()
            sys.stderr.write(f"{what} {number}/{total}\n")


def mask_read(items: Iterable[T]) -> Iterator[T]:
    """Yield the boxes of a mask that is looked at before anything is made."""
    return track(items, "mask checked")


class Display:
    """Shows how far each service is and how many objects are open and closed."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True)
        self._quiet = quiet
        self._bars: Bars | None = None
        self._tasks: dict[str, int] = {}
        self._said = (time.monotonic(), "")
        self._after = 0
        self._objects: dict[tuple[str, int], str] = {}
        self._rules: Mapping[str, str] = {}

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._quiet:
            self._bars = Bars(
                TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(),
                TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"), console=self._console,
            )  # fmt: skip
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._bars is not None:
            self._bars.stop()

    def note(self, text: str) -> None:
        """Print a note before the run."""
        sys.stderr.write(f"note: {text}\n")

    def count(self, dataset: Dataset) -> None:
        """Count the objects of a dataset as its pipeline is now."""
        self._rules = object_rules(dataset)

    def update(self, bus: Bus, found: Mapping[str, Progress]) -> None:
        """Show the present state."""
        self._follow(bus)
        if self._bars is not None:
            for service, progress in found.items():
                self._bar(self._bars, service, progress)
        elif not self._quiet:
            self._line(found)

    def _follow(self, bus: Bus) -> None:
        for entry in bus.read([wire.OBJECTS], self._after):
            self._after = entry.offset
            change = event_of(entry)
            if not isinstance(change, ObjectChanged):
                continue
            if change.rule == self._rules.get(change.organelle):  # else of earlier settings
                self._objects[change.organelle, change.id] = change.kind

    @property
    def objects(self) -> str:
        """How many objects are open and closed."""
        kinds = list(self._objects.values())
        closed = sum(kind in ("closed", "final") for kind in kinds)
        opened = sum(kind in ("opened", "grown") for kind in kinds)
        return f"{closed} objects closed, {opened} open"

    def _bar(self, bars: Bars, service: str, progress: Progress) -> None:
        note = self.objects if service == "refine" else ""
        if progress.failed:
            note += f" {progress.failed} failed"
        if progress.wanted:
            if service not in self._tasks:
                self._tasks[service] = bars.add_task(registry.service(service).progress, note="")
            task = bars.tasks[self._tasks[service]].id
            bars.update(task, completed=progress.recorded, total=progress.wanted, note=note)

    def _line(self, found: Mapping[str, Progress]) -> None:
        parts = [
            f"{service.progress} {found[service.name].recorded}/{found[service.name].wanted}"
            for service in registry.services()
            if service.name in found and found[service.name].wanted
        ]
        if not parts:
            return  # nothing is known yet
        line = "; ".join([*parts, self.objects])
        done = all(p.settled for p in found.values())
        if line != self._said[1] and (done or time.monotonic() > self._said[0] + LINE_S):
            self._said = (time.monotonic(), line)
            sys.stderr.write(line + "\n")

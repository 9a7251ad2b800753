"""The progress of a dataset, read from the bus: planners, failed chunks, completeness."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from fibstream.bus import wire
from fibstream.bus.reading import event_of
from fibstream.core.events import Place, Progress, Record
from fibstream.core.grid import Grid, Index
from fibstream.core.ports import Bus, Entry
from fibstream.core.stage import Input
from fibstream.core.subject import CHUNKS, count, order
from fibstream.runtime.ledger import request_reconcile
from fibstream.runtime.site import Site


class DatasetFollower:
    """The state of one dataset as published on the bus; ``poll`` brings it up to date.

    ``owners`` are the services that it needs, ``lands`` the arrays that come from outside: it is
    complete when every chunk of these has landed or was declared absent, and the owners say that
    nothing is left to do. ``stages`` are those of its pipeline, and ``pipeline`` is its digest:
    what failed in an earlier one does not count, nor that its planners were done. Its
    memory grows with the failed chunks, and by a bit with each chunk.
    """

    def __init__(
        self, bus: Bus, dataset: str, owners: Collection[str], lands: Collection[Input],
        stages: Collection[str], pipeline: str,
    ) -> None:  # fmt: skip
        self._owners = owners
        self.landed = {each.stage for each in lands}
        self._arrived = {each.stage: Arrived() for each in lands}
        self._stages = stages
        self._pipeline = pipeline
        self.progress: dict[str, Progress] = {}
        self.failed: dict[Place, Record] = {}
        self.complete = False
        self.proving = False  # quiet, while a reconcile that would prove it complete runs
        self._bus = bus
        self._dataset = dataset
        self._offsets: dict[Sequence[str], int] = {}
        self._request: tuple[int, int] | None = None  # our request: its number, the log's end

    def poll(self, grid: Grid) -> None:
        """Read what is new; when all is quiet, request a reconcile that proves completeness.

        ``grid`` is that of the dataset record as it is now.
        """
        for event in map(event_of, self._new(wire.ledger_topics())):
            if isinstance(event, Record):
                self._apply(event, grid)
        for event in map(event_of, self._new((wire.PROGRESS,))):
            if not isinstance(event, Progress) or event.service not in self._owners:
                continue
            if event.pipeline == self._pipeline:
                self.progress[event.service] = event
        end = self._bus.end(wire.ledger_topics())
        quiet = self._all_landed(grid) and is_quiet(self.progress, self._owners, end)
        if quiet and (self._request is None or self._request[1] != end):
            self._request = request_reconcile(self._bus, self._dataset), end
        self.complete = (
            quiet
            and self._request is not None
            and all(p.reconciled >= self._request[0] for p in self.progress.values())
        )
        self.proving = quiet and not self.complete

    @property
    def arrived(self) -> dict[str, int]:
        """Chunks that have landed, damaged ones too, of each array that lands."""
        return {stage: arrived.count for stage, arrived in self._arrived.items()}

    def _new(self, topics: Sequence[str]) -> Iterator[Entry]:
        while entries := self._bus.read(topics, self._offsets.get(topics, 0)):
            self._offsets[topics] = entries[-1].offset
            yield from (e for e in entries if wire.dataset_of(e.key) == self._dataset)

    def _all_landed(self, grid: Grid) -> bool:
        """Whether nothing can still land: a planner with nothing to do may only wait for chunks."""
        every = count(CHUNKS, grid) if grid.sealed else None
        return all(arrived.count == every for arrived in self._arrived.values())

    def _apply(self, record: Record, grid: Grid) -> None:
        place = record.stage, record.subject
        arrived, index = self._arrived.get(record.stage), record.subject
        if arrived is not None and isinstance(index, tuple) and grid.contains(index):
            # One that is damaged has arrived: waiting would not bring it, and ``failed`` names it.
            arrived.put(index, there=record.status in ("ready", "failed"))
        if record.status == "failed" and record.stage in self._stages:
            self.failed[place] = record
        else:
            self.failed.pop(place, None)


def replay(site: Site, follower: DatasetFollower, stage: str = "") -> list[Record]:
    """Withdraw the records of failed outputs, of one stage or of all; return what they were.

    What has landed can only land again.
    """
    failed = sorted(follower.failed.values(), key=lambda r: (r.stage, order(r.subject)))
    replayed = [r for r in failed if stage in ("", r.stage) and r.stage not in follower.landed]
    for record in replayed:
        site.publish(Record(record.stage, record.subject, "suspect"))
    return replayed


class Arrived:
    """Which chunks of one array have landed: a bit for each, in one number for each row along x."""

    def __init__(self) -> None:
        self._rows: Counter[tuple[int, int]] = Counter()
        self.count = 0

    def put(self, index: Index, *, there: bool) -> None:
        """Take whether a chunk has landed."""
        z, y, x = index
        before = self._rows[z, y] >> x & 1
        self._rows[z, y] ^= (before ^ there) << x
        self.count += there - before


def is_quiet(progress: Mapping[str, Progress], owners: Collection[str], end: int) -> bool:
    """Whether the planners of ``owners`` have seen the ledger up to ``end`` and are done."""
    found = [progress.get(name) for name in owners]
    return all(p is not None and p.settled and p.offset >= end for p in found)

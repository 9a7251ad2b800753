"""The planner: follows the ledger, emits tasks, hosts the fold, and compares ledger with store.

One planner per service and dataset. It reads the ledger from the beginning, so a restart rebuilds
it and there is no other state. Like the worker its steps are generators that yield before each
effect.
"""

import logging
from collections.abc import Callable, Iterator, Sequence

from fibstream.bus import wire
from fibstream.core.errors import Poison
from fibstream.core.events import ORIGIN, ObjectChanged, Record, Sealed, Task
from fibstream.core.fold import Fold, Result
from fibstream.core.frontier import Frontier
from fibstream.core.grid import Grid
from fibstream.core.keys import digest
from fibstream.core.stage import RAW, Input, Stage
from fibstream.store.shard import Stamp, encode_blob
from fibstream.store.store import Blob, Changed
from fibstream.telemetry.metrics import LEDGER_LAG, QUEUE, RECONCILE_SECONDS, RECONCILES, Watch

from .site import Site

log = logging.getLogger(__name__)

BATCH = 500  # records applied between two looks at what to do


class Planner:
    """The plan of one service: its ``stages``, its ``fold`` and, for ingest, what ``lands``."""

    def __init__(
        self,
        site: Site,
        service: str,
        stages: Sequence[Stage],
        fold: Fold,
        grid: Callable[[], Grid],
        lands: Input | None = None,
    ) -> None:
        self.site = site
        self.frontier = Frontier(stages, grid(), fold.extra)
        self.offset = 0
        self.more = False  # whether more records wait than one batch
        self.settled = False  # whether it was idle at the end of the last ``act``
        self.watch = Watch(site.telemetry, [stage.name for stage in stages])
        self._history = site.bus.end(wire.LEDGER_TOPICS)  # what was written before this planner
        self._found = 0  # differences that a reconcile has seen
        self._service = service
        self._stages = {stage.name: stage for stage in stages}
        self._fold = fold
        self._grid = grid
        self._lands = lands
        self._landed: set[tuple[int, int, int]] = set()
        self._results: dict[str, list[Blob]] = {}
        self._doubted: set[tuple[int, int, int]] = set()  # raw chunks to verify and announce
        if self.frontier.grid.sealed:
            fold.seal(self.frontier.grid)

    # -- following the ledger --------------------------------------------------------------------

    def consume(self) -> Iterator[None]:
        """Apply new records, one after the other: a batch of them."""
        entries = self.site.bus.read(wire.LEDGER_TOPICS, self.offset, BATCH)
        self.more = len(entries) == BATCH
        for entry in entries:
            self.offset = entry.offset
            self.watch.live = self.offset > self._history
            if not entry.key.startswith(self.site.dataset + "/"):
                continue
            try:
                event = wire.decode(entry.value)
            except Poison as poison:
                log.error("%s at %d: %s", entry.topic, entry.offset, poison)
                continue  # the store is the truth: a reconcile says again what it said
            if isinstance(event, Sealed):
                self._seal()
            elif isinstance(event, Record):
                yield from self._apply(event)

    def _seal(self) -> None:
        grid = self._grid()
        self.site.store.grid = grid
        self.frontier.seal(grid)
        self._fold.seal(grid)

    def _apply(self, record: Record) -> Iterator[None]:
        if record.stage in self._stages:
            before = self.frontier.records.get((record.stage, record.index))
            self.watch.recorded(record, before)
        self.frontier.apply(record)
        if record.stage == RAW:
            self._follow_raw(record)
        if record.status != "ready":
            return
        for source in self._fold.inputs:
            content = record.hashes.get(source.name)
            if source.stage != record.stage or content is None:
                continue
            try:
                summary = self.site.store.read_summary(source, record.index, content)
            except Changed:
                # The store has moved on, or the file is damaged: its owner will look.
                yield
                self.site.publish(Record(record.stage, record.index, "suspect"))
            else:
                self._fold.put(source, record.index, content, summary)

    def _follow_raw(self, record: Record) -> None:
        if record.status == "ready":
            if record.index not in self._landed and not record.absent:
                self.watch.landed(record.index)
            self._landed.add(record.index)
            self._fold.landed(len(self._landed))
            self._doubted.discard(record.index)
        elif record.status != "failed" and self._lands is not None:
            self._doubted.add(record.index)

    # -- acting ----------------------------------------------------------------------------------

    def act(self, *, look: bool = True) -> Iterator[None]:
        """Emit what is wanted: tasks, news, results, announcements of raw.

        Whether it is idle then takes questions to the bus; without ``look`` it counts as not idle.
        """
        for place in self._fold.dirty():
            self.frontier.touch(place)
        for task in self.frontier.tasks():
            yield
            yield from self._send(task)
        for change in self._fold.news():
            yield
            self._tell(change)
        for index in sorted(self._doubted):
            yield
            self._announce(index)
        self.settled = look and self.idle
        for result in self._fold.results(idle=self.settled):
            yield from self._publish(result)

    def _send(self, task: Task) -> Iterator[None]:
        try:
            data = wire.encode(task)
        except Poison as poison:
            yield
            reason = str(poison)
            self.site.publish(Record(task.stage, task.index, "failed", task.key, reason=reason))
            return
        key = wire.record_key(self.site.dataset, task.stage, task.index)
        self.site.bus.send(wire.task_topic(self._service), key, data)
        self.watch.sent(task)

    def _tell(self, change: ObjectChanged) -> None:
        key = f"{self.site.dataset}/{change.organelle}/{change.id}"
        self.site.bus.publish(wire.OBJECTS, key, wire.encode(change))
        self.watch.told(change)

    def _announce(self, index: tuple[int, int, int]) -> None:
        """Say what a raw chunk now holds; raw cannot be recomputed, so a damaged one has failed."""
        assert self._lands is not None
        self._doubted.discard(index)
        item = Blob(self._lands.name, index, self._lands.dtype)
        stamp = self.site.store.intact(item)
        reason = "the raw chunk is damaged or gone: land it again"
        record = raw_record(stamp) if stamp else Record(RAW, index, "failed", reason=reason)
        # A failure said anew at every reconcile would look like news, and no run could end.
        if record != self.frontier.records.get((RAW, index)):
            self.site.publish(record)

    def _publish(self, result: Result) -> Iterator[None]:
        """Write and announce files that belong to no chunk, unless they are there."""
        self._results[result.stage] = [Blob(path, ORIGIN) for path in result.paths]
        record = self.frontier.records.get((result.stage, ORIGIN))
        if record is not None and record.key == result.key:
            return
        made = result.make()
        hashes = {}
        for path, body in made.items():
            item = Blob(path, ORIGIN)
            stamp = Stamp(result.stage, ORIGIN, result.key, digest(body), version=self.site.version)
            hashes[path] = stamp.hash
            whole = self.site.store.intact(item)
            if whole is None or (whole.key, whole.hash) != (stamp.key, stamp.hash):
                yield
                self.site.store.files.put(path, encode_blob(body, stamp))
        yield
        self.settled = False  # the ledger goes on
        record = Record(result.stage, ORIGIN, "ready", result.key, hashes)
        self.site.publish(record)
        self.frontier.apply(record)

    @property
    def backlog(self) -> int:
        """How many tasks of this service are under way."""
        return self.site.bus.backlog(wire.task_topic(self._service))

    def measure(self) -> None:
        """Say how far behind this service is; between two turns, since the bus is asked."""
        unread = self.site.bus.end(wire.LEDGER_TOPICS) - self.offset
        self.watch.level(LEDGER_LAG, max(unread, 0))
        self.watch.level(QUEUE, self.backlog)

    @property
    def idle(self) -> bool:
        """Whether the ledger is read to its end, nothing is wanted and no task is under way."""
        return (
            self.frontier.idle
            and not self._doubted
            and self.offset >= self.site.bus.end(wire.LEDGER_TOPICS)
            and self.backlog == 0
        )

    @property
    def landed_z(self) -> int:
        """How many layers of chunks in z have been seen so far."""
        return max((z + 1 for z, _, _ in self._landed), default=0)

    @property
    def wanted(self) -> int:
        """How many outputs of this service's stages a sealed dataset has."""
        if not self.frontier.grid.sealed:
            return len(self._landed) * len(self._stages)
        z, y, x = self.frontier.grid.count
        return z * y * x * len(self._stages)

    # -- reconcile -------------------------------------------------------------------------------

    def reconcile(self) -> Iterator[None]:
        """Compare the stamps of all owned objects with the ledger, and doubt what differs (P5).

        What differs in two looks in a row is un-recorded and so done again; the second look only
        saves work, for a put whose record is on its way.
        """
        telemetry = self.site.telemetry
        self._found, begun = 0, telemetry.now()
        yield from self._compare()
        telemetry.observe(RECONCILE_SECONDS, telemetry.now() - begun)
        telemetry.add(RECONCILES, found="differences" if self._found else "nothing")

    def _compare(self) -> Iterator[None]:
        if self._grid() != self.frontier.grid:
            self._seal()  # the record that said so was lost
        self.frontier.forget_issued()
        doubtful = []
        for record in self.frontier.ready():
            yield
            if self._differs(record):
                doubtful.append((record.stage, record.index))
        yield from self.consume()
        for place in doubtful:
            again = self.frontier.records.get(place)
            if again is not None and self._differs(again):
                yield
                self._doubt(*place)
        yield from self._reconcile_inputs()
        yield from self._reconcile_results()
        if self._lands is not None:
            yield from self._reconcile_raw(self._lands)

    def _reconcile_inputs(self) -> Iterator[None]:
        """Ask again for inputs that the store has and this planner never heard of: lost records."""
        asked = set()
        for source, index in self.frontier.missing():
            if (source.stage, index) in asked:
                continue
            yield
            if self.site.store.stamp(Blob(source.name, index, source.dtype)) is not None:
                asked.add((source.stage, index))
                self._doubt(source.stage, index)

    def _doubt(self, stage: str, index: tuple[int, int, int]) -> None:
        self._found += 1
        self.settled = False
        self.site.publish(Record(stage, index, "suspect"))

    def _differs(self, record: Record) -> bool:
        items = self.site.items(self._stages[record.stage], record.index)
        stamps = [(item.label, self.site.store.stamp(item)) for item in items]
        if record.status == "failed":  # a stamp that carries the key beats the failure
            return all(s is not None and s.key == record.key for _, s in stamps)
        return any(
            s is None or (s.key, s.hash) != (record.key, record.hashes.get(label))
            for label, s in stamps
        )

    def _reconcile_results(self) -> Iterator[None]:
        for stage, items in self._results.items():
            record = self.frontier.records.get((stage, ORIGIN))
            for item in items:
                yield
                stamp = self.site.store.stamp(item)
                if record and (
                    stamp is None
                    or (stamp.key, stamp.hash) != (record.key, record.hashes[item.name])
                ):
                    self._doubt(stage, ORIGIN)
                    break

    def _reconcile_raw(self, lands: Input) -> Iterator[None]:
        stored = set(self.site.store.chunks(lands.name))
        for index in sorted(stored | self._landed):
            yield
            record = self.frontier.records.get((RAW, index))
            stamp = self.site.store.stamp(Blob(lands.name, index, lands.dtype))
            if stamp is None and record is None:
                continue
            if stamp is None or record is None or record.status != "ready":
                self._found += stamp is not None or record is None or record.status != "failed"
                self._doubted.add(index)
                self.settled = False
            elif raw_record(stamp) != record:
                self._found += 1
                self.settled = False
                self.site.publish(raw_record(stamp))


def raw_record(stamp: Stamp) -> Record:
    """Return the record of a raw chunk: what its stamp says."""
    return Record(RAW, stamp.index, "ready", str(stamp.revision), {RAW: stamp.hash})

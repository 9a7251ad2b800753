"""The planner: follows the ledger, emits tasks, hosts the fold, and compares ledger with store.

There is one planner per service and dataset. It reads the ledger from the beginning, so a restart
rebuilds its state and nothing else is kept. Its methods are generators that yield before each
effect, as in the worker.
"""

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace

from fibstream.bus import wire
from fibstream.bus.reading import event_of, pass_over
from fibstream.core.echo import cut
from fibstream.core.errors import Poison
from fibstream.core.events import PipelineChanged, Place, Record, Sealed, Task
from fibstream.core.fold import Fold
from fibstream.core.frontier import Frontier
from fibstream.core.grid import Grid, Index
from fibstream.core.stage import RAW, Input, Stage
from fibstream.core.subject import OBJECTS, WHOLE, ObjectId, Subject, parse
from fibstream.store import manifest
from fibstream.store.shard import Stamp
from fibstream.store.store import Blob, Changed
from fibstream.telemetry.metrics import (
    LEDGER_LAG,
    QUEUE,
    RECONCILE_SECONDS,
    RECONCILES,
    PlannerMetrics,
)

from .reported import ObjectReports
from .site import Site

BATCH = 500  # ledger entries applied before the planner acts on them
SLICE = 64  # of them, until it may turn to another dataset
# Tasks under way, of one service and dataset: twice the most workers of a machine. A queue that
# datasets share stays short, and a worker sees tasks of all of them.
WINDOW = 512

Steps = Generator[None, None, None]  # yields before each effect


class Planner:
    """Plans one service: its ``stages``, its ``fold`` and, for ingest, what ``lands``.

    ``grid`` reads the dataset record anew and returns its grid. ``rules`` are the digests of the
    settings of the organelles whose objects the fold reports.
    """

    def __init__(
        self,
        site: Site,
        service: str,
        stages: Sequence[Stage],
        fold: Fold,
        grid: Callable[[], Grid],
        lands: Sequence[Input] = (),
        rules: Mapping[str, str] | None = None,
    ) -> None:
        self.site = site
        self._lands = {source.stage: source for source in lands}
        self.frontier = Frontier(stages, grid(), fold.extra, self._lands)
        self.offset = 0
        self.more = False  # whether the last batch was full, so that entries may be left
        self.pipeline_changed = False  # whether an entry says so of the dataset's record
        self.settled = False  # whether it was idle at the end of the last ``act``
        self.metrics = PlannerMetrics(site.telemetry, [stage.name for stage in stages])
        self._objects = ObjectReports(site, fold, self.metrics, rules or {})
        self._end_at_start = site.bus.end(wire.ledger_topics())
        self._differences = 0  # found by the reconcile under way
        self._service = service
        self._stages = {stage.name: stage for stage in stages}
        self._fold = fold
        self._grid = grid
        self._landed: set[Index] = set()
        self.landed_z = 0  # chunk layers in z up to the last that has landed
        self._unannounced: set[tuple[str, Index]] = set()  # landed chunks to verify and announce
        if self.frontier.grid.sealed:
            fold.seal(self.frontier.grid)

    # -- following the ledger --------------------------------------------------------------------

    def consume(self) -> Steps:
        """Apply the next batch of ledger entries, in order."""
        entries = self.site.bus.read(wire.ledger_topics(), self.offset, BATCH)
        self.more = len(entries) == BATCH
        for number, entry in enumerate(entries, 1):
            self.offset = entry.offset
            self.metrics.live = self.offset > self._end_at_start
            if not entry.key.startswith(self.site.dataset + "/"):
                continue
            # What is none is passed over: the store is the truth, and a reconcile publishes again
            # the record that was lost.
            event = event_of(entry)
            if isinstance(event, Sealed):
                self._seal()
            elif isinstance(event, PipelineChanged):
                self.pipeline_changed = True
            elif isinstance(event, Record) and self.frontier.may_exist(event):
                yield from self._apply(event)
            elif event is not None:
                pass_over(f"{entry.topic} at {entry.offset}", f"no stage has {cut(entry.key)}")
            if number % SLICE == 0:
                yield
            if self.offset != entry.offset:
                return  # a reconcile is under way, and what it did not read was read meanwhile

    def _seal(self) -> None:
        grid = self._grid()
        self.site.store.grid = grid
        self.frontier.seal(grid)
        self._fold.seal(grid)

    def _apply(self, record: Record) -> Steps:
        if record.stage in self._stages:
            before = self.frontier.records.get((record.stage, record.subject))
            self.metrics.recorded(record, before)
        self.frontier.apply(record)
        if isinstance(record.subject, tuple):
            if record.stage == RAW and record.status == "ready":
                self._count_landed(record.subject, absent=record.absent)
            if record.stage in self._lands:
                self._follow_landed(record.stage, record.subject, record.status)
        if record.status != "ready":
            return
        for source in self._fold.inputs:
            content = record.hashes.get(source.name)
            if source.stage != record.stage or content is None:
                continue
            if not isinstance(record.subject, tuple):
                continue
            try:
                summary = self.site.store.read_summary(source, record.subject, content)
            except Changed:
                # The store has moved on, or the file is damaged: the owner's planner decides.
                yield
                suspect = Record(record.stage, record.subject, "suspect")
                self.site.publish(suspect)
                self.frontier.apply(suspect)  # at once: the fold does not know this content
            else:
                self._fold.put(source, record.subject, content, summary)

    def _count_landed(self, index: Index, *, absent: bool) -> None:
        if index not in self._landed and not absent:
            self.metrics.landed(index)
        self._landed.add(index)
        self.landed_z = max(self.landed_z, index[0] + 1)
        self._fold.landed(len(self._landed))

    def _follow_landed(self, stage: str, index: Index, status: str) -> None:
        if status == "ready":
            self._unannounced.discard((stage, index))
        elif status != "failed":
            self._unannounced.add((stage, index))

    # -- acting ----------------------------------------------------------------------------------

    def act(self, *, check_idle: bool = True) -> Steps:
        """Send wanted tasks; publish object changes, and announcements of what landed.

        Without ``check_idle``, which takes requests to the bus, the planner counts as not idle.
        """
        for place in self._fold.dirty():
            self.frontier.touch(place)
        # An output of the whole dataset is not made of what a planner only now catches up with.
        yield from self._send_all(whole=check_idle or self.metrics.live)
        yield from self._objects.publish_changes()
        yield from self._remove_gone()
        for stage, index in sorted(self._unannounced):
            yield
            self._announce(self._lands[stage], index)
        if check_idle and self.frontier.stale and self.idle:
            self.frontier.finish()
            yield from self._send_all(whole=True)
        self.settled = check_idle and not self.frontier.stale and self.idle

    def _send_all(self, *, whole: bool) -> Steps:
        for task in self.frontier.looks(whole=whole, window=WINDOW):
            yield
            if task is not None:
                yield from self._send(task)

    def _send(self, task: Task) -> Steps:
        if len(task.inputs) > manifest.MOST_INLINE or task.subject is WHOLE:
            named = manifest.put(self.site.store, task.stage, task.subject, task.inputs)
            task = replace(task, inputs=(), manifest=named)
            yield
        try:
            data = wire.encode(task)
        except Poison as poison:
            yield
            reason = str(poison)
            self.site.publish(Record(task.stage, task.subject, "failed", task.key, reason=reason))
            return
        key = wire.record_key(self.site.dataset, task.stage, task.subject)
        self.site.bus.send(wire.task_topic(self._service), key, data)
        self.metrics.sent(task)

    def _remove_gone(self) -> Steps:
        """Remove the outputs of objects that are no more, once the whole ledger has been read."""
        gone = self.frontier.gone()
        if gone and (self.metrics.live or self._caught_up):
            for place in gone:
                yield from self._remove(place)

    def _remove(self, place: Place) -> Steps:
        for blob in self.site.blobs(self._stages[place[0]], place[1]):
            yield
            self.site.store.files.delete(blob.path)
        yield
        self.site.publish(Record(*place, "removed"))

    def _announce(self, landed: Input, index: Index) -> None:
        """Publish what a landed chunk holds; a damaged one has failed: nothing can recompute it."""
        self._unannounced.discard((landed.stage, index))
        stamp = self.site.store.intact(Blob(landed.name, index, landed.dtype))
        if stamp is not None and stamp.stage != landed.stage:
            stamp = None
        reason = f"the {landed.name} chunk is damaged or gone: land it again"
        record = Record(landed.stage, index, "failed", reason=reason)
        if stamp is not None:
            record = landed_record(landed, stamp)
        # A failure published again at every reconcile would keep the planner from settling.
        if record != self.frontier.records.get((landed.stage, index)):
            self.site.publish(record)

    @property
    def backlog(self) -> int:
        """How many tasks of this service are under way."""
        return self.site.bus.backlog(wire.task_topic(self._service))

    def update_gauges(self) -> None:
        """Set the gauges of ledger lag and queue length; costs requests to the bus."""
        unread = self.site.bus.end(wire.ledger_topics()) - self.offset
        self.metrics.set_gauge(LEDGER_LAG, max(unread, 0))
        self.metrics.set_gauge(QUEUE, self.backlog)

    @property
    def idle(self) -> bool:
        """Whether the ledger is read to its end, nothing is wanted and no task is under way."""
        return (
            self.frontier.idle
            and not self.frontier.gone()
            and not self._unannounced
            and self._caught_up
            and self.backlog == 0
        )

    @property
    def _caught_up(self) -> bool:
        return self.offset >= self.site.bus.end(wire.ledger_topics())

    @property
    def announcing(self) -> bool:
        """Whether a raw chunk is left to be verified and announced."""
        return bool(self._unannounced)

    @property
    def wanted(self) -> int:
        """Number of outputs of this service's stages; before the seal, of the landed chunks."""
        return self.frontier.wanted_count(len(self._landed))

    # -- reconcile -------------------------------------------------------------------------------

    def reconcile(self) -> Steps:
        """Compare the stamps of all owned blobs with the ledger; suspect what differs (P5).

        A chunk that differs in two comparisons in a row is un-recorded and so made again. The
        second comparison only saves work: the record of a put may be on its way.
        """
        telemetry = self.site.telemetry
        self._differences, begun = 0, telemetry.now()
        yield from self._compare()
        telemetry.observe(RECONCILE_SECONDS, telemetry.now() - begun)
        telemetry.add(RECONCILES, found="differences" if self._differences else "nothing")

    def _compare(self) -> Steps:
        if self._grid() != self.frontier.grid:
            self._seal()  # the record of the seal was lost
        self.frontier.forget_issued()
        differing = []
        for record in self.frontier.own_records():
            yield
            if self._differs(record):
                differing.append((record.stage, record.subject))
        yield from self.consume()
        for place in differing:
            again = self.frontier.records.get(place)
            if again is not None and self._differs(again):
                yield
                self._suspect(*place)
        yield from self._reconcile_objects()
        yield from self._reconcile_inputs()
        for landed in self._lands.values():
            yield from self._reconcile_landed(landed)
        if self.settled and not self._differences and self.idle:
            yield from self._objects.withdraw_earlier()

    def _reconcile_objects(self) -> Steps:
        """Remove what the store has of objects that are no more, as a worker may leave when killed.

        Only a planner that has read the whole ledger, and has all that the fold is made of, knows
        which objects there are.
        """
        made = self.frontier.recorded + len(self.frontier.failed)
        if not self._caught_up or made < self.wanted:
            return
        for stage in [stage for stage in self._stages.values() if stage.subjects is OBJECTS]:
            for subject in sorted({s for o in stage.outputs for s in self._stored(o.name)}):
                if not self.frontier.knows((stage.name, subject)):
                    self._differences += 1
                    self.settled = False
                    yield from self._remove((stage.name, subject))

    def _stored(self, name: str) -> Iterator[ObjectId]:
        """Yield the objects that an output has a file of."""
        for path in self.site.store.files.list(name):
            with contextlib.suppress(ValueError):
                subject = parse(path.removeprefix(f"{name}/"))
                if isinstance(subject, ObjectId):
                    yield subject

    def _reconcile_inputs(self) -> Steps:
        """Suspect inputs that the store has and the ledger lacks: they are announced again."""
        suspected: set[Place] = set()
        for found in self.frontier.missing():
            yield
            if found is None or (found[0].stage, found[1]) in suspected:
                continue
            source, index = found
            blob = Blob(source.name, index, source.dtype, source.level, source.cells)
            if self.site.store.stamp(blob) is not None:
                suspected.add((source.stage, index))
                self._suspect(source.stage, index)

    def _suspect(self, stage: str, subject: Subject) -> None:
        self._differences += 1
        self.settled = False
        self.site.publish(Record(stage, subject, "suspect"))

    def _differs(self, record: Record) -> bool:
        blobs = self.site.blobs(self._stages[record.stage], record.subject)
        stamps = [(blob.label, self.site.store.stamp(blob)) for blob in blobs]
        if record.status == "failed":  # a stamp that carries the key beats the failure
            return all(s is not None and s.key == record.key for _, s in stamps)
        return any(
            s is None or (s.key, s.hash) != (record.key, record.hashes.get(label))
            for label, s in stamps
        )

    def _reconcile_landed(self, landed: Input) -> Steps:
        known: set[Index] = set()
        for index in self.site.store.chunks(landed.name):
            known.add(index)
            if len(known) % SLICE == 0:
                yield
        for stage, subject in list(self.frontier.records):
            if stage == landed.stage and isinstance(subject, tuple):
                known.add(subject)
        for index in sorted(known):
            yield
            record = self.frontier.records.get((landed.stage, index))
            stamp = self.site.store.stamp(Blob(landed.name, index, landed.dtype))
            if stamp is not None and stamp.stage != landed.stage:
                stamp = None  # of the network that predicted it in an earlier pipeline
            if stamp is None and record is None:
                continue
            if stamp is None or record is None or record.status != "ready":
                failed = stamp is None and record is not None and record.status == "failed"
                self._differences += not failed
                self._unannounced.add((landed.stage, index))
                self.settled = False
            elif landed_record(landed, stamp) != record:
                self._differences += 1
                self.settled = False
                self.site.publish(landed_record(landed, stamp))


def landed_record(landed: Input, stamp: Stamp) -> Record:
    """Return the record of a chunk of an array that lands: its revision and content."""
    revision, contents = str(stamp.revision), {landed.name: stamp.hash}
    return Record(landed.stage, stamp.subject, "ready", revision, contents)

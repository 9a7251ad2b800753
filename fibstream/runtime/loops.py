"""The loops of a service process: the turn of a planner, and the task of a worker."""

import contextlib
import logging
import time
from collections.abc import Generator
from dataclasses import replace
from typing import TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from fibstream.bus import wire
from fibstream.bus.reading import pass_over
from fibstream.core.echo import cut
from fibstream.core.errors import DiskFull, Poison, Retryable
from fibstream.core.events import DeadLetter, Progress, Record, Task
from fibstream.core.fold import Folds
from fibstream.core.keys import canonical
from fibstream.core.ports import Bus, Delivery, Files
from fibstream.core.rules import object_rules, pipeline_rule
from fibstream.core.service import Service
from fibstream.store import ngff
from fibstream.store.decoded import NOTHING, Decoded
from fibstream.store.record import RecordWatch, read_dataset
from fibstream.telemetry.metrics import DEAD_LETTERS, SILENT, TASK_SECONDS, Telemetry

from .planner import Planner
from .settings import Settings
from .site import open_site
from .worker import Worker

log = logging.getLogger(__name__)

T = TypeVar("T")

ATTEMPTS = 6  # at a store or bus that is away: 0.1 s doubling, about six seconds in all
STAMPS_PER_TURN = 200  # that a reconcile reads: tasks must not wait until it has read a million
TURN_S = 0.25  # of one planner, while those of other datasets in its process wait
QUIET_S = 0.1  # without new records, until a planner checks whether it is idle
UNSETTLED_S = 0.25  # between two checks whether the last tasks are off the queue
REPORT_S = 0.2  # between two progress events of a planner that is at work
GAUGES_S = 5.0  # between two updates of lag and queue: half of a usual scrape interval
MAX_STAGE = 200  # characters of the stage of a forged task, in its dead letter
CRASHES = 3  # of workers on one task, then it is parked


def backoff() -> Retrying:
    """Return the rule for a store or bus that is away: back off, a bounded number of times."""
    away = retry_if_exception(lambda e: isinstance(e, Retryable) and not isinstance(e, DiskFull))
    return Retrying(
        retry=away, stop=stop_after_attempt(ATTEMPTS), wait=wait_exponential(0.1), reraise=True
    )


def drive(steps: Generator[None, None, T]) -> T:
    """Run a generator of effects to its end and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result


# -- planner -------------------------------------------------------------------------------------


class PlannerLoop:
    """Drives one planner; ``turn`` does all that can be done now."""

    def __init__(
        self, service: Service, files: Files, bus: Bus, settings: Settings,
        telemetry: Telemetry = SILENT,
    ) -> None:  # fmt: skip
        self._service = service
        self._files = files
        self._bus = bus
        self._settings = settings
        self.dataset, site = open_site(files, bus, telemetry)
        service.describe(self.dataset, telemetry)
        self.planner = Planner(
            site, service.name, service.stages(self.dataset, files),
            Folds(service.folds(self.dataset)), lambda: read_dataset(files).grid,
            service.lands(self.dataset), object_rules(self.dataset),
        )  # fmt: skip
        self._pipeline = pipeline_rule(self.dataset)
        self._arrays = service.arrays(self.dataset, files)
        self.record = RecordWatch(files, self.dataset)
        self.outdated = False  # whether the record has another pipeline: open the dataset anew
        self._documents: dict[str, bytes] = {}  # the metadata that was written, by path
        self._described_z = 0  # the extent in z that it gives
        self._reconciled = 0  # the number of the last request for a reconcile that was fulfilled
        self._steps: Generator[None, None, None] | None = None  # what is left of a turn
        self._reconcile: Generator[None, None, None] | None = None
        self._progress: Progress | None = None  # as last published
        self._reported = -REPORT_S  # when progress was last published
        self._had_records = False  # whether the last turn found new records
        self._turned = self._reported  # when the last turn ended
        self._reconcile_due = time.monotonic()  # the first reconcile is at start
        self._gauges_due = self._reconcile_due + GAUGES_S

    def turn(self) -> None:
        """Go on for at most ``TURN_S`` and the step at hand; the next call goes on from there."""
        self._steps = self._steps or self._work_through()
        until = time.monotonic() + TURN_S
        while next(self._steps, self) is not self:
            if time.monotonic() >= until:
                break
        else:
            self._steps = None
        self._turned = time.monotonic()

    def _work_through(self) -> Generator[None, None, None]:
        """Consume, act, reconcile when it is due or requested, and publish the progress.

        Once an entry says that the pipeline is another, it only becomes ``outdated``: a planner of
        the old pipeline must not report that it is done up to that entry.
        """
        before = self.planner.offset
        yield from self.planner.consume()
        if self._is_outdated():
            return
        # While records come, asking the bus whether they were the last is a wasted round trip.
        self._had_records = self.planner.offset != before
        yield from self.planner.act(check_idle=not self._had_records)
        self._write_metadata()
        yield from self._continue_reconcile()
        if self._is_outdated():  # a reconcile has read on
            return
        self._report()
        if time.monotonic() >= self._gauges_due:
            self._gauges_due = time.monotonic() + GAUGES_S
            self.planner.update_gauges()

    def _is_outdated(self) -> bool:
        announced, self.planner.pipeline_changed = self.planner.pipeline_changed, False
        self.outdated = self.outdated or (announced and self.record.changed())
        return self.outdated

    def _continue_reconcile(self) -> Generator[None, None, None]:
        """Begin a reconcile if one is due or requested, and take its next steps."""
        # A request waits until nothing else is left to do; reading requests costs a round trip.
        request = self._bus.end([wire.CONTROL]) if self.planner.settled else self._reconciled
        requested = request > self._reconciled
        if self._reconcile is None and (requested or time.monotonic() >= self._reconcile_due):
            self._reconcile = self._reconcile_all(request)
        if self._reconcile is not None:
            for _ in range(STAMPS_PER_TURN):
                yield
                if next(self._reconcile, self) is self:
                    self._reconcile = None
                    break

    def _reconcile_all(self, request: int) -> Generator[None, None, None]:
        """Reconcile; the request is fulfilled if nothing differed and nothing was written."""
        before = self._bus.end(wire.ledger_topics())
        idle = self.planner.settled
        yield from self.planner.reconcile()
        yield from self.planner.consume()
        if self._is_outdated():
            return
        yield from self.planner.act()
        self._reconcile_due = time.monotonic() + self._settings.reconcile_s
        if idle and self.planner.settled and self._bus.end(wire.ledger_topics()) == before:
            self._reconciled = max(self._reconciled, request)

    def close(self) -> None:
        """Subtract what this planner added to the gauges of its process."""
        self.planner.metrics.close()

    @property
    def due(self) -> float:
        """Time (of ``time.monotonic``) of the next turn if nobody writes to the bus until then."""
        if self._steps is not None or self._reconcile is not None or self.planner.more:
            return self._turned
        if self._had_records:
            return self._turned + QUIET_S
        if not self.planner.settled:  # a task is recorded before it is taken off its queue
            return self._turned + UNSETTLED_S
        return min(self._reconcile_due, self._gauges_due)

    def _report(self) -> None:
        planner = self.planner
        progress = Progress(
            self._service.name, planner.offset, planner.settled, self._reconciled,
            planner.wanted, planner.frontier.recorded, len(planner.frontier.failed),
            self._pipeline,
        )  # fmt: skip
        due = progress.settled or time.monotonic() >= self._reported + REPORT_S
        if progress != self._progress and due:
            self._progress, self._reported = progress, time.monotonic()
            key = f"{self.dataset.name}/{self._service.name}"
            self._bus.publish(wire.PROGRESS, key, wire.encode(progress))

    def _write_metadata(self) -> None:
        """Create and resize this service's arrays: only the owner's planner writes metadata."""
        grid = self.planner.frontier.grid
        z = grid.shape[0] or self.planner.landed_z * grid.chunk[0]
        if z == self._described_z:
            return
        current = self.dataset.sealed(z)
        documents = ngff.documents(current, self._arrays)
        for path, document in documents.items():
            data = canonical(document)
            if self._documents.get(path) != data:
                self._files.put(path, data)
                self._documents[path] = data
        self._described_z = z


# -- worker --------------------------------------------------------------------------------------


class WorkerLoop:
    """Takes tasks one at a time; ``turn`` returns whether there was one."""

    def __init__(
        self, service: Service, files: Files, bus: Bus, settings: Settings, owner: str,
        telemetry: Telemetry = SILENT, decoded: Decoded = NOTHING,
    ) -> None:  # fmt: skip
        self._bus = bus
        self._owner = owner
        self._settings = settings
        self._service = service.name
        self._families = service.families
        dataset, self._site = open_site(files, bus, telemetry, decoded)
        self.creation = dataset.incarnation
        self.record = RecordWatch(files, dataset)
        service.describe(dataset, telemetry)
        stages = service.stages(dataset, files)
        self._worker = Worker(self._site, stages, lambda: read_dataset(files).grid)
        self.current: Delivery | None = None

    def turn(self) -> bool:
        """Take one task and carry it out to its end; return whether there was one."""
        topic = wire.task_topic(self._service)
        delivery = self._bus.take(topic, self._owner, self._settings.lease_s)
        if delivery is None:
            return False
        self.carry_out(delivery)
        return True

    def carry_out(self, delivery: Delivery) -> None:
        """Carry out a task and acknowledge it; park one that crashed ``CRASHES`` workers."""
        self.current = delivery
        try:
            task = self._task_of(delivery)
        except Poison as poison:
            pass_over(f"task {delivery.key}", poison)
            self._bus.discard(delivery)  # a planner sends again what is wanted
        else:
            self._end(task, delivery)
            self._bus.acknowledge(delivery, self._owner)
        self.current = None

    def _task_of(self, delivery: Delivery) -> Task:
        """Return the task that was delivered; raise Poison for what is none."""
        task = wire.decode(delivery.value)
        if not isinstance(task, Task):
            raise Poison(f"a {type(task).__name__}, not a task")
        wanted = wire.record_key(self._site.dataset, task.stage, task.subject)
        if delivery.key != wanted:
            raise Poison(f"the task of {cut(wanted)}")
        return task

    def _end(self, task: Task, delivery: Delivery) -> None:
        """Carry out a task, or give it up."""
        if task.stage.partition("/")[0] not in self._families:
            pass_over(f"task {delivery.key}", f"{self._service} has no such stage")
            self._publish_dead_letter(task, "poison", "no stage of this service", delivery.crashes)
        elif delivery.crashes >= CRASHES and self._worker.knows(task):
            self.park(task, delivery, f"its worker died {delivery.crashes} times")
        else:
            self._work(task, delivery)

    def give_up(self, delivery: Delivery, reason: str) -> None:
        """Park a task at which this version fails, with the reason, and take it off its queue."""
        with contextlib.suppress(Poison):
            self.park(self._task_of(delivery), delivery, reason)
        self._bus.discard(delivery)

    def _work(self, task: Task, delivery: Delivery) -> None:
        begun, cpu_s = time.time(), time.process_time()
        if delivery.sent_s:
            waited = max(begun - delivery.sent_s, 0.0)  # clocks of machines differ a little
            family = task.stage.partition("/")[0]
            self._site.telemetry.observe(TASK_SECONDS, waited, stage=family, step="queue")
        for attempt in backoff():
            with attempt:
                outcome = drive(self._worker.handle(task))
        log.info("%s %s %s", task.stage, task.subject, outcome)
        if outcome == "computed":
            cpu_s = round(time.process_time() - cpu_s, 3)
            work = canonical([delivery.key, begun, time.time(), cpu_s])
            self._bus.publish(wire.WORK, delivery.key, work)
        if outcome == "failed":
            self._publish_dead_letter(task, "poison", self._worker.cause, delivery.crashes)

    def park(self, task: Task, delivery: Delivery, reason: str) -> None:
        """Record that a task is given up since workers die of it."""
        self._site.publish(
            Record(task.stage, task.subject, "failed", task.key, reason=reason, crashed=True)
        )
        self._publish_dead_letter(task, "crashed", reason, delivery.crashes)

    def _publish_dead_letter(self, task: Task, reason: str, cause: str, crashes: int) -> None:
        self._site.telemetry.add(DEAD_LETTERS, reason=reason)
        letter = DeadLetter(self._service, task, cause, crashes, self._owner)
        key = wire.record_key(self._site.dataset, task.stage, task.subject)
        try:
            data = wire.encode(letter)
        except Poison:  # the task alone fills an event: name it without its inputs
            short = replace(task, stage=task.stage[:MAX_STAGE], key="", extra=b"", inputs=())
            data = wire.encode(replace(letter, task=replace(short, manifest="")))
        self._bus.publish(wire.dead_letter_topic(self._service), key, data)

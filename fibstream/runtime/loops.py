"""What every service process repeats: a planner's turn, and a worker's task."""

import logging
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from fibstream.bus import wire
from fibstream.core.errors import DiskFull, Poison, Retryable
from fibstream.core.events import DeadLetter, Progress, Record, Task
from fibstream.core.keys import canonical
from fibstream.core.ports import Bus, Delivery, Files
from fibstream.store import ngff
from fibstream.store.record import read_dataset
from fibstream.telemetry.metrics import DEAD_LETTERS, SILENT, TASK_SECONDS, Telemetry

from .planner import Planner
from .service import Service
from .settings import Settings
from .site import open_site
from .worker import Worker

log = logging.getLogger(__name__)

ATTEMPTS = 6  # at a store or bus that is away: 0.1 s doubling, about six seconds in all
LOOKS = 200  # stamps read in one turn: tasks must not wait until a million have been
LULL_S = 0.1  # after the last record a planner finds out whether it is idle
UNSETTLED_S = 0.25  # how often a planner looks whether the last tasks are off its queue
TELL_S = 0.2  # between two reports of a planner that is at work
MEASURE_S = 5.0  # how often lag and queue are asked of the bus: half of a usual scrape interval
CRASHES = 3  # of workers on one task, then it is parked


def stubborn() -> Retrying:
    """Return the rule for a store or bus that is away: back off, a bounded number of times."""
    away = retry_if_exception(lambda e: isinstance(e, Retryable) and not isinstance(e, DiskFull))
    return Retrying(
        retry=away, stop=stop_after_attempt(ATTEMPTS), wait=wait_exponential(0.1), reraise=True
    )


def exhaust(steps: Iterator[None]) -> None:
    """Run a generator of effects through."""
    for _ in steps:
        pass


def drive(steps: Generator[None, None, Any]) -> Any:
    """Run a generator of effects through and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


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
            site, service.name, service.stages(self.dataset, files), service.fold(self.dataset),
            lambda: read_dataset(files).grid, service.lands(self.dataset),
        )  # fmt: skip
        self._documents: dict[str, bytes] = {}
        self._described = 0  # the extent in z that they say
        self._control = 0  # how far the log of requests is read
        self._requested = 0
        self._reconciled = 0
        self._reconcile: Generator[None, None, None] | None = None
        self._last: Progress | None = None
        self._told = -TELL_S  # when it last said how far it is
        self._restless = False  # whether the last turn found new records
        self._turned = self._told  # when the last turn ended
        self._due = time.monotonic()  # the first reconcile is at start
        self._measure = self._due + MEASURE_S

    def turn(self) -> None:
        """Consume, act, reconcile when it is due or asked for, and say how far it got."""
        before = self.planner.offset
        exhaust(self.planner.consume())
        # While records come there is no use in asking whether they were the last.
        self._restless = self.planner.offset != before
        exhaust(self.planner.act(look=not self._restless))
        self._describe()
        # What is asked for waits until nothing else is left to do; each look costs a round trip.
        request = self._request() if self.planner.settled else self._requested
        asked = request > self._reconciled and self.planner.settled
        if self._reconcile is None and (asked or time.monotonic() >= self._due):
            self._reconcile = self._look_at_everything(request)
        if self._reconcile is not None and next(islice(self._reconcile, LOOKS, None), self) is self:
            self._reconcile = None
        self._report()
        if time.monotonic() >= self._measure:
            self._measure = time.monotonic() + MEASURE_S
            self.planner.measure()
        self._turned = time.monotonic()

    def _look_at_everything(self, request: int) -> Generator[None, None, None]:
        """Reconcile; the request is fulfilled when nothing was found and nothing happened."""
        before = self._bus.end(wire.LEDGER_TOPICS)
        idle = self.planner.settled
        yield from self.planner.reconcile()
        exhaust(self.planner.consume())
        exhaust(self.planner.act())
        self._due = time.monotonic() + self._settings.reconcile_s
        if idle and self.planner.settled and self._bus.end(wire.LEDGER_TOPICS) == before:
            self._reconciled = max(self._reconciled, request)

    def close(self) -> None:
        """Take back what this planner added to the numbers of its process."""
        self.planner.watch.close()

    @property
    def due(self) -> float:
        """When a next turn has something to do even if nobody writes; as time.monotonic()."""
        if self._reconcile is not None or self.planner.more:
            return self._turned
        if self._restless:
            return self._turned + LULL_S
        if not self.planner.settled:  # a task is recorded before it is taken off its queue
            return self._turned + UNSETTLED_S
        return min(self._due, self._measure)

    def _request(self) -> int:
        """Return the number of the last reconcile that somebody asked for."""
        for entry in self._bus.read([wire.CONTROL], self._control):
            self._control = entry.offset
            self._requested = max(self._requested, int(entry.value))
        return self._requested

    def _report(self) -> None:
        planner = self.planner
        progress = Progress(
            self._service.name, planner.offset, planner.settled, self._reconciled,
            planner.wanted, planner.frontier.recorded, len(planner.frontier.failed),
        )  # fmt: skip
        due = progress.settled or time.monotonic() >= self._told + TELL_S
        if progress != self._last and due:
            self._last, self._told = progress, time.monotonic()
            key = f"{self.dataset.name}/{self._service.name}"
            self._bus.publish(wire.PROGRESS, key, wire.encode(progress))

    def _describe(self) -> None:
        """Create and resize this service's arrays: only the owner's planner writes metadata."""
        grid = self.planner.frontier.grid
        z = grid.shape[0] or self.planner.landed_z * grid.chunk[0]
        if z == self._described:
            return
        current = self.dataset.sealed(z)
        documents = ngff.documents(current, self._service.arrays(current))
        for path, document in documents.items():
            data = canonical(document)
            if self._documents.get(path) != data:
                self._files.put(path, data)
                self._documents[path] = data
        self._described = z


# -- worker --------------------------------------------------------------------------------------


class WorkerLoop:
    """Takes tasks one at a time; ``turn`` returns whether there was one."""

    def __init__(
        self, service: Service, files: Files, bus: Bus, settings: Settings, owner: str,
        telemetry: Telemetry = SILENT,
    ) -> None:  # fmt: skip
        self._bus = bus
        self._owner = owner
        self._settings = settings
        self._service = service.name
        dataset, self._site = open_site(files, bus, telemetry)
        service.describe(dataset, telemetry)
        stages = service.stages(dataset, files)
        self._worker = Worker(self._site, stages, lambda: read_dataset(files).grid)
        self.current: Delivery | None = None

    def turn(self) -> bool:
        """Take one task and carry it out, whole."""
        topic = wire.task_topic(self._service)
        delivery = self._bus.take(topic, self._owner, self._settings.lease_s)
        if delivery is None:
            return False
        self.carry_out(delivery)
        return True

    def carry_out(self, delivery: Delivery) -> None:
        """Carry out a task and acknowledge it; park one that killed its workers."""
        self.current = delivery
        try:
            task = wire.decode(delivery.value)
            if not isinstance(task, Task):
                raise Poison(f"a {type(task).__name__}, not a task")
        except Poison as poison:
            log.error("%s: %s", delivery.key, poison)
            self._bus.discard(delivery)  # what is wanted will be sent again
        else:
            if delivery.crashes >= CRASHES:
                self._park(task, delivery)
            else:
                self._work(task, delivery)
            self._bus.acknowledge(delivery, self._owner)
        self.current = None

    def _work(self, task: Task, delivery: Delivery) -> None:
        begun = time.time()
        if delivery.sent_s:  # clocks of several machines differ a little
            waited = max(begun - delivery.sent_s, 0.0)
            family = task.stage.partition("/")[0]
            self._site.telemetry.observe(TASK_SECONDS, waited, stage=family, step="queue")
        for attempt in stubborn():
            with attempt:
                outcome = drive(self._worker.handle(task))
        log.info("%s %s %s", task.stage, task.index, outcome)
        if outcome == "computed":
            work = canonical([delivery.key, begun, time.time()])
            self._bus.publish(wire.WORK, delivery.key, work)
        if outcome == "failed":
            self._give_up(task, "poison", self._worker.cause, delivery.crashes)

    def _park(self, task: Task, delivery: Delivery) -> None:
        reason = f"its worker died {delivery.crashes} times"
        self._site.publish(
            Record(task.stage, task.index, "failed", task.key, reason=reason, crashed=True)
        )
        self._give_up(task, "crashed", reason, delivery.crashes)

    def _give_up(self, task: Task, reason: str, cause: str, crashes: int) -> None:
        self._site.telemetry.add(DEAD_LETTERS, reason=reason)
        letter = DeadLetter(self._service, task, cause, crashes, self._owner)
        key = wire.record_key(self._site.dataset, task.stage, task.index)
        try:
            data = wire.encode(letter)
        except Poison:  # the task alone fills an event: its facts can be made again
            data = wire.encode(replace(letter, task=replace(task, extra=b"", inputs=())))
        self._bus.publish(wire.dead_topic(self._service), key, data)

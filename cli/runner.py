"""The local runner: all services of one dataset as processes on the embedded bus."""

import contextlib
import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from socket import gethostname

from fibstream.bus import wire
from fibstream.bus.reading import event_of
from fibstream.core.errors import DiskFull, FibstreamError, Retryable, WrongUse
from fibstream.core.events import Progress
from fibstream.core.ports import Bus
from fibstream.runtime.children import Child, join, spawn
from fibstream.runtime.ledger import request_reconcile
from fibstream.runtime.process import EXIT_DISK_FULL, EXIT_WRONG_USE
from fibstream.runtime.settings import Settings

log = logging.getLogger(__name__)

RESTARTS = 10  # of one process without a task to blame: then the run gives up
POLL_S = 0.1


class Broken(FibstreamError):
    """A service cannot run at all."""


class Runner:
    """Starts, watches, restarts and stops the processes; never touches the results."""

    def __init__(
        self,
        root: Path,
        dataset: str,
        bus: Bus,
        bus_url: str,
        landing: Sequence[str] | None,
        settings: Settings,
        services: Sequence[str],
    ) -> None:
        self._services = services  # those that the dataset needs
        self.landed = False  # without a landing process the caller sets it
        self._root = root
        self._dataset = dataset
        self._bus = bus
        self._bus_url = bus_url
        self._workers = settings.workers
        given = {f"FIBSTREAM_{n.upper()}": str(v) for n, v in settings.model_dump().items()}
        self._environment = {**os.environ, **given}
        self._logs = root / ".fibstream" / "log"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._progress: dict[str, Progress] = {}
        self._read = 0  # how far the log of progress is read
        self._request = 0  # the number of our last request for a reconcile
        self._children: list[Child] = []
        if landing is not None:
            module = "fibstream.services.ingest.edges.land"
            self._children.append(self._spawn("landing", module, landing))
        for service in self._services:
            self._children.append(self._spawn(f"{service}-planner", *_module(service, "plan")))
        self._start_workers()

    def _start_workers(self) -> None:
        for service in self._services:
            for number in range(self._workers):
                name = f"{service}-worker-{number}"
                self._children.append(self._spawn(name, *_module(service, "work")))

    def _spawn(self, name: str, module: str, arguments: Sequence[str]) -> Child:
        line = [*arguments, "--dataset", str(self._root), "--bus", self._bus_url]
        log_file = self._logs / f"{name}.log"
        child = spawn(name, module, line, environment=self._environment, log=log_file)
        child.arguments = arguments
        log.info("%s started: process %d, log %s", name, child.number, log_file)
        return child

    # -- watching --------------------------------------------------------------------------------

    def watch(self) -> None:
        """Look once at every process: restart what died, park what kills."""
        for number, child in enumerate(self._children):
            code = child.process.poll()
            if code is None or (child.name == "landing" and self.landed):
                continue
            if child.name == "landing" and code == 0:
                self.landed = True
                continue
            self._children[number] = self._replace(child, code)

    def _replace(self, child: Child, code: int) -> Child:
        if code == EXIT_WRONG_USE:
            raise WrongUse(child.last_message())
        if code == EXIT_DISK_FULL:
            raise DiskFull(f"no space left for {self._root}")  # nor for a last line in its log
        log.info("%s ended (%d) and is started again: %s", child.name, code, child.last_message())
        # A task that goes on killing is parked by the worker that is handed it next.
        blamed = self._bus.reclaim(f"{gethostname()}:{child.number}")
        restarts = child.restarts + (not blamed)
        if restarts > RESTARTS:
            raise Broken(f"{child.name} ended {restarts} times ({code}): {child.last_message()}")
        fresh = self._spawn(child.name, child.module, child.arguments)
        fresh.restarts = restarts
        return fresh

    # -- progress --------------------------------------------------------------------------------

    def progress(self) -> dict[str, Progress]:
        """Return how far each planner has come."""
        while entries := self._bus.read([wire.PROGRESS], self._read):
            self._read = entries[-1].offset
            for event in map(event_of, entries):
                if isinstance(event, Progress):
                    self._progress[event.service] = event
        return self._progress

    def _settled(self, request: int) -> bool:
        """Whether every planner has seen the whole ledger and has nothing left to do."""
        end = self._bus.end(wire.ledger_topics())
        found = self.progress()
        return (
            self.landed
            and found.keys() >= set(self._services)
            and all(p.settled and p.reconciled >= request for p in found.values())
            and all(self._bus.backlog(wire.task_topic(s)) == 0 for s in self._services)
            and all(p.offset >= end for p in found.values())
            and end == self._bus.end(wire.ledger_topics())
        )

    def run(self) -> Iterator[None]:
        """Yield now and then until everything is done and a last reconcile found nothing.

        The workers are stopped and joined before that reconcile: none is left that could write
        later (protocol.md, "Complete").
        """
        yield from self._wait(0)
        while True:
            self._stop([c for c in self._children if "-worker-" in c.name])
            self._request = request_reconcile(self._bus, self._dataset)
            while not self._settled(self._request):
                if any(self._bus.backlog(wire.task_topic(s)) for s in self._services):
                    break  # it found something: there is work again
                self.watch()
                yield
                time.sleep(POLL_S)
            else:
                return
            self._start_workers()
            yield from self._wait(0)

    def _wait(self, request: int) -> Iterator[None]:
        while not self._settled(request):
            self.watch()
            yield
            self._bus.wait(POLL_S)
            time.sleep(POLL_S / 4)  # the bus is busy: do not look at every record

    # -- stopping --------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop and join every process."""
        # Their tasks need not be released on a full disk: the next run forgets all tasks.
        with contextlib.suppress(Retryable):
            self._stop(list(self._children))

    def _stop(self, children: list[Child]) -> None:
        join(children)
        for child in children:
            self._bus.reclaim(f"{gethostname()}:{child.number}")
        self._children = [c for c in self._children if c not in children]


def _module(service: str, role: str) -> tuple[str, list[str]]:
    return f"fibstream.services.{service}", [role]

"""The shell of every service process: open the dataset, loop, renew leases, stop cleanly."""

import argparse
import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from . import ngff, wire
from .dataset import RECORD, Dataset
from .errors import DiskFull, Poison, Retryable, WrongUse
from .events import Progress, Task
from .fold import Fold, NoFold
from .keys import canonical
from .local import PRIVATE, LocalFiles
from .memory import MemoryBus
from .planner import Planner
from .ports import Bus, Delivery, Files
from .settings import Settings, load
from .sqlite import SqliteBus
from .stage import Input, Stage
from .store import Store
from .worker import Site, Worker

log = logging.getLogger(__name__)

EXIT_WRONG_USE = 2
EXIT_DISK_FULL = 28  # the runner stops the run: no restart makes room
IDLE_S = 0.25  # a waiting process looks up at least so often, to notice signals and due work
ATTEMPTS = 6  # at a store or bus that is away: 0.1 s doubling, about six seconds in all
LOOKS = 200  # stamps read in one turn: tasks must not wait until a million have been
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Service:
    """One service as data: its stages, its fold, and what else its planner looks after."""

    name: str
    stages: Callable[[Dataset, Files], Sequence[Stage]]
    fold: Callable[[Dataset], Fold] = field(default=lambda _: NoFold())
    arrays: Callable[[Dataset], list[tuple[str, str, bool]]] = field(default=lambda _: [])
    lands: Callable[[Dataset], Input | None] = field(default=lambda _: None)


def bus_path(root: Path) -> Path:
    """Return where a dataset keeps its embedded bus."""
    return root / PRIVATE / "bus.sqlite"


RunBus = SqliteBus | MemoryBus


def open_bus(url: str | None, root: Path) -> RunBus:
    """Open the bus that a URL names; the dataset's own embedded one by default."""
    scheme, colon, rest = (url or f"sqlite:{bus_path(root)}").partition(":")
    if colon and scheme == "sqlite" and rest:
        return SqliteBus(Path(rest))
    if colon and scheme == "memory" and not rest:
        return MemoryBus()
    raise WrongUse(f"--bus {url}: expected sqlite:PATH or memory:")


def read_dataset(files: Files) -> Dataset:
    """Read the dataset record."""
    handle = files.open(RECORD)
    if handle is None:
        raise WrongUse("not a fibstream dataset: it has no " + RECORD)
    with contextlib.closing(handle):
        return Dataset.model_validate_json(handle.read(0, handle.size))


def open_site(files: Files, bus: Bus) -> tuple[Dataset, Site]:
    """Open a dataset's store and bus."""
    dataset = read_dataset(files)
    return dataset, Site(dataset.name, Store(files, dataset.grid), bus, version("fibstream"))


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

    def __init__(self, service: Service, files: Files, bus: Bus, settings: Settings) -> None:
        self._service = service
        self._files = files
        self._bus = bus
        self._settings = settings
        self.dataset, site = open_site(files, bus)
        self.planner = Planner(
            site, service.name, service.stages(self.dataset, files), service.fold(self.dataset),
            lambda: read_dataset(files).grid, service.lands(self.dataset),
        )  # fmt: skip
        self._documents: dict[str, bytes] = {}
        self._reconciled = 0
        self._reconcile: Generator[None, None, None] | None = None
        self._last: Progress | None = None
        self._due = time.monotonic()  # the first reconcile is at start

    def turn(self) -> None:
        """Consume, act, reconcile when it is due or asked for, and say how far it got."""
        exhaust(self.planner.consume())
        exhaust(self.planner.act())
        self._describe()
        request = self._request()
        asked = request > self._reconciled and self.planner.idle
        if self._reconcile is None and (asked or time.monotonic() >= self._due):
            self._reconcile = self._look_at_everything(request)
        if self._reconcile is not None and next(islice(self._reconcile, LOOKS, None), self) is self:
            self._reconcile = None
        self._report()

    def _look_at_everything(self, request: int) -> Generator[None, None, None]:
        """Reconcile; the request is fulfilled when nothing was found and nothing happened."""
        before = self._bus.end(wire.LEDGER_TOPICS)
        idle = self.planner.idle
        yield from self.planner.reconcile()
        exhaust(self.planner.consume())
        exhaust(self.planner.act())
        self._due = time.monotonic() + self._settings.reconcile_s
        if idle and self.planner.idle and self._bus.end(wire.LEDGER_TOPICS) == before:
            self._reconciled = max(self._reconciled, request)

    @property
    def busy(self) -> bool:
        """Whether the next turn has something to do even if nobody writes."""
        return self._reconcile is not None

    def _request(self) -> int:
        """Return the number of the last reconcile that somebody asked for."""
        entries = self._bus.read([wire.CONTROL], 0)
        return max((int(e.value) for e in entries), default=0)

    def _report(self) -> None:
        planner = self.planner
        progress = Progress(
            self._service.name, planner.offset, planner.idle, self._reconciled,
            planner.wanted, planner.frontier.recorded, len(planner.frontier.failed),
        )  # fmt: skip
        if progress != self._last:
            self._last = progress
            key = f"{self.dataset.name}/{self._service.name}"
            self._bus.publish(wire.PROGRESS, key, wire.encode(progress))

    def _describe(self) -> None:
        """Create and resize this service's arrays: only the owner's planner writes metadata."""
        grid = self.planner.frontier.grid
        z = grid.shape[0] or self.planner.landed_z * grid.chunk[0]
        if not z:
            return
        current = self.dataset.sealed(z)
        documents = ngff.documents(current, self._service.arrays(current))
        for path, document in documents.items():
            data = canonical(document)
            if self._documents.get(path) != data:
                self._files.put(path, data)
                self._documents[path] = data


# -- worker --------------------------------------------------------------------------------------


class WorkerLoop:
    """Takes tasks one at a time; ``turn`` returns whether there was one."""

    def __init__(
        self, service: Service, files: Files, bus: Bus, settings: Settings, owner: str
    ) -> None:
        self._bus = bus
        self._owner = owner
        self._settings = settings
        self._topic = wire.task_topic(service.name)
        dataset, self._site = open_site(files, bus)
        stages = service.stages(dataset, files)
        self._worker = Worker(self._site, stages, lambda: read_dataset(files).grid)
        self._number = 0
        self.current: Delivery | None = None

    def turn(self) -> bool:
        """Take one task and carry it out, whole."""
        delivery = self._bus.take(self._topic, self._owner, self._settings.lease_s)
        if delivery is None:
            return False
        self.current = delivery
        try:
            task = wire.decode(delivery.value)
        except Poison as poison:
            log.error("%s: %s", delivery.key, poison)
            self._bus.discard(delivery)  # what is wanted will be sent again
            return True
        assert isinstance(task, Task)
        begun = time.time()
        for attempt in stubborn():
            with attempt:
                outcome = drive(self._worker.handle(task))
        log.info("%s %s %s", task.stage, task.index, outcome)
        if outcome == "computed":
            self._number += 1
            work = canonical([delivery.key, begun, time.time()])
            self._bus.publish(wire.WORK, f"{self._owner}/{self._number}", work)
        self._bus.acknowledge(delivery, self._owner)
        self.current = None
        return True


def _renew(loop: WorkerLoop, bus: Bus, owner: str, lease_s: float, stop: threading.Event) -> None:
    """Renew the lease of the task at hand from a thread with a connection of its own."""
    while not stop.wait(lease_s / 3):
        current = loop.current
        if current is not None:
            bus.renew(current, owner, lease_s)
    bus.close()


# -- process -------------------------------------------------------------------------------------


def die_with(parent: int) -> None:
    """Have the kernel end this process when its parent ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if orphaned(parent):
        sys.exit(1)  # it ended before we could ask


def orphaned(parent: int | None) -> bool:
    """Whether the process that started this one is gone: the one way to know it on macOS."""
    return parent is not None and os.getppid() != parent


def main(service: Service, arguments: Sequence[str] | None = None) -> None:
    """Run ``plan`` or ``work`` of a service on a dataset until told to stop."""
    parser = argparse.ArgumentParser(prog=f"python -m fibstream.services.{service.name}")
    parser.add_argument("role", choices=("plan", "work"))
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--bus", help="sqlite:PATH; the dataset's own by default")
    parser.add_argument("--parent", type=int, help="end when this process ends")
    given = parser.parse_args(arguments)
    with running(given.parent) as (settings, stopping):
        files, bus = LocalFiles(given.dataset), open_bus(given.bus, given.dataset)
        if given.role == "plan":
            planner = PlannerLoop(service, files, bus, settings)
            while not stopping.is_set() and not orphaned(given.parent):
                planner.turn()
                if not planner.busy:
                    bus.wait(IDLE_S)
        else:
            owner = f"{socket.gethostname()}:{os.getpid()}"
            worker = WorkerLoop(service, files, bus, settings, owner)
            own = open_bus(given.bus, given.dataset)
            renewing = (worker, own, owner, settings.lease_s, stopping)
            threading.Thread(target=_renew, args=renewing, daemon=True).start()
            while not stopping.is_set() and not orphaned(given.parent):
                if not worker.turn():
                    bus.wait(IDLE_S)
        bus.close()


@contextlib.contextmanager
def running(parent: int | None) -> Iterator[tuple[Settings, threading.Event]]:
    """Set up a service process: settings, log lines, signals, and one way to run out of disk."""
    settings, _ = load()
    level = settings.log_level.upper()
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if parent is not None:
        die_with(parent)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        yield settings, stopping
    except (DiskFull, WrongUse) as error:
        # The log may be on the full disk; what a buffer kept would fail again at exit.
        with contextlib.suppress(OSError):
            os.write(sys.stderr.fileno(), f"{error}\n".encode())
        sys.exit(EXIT_DISK_FULL if isinstance(error, DiskFull) else EXIT_WRONG_USE)

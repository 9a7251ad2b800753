"""One process of a service for all datasets below a root: its planners, or a worker."""

import contextlib
import logging
import time
from typing import Protocol

from fibstream.bus import wire
from fibstream.core.errors import NotFound, Retryable, WrongUse
from fibstream.core.ports import Bus, Delivery
from fibstream.core.service import Service
from fibstream.telemetry.metrics import SILENT, Telemetry

from .loops import PlannerLoop, WorkerLoop
from .root import OneDataset, Root
from .settings import Settings

log = logging.getLogger(__name__)

SCAN_S = 1.0  # between two reads of the catalogue: a new dataset waits no longer
QUIET_SHARE = 50  # a quiet bus is polled again after the time it was quiet, divided by this
MAX_POLL_S = 0.5  # or after this, whichever is shorter
PAUSE_S = 0.02  # between two rounds over several datasets that had nothing to do


class Host(Protocol):
    """What a process repeats until it is stopped."""

    def turn(self) -> bool:
        """Do what can be done now; return whether there was anything."""

    def wait(self, timeout_s: float) -> None:
        """Return when there may be something to do, or after ``timeout_s``."""

    def close(self) -> None:
        """Close all buses."""


class HostedPlanner:
    """A planner and its bus, which is polled the less often the longer it was quiet."""

    def __init__(self, loop: PlannerLoop, bus: Bus) -> None:
        self.loop = loop
        self.bus = bus
        self._changed = True  # something may have been written that the planner has not read
        self._last_change = self._next_poll = time.monotonic()

    def has_work(self) -> bool:
        """Whether the planner has something to do; polls the bus if that is due."""
        now = time.monotonic()
        if now >= self._next_poll:
            self._changed |= self.bus.wait(0)
            self._last_change = now if self._changed else self._last_change
            quiet_s = now - self._last_change
            self._next_poll = now + min(quiet_s / QUIET_SHARE, MAX_POLL_S)
        found, self._changed = self._changed or now >= self.loop.due, False
        return found

    def wait(self, timeout_s: float) -> None:
        """Return when the planner may have something to do, or after ``timeout_s``."""
        left = max(self.loop.due - time.monotonic(), 0)
        self._changed |= self.bus.wait(min(timeout_s, left))
        self._next_poll = 0.0


class PlannerHost:
    """The planners of one service, one for each dataset below a root."""

    def __init__(
        self,
        service: Service,
        root: Root | OneDataset,
        settings: Settings,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._service = service
        self._root = root
        self._settings = settings
        self._telemetry = telemetry
        self.loops: dict[str, HostedPlanner] = {}  # of the datasets that are open
        self._refused: set[str] = set()
        self._due = 0.0

    def turn(self) -> bool:
        """Run one turn of each planner that has work; return whether one has more at once."""
        if time.monotonic() >= self._due:
            self._scan()
        for name, hosted in list(self.loops.items()):
            if hosted.has_work():
                try:
                    hosted.loop.turn()
                except NotFound:
                    self._drop(name)  # the dataset was deleted meanwhile
                else:
                    self._reopen_outdated(name, outdated=hosted.loop.outdated)
        now = time.monotonic()
        return any(hosted.loop.due <= now for hosted in self.loops.values())

    def _reopen_outdated(self, name: str, *, outdated: bool) -> None:
        """Open a dataset anew, with the stages of the pipeline that its record has now."""
        if outdated:
            log.info("dataset %s: another pipeline", name)
            self._drop(name)
            self._try_open(name)

    def _scan(self) -> None:
        names = set(self._root.names())
        for name in self.loops.keys() - names:
            self._drop(name)
        # The entry that announces another pipeline may be lost: the record is what counts.
        for name, hosted in list(self.loops.items()):
            try:
                self._reopen_outdated(name, outdated=hosted.loop.record.changed())
            except NotFound:
                self._drop(name)
                if self._root.single:
                    raise
        self._refused &= names
        for name in sorted(names - self.loops.keys() - self._refused):
            self._try_open(name)
        self._due = time.monotonic() + SCAN_S

    def _try_open(self, name: str) -> None:
        try:
            self.loops[name] = self._open(name)
        except NotFound:  # its record is on its way, or it is being deleted
            if self._root.single:
                raise
        except WrongUse as error:
            if self._root.single:
                raise
            log.error("dataset %s: %s", name, error)
            self._refused.add(name)

    def _open(self, name: str) -> HostedPlanner:
        bus = self._root.bus(name)
        try:
            files = self._root.files(name)
            loop = PlannerLoop(self._service, files, bus, self._settings, self._telemetry)
        except BaseException:
            bus.close()
            raise
        return HostedPlanner(loop, bus)

    def _drop(self, name: str) -> None:
        hosted = self.loops.pop(name)
        hosted.loop.close()
        hosted.bus.close()

    def wait(self, timeout_s: float) -> None:
        """Wait on the bus if there is one, else for a short time."""
        if len(self.loops) == 1:
            (hosted,) = self.loops.values()
            hosted.wait(timeout_s)
        else:
            time.sleep(PAUSE_S if self.loops else timeout_s)

    def close(self) -> None:
        """Close all buses."""
        for name in list(self.loops):
            self._drop(name)


class WorkerHost:
    """One worker of a service that serves every dataset below a root, one task at a time."""

    def __init__(
        self, service: Service, root: Root | OneDataset, settings: Settings, owner: str,
        telemetry: Telemetry = SILENT, *, after: str = "",
    ) -> None:  # fmt: skip
        self._after = after  # the dataset whose task killed the worker before: it comes last
        self._service = service
        self._root = root
        self._settings = settings
        self._owner = owner
        self._telemetry = telemetry
        self._shared = root.shared_bus()
        self.loops: dict[str, tuple[WorkerLoop, Bus]] = {}  # of the datasets that are open
        self._names: list[str] = []
        self._due = 0.0
        self.held: tuple[str, Delivery] | None = None  # the dataset, and its task at hand

    def turn(self) -> bool:
        """Take one task of any dataset and carry it out."""
        if self._shared is not None:
            return self._serve(self._shared)
        if time.monotonic() >= self._due:
            names = sorted(self._root.names())
            self._names = [*(n for n in names if n > self._after),
                           *(n for n in names if n <= self._after)]  # fmt: skip
            self._due = time.monotonic() + SCAN_S
        # A task of each dataset in turn: one with much to do does not starve the others.
        return sum(self._visit(name) for name in list(self._names)) > 0

    def _visit(self, name: str) -> bool:
        """Take a task from a dataset's own bus."""
        loop = self._loop(name, None)
        return loop is not None and self._serve(self.loops[name][1])

    def _serve(self, bus: Bus) -> bool:
        topic = wire.task_topic(self._service.name)
        delivery = bus.take(topic, self._owner, self._settings.lease_s)
        if delivery is None:
            return False
        name = wire.dataset_of(delivery.key)
        self.held = name, delivery
        try:
            loop = self._loop(name, bus)
            if loop is not None:
                loop.carry_out(delivery)
                return True
        except NotFound:
            if self._root.single or not self._is_gone(name):
                raise
        finally:
            self.held = None
        self._release(name, bus, delivery)
        return True

    def _is_gone(self, name: str) -> bool:
        """Whether the dataset that is open was deleted, also if another one has its name now."""
        if name not in self.loops:
            return not self._root.exists(name)
        try:
            return self.loops[name][0].record.changed()
        except NotFound:
            return True

    def _release(self, name: str, bus: Bus, delivery: Delivery) -> None:
        """Acknowledge a task whose dataset was deleted, and close what was open of the dataset."""
        with contextlib.suppress(Retryable):
            bus.acknowledge(delivery, self._owner)
        if name in self.loops:
            self._drop(name)

    def _loop(self, name: str, shared: Bus | None) -> WorkerLoop | None:
        if name in self.loops:
            loop, bus = self.loops[name]
            try:
                if not loop.record.changed():
                    return loop
            except NotFound:
                self._drop(name)
                if self._root.single:
                    raise
                return None
            del self.loops[name]  # it has another pipeline, or is another dataset of that name
            if shared is None and bus is not self._shared:
                bus.close()
                bus = self._root.bus(name)
        else:
            try:
                bus = shared or self._root.bus(name)
            except NotFound:  # deleted since the catalogue was read
                return None
        try:
            loop = WorkerLoop(
                self._service, self._root.files(name), bus, self._settings, self._owner,
                self._telemetry,
            )  # fmt: skip
        except WrongUse as error:  # deleted meanwhile, or one that this version does not read
            if bus is not shared:
                bus.close()
            if self._root.single and not isinstance(error, NotFound):
                raise
            return None
        self.loops[name] = loop, bus
        return loop

    def _drop(self, name: str) -> None:
        _, bus = self.loops.pop(name)
        if bus is not self._shared:
            bus.close()

    def wait(self, timeout_s: float) -> None:
        """Wait on the bus if there is one, else for a short time."""
        if self._shared is not None:
            self._shared.wait(timeout_s)
        elif len(self.loops) == 1:
            ((_, bus),) = self.loops.values()
            bus.wait(timeout_s)
        else:
            time.sleep(PAUSE_S if self.loops else timeout_s)

    def close(self) -> None:
        """Close all buses."""
        for name in list(self.loops):
            self._drop(name)
        if self._shared is not None:
            self._shared.close()

"""One process of a service for all datasets below a root: its planners, or a worker."""

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Protocol

from fibstream.core.errors import Damaged, FibstreamError, NotFound
from fibstream.core.ports import Bus
from fibstream.core.service import Service
from fibstream.telemetry.metrics import QUEUE, SILENT, Telemetry

from .loops import PlannerLoop
from .quarantine import Quarantine
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
    """The planners of one service, one for each dataset below a root.

    Whatever fails in a dataset is that dataset's: it is left alone, and the others go on. Only the
    process of a run, which has no other, ends.
    """

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
        self.quarantine = Quarantine(root.generation, telemetry)
        self._missing: set[str] = set()  # in the catalogue, and without a record at the last look
        self._due = 0.0

    def turn(self) -> bool:
        """Run one turn of each planner that has work; return whether one has more at once."""
        if time.monotonic() >= self._due:
            self._scan()
        for name, hosted in list(self.loops.items()):
            with self._apart(name):
                self._turn(name, hosted)
        if self.quarantine.changed:
            self.quarantine.changed = False
            self._root.report(self._service.name, self.quarantine.reasons)
        now = time.monotonic()
        return any(hosted.loop.due <= now for hosted in self.loops.values())

    def _turn(self, name: str, hosted: HostedPlanner) -> None:
        if not hosted.has_work():
            return
        try:
            hosted.loop.turn()
        except NotFound:
            self._drop(name)  # the dataset was deleted meanwhile
        else:
            self.quarantine.release(name)
            self._reopen_outdated(name, outdated=hosted.loop.outdated)

    @contextlib.contextmanager
    def _apart(self, name: str) -> Iterator[None]:
        """Leave a dataset alone if it fails, whatever the error."""
        try:
            yield
        except Exception as error:
            if self._root.single:
                raise
            self.quarantine.put(name, error)
            if name in self.loops:
                self._drop(name)

    def _reopen_outdated(self, name: str, *, outdated: bool) -> None:
        """Open a dataset anew, with its bus and the pipeline that its record has now."""
        if outdated:
            log.info("dataset %s: another pipeline or bus", name)
            self._drop(name)
            self._try_open(name)

    def _scan(self) -> None:
        names, foreign = self._root.listed()
        for name in self.loops.keys() - names:
            self._drop(name)
        self.quarantine.keep(names | foreign.keys())
        for name, reason in foreign.items():
            self.quarantine.put(name, reason)
        # The entry that announces another pipeline may be lost: the record is what counts. And a
        # dataset may have been created anew after its bus was opened.
        for name, hosted in list(self.loops.items()):
            with self._apart(name):
                try:
                    outdated = hosted.loop.record.changed() or not hosted.bus.is_current
                    self._reopen_outdated(name, outdated=outdated)
                except NotFound:
                    self._drop(name)
                    if self._root.single:
                        raise
        self._missing &= names
        for name in sorted(names - self.loops.keys()):
            if self.quarantine.ready(name):
                with self._apart(name):
                    self._try_open(name)
        if not names:  # else each planner says how many: no number is not "no task"
            self._telemetry.begin(QUEUE)
        self._due = time.monotonic() + SCAN_S

    def _try_open(self, name: str) -> None:
        try:
            self.loops[name] = self._open(name)
        except NotFound:  # it is being deleted, which takes no longer than a look at the catalogue
            if self._root.single:
                raise
            if name in self._missing:
                raise Damaged("it is in the catalogue, and its record is gone") from None
            self._missing.add(name)
        else:
            self._missing.discard(name)

    def _open(self, name: str) -> HostedPlanner:
        creation = self._root.dataset(name).incarnation
        bus = self._root.bus(name, creation)
        try:
            files = self._root.files(name)
            loop = PlannerLoop(self._service, files, bus, self._settings, self._telemetry)
            if loop.dataset.incarnation != creation:
                raise NotFound(f"dataset {name}: deleted just now")
        except BaseException:
            bus.close()
            raise
        return HostedPlanner(loop, bus)

    def _drop(self, name: str) -> None:
        hosted = self.loops.pop(name)
        hosted.loop.close()
        with contextlib.suppress(FibstreamError):
            hosted.bus.close()

    def wait(self, timeout_s: float) -> None:
        """Wait on the bus if there is one, else for a short time."""
        if len(self.loops) == 1:
            ((name, hosted),) = self.loops.items()
            with self._apart(name):
                hosted.wait(timeout_s)
        else:
            time.sleep(PAUSE_S if self.loops else timeout_s)

    def close(self) -> None:
        """Close all buses."""
        for name in list(self.loops):
            self._drop(name)
        self._root.report(self._service.name, {})

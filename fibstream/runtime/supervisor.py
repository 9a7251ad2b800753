"""The processes of one running service: started, watched, started again, joined."""

import contextlib
import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from socket import gethostname

from fibstream.bus import wire
from fibstream.core.addresses import shifted
from fibstream.core.errors import FibstreamError
from fibstream.store.local import PRIVATE

from .children import Child, join, spawn
from .root import Root

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.2  # before a process that died is started again; doubles each time it dies soon
LONGEST_PAUSE_S = 30.0
HEALTHY_S = 60.0  # a process that lived so long had no trouble starting
SWEEP_S = 3600.0  # between two looks for what killed processes left
# A writer touches its temporary file all the time but while it syncs: 1 GB, the largest object, at
# 1 MB/s, in 17 minutes. Clocks of machines that share a folder differ by less than the rest. And a
# file that is taken from a living writer harms nothing: its put fails, and is done again.
ABANDONED_S = 3600.0
_TEMPORARY = re.compile(r"[0-9a-f]{32}-[0-9]+")  # as `local` names them


class Supervisor:
    """Keeps a planner and workers of one service running below a root."""

    def __init__(
        self, service: str, root: Root, roles: Sequence[str], workers: int, metrics: str | None
    ) -> None:
        self._root = root
        self._service = service
        self._sweep = 0.0  # when to look for what is abandoned
        self._due: dict[str, float] = {}  # when a dead process is started again
        self._blamed: dict[str, str] = {}  # by dead process: a dataset whose task it held
        names = ["planner"] * ("plan" in roles)
        names += [f"worker-{n}" for n in range(workers)] * ("work" in roles)
        # gRPC has the first port of the row, the planner the second, whoever runs or not.
        ports = {"planner": 1} | {f"worker-{n}": 2 + n for n in range(workers)}
        self.children = [self._start(name, shifted(metrics, ports[name])) for name in names]

    def _start(self, name: str, metrics: str | None) -> Child:
        arguments = ["plan" if name == "planner" else "work", "--root", self._root.url]
        arguments += ["--bus", self._root.bus_url] if self._root.bus_url else []
        arguments += ["--metrics", metrics] if metrics else []
        return self._spawn(name, arguments)

    def _spawn(self, name: str, arguments: Sequence[str], after: str | None = None) -> Child:
        module = f"fibstream.services.{self._service}"
        last = ["--after", after] if after else []
        child = spawn(name, module, [*arguments, *last], environment=os.environ)
        child.arguments = arguments
        return child

    def watch(self) -> None:
        """Look once at every process; start again what died, later each time it dies soon."""
        if time.monotonic() >= self._sweep:
            self._sweep = time.monotonic() + SWEEP_S
            self._clean()
        for number, child in enumerate(self.children):
            code = child.process.poll()
            if code is None:
                continue
            if child.name not in self._due:
                log.warning("%s %s ended (%s)", self._service, child.name, code)
                blamed = self._release(child)
                if blamed:  # its tasks are parked in the end, and other datasets wait for it
                    child.restarts = 0
                    self._blamed[child.name] = blamed
                self._due[child.name] = time.monotonic() + self._pause(child)
            elif time.monotonic() >= self._due[child.name]:
                del self._due[child.name]
                after = self._blamed.pop(child.name, None)
                fresh = self._spawn(child.name, child.arguments, after)
                fresh.restarts = child.restarts + 1
                self.children[number] = fresh

    def _clean(self) -> None:
        """Remove what killed processes left in a root that is a folder, and in its datasets."""
        if (folder := self._root.local) is None:
            return  # an object store has no temporary objects
        swept = 0
        for place in [folder, *(Path(self._root.url_of(name)) for name in self._names())]:
            try:
                swept += sweep_abandoned(place, time.time())
            except OSError as error:
                log.warning("%s: not swept: %s", place, error)
        if swept:
            log.info("%s: %d bytes of abandoned temporary files removed", folder, swept)

    def _pause(self, child: Child) -> float:
        if time.monotonic() - child.started > HEALTHY_S:
            child.restarts = 0
        return min(FIRST_PAUSE_S * 2.0**child.restarts, LONGEST_PAUSE_S)

    def _release(self, child: Child) -> str | None:
        """Free what a dead worker held, count the crash against it, and return whose it was."""
        owner = f"{gethostname()}:{child.number}"
        blamed = None
        if "worker" not in child.name:
            return None
        for name in [None] if self._root.shared else self._names():
            try:
                bus = self._root.shared_bus() if name is None else self._root.bus(name)
                if bus is not None:
                    with contextlib.closing(bus):
                        for task in bus.reclaim(owner):
                            blamed = wire.name_of(task.key)
            except FibstreamError as error:  # its lease will run out
                log.warning("%s %s: %s", self._service, child.name, error)
        return blamed

    def _names(self) -> list[str]:
        try:
            return self._root.names()
        except FibstreamError as error:
            log.warning("%s: %s", self._root.url, error)
            return []

    def close(self) -> None:
        """Let every process end what it does, and join it."""
        join(self.children)
        for child in self.children:
            self._release(child)


def temporaries(place: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the files below a folder whose writers have not finished, living or killed."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for part in (place / PRIVATE / "tmp").iterdir():
            with contextlib.suppress(FileNotFoundError):  # finished meanwhile
                if _TEMPORARY.fullmatch(part.name):
                    yield part, part.lstat()


def sweep_abandoned(place: Path, now_s: float) -> int:
    """Remove temporary files that nobody wrote to for ``ABANDONED_S``; return their bytes.

    Safe while others write (a run of its own, which knows that nobody does, removes them all).
    ``now_s`` is Unix time.
    """
    swept = 0
    for part, state in temporaries(place):
        if state.st_mtime < now_s - ABANDONED_S:
            part.unlink(missing_ok=True)
            swept += state.st_size
    return swept

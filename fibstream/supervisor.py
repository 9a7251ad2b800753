"""The processes of one running service: started, watched, started again, joined."""

import logging
import os
import time
from collections.abc import Sequence
from socket import gethostname

from .addresses import shifted
from .children import Child, join, spawn
from .errors import FibstreamError
from .root import Root

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.2  # before a process that died is started again; doubles each time it dies soon
LONGEST_PAUSE_S = 30.0
HEALTHY_S = 60.0  # a process that lived so long had no trouble starting


class Supervisor:
    """Keeps a planner and workers of one service running below a root."""

    def __init__(
        self, service: str, root: Root, roles: Sequence[str], workers: int, metrics: str | None
    ) -> None:
        self._root = root
        self._service = service
        self._due: dict[str, float] = {}  # when a dead process is started again
        names = ["planner"] * ("plan" in roles)
        names += [f"worker-{n}" for n in range(workers)] * ("work" in roles)
        # The door has the first port of the row, the planner the second, whoever runs or not.
        ports = {"planner": 1} | {f"worker-{n}": 2 + n for n in range(workers)}
        self.children = [self._start(name, shifted(metrics, ports[name])) for name in names]

    def _start(self, name: str, metrics: str | None) -> Child:
        arguments = ["plan" if name == "planner" else "work", "--root", self._root.url]
        arguments += ["--bus", self._root.bus_url] if self._root.bus_url else []
        arguments += ["--metrics", metrics] if metrics else []
        return self._spawn(name, arguments)

    def _spawn(self, name: str, arguments: Sequence[str]) -> Child:
        module = f"fibstream.services.{self._service}"
        return spawn(name, module, arguments, environment=os.environ)

    def watch(self) -> None:
        """Look once at every process; start again what died, later each time it dies soon."""
        for number, child in enumerate(self.children):
            code = child.process.poll()
            if code is None:
                continue
            if child.name not in self._due:
                self._due[child.name] = time.monotonic() + self._pause(child)
                log.warning("%s %s ended (%s)", self._service, child.name, code)
                self._release(child)
            elif time.monotonic() >= self._due[child.name]:
                del self._due[child.name]
                fresh = self._spawn(child.name, child.arguments)
                fresh.restarts = child.restarts + 1
                self.children[number] = fresh

    def _pause(self, child: Child) -> float:
        if time.monotonic() - child.started > HEALTHY_S:
            child.restarts = 0
        return min(FIRST_PAUSE_S * 2.0**child.restarts, LONGEST_PAUSE_S)

    def _release(self, child: Child) -> None:
        """Free what a dead worker held, and count the crash against it."""
        owner = f"{gethostname()}:{child.number}"
        if "worker" not in child.name:
            return
        try:
            for name in [None] if self._root.shared else self._root.names():
                bus = self._root.shared_bus() if name is None else self._root.bus(name)
                if bus is not None:
                    bus.bury(owner)
                    bus.close()
        except FibstreamError as error:
            log.warning("%s %s: %s", self._service, child.name, error)  # its lease will run out

    def close(self) -> None:
        """Let every process end what it does, and join it."""
        join(self.children)
        for child in self.children:
            self._release(child)

"""The shell of every service process: arguments, signals, a loop, and a clean end."""

import argparse
import contextlib
import ctypes
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from fibstream.core.errors import DiskFull, WrongUse
from fibstream.core.ports import Bus
from fibstream.telemetry.metrics import CONSUMER_STALLS, Telemetry
from fibstream.telemetry.prometheus import Prometheus

from .grpc import GrpcServer
from .host import Host, PlannerHost, WorkerHost
from .loops import Service
from .root import OneDataset, Root
from .settings import Settings, last_line, load, logs

EXIT_WRONG_USE = 2
EXIT_DISK_FULL = 28  # the runner stops the run: no restart makes room
IDLE_S = 0.25  # a waiting process looks up at least so often, to notice signals and due work
_PR_SET_PDEATHSIG = 1


def main(service: Service, arguments: Sequence[str] | None = None) -> None:
    """Run ``plan`` or ``work`` of a service, of one dataset or of all below a root."""
    parser = argparse.ArgumentParser(prog=f"python -m fibstream.services.{service.name}")
    parser.add_argument("role", choices=("plan", "work"))
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--dataset", type=Path, help="serve this one dataset")
    where.add_argument("--root", metavar="PATH|URL", help="serve every dataset below")
    parser.add_argument("--bus", help="sqlite:PATH or kafka://..; the dataset's own by default")
    parser.add_argument("--listen", metavar="HOST:PORT", help="answer health checks")
    parser.add_argument("--metrics", metavar="HOST:PORT", help="show numbers to Prometheus")
    parser.add_argument("--parent", type=int, help="end when this process ends")
    given = parser.parse_args(arguments)
    with (
        running(given.parent, service.name) as (settings, stopping),
        contextlib.ExitStack() as held,
    ):
        telemetry = shown(service.name, given.metrics, held)
        root = (
            OneDataset(given.dataset, given.bus) if given.dataset else Root(given.root, given.bus)
        )
        host = make_host(service, given.role, root, settings, telemetry, held)
        if given.listen:
            door = GrpcServer(given.listen, (), telemetry)
            held.callback(door.close)
            door.open()
        told = 0
        while not stopping.is_set() and not orphaned(given.parent):
            if not host.turn():
                host.wait(IDLE_S)
            told = tell_stalls(telemetry, told, kafka=root.shared)


def tell_stalls(telemetry: Telemetry, told: int, *, kafka: bool) -> int:
    """Count the consumers that hung since ``told`` of them; return how many there were so far."""
    if not kafka:
        return told
    from fibstream.bus.kafka.link import STALLS

    if STALLS.count > told:
        telemetry.add(CONSUMER_STALLS, STALLS.count - told)
    return STALLS.count


def shown(service: str, address: str | None, held: contextlib.ExitStack) -> Telemetry:
    """Return where the numbers of this process go, and show them if there is an address."""
    if address is None:
        return Telemetry()
    telemetry = Prometheus(service, version("fibstream"))
    held.enter_context(telemetry.serve(address))
    return telemetry


def make_host(
    service: Service, role: str, root: Root | OneDataset, settings: Settings,
    telemetry: Telemetry, held: contextlib.ExitStack,
) -> Host:  # fmt: skip
    """Return what the process does; ``held`` closes it at the end."""
    if role == "plan":
        planners = PlannerHost(service, root, settings, telemetry)
        held.callback(planners.close)
        return planners
    owner = f"{socket.gethostname()}:{os.getpid()}"
    worker = WorkerHost(service, root, settings, owner, telemetry)
    held.callback(worker.close)
    renewing = (worker, root, owner, settings.lease_s)
    if not root.shared:  # a client of Kafka polls by itself, and holds its task by that
        threading.Thread(target=_renew, args=renewing, daemon=True).start()
    return worker


def _renew(worker: WorkerHost, root: Root | OneDataset, owner: str, lease_s: float) -> None:
    """Renew the lease of the task at hand from a thread with a connection of its own."""
    own: dict[str, Bus] = {}
    pause = threading.Event()
    while not pause.wait(lease_s / 3):
        held = worker.held
        if held is None:
            continue
        dataset, delivery = held
        if dataset not in own:
            own[dataset] = root.bus(dataset)
        own[dataset].renew(delivery, owner, lease_s)


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


@contextlib.contextmanager
def running(
    parent: int | None, service: str | None = None
) -> Iterator[tuple[Settings, threading.Event]]:
    """Set up a service process: settings, log lines, signals, and one way to run out of disk."""
    try:
        settings, _ = load()
        with logs(settings, service):
            if parent is not None:
                die_with(parent)
            stopping = threading.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stopping.set())
            try:
                yield settings, stopping
            except (DiskFull, WrongUse) as error:
                _last_words(last_line(str(error)))
                sys.exit(EXIT_DISK_FULL if isinstance(error, DiskFull) else EXIT_WRONG_USE)
    except WrongUse as error:  # the settings themselves
        _last_words(last_line(str(error)))
        sys.exit(EXIT_WRONG_USE)


def _last_words(line: str) -> None:
    # The log may be on the full disk; what a buffer kept would fail again at exit.
    with contextlib.suppress(OSError):
        os.write(sys.stderr.fileno(), f"{line}\n".encode())

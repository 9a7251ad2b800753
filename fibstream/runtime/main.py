"""The command line of every service: ``python -m fibstream.services.NAME serve|plan|work``."""

import argparse
import contextlib
import logging
import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

from fibstream.core.errors import FibstreamError
from fibstream.core.ports import Bus
from fibstream.core.service import Service
from fibstream.telemetry.metrics import Telemetry

from .host import Host, PlannerHost
from .process import metrics_of, orphaned, running
from .root import OneDataset, Root
from .serve import ROLES, Serving, serve
from .settings import Settings
from .tallies import Tallies
from .worker_host import WorkerHost

log = logging.getLogger(__name__)

IDLE_S = 0.25  # a waiting process looks up at least so often, to notice signals and due work


def main(service: Service, arguments: Sequence[str] | None = None) -> None:
    """Serve a whole service, or be its planner or one of its workers."""
    given = _parser(service.name).parse_args(arguments)
    if given.command == "serve":
        serving = Serving(
            given.root, given.bus, given.listen, given.metrics, tuple(given.role.split(",")),
            tuple(given.source), given.workers,
        )  # fmt: skip
        serve(service, serving, lambda line: print(line, flush=True))  # noqa: T201
    else:
        _work(service, given)


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m fibstream.services.{name}")
    commands = parser.add_subparsers(dest="command", required=True)
    all_of_it = commands.add_parser("serve", help="gRPC server, planner and workers below a root")
    all_of_it.add_argument("--root", required=True, metavar="PATH|URL", help="where datasets lie")
    all_of_it.add_argument("--role", default=",".join(ROLES), help="some of " + ",".join(ROLES))
    all_of_it.add_argument(
        "--source", action="append", default=[], metavar="FOLDER|s3://..",
        help="volumes below it may be landed by their address; may be given again",
    )  # fmt: skip
    all_of_it.add_argument("--workers", type=int, metavar="N", help="worker processes")
    for role in ("plan", "work"):
        one = commands.add_parser(role, help=f"one process that does the role {role}")
        where = one.add_mutually_exclusive_group(required=True)
        where.add_argument("--dataset", type=Path, help="serve this one dataset")
        where.add_argument("--root", metavar="PATH|URL", help="serve every dataset below")
        one.add_argument("--after", default="", metavar="NAME", help="this dataset comes last")
        one.add_argument("--parent", type=int, help="end when this process ends")
    for command in commands.choices.values():
        command.add_argument("--bus", help="sqlite:PATH or kafka://..; else the dataset's")
        command.add_argument("--listen", metavar="HOST:PORT", help="answer calls and health checks")
        command.add_argument("--metrics", metavar="HOST:PORT", help="serve metrics to Prometheus")
    return parser


def _work(service: Service, given: argparse.Namespace) -> None:
    """Be a planner or a worker until a signal stops it."""
    with (
        running(given.parent, service.name) as (settings, stopping),
        contextlib.ExitStack() as held,
    ):
        telemetry = metrics_of(service.name, given.metrics, held)
        root = (
            OneDataset(given.dataset, given.bus) if given.dataset else Root(given.root, given.bus)
        )
        host = _host(service, given.command, root, settings, telemetry, held, given.after)
        if given.listen:
            from .calls import CallLimits
            from .grpc import GrpcServer

            server = GrpcServer(given.listen, (), telemetry, CallLimits.of(settings))
            held.callback(server.close)
            server.open()
        tallies = Tallies(telemetry, kafka=root.shared)
        while not stopping.is_set() and not orphaned(given.parent):
            if not host.turn():
                host.wait(IDLE_S)
            tallies.count()


def _host(
    service: Service, role: str, root: Root | OneDataset, settings: Settings,
    telemetry: Telemetry, held: contextlib.ExitStack, after: str,
) -> Host:  # fmt: skip
    """Return what the process does; ``held`` closes it at the end."""
    if role == "plan":
        planners = PlannerHost(service, root, settings, telemetry)
        held.callback(planners.close)
        return planners
    owner = f"{socket.gethostname()}:{os.getpid()}"
    if os.getpid() == 1:
        reclaim_own(root, owner)
    worker = WorkerHost(service, root, settings, owner, telemetry, after=after)
    held.callback(worker.close)
    renewing = (worker, root, owner, settings.lease_s)
    if not root.shared:  # a client of Kafka polls by itself, and holds its task by that
        threading.Thread(target=_renew, args=renewing, daemon=True).start()
    return worker


def reclaim_own(root: Root | OneDataset, owner: str) -> None:
    """Count a crash against the task that an earlier process of this name died of.

    For the first process of a container, which has no supervisor of ours: when it is started again
    its name is the same, so that nobody could tell its leases from those of the living.
    """
    bus = root.shared_bus()
    if bus is not None:
        with contextlib.closing(bus):
            for task in bus.reclaim(owner):
                log.warning("%s: the worker before this one died of it", task.key)


def _renew(worker: WorkerHost, root: Root | OneDataset, owner: str, lease_s: float) -> None:
    """Renew the lease of the task at hand from a thread with a connection of its own."""
    own: dict[str, Bus] = {}  # buses of one file each
    pause = threading.Event()
    while not pause.wait(lease_s / 3):
        held = worker.held
        if held is None:
            continue
        dataset, delivery = held
        try:
            if dataset in own and not own[dataset].is_current:  # another has its name now
                own.pop(dataset).close()
            if dataset not in own:
                own[dataset] = root.bus(dataset)
            own[dataset].renew(delivery, owner, lease_s)
        except FibstreamError as error:  # this thread must not end: other tasks follow
            log.warning("dataset %s: a lease was not renewed: %s", dataset, error)
            if dataset in own:
                own.pop(dataset).close()

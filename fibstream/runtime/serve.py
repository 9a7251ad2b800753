"""Serving: one service for all datasets below a root, with its gRPC server and its processes."""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from tenacity import RetryCallState

from fibstream.core.errors import Retryable, WrongUse
from fibstream.core.ports import Bus
from fibstream.core.service import Service
from fibstream.store.gate import gate_of

from .checks import check_address, check_brokers, check_root
from .gpus import Gpus
from .loops import backoff
from .process import metrics_of, running
from .room import Room
from .root import Root, servers_of
from .service import ServicerContext
from .settings import MAX_WORKERS, Settings
from .supervisor import Supervisor
from .tallies import Tallies

log = logging.getLogger(__name__)

T = TypeVar("T")

ROLES = ("grpc", "plan", "work")
WATCH_S = 0.1  # how often processes are looked at


@dataclass(frozen=True)
class Serving:
    """What ``serve`` is given; None stands for the default."""

    root: str
    bus: str | None = None
    listen: str | None = None  # HOST:PORT of gRPC
    metrics: str | None = None  # HOST:PORT, the first of a row, for Prometheus
    roles: tuple[str, ...] = ROLES
    sources: tuple[str, ...] = ()  # folders and prefixes below which clients may name volumes
    workers: int | None = None


def check(given: Serving, settings: Settings) -> Root:
    """Return the root; raise WrongUse naming what cannot be served."""
    wrong = set(given.roles) - set(ROLES)
    if wrong or not given.roles:
        raise WrongUse(f"--role {','.join(given.roles)}: expected some of {', '.join(ROLES)}")
    gate_of(given.sources)
    if given.workers is not None and not 0 < given.workers <= MAX_WORKERS:
        raise WrongUse(f"--workers {given.workers}: expected a number from 1 to {MAX_WORKERS}")
    workers = given.workers or settings.workers
    if given.listen is not None:
        check_address(given.listen, "--listen")
    if given.metrics is not None:
        check_address(given.metrics, "--metrics", row=2 + workers)
    check_brokers(given.bus)
    check_root(given.root)
    if "://" not in given.root:
        Path(given.root).mkdir(parents=True, exist_ok=True)
    return Root(given.root, given.bus)


def patiently(call: Callable[[], T]) -> T:
    """Call again, a bounded number of times, while the bus or the store is away; tell of it."""

    def tell(state: RetryCallState) -> None:
        assert state.outcome is not None
        log.info("%s; trying again", state.outcome.exception())

    return backoff().copy(before_sleep=tell)(call)


def join_bus(root: Root, url: str) -> Bus:
    """Declare the topics that are missing and open the bus of a root.

    Raises Retryable where the broker is away, or answers late: ``serve`` tries again.
    """
    from fibstream.bus.kafka.declare import declare

    declare(servers_of(url))
    bus = root.shared_bus()
    assert bus is not None
    return bus


def serve(service: Service, given: Serving, report: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; ``report`` takes the line that says where."""
    with running(None, service.name) as (settings, stopping), contextlib.ExitStack() as held:
        root = check(given, settings)
        from .calls import CallLimits
        from .grpc import GrpcServer  # half a second, and after its settings are made

        if given.bus:
            # Calls open buses of their own; they share its connections, which take long to make.
            held.callback(patiently(partial(join_bus, root, given.bus)).close)
        telemetry = metrics_of(service.name, given.metrics, held)
        workers = given.workers or settings.workers
        supervisor = Supervisor(service.name, root, given.roles, workers, given.metrics)
        held.callback(supervisor.close)
        context = ServicerContext(root, settings, given.sources, telemetry)
        bindings = [service.servicer(context)] if "grpc" in given.roles else []
        listen = given.listen or f"127.0.0.1:{service.port}"
        server = GrpcServer(listen, bindings, telemetry, CallLimits.of(settings))
        for binding in bindings:
            held.callback(getattr(binding.servicer, "close", lambda: None))
        held.callback(root.close)
        held.callback(server.close)
        server.open()
        report(f"{service.name}: listening on port {server.port}, datasets below {root.url}")
        tallies = Tallies(telemetry, kafka=root.shared)
        room, gpus = Room(root.local, telemetry), Gpus(telemetry)
        while not stopping.wait(WATCH_S):
            supervisor.watch()
            tallies.count()
            room.look()
            gpus.look()
            with contextlib.suppress(Retryable):  # the root is away, which every call says
                server.name_quarantined(root.quarantined())

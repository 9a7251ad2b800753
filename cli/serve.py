"""`fibstream serve SERVICE`: one service for all datasets below a root, with its door."""

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fibstream.app.design import design_request
from fibstream.core.addresses import SERVICES, default_listen
from fibstream.core.errors import WrongUse
from fibstream.runtime.grpc import GrpcServer, ServicerBinding
from fibstream.runtime.root import Root, servers_of
from fibstream.runtime.server import running, shown
from fibstream.runtime.settings import Settings
from fibstream.runtime.supervisor import Supervisor
from fibstream.telemetry.metrics import Telemetry

log = logging.getLogger(__name__)

ROLES = ("door", "plan", "work")
WATCH_S = 0.1  # how often processes are looked at
DECLARE_S = 60.0  # the brokers may start at the same time as the services


@dataclass(frozen=True)
class Serving:
    """What ``serve`` was asked for."""

    service: str
    root: str
    bus: str | None
    listen: str | None
    metrics: str | None
    roles: tuple[str, ...]
    sources: tuple[Path, ...]
    workers: int | None = None


def check(given: Serving) -> Root:
    """Return the root; raise WrongUse naming what cannot be served."""
    if given.service not in SERVICES:
        raise WrongUse(f"service {given.service!r}: expected one of {', '.join(SERVICES)}")
    wrong = set(given.roles) - set(ROLES)
    if wrong or not given.roles:
        raise WrongUse(f"--role {','.join(given.roles)}: expected some of {', '.join(ROLES)}")
    for source in given.sources:
        if not source.is_dir():
            raise WrongUse(f"--source {source}: not a folder")
    if given.bus is not None and not given.bus.startswith("kafka://"):
        raise WrongUse(f"--bus {given.bus}: expected kafka://HOST:PORT[,HOST:PORT], or nothing")
    if "://" not in given.root:
        Path(given.root).mkdir(parents=True, exist_ok=True)
    return Root(given.root, given.bus)


def serve(given: Serving, say: Callable[[str], None]) -> None:
    """Serve until told to stop."""
    root = check(given)
    with running(None, given.service) as (settings, stopping), contextlib.ExitStack() as held:
        if given.bus:
            from fibstream.bus.kafka.link import declare

            declare(servers_of(given.bus))
            bus = root.shared_bus()
            assert bus is not None
            # Calls open buses of their own; they share its connections, which take long to make.
            held.callback(bus.close)
        telemetry = shown(given.service, given.metrics, held)
        workers = given.workers or settings.workers
        supervisor = Supervisor(given.service, root, given.roles, workers, given.metrics)
        held.callback(supervisor.close)
        bindings = []
        if "door" in given.roles:
            bindings = [binding(given.service, root, settings, given.sources, telemetry)]
        grpc = GrpcServer(given.listen or default_listen(given.service), bindings, telemetry)
        for each in bindings:
            held.callback(getattr(each.servicer, "close", lambda: None))
        held.callback(root.close)
        held.callback(grpc.close)
        grpc.open()
        say(f"{given.service}: listening on port {grpc.port}, datasets below {root.url}")
        while not stopping.wait(WATCH_S):
            supervisor.watch()


def binding(
    service: str, root: Root, settings: Settings, sources: Sequence[Path], telemetry: Telemetry
) -> ServicerBinding:
    """Return what answers the calls of one service; each brings only what it needs."""
    name = f"fibstream.v1.{service.capitalize()}Service"
    if service == "ingest":
        from fibstream.services.ingest.edges.datasets import DatasetDesign, DatasetRequest
        from fibstream.services.ingest.servicer import IngestServicer
        from fibstream.v1.ingest_pb2_grpc import add_IngestServiceServicer_to_server as add

        def designed(asked: DatasetRequest) -> DatasetDesign:
            return design_request(asked, root, settings.threads)

        return ServicerBinding(add, IngestServicer(root, designed, sources, telemetry), name)
    if service == "inference":
        from fibstream.services.inference.servicer import InferenceServicer
        from fibstream.v1.inference_pb2_grpc import add_InferenceServiceServicer_to_server as add

        return ServicerBinding(add, InferenceServicer(root, settings), name)
    if service == "refine":
        from fibstream.services.refine.servicer import RefineServicer
        from fibstream.v1.refine_pb2_grpc import add_RefineServiceServicer_to_server as add

        return ServicerBinding(add, RefineServicer(root, settings), name)
    from fibstream.services.analysis.servicer import AnalysisServicer
    from fibstream.v1.analysis_pb2_grpc import add_AnalysisServiceServicer_to_server as add

    return ServicerBinding(add, AnalysisServicer(root, settings), name)

"""`fibstream serve SERVICE`: one service for all datasets below a root, with its door."""

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fibstream.app.design import design_asked
from fibstream.core.addresses import SERVICES, default_listen
from fibstream.core.errors import WrongUse
from fibstream.runtime.grpc import Door, Room
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
        rooms = []
        if "door" in given.roles:
            rooms = [room(given.service, root, settings, given.sources, telemetry)]
        door = Door(given.listen or default_listen(given.service), rooms, telemetry)
        for each in rooms:
            held.callback(getattr(each.answers, "close", lambda: None))
        held.callback(root.close)
        held.callback(door.close)
        door.open()
        say(f"{given.service}: listening on port {door.port}, datasets below {root.url}")
        while not stopping.wait(WATCH_S):
            supervisor.watch()


def room(
    service: str, root: Root, settings: Settings, sources: Sequence[Path], telemetry: Telemetry
) -> Room:
    """Return what answers the calls of one service; each brings only what it needs."""
    name = f"fibstream.v1.{service.capitalize()}Service"
    if service == "ingest":
        from fibstream.services.ingest.edges.datasets import Asked, Made
        from fibstream.services.ingest.servicer import Door as Ingest
        from fibstream.v1.ingest_pb2_grpc import add_IngestServiceServicer_to_server as add

        def designed(asked: Asked) -> Made:
            return design_asked(asked, root, settings.threads)

        return Room(add, Ingest(root, designed, sources, telemetry), name)
    if service == "inference":
        from fibstream.services.inference.servicer import Door as Inference
        from fibstream.v1.inference_pb2_grpc import add_InferenceServiceServicer_to_server as add

        return Room(add, Inference(root, settings), name)
    if service == "refine":
        from fibstream.services.refine.servicer import Door as Refine
        from fibstream.v1.refine_pb2_grpc import add_RefineServiceServicer_to_server as add

        return Room(add, Refine(root, settings), name)
    from fibstream.services.analysis.servicer import Door as Analysis
    from fibstream.v1.analysis_pb2_grpc import add_AnalysisServiceServicer_to_server as add

    return Room(add, Analysis(root, settings), name)

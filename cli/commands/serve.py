"""The command that runs one service."""

import os
from typing import Annotated

import typer

from fibstream import registry
from fibstream.telemetry.logs import logs

from ..app import PROGRAM_OPTIONS, command, settings
from ..flags import check_choice


@command
def serve(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="The service, such as ingest.")],
    root: Annotated[str, typer.Option(metavar="PATH|s3://..", help="Where datasets lie.")],
    bus: Annotated[str | None, typer.Option(metavar="kafka://H:P", help="A shared bus.")] = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where it answers.")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="First of a row, for Prometheus.")
    ] = None,
    role: Annotated[str, typer.Option(help="Some of grpc,plan,work.")] = "grpc,plan,work",
    source: Annotated[
        list[str] | None,
        typer.Option(metavar="FOLDER|s3://..", help="Volumes below it may be landed by address."),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes.")] = None,
) -> None:
    """Run one service for all datasets below a root, until it is stopped.

    Example: fibstream serve ingest --root /data --bus kafka://127.0.0.1:9092
    """
    check_choice(service, registry.names(), "service")
    chosen, _ = settings(workers=workers)
    from fibstream.runtime.serve import Serving, check
    from fibstream.runtime.serve import serve as run_service

    # The processes of a service have their settings from the environment.
    given = {name: value for name, value in PROGRAM_OPTIONS.get().items() if value}
    os.environ.update({f"FIBSTREAM_{name.upper()}": value for name, value in given.items()})
    roles, sources = tuple(role.split(",")), tuple(source or ())
    serving = Serving(root, bus, listen, metrics, roles, sources, workers)
    check(serving, chosen)
    with logs(chosen.log_level, chosen.log_format, service):
        run_service(registry.service(service), serving, typer.echo)

"""What is done before running services are called: input that is wrong in itself never leaves."""

import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fibstream.core.addresses import split
from fibstream.core.errors import Retryable, WrongUse

from .flags import check_server

if TYPE_CHECKING:
    from fibstream.client import Client

WELCOME_S = 3.0  # services may be starting at this moment; beyond that somebody should look
AGAIN_S = 0.2  # between two tries


def connected(server: str, service: str = "ingest", *, patient: bool = False) -> "Client":
    """Return a client of services that are there; gRPC is imported by those who need it.

    Once connected it waits for services that are started anew. Raises Retryable when nothing
    answers at the address of ``service``, unless ``patient``: then it says so and goes on.
    """
    address = check_server(server, service)
    try:
        _greet(address, service)
    except Retryable as error:
        if not patient:
            raise
        typer.echo(f"note: {error}; is tried again and again", err=True)
    from fibstream.client import Client

    return Client(server)


def _greet(address: str, service: str) -> None:
    host, port = split(address, "--server")
    deadline = time.monotonic() + WELCOME_S
    while True:
        try:
            socket.create_connection((host.strip("[]"), port), WELCOME_S).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise Retryable(
                    f"nothing answers at {address} ({error.strerror or 'no answer'}); "
                    f"expected `fibstream serve {service}` there, or --server HOST[:PORT]"
                ) from error
        time.sleep(AGAIN_S)


def pipeline_text(given: str) -> str:
    """Return what a server takes for a pipeline, checked: a file's text, YAML, or the name."""
    from fibstream.app.pipelines import read_pipeline, requested_pipeline

    if "\n" in given or ": " in given:
        requested_pipeline(given)
        return given
    read_pipeline(given)
    path = Path(given)
    return path.read_text(errors="replace") if path.is_file() else given


def check_name(name: str) -> str:
    """Return a dataset's name; raise WrongUse when it cannot be one."""
    from fibstream.runtime.root import check_name as check

    return check(name)


def check_volume(raw: str) -> None:
    """Raise WrongUse when a volume cannot be read as raw; the server may know its voxel size."""
    from fibstream.volumes.sources import open_volume

    try:
        open_volume(raw, kind="raw").close()
    except WrongUse:  # with some voxel size only what else is wrong remains
        open_volume(raw, kind="raw", voxel_size_nm=(1.0, 1.0, 1.0)).close()


def check_watched(path: str) -> None:
    """Raise WrongUse when the folder that is to be watched is not there."""
    from fibstream.services.ingest.edges.watch.zarr_files import watched_folder

    watched_folder(path)

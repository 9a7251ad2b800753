"""Connections to running services; wrong input is rejected before any call."""

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

CONNECT_S = 3.0  # services may be starting at this moment; later it is an error
RETRY_S = 0.2  # between two attempts


def connected(server: str, service: str = "ingest", *, keep_trying: bool = False) -> "Client":
    """Return a client of running services; gRPC is imported only here.

    Once connected it waits for services that restart. Raises Retryable when nothing answers at
    the address of ``service``; with ``keep_trying`` a note is printed instead.
    """
    address = check_server(server, service)
    try:
        _check_listening(address, service)
    except Retryable as error:
        if not keep_trying:
            raise
        typer.echo(f"note: {error}; trying again", err=True)
    from fibstream.client import Client

    return Client(server)


def _check_listening(address: str, service: str) -> None:
    host, port = split(address, "--server")
    deadline = time.monotonic() + CONNECT_S
    while True:
        try:
            socket.create_connection((host.strip("[]"), port), CONNECT_S).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise Retryable(
                    f"nothing answers at {address} ({error.strerror or 'no answer'}); "
                    f"expected `fibstream serve {service}` there, or --server HOST[:PORT]"
                ) from error
        time.sleep(RETRY_S)


def pipeline_text(given: str) -> str:
    """Return a checked pipeline as a server takes it: the text of a file, YAML, or a name."""
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


def check_remote(name: str, server: str | None) -> None:
    """Raise WrongUse unless a name can be that of a dataset of services, and is no folder here."""
    check_name(name)
    if server is None and Path(name).is_dir():
        raise WrongUse(f"{name}: a folder here; expected ./{name}, or --server HOST for a name")


def check_volume(raw: str, voxel_size_nm: tuple[float, float, float] | None = None) -> None:
    """Raise WrongUse when a volume cannot be read as raw; its voxel size may be the dataset's."""
    from fibstream.volumes.sources import open_volume

    if voxel_size_nm is not None:
        open_volume(raw, kind="raw", voxel_size_nm=voxel_size_nm).close()
        return
    try:
        open_volume(raw, kind="raw").close()
    except WrongUse:  # with a voxel size only other errors remain
        open_volume(raw, kind="raw", voxel_size_nm=(1.0, 1.0, 1.0)).close()


def check_watched(path: str) -> None:
    """Raise WrongUse when the folder that is to be watched is not there."""
    from fibstream.services.ingest.edges.watch.zarr_files import watched_folder

    watched_folder(path)

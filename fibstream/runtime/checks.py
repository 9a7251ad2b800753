"""Checks of what a service is served with: addresses, brokers, folders."""

import os
import re
import socket
from pathlib import Path

from fibstream.core.addresses import LAST_PORT, split
from fibstream.core.errors import WrongUse

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")  # S3 and Google together


def check_address(address: str, what: str, *, row: int = 1) -> str:
    """Return ``HOST:PORT``; raise WrongUse when it cannot be, or ``row`` ports are not there.

    Port 0 lets the system choose.
    """
    host, port = split(address, what)
    if port and port + row - 1 > LAST_PORT:
        raise WrongUse(f"{what} {address}: expected a port up to {LAST_PORT + 1 - row}")
    try:
        socket.getaddrinfo(host.strip("[]"), port)
    except OSError as error:
        raise WrongUse(f"{what} {address}: no such host ({error.strerror})") from None
    return address


def check_folder(folder: Path, flag: str) -> None:
    """Raise WrongUse when a folder is not there and cannot be made, or cannot be written."""
    there = next(p for p in (folder, *folder.absolute().parents) if os.path.lexists(p))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise WrongUse(f"{flag} {folder}: {there} is not a folder that can be written")


def check_root(root: str) -> None:
    """Raise WrongUse when ``--root`` is neither a folder that can be written nor a bucket."""
    scheme, colon, rest = root.partition("://")
    if not root:
        raise WrongUse("--root is empty; expected a folder, s3://BUCKET/PREFIX or gs://..")
    if not colon:
        check_folder(Path(root), "--root")
    elif scheme in ("s3", "gs") and not _BUCKET.fullmatch(rest.partition("/")[0]):
        raise WrongUse(f"--root {root}: expected the name of a bucket, as in {scheme}://BUCKET/..")


def check_brokers(bus: str | None) -> None:
    """Raise WrongUse unless ``--bus`` is left out or names brokers."""
    if bus is None:
        return
    brokers = bus.removeprefix("kafka://")
    if brokers == bus or not all(_is_address(broker) for broker in brokers.split(",")):
        raise WrongUse(f"--bus {bus}: expected kafka://HOST:PORT[,HOST:PORT], or nothing")


def _is_address(text: str) -> bool:
    try:
        return 0 < split(text, "")[1] <= LAST_PORT
    except WrongUse:
        return False

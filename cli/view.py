"""`fibstream view`: Neuroglancer on what a dataset holds, finished or growing."""

import contextlib
import importlib.util
import logging
import os
import socket
import sys
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import typer

from fibstream.core.addresses import LAST_PORT
from fibstream.core.errors import FibstreamError, WrongUse

from .viewer.connection import listening
from .viewer.opening import open_viewable
from .viewer.server import Viewer
from .watch import stop_signals

log = logging.getLogger(__name__)

FOLLOW_S = 10.0  # between reads of the dataset: a change makes the viewer redraw, which takes 1 s
ANYWHERE = ("", "0.0.0.0", "::")
PACKAGE = "neuroglancer"  # of PyPI: only the client in it is used, none of its code runs

VoxelSize = tuple[float, float, float]


class Viewing(NamedTuple):
    """A viewer that is being served, and its address."""

    viewer: Viewer
    url: str


def view(
    path: str,
    *,
    host: str,
    port: int,
    browser: bool,
    voxel_size_nm: VoxelSize | None = None,
) -> None:
    """Serve a viewer until SIGINT or SIGTERM; its address is printed.

    Raises
    ------
    WrongUse
        If the path is no dataset, array or group; or there is nothing in it yet; or the address
        cannot be listened on.
    """
    with (
        stop_signals() as pause,
        serving(path, host=host, port=port, voxel_size_nm=voxel_size_nm) as (viewer, url),
    ):
        typer.echo(url)  # flushed: a reader of a pipe waits for this line
        if browser and not open_browser(url):
            note = "fibstream: no browser found; open the address in one that has WebGL 2"
            typer.echo(note, err=True)
        while not pause(FOLLOW_S):
            follow(viewer)


@contextlib.contextmanager
def serving(
    path: str, *, host: str = "127.0.0.1", port: int = 0, voxel_size_nm: VoxelSize | None = None
) -> Iterator[Viewing]:
    """Serve a viewer of ``path`` while the context lasts; port 0 is any that is free."""
    if not 0 <= port <= LAST_PORT:
        raise WrongUse(f"--port {port}: expected 0 (any) to {LAST_PORT}")
    client, content = client_folder(), open_viewable(path, voxel_size_nm)
    if not content.groups():
        raise WrongUse(f"{path}: holds nothing to show yet")
    viewer = Viewer(content, client)
    with contextlib.ExitStack() as stack:
        try:
            actual = stack.enter_context(listening(viewer.app(), host, port))
        except OSError as error:
            where, why = f"--bind {host} --port {port}", error.strerror or error
            raise WrongUse(f"{where}: cannot listen there: {why}") from error
        stack.callback(viewer.state.close)
        name = socket.gethostname() if host in ANYWHERE else host
        place = f"[{name}]" if ":" in name else name
        yield Viewing(viewer, f"http://{place}:{actual}/v/{viewer.token}/")


def follow(viewer: Viewer) -> bool:
    """Show what has changed; a dataset that cannot be read at this moment does not end the view."""
    try:
        return viewer.follow()
    except (FibstreamError, OSError, ValueError) as error:
        log.debug("not followed: %s", error)
        return False


def client_folder() -> Path:
    """Return the folder of Neuroglancer's client; raise WrongUse if it is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    parents = list(found.submodule_search_locations or []) if found else []
    for parent in parents:
        folder = Path(parent, "static", "client")
        if (folder / "index.html").is_file():
            return folder
    raise WrongUse(f"the viewer is not installed; expected the package: pip install {PACKAGE}")


def open_browser(url: str) -> bool:
    """Open a browser; return False where there is none, or no screen for it."""
    screen = sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    # Without a screen it would be a browser in this terminal, which takes it over.
    try:
        return screen and webbrowser.open(url)
    except webbrowser.Error:
        return False

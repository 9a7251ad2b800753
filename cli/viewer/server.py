"""The server of `fibstream view`: Neuroglancer's client, the state it shows, and what it reads.

All of it under one address, so that no other site is allowed in, and that one forwarded port is
enough. Every path holds a token: who does not know it, another user of the machine or a page in
the same browser, gets 404. The client is that of the PyPI package ``neuroglancer``; what it and
its server say to each other is followed here (its ``python_integration/api.ts``, version 2.41):

- ``GET /events/TOKEN?c=CLIENT&gs=GENERATION``: events ``{"k": "s", "s": STATE, "g": GENERATION}``
- ``POST /state/TOKEN`` with ``{"s": STATE, "g": NUMBER, "pg": GENERATION, "c": CLIENT}``: the new
  generation ``{"g": G}``, or 412 when ``pg`` is not the one there is.
"""

import json
import logging
import os
import re
import secrets
import socket
import socketserver
import threading
from collections.abc import Callable
from hmac import compare_digest
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from .files import VersionedFiles
from .port import Shown
from .ranges import UNSATISFIABLE, wanted
from .sharing import SharedState, placed
from .state import ORIGIN, properties, viewer_state

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 64  # one browser holds six
MAX_BODY = 8 << 20  # bytes of a state: one with all colours takes half a megabyte
IDLE_S = 60.0  # after which a silent connection is closed
BEAT_S = 15.0  # between signs of life on a stream of events
HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")
TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css",
    ".wasm": "application/wasm", ".json": "application/json",
}  # fmt: skip
DEPTH = {"v": 3, "data": 4, "meshes": 5, "events": 2, "state": 2}  # parts of a path at least
NUMBER = re.compile(r"[0-9]{1,20}")  # a version, or an id
Answers = dict[str, Callable[[list[str]], None]]  # to the rest of a path
SUFFIX = ".surface"  # of a mesh's one fragment


class ViewerState:
    """What is served: a scene, its files and the state in which it is seen."""

    def __init__(self, shown: Shown, client: Path) -> None:
        self.token = secrets.token_urlsafe(12)
        self.client = {path.name: path for path in client.iterdir() if path.suffix in TYPES}
        self.files = VersionedFiles(shown.root, shown.groups())
        self.shown = shown
        self.meshing = threading.Lock()  # surfaces are made one at a time: they take a whole core
        self._made = viewer_state(shown.scene(self._data, self._meshes))
        self.state = SharedState(self._made)

    def _data(self, group: str) -> str:
        path = f"{group}/" if group else ""
        return f"{ORIGIN}/data/{self.token}/{self.files.version(group)}/{path}"

    def _meshes(self, group: str, rows: int) -> str:
        # Surfaces change when the labels do, and their list when rows come: so does their address.
        version = f"{self.files.version(group)}.{rows}"
        return f"{ORIGIN}/meshes/{self.token}/{version}/{group}/"

    def follow(self) -> bool:
        """Show what has come since; whether anything has."""
        for group in self.shown.groups():
            self.files.add(group)
        self.files.look()
        made = viewer_state(self.shown.scene(self._data, self._meshes))
        new = bool(made["layers"] != self._made["layers"])
        self._made = made
        if new:
            self.state.renew(made)
        return new


class Server(ThreadingHTTPServer):
    """A server of one site; raises OSError where it cannot listen."""

    daemon_threads = True
    block_on_close = False  # a stream of events ends when the process does
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, site: ViewerState, host: str, port: int) -> None:
        self.site = site
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._room = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__((host, port), Handler)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def server_bind(self) -> None:
        """Bind without asking for the machine's name, which may take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.port

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, unless there are too many."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log what went wrong on one connection; the others go on."""
        log.debug("connection of %s", client_address, exc_info=True)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "fibstream"
    sys_version = ""
    timeout = IDLE_S
    server: Server

    def do_GET(self) -> None:
        """Answer with a file, a surface or a stream of events."""
        known: Answers = {"v": self._page, "data": self._file, "meshes": self._mesh}
        if self.command == "GET":
            known["events"] = self._events
        self._answer(known)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        """Take the state of a browser."""
        self._answer({"state": self._take})

    def _answer(self, known: Answers) -> None:
        parts = unquote(urlsplit(self.path).path).split("/")[1:]
        answer = known.get(parts[0]) if parts else None
        token = parts[1] if len(parts) > 1 else ""
        right = compare_digest(token.encode(), self.server.site.token.encode())
        try:
            if answer is None or not right or len(parts) < DEPTH[parts[0]]:
                self._refuse(HTTPStatus.NOT_FOUND)
            else:
                answer(parts[2:])
        except (ConnectionError, TimeoutError):  # the browser has gone, or is silent
            self.close_connection = True

    # -- what is asked for -------------------------------------------------------------------------

    def _page(self, parts: list[str]) -> None:
        """Send a file of the client; its names hold their contents, but for the page itself."""
        name = "/".join(parts) or "index.html"
        path = self.server.site.client.get(name)
        if path is None:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        lasting = "no-cache" if name == "index.html" else "max-age=31536000, immutable"
        self._send(path.read_bytes(), TYPES[path.suffix], caching=lasting)

    def _file(self, parts: list[str]) -> None:
        """Send a file of a group, or a range of it."""
        version, path = parts[0], "/".join(parts[1:])
        number = int(version) if NUMBER.fullmatch(version) else 0
        found = self.server.site.files.open(number, path)
        if found is None:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        try:
            span = wanted(self.headers.get("Range"), found.size)
            if span is UNSATISFIABLE:
                none = {"Content-Range": f"bytes */{found.size}"}
                self._refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, none)
                return
            start, stop = span or (0, found.size)
            said = {"Accept-Ranges": "bytes"}
            if span:
                said["Content-Range"] = f"bytes {start}-{stop - 1}/{found.size}"
            status = HTTPStatus.PARTIAL_CONTENT if span else HTTPStatus.OK
            kind = TYPES.get(Path(path).suffix, "application/octet-stream")
            self._head(status, stop - start, kind, "no-store", said)
            if self.command != "HEAD" and stop > start:
                with open(found.descriptor, "rb", closefd=False) as file:
                    sent = self.connection.sendfile(file, start, stop - start)
                self.close_connection |= sent < stop - start  # the file was cut off meanwhile
        finally:
            os.close(found.descriptor)

    def _mesh(self, parts: list[str]) -> None:
        """Send what Neuroglancer asks of legacy meshes: who they are, a manifest, a fragment."""
        group, name = "/".join(parts[1:-1]), parts[-1]
        shown = self.server.site.shown
        listing = group.endswith("/properties")
        group = group.removesuffix("/properties")
        data: bytes | None = None
        kind = TYPES[".json"]
        if group not in shown.groups() or not group.startswith("labels/"):
            pass
        elif name == "info" and listing:
            data = json.dumps(properties(shown.objects(group))).encode()
        elif name == "info":
            what = {"@type": "neuroglancer_legacy_mesh"}
            if shown.objects(group).rows:
                what["segment_properties"] = "properties"
            data = json.dumps(what).encode()
        elif name.endswith(":0") and NUMBER.fullmatch(name[:-2]):
            data = json.dumps({"fragments": [name[:-2] + SUFFIX]}).encode()
        elif name.endswith(SUFFIX) and NUMBER.fullmatch(name.removesuffix(SUFFIX)):
            kind = "application/octet-stream"
            with self.server.site.meshing:
                data = shown.mesh(group, int(name.removesuffix(SUFFIX)))
        if data is None:
            self._refuse(HTTPStatus.NOT_FOUND)
        else:
            self._send(data, kind)

    # -- the state ---------------------------------------------------------------------------------

    def _events(self, _: list[str]) -> None:
        """Send the state, and again whenever it has changed, until the browser goes."""
        asked = parse_qs(urlsplit(self.path).query)
        client, last = asked.get("c", [""])[0], asked.get("gs", [""])[0]
        self.close_connection = True
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self._common("no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        state = self.server.site.state
        self.wfile.write(b":\n\n")
        while not state.closed:
            told = state.wait(client=client, last=last, timeout_s=BEAT_S)
            if told is None:
                self.wfile.write(b":\n\n")
                continue
            last = told.generation
            seen = placed(json.loads(told.text), ORIGIN, self._origin())
            message = json.dumps({"k": "s", "s": seen, "g": last})
            self.wfile.write(f"data: {message}\n\n".encode())

    def _take(self, _: list[str]) -> None:
        """Take a state; it is only kept, and only sent to browsers that know the token."""
        size = self.headers.get("Content-Length", "")
        if not size.isdecimal() or int(size) > MAX_BODY:
            self.close_connection = True
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        try:
            said = json.loads(self.rfile.read(int(size)))
            state = placed(said["s"], self._origin(), ORIGIN)
            who = {"client": str(said["c"]), "number": str(said["g"]), "previous": str(said["pg"])}
        except (ValueError, LookupError, TypeError, RecursionError):
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        if not isinstance(state, dict) or not isinstance(state.get("layers", []), list):
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        generation = self.server.site.state.post(state, **who)
        if generation is None:
            self._refuse(HTTPStatus.PRECONDITION_FAILED)
        else:
            self._send(json.dumps({"g": generation}).encode(), TYPES[".json"])

    def _origin(self) -> str:
        """Return the address under which the browser came: a tunnel may have another port."""
        host = self.headers.get("Host", "")
        here = f"127.0.0.1:{self.server.port}"
        return f"http://{host if HOST.fullmatch(host) else here}"

    # -- sending -----------------------------------------------------------------------------------

    def _send(self, data: bytes, kind: str, caching: str = "no-store") -> None:
        self._head(HTTPStatus.OK, len(data), kind, caching, {})
        if self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, status: HTTPStatus, said: dict[str, str] | None = None) -> None:
        if self.command == "POST":
            self.close_connection = True  # what was sent may not have been read
        data = b"" if self.command == "HEAD" else f"{status.phrase}\n".encode()
        self._head(status, len(data), "text/plain", "no-store", said or {})
        self.wfile.write(data)

    def _head(
        self, status: HTTPStatus, size: int, kind: str, caching: str, said: dict[str, str]
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        for name, value in said.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self._common(caching)
        self.end_headers()

    def _common(self, caching: str) -> None:
        self.send_header("Cache-Control", caching)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")  # the address holds the token

    def log_message(self, format: str, *args: Any) -> None:
        """Log a request, without the token."""
        log.debug("%s", (format % args).replace(self.server.site.token, "TOKEN"))

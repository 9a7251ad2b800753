"""The server of `fibstream view`: Neuroglancer's client, the state it shows, and the data it reads.

All of it under one address, so that no other site is allowed in, and that one forwarded port is
enough. Every path holds a token: who does not know it, another user of the machine or a page in
the same browser, gets 404. The client is that of the PyPI package ``neuroglancer``; the protocol
between it and its server is followed here (its ``python_integration/api.ts``, version 2.41):

- ``GET /events/TOKEN?c=CLIENT&gs=GENERATION``: events ``{"k": "s", "s": STATE, "g": GENERATION}``
- ``POST /state/TOKEN`` with ``{"s": STATE, "g": NUMBER, "pg": GENERATION, "c": CLIENT}``: the new
  generation ``{"g": G}``, or 412 when ``pg`` is not the current one.
"""

import asyncio
import json
import os
import re
import secrets
from collections.abc import AsyncIterator
from functools import partial
from hmac import compare_digest
from http import HTTPStatus
from pathlib import Path

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .connection import MAX_CONNECTIONS
from .files import Opened, VersionedFiles
from .port import Viewable
from .sharing import SharedState, replaced
from .state import ORIGIN, properties, viewer_state

MAX_BODY = 8 << 20  # bytes of a state: one with all colours takes half a megabyte
HEARTBEAT_S = 15.0  # between comments on a stream of events that has nothing to send
HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")
TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css",
    ".wasm": "application/wasm", ".json": "application/json",
}  # fmt: skip
BYTES = "application/octet-stream"
NUMBER = re.compile(r"[0-9]{1,20}")  # a version, or an id
SUFFIX = ".surface"  # of a mesh's one fragment


class Viewer:
    """Serves a dataset or array, and the state in which it is seen."""

    def __init__(self, content: Viewable, client: Path) -> None:
        self.token = secrets.token_urlsafe(12)
        self.content = content
        self.files = VersionedFiles(content.root, content.groups())
        self._client = {path.name: path for path in client.iterdir() if path.suffix in TYPES}
        self._latest = viewer_state(content.scene(self._data_url, self._mesh_url))
        self.state = SharedState(self._latest)
        self._meshing = asyncio.Lock()  # one surface at a time: each takes a whole core
        self._waiting = CapacityLimiter(MAX_CONNECTIONS)  # threads of streams: files have others

    def _data_url(self, group: str) -> str:
        path = f"{group}/" if group else ""
        return f"{ORIGIN}/data/{self.token}/{self.files.version(group)}/{path}"

    def _mesh_url(self, group: str, rows: int) -> str:
        # Surfaces change when the labels do, and their list with the rows: so does their address.
        version = f"{self.files.version(group)}.{rows}"
        return f"{ORIGIN}/meshes/{self.token}/{version}/{group}/"

    def follow(self) -> bool:
        """Show what the dataset holds now; return whether anything has changed."""
        for group in self.content.groups():
            self.files.add(group)
        self.files.refresh()
        latest = viewer_state(self.content.scene(self._data_url, self._mesh_url))
        changed = bool(latest["layers"] != self._latest["layers"])
        self._latest = latest
        if changed:
            self.state.renew(latest)
        return changed

    def app(self) -> Starlette:
        """Return the application; paths without the token are not found."""
        app = Starlette(
            routes=[
                Route("/v/{token}/{name:path}", self._page),
                Route("/data/{token}/{version}/{path:path}", self._file),
                Route("/meshes/{token}/{version}/{group:path}/{name}", self._mesh),
                Route("/events/{token}", self._events),
                Route("/state/{token}", self._post, methods=["POST"]),
            ],
            middleware=[Middleware(TokenGuard, token=self.token)],
        )
        app.router.redirect_slashes = False
        return app

    async def _page(self, request: Request) -> Response:
        """Send a file of the client; all names but that of the page depend on the contents."""
        name = request.path_params["name"] or "index.html"
        path = self._client.get(name)
        if path is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        caching = "no-cache" if name == "index.html" else "max-age=31536000, immutable"
        headers = {"Content-Type": TYPES[path.suffix], "Cache-Control": caching}
        return FileResponse(path, headers=headers)

    def _file(self, request: Request) -> Response:
        """Send a file of a group, or a range of it."""
        version, path = request.path_params["version"], request.path_params["path"]
        opened = self.files.open(int(version) if NUMBER.fullmatch(version) else 0, path)
        if opened is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return OpenedFileResponse(opened, TYPES.get(Path(path).suffix, BYTES))

    async def _mesh(self, request: Request) -> Response:
        """Send a file of Neuroglancer's legacy meshes: an info, a manifest or a fragment."""
        group, name = request.path_params["group"], request.path_params["name"]
        listing = group.endswith("/properties")
        group = group.removesuffix("/properties")
        if group not in self.content.groups() or group.startswith(("raw", "predictions/", "lm/")):
            raise HTTPException(HTTPStatus.NOT_FOUND)
        if name == "info":
            objects = await to_thread.run_sync(self.content.objects, group)
            if listing:
                return JSONResponse(properties(objects))
            more = {"segment_properties": "properties"} if objects.rows else {}
            return JSONResponse({"@type": "neuroglancer_legacy_mesh", **more})
        number = name.removesuffix(":0").removesuffix(SUFFIX)
        if NUMBER.fullmatch(number) and name == f"{number}:0":
            return JSONResponse({"fragments": [number + SUFFIX]})
        if NUMBER.fullmatch(number) and name == number + SUFFIX:
            async with self._meshing:
                mesh = await to_thread.run_sync(self.content.mesh, group, int(number))
            if mesh is not None:
                return Response(mesh, media_type=BYTES)
        raise HTTPException(HTTPStatus.NOT_FOUND)

    async def _events(self, request: Request) -> Response:
        """Send the state, and again whenever it has changed, until the browser disconnects."""
        client, last = (request.query_params.get(name, "") for name in ("c", "gs"))
        if request.method == "HEAD":
            raise HTTPException(HTTPStatus.NOT_FOUND)
        messages = self._messages(client, last, _origin(request))
        return StreamingResponse(messages, headers={"Content-Type": "text/event-stream"})

    async def _messages(self, client: str, last: str, origin: str) -> AsyncIterator[str]:
        yield ":\n\n"
        while not self.state.closed:
            wait = partial(self.state.wait, client=client, last=last, timeout_s=HEARTBEAT_S)
            snapshot = await to_thread.run_sync(wait, limiter=self._waiting, abandon_on_cancel=True)
            if snapshot is None:
                yield ":\n\n"
                continue
            last = snapshot.generation
            state = replaced(json.loads(snapshot.text), ORIGIN, origin)
            yield f"data: {json.dumps({'k': 's', 's': state, 'g': last})}\n\n"

    async def _post(self, request: Request) -> Response:
        """Take a state; it is only kept, and only sent to browsers that know the token."""
        size = request.headers.get("Content-Length", "")
        chunked = "Transfer-Encoding" in request.headers  # then the length is not that of the body
        if chunked or not size.isdecimal() or int(size) > MAX_BODY:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        try:
            posted = await request.json()
            state = replaced(posted["s"], _origin(request), ORIGIN)
            names = {"client": str(posted["c"]), "number": str(posted["g"])}
            previous = str(posted["pg"])
        except (ValueError, LookupError, TypeError, RecursionError):
            raise HTTPException(HTTPStatus.BAD_REQUEST) from None
        if not isinstance(state, dict) or not isinstance(state.get("layers", []), list):
            raise HTTPException(HTTPStatus.BAD_REQUEST)
        generation = self.state.post(state, **names, previous=previous)
        if generation is None:
            raise HTTPException(HTTPStatus.PRECONDITION_FAILED)
        return JSONResponse({"g": generation})


def _origin(request: Request) -> str:
    """Return the address that the browser has used: a tunnel may have another port."""
    host = request.headers.get("Host", "")
    here = f"127.0.0.1:{request.scope['server'][1]}"
    return f"http://{host if HOST.fullmatch(host) else here}"


class TokenGuard:
    """Answers 404 to paths without the token; keeps responses out of caches and referrers."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        token = "".join(scope["path"].split("/")[2:3])
        known = compare_digest(token.encode(), self._token)
        app = self._app if known else Response(status_code=HTTPStatus.NOT_FOUND)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-store")
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"  # the address holds the token
            await send(message)

        await app(scope, receive, send_guarded)


class OpenedFileResponse(FileResponse):
    """An open file or ranges of it, whatever has its name by now; closed at the end."""

    def __init__(self, opened: Opened, kind: str) -> None:
        path = f"/dev/fd/{opened.descriptor}"
        super().__init__(path, headers={"Content-Type": kind}, stat_result=opened.status)
        self._descriptor = opened.descriptor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            os.close(self._descriptor)

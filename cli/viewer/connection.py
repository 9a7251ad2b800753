"""The connections of the viewer: how many there are, and how long a silent one is waited for."""

import asyncio
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 64  # one browser holds six
IDLE_S = 60  # after which a connection is closed that should send or receive, and does neither
CLOSING_S = 1  # for what is under way when the server ends


class Connection(H11Protocol):
    """A connection that ends when it is one too many, or its peer is silent.

    uvicorn by itself closes idle connections only after a first request, and turns requests away
    (``limit_concurrency``) while others hold their connections without one.
    """

    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        self._limit_silence()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        super().data_received(data)
        self._limit_silence()

    def _limit_silence(self) -> None:
        """Close the connection later if the rest of a request does not come."""
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._unset_keepalive_if_required()
            close = self.transport.abort
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, close)

    def pause_writing(self) -> None:
        """Close the connection later if its peer does not read."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self.timeout_keep_alive, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the peer has read."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()


@contextmanager
def listening(app: ASGIApp, host: str, port: int, *, idle_s: int = IDLE_S) -> Iterator[int]:
    """Serve an application in a thread while the context lasts; yield the port.

    Raises OSError when the address cannot be listened on.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(MAX_CONNECTIONS)
        # Its log lines are of no use to who looks at a volume; requests would show the token.
        level = logging.DEBUG if log.isEnabledFor(logging.DEBUG) else logging.CRITICAL
        config = uvicorn.Config(
            app, http=Connection, ws="none", lifespan="off", log_config=None, log_level=level,
            access_log=False, server_header=False, proxy_headers=False, timeout_keep_alive=idle_s,
            timeout_graceful_shutdown=CLOSING_S, backlog=MAX_CONNECTIONS,
        )  # fmt: skip
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), name="viewer", daemon=True)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()

"""The connections of the viewer: how many there are, and how long a silent one is waited for."""

import asyncio
import logging
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, cast

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 64  # one browser holds six
BACKLOG = 256  # not accepted yet; beyond it a client waits a second and tries again
CLOSING_S = 1  # for what is under way when the server ends


class Limits(NamedTuple):
    """What connections may take; a browser sends its headers at once."""

    connections: int = MAX_CONNECTIONS
    of_peer: int = 48  # of one address: through a tunnel all browsers have one
    header_s: float = 5.0  # from the first byte on, or from the connection on where none has come
    body_s: float = 60.0  # for the whole body: 8 MB at 140 kB/s
    idle_s: int = 60  # between requests, and while the peer does not read


LIMITS = Limits()


class Connection(H11Protocol):
    """A connection that ends when its peer is silent, slow, or the longest silent of too many.

    uvicorn by itself closes idle connections only after a first request, and turns requests away
    (``limit_concurrency``) while others hold their connections without one.
    """

    _stalled: asyncio.TimerHandle | None = None
    _deadline: asyncio.TimerHandle | None = None
    _phase: object = None  # what of a request is waited for

    def __init__(self, *given: Any, limits: Limits = LIMITS, **named: Any) -> None:
        super().__init__(*given, **named)
        self._limits = limits
        self.since = self.loop.time()  # of the last byte
        self.answered = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection; where there are too many, the longest silent one makes room."""
        super().connection_made(transport)
        others = [
            c
            for c in self.connections
            if isinstance(c, Connection) and not c.transport.is_closing()
        ]
        same = [c for c in others if c.client and self.client and c.client[0] == self.client[0]]
        if len(same) > self._limits.of_peer:
            self._make_room(same)
        elif len(others) > self._limits.connections:
            self._make_room(others)
        self._limit_silence()

    def _make_room(self, among: Iterable["Connection"]) -> None:
        """Close one that was never answered, or is silent for longest; without any, this one."""
        silent = [c for c in among if c is not self and c.is_silent]
        first = min(silent, key=lambda c: (c.answered, c.since), default=self)
        first.transport.abort()

    @property
    def is_silent(self) -> bool:
        """Whether nothing is being answered: no request has come, or not all of it."""
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    def on_response_complete(self) -> None:
        """Note that a request was answered."""
        self.answered = True
        super().on_response_complete()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        super().data_received(data)
        self.since = self.loop.time()
        self._limit_silence()

    def _limit_silence(self) -> None:
        """Close the connection later if the rest of a header, or of a body, does not come.

        Bytes that drip gain no time: the deadline is of the whole.
        """
        phase: object = self.conn.their_state
        if phase not in (h11.IDLE, h11.SEND_BODY):
            phase = None
        if phase is self._phase:
            return
        self._phase = phase
        if self._deadline is not None:
            self._deadline.cancel()
        if phase is not None:
            limits = self._limits
            wait_s = limits.header_s if phase is h11.IDLE else limits.body_s
            self._deadline = self.loop.call_later(wait_s, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        for timer in (self._deadline, self._stalled):
            if timer is not None:
                timer.cancel()

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
def listening(app: ASGIApp, host: str, port: int, *, limits: Limits = LIMITS) -> Iterator[int]:
    """Serve an application in a thread while the context lasts; yield the port.

    Raises OSError when the address cannot be listened on.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        # Its log lines are of no use to who looks at a volume; requests would show the token.
        level = logging.DEBUG if log.isEnabledFor(logging.DEBUG) else logging.CRITICAL
        config = uvicorn.Config(
            app, http=cast("type[Connection]", partial(Connection, limits=limits)), ws="none",
            lifespan="off", log_config=None, log_level=level, access_log=False,
            server_header=False, proxy_headers=False, timeout_keep_alive=limits.idle_s,
            timeout_graceful_shutdown=CLOSING_S, backlog=BACKLOG,
        )  # fmt: skip
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), name="viewer", daemon=True)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()

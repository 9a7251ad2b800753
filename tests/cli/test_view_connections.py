"""Silent, slow and greedy connections to the viewer: a browser beside them goes on."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest
from starlette.types import Receive, Scope, Send

from fibstream.cli.viewer.connection import LIMITS, Limits, listening

from ..support.patience import PATIENCE_S, eventually
from ..support.sockets import drip

QUICK = Limits(connections=10, of_peer=8, header_s=0.4, body_s=0.6, idle_s=2)
PATIENT = Limits(connections=10, of_peer=8, header_s=3600, body_s=3600, idle_s=3600)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = 32 << 20  # bytes: more than buffers hold


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what was posted; with much at /large."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    answer = bytes(LARGE) if scope["path"] == "/large" else body or b"fine"
    length = str(len(answer)).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
    )
    await send({"type": "http.response.body", "body": answer})


@pytest.fixture
def port() -> Iterator[int]:
    with listening(app, "127.0.0.1", 0, limits=QUICK) as made:
        yield made


@pytest.fixture
def connect(port: int) -> Iterator[partial[socket.socket]]:
    with ExitStack() as stack:
        yield partial(connected, stack, port)


def connected(stack: ExitStack, port: int, sent: bytes = b"") -> socket.socket:
    """Connect, send some bytes, and leave the connection open."""
    link = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    stack.enter_context(link)
    link.sendall(sent)
    return link


def is_answered(link: socket.socket, request: bytes = GET) -> bool:
    """Whether a request gets the whole of its answer."""
    try:
        link.sendall(request)
        found = b""
        while not found.endswith((b"\r\n\r\nfine", b"\r\n\r\nabc")):
            if not (part := link.recv(1 << 16)):
                return False
            found += part
    except ConnectionError:
        return False
    return found.startswith(b"HTTP/1.1 200")


def end_of(link: socket.socket) -> None:
    """Read until the server closes a connection."""
    try:
        while link.recv(1 << 16):
            pass
    except ConnectionError:
        pass


SILENT = (
    b"",
    b"GET / HTTP/1.1\r\nHost: x\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1",
    b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n",
)


@pytest.mark.parametrize("sent", SILENT[:3], ids=["silent", "header", "body"])
def test_the_silent_make_room_before_their_time_is_over(sent: bytes) -> None:
    with listening(app, "127.0.0.1", 0, limits=PATIENT) as port, ExitStack() as stack:
        browser = connected(stack, port)
        assert is_answered(browser)
        held = [connected(stack, port, sent) for _ in range(64)]
        assert len(held) > PATIENT.connections
        assert is_answered(browser)
        eventually(lambda: is_answered(connected(stack, port)), "an answer to a new connection")


@pytest.mark.parametrize("sent", SILENT, ids=["silent", "header", "body", "reader"])
def test_64_that_hang_are_ended(connect: partial[socket.socket], sent: bytes) -> None:
    held = [connect(sent) for _ in range(64)]
    eventually(lambda: is_answered(connect()), "an answer to a new connection")
    for link in held:
        end_of(link)


@pytest.mark.parametrize(
    ("head", "drops", "limit_s"),
    [(b"GET / HTTP/1.1\r\n", b"X: y\r\n", QUICK.header_s),
     (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n", b"1", QUICK.body_s)],
)  # fmt: skip
def test_what_drips_gains_no_time(
    connect: partial[socket.socket], head: bytes, drops: bytes, limit_s: float
) -> None:
    took_s = drip(connect(head), drops)
    assert took_s is not None
    assert took_s > limit_s * 0.8


def test_a_header_in_parts_and_many_requests_are_answered(connect: partial[socket.socket]) -> None:
    """The deadline is of one request: a connection that is used lasts."""
    link = connect()
    for _ in range(6):
        link.sendall(GET[:9])
        threading.Event().wait(0.15)
        assert is_answered(link, GET[9:])
        threading.Event().wait(0.1)
    assert is_answered(link, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")


def test_a_used_connection_outlives_those_that_never_asked(
    connect: partial[socket.socket],
) -> None:
    used = connect()
    assert is_answered(used)
    for _ in range(40):
        connect()
    assert is_answered(used)


def test_limits_leave_places_to_other_addresses() -> None:
    assert LIMITS.of_peer < LIMITS.connections
    assert LIMITS.header_s <= 5

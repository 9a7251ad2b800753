"""What calls of strangers may take: places, a part of them for each client, and time.

A call holds a thread from its first byte on, so also one that never sends its message.  Places are
counted apart for calls, for streams that are watched, for health and for reflection: none of them
takes those of another.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address
from typing import Any, NamedTuple
from urllib.parse import unquote

import grpc

from fibstream.core.errors import FibstreamError, LimitExceeded, WrongState, WrongUse

from .settings import CALLS, CLIENT_CALLS, Settings

POLL_S = 0.25  # between two checks of a waiting call whether its client is still there
HEALTH, HEALTH_PER_CLIENT = 16, 8  # calls of health, and of reflection: each takes milliseconds


class CallLimits(NamedTuple):
    """How many calls there may be at a time, and how long one may take to send its messages."""

    calls: int = CALLS
    client_calls: int = CLIENT_CALLS
    watches: int = CALLS
    client_watches: int = CLIENT_CALLS
    first_message_s: float = 10.0
    next_message_s: float = 30.0
    upload_s: float = 600.0

    @classmethod
    def of(cls, settings: Settings) -> "CallLimits":
        """Return those that a service is given."""
        return cls(*(getattr(settings, name) for name in cls._fields))

    @property
    def places(self) -> int:
        """Calls of every kind together."""
        return self.calls + self.watches + 2 * HEALTH


LIMITS = CallLimits()


class IdleCall(FibstreamError):
    """A client has not sent its message in time."""


def client_of(peer: str) -> str:
    """Return who calls, from gRPC's name of the other end: a host, or the network of a site."""
    kind, _, rest = peer.partition(":")
    host = unquote(rest).rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return kind
    if not isinstance(address, IPv6Address):
        return host
    # Whoever has one address of the newer kind has 2^64 of them.
    return str(address.ipv4_mapped or address.exploded[:19])


class Share:
    """Places for calls of one kind, of which a client may hold a part."""

    def __init__(self, what: str, total: int, per_client: int) -> None:
        self._what = what
        self._total, self._per_client = total, per_client
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, client: str) -> Iterator[None]:
        """Hold a place; raise LimitExceeded where none is left, or the client has its part."""
        with self._lock:
            if self._held[client] >= self._per_client:
                raise LimitExceeded(
                    f"this client has {self._per_client} {self._what} under way, which is its part:"
                    " call again when one has ended"
                )
            if self._held.total() >= self._total:
                raise LimitExceeded(
                    f"{self._total} {self._what} are under way, the limit: call again later"
                )
            self._held[client] += 1
        try:
            yield
        finally:
            with self._lock:
                self._held[client] -= 1
                self._held += Counter()  # forgets clients with none


class Shares:
    """The places of a server, by the kind of call."""

    def __init__(self, limits: CallLimits) -> None:
        self._calls = Share("calls", limits.calls, limits.client_calls)
        self._watches = Share("watching streams", limits.watches, limits.client_watches)
        self._health = Share("health checks", HEALTH, HEALTH_PER_CLIENT)
        self._reflection = Share("calls of reflection", HEALTH, HEALTH_PER_CLIENT)

    def of(self, method: str) -> Share:
        """Return the places for calls of a method, ``/PACKAGE.SERVICE/METHOD``."""
        service, _, name = method[1:].partition("/")
        if name.startswith("Watch"):
            return self._watches
        if service.startswith("grpc.health."):
            return self._health
        return self._reflection if service.startswith("grpc.reflection.") else self._calls


def check_active(context: grpc.ServicerContext) -> None:
    """Raise WrongState when the client of a call is gone."""
    if not context.is_active():
        raise WrongState("the call was cancelled")


@contextmanager
def held(
    place: "threading.Lock | threading.BoundedSemaphore", context: grpc.ServicerContext
) -> Iterator[None]:
    """Hold a place, waiting for it as long as the client does; raise WrongState when it is gone."""
    while not place.acquire(timeout=POLL_S):
        check_active(context)
    try:
        check_active(context)
        yield
    finally:
        place.release()


class Incoming:
    """The messages of one call, each decoded when it is asked for, and waited for so long only.

    gRPC waits for a message without end.  So ``readers`` wait, at most one for each call; one that
    waits still when the call has been refused is released by its end.
    """

    def __init__(
        self, requests: Iterator[bytes], decode: Callable[[bytes], Any], limits: CallLimits,
        readers: Executor,
    ) -> None:  # fmt: skip
        self._requests = requests
        self._decode = decode
        self._limits = limits
        self._readers = readers
        self._wait_s = limits.first_message_s
        self._end_s = time.monotonic() + limits.upload_s

    def __iter__(self) -> Iterator[Any]:
        """Return itself."""
        return self

    def __next__(self) -> Any:
        """Return the next message; raise IdleCall when it does not come, WrongUse for another."""
        left_s = self._end_s - time.monotonic()
        coming: Future[bytes | None]
        coming = self._readers.submit(next, self._requests, None)  # a message is never None
        try:
            data = coming.result(timeout=max(min(self._wait_s, left_s), 0))
        except TimeoutError:
            raise IdleCall(self._late(left_s)) from None
        if data is None:
            raise StopIteration
        self._wait_s = self._limits.next_message_s
        try:
            return self._decode(data)
        except Exception:
            raise WrongUse("the message is none of this method's requests") from None

    def _late(self, left_s: float) -> str:
        if left_s < self._wait_s:
            return f"the messages have not ended within {self._limits.upload_s:g} s"
        return f"no message has come within {self._wait_s:g} s"


class Stalls:
    """Cancels calls whose client does not take what is sent to it."""

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._sending: dict[grpc.ServicerContext, float] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="grpc-stalls", daemon=True).start()

    @contextmanager
    def sending(self, context: grpc.ServicerContext) -> Iterator[None]:
        """Bound the time in which one message is taken."""
        with self._lock:
            self._sending[context] = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._sending.pop(context, None)

    def _watch(self) -> None:
        while not self._closed.wait(self._wait_s / 4):
            before = time.monotonic() - self._wait_s
            with self._lock:
                late = [context for context, begun in self._sending.items() if begun < before]
            for context in late:
                context.cancel()

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()

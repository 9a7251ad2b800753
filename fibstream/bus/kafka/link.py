"""This process's connections to one Kafka cluster: shared by its buses, safe between threads."""

import contextlib
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from fibstream.bus.topics import headers, partition_of
from fibstream.core.echo import echo
from fibstream.core.errors import Poison, Retryable, WrongUse

from . import sockets

T = TypeVar("T")

CALL_S = 7.0  # the longest a call waits for the broker: longer than the election of a new leader
PROBE_S = 2.0  # for a connection; there may be three addresses to try
RETRY_S = 0.1  # between two attempts at what the broker reports as not ready yet
RECONNECT_MS = 500  # a broker that comes back is found within so long; Kafka's own is 30 s
REQUEST_MS = 3_000  # below half of CALL_S, so that a request lost with its connection is sent again
# A broker holds a fetch that finds nothing for so long. Partitions added meanwhile wait as long;
# half of it would double what idle processes cost.
HOLD_MS = 100
_SERVER = re.compile(r"([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:]+\]):([0-9]{1,5})")

# Its loggers report every connection and fetch; what matters reaches the caller as an error.
logging.getLogger("kafka").setLevel(logging.ERROR)
# While a broker is away, twice a second and client: our callers report it once.
for _name in ("kafka.net", "kafka.cluster"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


_PATIENCE: dict[str, Any] = {
    "bootstrap_timeout_ms": int(CALL_S * 1000),
    "request_timeout_ms": REQUEST_MS,
    "reconnect_backoff_max_ms": RECONNECT_MS,
    "proxy_url": sockets.URL,
}
_COMMON = _PATIENCE | {"metrics_enabled": False, "allow_auto_create_topics": False}


@contextlib.contextmanager
def reaching(servers: str) -> Iterator[None]:
    """Turn the client's errors into ours: Retryable, or Poison for a record that is too large."""
    try:
        yield
    except MessageSizeTooLargeError as error:
        raise Poison(f"too large for Kafka: {error}") from error
    except (KafkaError, OSError) as error:
        raise Retryable(f"kafka {servers}: {type(error).__name__}: {error}") from error


def parse_servers(servers: str) -> list[str]:
    """Return the addresses in ``HOST:PORT[,HOST:PORT]``; raise WrongUse when it is not one."""
    found = servers.split(",")
    for server in found:
        match = _SERVER.fullmatch(server)
        if match is None or not 0 < int(match[2]) < 65536:
            raise WrongUse(f"kafka {echo(servers)}: expected HOST:PORT[,HOST:PORT]")
    return found


class Sent(NamedTuple):
    """A record on its way."""

    future: Any
    producer: Any


def _end(producer: Any, timeout_s: float = 0) -> None:
    """Close a producer; records that are left fail, and do not keep its thread."""
    with contextlib.suppress(KafkaError):  # it closes nothing where records are left
        producer.close(timeout=timeout_s)
    producer._sender.force_close()


class Link:
    """One producer and one administrator, made when first needed; no method blocks long."""

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self._addresses = parse_servers(servers)
        self._lock = threading.RLock()
        self._producer: Any = None
        self._admin: Any = None
        self._partitions: dict[str, int] = {}
        self.users = 0

    # -- what there is ---------------------------------------------------------------------------

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has; raise WrongUse when it was never declared."""
        # Without the lock: who waits for a broker that is away must not hold up the others.
        if topic not in self._partitions:
            self._refresh()
        count = self._partitions.get(topic)
        if count is None:
            raise WrongUse(
                f"kafka {self.servers} has no topic {echo(topic)}: declare the topics first, with"
                " `python -m fibstream.bus.kafka SERVERS`"
            )
        return count

    def topics(self, start: str) -> list[str]:
        """Return the topics whose names begin with ``start``."""
        self._refresh()
        return sorted(name for name in self._partitions if name.startswith(start))

    def _refresh(self) -> None:
        found = self.admin(lambda admin: admin.describe_topics())
        self._partitions = {t["name"]: len(t["partitions"]) for t in found if not t["error_code"]}

    def admin(self, call: Callable[[Any], T]) -> T:
        """Call the administrator, again while the broker is not ready; return what it returns."""
        deadline = time.monotonic() + CALL_S / 2  # the last attempt takes its time, too
        while True:
            try:
                with self._lock, reaching(self.servers):
                    if self._admin is None:
                        self._probe()
                        self._admin = KafkaAdminClient(
                            bootstrap_servers=self._addresses, **_PATIENCE
                        )
                    return call(self._admin)
            except Retryable as error:
                cause = error.__cause__
                final = not (isinstance(cause, OSError) or getattr(cause, "retriable", False))
                if final or time.monotonic() > deadline:
                    raise
                time.sleep(RETRY_S)

    def consumer(self, **configs: Any) -> Any:
        """Return a new consumer, which its maker closes."""
        with reaching(self.servers):
            self._probe()
            return KafkaConsumer(
                bootstrap_servers=self._addresses,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                **_COMMON,
                **configs,
            )

    def _probe(self) -> None:
        """Raise an OSError unless a broker listens: a client that finds none leaves a thread."""
        for number, address in enumerate(self._addresses, 1):
            host, _, port = address.rpartition(":")
            try:
                socket.create_connection((host.strip("[]"), int(port)), PROBE_S).close()
                return
            except OSError:
                if number == len(self._addresses):
                    raise

    # -- writing ---------------------------------------------------------------------------------

    def send(self, topic: str, key: str, value: bytes | None) -> Sent:
        """Hand a record (None: a tombstone) to the producer."""
        place = partition_of(topic, key, self.partitions(topic))
        with reaching(self.servers):
            producer = self._sender()
            future = producer.send(
                topic, value, key.encode(), headers(topic, key, value or b""), place
            )
        return Sent(future, producer)

    def _sender(self) -> Any:
        with self._lock:
            if self._producer is None:
                self._probe()
                self._producer = KafkaProducer(
                    bootstrap_servers=self._addresses,
                    acks="all",
                    enable_idempotence=True,
                    max_block_ms=int(CALL_S * 1000),
                    delivery_timeout_ms=int(CALL_S * 1000),
                    **_COMMON,
                )
            return self._producer

    def confirm(self, sent: Sent) -> None:
        """Wait until a record is acknowledged; raise Retryable when it was not within CALL_S.

        The next record has another producer then: after a broker was restarted, one of kafka-python
        3.0.12 was seen to wait for ever for the answer that was lost, and to send nothing more.
        """
        with reaching(self.servers):
            try:
                # A little longer than the producer itself tries: then it is known to have given up.
                sent.future.get(timeout=CALL_S + 1)
            except KafkaTimeoutError:
                with self._lock:
                    if self._producer is sent.producer:
                        self._producer = None
                _end(sent.producer)
                raise

    def publish(self, topic: str, key: str, value: bytes | None) -> None:
        """Append a record and wait until every replica in sync has it."""
        self.confirm(self.send(topic, key, value))

    def close(self) -> None:
        """Let go of the connections."""
        with self._lock:
            if self._producer is not None:
                # What callers wait for is confirmed; the rest must not keep a process from ending.
                _end(self._producer, timeout_s=1)
            if self._admin is not None:
                self._admin.close()
            self._producer = self._admin = None


_links: dict[str, Link] = {}
_links_lock = threading.Lock()


def open_link(servers: str) -> Link:
    """Return this process's link to a cluster; each call is to be followed by a ``release``."""
    with _links_lock:
        if servers not in _links:
            _links[servers] = Link(servers)
        _links[servers].users += 1
        return _links[servers]


def release(link: Link) -> None:
    """Close a link when its last user lets go."""
    with _links_lock:
        link.users -= 1
        if link.users:
            return
        del _links[link.servers]
    link.close()


def places(link: Link, topic: str, scope: str | None) -> list[TopicPartition]:
    """Return the partitions of a log where a dataset's records lie, all for ``scope`` None."""
    count = link.partitions(topic)
    if scope is None:
        return [TopicPartition(topic, number) for number in range(count)]
    return [TopicPartition(topic, partition_of(topic, scope, count))]

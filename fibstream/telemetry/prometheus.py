"""The metrics of one process, kept for Prometheus and served at ``/metrics``."""

import contextlib
import copy
import logging
import re
import socket
import threading
import time
from collections.abc import Callable
from itertools import product
from socketserver import TCPServer, ThreadingMixIn
from types import TracebackType
from typing import Any, Self

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import MetricsHandler

from fibstream.core.echo import echo
from fibstream.core.errors import WrongUse

from .metrics import (
    BUILD_INFO,
    MAX_LABEL_VALUES,
    METRICS,
    OTHER,
    SERVICE,
    STAGE,
    Label,
    Metric,
    Telemetry,
)

log = logging.getLogger(__name__)

REQUEST_S = 5.0  # for one request: below Prometheus' own limit of 10
REQUESTS = 8  # at a time: two Prometheus servers and a person need three
POLL_S = 0.1  # in which the server stops after it is closed
PATH = "/metrics"


class Prometheus(Telemetry):
    """Keeps the metrics of one process; ``serve`` lets Prometheus fetch them.

    ``service`` fills the label of that name wherever a metric has it. Several threads may use it.
    ``clock`` and ``wall`` return seconds: of a monotonic clock, and since 1970.
    """

    def __init__(
        self,
        service: str,
        version: str = "",
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        # Else twice the series, for times that nobody looks at.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._metrics = {metric.name: _create(metric, self.registry) for metric in METRICS}
        self._clock = clock
        self._wall = wall
        self._service = service
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], set[str]] = {}
        self._series: dict[tuple[object, ...], Any] = {}
        self.set(BUILD_INFO, 1, version=version)
        self._initialise()

    def of(self, service: str) -> Self:
        """Return the telemetry of another service of the same process."""
        other = copy.copy(self)
        other._service = service
        other._initialise()
        return other

    def _initialise(self) -> None:
        """Start counters at 0: Prometheus sees no increase in a series that begins at 1."""
        for metric in METRICS:
            labels = [label for label in metric.labels if label is not SERVICE]
            known = STAGE not in labels and all(label.values for label in labels)
            if metric.kind == "counter" and known:
                for values in product(*(label.values for label in labels)):
                    names = (label.name for label in labels)
                    self.begin(metric, **dict(zip(names, values, strict=True)))

    # -- updating metrics ------------------------------------------------------------------------

    def now(self) -> float:
        """Return the seconds of a monotonic clock."""
        return self._clock()

    def add(self, metric: Metric, amount: float = 1.0, /, **labels: str) -> None:
        """Raise a counter, or move a gauge."""
        self._series_of(metric, labels).inc(amount)

    def set(self, metric: Metric, value: float, /, **labels: str) -> None:
        """Set a gauge."""
        self._series_of(metric, labels).set(value)

    def stamp(self, metric: Metric, /, **labels: str) -> None:
        """Set a gauge to the Unix time in seconds."""
        self._series_of(metric, labels).set(self._wall())

    def observe(self, metric: Metric, value: float, /, **labels: str) -> None:
        """Add one value to a histogram."""
        self._series_of(metric, labels).observe(value)

    def begin(self, metric: Metric, /, **labels: str) -> None:
        """Make a series appear before its first event."""
        self._series_of(metric, labels)

    def laps(self, metric: Metric, /, **labels: str) -> Callable[[str], None]:
        """Return a function that ends the present step under its name and begins the next."""
        begun = self._clock()

        def lap(step: str) -> None:
            nonlocal begun
            ended = self._clock()
            self.observe(metric, ended - begun, **labels, step=step)
            begun = ended

        return lap

    def _series_of(self, metric: Metric, labels: dict[str, str]) -> Any:
        """Return the series of these labels, from a cache that is faster than the library."""
        place = (metric.name, self._service, *labels.items())
        found = self._series.get(place)
        return self._create_series(metric, labels, place) if found is None else found

    def _create_series(
        self, metric: Metric, labels: dict[str, str], place: tuple[object, ...]
    ) -> Any:
        given = {SERVICE.name: self._service, **labels} if SERVICE in metric.labels else labels
        assert given.keys() == {label.name for label in metric.labels}, (metric.name, labels)
        made = self._metrics[metric.name]
        if not given:
            return made
        with self._lock:
            values = {x.name: self._bounded(metric, x, given[x.name]) for x in metric.labels}
            found = made.labels(**values)
            if values == given:  # a value folded into OTHER is not bounded and must not be cached
                self._series[place] = found
        return found

    def _bounded(self, metric: Metric, label: Label, value: str) -> str:
        if label.values:
            return value if value in label.values else OTHER
        seen = self._seen.setdefault((metric.name, label.name), set())
        if value not in seen and len(seen) >= MAX_LABEL_VALUES:
            return OTHER
        seen.add(value)
        return value

    # -- serving ---------------------------------------------------------------------------------

    def serve(self, address: str) -> "Exporter":
        """Answer ``/metrics`` on HOST:PORT until the exporter is closed; port 0 takes a free one.

        Raises WrongUse when the address is not of that form or cannot be taken.
        """
        host, port = _parse(address)
        try:
            server = _Server(host, port, _Handler.factory(self.registry))
        except OSError as error:
            raise WrongUse(f"metrics address {address}: {error.strerror or error}") from error
        exporter = Exporter(server)
        exporter.start()
        return exporter


def _create(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    names = [label.name for label in metric.labels]
    if metric.kind == "counter":
        return Counter(metric.name, metric.help, names, registry=registry)
    if metric.kind == "gauge":
        return Gauge(metric.name, metric.help, names, registry=registry)
    return Histogram(metric.name, metric.help, names, registry=registry, buckets=metric.buckets)


def _parse(address: str) -> tuple[str, int]:
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^\s:\[\]]+)):(\d{1,5})", address)
    if found is None or int(found[3]) > 65535:
        raise WrongUse(
            f"metrics address {echo(address)}: expected HOST:PORT, such as 127.0.0.1:9464"
        )
    return found[1] or found[2], int(found[3])


class _Handler(MetricsHandler):
    """Answers requests for the metrics, and no others."""

    timeout = REQUEST_S

    def do_GET(self) -> None:  # noqa: N802
        """Answer with all series in the requested format."""
        if self.path.partition("?")[0] == PATH:
            super().do_GET()
        else:
            self.send_error(404, f"only {PATH} is here")


class _Server(ThreadingMixIn, TCPServer):
    """One thread per request, at most REQUESTS at a time; a request has REQUEST_S in all."""

    daemon_threads = True
    allow_reuse_address = True  # a restarted service gets its port at once

    def __init__(self, host: str, port: int, handler: type[MetricsHandler]) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        self.address_family = found[0][0]
        where: Any = found[0][4]  # typed by the standard library for every family at once
        self._open: dict[Any, threading.Timer] = {}  # connections, the oldest first
        self._lock = threading.Lock()
        super().__init__(where, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a request; where there are too many, the oldest makes room: it hangs."""
        timer = threading.Timer(REQUEST_S, _end, [request])  # bytes that drip gain no time
        timer.daemon = True
        with self._lock:
            if len(self._open) >= REQUESTS:
                _end(oldest := next(iter(self._open)))
                self._open.pop(oldest).cancel()
            self._open[request] = timer
        timer.start()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a request, and then forget its connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                if (timer := self._open.pop(request, None)) is not None:
                    timer.cancel()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log a client that went away, which is no error."""
        log.debug("a request for metrics from %s broke off", client_address, exc_info=True)


def _end(request: socket.socket) -> None:
    """Wake the thread that waits for the rest of a request: its connection has ended."""
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class Exporter:
    """A server of metrics in a thread of its own; ``address`` is where."""

    def __init__(self, server: TCPServer) -> None:
        host, port = server.server_address[:2]
        self.address = f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever, args=(POLL_S,), name="metrics", daemon=True
        )

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering and release the port."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        """Return the exporter, which the block closes at its end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop answering."""
        self.close()

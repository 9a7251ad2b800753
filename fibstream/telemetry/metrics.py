"""The metrics of a service: the declaration of each, and the port through which they are updated.

``Telemetry`` keeps nothing: tests, the simulation and single commands run with it. Its adapter
``Prometheus`` keeps the metrics of one process and serves them. ``PlannerMetrics`` derives metrics
from the records, tasks and changes that one planner handles. What each metric means to an operator
is in docs/operating.md, which a test compares with the declarations below.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Self

from fibstream.core.events import ObjectChanged, Place, Record, Task
from fibstream.core.grid import Index

log = logging.getLogger(__name__)

# -- declarations ---------------------------------------------------------------------------------

# Values of an open label in one process; later ones count as OTHER: a scrape must stay small.
MAX_LABEL_VALUES = 64
OTHER = "other"  # stands for every value that a label may not have
# Seconds, from one hop of the bus to the ten minutes of a large block on a slow machine.
BUCKETS = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0
)  # fmt: skip
# A chunk may wait for its neighbours, and an object for its end, as long as the microscope mills.
LONG_BUCKETS = (*BUCKETS, 1800.0, 3600.0, 21600.0, 86400.0, 604800.0)

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True)
class Label:
    """One label: its ``values``, or their ``source``; of those MAX_LABEL_VALUES are kept apart."""

    name: str
    values: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True)
class Metric:
    """One metric: ``unit`` is the plural noun that its name ends in, "info" for constants."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[Label, ...]
    help: str
    buckets: tuple[float, ...] = BUCKETS


SERVICE = Label("service", source="the services of fibstream")
GPU = Label("gpu", source="their numbers, of those that the process sees")
STAGE = Label("stage", source="the families of the stages of all services")
ORGANELLE = Label("organelle", source="the pipeline's organelles")
METHOD = Label("method", source="the calls in protos/")
STEP = Label("step", ("queue", "read", "compute", "write", "publish"))
OUTCOME = Label("outcome", ("computed", "reused", "dropped", "failed"))
LANDING = Label("outcome", ("written", "unchanged", "older", "refused"))
REASON = Label("reason", ("poison", "crashed"))
FOUND = Label("found", ("nothing", "differences"))
CODE = Label(
    "code",
    (
        "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
        "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
        "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
        "UNAUTHENTICATED",
    ),
)  # fmt: skip

LANDED_CHUNKS = Metric(
    "fibstream_landed_chunks_total", "counter", "chunks", (LANDING,),
    "Landings of chunks, raw and predictions, by what became of them.",
)  # fmt: skip
LANDED_BYTES = Metric(
    "fibstream_landed_bytes_total", "counter", "bytes", (),
    "Voxels of landed chunks that were written, before compression.",
)  # fmt: skip
TASKS = Metric(
    "fibstream_tasks_total", "counter", "tasks", (SERVICE, STAGE, OUTCOME),
    "Tasks that a worker carried to an end.",
)  # fmt: skip
TASK_SECONDS = Metric(
    "fibstream_task_seconds", "histogram", "seconds", (SERVICE, STAGE, STEP),
    "Time that each finished step of a task took.",
)  # fmt: skip
FRESHNESS = Metric(
    "fibstream_freshness_seconds", "histogram", "seconds", (SERVICE, STAGE),
    "Time from a chunk's first landing to its first output, both as the planner reads them.",
    LONG_BUCKETS,
)  # fmt: skip
FINALITY = Metric(
    "fibstream_finality_seconds", "histogram", "seconds", (ORGANELLE,),
    "Time from an object's announcement as open to that as closed or final.",
    LONG_BUCKETS,
)  # fmt: skip
OPEN_OBJECTS = Metric(
    "fibstream_open_objects", "gauge", "objects", (ORGANELLE,),
    "Objects that are announced as open now.",
)  # fmt: skip
LEDGER_LAG = Metric(
    "fibstream_ledger_lag_entries", "gauge", "entries", (SERVICE,),
    "Ledger entries that planners have not read yet, at most.",
)  # fmt: skip
QUEUE = Metric(
    "fibstream_queue_tasks", "gauge", "tasks", (SERVICE,),
    "Tasks that are not acknowledged.",
)  # fmt: skip
LAST_COMMIT = Metric(
    "fibstream_last_commit_timestamp_seconds", "gauge", "seconds", (SERVICE,),
    "Unix time of this process's last record in the ledger.",
)  # fmt: skip
SUSPECTS = Metric(
    "fibstream_suspect_chunks_total", "counter", "chunks", (SERVICE, STAGE),
    "Records that un-record a chunk because the store says something else.",
)  # fmt: skip
DUPLICATE_TASKS = Metric(
    "fibstream_duplicate_tasks_total", "counter", "tasks", (SERVICE,),
    "Tasks sent again under a key that was sent and is not recorded.",
)  # fmt: skip
DUPLICATE_RESULTS = Metric(
    "fibstream_duplicate_results_total", "counter", "results", (SERVICE,),
    "Records of an output that was recorded under the same key with the same content.",
)  # fmt: skip
NONDETERMINISTIC = Metric(
    "fibstream_nondeterministic_outputs_total", "counter", "outputs", (SERVICE,),
    "Records of an output that was recorded under the same key with other content.",
)  # fmt: skip
DEAD_LETTERS = Metric(
    "fibstream_dead_letters_total", "counter", "letters", (SERVICE, REASON),
    "Tasks that were given up.",
)  # fmt: skip
CONSUMER_STALLS = Metric(
    "fibstream_consumer_stalls_total", "counter", "stalls", (SERVICE,),
    "Restarts of a consumer that was behind and got nothing.",
)  # fmt: skip
UNREADABLE_ITEMS = Metric(
    "fibstream_unreadable_items_total", "counter", "items", (SERVICE,),
    "Records, tasks and leases on the bus that are none, and were passed over.",
)  # fmt: skip
QUARANTINED = Metric(
    "fibstream_quarantined_datasets", "gauge", "datasets", (SERVICE,),
    "Datasets that this process leaves alone, since they cannot be served as they are.",
)  # fmt: skip
RECONCILES = Metric(
    "fibstream_reconciles_total", "counter", "reconciles", (SERVICE, FOUND),
    "Comparisons of store and ledger that came to an end.",
)  # fmt: skip
RECONCILE_SECONDS = Metric(
    "fibstream_reconcile_seconds", "histogram", "seconds", (SERVICE,),
    "Time from the beginning to the end of a reconcile, with what was done in between.",
)  # fmt: skip
STORE_FREE = Metric(
    "fibstream_store_free_bytes", "gauge", "bytes", (SERVICE,),
    "Room left where the datasets lie, as the server sees it; of folders only.",
)  # fmt: skip
STORE_SIZE = Metric(
    "fibstream_store_size_bytes", "gauge", "bytes", (SERVICE,),
    "Size of the disk where the datasets lie; of folders only.",
)  # fmt: skip
GPU_SIZE = Metric(
    "fibstream_gpu_memory_size_bytes", "gauge", "bytes", (SERVICE, GPU),
    "Memory of a GPU that the process may use.",
)  # fmt: skip
GPU_FREE = Metric(
    "fibstream_gpu_memory_free_bytes", "gauge", "bytes", (SERVICE, GPU),
    "Memory of a GPU that no process uses.",
)  # fmt: skip
GPU_BUSY = Metric(
    "fibstream_gpu_busy_ratio", "gauge", "ratio", (SERVICE, GPU),
    "Share of the last second or less in which a GPU computed, 0 to 1.",
)  # fmt: skip
GRPC_REQUESTS = Metric(
    "fibstream_grpc_requests_total", "counter", "requests", (SERVICE, METHOD, CODE),
    "gRPC calls that ended, by status code.",
)  # fmt: skip
GRPC_SECONDS = Metric(
    "fibstream_grpc_request_seconds", "histogram", "seconds", (SERVICE, METHOD),
    "Time from the beginning to the end of a gRPC call, streams included.",
    LONG_BUCKETS,
)  # fmt: skip
MODEL_INFO = Metric(
    "fibstream_model_info", "gauge", "info",
    (
        Label("model", source="the pipeline's networks"),
        Label("sha256", source="the digests of their files"),
        Label("runtime", source="their engine profiles"),
        Label("provider", source="their engine profiles"),
        Label("precision", source="their engine profiles"),
    ),
    "1 for each network that this process runs.",
)  # fmt: skip
BUILD_INFO = Metric(
    "fibstream_build_info", "gauge", "info", (Label("version", source="the installed package"),),
    "1 for the version of fibstream that this process runs.",
)  # fmt: skip

# Whatever is declared above, so that none can be forgotten.
METRICS: tuple[Metric, ...] = tuple(m for m in list(globals().values()) if isinstance(m, Metric))


# -- updating metrics ----------------------------------------------------------------------------


def _nothing(_step: str) -> None:
    """Keep no time."""


class Telemetry:
    """The port through which a service updates its metrics; this adapter keeps none of them.

    The label ``service`` is never given: a telemetry belongs to one service.
    """

    def of(self, service: str) -> Self:  # noqa: ARG002
        """Return the telemetry of another service of the same process."""
        return self

    def now(self) -> float:
        """Return the seconds of a monotonic clock; 0 where nothing is kept."""
        return 0.0

    def add(self, metric: Metric, amount: float = 1.0, /, **labels: str) -> None:
        """Raise a counter, or move a gauge."""

    def set(self, metric: Metric, value: float, /, **labels: str) -> None:
        """Set a gauge."""

    def stamp(self, metric: Metric, /, **labels: str) -> None:
        """Set a gauge to the Unix time in seconds."""

    def observe(self, metric: Metric, value: float, /, **labels: str) -> None:
        """Add one value to a histogram."""

    def begin(self, metric: Metric, /, **labels: str) -> None:
        """Make a series appear before its first event: one that begins with it has no rate."""

    def laps(self, metric: Metric, /, **labels: str) -> Callable[[str], None]:  # noqa: ARG002
        """Return a function that ends the present step under its name and begins the next.

        The first step begins now; each adds its seconds to ``metric``, with the label ``step``.
        """
        return _nothing

    def called(self, method: str, code: str, seconds: float) -> None:
        """Count one gRPC call that ended with the status named ``code``.

        ``method`` is the short name of a registered method: names that clients choose would fill
        the label.
        """
        self.add(GRPC_REQUESTS, method=method, code=code)
        self.observe(GRPC_SECONDS, seconds, method=method)


SILENT = Telemetry()


class PlannerMetrics:
    """Derives metrics from what one planner handles; no decision depends on it.

    ``live``: whether the planner has read what the ledger held when it started. Times are taken
    only then, since when earlier events happened is not known. Memory is in proportion to tasks
    under way, chunks without their output, and open objects.
    """

    def __init__(self, telemetry: Telemetry, stages: Iterable[str]) -> None:
        self.live = False
        self._telemetry = telemetry
        self._stages = tuple(stages)
        for stage in self._stages:
            telemetry.begin(FRESHNESS, stage=stage.partition("/")[0])
        self._gauges: dict[Metric, float] = {}
        self._since: dict[Place, float] = {}  # when the chunk landed, of outputs not yet made
        self._sent: dict[Place, str] = {}  # the key of each task under way
        self._unrecorded: dict[
            Place, Record
        ] = {}  # the record that a suspect or dropped one replaced
        self._open: dict[tuple[str, int], float | None] = {}  # objects, and since when if known

    def landed(self, index: Index) -> None:
        """Take the first landing of a chunk that is not absent; later ones are not measured.

        Of a re-acquired chunk no record names which of its contents an output was made from.
        """
        if self.live:
            now = self._telemetry.now()
            self._since.update({(stage, index): now for stage in self._stages})

    def sent(self, task: Task) -> None:
        """Take a task that is sent."""
        place = task.stage, task.subject
        if self._sent.get(place) == task.key:
            self._telemetry.add(DUPLICATE_TASKS)
        self._sent[place] = task.key

    def recorded(self, record: Record, before: Record | None) -> None:
        """Take a record of an own stage, and the one that it replaces."""
        place = record.stage, record.subject
        if record.status not in ("ready", "failed"):
            if before is not None:
                self._unrecorded[place] = before
            return
        self._sent.pop(place, None)
        since = self._since.pop(place, None)
        if record.status == "failed":
            return
        if since is not None:
            family = record.stage.partition("/")[0]
            self._telemetry.observe(FRESHNESS, self._telemetry.now() - since, stage=family)
        self._check_repeated(record, before, self._unrecorded.pop(place, before))

    def _check_repeated(self, record: Record, before: Record | None, last: Record | None) -> None:
        """Count an output that is recorded twice, and one key with two contents (I6)."""
        if last is None or last.status != "ready" or last.key != record.key:
            return
        if last.hashes != record.hashes:
            self._telemetry.add(NONDETERMINISTIC)
            log.error(
                "%s %s is not deterministic: key %s was %s and is now %s",
                record.stage, record.subject, record.key, last.hashes, record.hashes,
            )  # fmt: skip
        elif before is last:
            self._telemetry.add(DUPLICATE_RESULTS)

    def object_changed(self, change: ObjectChanged) -> None:
        """Take a change of an object."""
        object_ = change.organelle, change.id
        if change.kind in ("opened", "grown"):
            if object_ not in self._open:
                self._open[object_] = self._telemetry.now() if self.live else None
                self._telemetry.add(OPEN_OBJECTS, organelle=change.organelle)
        elif object_ in self._open:
            since = self._open.pop(object_)
            self._telemetry.add(OPEN_OBJECTS, -1, organelle=change.organelle)
            if since is not None and change.kind in ("closed", "final"):
                took = self._telemetry.now() - since
                self._telemetry.observe(FINALITY, took, organelle=change.organelle)

    def set_gauge(self, metric: Metric, value: float) -> None:
        """Set this planner's part of a gauge; the parts of several planners add up."""
        self._telemetry.add(metric, value - self._gauges.get(metric, 0.0))
        self._gauges[metric] = value

    def close(self) -> None:
        """Subtract this planner's part of all gauges: it stops, or its dataset was deleted."""
        for metric in self._gauges:
            self.set_gauge(metric, 0.0)
        for organelle, _ in self._open:
            self._telemetry.add(OPEN_OBJECTS, -1, organelle=organelle)
        self._open.clear()

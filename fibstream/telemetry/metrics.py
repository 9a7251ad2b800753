"""The numbers of a service: every metric is declared here, once.

``Telemetry`` keeps nothing: tests, the simulation and single commands run with it. Its other
adapter, ``Prometheus``, keeps the numbers of one process and serves them. ``Watch`` turns what one
planner sees into numbers. What each number tells an operator is in docs/operating.md, which a test
compares with the table below.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Self

from fibstream.core.events import FAMILIES, ObjectChanged, Record, Task
from fibstream.core.frontier import Place
from fibstream.core.grid import Index

log = logging.getLogger(__name__)

# -- the table -----------------------------------------------------------------------------------

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
    """One label: its ``values``, or where they come from, of which ``MOST`` are told apart."""

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
STAGE = Label("stage", FAMILIES)
ORGANELLE = Label("organelle", source="the pipeline's recipes")
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
    "Landings of raw chunks, by what became of them.",
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
RECONCILES = Metric(
    "fibstream_reconciles_total", "counter", "reconciles", (SERVICE, FOUND),
    "Comparisons of store and ledger that came to an end.",
)  # fmt: skip
RECONCILE_SECONDS = Metric(
    "fibstream_reconcile_seconds", "histogram", "seconds", (SERVICE,),
    "Time from the beginning to the end of a reconcile, with what was done in between.",
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


# -- taking numbers ------------------------------------------------------------------------------


def _nothing(_step: str) -> None:
    """Keep no time."""


class Telemetry:
    """Takes the numbers of a service and keeps none of them.

    The label ``service`` is never given: a telemetry belongs to one service.
    """

    def of(self, service: str) -> Self:  # noqa: ARG002
        """Return where another service of the same process puts its numbers."""
        return self

    def now(self) -> float:
        """Return the seconds of a clock that only runs forward; 0 where nothing is kept."""
        return 0.0

    def add(self, metric: Metric, amount: float = 1.0, /, **labels: str) -> None:
        """Raise a counter, or move a gauge; 0 makes a series appear before its first event."""

    def set(self, metric: Metric, value: float, /, **labels: str) -> None:
        """Set a gauge."""

    def stamp(self, metric: Metric, /, **labels: str) -> None:
        """Set a gauge to the Unix time in seconds."""

    def observe(self, metric: Metric, value: float, /, **labels: str) -> None:
        """Put one value into a histogram."""

    def laps(self, metric: Metric, /, **labels: str) -> Callable[[str], None]:  # noqa: ARG002
        """Return what ends a step of the given name, and begins another; the first begins now."""
        return _nothing

    def called(self, method: str, code: str, seconds: float) -> None:
        """Count one gRPC call that ended with the status named ``code``.

        ``method`` is the short name of one that is registered: what strangers ask for is theirs
        to choose, and would fill the label.
        """
        self.add(GRPC_REQUESTS, method=method, code=code)
        self.observe(GRPC_SECONDS, seconds, method=method)


SILENT = Telemetry()


class Watch:
    """What one planner sees, as numbers; nothing is decided by it.

    ``live`` says that the planner has read what the log held when it started: what was done
    before, nobody saw, so no time is taken of it. What is kept is in proportion to the tasks under
    way, to chunks whose output is not there yet, and to open objects.
    """

    def __init__(self, telemetry: Telemetry, stages: Iterable[str]) -> None:
        self.live = False
        self._telemetry = telemetry
        self._stages = tuple(stages)
        self._levels: dict[Metric, float] = {}
        self._since: dict[Place, float] = {}  # when the chunk landed whose output is not there
        self._sent: dict[Place, str] = {}  # the key of each task under way
        self._unrecorded: dict[Place, Record] = {}  # what was recorded before it was doubted
        self._open: dict[tuple[str, int], float | None] = {}  # objects, since when if it was seen

    def landed(self, index: Index) -> None:
        """See voxels of a chunk that had none; landing again is not seen as such.

        A re-acquired chunk is left out since no record says which of its contents it follows from.
        """
        if self.live:
            now = self._telemetry.now()
            self._since.update({(stage, index): now for stage in self._stages})

    def sent(self, task: Task) -> None:
        """See a task go out."""
        place = task.stage, task.index
        if self._sent.get(place) == task.key:
            self._telemetry.add(DUPLICATE_TASKS)
        self._sent[place] = task.key

    def recorded(self, record: Record, before: Record | None) -> None:
        """See a record of an own stage, which takes the place of ``before``."""
        place = record.stage, record.index
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
        self._compare(record, before, self._unrecorded.pop(place, before))

    def _compare(self, record: Record, before: Record | None, last: Record | None) -> None:
        """Look for the same output said twice, and for one key with two contents (I6)."""
        if last is None or last.status != "ready" or last.key != record.key:
            return
        if last.hashes != record.hashes:
            self._telemetry.add(NONDETERMINISTIC)
            log.error(
                "%s %s is not deterministic: key %s was %s and is now %s",
                record.stage, record.index, record.key, last.hashes, record.hashes,
            )  # fmt: skip
        elif before is last:
            self._telemetry.add(DUPLICATE_RESULTS)

    def told(self, change: ObjectChanged) -> None:
        """See news of an object."""
        thing = change.organelle, change.id
        if change.kind in ("opened", "grown"):
            if thing not in self._open:
                self._open[thing] = self._telemetry.now() if self.live else None
                self._telemetry.add(OPEN_OBJECTS, organelle=change.organelle)
        elif thing in self._open:
            since = self._open.pop(thing)
            self._telemetry.add(OPEN_OBJECTS, -1, organelle=change.organelle)
            if since is not None and change.kind in ("closed", "final"):
                took = self._telemetry.now() - since
                self._telemetry.observe(FINALITY, took, organelle=change.organelle)

    def level(self, metric: Metric, value: float) -> None:
        """See where a gauge of this planner stands; those of several planners add up."""
        self._telemetry.add(metric, value - self._levels.get(metric, 0.0))
        self._levels[metric] = value

    def close(self) -> None:
        """Take back what this planner added to gauges: its dataset is done, or gone."""
        for metric in self._levels:
            self.level(metric, 0.0)
        for organelle, _ in self._open:
            self._telemetry.add(OPEN_OBJECTS, -1, organelle=organelle)
        self._open.clear()

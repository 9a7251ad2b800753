"""What services tell each other: records of the ledger, tasks, news of objects. Plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .grid import Index
from .keys import ABSENT, Named

Status = Literal["ready", "suspect", "dropped", "failed"]
Change = Literal["opened", "grown", "merged_into", "closed", "final", "withdrawn"]

# The families of stages, each with a topic of its own; "dataset" tells where a volume ends.
FAMILIES = (
    "dataset", "raw", "pyramid", "prediction", "fragments", "labels", "measures", "tables"
)  # fmt: skip
MAX_EVENT = 64 * 1024  # bytes: events carry names and hashes, never voxels
ORIGIN: Index = (0, 0, 0)  # the index of results that belong to no chunk, such as tables


@dataclass(frozen=True)
class Record:
    """What was last seen of one (stage, chunk); in the ledger the last record of a pair wins.

    ``ready`` names the output; ``suspect`` un-records it; ``dropped`` says that a task found its
    inputs gone; ``failed`` says that the key can never be made, and why.
    """

    stage: str
    index: Index
    status: Status
    key: str = ""
    hashes: Mapping[str, str] = field(default_factory=dict)  # object name -> content hash
    reason: str = ""
    crashed: bool = False  # failed by crashing, which a new run tries again

    @property
    def absent(self) -> bool:
        """Whether the chunk was declared absent."""
        return ABSENT in self.hashes.values()


@dataclass(frozen=True)
class Sealed:
    """The extent in z became known."""

    extent_z: int


@dataclass(frozen=True)
class Task:
    """Make the outputs of one stage for one chunk from inputs named by their content."""

    stage: str
    index: Index
    key: str
    inputs: tuple[Named, ...]
    extra: bytes = b""


@dataclass(frozen=True)
class ObjectChanged:
    """A hint that an object changed; the table is the truth."""

    organelle: str
    kind: Change
    id: int
    voxels: int
    into: int | None = None


@dataclass(frozen=True)
class Progress:
    """How far a planner has come; ``offset`` is the last ledger entry that it has seen.

    ``settled``: everything it wants is recorded and no task is under way. ``reconciled``: the
    largest request number after which it began a reconcile that found nothing.
    """

    service: str
    offset: int
    settled: bool
    reconciled: int
    wanted: int
    recorded: int
    failed: int


@dataclass(frozen=True)
class DeadLetter:
    """A task that was given up, and why; the ledger has its chunk as failed."""

    service: str
    task: Task
    cause: str
    crashes: int
    owner: str

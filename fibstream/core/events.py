"""Events between services: records of the ledger, tasks, changes of objects. Plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .keys import ABSENT, NamedInput
from .subject import Subject

Status = Literal["ready", "suspect", "dropped", "failed", "removed"]
Change = Literal["opened", "grown", "merged_into", "closed", "final", "withdrawn"]

# Families of the ledger that belong to no stage: the seal, and what lands.
COMMON_FAMILIES = ("dataset", "raw")
MAX_EVENT = 64 * 1024  # bytes: events carry names and hashes, never voxels
GONE: frozenset[Change] = frozenset({"merged_into", "withdrawn"})  # the object is no more
Place = tuple[str, Subject]  # one output: a stage's name and a subject


@dataclass(frozen=True)
class Record:
    """The state of one (stage, subject) as last seen; in the ledger the last record of it wins.

    ``ready``: the output with ``key`` is stored. ``suspect``: it may not be, and is un-recorded.
    ``dropped``: a task ended because its inputs were not as named. ``failed``: the output with
    ``key`` can never be made, for ``reason``. ``removed``: the object is no more, and with it its
    output.
    """

    stage: str
    subject: Subject
    status: Status
    key: str = ""
    hashes: Mapping[str, str] = field(default_factory=dict)  # Blob.label -> content hash
    reason: str = ""
    crashed: bool = False  # failed because workers crashed: a new run tries again

    @property
    def absent(self) -> bool:
        """Whether the chunk was declared absent."""
        return ABSENT in self.hashes.values()


@dataclass(frozen=True)
class Sealed:
    """The dataset was sealed: its extent in z, in voxels, is known."""

    extent_z: int


@dataclass(frozen=True)
class PipelineChanged:
    """The dataset's record has another pipeline: who follows it reads the record again."""


@dataclass(frozen=True)
class Task:
    """A request to make the outputs of one stage for one subject from inputs named by content.

    Too many inputs for an event are named by the content hash of a ``manifest``, a stored blob.
    """

    stage: str
    subject: Subject
    key: str
    inputs: tuple[NamedInput, ...]
    extra: bytes = b""
    manifest: str = ""


@dataclass(frozen=True)
class ObjectChanged:
    """A hint that an object changed; the table is the truth.

    ``rule`` is the digest of the settings under which it was found (``object_rules``).
    """

    organelle: str
    kind: Change
    id: int
    voxels: int
    into: int | None = None
    rule: str = ""


@dataclass(frozen=True)
class Progress:
    """The progress of a planner; ``offset`` is that of the last ledger entry it has read.

    ``settled``: everything it wants is recorded and no task is under way. ``reconciled``: the
    number of the last request after which it began a reconcile that found no difference.
    ``wanted``, ``recorded``, ``failed``: numbers of outputs. ``pipeline`` is the digest of the
    pipeline that it plans (``pipeline_rule``).
    """

    service: str
    offset: int
    settled: bool
    reconciled: int
    wanted: int
    recorded: int
    failed: int
    pipeline: str = ""


@dataclass(frozen=True)
class DeadLetter:
    """A task that was given up, with the cause; its chunk is recorded as failed."""

    service: str
    task: Task
    cause: str
    crashes: int
    owner: str

"""Bytes on the bus: topics, keys, and the encoding of events in protobuf, checked on decoding."""

from collections.abc import Callable
from typing import Any, TypeVar, get_args

from google.protobuf.message import DecodeError

from fibstream import registry
from fibstream.core.echo import cut, echo
from fibstream.core.errors import Poison
from fibstream.core.events import (
    MAX_EVENT,
    Change,
    DeadLetter,
    ObjectChanged,
    PipelineChanged,
    Progress,
    Record,
    Sealed,
    Status,
    Task,
)
from fibstream.core.grid import MAX_AXIS, Index
from fibstream.core.keys import NamedInput
from fibstream.core.subject import WHOLE, ObjectId, Subject, text
from fibstream.v1 import chunk_pb2 as pb

T = TypeVar("T")
Event = Record | Sealed | PipelineChanged | Task | ObjectChanged | Progress | DeadLetter

LEDGER = "fibstream.chunk-ready."
OBJECTS = "fibstream.objects"
PROGRESS = "fibstream.progress"
WORK = "fibstream.work"
CONTROL = "fibstream.control"
_CREATION = "\\"  # between a name and a creation: no name has one


def ledger_topics() -> tuple[str, ...]:
    """Return the topics of the ledger, one for each family of stages of all services."""
    return tuple(LEDGER + family for family in registry.families())


def ledger_topic(stage: str) -> str:
    """Return the topic of a stage's records; raise ValueError when no service declares it.

    Nobody reads such a topic: what is recorded there would never be seen.
    """
    family = stage.partition("/")[0]
    if family not in registry.families():
        raise ValueError(f"stage {cut(stage)}: no service declares the family {echo(family)}")
    return LEDGER + family


def task_topic(service: str) -> str:
    """Return the topic of a service's tasks."""
    return f"fibstream.tasks.{service}"


def dead_letter_topic(service: str) -> str:
    """Return the topic of the tasks that a service gave up."""
    return f"fibstream.dead-letter.{service}"


def record_key(dataset: str, stage: str, subject: Subject) -> str:
    """Return the key that all records of one (stage, subject) share."""
    return f"{dataset}/{stage}/{text(subject)}"


def dataset_of(key: str) -> str:
    """Return the dataset that a key of a log or of a queue belongs to; on a shared bus its owner.

    See ``owner``.
    """
    return key.partition("/")[0]


def owner(name: str, creation: str) -> str:
    """Return what keys of a bus that datasets share begin with: a name and, if known, a creation.

    A dataset that is created anew under a name is not that of the name's earlier keys.
    """
    return f"{name}{_CREATION}{creation}" if creation else name


def name_of(key: str) -> str:
    """Return the name of the dataset that a key belongs to, whatever its creation."""
    return dataset_of(key).partition(_CREATION)[0]


# -- enumerations: a name in Python, its number on the wire ---------------------------------------

_STATUS = {word: pb.ChunkStatus.Value(f"CHUNK_STATUS_{word.upper()}") for word in get_args(Status)}
_CHANGE = {
    word: pb.ObjectChange.Value(f"OBJECT_CHANGE_{word.upper()}") for word in get_args(Change)
}
_STATUS_WORD = {number: word for word, number in _STATUS.items()}
_CHANGE_WORD = {number: word for word, number in _CHANGE.items()}


def index3(index: Index) -> pb.Index3:
    """Return the index of a chunk as a message."""
    z, y, x = index
    return pb.Index3(z=z, y=y, x=x)


def index_of(message: pb.Index3) -> Index:
    """Return the index of a chunk from a message."""
    return message.z, message.y, message.x


def nanometres3(lengths_nm: tuple[float, float, float]) -> pb.Nanometres3:
    """Return three lengths (z, y, x) as a message."""
    z, y, x = lengths_nm
    return pb.Nanometres3(z=z, y=y, x=x)


def lengths_of(message: pb.Nanometres3) -> tuple[float, float, float]:
    """Return three lengths (z, y, x) from a message."""
    return message.z, message.y, message.x


def subject_message(subject: Subject) -> pb.Subject:
    """Return a subject as a message."""
    if subject is WHOLE:
        return pb.Subject(whole=True)
    if isinstance(subject, ObjectId):
        return pb.Subject(object=subject.number)
    return pb.Subject(cell=index3(subject))


def subject_of(message: pb.Subject) -> Subject:
    """Return a subject from a message; raise ValueError where it names none."""
    kind = message.WhichOneof("kind")
    if kind == "cell":
        return index_of(message.cell)
    if kind == "object" and message.object:
        return ObjectId(message.object)
    if kind != "whole" or not message.whole:
        raise ValueError("no subject")
    return WHOLE


# -- encoding --------------------------------------------------------------------------------------


def _record(e: Record) -> pb.Event:
    return pb.Event(
        record=pb.ChunkRecord(
            stage=e.stage, subject=subject_message(e.subject), status=_STATUS[e.status], key=e.key,
            hashes=e.hashes, reason=e.reason, crashed=e.crashed,
        )
    )  # fmt: skip


def task_message(e: Task) -> pb.ChunkTask:
    """Return a task as a message."""
    inputs = [
        pb.NamedInput(stage=i.stage, name=i.name, cell=index3(i.subject), hash=i.hash)
        for i in e.inputs
        if isinstance(i.subject, tuple)
    ]
    assert len(inputs) == len(e.inputs), "objects are named by manifests alone"
    return pb.ChunkTask(
        stage=e.stage, subject=subject_message(e.subject), key=e.key, inputs=inputs,
        extra=e.extra, manifest=e.manifest,
    )  # fmt: skip


def object_message(e: ObjectChanged) -> pb.ObjectChanged:
    """Return a change of an object as a message."""
    return pb.ObjectChanged(
        organelle=e.organelle, change=_CHANGE[e.kind], id=e.id, voxels=e.voxels, into=e.into or 0,
        rule=e.rule,
    )  # fmt: skip


def progress_message(e: Progress) -> pb.PlannerProgress:
    """Return the progress of a planner as a message."""
    return pb.PlannerProgress(
        service=e.service, offset=e.offset, settled=e.settled, reconciled=e.reconciled,
        wanted=e.wanted, recorded=e.recorded, failed=e.failed, pipeline=e.pipeline,
    )  # fmt: skip


def _dead_letter(e: DeadLetter) -> pb.Event:
    return pb.Event(
        dead_letter=pb.DeadLetter(
            service=e.service, task=task_message(e.task), cause=e.cause, crashes=e.crashes,
            owner=e.owner,
        )
    )  # fmt: skip


_ENCODE: dict[type, Callable[[Any], pb.Event]] = {
    Record: _record,
    Sealed: lambda e: pb.Event(sealed=pb.DatasetSealed(extent_z=e.extent_z)),
    PipelineChanged: lambda _: pb.Event(pipeline_changed=pb.PipelineChanged()),
    Task: lambda e: pb.Event(task=task_message(e)),
    ObjectChanged: lambda e: pb.Event(object=object_message(e)),
    Progress: lambda e: pb.Event(progress=progress_message(e)),
    DeadLetter: _dead_letter,
}


def encode(event: Event) -> bytes:
    """Encode an event, always to the same bytes; raise Poison when it is larger than allowed."""
    data: bytes = _ENCODE[type(event)](event).SerializeToString(deterministic=True)
    if len(data) > MAX_EVENT:
        raise Poison(
            f"{type(event).__name__} of {len(data)} bytes; at most {MAX_EVENT} are allowed"
        )
    return data


# -- decoding --------------------------------------------------------------------------------------


def _known(words: dict[int, T], number: int) -> T:
    if number not in words:
        raise ValueError(f"unknown number {number}")
    return words[number]


def _record_of(m: pb.ChunkRecord) -> Record:
    status = _known(_STATUS_WORD, m.status)
    return Record(
        m.stage, subject_of(m.subject), status, m.key, dict(m.hashes), m.reason, m.crashed
    )


def _sealed_of(m: pb.DatasetSealed) -> Sealed:
    if not 0 < m.extent_z <= MAX_AXIS:
        raise ValueError(f"extent {m.extent_z}")
    return Sealed(m.extent_z)


def _task_of(m: pb.ChunkTask) -> Task:
    inputs = tuple(NamedInput(i.stage, i.name, index_of(i.cell), i.hash) for i in m.inputs)
    return Task(m.stage, subject_of(m.subject), m.key, inputs, m.extra, m.manifest)


def object_of(m: pb.ObjectChanged) -> ObjectChanged:
    """Return a change of an object from a message; raise ValueError if its kind is unknown."""
    kind = _known(_CHANGE_WORD, m.change)
    return ObjectChanged(m.organelle, kind, m.id, m.voxels, m.into or None, m.rule)


def progress_of(m: pb.PlannerProgress) -> Progress:
    """Return the progress of a planner from a message."""
    return Progress(
        m.service, m.offset, m.settled, m.reconciled, m.wanted, m.recorded, m.failed, m.pipeline
    )


def _dead_letter_of(m: pb.DeadLetter) -> DeadLetter:
    return DeadLetter(m.service, _task_of(m.task), m.cause, m.crashes, m.owner)


_DECODE: dict[str, Callable[[Any], Event]] = {
    "record": _record_of,
    "sealed": _sealed_of,
    "pipeline_changed": lambda _: PipelineChanged(),
    "task": _task_of,
    "object": object_of,
    "progress": progress_of,
    "dead_letter": _dead_letter_of,
}


def decode(data: bytes) -> Event:
    """Decode an event; raise Poison when the bytes are not one, or are more than are allowed."""
    if len(data) > MAX_EVENT:
        raise Poison(f"not an event: {len(data)} bytes; at most {MAX_EVENT} are allowed")
    try:
        message = pb.Event.FromString(data)
        kind = message.WhichOneof("kind")
        if kind is None:
            raise ValueError("no known kind")
        return _DECODE[kind](getattr(message, kind))
    except (DecodeError, ValueError) as error:
        raise Poison(f"not an event: {echo(data, 60)} ({cut(str(error))})") from error


def check_key(topic: str, key: str, event: Event) -> None:
    """Raise Poison for an entry of a log whose key or topic is not that of its event.

    In a log the last entry of a key wins: under another key it would win over another event.
    """
    dataset = dataset_of(key)
    wanted = key
    if isinstance(event, Record):
        wanted = record_key(dataset, event.stage, event.subject)
    elif isinstance(event, Progress):
        wanted = f"{dataset}/{event.service}"
    elif isinstance(event, ObjectChanged):
        wanted = f"{dataset}/{event.organelle}/{event.id}"
    family = event.stage.partition("/")[0] if isinstance(event, Record) else ""
    if key != wanted or (family and topic != LEDGER + family):
        raise Poison(f"{type(event).__name__} of {cut(wanted)} under the key {cut(key)} of {topic}")

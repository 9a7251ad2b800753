"""Bytes on the bus: the one place where events are encoded and checked."""

import base64
import json
from dataclasses import asdict
from typing import Any, get_args

from .errors import Poison
from .events import MAX_EVENT, ObjectChanged, Progress, Record, Sealed, Status, Task
from .grid import MAX_AXIS, Index
from .keys import Named, canonical

Event = Record | Sealed | Task | ObjectChanged | Progress
_KINDS: dict[str, type] = {
    kind.__name__: kind for kind in (Record, Sealed, Task, ObjectChanged, Progress)
}

LEDGER = "fibstream.chunk-ready."
FAMILIES = (
    "dataset", "raw", "pyramid", "prediction", "fragments", "labels", "measures", "tables"
)  # fmt: skip
LEDGER_TOPICS = tuple(LEDGER + family for family in FAMILIES)
OBJECTS = "fibstream.objects"
PROGRESS = "fibstream.progress"
WORK = "fibstream.work"
CONTROL = "fibstream.control"


def ledger_topic(stage: str) -> str:
    """Return the topic of a stage's records: one for each family of stages."""
    return LEDGER + stage.partition("/")[0]


def task_topic(service: str) -> str:
    """Return the topic of a service's tasks."""
    return f"fibstream.tasks.{service}"


def record_key(dataset: str, stage: str, index: Index) -> str:
    """Return the key that all records of one (stage, chunk) share."""
    return f"{dataset}/{stage}/{index[0]}.{index[1]}.{index[2]}"


def encode(event: Event) -> bytes:
    """Encode an event; raise Poison when it is larger than an event may be."""
    fields = asdict(event)
    if isinstance(event, Task):
        fields["extra"] = base64.b85encode(event.extra).decode()
        fields["inputs"] = [list(i) for i in event.inputs]
    data = canonical([type(event).__name__, fields])
    if len(data) > MAX_EVENT:
        raise Poison(
            f"{type(event).__name__} of {len(data)} bytes; at most {MAX_EVENT} are allowed"
        )
    return data


def decode(data: bytes) -> Event:
    """Decode an event; raise Poison when the bytes are not one."""
    try:
        kind, fields = json.loads(data)
        return _build(_KINDS[kind], fields)
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise Poison(f"not an event: {data[:60]!r} ({error})") from error


def _build(kind: type, fields: dict[str, Any]) -> Event:
    if "index" in fields:
        fields["index"] = _index(fields["index"])
    if kind is Task:
        fields["extra"] = base64.b85decode(fields["extra"])
        fields["inputs"] = tuple(Named(s, n, _index(i), h) for s, n, i, h in fields["inputs"])
    if kind is Record and (
        fields.get("status") not in get_args(Status)
        or not all(isinstance(v, str) for v in fields.get("hashes", {}).values())
    ):
        raise ValueError("record")
    if kind is Sealed and not 0 < int(fields["extent_z"]) <= MAX_AXIS:
        raise ValueError("extent")
    event: Event = kind(**fields)
    return event


def _index(values: list[int]) -> Index:
    z, y, x = (int(v) for v in values)
    return z, y, x

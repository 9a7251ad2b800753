"""The topics on Kafka: their partitions, their retention, and the headers of their records."""

import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from fibstream import registry
from fibstream.core.keys import digest

from . import wire

PARTITIONS = 8  # at most so many datasets, and workers of one service, work side by side

_TASKS = wire.task_topic("")
_DEAD = wire.dead_letter_topic("")
_LEASES = "fibstream.leases."

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SEGMENT = 64 << 20  # bytes; the newest is never compacted, and Kafka's 1 GiB holds a whole ledger

_COMPACT = {"cleanup.policy": "compact", "segment.bytes": str(SEGMENT)}


def _keep(days: int) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(days * DAY_MS)}


_EVENTS = {
    wire.LEDGER: "ChunkRecord",
    _TASKS: "ChunkTask",
    wire.OBJECTS: "ObjectChanged",
    wire.PROGRESS: "PlannerProgress",
    _DEAD: "DeadLetter",
    wire.WORK: "Work",
    wire.CONTROL: "Control",
    _LEASES: "Lease",
}
_JSON = (wire.WORK, wire.CONTROL, _LEASES)
_CHUNK = re.compile(r"/(\d+\.\d+\.\d+|whole)\Z")


class Topic(NamedTuple):
    """One topic as it is declared; ``config`` is Kafka's topic configuration."""

    name: str
    partitions: int
    config: dict[str, str]


def lease_topic(queue: str) -> str:
    """Return the topic of the leases of a queue's tasks."""
    return _LEASES + queue.removeprefix(_TASKS)


def is_queue(topic: str) -> bool:
    """Whether a topic holds tasks."""
    return topic.startswith(_TASKS)


def declared(services: Sequence[str] = (), partitions: int = PARTITIONS) -> list[Topic]:
    """Return every topic of these services, by default of all."""
    logs = [*wire.ledger_topics(), wire.OBJECTS, wire.PROGRESS, wire.CONTROL]
    found = [Topic(name, partitions, _COMPACT) for name in logs]
    # Keys of work never come again, so compaction would keep them all; it is read within a run.
    found.append(Topic(wire.WORK, partitions, _keep(7)))
    for service in services or registry.names():
        queue = wire.task_topic(service)
        # Longer than any outage; a planner sends again what it wants whenever it starts.
        found.append(Topic(queue, partitions, _keep(7)))
        found.append(Topic(lease_topic(queue), partitions, _LEASE_CONFIG))
        # As long as an operator may take to look at them.
        found.append(Topic(wire.dead_letter_topic(service), partitions, _keep(30)))
    return found


# Every worker reads the leases from the beginning when it starts, so little is kept: compacted
# every ten minutes, tombstones for an hour (longer than any reader needs), and nothing older than
# a day, in which a task that kills its workers has long been given up.
_LEASE_CONFIG = {
    "cleanup.policy": "compact,delete",
    "retention.ms": str(DAY_MS),
    "delete.retention.ms": str(HOUR_MS),
    "segment.ms": str(HOUR_MS // 6),
    "min.cleanable.dirty.ratio": "0.1",
}


def partition_of(topic: str, key: str, count: int) -> int:
    """Return a key's partition: of a task by its whole key, of all else by its dataset's name."""
    name = key if is_queue(topic) else wire.name_of(key)
    return zlib.crc32(name.encode()) % count


def event_type(topic: str) -> str:
    """Return the CloudEvents type of what a topic carries."""
    for family, name in _EVENTS.items():
        if topic.startswith(family):
            return f"fibstream.v1.{name}"
    return f"fibstream.v1.{topic}"


def content_type(topic: str) -> str:
    """Return the media type of a topic's values."""
    return "application/json" if topic.startswith(_JSON) else "application/protobuf"


def trace_parent(topic: str, key: str, value: bytes) -> str:
    """Return a W3C traceparent that a replay repeats: one trace for all stages of one chunk."""
    chunk = _CHUNK.search(key)
    subject = f"{wire.dataset_of(key)}/{chunk[1]}" if chunk else key
    trace = digest(subject.encode())
    span = digest(topic.encode(), key.encode(), value)[:16]
    return f"00-{trace}-{span}-01"


def headers(topic: str, key: str, value: bytes) -> list[tuple[str, bytes]]:
    """Return the CloudEvents 1.0 headers (binary mode) of a record, and its trace."""
    values = {
        "ce_specversion": "1.0",
        "ce_id": digest(topic.encode(), key.encode(), value),
        "ce_source": "/fibstream",
        "ce_type": event_type(topic),
        "ce_subject": key,
        "content-type": content_type(topic),
        "traceparent": trace_parent(topic, key, value),
    }
    return [(name, value.encode()) for name, value in values.items()]

"""Who holds which task of a queue on Kafka, and how many tasks are not acknowledged.

Kafka's groups know positions, not tasks. So what a worker holds is written to a compacted topic
beside the queue: when it dies, the next owner finds the lease that never ended.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any, Literal, NamedTuple

from kafka import TopicPartition
from pydantic import TypeAdapter

from fibstream.bus.reading import pass_over, text_of
from fibstream.bus.wire import dataset_of
from fibstream.core.keys import canonical, digest

State = Literal["held", "free", "over"]  # over: finished or discarded, and not yet skipped
Verdict = Literal["over", "busy"]


class QueuedTask(NamedTuple):
    """A task and its place in the queue."""

    place: TopicPartition
    offset: int
    key: str
    value: bytes
    sent_s: float  # Unix time


class Lease(NamedTuple):
    """What is known of a task: the last owner, and how many owners died while they held it."""

    owner: str
    crashes: int
    partition: int
    offset: int
    state: State

    def encode(self) -> bytes:
        """Return the lease as it is written."""
        return canonical(self._asdict())


def queued(place: TopicPartition, record: Any) -> QueuedTask | None:
    """Return the task that a record of a queue is; None, counted, without a key or a value."""
    key = text_of(record.key)
    if key is None or record.value is None:
        pass_over(f"{place.topic} {place.partition} at {record.offset}", "no key or value")
        return None
    return QueuedTask(place, record.offset, key, record.value, record.timestamp / 1000)


_LEASE = TypeAdapter(Lease)


def decode(value: bytes) -> Lease:
    """Read a lease; raise ValueError when it is none."""
    return _LEASE.validate_json(value, strict=True)


def lease_key(key: str, value: bytes, group: str = "") -> str:
    """Return the name of a lease: a task's key (for the partition), its content, and the group."""
    return f"{key}#{digest(value, group.encode())}"


def judge(
    lease: Lease | None, owner: str, partition: int, offset: int, alive: Callable[[str], bool]
) -> Lease | Verdict:
    """Return the lease of an owner that takes a task, or why it is not to be taken.

    A partition can move while a task in it is held. Its holder goes on, so the next one leaves the
    task aside; but if the holder is no longer ``alive``, that is a crash. A lease on an earlier
    record of an equal task gives only its count.
    """
    fresh = Lease(owner, 0, partition, offset, "held")
    if lease is None or lease.partition != partition or lease.offset > offset:
        return fresh
    if lease.offset < offset:
        return fresh if lease.state == "over" else fresh._replace(crashes=lease.crashes)
    if lease.state == "over":
        return "over"
    if lease.state == "held" and lease.owner != owner:
        if alive(lease.owner):
            return "busy"
        return fresh._replace(crashes=lease.crashes + 1)
    return fresh._replace(crashes=lease.crashes)


class Leases:
    """The leases of one queue, as far as they are read; a part of a follower."""

    def __init__(self, places: Sequence[TopicPartition], scope: str | None) -> None:
        self.places = places
        self.seen = dict.fromkeys(places, 0)
        self.state: dict[str, Lease] = {}
        self._scope = scope

    def accept(self, place: TopicPartition, records: Sequence[Any]) -> None:
        """Apply records: the last of a key wins, a tombstone ends a lease."""
        for record in records:
            if record.offset < self.seen[place]:
                continue
            self.seen[place] = record.offset + 1
            key = text_of(record.key)
            if key is None:
                pass_over(f"{place.topic} {place.partition} at {record.offset}", "no key")
                continue
            if self._scope is not None and dataset_of(key) != self._scope:
                continue
            if record.value is None:
                self.state.pop(key, None)
                continue
            try:
                self.state[key] = decode(record.value)
            except ValueError as error:
                pass_over(f"{place.topic} {place.partition} at {record.offset}", error)


class Tail:
    """How many keys of a queue have a task that is not acknowledged; a part of a follower.

    Of one key the last task counts: a planner sends what nobody does again and again, which would
    look like more and more work to do.
    """

    def __init__(self, start: Mapping[TopicPartition, int], scope: str | None) -> None:
        self.places = list(start)
        self.seen = dict(start)
        self._scope = scope
        # By key the last offset; put last whenever it is sent, so that offsets ascend.
        self._offsets: dict[TopicPartition, dict[str, int]] = {place: {} for place in start}

    def accept(self, place: TopicPartition, records: Sequence[Any]) -> None:
        """Record the offsets of own tasks."""
        for record in records:
            if record.offset < self.seen[place]:
                continue
            self.seen[place] = record.offset + 1
            key = None if record.value is None else text_of(record.key)  # else passed over
            if key is not None and self._scope in (None, dataset_of(key)):
                self._offsets[place].pop(key, None)
                self._offsets[place][key] = record.offset

    def count(self, committed: Mapping[TopicPartition, int]) -> int:
        """Return how many are at or after the committed offsets; drop the others."""
        for place, offsets in self._offsets.items():
            end = committed[place]
            for key, _ in list(takewhile(lambda item: item[1] < end, offsets.items())):  # noqa: B023
                del offsets[key]
        return sum(map(len, self._offsets.values()))

"""A group of workers seen and changed from outside of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from kafka import TopicPartition
from kafka.admin import MemberToRemove
from kafka.structs import OffsetAndMetadata

from .follower import Follower
from .lease import QueuedTask, queued
from .link import Link, places


def committed(link: Link, group: str, topic: str) -> dict[TopicPartition, int]:
    """Return the offset of the first unfinished task of every partition of a queue."""
    where = places(link, topic, None)
    found = link.admin(lambda admin: admin.list_group_offsets({group: where}))[group]
    # Kafka returns -1 where nothing was ever finished.
    return {p: max(found[p].offset, 0) if p in found else 0 for p in where}


def members(link: Link, group: str, owner: str) -> list[str]:
    """Return the ids by which a living process is a member of a group."""
    described = link.admin(lambda admin: admin.describe_groups([group]))
    found = described.get(group, {}).get("members") or []
    return [member["member_id"] for member in found if member["client_id"] == owner]


def expel(link: Link, group: str, owner: str) -> None:
    """Have a group go on without the members of a process that died, at once."""
    dead = [MemberToRemove(number) for number in members(link, group, owner)]
    if dead:
        link.admin(lambda admin: admin.remove_group_members(group, dead))


def skip_all(link: Link, group: str, ends: Mapping[TopicPartition, int]) -> None:
    """Move a group without members to the end of its queue.

    One with members stays where it is: Kafka refuses, and what is old is taken once more.
    """
    offsets = {place: OffsetAndMetadata(end, "", -1) for place, end in ends.items()}
    link.admin(lambda admin: admin.alter_group_offsets(group, offsets))


class _OneRecord:
    """A part that wants one record."""

    def __init__(self, place: TopicPartition, offset: int) -> None:
        self.places = [place]
        self.seen = {place: offset}
        self._offset = offset
        self.record: Any = None

    def accept(self, place: TopicPartition, records: Sequence[Any]) -> None:
        """Keep the wanted record."""
        for record in records:
            self.seen[place] = max(self.seen[place], record.offset + 1)
            if record.offset == self._offset:
                self.record = record


def fetch(follower: Follower, place: TopicPartition, offset: int) -> QueuedTask | None:
    """Return the task at an offset; None when it is past its retention."""
    part = _OneRecord(place, offset)
    follower.add(part)
    try:
        follower.catch_up(part, lambda: part.seen[place] > offset)
    finally:
        follower.remove(part)
    return None if part.record is None else queued(place, part.record)

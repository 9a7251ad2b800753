"""One queue of tasks on Kafka, as one bus sees it."""

import zlib

from kafka import TopicPartition

from fibstream.bus import wire
from fibstream.bus.topics import lease_topic
from fibstream.core.errors import Retryable
from fibstream.core.ports import Delivery

from . import group
from .follower import Follower
from .lease import Lease, Leases, QueuedTask, Tail, Verdict, judge, lease_key
from .link import Link, places
from .member import Limits, Member
from .outbox import Outbox

RECHECK_S = 0.5  # until it is looked again whether the holder of a task that moved still lives


class Queue:
    """Tasks that are leased, acknowledged and counted; ``KafkaBus`` documents each method.

    Parameters
    ----------
    group_name : str
        The group of workers that share it.
    scope : str or None
        The dataset whose tasks alone are counted and forgotten; all are when it is None.
    taken_scope : str or None
        The dataset whose tasks alone are taken: groups of one dataset skip the others.
    """

    def __init__(
        self,
        link: Link,
        follower: Follower,
        outbox: Outbox,
        topic: str,
        group_name: str,
        *,
        scope: str | None,
        taken_scope: str | None,
        limits: Limits,
    ) -> None:
        self.topic = topic
        self.member: Member | None = None  # once tasks are taken
        self._link, self._follower, self._outbox = link, follower, outbox
        self._group, self._scope, self._taken_scope = group_name, scope, taken_scope
        self._limits = limits
        self._lease_topic = lease_topic(topic)
        self._leases: Leases | None = None
        self._tail: Tail | None = None
        self._written: dict[tuple[TopicPartition, int], tuple[str, Lease]] = {}  # by this bus

    def backlog(self) -> int:
        """Return how many tasks are not acknowledged."""
        self._outbox.flush()
        finished = group.committed(self._link, self._group, self.topic)
        with self._follower.lock:
            if self._tail is None:
                self._tail = Tail(finished, self._scope)
                self._follower.add(self._tail)
            self._follower.catch_up(self._tail)
            return self._tail.count(finished)

    # -- leasing ---------------------------------------------------------------------------------

    def take(self, owner: str) -> Delivery | None:
        """Lease the oldest task that was fetched."""
        self._outbox.flush()
        member = self._join(owner)
        while (task := member.take()) is not None:
            try:
                lease = self._lease(task, owner)
            except BaseException:
                member.put_back(task)
                raise
            if isinstance(lease, Lease):
                return _delivery(task, lease.crashes)
            if lease == "busy":
                member.put_back(task, RECHECK_S)
            elif member.done(task.place, task.offset):
                self._end_lease(self._name(task))
        if member.trouble:
            raise Retryable(member.trouble)
        return None

    def _join(self, owner: str) -> Member:
        if self.member is None:
            self._link.partitions(self.topic)  # raises here when there is no such topic
            self.member = Member(
                self._link, self.topic, self._group, owner, self._taken_scope, self._limits
            )
        return self.member

    def _lease(self, task: QueuedTask, owner: str) -> Lease | Verdict:
        def alive(other: str) -> bool:
            return bool(group.members(self._link, self._group, other))

        name = self._name(task)
        known = self._read_leases().state.get(name)
        lease = judge(known, owner, task.place.partition, task.offset, alive)
        if isinstance(lease, Lease):
            self._write_lease(name, lease)
            self._written[task[:2]] = name, lease
        return lease

    def _name(self, task: QueuedTask | Delivery) -> str:
        """Name a lease: groups that share a queue do not see each other's."""
        return lease_key(task.key, task.value, self._group)

    def _write_lease(self, name: str, lease: Lease) -> None:
        self._link.publish(self._lease_topic, name, lease.encode())

    def _end_lease(self, name: str) -> None:
        self._outbox.send(self._lease_topic, name, None)

    def _read_leases(self) -> Leases:
        """Return the leases, read to their end."""
        self._outbox.flush()  # what was ended here is on its way
        with self._follower.lock:
            if self._leases is None:
                where = places(self._link, self._lease_topic, self._taken_scope)
                self._leases = Leases(where, self._taken_scope)
                self._follower.add(self._leases)
            self._follower.catch_up(self._leases)
            return self._leases

    def renew(self, delivery: Delivery, owner: str) -> bool:
        """Whether a task is still this owner's: in this bus, or by the leases."""
        place, offset = self._position(delivery)
        member = self.member
        if member is not None and member.owner == owner and member.holds(place, offset):
            return True
        return self._holder(self._name(delivery), place, offset) == owner

    def _holder(self, name: str, place: TopicPartition, offset: int) -> str | None:
        lease = self._read_leases().state.get(name)
        if lease is None or (lease.partition, lease.offset) != (place.partition, offset):
            return None
        return lease.owner if lease.state == "held" else None

    def _position(self, delivery: Delivery) -> tuple[TopicPartition, int]:
        return TopicPartition(self.topic, delivery.id >> 32 & 0xFFF), delivery.id >> 44

    # -- ending ----------------------------------------------------------------------------------

    def acknowledge(self, delivery: Delivery, owner: str) -> None:
        """Take a finished task off, unless it now belongs to another."""
        at = place, offset = self._position(delivery)
        if self.member is None or self.member.owner != owner or at not in self._written:
            return
        name, lease = self._written[at]
        if self.member.done(place, offset):
            self._end_lease(name)
        elif self._holder(name, place, offset) == owner:
            # Its partition moved meanwhile: the member that has it now skips the task.
            self._write_lease(name, lease._replace(state="over"))
        del self._written[at]

    def discard(self, delivery: Delivery) -> None:
        """Take a task off, even when held: the next owner skips it."""
        place, offset = self._position(delivery)
        name = self._name(delivery)
        self._write_lease(name, Lease("", delivery.crashes, place.partition, offset, "over"))
        self._written.pop((place, offset), None)
        if self.member is not None and self.member.done(place, offset):
            self._end_lease(name)

    def reclaim(self, owner: str) -> list[Delivery]:
        """Free the tasks of a process that died, count the crash, and let its group go on."""
        released = []
        for name, lease in list(self._read_leases().state.items()):
            if (lease.state, lease.owner) != ("held", owner):
                continue
            freed = lease._replace(state="free", crashes=lease.crashes + 1)
            self._write_lease(name, freed)
            place = TopicPartition(self.topic, lease.partition)
            if place not in places(self._link, self.topic, None):
                continue  # no lease of ours
            with self._follower.lock:
                task = group.fetch(self._follower, place, lease.offset)
            if task is not None:
                released.append(_delivery(task, freed.crashes))
        # After the leases: the member that gets its partitions must find the crash counted once.
        group.expel(self._link, self._group, owner)
        return released

    def forget(self) -> None:
        """Drop the counts and leases of the scope."""
        for name in list(self._read_leases().state):
            if self._scope is None or wire.dataset_of(name) == self._scope:
                self._end_lease(name)

    def skip(self) -> None:
        """Let the group begin after all tasks there are."""
        where = places(self._link, self.topic, None)
        with self._follower.lock:
            ends = self._follower.ends(where)
        group.skip_all(self._link, self._group, ends)

    def leave(self) -> None:
        """Leave the group."""
        if self.member is not None:
            self.member.close()

    def give_back(self) -> None:
        """Record that what is held here is free, and that no process died of it."""
        for name, lease in self._written.values():
            self._write_lease(name, lease._replace(state="free"))


# -- the number of a delivery: offset, partition (below 4096) and topic in one, for any bus to read


def _delivery(task: QueuedTask, crashes: int) -> Delivery:
    number = task.offset << 44 | task.place.partition << 32 | _crc(task.place.topic)
    return Delivery(number, task.key, task.value, crashes, task.sent_s)


def is_from(delivery: Delivery, topic: str) -> bool:
    """Whether a delivery is a task of a queue."""
    return delivery.id & 0xFFFFFFFF == _crc(topic)


def _crc(topic: str) -> int:
    return zlib.crc32(topic.encode())

"""The bus on Apache Kafka: for many machines, many datasets, and runs that outlive any of them."""

import contextlib
import sys
import threading
import time
import zlib
from collections.abc import Collection
from typing import Any, NamedTuple

from kafka import TopicPartition

from fibstream.bus import wire
from fibstream.bus.topics import lease_topic
from fibstream.core.errors import Retryable
from fibstream.core.ports import Delivery, Entry

from .group import committed, expel, fetch, members, skip_all
from .lease import Lease, Leases, Tail, Verdict, Waiting, judge, lease_key
from .link import declare, open_link, places, release
from .log import KEEP, Follower, View
from .queue import POLL_INTERVAL_S, TaskQueue

SLICE_S = 0.02  # when both logs and a queue are waited for, how often each is looked at
UNLANDED = 1000  # tasks sent and not yet acknowledged: some megabytes
ASIDE_S = 0.5  # how often it is asked whether the holder of a task that moved still lives


class _Taken(NamedTuple):
    """A lease that this bus wrote."""

    name: str
    lease: Lease


class KafkaBus:
    """A bus that sees one dataset, or all of them.

    One thread at a time reads; ``publish``, ``send`` and ``renew`` may be called from any. Every
    call raises Retryable within about ten seconds when the broker is away, and WrongUse for a
    topic that was never declared.

    Parameters
    ----------
    servers : str
        ``HOST:PORT[,HOST:PORT]``.
    scope : str, optional
        The dataset that alone is seen; all are when it is None.
    private : bool
        Take tasks in a group of the scope's own, which skips those of other datasets.
    team : str
        Take tasks in a group of this name: workers of another one do not take them away.
    stall_s : float
        A consumer that is behind and silent for so long is closed and opened anew.
    session_s : float
        A worker that died without a word is missed after so long.
    keep : int
        A log of more entries than this is not held in memory.
    poll_interval_s : float
        A worker whose fetching thread hangs for so long is expelled from its group.
    """

    def __init__(
        self,
        servers: str,
        scope: str | None = None,
        *,
        private: bool = False,
        deployment: str = "",
        stall_s: float = 30.0,
        session_s: float = 10.0,
        keep: int = KEEP,
        poll_interval_s: float = POLL_INTERVAL_S,
    ) -> None:
        assert scope is not None or not private
        self.scope = scope
        self._private = private
        self._team = (scope or "") if private else deployment
        self._worked = scope if private else None  # whose tasks are taken
        self._stall_s, self._session_s = stall_s, session_s
        self._keep, self._poll_interval_s = keep, poll_interval_s
        self._link = open_link(servers)
        self._follower = Follower(self._link, stall_s)
        self._views: dict[frozenset[str], View] = {}
        self._leases: dict[str, Leases] = {}
        self._tails: dict[str, Tail] = {}
        self._queues: dict[str, TaskQueue] = {}
        self._taken: dict[tuple[TopicPartition, int], _Taken] = {}
        self._unlanded: list[Any] = []
        self._sending = threading.Lock()

    # -- logs ------------------------------------------------------------------------------------

    def publish(self, topic: str, key: str, value: bytes) -> None:
        """Append to a log; return when the broker has it."""
        self._flush()
        self._link.publish(topic, key, value)

    def read(self, topics: Collection[str], after: int, limit: int = 1000) -> list[Entry]:
        """Return entries with an offset larger than ``after``, in order.

        None are left when it returns none; with a limit above BUFFER, and of a log that is small
        enough to be kept when read from 0, all come at once. ``after`` is 0, or an offset that
        this bus returned for these logs: of a large log the last one, or its end. Keys may
        repeat: the last record of one wins.
        """
        self._flush()
        with self._follower.lock:
            return self._view(topics).read(after, limit) if topics else []

    def end(self, topics: Collection[str]) -> int:
        """Return the offset of the last entry in these logs, 0 when they are empty."""
        self._flush()
        with self._follower.lock:
            return self._view(topics).end() if topics else 0

    def _view(self, topics: Collection[str]) -> View:
        name = frozenset(topics)
        if name not in self._views:
            where = [p for topic in sorted(name) for p in places(self._link, topic, self.scope)]
            self._views[name] = View(
                self._link, self._follower, where, self.scope, self._keep, self._stall_s
            )
        return self._views[name]

    # -- tasks: sending and counting -------------------------------------------------------------

    def send(self, topic: str, key: str, value: bytes) -> None:
        """Put a task on a queue; one that did not get there is told by the next other call."""
        self._send(topic, key, value)

    def _send(self, topic: str, key: str, value: bytes | None) -> None:
        future = self._link.send(topic, key, value)
        with self._sending:
            self._unlanded.append(future)
        if len(self._unlanded) >= UNLANDED:
            self._flush()

    def _flush(self) -> None:
        with self._sending:
            futures, self._unlanded = self._unlanded, []
        for future in futures:
            self._link.landed(future)

    def backlog(self, topic: str) -> int:
        """Return how many tasks of a queue, of this scope, are not acknowledged."""
        self._flush()
        finished = committed(self._link, self._group(topic), topic)
        with self._follower.lock:
            if topic not in self._tails:
                self._tails[topic] = Tail(finished, self.scope)
                self._follower.add(self._tails[topic])
            self._follower.catch_up(self._tails[topic])
            return self._tails[topic].count(finished)

    def _group(self, topic: str) -> str:
        return f"{topic}.{self._team}" if self._team else topic

    # -- tasks: working --------------------------------------------------------------------------

    def take(self, topic: str, owner: str, lease_s: float) -> Delivery | None:  # noqa: ARG002
        """Lease the oldest task that was fetched; the first call joins the group and finds none.

        The lease lasts as long as the process: ``lease_s`` is for buses that do not notice.
        """
        self._flush()
        queue = self._queue(topic, owner)
        while (task := queue.take()) is not None:
            try:
                lease = self._lease(topic, task, owner)
            except BaseException:
                queue.put_back(task)
                raise
            if isinstance(lease, Lease):
                return _delivery(task, lease.crashes)
            if lease == "busy":
                queue.put_back(task, ASIDE_S)
            elif queue.done(task.place, task.offset):
                self._send(lease_topic(topic), self._name(topic, task), None)
        if queue.trouble:
            raise Retryable(queue.trouble)
        return None

    def _queue(self, topic: str, owner: str) -> TaskQueue:
        if topic not in self._queues:
            self._link.partitions(topic)  # a thread could not tell that there is none
            self._queues[topic] = TaskQueue(
                self._link, topic, self._group(topic), owner, self._worked,
                session_s=self._session_s, stall_s=self._stall_s,
                poll_interval_s=self._poll_interval_s,
            )  # fmt: skip
        return self._queues[topic]

    def _lease(self, topic: str, task: Waiting, owner: str) -> Lease | Verdict:
        def alive(other: str) -> bool:
            return bool(members(self._link, self._group(topic), other))

        name = self._name(topic, task)
        known = self._known(topic).state.get(name)
        lease = judge(known, owner, task.place.partition, task.offset, alive)
        if isinstance(lease, Lease):
            self._link.publish(lease_topic(topic), name, lease.encode())
            self._taken[task[:2]] = _Taken(name, lease)
        return lease

    def _name(self, topic: str, task: Waiting | Delivery) -> str:
        """Name a lease: groups that share a queue do not see each other's."""
        return lease_key(task.key, task.value, self._group(topic))

    def _known(self, topic: str) -> Leases:
        """Return the leases of a queue, read to their end."""
        self._flush()  # what was ended here is on its way
        with self._follower.lock:
            if topic not in self._leases:
                where = places(
                    self._link, lease_topic(topic), self.scope if self._private else None
                )
                self._leases[topic] = Leases(where, self.scope if self._private else None)
                self._follower.add(self._leases[topic])
            self._follower.catch_up(self._leases[topic])
            return self._leases[topic]

    def renew(self, delivery: Delivery, owner: str, lease_s: float) -> bool:  # noqa: ARG002
        """Whether a task is still this owner's: in this bus, or as the leases say."""
        topic, place, offset = self._origin(delivery)
        queue = self._queues.get(topic)
        if queue is not None and queue.owner == owner and queue.holds(place, offset):
            return True
        name = self._name(topic, delivery)
        return self._holder(topic, name, place, offset) == owner

    def _holder(self, topic: str, name: str, place: TopicPartition, offset: int) -> str | None:
        lease = self._known(topic).state.get(name)
        if lease is None or (lease.partition, lease.offset) != (place.partition, offset):
            return None
        return lease.owner if lease.state == "held" else None

    def acknowledge(self, delivery: Delivery, owner: str) -> None:
        """Take a finished task off its queue, unless it now belongs to somebody else."""
        topic, place, offset = self._origin(delivery)
        queue = self._queues.get(topic)
        if queue is None or queue.owner != owner or (place, offset) not in self._taken:
            return
        name, lease = self._taken[place, offset]
        if queue.done(place, offset):
            self._send(lease_topic(topic), name, None)
        elif self._holder(topic, name, place, offset) == owner:
            # Its partition moved meanwhile: whoever has it put the task aside, and skips it now.
            self._link.publish(lease_topic(topic), name, lease._replace(state="over").encode())
        del self._taken[place, offset]

    def discard(self, delivery: Delivery) -> None:
        """Take a task off its queue, whoever holds it: who finds it next skips it."""
        topic, place, offset = self._origin(delivery)
        name = self._name(topic, delivery)
        lease = Lease("", delivery.crashes, place.partition, offset, "over")
        self._link.publish(lease_topic(topic), name, lease.encode())
        self._taken.pop((place, offset), None)
        if topic in self._queues and self._queues[topic].done(place, offset):
            self._send(lease_topic(topic), name, None)

    def _origin(self, delivery: Delivery) -> tuple[str, TopicPartition, int]:
        known = {_crc(topic): topic for topic in (*self._queues, *self._leases)}
        crc = delivery.id & 0xFFFFFFFF
        if crc not in known:
            known = {_crc(topic): topic for topic in self._link.topics(wire.task_topic(""))}
        topic = known[crc]
        return topic, TopicPartition(topic, delivery.id >> 32 & 0xFFF), delivery.id >> 44

    # -- tasks: cleaning up ----------------------------------------------------------------------

    def reclaim(self, owner: str) -> list[Delivery]:
        """Free the tasks of a process that died, count the crash, and let its group go on."""
        released = []
        for topic in self._queue_topics():
            for name, lease in list(self._known(topic).state.items()):
                if (lease.state, lease.owner) != ("held", owner):
                    continue
                freed = lease._replace(state="free", crashes=lease.crashes + 1)
                self._link.publish(lease_topic(topic), name, freed.encode())
                with self._follower.lock:
                    place = TopicPartition(topic, lease.partition)
                    task = fetch(self._follower, place, lease.offset)
                if task is not None:
                    released.append(_delivery(task, freed.crashes))
            # After the leases: whoever gets its partitions must find the crash counted once.
            expel(self._link, self._group(topic), owner)
        return released

    def forget(self) -> None:
        """Drop the counts and leases of this scope, and a private group's tasks; while none works.

        Tasks in a group that is shared may still be delivered: they end as reused or dropped.
        """
        for topic in self._queue_topics():
            for name in list(self._known(topic).state):
                if self.scope is None or wire.dataset_of(name) == self.scope:
                    self._send(lease_topic(topic), name, None)
        if self._private:
            self.skip()
        self._flush()

    def skip(self) -> None:
        """Let this bus's groups begin after all tasks there are; while none of them works."""
        for topic in self._queue_topics():
            where = places(self._link, topic, None)
            with self._follower.lock:
                ends = self._follower.ends(where)
            skip_all(self._link, self._group(topic), ends)

    def _queue_topics(self) -> list[str]:
        return self._link.topics(wire.task_topic(""))

    # -- waiting and closing ---------------------------------------------------------------------

    def wait(self, timeout_s: float) -> bool:
        """Return True when a followed log grew or a task was fetched, False after ``timeout_s``."""
        self._flush()
        deadline = time.monotonic() + timeout_s
        if timeout_s <= 0 and self._views:
            with self._follower.lock:
                self._follower.poll(0)
        while not self._anything():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if self._views:
                with self._follower.lock:
                    self._follower.poll(min(left, SLICE_S) if self._queues else left)
            elif self._queues:
                queue = next(iter(self._queues.values()))
                queue.wait(left if len(self._queues) == 1 else min(left, SLICE_S))
            else:
                threading.Event().wait(left)
        return True

    def _anything(self) -> bool:
        news = any(view.news for view in self._views.values())
        for view in self._views.values():
            view.news = False  # told once: logs that nobody reads on must not keep all awake
        left = any(view.left for view in self._views.values())
        return news or left or any(queue.waits for queue in self._queues.values())

    def close(self) -> None:
        """Leave the groups, giving back what is held, and let go of the connections."""
        try:
            self._flush()
        finally:
            for queue in self._queues.values():
                queue.close()
            self._give_back()
            for view in self._views.values():
                view.close()
            self._follower.close()
            release(self._link)

    def _give_back(self) -> None:
        """Say that what is held here is free, and that nobody died of it."""
        with contextlib.suppress(Retryable):
            for (place, _), (name, lease) in self._taken.items():
                free = lease._replace(state="free").encode()
                self._link.publish(lease_topic(place.topic), name, free)


def _crc(topic: str) -> int:
    return zlib.crc32(topic.encode())


def _delivery(task: Waiting, crashes: int) -> Delivery:
    # The id is offset, partition (below 4096) and topic in one number: any bus can read it.
    number = task.offset << 44 | task.place.partition << 32 | _crc(task.place.topic)
    return Delivery(number, task.key, task.value, crashes, task.sent_s)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m fibstream.bus.kafka.bus HOST:PORT[,HOST:PORT]")
    sys.stdout.write("".join(f"declared {name}\n" for name in declare(sys.argv[1])))

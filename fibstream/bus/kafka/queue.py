"""A worker's membership in the group that shares one queue: a thread that never stops polling.

A task may take minutes, and a member that does not poll is expelled; so the consumer lives in a
thread of its own, and the worker takes from the few tasks that it has fetched.

Members are dynamic. A static one (a name that outlives the process) would keep its partitions idle
for a whole session after every regular stop, when workers are scaled down, for the sake of a quick
restart under the same name; and two that share a name by mistake would fence each other.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from kafka import TopicPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from kafka.structs import MemberState, OffsetAndMetadata

from fibstream.bus.wire import dataset_of
from fibstream.core.errors import Retryable

from .lease import Waiting
from .link import AGAIN_S, CALL_S, STALLS, Link, reaching
from .log import HOLD_MS, Stall

log = logging.getLogger(__name__)

FETCHED = 16  # tasks fetched ahead: a look at the broker for each would cost more than a small task
FETCH_BYTES = 256 << 10  # of a partition at once: several of the largest events
POLL_INTERVAL_S = 60.0  # a member whose thread hangs for so long is expelled; it polls 10 times a s
JOIN_AGAIN_S = 1.0  # after an error of the group
# kafka-python 3.0.12 forgets a join that completes between two polls, when new metadata was the
# reason for it. So a member that is joining polls longer than that takes; and one that has not
# joined after several sessions starts anew.
JOINING_MS = 1000
SESSIONS = 3
_LOST = (CommitFailedError, IllegalGenerationError, UnknownMemberIdError)


class _Stalled(Exception):
    """The consumer is silent: behind its queue, or outside of its group."""


class _Listener(ConsumerRebalanceListener):
    """Called by the client's own thread, between two generations of the group."""

    def __init__(self, queue: "TaskQueue") -> None:
        self._queue = queue

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Do nothing: the poll that follows looks at what is assigned."""

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Give up partitions while still being known as their owner."""
        self._queue.give_up(set(revoked))

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        """Give up partitions that somebody else may have by now."""
        self._queue.give_up(set(lost))


class TaskQueue:
    """One member of a queue's group."""

    def __init__(
        self,
        link: Link,
        topic: str,
        group: str,
        owner: str,
        scope: str | None,
        *,
        session_s: float,
        stall_s: float,
        poll_interval_s: float = POLL_INTERVAL_S,
    ) -> None:
        self.owner = owner
        self.ready = threading.Condition()
        self.restarts = 0
        self.trouble: str | None = None  # why it is outside of its group
        self._link = link
        self._topic = topic
        self._scope = scope  # whose tasks alone are wanted; None for all
        self._stall_s, self._session_s = stall_s, session_s
        self._configs = {
            "group_id": group,
            # By this name ``bury`` finds the member of a process that died.
            "client_id": owner,
            "session_timeout_ms": int(session_s * 1000),
            "heartbeat_interval_ms": int(session_s * 1000 / 5),
            "max_poll_interval_ms": int(poll_interval_s * 1000),
            "max_poll_records": FETCHED,
            "max_partition_fetch_bytes": FETCH_BYTES,
            "fetch_max_wait_ms": HOLD_MS,
            # Members keep what they have while others join or go: a long task goes on.
            "partition_assignment_strategy": [CooperativeStickyAssignor],
        }
        self._consumer: Any = None
        self._mine: set[TopicPartition] = set()
        self._next: dict[TopicPartition, int] = {}  # after the last record fetched
        self._waiting: deque[Waiting] = deque()
        self._aside: dict[tuple[TopicPartition, int], float] = {}  # not to be taken before
        self._held: dict[tuple[TopicPartition, int], Waiting] = {}
        self._owed = False  # a commit that the group refused while it changed
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"tasks of {topic}", daemon=True)
        self._thread.start()

    # -- the worker's side -----------------------------------------------------------------------

    def take(self) -> Waiting | None:
        """Hold the oldest task that was fetched and is not put aside; None when there is none."""
        with self.ready:
            task = self._due()
            if task is not None:
                self._waiting.remove(task)
                self._held[task.place, task.offset] = task
            return task

    def _due(self) -> Waiting | None:
        now = time.monotonic()
        return next((t for t in self._waiting if self._aside.get(t[:2], now) <= now), None)

    @property
    def waits(self) -> bool:
        """Whether a task could be taken."""
        with self.ready:
            return self._due() is not None

    def wait(self, timeout_s: float) -> None:
        """Return when a task could be taken, or after ``timeout_s``."""
        with self.ready:
            self.ready.wait_for(self._due, timeout_s)

    def put_back(self, task: Waiting, aside_s: float = 0.0) -> None:
        """Hold a task no longer: it is taken again, not before ``aside_s`` are over."""
        with self.ready:
            if self._held.pop(task[:2], None) and task.place in self._mine:
                self._waiting.appendleft(task)
                self._aside[task[:2]] = time.monotonic() + aside_s

    def holds(self, place: TopicPartition, offset: int) -> Waiting | None:
        """Return a task that is held and whose partition is still ours."""
        with self.ready:
            return self._held.get((place, offset)) if place in self._mine else None

    def done(self, place: TopicPartition, offset: int) -> bool:
        """Take a task off the queue for good; False when its partition is no longer ours.

        False, too, when the partition went and came back and is not yet fetched up to the task:
        what is committed could not cover it, and it will be fetched once more. Raise Retryable
        when the broker does not say so within CALL_S: then it is still held.
        """
        with self.ready:
            task = self._held.pop((place, offset), None)
            before = len(self._waiting)
            self._waiting = deque(
                w for w in self._waiting if (w.place, w.offset) != (place, offset)
            )
            consumer, offsets = self._consumer, self._settled()
            covered = place in self._mine and offset < self._next.get(place, 0)
            if not covered or (task is None and len(self._waiting) == before):
                return False
        try:
            landed = self._commit(consumer, offsets)
            self._owed |= not landed
            return landed
        except Retryable:
            if task is not None:
                with self.ready:
                    self._held[place, offset] = task
            raise

    def _commit(self, consumer: Any, offsets: dict[TopicPartition, OffsetAndMetadata]) -> bool:
        """Commit; False when the group has moved on without us."""
        deadline = time.monotonic() + CALL_S
        while True:
            try:
                with reaching(self._link.servers):
                    consumer.commit(offsets, timeout_ms=int(CALL_S * 1000))
                return True
            except Retryable as error:
                if isinstance(error.__cause__, _LOST):
                    return False
                rebalancing = isinstance(error.__cause__, RebalanceInProgressError)
                if not rebalancing or time.monotonic() > deadline:
                    raise
                time.sleep(AGAIN_S)

    def _settled(self) -> dict[TopicPartition, OffsetAndMetadata]:
        """Return where every partition's first unfinished task lies."""
        offsets = {place: self._next[place] for place in self._mine if place in self._next}
        for task in (*self._held.values(), *self._waiting):
            if task.place in offsets:
                offsets[task.place] = min(offsets[task.place], task.offset)
        return {place: OffsetAndMetadata(offset, "", -1) for place, offset in offsets.items()}

    def close(self) -> None:
        """Leave the group."""
        self._stopping.set()
        self._thread.join(2 * CALL_S)

    # -- the thread's side -----------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._consumer = self._link.consumer(**self._configs)
                self._consumer.subscribe([self._topic], listener=_Listener(self))
                self._serve()
            except (KafkaError, Retryable, _Stalled) as error:
                self.restarts += 1
                reason = f"kafka queue {self._topic}: {error or type(error).__name__}"
                if reason != self.trouble:  # an outage is told once
                    log.error("%s: joining its group anew", reason)
                if not isinstance(error, _Stalled):
                    self.trouble = reason
            finally:
                self._leave()
            self._stopping.wait(JOIN_AGAIN_S)

    def _leave(self) -> None:
        with self.ready:
            self._mine, self._next = set(), {}
            self._waiting.clear()
            self._aside.clear()
        if self._consumer is not None:
            with contextlib.suppress(KafkaError):
                self._consumer.close(autocommit=False, timeout_ms=1000)

    def _serve(self) -> None:
        stall, checked = Stall(self._stall_s), time.monotonic()
        outside = Stall(SESSIONS * self._session_s)
        while not self._stopping.is_set():
            full = self._pace()
            joined = self._consumer.group_metadata().state is MemberState.STABLE
            if outside.look(time.monotonic(), behind=not joined, polled=False):
                raise _Stalled("not let into the group")
            found = self._consumer.poll(timeout_ms=HOLD_MS if joined else JOINING_MS)
            mine = set(self._consumer.assignment())
            with self.ready:
                self._mine = mine
                self._file(found)
                if found:
                    self.ready.notify_all()
            now = time.monotonic()
            if joined:
                self.trouble = None
                self._settle()
            if found or full:
                stall.look(now, behind=False, polled=True)
            elif now - checked > self._stall_s / 4:
                checked = now
                if stall.look(now, behind=self._behind(mine), polled=False):
                    STALLS.count += 1
                    raise _Stalled(f"behind the end of {mine}")

    def _settle(self) -> None:
        """Commit what the group refused, for partitions that stayed: no later task may come."""
        if self._owed:
            self._owed = False  # before the look: the worker may owe more meanwhile
            with self.ready:
                offsets = self._settled()
            self._owed |= not self._commit(self._consumer, offsets)

    def _pace(self) -> bool:
        """Fetch no more while enough tasks wait; a rebalance un-pauses, so say it every time."""
        full = len(self._waiting) >= FETCHED
        if full:
            self._consumer.pause(*self._consumer.assignment())
        elif paused := self._consumer.paused():
            self._consumer.resume(*paused)
        return full

    def _behind(self, mine: set[TopicPartition]) -> bool:
        wait = int(CALL_S * 1000)
        ends = self._consumer.end_offsets(list(mine), timeout_ms=wait)
        positions = {place: self._consumer.position(place, timeout_ms=wait) for place in mine}
        return any((positions[place] or 0) < end for place, end in ends.items())

    def _file(self, found: dict[TopicPartition, list[Any]]) -> None:
        for place, records in found.items():
            if place not in self._mine:
                continue
            self._next[place] = records[-1].offset + 1
            for record in records:
                key = record.key.decode()
                # A partition that went and came back brings again what is still held.
                again = (place, record.offset) in self._held
                if not again and (self._scope is None or dataset_of(key) == self._scope):
                    sent_s = record.timestamp / 1000
                    self._waiting.append(Waiting(place, record.offset, key, record.value, sent_s))

    def give_up(self, places: set[TopicPartition]) -> None:
        """Drop what waits in partitions that go; who holds a task goes on with it."""
        with self.ready:
            self._mine -= places
            self._waiting = deque(task for task in self._waiting if task.place not in places)
            self._aside = {at: until for at, until in self._aside.items() if at[0] not in places}
            for place in places:
                self._next.pop(place, None)

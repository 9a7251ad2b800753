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
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kafka import ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from kafka.structs import MemberState

from fibstream.core.errors import Retryable

from .buffer import TaskBuffer
from .lease import QueuedTask
from .link import CALL_S, HOLD_MS, RETRY_S, Link, reaching
from .stall import STALLS, Stall

log = logging.getLogger(__name__)

# Tasks fetched ahead: as many as a planner has under way (``WINDOW``), so that behind those of one
# dataset another's are seen. They are of this member's partitions: nobody else could take them.
FETCHED = 512
FETCH_BYTES = 256 << 10  # of a partition at once: several of the largest events
POLL_INTERVAL_S = 60.0  # a member whose thread hangs for so long is expelled; it polls 10 times a s
REJOIN_S = 1.0  # after an error of the group
# kafka-python 3.0.12 forgets a join that completes between two polls, when new metadata was the
# reason for it. So a member that is joining polls longer than that takes; and one that has not
# joined after several sessions starts anew.
JOINING_MS = 1000
SESSIONS = 3
_LOST = (CommitFailedError, IllegalGenerationError, UnknownMemberIdError)


@dataclass(frozen=True)
class Limits:
    """How long a member may be silent, in seconds; see ``KafkaBus``."""

    session_s: float = 10.0
    stall_s: float = 30.0
    poll_interval_s: float = POLL_INTERVAL_S


class _Stalled(Exception):
    """The consumer is silent: behind its queue, or outside of its group."""


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Called by the client's own thread, between two generations of the group."""

    def __init__(self, member: "Member") -> None:
        self._member = member

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Do nothing: the poll that follows sees what is assigned."""

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Give up partitions while still being known as their owner."""
        self._member.revoke(set(revoked))

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        """Give up partitions that another member may have by now."""
        self._member.revoke(set(lost))


class Member:
    """One member of a queue's group; ``scope`` is the dataset whose tasks alone it takes."""

    def __init__(
        self, link: Link, topic: str, group: str, owner: str, scope: str | None, limits: Limits
    ) -> None:
        self.owner = owner
        self.ready = threading.Condition()
        self.tasks = TaskBuffer(scope)  # used under ``ready``
        self.restarts = 0
        self.trouble: str | None = None  # why it is outside of its group
        self._link = link
        self._topic = topic
        self._limits = limits
        self._configs = _configs(group, owner, limits)
        self._consumer: Any = None
        self._commit_due = False  # the group refused one while it changed
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"tasks of {topic}", daemon=True)
        self._thread.start()

    # -- the worker's side -----------------------------------------------------------------------

    def take(self) -> QueuedTask | None:
        """Hold the oldest task that was fetched and may be taken; None when there is none."""
        with self.ready:
            return self.tasks.take(time.monotonic())

    @property
    def waits(self) -> bool:
        """Whether a task could be taken."""
        with self.ready:
            return self.tasks.due(time.monotonic()) is not None

    def wait(self, timeout_s: float) -> None:
        """Return when a task could be taken, or after ``timeout_s``."""
        with self.ready:
            self.ready.wait_for(lambda: self.waits, timeout_s)

    def put_back(self, task: QueuedTask, delay_s: float = 0.0) -> None:
        """Hold a task no longer: it is taken again, not before ``delay_s`` are over."""
        with self.ready:
            self.tasks.put_back(task, time.monotonic() + delay_s)

    def holds(self, place: TopicPartition, offset: int) -> bool:
        """Whether a task is held and its partition still ours."""
        with self.ready:
            return place in self.tasks.mine and (place, offset) in self.tasks.held

    def done(self, place: TopicPartition, offset: int) -> bool:
        """Take a task off the queue for good; False when that cannot be committed.

        Then its partition moved, and it is fetched once more, here or elsewhere. Raise Retryable
        when the broker does not confirm within CALL_S: then it is still held.
        """
        with self.ready:
            task = self.tasks.held.get((place, offset))
            if not self.tasks.remove(place, offset):
                return False
            consumer, offsets = self._consumer, self.tasks.offsets()
        try:
            committed = self._commit(consumer, offsets)
            self._commit_due |= not committed
            return committed
        except Retryable:
            if task is not None:
                with self.ready:
                    self.tasks.held[place, offset] = task
            raise

    def _commit(self, consumer: Any, offsets: dict[TopicPartition, OffsetAndMetadata]) -> bool:
        """Commit; False when the group went on without this member."""
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
                time.sleep(RETRY_S)

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
                if reason != self.trouble:  # an outage is reported once
                    log.error("%s: joining its group anew", reason)
                if not isinstance(error, _Stalled):
                    self.trouble = reason
            finally:
                self._leave()
            self._stopping.wait(REJOIN_S)

    def _leave(self) -> None:
        with self.ready:
            self.tasks.leave()
        if self._consumer is not None:
            with contextlib.suppress(KafkaError):
                self._consumer.close(autocommit=False, timeout_ms=1000)

    def _serve(self) -> None:
        stall_s = self._limits.stall_s
        stall, checked = Stall(stall_s), time.monotonic()
        outside = Stall(SESSIONS * self._limits.session_s)
        while not self._stopping.is_set():
            full = self._pace()
            joined = self._consumer.group_metadata().state is MemberState.STABLE
            if outside.look(time.monotonic(), behind=not joined, polled=False):
                raise _Stalled("not let into the group")
            found = self._poll(HOLD_MS if joined else JOINING_MS)
            now = time.monotonic()
            if joined:
                self.trouble = None
                self._commit_again()
            if found or full:
                stall.look(now, behind=False, polled=True)
            elif now - checked > stall_s / 4:
                checked = now
                if stall.look(now, behind=self._behind(), polled=False):
                    STALLS.count += 1
                    raise _Stalled(f"behind the end of {self.tasks.mine}")

    def _poll(self, timeout_ms: int) -> bool:
        """Fetch tasks, and have the client take part in the group; whether there were any."""
        found = self._consumer.poll(timeout_ms=timeout_ms)
        with self.ready:
            self.tasks.mine = set(self._consumer.assignment())
            self.tasks.add(found)
            if found:
                self.ready.notify_all()
        return bool(found)

    def _commit_again(self) -> None:
        """Commit what the group refused, for partitions that stayed: no later task may come."""
        if self._commit_due:
            self._commit_due = False  # before the offsets are read: more may become due meanwhile
            with self.ready:
                offsets = self.tasks.offsets()
            self._commit_due |= not self._commit(self._consumer, offsets)

    def _pace(self) -> bool:
        """Fetch no more while enough tasks wait; every time, as a rebalance resumes partitions."""
        full = len(self.tasks.waiting) >= FETCHED
        if full:
            self._consumer.pause(*self._consumer.assignment())
        elif paused := self._consumer.paused():
            self._consumer.resume(*paused)
        return full

    def _behind(self) -> bool:
        wait, mine = int(CALL_S * 1000), list(self.tasks.mine)
        ends = self._consumer.end_offsets(mine, timeout_ms=wait)
        positions = {place: self._consumer.position(place, timeout_ms=wait) for place in mine}
        return any((positions[place] or 0) < end for place, end in ends.items())

    def revoke(self, places: set[TopicPartition]) -> None:
        """Drop what waits in partitions that go; who holds a task goes on with it."""
        with self.ready:
            self.tasks.revoke(places)


def _configs(group: str, owner: str, limits: Limits) -> dict[str, Any]:
    return {
        "group_id": group,
        # By this name ``reclaim`` finds the member of a process that died.
        "client_id": owner,
        "session_timeout_ms": int(limits.session_s * 1000),
        "heartbeat_interval_ms": int(limits.session_s * 1000 / 5),
        "max_poll_interval_ms": int(limits.poll_interval_s * 1000),
        "max_poll_records": FETCHED,
        "max_partition_fetch_bytes": FETCH_BYTES,
        "fetch_max_wait_ms": HOLD_MS,
        # Members keep what they have while others join or go: a long task goes on.
        "partition_assignment_strategy": [CooperativeStickyAssignor],
    }

"""The bus on Apache Kafka: for many machines, many datasets, and runs that outlive any of them."""

import contextlib
import threading
import time
from collections.abc import Collection

from fibstream.bus import wire
from fibstream.core.errors import Retryable
from fibstream.core.ports import Delivery, Entry

from .follower import Follower
from .link import open_link, places, release
from .log import KEEP, View
from .member import POLL_INTERVAL_S, Limits, Member
from .outbox import Outbox
from .queue import Queue, is_from

SLICE_S = 0.02  # when both logs and a queue are waited for, how often each is looked at


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
    deployment : str
        Take tasks in a group of this name: workers of another one do not take them away.
    stall_s : float
        A consumer that is behind and silent for so long is closed and opened anew.
    session_s : float
        A worker that died without leaving is noticed after so long.
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
        self._group_suffix = (scope or "") if private else deployment
        self._limits = Limits(session_s, stall_s, poll_interval_s)
        self._keep = keep
        self._link = open_link(servers)
        self._outbox = Outbox(self._link)
        self._follower = Follower(self._link, stall_s)
        self._views: dict[frozenset[str], View] = {}
        self._queues: dict[str, Queue] = {}

    # -- logs ------------------------------------------------------------------------------------

    def publish(self, topic: str, key: str, value: bytes) -> None:
        """Append to a log; return when the broker has it."""
        self._outbox.flush()
        self._link.publish(topic, key, value)

    def read(self, topics: Collection[str], after: int, limit: int = 1000) -> list[Entry]:
        """Return entries with an offset larger than ``after``, in order.

        None are left when it returns none; with a limit above BUFFER, and of a log that is small
        enough to be kept when read from 0, all come at once. ``after`` is 0, or an offset that
        this bus returned for these logs: of a large log the last one, or its end. Keys may
        repeat: the last record of one wins.
        """
        self._outbox.flush()
        with self._follower.lock:
            return self._view(topics).read(after, limit) if topics else []

    def end(self, topics: Collection[str]) -> int:
        """Return the offset of the last entry in these logs, 0 when they are empty."""
        self._outbox.flush()
        with self._follower.lock:
            return self._view(topics).end() if topics else 0

    def _view(self, topics: Collection[str]) -> View:
        name = frozenset(topics)
        if name not in self._views:
            where = [p for topic in sorted(name) for p in places(self._link, topic, self.scope)]
            self._views[name] = View(
                self._link, self._follower, where, self.scope, self._keep, self._limits.stall_s
            )
        return self._views[name]

    # -- tasks -----------------------------------------------------------------------------------

    def send(self, topic: str, key: str, value: bytes) -> None:
        """Put a task on a queue; the next other call raises when it did not get there."""
        self._outbox.send(topic, key, value)

    def backlog(self, topic: str) -> int:
        """Return how many tasks of a queue, of this scope, are not acknowledged."""
        return self._queue(topic).backlog()

    def take(self, topic: str, owner: str, lease_s: float) -> Delivery | None:  # noqa: ARG002
        """Lease the oldest task that was fetched; the first call joins the group and finds none.

        The lease lasts as long as the process: ``lease_s`` is for buses that do not notice.
        """
        return self._queue(topic).take(owner)

    def renew(self, delivery: Delivery, owner: str, lease_s: float) -> bool:  # noqa: ARG002
        """Whether a task is still this owner's: in this bus, or by the leases."""
        return self._origin(delivery).renew(delivery, owner)

    def acknowledge(self, delivery: Delivery, owner: str) -> None:
        """Take a finished task off its queue, unless it now belongs to another."""
        self._origin(delivery).acknowledge(delivery, owner)

    def discard(self, delivery: Delivery) -> None:
        """Take a task off its queue, even when held: the next owner skips it."""
        self._origin(delivery).discard(delivery)

    def reclaim(self, owner: str) -> list[Delivery]:
        """Free the tasks of a process that died, count the crash, and let its group go on."""
        return [task for queue in self._all_queues() for task in queue.reclaim(owner)]

    def forget(self) -> None:
        """Drop the counts and leases of this scope, and a private group's tasks; while none works.

        Tasks in a group that is shared may still be delivered: they end as reused or dropped.
        """
        for queue in self._all_queues():
            queue.forget()
        if self._private:
            self.skip()
        self._outbox.flush()

    def skip(self) -> None:
        """Let this bus's groups begin after all tasks there are; while none of them works."""
        for queue in self._all_queues():
            queue.skip()

    def _queue(self, topic: str) -> Queue:
        if topic not in self._queues:
            self._queues[topic] = Queue(
                self._link, self._follower, self._outbox, topic,
                f"{topic}.{self._group_suffix}" if self._group_suffix else topic,
                scope=self.scope, taken_scope=self.scope if self._private else None,
                limits=self._limits,
            )  # fmt: skip
        return self._queues[topic]

    def _all_queues(self) -> list[Queue]:
        return [self._queue(topic) for topic in self._link.topics(wire.task_topic(""))]

    def _origin(self, delivery: Delivery) -> Queue:
        known = list(self._queues.values())  # a copy: another thread may renew
        found = [queue for queue in known if is_from(delivery, queue.topic)]
        return (found or [q for q in self._all_queues() if is_from(delivery, q.topic)])[0]

    # -- waiting and closing ---------------------------------------------------------------------

    def wait(self, timeout_s: float) -> bool:
        """Return True when a followed log grew or a task was fetched, False after ``timeout_s``."""
        self._outbox.flush()
        members = [queue.member for queue in self._queues.values() if queue.member]
        deadline = time.monotonic() + timeout_s
        if timeout_s <= 0 and self._views:
            with self._follower.lock:
                self._follower.poll(0)
        while not self._anything(members):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if self._views:
                with self._follower.lock:
                    self._follower.poll(min(left, SLICE_S) if members else left)
            elif members:
                members[0].wait(left if len(members) == 1 else min(left, SLICE_S))
            else:
                threading.Event().wait(left)
        return True

    def _anything(self, members: list[Member]) -> bool:
        news = any(view.news for view in self._views.values())
        for view in self._views.values():
            view.news = False  # reported once: logs that are not read on must not keep all awake
        left = any(view.left for view in self._views.values())
        return news or left or any(member.waits for member in members)

    @property
    def is_current(self) -> bool:
        """True: a cluster is not replaced by another one at its address."""
        return True

    def close(self) -> None:
        """Leave the groups, giving back what is held, and close the connections."""
        try:
            self._outbox.flush()
        finally:
            for queue in self._queues.values():
                queue.leave()
            with contextlib.suppress(Retryable):
                for queue in self._queues.values():
                    queue.give_back()
            for view in self._views.values():
                view.close()
            self._follower.close()
            release(self._link)

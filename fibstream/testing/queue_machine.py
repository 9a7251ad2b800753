"""Any schedule of senders and workers on the queues of a bus, each answer held against a model."""

import time

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from fibstream.core.ports import Delivery

from .harness import LEASE_S, BusHarness, BusSuite, Connect
from .queue_model import QueueModel

OWNERS = st.sampled_from(["w1", "w2", "w3"])
QUEUES = st.sampled_from([0, 0, 0, 1])
KEYS = st.sampled_from(["a", "b"])
VALUES = st.sampled_from([b"x", b"y"])
PICKS = st.integers(0, 3)  # of what there is, the newest first
OWN = st.sampled_from([True, True, False])
# No sum of these is a lease: whether one ends just then is left open.
PASSED_S = st.sampled_from([3.0, 7.5, LEASE_S + 1])
FORGET = 12  # tasks between two times that all are forgotten


class QueueMachine(RuleBasedStateMachine):
    """A planner and several workers; what they must be given is in ``queue_model``."""

    def __init__(self, suite: BusSuite, connect: Connect) -> None:
        super().__init__()
        self._suite, self._promises = suite, suite.promises
        self._harness = BusHarness(suite, connect)
        self._bus = self._harness.bus
        self._queue = QueueModel(suite.promises, self._harness.clock)
        self._deliveries: list[tuple[str, Delivery]] = []
        self._members: set[tuple[int, str]] = set()  # who has looked at which queue
        self._forgotten = 0  # tasks that were sent before all were forgotten

    @rule(queue=QUEUES, key=KEYS, value=VALUES)
    def send(self, queue: int, key: str, value: bytes) -> None:
        """Send a task."""
        topic, key = self._suite.queues[queue], self._harness.key(key)
        self._bus.send(topic, key, self._queue.send(topic, key, value))

    @precondition(lambda self: self._queue.left)
    @rule(owner=OWNERS, queue=QUEUES)
    def take(self, owner: str, queue: int) -> None:
        """Take a task: there must be one if nobody else may have it."""
        self._take(owner, queue)

    def _take(self, owner: str, queue: int) -> Delivery | None:
        topic = self._suite.queues[queue]
        self._members.add((queue, owner))
        alone = self._promises.timed or {o for q, o in self._members if q == queue} == {owner}
        certain = alone and bool(self._queue.due(topic))
        patience_s = self._suite.patience_s if certain else self._suite.quiet_s
        found = self._harness.look(owner, queue, patience_s)
        if found is None:
            assert not certain, "a task that must come did not"
            return None
        self._queue.take(topic, owner, LEASE_S, found)
        self._deliveries.append((owner, found))
        return found

    def _delivery(self, pick: int) -> tuple[str, Delivery]:
        return self._deliveries[-1 - pick % len(self._deliveries)]

    @precondition(lambda self: self._deliveries)
    @rule(pick=PICKS, other=OWNERS, own=OWN)
    def renew(self, pick: int, other: str, own: bool) -> None:
        """Renew a lease that was once had, or somebody else's."""
        owner, delivery = self._delivery(pick)
        owner = owner if own else other
        holds = self._queue.owns(delivery.id, owner)
        renewed = self._harness.worker(owner).renew(delivery, owner, LEASE_S)
        if self._promises.once or holds:
            assert renewed == holds
        if holds:
            self._queue.renew(delivery.id, LEASE_S)

    @precondition(lambda self: self._deliveries)
    @rule(pick=PICKS, other=OWNERS, own=OWN)
    def acknowledge(self, pick: int, other: str, own: bool) -> None:
        """Acknowledge a task that was once had, or somebody else's."""
        owner, delivery = self._delivery(pick)
        owner = owner if own else other
        self._harness.worker(owner).acknowledge(delivery, owner)
        if self._queue.owns(delivery.id, owner):
            self._queue.end(delivery.id)

    @precondition(lambda self: self._deliveries)
    @rule(pick=PICKS)
    def discard(self, pick: int) -> None:
        """Discard a task that was once taken."""
        owner, delivery = self._delivery(pick)
        self._harness.worker(owner).discard(delivery)
        self._queue.end(delivery.id)

    @precondition(lambda self: self._deliveries)
    @rule(pick=PICKS)
    def crash(self, pick: int) -> None:
        """Kill an owner and reclaim its tasks."""
        owner, _ = self._delivery(pick)
        self._harness.die(owner)
        self._members -= {(queue, owner) for queue in (0, 1)}
        released = self._bus.reclaim(owner)
        held = self._queue.release(owner)
        for task in held:
            task.crashes += 1
        found = {(d.id, d.key, d.value, d.crashes) for d in released}
        expected = {(t.id, t.key, t.value, t.crashes) for t in held}
        assert found == expected if self._promises.once else found >= expected

    @precondition(lambda self: not self._promises.timed)
    @rule(owner=OWNERS)
    def leave(self, owner: str) -> None:
        """Let an owner go."""
        self._lose(owner)

    def _lose(self, owner: str) -> None:
        self._harness.lose(owner)
        if not self._promises.timed:
            self._queue.release(owner)
            self._members -= {(queue, owner) for queue in (0, 1)}

    @precondition(lambda self: self._promises.timed)
    @rule(passed_s=PASSED_S)
    def tick(self, passed_s: float) -> None:
        """Let time pass."""
        self._harness.clock.now += passed_s

    @rule(queue=QUEUES)
    def backlog(self, queue: int) -> None:
        """Count what is left."""
        topic = self._suite.queues[queue]
        self._queue.backlog(topic, self._bus.backlog(topic))

    @precondition(lambda self: len(self._queue.tasks) - self._forgotten > FORGET)
    @rule()
    def forget(self) -> None:
        """Forget all tasks while nobody works."""
        self._forgotten = len(self._queue.tasks)
        for owner in ("w1", "w2", "w3"):
            self._lose(owner)
        self._bus.forget()
        self._queue.forget()

    def teardown(self) -> None:
        """Let one last worker do all that is left, and close."""
        try:
            for owner in ("w1", "w2", "w3"):
                self._lose(owner)
            for topic in {task.queue for task in self._queue.tasks}:
                self._finish(topic)
        finally:
            self._harness.close()

    def _finish(self, topic: str) -> None:
        """Take and acknowledge every task of a queue; nothing is left then."""
        while found := self._take("last", self._suite.queues.index(topic)):
            self._harness.worker("last").acknowledge(found, "last")
            self._queue.end(found.id)
        deadline = time.monotonic() + self._suite.patience_s
        while left := self._bus.backlog(topic):
            assert time.monotonic() < deadline, f"{left} tasks are counted that are over"

"""Any schedule of planners, readers and workers on one bus, each answer held against a model."""

import time

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from fibstream.core.ports import Bus, Delivery

from .bus_model import LogModel, Position, QueueModel
from .harness import LEASE_S, BusHarness, BusSuite, Connect

OWNERS = st.sampled_from(["w1", "w2", "w3"])
READERS = st.sampled_from(["planner", "reader"])
LOGS = st.integers(0, 1)
VIEWS = st.sampled_from([(0,), (0, 1)])
QUEUES = st.integers(0, 1)
KEYS = st.sampled_from(["a", "b", "c"])
VALUES = st.sampled_from([b"x", b"y"])
LIMITS = st.sampled_from([1, 2, 1000])
PICKS = st.integers(0, 1 << 16)
# No sum of these is a lease: whether one ends just then is left open.
PASSED_S = st.sampled_from([3.0, 7.5, LEASE_S + 1])
WAIT_S = 60.0  # a wait that must end earlier


class BusMachine(RuleBasedStateMachine):
    """The steps; what they must lead to is in ``bus_model``."""

    def __init__(self, suite: BusSuite, connect: Connect) -> None:
        super().__init__()
        self._suite, self._promises = suite, suite.promises
        self._harness = BusHarness(suite, connect)
        self._log = LogModel(suite.promises)
        self._queue = QueueModel(suite.promises, self._harness.clock)
        # The offsets that each connection was given for each set of logs, and where they lie.
        self._offsets: dict[tuple[str, tuple[int, ...]], dict[int, Position]] = {}
        self._unseen: set[str] = set()  # readers whose logs somebody else wrote since
        self._deliveries: list[tuple[str, Delivery]] = []
        self._members: set[tuple[int, str]] = set()  # who has looked at which queue

    def _bus(self, name: str) -> Bus:
        return self._harness.bus if name == "planner" else self._harness.worker(name)

    # -- logs --------------------------------------------------------------------------------------

    @rule(by=READERS, log=LOGS, key=KEYS)
    def publish(self, by: str, log: int, key: str) -> None:
        """Write a record."""
        topic, key = self._suite.logs[log], self._harness.key(key)
        self._bus(by).publish(topic, key, self._log.publish(topic, key))
        self._unseen |= {r for r, view in self._offsets if r != by and log in view}

    @rule(by=READERS, view=VIEWS, pick=PICKS, limit=LIMITS, on=st.booleans())
    def read(self, by: str, view: tuple[int, ...], pick: int, limit: int, on: bool) -> None:
        """Read once from an offset that is known, or on to the end."""
        topics = tuple(self._suite.logs[log] for log in view)
        known = self._offsets.setdefault((by, view), {0: {}})
        choice = list(known) if self._rereads(view) else [0, [*known][-1]]
        after = choice[pick % len(choice)]
        while True:
            entries = self._bus(by).read(topics, after, limit)
            offsets = [after, *(entry.offset for entry in entries)]
            assert offsets == sorted(set(offsets))
            assert len(entries) <= limit
            passed = self._log.read(topics, known[after], entries)
            for offset, position in zip(offsets[1:], passed, strict=True):
                known.pop(offset, None)  # the last one read is the last one known
                known[offset] = position
            after = offsets[-1]
            if not on or not entries:
                break
        self._unseen.discard(by)
        if on:
            assert after == self._bus(by).end(topics)

    def _rereads(self, view: tuple[int, ...]) -> bool:
        return self._promises.rereads or len(view) == 1

    @rule(by=READERS, view=VIEWS)
    def end(self, by: str, view: tuple[int, ...]) -> None:
        """Look where logs end."""
        topics = tuple(self._suite.logs[log] for log in view)
        end = self._bus(by).end(topics)
        assert (end == 0) == self._log.empty(topics)
        known = self._offsets.setdefault((by, view), {0: {}})
        assert end == max(end, *known)
        known.pop(end, None)
        known[end] = self._log.end(topics) if end else {}

    @rule(by=READERS)
    def wait(self, by: str) -> None:
        """Wait for what was written, if it was."""
        if by in self._unseen:
            assert self._bus(by).wait(WAIT_S)
            self._unseen.discard(by)

    # -- queues ------------------------------------------------------------------------------------

    @rule(by=READERS, queue=QUEUES, key=KEYS, value=VALUES)
    def send(self, by: str, queue: int, key: str, value: bytes) -> None:
        """Send a task."""
        topic, key = self._suite.queues[queue], self._harness.key(key)
        self._bus(by).send(topic, key, self._queue.send(topic, key, value))

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

    @precondition(lambda self: self._deliveries)
    @rule(pick=PICKS, other=OWNERS, own=st.booleans())
    def renew(self, pick: int, other: str, own: bool) -> None:
        """Renew a lease that was once had, or somebody else's."""
        owner, delivery = self._deliveries[pick % len(self._deliveries)]
        owner = owner if own else other
        holds = self._queue.owns(delivery.id, owner)
        renewed = self._bus(owner).renew(delivery, owner, LEASE_S)
        if self._promises.once or holds:
            assert renewed == holds
        if holds:
            self._queue.renew(delivery.id, LEASE_S)

    @precondition(lambda self: self._deliveries)
    @rule(pick=PICKS, other=OWNERS, own=st.booleans())
    def acknowledge(self, pick: int, other: str, own: bool) -> None:
        """Acknowledge a task that was once had, or somebody else's."""
        owner, delivery = self._deliveries[pick % len(self._deliveries)]
        owner = owner if own else other
        self._bus(owner).acknowledge(delivery, owner)
        if self._queue.owns(delivery.id, owner):
            self._queue.end(delivery.id)

    @precondition(lambda self: self._deliveries)
    @rule(pick=PICKS)
    def discard(self, pick: int) -> None:
        """Discard a task that was once taken."""
        owner, delivery = self._deliveries[pick % len(self._deliveries)]
        self._bus(owner).discard(delivery)
        self._queue.end(delivery.id)

    @rule(owner=OWNERS)
    def crash(self, owner: str) -> None:
        """Kill an owner and reclaim its tasks."""
        self._harness.die(owner)
        self._members -= {(queue, owner) for queue in (0, 1)}
        released = self._bus("planner").reclaim(owner)
        held = self._queue.release(owner)
        for task in held:
            task.crashes += 1
        found = {(d.id, d.key, d.value, d.crashes) for d in released}
        expected = {(t.id, t.key, t.value, t.crashes) for t in held}
        assert found == expected if self._promises.once else found >= expected

    @rule(owner=OWNERS)
    def lose(self, owner: str) -> None:
        """Let leases end without a crash: those of one connection, or all after their time."""
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
        self._queue.backlog(topic, self._bus("planner").backlog(topic))

    @rule()
    def forget(self) -> None:
        """Forget all tasks while nobody works."""
        for owner in ("w1", "w2", "w3"):
            self.lose(owner)
        self._bus("planner").forget()
        self._queue.forget()

    # -- in the end --------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Read all, let one last worker do all that is left, and close."""
        try:
            for reader in ("planner", "last"):
                self.read(reader, (0, 1), 0, 1000, True)
            for owner in ("w1", "w2", "w3"):
                self.lose(owner)
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
        while left := self._harness.bus.backlog(topic):
            assert time.monotonic() < deadline, f"{left} tasks are counted that are over"

"""The member of a group, against a group that does what the test says."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Self, cast

import pytest
from kafka import ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from kafka.errors import IllegalGenerationError
from kafka.structs import MemberState

from fibstream.bus.kafka.lease import QueuedTask
from fibstream.bus.kafka.link import Link
from fibstream.bus.kafka.member import Limits, Member

from ..support.patience import PATIENCE_S

Records = dict[TopicPartition, list[SimpleNamespace]]
Move = Callable[[], Records | None]

PLACE = TopicPartition("tasks", 0)


class Group:
    """A topic of one partition, and a consumer that fetches when a test wants it to."""

    servers = "nowhere"

    def __init__(self, count: int) -> None:
        self.records = [
            SimpleNamespace(offset=n, key=f"cell/{n}".encode(), value=b"", timestamp=0)
            for n in range(count)
        ]
        self.committed = 0
        self.commits: Counter[int] = Counter()
        self.refuse = 0
        self._mine: set[TopicPartition] = set()
        self._position = 0
        self._moves: list[Move] = []
        self._turn = threading.Condition()
        self._turns = 0

    # -- as the test uses it ---------------------------------------------------------------------

    def then(self, move: Move) -> None:
        """Let the consumer make one move in its next poll, and wait until it has been seen."""
        with self._turn:
            self._moves.append(move)
            wanted = self._turns + 2  # the poll after it has begun: what it found is filed
            assert self._turn.wait_for(lambda: self._turns >= wanted, PATIENCE_S)
            assert self._turn.wait_for(lambda: not self._moves, PATIENCE_S)

    def come(self) -> None:
        """The partition is assigned; reading begins where was committed."""
        self._mine, self._position = {PLACE}, self.committed

    def go(self) -> None:
        """The partition is taken away."""
        self._listener.on_partitions_revoked({PLACE})
        self._mine = set()

    def fetch(self, count: int) -> Move:
        """The next records arrive."""

        def found() -> Records:
            records = self.records[self._position :][:count]
            self._position += len(records)
            return {PLACE: records} if records else {}

        return found

    # -- as the queue uses it --------------------------------------------------------------------

    def consumer(self, **_: object) -> Self:
        return self

    def subscribe(self, _: object, listener: ConsumerRebalanceListener) -> None:
        self._listener = listener

    def group_metadata(self) -> SimpleNamespace:
        return SimpleNamespace(state=MemberState.STABLE)

    def poll(self, timeout_ms: int) -> Records:
        with self._turn:
            self._turns += 1
            self._turn.notify_all()
            move = self._moves.pop(0) if self._moves else None
        if move is None:
            time.sleep(0.001)  # as a poll that finds nothing
            return {}
        return move() or {}

    def assignment(self) -> set[TopicPartition]:
        return set(self._mine)

    def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata], timeout_ms: int) -> None:
        if self.refuse:
            self.refuse -= 1
            raise IllegalGenerationError
        for place, found in offsets.items():
            assert place in self._mine
            self.committed = found.offset
            self.commits[found.offset] += 1

    def paused(self) -> set[TopicPartition]:
        return set()

    def end_offsets(
        self, places: Iterable[TopicPartition], timeout_ms: int
    ) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, self._position)

    def position(self, place: TopicPartition, timeout_ms: int) -> int:
        return self._position

    def close(self, **_: object) -> None:
        pass


@pytest.fixture
def member() -> Iterator[tuple[Group, Member]]:
    group = Group(4)
    worker = Member(cast("Link", group), "tasks", "g", "w", None, Limits(stall_s=60))
    group.then(group.come)
    yield group, worker
    worker.close()


def hold(worker: Member) -> QueuedTask:
    """Take a task that is there."""
    task = worker.take()
    assert task is not None
    return task


def test_what_is_done_is_committed(member: tuple[Group, Member]) -> None:
    group, worker = member
    group.then(group.fetch(4))
    held = [hold(worker) for _ in range(4)]
    assert worker.take() is None
    assert worker.done(PLACE, held[1].offset)
    assert group.committed == 0  # the first is under way
    assert worker.done(PLACE, held[0].offset)
    assert group.committed == 2


@pytest.mark.parametrize("again", [0, 1, 2, 4])
def test_done_means_that_it_never_comes_again(member: tuple[Group, Member], again: int) -> None:
    """A partition goes and comes back, and is fetched up to some record before a task ends."""
    group, worker = member
    group.then(group.fetch(4))
    held = [hold(worker) for _ in range(4)]
    group.then(group.go)
    group.then(group.come)
    if again:
        group.then(group.fetch(again))
    assert worker.take() is None  # all are held
    finished = {one.offset for one in held if worker.done(PLACE, one.offset)}
    assert finished == set(range(again))
    group.then(group.fetch(4))
    left = []
    while (one := worker.take()) is not None:
        left.append(one.offset)
    assert left == sorted(set(range(4)) - finished)  # their leases say that they are over
    assert all(worker.done(PLACE, offset) for offset in left)
    assert group.committed == 4


def test_a_commit_that_was_refused_is_made_up_for_without_a_later_task(
    member: tuple[Group, Member],
) -> None:
    group, worker = member
    group.then(group.fetch(1))
    held = hold(worker)
    group.refuse = 1
    assert not worker.done(PLACE, held.offset)
    deadline = time.monotonic() + PATIENCE_S
    while group.committed != 1:
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def test_a_task_that_was_put_back_is_taken_again(member: tuple[Group, Member]) -> None:
    group, worker = member
    group.then(group.fetch(2))
    first = hold(worker)
    worker.put_back(first)
    assert worker.take() == first
    worker.put_back(first, delay_s=60)
    assert hold(worker).offset == 1

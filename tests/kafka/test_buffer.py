"""What a member fetched, holds and commits, under any schedule."""

from collections.abc import Callable
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition

from fibstream.bus.kafka.buffer import TaskBuffer

PLACE = TopicPartition("tasks", 0)
RECORDS = [SimpleNamespace(offset=n, key=b"cell/1", value=b"", timestamp=0) for n in range(8)]


class World:
    """One partition that is fetched from where was committed, and a worker that finishes tasks."""

    def __init__(self) -> None:
        self.buffer = TaskBuffer(None)
        self.finished: set[int] = set()
        self.committed = 0
        self.come(0)

    def go(self, _: int) -> None:
        self.buffer.revoke({PLACE})

    def come(self, _: int) -> None:
        if not self.buffer.mine:
            self.buffer.mine = {PLACE}
            self._position = self.committed

    def fetch(self, count: int) -> None:
        """The next records arrive, too late if the partition is gone."""
        if found := RECORDS[self._position :][:count]:
            self.buffer.add({PLACE: found})
            self._position += len(found)

    def take(self, _: int) -> None:
        self.buffer.take(0.0)

    def put_back(self, pick: int) -> None:
        if held := list(self.buffer.held.values()):
            self.buffer.put_back(held[pick % len(held)], 0.0)

    def finish(self, pick: int) -> None:
        if held := list(self.buffer.held.values()):
            task = held[pick % len(held)]
            if self.buffer.remove(task.place, task.offset):
                self.finished.add(task.offset)
                self.committed = self.buffer.offsets()[PLACE].offset

    def check(self) -> None:
        assert set(range(self.committed)) <= self.finished
        assert self.buffer.mine or not self.buffer.waiting
        here = [task.offset for task in (*self.buffer.held.values(), *self.buffer.waiting)]
        assert len(here) == len(set(here))


Step = tuple[Callable[[World, int], None], int]
STEPS = [World.go, World.come, World.fetch, World.take, World.take, World.put_back, World.finish]


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 5)), min_size=20, max_size=40))
def test_a_commit_never_passes_an_unfinished_task(steps: list[Step]) -> None:
    world = World()
    for step, number in steps:
        step(world, number)
        world.check()
    world.come(0)
    for _ in RECORDS:  # nothing is lost
        world.fetch(len(RECORDS))
        world.take(0)
        world.finish(0)
    assert world.committed == len(RECORDS)

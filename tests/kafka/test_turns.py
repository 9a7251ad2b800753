"""A worker on a queue that datasets share takes a task of each in turn."""

import random
from collections import Counter
from types import SimpleNamespace

import pytest
from kafka import TopicPartition

from fibstream.bus.kafka.buffer import TaskBuffer
from fibstream.bus.kafka.member import FETCHED
from fibstream.runtime.planner import WINDOW

PLACES = [TopicPartition("tasks", number) for number in range(2)]


def fetched(names: list[str]) -> TaskBuffer:
    """Return a buffer with a task of each of these datasets, in two partitions."""
    buffer = TaskBuffer(None)
    buffer.mine = set(PLACES)
    for number, name in enumerate(names):
        key = f"{name}/x/0.0.{number}".encode()
        record = SimpleNamespace(offset=number, key=key, value=b"", timestamp=0)
        buffer.add({PLACES[number % 2]: [record]})
    return buffer


@pytest.mark.parametrize("seed", range(5))
def test_between_two_tasks_of_a_dataset_there_is_one_of_each_other_at_most(seed: int) -> None:
    rng = random.Random(seed)
    names = ["big"] * 60 + ["small"] * 5 + ["third"] * 9
    rng.shuffle(names)
    buffer = fetched(names)
    left = Counter(names)
    since: Counter[str] = Counter()
    while (task := buffer.take(0.0)) is not None:
        name = task.key.partition("/")[0]
        since.update(each for each in left if left[each])
        assert since.pop(name) <= len(names) and max(since.values(), default=0) < 3
        left[name] -= 1
        buffer.remove(task.place, task.offset)
    assert not left.total()


def test_tasks_of_one_dataset_come_in_their_order() -> None:
    buffer = fetched(["a"] * 6)
    taken = [buffer.take(0.0) for _ in range(6)]
    assert [task.offset for task in taken if task] == list(range(6))


def test_a_worker_sees_beyond_all_tasks_that_a_planner_has_under_way() -> None:
    assert FETCHED >= WINDOW

"""What the simulation loses and damages is gone for every reader, and nothing else is."""

import pytest

from ..support.files import content
from .outside import DamagedFiles, LossyBus

LOGS = ("a", "b")


def logged() -> LossyBus:
    bus = LossyBus()
    for n in range(6):
        bus.publish(LOGS[n % 2], f"k{n}", bytes([n]))
    return bus


def values(bus: LossyBus, after: int = 0, limit: int = 1000) -> list[int]:
    return [entry.value[0] for entry in bus.read(LOGS, after, limit)]


def test_a_lost_entry_is_read_by_nobody_and_pages_stay_full() -> None:
    bus = logged()
    for lost in (bus.all(LOGS)[1], bus.all(LOGS)[4]):
        bus.lose(lost)
    assert values(bus) == [0, 2, 3, 5]
    assert values(bus, limit=3) == [0, 2, 3]
    assert [e.value for e in bus.all(("b",))] == [b"\3", b"\5"]


@pytest.mark.parametrize("lost", [5, 4])
def test_the_end_is_that_of_what_is_left(lost: int) -> None:
    bus = logged()
    entries = bus.all(LOGS)
    for entry in entries[lost:]:
        bus.lose(entry)
    assert bus.end(LOGS) == entries[lost - 1].offset
    bus.publish("a", entries[-1].key, b"\7")
    assert values(bus) == [*range(lost), 7]
    assert bus.end(LOGS) == bus.all(LOGS)[-1].offset


def test_a_log_that_lost_all_is_empty() -> None:
    bus = logged()
    for entry in bus.all(LOGS):
        bus.lose(entry)
    assert (bus.end(LOGS), values(bus)) == (0, [])


def test_damage_keeps_the_generation_and_ends_with_the_next_put() -> None:
    files = DamagedFiles()
    files.put("a", b"12")
    files.put("b", b"3")
    before = files.open("a")
    files.damage("a", lambda data: data[::-1])
    files.damage("a", lambda data: data[:1])
    damaged = files.open("a")
    assert before is not None and damaged is not None
    assert damaged.generation == before.generation
    assert (content(files, "a"), content(files, "b")) == (b"2", b"3")
    assert not files.put("c", b"", expected=(99,))
    assert files.put("a", b"4", expected=damaged.generation)
    assert content(files, "a") == b"4"
    assert files.paths == ["a", "b"]

"""What the core asks of a bus, of every adapter alike: logs by key, and tasks under leases."""

import pytest

from fibstream.memory import MemoryBus
from fibstream.sqlite import SqliteBus


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
def bus(request, tmp_path, clock):
    made = MemoryBus(clock) if request.param == "memory" else SqliteBus(tmp_path / "bus", clock)
    yield made
    made.close()


def take(bus, owner="w1", topic="t", lease_s=10.0):
    return bus.take(topic, owner, lease_s)


def read(bus, topics, after=0):
    return [(e.topic, e.key, e.value) for e in bus.read(topics, after)]


# -- logs ------------------------------------------------------------------------------------------


def test_a_log_is_read_in_order_from_any_offset(bus):
    for n in range(4):
        bus.publish("t", f"k{n}", bytes([n]))
    entries = bus.read(["t"], 0)
    assert [e.value for e in entries] == [b"\0", b"\1", b"\2", b"\3"]
    offsets = [e.offset for e in entries]
    assert offsets == sorted(set(offsets))
    assert bus.read(["t"], offsets[1]) == entries[2:]
    assert bus.read(["t"], offsets[-1]) == []
    assert bus.end(["t"]) == offsets[-1]


def test_several_logs_are_read_as_one(bus):
    for topic in ("a", "b", "c", "a"):
        bus.publish(topic, f"k{bus.end(['a', 'b', 'c'])}", topic.encode())
    assert [e.topic for e in bus.read(["a", "c"], 0)] == ["a", "c", "a"]
    assert bus.end(["b"]) < bus.end(["c"]) < bus.end(["a"]) == bus.end(["a", "b", "c"])
    assert bus.read(["never"], 0) == []
    assert bus.end(["never"]) == 0


def test_a_limit_takes_the_oldest(bus):
    for n in range(5):
        bus.publish("t", str(n), b"")
    assert [e.key for e in bus.read(["t"], 0, limit=2)] == ["0", "1"]


def test_a_log_keeps_the_last_record_of_every_key(bus):
    bus.publish("t", "a", b"1")
    bus.publish("t", "b", b"2")
    before = bus.end(["t"])
    bus.publish("t", "a", b"3")
    bus.publish("u", "a", b"4")
    assert read(bus, ["t"]) == [("t", "b", b"2"), ("t", "a", b"3")]
    assert read(bus, ["t"], before) == [("t", "a", b"3")]
    assert read(bus, ["u"]) == [("u", "a", b"4")]


def test_clearing_a_log_leaves_the_others_and_never_repeats_an_offset(bus):
    bus.publish("t", "a", b"1")
    bus.publish("u", "a", b"2")
    last = bus.end(["t", "u"])
    bus.clear(["t", "u"])
    assert bus.read(["t", "u"], 0) == []
    bus.publish("t", "a", b"3")
    assert bus.end(["t"]) > last
    bus.publish("u", "a", b"4")
    bus.clear(["t"])
    assert read(bus, ["t", "u"]) == [("u", "a", b"4")]


# -- queues ----------------------------------------------------------------------------------------


def test_tasks_are_taken_in_the_order_they_were_sent(bus):
    for n in range(3):
        bus.send("t", f"k{n}", bytes([n]))
    bus.send("u", "k", b"other")
    taken = [take(bus) for _ in range(4)]
    assert [d and (d.key, d.value, d.crashes) for d in taken] == [
        ("k0", b"\0", 0), ("k1", b"\1", 0), ("k2", b"\2", 0), None,
    ]  # fmt: skip
    assert take(bus, topic="u").value == b"other"


def test_a_task_that_waits_is_replaced_and_goes_to_the_end(bus):
    bus.send("t", "a", b"old")
    bus.send("t", "b", b"b")
    bus.send("t", "a", b"new")
    assert bus.backlog("t") == 2
    assert [take(bus).value for _ in range(2)] == [b"b", b"new"]


def test_a_task_that_is_held_is_not_replaced(bus):
    bus.send("t", "a", b"old")
    held = take(bus)
    bus.send("t", "a", b"new")
    assert bus.backlog("t") == 2
    bus.acknowledge(held, "w1")
    assert take(bus).value == b"new"


def test_the_same_key_on_two_queues_is_two_tasks(bus):
    bus.send("t", "a", b"1")
    bus.send("u", "a", b"2")
    assert (take(bus).value, take(bus, topic="u").value) == (b"1", b"2")


def test_a_task_is_nobody_elses_until_its_lease_is_over(bus, clock):
    bus.send("t", "a", b"x")
    first = take(bus, "w1", lease_s=10)
    clock.now += 10
    assert take(bus, "w2") is None
    clock.now += 0.001
    again = take(bus, "w2")
    assert again == first
    assert not bus.renew(first, "w1", 10)


def test_a_renewed_lease_lasts_from_then_on(bus, clock):
    bus.send("t", "a", b"x")
    held = take(bus, "w1", lease_s=10)
    clock.now += 9
    assert bus.renew(held, "w1", 10)
    clock.now += 9
    assert take(bus, "w2") is None
    clock.now += 2
    assert take(bus, "w2") is not None


def test_a_renewal_of_what_is_done_fails(bus):
    bus.send("t", "a", b"x")
    held = take(bus)
    assert not bus.renew(held, "another", 10)
    bus.acknowledge(held, "w1")
    assert not bus.renew(held, "w1", 10)


def test_an_acknowledgement_by_a_former_owner_does_nothing(bus, clock):
    bus.send("t", "a", b"x")
    held = take(bus, "w1")
    clock.now += 11
    take(bus, "w2")
    bus.acknowledge(held, "w1")
    assert bus.backlog("t") == 1
    bus.acknowledge(held, "w2")
    assert bus.backlog("t") == 0
    bus.acknowledge(held, "w2")


def test_a_lease_that_ran_out_is_still_its_owners_while_nobody_took_the_task(bus, clock):
    bus.send("t", "a", b"x")
    held = take(bus, "w1")
    clock.now += 11
    assert bus.renew(held, "w1", 10)
    assert take(bus, "w2") is None
    clock.now += 11
    bus.acknowledge(held, "w1")
    assert bus.backlog("t") == 0


def test_the_tasks_of_a_dead_owner_are_free_and_carry_its_crash(bus):
    for key in ("a", "b", "c"):
        bus.send("t", key, b"")
    mine = [take(bus, "w1"), take(bus, "w1")]
    take(bus, "w2")
    buried = bus.bury("w1")
    assert sorted((d.id, d.key, d.crashes) for d in buried) == [
        (mine[0].id, "a", 1), (mine[1].id, "b", 1),
    ]  # fmt: skip
    assert bus.bury("w1") == []
    again = take(bus, "w3")
    assert (again.key, again.crashes) == ("a", 1)
    assert [d.crashes for d in bus.bury("w3")] == [2]


def test_a_crash_stays_with_the_same_task_and_not_with_another_of_its_key(bus):
    bus.send("t", "a", b"x")
    take(bus)
    bus.bury("w1")
    bus.send("t", "a", b"x")
    assert take(bus).crashes == 1
    bus.bury("w1")
    bus.send("t", "a", b"y")
    assert take(bus).crashes == 0


def test_of_two_free_tasks_of_one_key_the_most_crashes_are_kept(bus, clock):
    bus.send("t", "a", b"x")
    take(bus)
    bus.bury("w1")
    take(bus, "w2")
    bus.send("t", "a", b"x")  # a second one, for the first is held
    clock.now += 11  # until its lease is over
    bus.send("t", "a", b"x")
    assert bus.backlog("t") == 1
    assert take(bus).crashes == 1


def test_a_discarded_task_is_gone_whoever_holds_it(bus):
    bus.send("t", "a", b"x")
    bus.send("t", "b", b"y")
    held = take(bus)
    bus.discard(held)
    bus.discard(held)
    assert not bus.renew(held, "w1", 10)
    assert bus.backlog("t") == 1
    assert take(bus).key == "b"


def test_a_backlog_counts_what_is_held_and_what_waits(bus):
    bus.send("t", "a", b"")
    bus.send("t", "b", b"")
    bus.send("u", "a", b"")
    held = take(bus)
    assert (bus.backlog("t"), bus.backlog("u"), bus.backlog("never")) == (2, 1, 0)
    bus.acknowledge(held, "w1")
    assert bus.backlog("t") == 1


def test_forgetting_drops_every_task_and_no_record(bus):
    bus.publish("t", "a", b"")
    bus.send("t", "a", b"")
    bus.send("u", "b", b"")
    take(bus)
    bus.forget()
    assert take(bus) is take(bus, topic="u") is None
    assert bus.backlog("t") == bus.backlog("u") == 0
    assert len(bus.read(["t"], 0)) == 1

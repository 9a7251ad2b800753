"""What the core asks of a bus, of every adapter alike: logs by key, and tasks under leases.

Where adapters differ, the contract is what holds for all: a log has *at least* the last record of
every key, and a queue delivers *at least* the newest task of every key.
"""

import pytest

from fibstream.bus.memory import MemoryBus
from fibstream.bus.sqlite import SqliteBus

from .conftest import Bench


def publish(bench: Bench, log: int, name: str, value: bytes) -> None:
    bench.bus.publish(bench.logs[log], bench.key(name), value)


def send(bench: Bench, name: str, value: bytes = b"", queue: int = 0) -> None:
    bench.bus.send(bench.queues[queue], bench.key(name), value)


def everything(bus, logs, after=0, limit=1000):
    """Read until nothing is left."""
    entries = []
    while found := bus.read(logs, after, limit):
        assert len(found) <= limit
        entries += found
        after = found[-1].offset
    return entries


def last(entries):
    """Return what a reader keeps: the last record of every key, in order."""
    kept = {}
    for entry in entries:
        kept.pop((entry.topic, entry.key), None)
        kept[entry.topic, entry.key] = entry.value
    return [(topic, key.partition("/")[2], value) for (topic, key), value in kept.items()]


# -- logs ------------------------------------------------------------------------------------------


def test_a_log_is_read_in_order_from_any_offset(bench, bus):
    log = bench.logs[0]
    for n in range(4):
        publish(bench, 0, f"k{n}", bytes([n]))
    entries = bus.read([log], 0)
    assert [e.value for e in entries] == [b"\0", b"\1", b"\2", b"\3"]
    offsets = [e.offset for e in entries]
    assert offsets == sorted(set(offsets))
    assert bus.read([log], offsets[1]) == entries[2:]
    assert bus.read([log], offsets[-1]) == []
    assert bus.end([log]) == offsets[-1]
    assert bus.read([log], 0) == entries


def test_a_log_has_what_was_written_before_the_look(bench, bus):
    log, offset = bench.logs[0], 0
    for n in range(5):
        publish(bench, 0, f"k{n}", bytes([n]))
        (entry,) = bus.read([log], offset)
        assert entry == (bus.end([log]), log, bench.key(f"k{n}"), bytes([n]))
        offset = entry.offset


def test_several_logs_are_read_as_one(bench, bus):
    a, b, c = bench.logs
    for n, log in enumerate((0, 1, 2, 0)):
        publish(bench, log, f"k{n}", b"")
    entries = bus.read([a, c], 0)
    assert sorted(e.topic for e in entries) == sorted([a, a, c])
    assert [e.key for e in entries if e.topic == a] == [bench.key("k0"), bench.key("k3")]
    offsets = [e.offset for e in entries]
    assert offsets == sorted(set(offsets))
    assert bus.end([c, a]) == offsets[-1]
    assert bus.end([b]) <= bus.end([a, b, c])


def test_reading_goes_on_where_it_was(bench, bus):
    logs = bench.logs[:2]
    for n in range(7):
        publish(bench, n % 2, f"k{n}", b"")
    seen = everything(bus, logs, limit=2)
    assert len({e.key for e in seen}) == len(seen) == 7
    assert seen[-1].offset == bus.end(logs)


def test_reading_may_begin_at_the_end(bench, bus):
    logs = bench.logs[:2]
    publish(bench, 0, "a", b"1")
    publish(bench, 1, "b", b"2")
    end = bus.end(logs)
    publish(bench, 0, "c", b"3")
    assert last(everything(bus, logs, end)) == [(logs[0], "c", b"3")]


def test_an_empty_log_ends_at_nothing(bench, bus):
    assert bus.read([bench.logs[1]], 0) == []
    assert bus.end([bench.logs[1]]) == 0
    assert bus.read([], 0) == []


def test_a_limit_takes_the_oldest(bench, bus):
    for n in range(5):
        publish(bench, 0, str(n), b"")
    found = bus.read([bench.logs[0]], 0, limit=2)
    assert [e.key for e in found] == [bench.key("0"), bench.key("1")]


def test_a_log_has_at_least_the_last_record_of_every_key(bench, bus):
    t, u, _ = bench.logs
    publish(bench, 0, "a", b"1")
    publish(bench, 0, "b", b"2")
    before = bus.end([t])
    publish(bench, 0, "a", b"3")
    publish(bench, 1, "a", b"4")
    assert last(everything(bus, [t])) == [(t, "b", b"2"), (t, "a", b"3")]
    assert last(everything(bus, [t], before)) == [(t, "a", b"3")]
    assert last(everything(bus, [u])) == [(u, "a", b"4")]


def test_another_bus_sees_the_same_and_ends_alike(bench, bus):
    logs = bench.logs[:2]
    for n in range(6):
        publish(bench, n % 2, f"k{n % 4}", bytes([n]))
    other = bench.worker("reader")
    assert sorted(last(everything(other, logs))) == sorted(last(everything(bus, logs)))
    assert other.end(logs) == bus.end(logs)


@pytest.mark.parametrize("make", [lambda _: MemoryBus(), lambda at: SqliteBus(at / "bus")])
def test_clearing_a_log_leaves_the_others_and_never_repeats_an_offset(make, tmp_path):
    bus = make(tmp_path)
    bus.publish("t", "a", b"1")
    bus.publish("u", "a", b"2")
    end = bus.end(["t", "u"])
    bus.clear(["t", "u"])
    assert bus.read(["t", "u"], 0) == []
    bus.publish("t", "a", b"3")
    assert bus.end(["t"]) > end
    bus.publish("u", "a", b"4")
    bus.clear(["t"])
    assert [e.value for e in bus.read(["t", "u"], 0)] == [b"4"]
    bus.close()


# -- queues ----------------------------------------------------------------------------------------


def test_every_task_is_taken_once(bench):
    for n in range(3):
        send(bench, f"k{n}", bytes([n]))
    send(bench, "k", b"other", queue=1)
    taken = [bench.take() for _ in range(3)]
    assert sorted((d.key, d.value, d.crashes) for d in taken) == [
        (bench.key(f"k{n}"), bytes([n]), 0) for n in range(3)
    ]
    assert len({d.id for d in taken}) == 3
    assert bench.nothing()
    assert bench.take(queue=1).value == b"other"


def test_of_one_key_at_least_the_newest_task_comes_and_it_comes_last(bench, bus):
    send(bench, "a", b"old")
    send(bench, "b", b"b")
    send(bench, "a", b"new")
    values = []
    while bus.backlog(bench.queues[0]):
        found = bench.take()
        values.append(found.value)
        bench.worker("w1").acknowledge(found, "w1")
    assert set(values) - {b"old"} == {b"b", b"new"}
    assert [v for v in values if v != b"b"][-1] == b"new"
    assert len(values) == len(set(values))


def test_a_task_that_is_held_is_not_replaced(bench, bus):
    send(bench, "a", b"old")
    held = bench.take()
    send(bench, "a", b"new")
    assert bus.backlog(bench.queues[0]) == 2
    bench.worker("w1").acknowledge(held, "w1")
    assert bench.take().value == b"new"


def test_the_same_key_on_two_queues_is_two_tasks(bench):
    send(bench, "a", b"1")
    send(bench, "a", b"2", queue=1)
    assert (bench.take().value, bench.take(queue=1).value) == (b"1", b"2")


def test_a_task_is_nobody_elses_until_its_holder_is_lost(bench):
    send(bench, "a", b"x")
    first = bench.take("w1")
    assert bench.nothing("w2")
    assert bench.worker("w1").renew(first, "w1", 10)
    assert bench.nothing("w2")
    bench.lose("w1")
    again = bench.take("w2")
    assert again == first  # no crash: nobody saw one
    assert not bench.worker("w3").renew(first, "w1", 10)


def test_a_renewed_lease_lasts_from_then_on(bench):
    send(bench, "a", b"x")
    held = bench.take("w1")
    bench.clock.now += 9
    assert bench.worker("w1").renew(held, "w1", 10)
    bench.clock.now += 9
    assert bench.nothing("w2")
    assert bench.worker("w1").renew(held, "w1", 10)


def test_a_renewal_of_what_is_done_fails(bench):
    send(bench, "a", b"x")
    held, bus = bench.take(), bench.worker("w1")
    assert not bus.renew(held, "another", 10)
    bus.acknowledge(held, "w1")
    assert not bus.renew(held, "w1", 10)


def test_an_acknowledgement_by_a_former_owner_does_nothing(bench, bus):
    send(bench, "a", b"x")
    held = bench.take("w1")
    bench.lose("w1")
    again = bench.take("w2")
    bench.worker("w1").acknowledge(held, "w1")
    assert bus.backlog(bench.queues[0]) == 1
    bench.worker("w2").acknowledge(again, "w2")
    assert bus.backlog(bench.queues[0]) == 0
    bench.worker("w2").acknowledge(again, "w2")


@pytest.mark.parametrize("bench", ["memory", "sqlite"], indirect=True)  # Kafka's have no end
def test_a_lease_that_ran_out_is_still_its_owners_while_nobody_took_the_task(bench, bus):
    send(bench, "a", b"x")
    held = bench.take("w1")
    bench.clock.now += 11
    assert bench.worker("w1").renew(held, "w1", 10)
    assert bench.nothing("w2")
    bench.clock.now += 11
    bench.worker("w1").acknowledge(held, "w1")
    assert bus.backlog(bench.queues[0]) == 0


def test_the_tasks_of_a_dead_owner_are_free_and_carry_its_crash(bench, bus):
    for key in ("a", "b", "c"):
        send(bench, key)
    held = {d.key: d for d in (bench.take("w1"), bench.take("w1"))}
    bench.die("w1")
    buried = bus.reclaim("w1")
    assert sorted((d.id, d.key, d.crashes) for d in buried) == sorted(
        (d.id, d.key, 1) for d in held.values()
    )
    assert bus.reclaim("w1") == []
    crashes = {d.key: d.crashes for d in (bench.take("w3") for _ in range(3))}
    assert crashes == {bench.key(k): int(bench.key(k) in held) for k in "abc"}
    assert sorted(d.crashes for d in bus.reclaim("w3")) == [1, 2, 2]


def test_a_crash_stays_with_the_same_task_and_not_with_another_of_its_key(bench, bus):
    send(bench, "a", b"x")
    bench.take("w1")
    bench.die("w1")
    bus.reclaim("w1")
    send(bench, "a", b"x")
    assert bench.take("w2").crashes == 1
    bench.die("w2")
    bus.reclaim("w2")
    send(bench, "a", b"y")
    crashes = []
    while (found := bench.take("w3")).value == b"x":
        crashes.append(found.crashes)
        bench.worker("w3").acknowledge(found, "w3")
    assert crashes in ([], [2], [2, 0])  # replaced, or both: once it is done, an equal one is new
    assert (found.value, found.crashes) == (b"y", 0)


@pytest.mark.parametrize("bench", ["memory", "sqlite"], indirect=True)  # Kafka replaces nothing
def test_of_two_free_tasks_of_one_key_the_most_crashes_are_kept(bench, bus):
    send(bench, "a", b"x")
    bench.take("w1")
    bus.reclaim("w1")
    bench.take("w2")
    send(bench, "a", b"x")  # a second one, for the first is held
    bench.lose("w2")
    send(bench, "a", b"x")
    assert bus.backlog(bench.queues[0]) == 1
    assert bench.take("w3").crashes == 1


def test_a_discarded_task_is_gone_for_its_holder_and_the_next_one_is_new(bench, bus):
    send(bench, "a", b"x")
    worker, held = bench.worker("w1"), bench.take("w1")
    worker.discard(held)
    worker.discard(held)
    assert not worker.renew(held, "w1", 10)
    assert bus.backlog(bench.queues[0]) == 0
    send(bench, "a", b"x")
    assert bench.take("w1").crashes == 0


def test_a_task_that_was_discarded_by_another_never_comes_again(bench, bus):
    send(bench, "a", b"x")
    bench.take("w1")
    bench.die("w1")
    (buried,) = bus.reclaim("w1")
    bus.discard(buried)
    send(bench, "b", b"y")
    assert bench.take("w2").key == bench.key("b")
    assert bench.nothing("w2")
    assert bus.backlog(bench.queues[0]) == 1


def test_a_backlog_counts_what_is_held_and_what_waits(bench, bus):
    first, second = bench.queues
    send(bench, "a")
    send(bench, "b")
    send(bench, "a", queue=1)
    held = bench.take()
    assert (bus.backlog(first), bus.backlog(second)) == (2, 1)
    bench.worker("w1").acknowledge(held, "w1")
    assert bus.backlog(first) == 1


def test_forgetting_drops_every_task_and_no_record(bench, bus):
    publish(bench, 0, "a", b"")
    send(bench, "a")
    send(bench, "b", queue=1)
    bench.take()
    bench.lose("w1")
    bus.forget()
    assert bench.nothing("w2")
    assert bench.nothing("w2", queue=1)
    assert [bus.backlog(queue) for queue in bench.queues] == [0, 0]
    assert len(bus.read([bench.logs[0]], 0)) == 1

"""What only Kafka has: declared topics, groups, brokers that go and come, processes that die."""

import itertools
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from fibstream.bus import wire
from fibstream.bus.kafka import log as kafka_log
from fibstream.bus.kafka.bus import KafkaBus
from fibstream.bus.kafka.link import declare
from fibstream.bus.topics import partition_of
from fibstream.core.errors import Retryable, WrongUse
from fibstream.runtime.root import Root

from ..support.broker import running, skip_or_fail

RAW = wire.ledger_topic("raw")
TASKS = wire.task_topic("refine")
PATIENCE_S = 30.0  # on a busy machine
BOUND_S = 15.0  # of one call while the broker is away, on a busy machine


def eventually(condition, what):
    """Return the first true value of a condition."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        Event().wait(0.02)
    return found


def take(bus, owner="w1", topic=TASKS):
    def look():
        try:
            found = bus.take(topic, owner, 10)
        except Retryable:  # it is not back in its group yet
            found = None
        if found is None:
            bus.wait(0.1)
        return found

    return eventually(look, "no task came")


def drain(bus, owner="w1"):
    """Take and acknowledge whatever is there."""
    keys = []
    while bus.backlog(TASKS):
        found = take(bus, owner)
        keys.append(found.key)
        bus.acknowledge(found, owner)
    return keys


def everything(bus, logs):
    entries, after = [], 0
    while found := bus.read(logs, after):
        entries += found
        after = found[-1].offset
    return entries


# -- topics ----------------------------------------------------------------------------------------


def test_declaring_again_changes_nothing(broker):
    assert declare(broker.servers) == []


def test_a_topic_that_is_cleaned_up_otherwise_is_named(broker, dataset):
    name = wire.task_topic(dataset)
    with closing(KafkaAdminClient(bootstrap_servers=broker.servers)) as admin:
        admin.create_topics({name: {"num_partitions": 1, "configs": {"cleanup.policy": "compact"}}})
    with pytest.raises(WrongUse, match=rf"{name} has cleanup.policy=compact, expected delete"):
        declare(broker.servers, [dataset])


def test_a_topic_that_was_never_declared_is_wrong_use_and_is_not_made(broker, connect, dataset):
    bus, log, queue = connect(), f"fibstream.{dataset}", wire.task_topic(dataset)
    calls = [
        lambda: bus.publish(log, dataset, b""),
        lambda: bus.read([log], 0),
        lambda: bus.end([log]),
        lambda: bus.send(queue, dataset, b""),
        lambda: bus.take(queue, "w", 1),
        lambda: bus.backlog(queue),
    ]
    for call in calls:
        with pytest.raises(WrongUse, match="declare"):
            call()
    with closing(KafkaAdminClient(bootstrap_servers=broker.servers)) as admin:
        assert not {log, queue} & set(admin.list_topics())


def test_every_record_carries_its_headers(broker, connect, dataset):
    key = f"{dataset}/raw/0.0.1"
    connect().publish(RAW, key, b"value")
    place = TopicPartition(RAW, partition_of(RAW, key, 8))
    reader = KafkaConsumer(bootstrap_servers=broker.servers, auto_offset_reset="earliest")
    with closing(reader):
        reader.assign([place])

        def look():
            found = reader.poll(timeout_ms=500).get(place, [])
            return next((record for record in found if record.key == key.encode()), None)

        record = eventually(look, "the record did not come")
    found = dict(record.headers)
    assert (record.value, found["ce_subject"]) == (b"value", key.encode())
    assert {"ce_id", "ce_specversion", "ce_source", "ce_type", "traceparent"} < found.keys()


# -- logs ------------------------------------------------------------------------------------------


def test_two_datasets_in_one_partition_do_not_see_each_other(connect, dataset):
    names = (f"{dataset}-{n}" for n in itertools.count())
    wanted = partition_of(RAW, dataset, 8)
    other = next(name for name in names if partition_of(RAW, name, 8) == wanted)
    mine, theirs, both = connect(), connect(other), connect(None)
    for n in range(3):
        mine.publish(RAW, f"{dataset}/{n}", b"mine")
        theirs.publish(RAW, f"{other}/{n}", b"theirs")
    assert [e.value for e in everything(mine, [RAW])] == [b"mine"] * 3
    assert [e.value for e in everything(theirs, [RAW])] == [b"theirs"] * 3
    end = mine.end([RAW])
    theirs.publish(RAW, f"{other}/4", b"theirs")
    assert mine.end([RAW]) == end
    seen = Counter(wire.dataset_of(e.key) for e in everything(both, [RAW]))
    assert (seen[dataset], seen[other]) == (3, 4)


def test_a_wait_ends_when_another_process_writes(connect, dataset):
    bus, other = connect(), connect()
    bus.read([RAW], 0)
    bus.wait(0)
    writer = Thread(target=other.publish, args=(RAW, f"{dataset}/1", b""))
    begun = time.monotonic()
    writer.start()
    bus.wait(PATIENCE_S)
    assert time.monotonic() - begun < PATIENCE_S / 2
    writer.join()
    assert [e.key for e in bus.read([RAW], 0)] == [f"{dataset}/1"]
    bus.wait(0.01)  # and says nothing when nothing comes


def test_a_log_larger_than_all_that_is_read_ahead_is_read_whole(connect, dataset, monkeypatch):
    monkeypatch.setattr(kafka_log, "BUFFER", 50)
    monkeypatch.setattr(kafka_log, "BATCH", 20)
    logs = [RAW, wire.OBJECTS]
    writer, reader = connect(), connect(keep=10)
    for n in range(300):
        writer._send(logs[n % 2], f"{dataset}/{n % 200}", str(n).encode())
    writer._flush()
    end = reader.end(logs)  # counted by a consumer of its own
    assert end == writer.end(logs)
    writer.publish(RAW, f"{dataset}/last", b"300")
    reader.read([wire.CONTROL], 0)  # lets more of the large logs in than there is room for
    assert reader.end(logs) > end
    entries = everything(reader, logs)
    assert sorted(int(e.value) for e in entries) == list(range(301))
    assert entries[-1].offset == reader.end(logs)
    assert [e.value for e in reader.read(logs, 0, 5)] == [e.value for e in entries[:5]]


def test_an_offset_that_cannot_be_found_again_is_wrong_use(connect, dataset):
    bus = connect(keep=1)
    for n in range(4):
        bus.publish(RAW, f"{dataset}/{n}", b"")
        bus.publish(wire.OBJECTS, f"{dataset}/{n}", b"")
    first, *_, last = everything(bus, [RAW, wire.OBJECTS])
    assert bus.read([RAW, wire.OBJECTS], last.offset) == []
    with pytest.raises(WrongUse, match=f"offset {first.offset}"):
        bus.read([RAW, wire.OBJECTS], first.offset)


def test_compaction_keeps_what_a_reader_needs(broker, connect, dataset):
    topic = f"fibstream.chunk-ready.{dataset}"
    config = {"cleanup.policy": "compact", "segment.ms": "50", "min.cleanable.dirty.ratio": "0.01"}
    with closing(KafkaAdminClient(bootstrap_servers=broker.servers)) as admin:
        admin.create_topics({topic: {"num_partitions": 2, "configs": config}})
        eventually(lambda: topic in admin.list_topics(), "the topic was not made")
    bus = connect()
    for n in range(100):
        bus.publish(topic, f"{dataset}/{n % 10}", str(n).encode())
    before = bus.end([topic])

    def compacted():
        bus.publish(topic, f"{dataset}/9", b"99")  # a new segment, so that the last is cleaned
        with closing(connect(keep=0)) as fresh:
            found = everything(fresh, [topic])
            return found if len({e.value for e in found}) < 90 else None

    found = eventually(compacted, "it was not compacted")
    assert {e.key: e.value for e in found} == {
        f"{dataset}/{n}": str(90 + n).encode() for n in range(10)
    }
    assert found[-1].offset == bus.end([topic]) > before


def test_a_consumer_that_stalls_is_opened_anew(connect, dataset, caplog):
    bus, other = connect(stall_s=0.5), connect()
    other.publish(RAW, f"{dataset}/1", b"1")
    (first,) = bus.read([RAW], 0)
    consumer = bus._follower._consumer
    consumer.pause(*consumer.assignment())  # silent, as the client's own bugs make it
    other.publish(RAW, f"{dataset}/2", b"2")
    assert [e.value for e in bus.read([RAW], first.offset)] == [b"2"]
    assert bus._follower.restarts == 1
    assert "stalled" in caplog.text


def test_a_worker_that_stalls_joins_anew(connect, dataset, caplog):
    bus = connect(stall_s=0.8)
    bus.send(TASKS, f"{dataset}/1", b"1")
    bus.acknowledge(take(bus), "w1")
    queue = bus._queues[TASKS]
    queue._pace = lambda: queue._consumer.pause(*queue._consumer.assignment())
    Event().wait(0.2)  # longer than a poll
    bus.send(TASKS, f"{dataset}/2", b"2")
    eventually(lambda: queue.restarts, "it did not notice")
    del queue._pace
    assert take(bus).value == b"2"
    assert "behind the end" in caplog.text


# -- groups ----------------------------------------------------------------------------------------


def test_private_groups_see_their_own_tasks_and_a_shared_one_all(connect, dataset):
    names = [f"{dataset}-{n}" for n in range(2)]
    private = [connect(name) for name in names]
    shared = connect(None)
    for name, bus in zip(names, private, strict=True):
        for n in range(5):
            bus.send(TASKS, f"{name}/{n}", b"")
        assert bus.backlog(TASKS) == 5
    for name, bus in zip(names, private, strict=True):
        assert sorted(drain(bus)) == [f"{name}/{n}" for n in range(5)]
    wanted = {f"{name}/{n}" for name in names for n in range(5)}
    seen = set()
    while not wanted <= seen:  # what other tests left is there, too
        found = take(shared, "shared")
        shared.acknowledge(found, "shared")
        seen.add(found.key)


def test_a_task_longer_than_the_poll_interval_is_not_delivered_again(connect, dataset):
    bus = connect(poll_interval_s=2.0)
    bus.send(TASKS, f"{dataset}/long", b"")
    held = take(bus)
    over = time.monotonic() + 5  # the time itself is what is tested
    other = connect(poll_interval_s=2.0)
    while time.monotonic() < over:
        assert other.take(TASKS, "w2", 10) is None
        other.wait(0.2)
    assert bus.renew(held, "w1", 10)
    bus.acknowledge(held, "w1")

    def settled():
        assert other.take(TASKS, "w2", 10) is None
        return bus.backlog(TASKS) == 0

    eventually(settled, "it was not taken off")


def test_a_worker_that_joins_in_the_middle_neither_loses_nor_repeats_a_task(connect, dataset):
    planner, first, second = connect(), connect(), connect()
    wanted = [f"{dataset}/{n}" for n in range(40)]
    for key in wanted:
        planner.send(TASKS, key, b"")
    held = take(first)
    second.take(TASKS, "w2", 10)  # joins; the held task's partition may move to it
    eventually(lambda: second._queues[TASKS]._mine, "the second got no partition")
    taken = [held.key]
    first.acknowledge(held, "w1")
    deadline = time.monotonic() + PATIENCE_S
    by = Counter()
    while planner.backlog(TASKS):
        for bus, owner in ((first, "w1"), (second, "w2")):
            if (found := bus.take(TASKS, owner, 10)) is not None:
                by[owner] += 1
                taken.append(found.key)
                bus.acknowledge(found, owner)
        assert time.monotonic() < deadline, f"left: {set(wanted) - set(taken)}"
    assert Counter(taken) == Counter(wanted)
    assert set(by) == {"w1", "w2"}


def test_a_holder_whose_partition_moved_finishes_its_task(connect, dataset):
    planner, first = connect(), connect()
    for n in range(16):
        planner.send(TASKS, f"{dataset}/{n}", b"")
    held = [take(first) for _ in range(16)]
    second = connect()
    second.take(TASKS, "w2", 10)
    moved = eventually(lambda: second._queues[TASKS]._mine, "the second got no partition")
    assert eventually(lambda: second._queues[TASKS]._waiting, "nothing moved")
    assert second.take(TASKS, "w2", 10) is None  # all are held by somebody who lives
    assert all(first.renew(one, "w1", 10) for one in held)
    for one in held:
        first.acknowledge(one, "w1")

    def settled():
        assert second.take(TASKS, "w2", 10) is None
        return planner.backlog(TASKS) == 0

    assert moved
    eventually(settled, "what the first finished was not taken off")


def test_a_task_whose_partition_goes_and_comes_back_is_not_taken_twice(connect, dataset):
    planner, first, second = connect(), connect(), connect()
    for n in range(16):
        planner.send(TASKS, f"{dataset}/{n}", b"")
    held = [take(first) for _ in range(16)]
    mine = first._queues[TASKS]
    second.take(TASKS, "w2", 10)
    eventually(lambda: second._queues[TASKS]._waiting, "nothing moved")
    second._queues[TASKS].close()
    eventually(lambda: len(mine._mine) == 8, "the partitions did not come back")
    fetched = eventually(lambda: len(mine._next) == len({h.id >> 32 & 0xFFF for h in held}), "")
    assert fetched
    assert first.take(TASKS, "w1", 10) is None
    for one in held:
        first.acknowledge(one, "w1")

    def settled():
        assert first.take(TASKS, "w1", 10) is None
        return planner.backlog(TASKS) == 0

    eventually(settled, "what was finished was not taken off")


def test_a_holder_that_is_killed_is_missed_and_the_crash_counted(broker, connect, dataset):
    planner, other = connect(), connect()
    planner.send(TASKS, f"{dataset}/a", b"x")
    command = [
        sys.executable,
        Path(__file__).with_name("holder.py"),
        broker.servers,
        dataset,
        TASKS,
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"held\n"
        assert other.take(TASKS, "w2", 10) is None
        child.kill()
    found = take(other, "w2")  # nobody buried it: its session ran out
    assert (found.key, found.value, found.crashes) == (f"{dataset}/a", b"x", 1)
    other.acknowledge(found, "w2")
    assert planner.backlog(TASKS) == 0


# -- a broker that goes and comes ------------------------------------------------------------------


@pytest.fixture
def own():
    """A broker that a test may end."""
    skip_or_fail()
    with running() as one:
        declare(one.servers)
        yield one


def refused(call):
    """Whether a call raises Retryable within its bound."""
    begun = time.monotonic()
    with pytest.raises(Retryable):
        call()
    assert time.monotonic() - begun < BOUND_S


@pytest.mark.timeout(240)
def test_a_broker_that_is_killed_loses_nothing_and_holds_nobody(own):
    with closing(KafkaBus(own.servers, "d", private=True)) as bus:
        for n in range(50):
            bus.publish(RAW, f"d/{n}", str(n).encode())
        for n in range(5):
            bus.send(TASKS, f"d/{n}", b"")
        assert bus.backlog(TASKS) == 5
        held = take(bus)
        end = bus.end([RAW])
        own.kill()
        calls = [
            lambda: bus.publish(RAW, "d/50", b"50"),
            lambda: bus.read([RAW], end),
            lambda: bus.backlog(TASKS),
            lambda: bus.acknowledge(held, "w1"),
        ]
        with ThreadPoolExecutor(len(calls)) as pool:
            list(pool.map(refused, calls))
        bus.send(TASKS, "d/lost", b"")
        refused(lambda: bus.wait(1))  # the task that was not taken is told of
        own.start()
        published = eventually(lambda: attempt(lambda: bus.publish(RAW, "d/50", b"50")), "away")
        assert published
        assert {int(e.value) for e in everything(bus, [RAW])} == set(range(51))
        bus.acknowledge(held, "w1")
        assert bus.backlog(TASKS) in (4, 5)  # told as lost, it may yet have come
        assert {f"d/{n}" for n in range(5)} - {held.key} <= set(drain(bus))
        with closing(KafkaBus(own.servers, "d")) as fresh:
            assert {int(e.value) for e in everything(fresh, [RAW])} == set(range(51))
            assert fresh.end([RAW]) == bus.end([RAW])


def attempt(call):
    try:
        call()
    except Retryable:
        return False
    return True


def test_a_broker_that_was_never_there_is_told_of_in_time():
    bus = KafkaBus("127.0.0.1:1", "d")
    refused(lambda: bus.publish(RAW, "d/1", b""))
    refused(lambda: bus.read([RAW], 0))
    refused(lambda: declare("127.0.0.1:1"))
    bus.close()


def test_workers_of_another_team_take_nothing_away(broker, dataset):
    """Two deployments share a broker: each has all its tasks, and no lease of the other's."""
    first, second = (
        KafkaBus(broker.servers, deployment="one"),
        KafkaBus(broker.servers, deployment="two"),
    )
    with closing(first), closing(second):
        for bus in (first, second):
            bus.skip()  # as a new root does: what other tests sent is not theirs
        wanted = {f"{dataset}/{n}" for n in range(6)}
        for key in wanted:
            first.send(TASKS, key, b"")
        for bus, owner in ((first, "w1"), (second, "w2")):
            taken = set()
            while taken < wanted:
                found = take(bus, owner)
                assert found.crashes == 0
                if found.key in wanted:
                    taken.add(found.key)
                else:
                    bus.acknowledge(found, owner)
            # Held, not acknowledged: the other team's turn comes while these live.


def test_a_root_has_one_team_that_begins_after_what_was_sent_before(broker, dataset, tmp_path):
    with closing(KafkaBus(broker.servers, deployment="before")) as bus:
        bus.send(TASKS, f"{dataset}/old", b"")
        bus.backlog(TASKS)
    root = Root(str(tmp_path), f"kafka://{broker.servers}")
    with closing(root.shared_bus()) as bus, closing(root.bus(dataset)) as planner:
        assert planner.backlog(TASKS) == 0
        planner.send(TASKS, f"{dataset}/new", b"")
        found = take(bus)
        assert found.key == f"{dataset}/new"
        assert planner.backlog(TASKS) == 1
        bus.acknowledge(found, "w1")
        assert planner.backlog(TASKS) == 0
    assert Root(str(tmp_path), f"kafka://{broker.servers}").deployment == root.deployment
    (tmp_path / "other").mkdir()
    assert Root(str(tmp_path / "other"), f"kafka://{broker.servers}").deployment != root.deployment

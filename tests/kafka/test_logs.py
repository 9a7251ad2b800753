"""Logs on a broker: scopes, logs too large to be kept, compaction, consumers that stall."""

import itertools
import time
from collections import Counter
from contextlib import closing
from threading import Thread

import pytest
from kafka import KafkaAdminClient
from kafka.producer.transaction_manager import TransactionState

from fibstream.bus import wire
from fibstream.bus.kafka import follower, log
from fibstream.bus.topics import partition_of
from fibstream.core.errors import Retryable, WrongUse
from fibstream.core.ports import Entry

from ..support.broker import Broker
from ..support.patience import PATIENCE_S
from .waiting import RAW, Connect, eventually, everything


def test_two_datasets_in_one_partition_do_not_see_each_other(
    connect: Connect, dataset: str
) -> None:
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


def test_a_log_is_read_with_another_that_was_not_read_before(
    connect: Connect, dataset: str
) -> None:
    bus = connect()
    assert bus.read([RAW], 0) == []
    assert bus.read([RAW, wire.OBJECTS, wire.PROGRESS], 0) == []


def test_a_wait_ends_when_another_process_writes(connect: Connect, dataset: str) -> None:
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


def test_a_log_larger_than_all_that_is_read_ahead_is_read_whole(
    connect: Connect, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "BUFFER", 50)
    monkeypatch.setattr(follower, "BATCH", 20)
    logs = [RAW, wire.OBJECTS]
    writer, reader = connect(), connect(keep=10)
    for n in range(300):
        writer.send(logs[n % 2], f"{dataset}/{n % 200}", str(n).encode())
    writer.wait(0)
    end = reader.end(logs)  # counted by a consumer of its own
    assert end == writer.end(logs)
    writer.publish(RAW, f"{dataset}/last", b"300")
    reader.read([wire.CONTROL], 0)  # lets more of the large logs in than there is room for
    assert reader.end(logs) > end
    entries = everything(reader, logs)
    assert sorted(int(e.value) for e in entries) == list(range(301))
    assert entries[-1].offset == reader.end(logs)
    assert [e.value for e in reader.read(logs, 0, 5)] == [e.value for e in entries[:5]]


def test_an_offset_that_cannot_be_found_again_is_wrong_use(connect: Connect, dataset: str) -> None:
    bus = connect(keep=1)
    for n in range(4):
        bus.publish(RAW, f"{dataset}/{n}", b"")
        bus.publish(wire.OBJECTS, f"{dataset}/{n}", b"")
    first, *_, last = everything(bus, [RAW, wire.OBJECTS])
    assert bus.read([RAW, wire.OBJECTS], last.offset) == []
    with pytest.raises(WrongUse, match=f"offset {first.offset}"):
        bus.read([RAW, wire.OBJECTS], first.offset)


def test_compaction_keeps_what_a_reader_needs(
    broker: Broker, connect: Connect, dataset: str
) -> None:
    topic = f"fibstream.chunk-ready.{dataset}"
    config = {"cleanup.policy": "compact", "segment.ms": "50", "min.cleanable.dirty.ratio": "0.01"}
    with closing(KafkaAdminClient(bootstrap_servers=broker.servers)) as admin:
        admin.create_topics({topic: {"num_partitions": 2, "configs": config}})
        eventually(lambda: topic in admin.list_topics(), "the topic was not made")
    bus = connect()
    for n in range(100):
        bus.publish(topic, f"{dataset}/{n % 10}", str(n).encode())
    before = bus.end([topic])

    def compacted() -> list[Entry] | None:
        bus.publish(topic, f"{dataset}/9", b"99")  # a new segment, so that the last is cleaned
        with closing(connect(keep=0)) as fresh:
            found = everything(fresh, [topic])
            return found if len({e.value for e in found}) < 90 else None

    found = eventually(compacted, "it was not compacted")
    assert {e.key: e.value for e in found} == {
        f"{dataset}/{n}": str(90 + n).encode() for n in range(10)
    }
    assert found[-1].offset == bus.end([topic]) > before


def test_a_consumer_that_stalls_is_opened_anew(
    connect: Connect, dataset: str, caplog: pytest.LogCaptureFixture
) -> None:
    bus, other = connect(stall_s=0.5), connect()
    other.publish(RAW, f"{dataset}/1", b"1")
    (first,) = bus.read([RAW], 0)
    consumer = bus._follower._consumer
    consumer.pause(*consumer.assignment())  # silent, as the client's own bugs make it
    other.publish(RAW, f"{dataset}/2", b"2")
    assert [e.value for e in bus.read([RAW], first.offset)] == [b"2"]
    assert bus._follower.restarts == 1
    assert "stalled" in caplog.text


def test_a_producer_that_sends_nothing_more_is_replaced(connect: Connect, dataset: str) -> None:
    bus = connect()
    bus.publish(RAW, f"{dataset}/1", b"1")
    stuck = bus._link._producer._sender
    # It waits for an answer to a request that was lost, as after a restart of its broker.
    stuck._transaction_manager._transition_to(TransactionState.BUMPING_PRODUCER_EPOCH)
    with pytest.raises(Retryable):
        bus.publish(RAW, f"{dataset}/2", b"2")
    bus.publish(RAW, f"{dataset}/3", b"3")
    assert [e.value for e in everything(bus, [RAW])] == [b"1", b"3"]
    eventually(lambda: not stuck.is_alive(), "its thread has not ended")

"""Decisions of the Kafka bus that need no broker: topics, headers, stalls, leases, addresses."""

import re
import zlib
from collections.abc import Collection
from typing import Any

import pytest
from kafka import TopicPartition

from fibstream import registry
from fibstream.bus import wire
from fibstream.bus.kafka.lease import Lease, Verdict, decode, judge, lease_key
from fibstream.bus.kafka.link import parse_servers
from fibstream.bus.kafka.log import Count
from fibstream.bus.kafka.stall import Stall
from fibstream.bus.topics import (
    content_type,
    declared,
    event_type,
    headers,
    lease_topic,
    partition_of,
    trace_parent,
)
from fibstream.core.errors import WrongUse

RAW = wire.ledger_topic("raw")
TASKS = wire.task_topic("refine")


# -- topics ----------------------------------------------------------------------------------------


def test_every_topic_of_the_wire_is_declared_once() -> None:
    names = [topic.name for topic in declared()]
    assert len(names) == len(set(names))
    of_services = [
        f(s) for s in registry.names() for f in (wire.task_topic, wire.dead_letter_topic)
    ]
    logs = [*wire.ledger_topics(), wire.OBJECTS, wire.PROGRESS, wire.WORK, wire.CONTROL]
    leases = [lease_topic(wire.task_topic(service)) for service in registry.names()]
    assert set(names) == {*logs, *of_services, *leases}
    assert {t.partitions for t in declared(partitions=3)} == {3}


def test_what_must_not_be_lost_is_compacted_and_never_deleted() -> None:
    policy = {topic.name: topic.config["cleanup.policy"] for topic in declared()}
    assert {policy[name] for name in (*wire.ledger_topics(), wire.OBJECTS)} == {"compact"}
    assert policy[TASKS] == policy[wire.dead_letter_topic("refine")] == "delete"


def test_a_dataset_lies_in_one_partition_of_a_log_and_in_all_of_a_queue() -> None:
    keys = [f"cell-1/raw/{n}.0.0" for n in range(100)]
    expected = zlib.crc32(b"cell-1") % 8
    assert {partition_of(RAW, key, 8) for key in (*keys, "cell-1")} == {expected}
    assert {partition_of(lease_topic(TASKS), lease_key(k, b""), 8) for k in keys} == {expected}
    assert {partition_of(TASKS, key, 8) for key in keys} == set(range(8))


# -- headers ---------------------------------------------------------------------------------------


def test_headers_are_cloud_events_and_a_replay_has_the_same() -> None:
    found = dict(headers(RAW, "cell-1/raw/0.1.2", b"value"))
    required = ("ce_specversion", "ce_id", "ce_source", "ce_type")
    assert all(found[name] for name in required)
    assert found["ce_specversion"] == b"1.0"
    assert found["ce_type"] == b"fibstream.v1.ChunkRecord"
    assert found["ce_subject"] == b"cell-1/raw/0.1.2"
    assert found["content-type"] == b"application/protobuf"
    assert headers(RAW, "cell-1/raw/0.1.2", b"value") == list(found.items())


def test_other_records_have_other_ids() -> None:
    three = [(RAW, "a", b"1"), (RAW, "a", b"2"), (RAW, "b", b"1"), (wire.OBJECTS, "a", b"1")]
    assert len({dict(headers(*one))["ce_id"] for one in three}) == 4


def test_every_declared_topic_has_a_type_of_its_family() -> None:
    types = {topic.name: event_type(topic.name) for topic in declared()}
    assert types[TASKS] == "fibstream.v1.ChunkTask"
    assert types[wire.dead_letter_topic("ingest")] == "fibstream.v1.DeadLetter"
    assert all(re.fullmatch(r"fibstream\.v1\.[A-Z][A-Za-z]+", name) for name in types.values())
    assert content_type(wire.CONTROL) == "application/json"


@pytest.mark.parametrize("key", ["cell-1/raw/0.1.2", "cell-1/mito/77", "cell-1", ""])
def test_a_trace_parent_has_the_form_of_w3c(key: str) -> None:
    found = trace_parent(RAW, key, b"value")
    version, trace, span, flags = found.split("-")
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", found)
    assert version != "ff"
    assert (int(trace, 16) and int(span, 16)) != 0
    assert flags == "01"


def test_all_stages_of_one_chunk_are_one_trace_with_different_spans() -> None:
    keys = ["cell-1/raw/0.1.2", "cell-1/prediction/mito/0.1.2", "cell-1/labels/mito/0.1.2"]
    found = [trace_parent(RAW, key, b"").split("-") for key in keys]
    assert len({trace for _, trace, _, _ in found}) == 1
    assert len({span for _, _, span, _ in found}) == 3
    others = ["cell-1/raw/0.1.3", "cell-2/raw/0.1.2", "cell-1", "cell-1/raw/x0.1.2"]
    assert found[0][1] not in {trace_parent(RAW, key, b"").split("-")[1] for key in others}


# -- stalls ----------------------------------------------------------------------------------------


def looks(stall: Stall, *seen: tuple[float, bool, bool]) -> list[bool]:
    return [stall.look(now, behind=behind, polled=polled) for now, behind, polled in seen]


def test_a_consumer_is_stalled_when_it_is_behind_and_silent_for_long() -> None:
    found = looks(Stall(30), (0, True, False), (29, True, False), (30, True, False))
    assert found == [False, False, True]


def test_a_record_or_the_end_begins_the_time_anew() -> None:
    stall = Stall(30)
    assert not any(looks(stall, (0, True, False), (29, True, True), (58, True, False)))
    assert not any(looks(stall, (60, False, False), (89, True, False), (118, True, False)))
    assert looks(stall, (119, True, False), (120, True, False)) == [True, False]


# -- offsets ---------------------------------------------------------------------------------------


class Record:
    def __init__(self, offset: int, key: str, value: bytes | None = b"v") -> None:
        self.offset, self.key, self.value = offset, key.encode(), value


def test_an_offset_is_the_same_whatever_the_order_and_whatever_others_write() -> None:
    a, b = TopicPartition("t", 0), TopicPartition("u", 0)
    feeds = [
        (a, [Record(0, "me/1"), Record(1, "other/1"), Record(4, "me/2"), Record(9, "other/2")]),
        (b, [Record(2, "me/1"), Record(3, "me", None)]),
    ]
    for order in (feeds, feeds[::-1], [*feeds, *feeds]):
        count = Count([a, b], "me")
        for place, records in order:
            count.accept(place, records)
        assert count.total == 5 + 3
        assert count.seen == {a: 10, b: 4}


# -- leases ----------------------------------------------------------------------------------------

HELD = Lease("w1", 1, 3, 7, "held")


def ask(
    lease: Lease | None,
    owner: str = "w2",
    partition: int = 3,
    offset: int = 7,
    alive: Collection[str] = (),
) -> Lease | Verdict:
    return judge(lease, owner, partition, offset, lambda other: other in alive)


def crashes(lease: Lease, **asked: Any) -> int:
    """Return the crashes that a new lease counts."""
    found = ask(lease, **asked)
    assert isinstance(found, Lease)
    return found.crashes


def test_a_task_without_a_lease_is_new() -> None:
    assert ask(None) == Lease("w2", 0, 3, 7, "held")
    assert crashes(HELD, partition=4) == 0
    assert crashes(HELD, offset=6) == 0


def test_a_lease_that_never_ended_is_a_crash_unless_its_holder_lives() -> None:
    assert ask(HELD) == Lease("w2", 2, 3, 7, "held")
    assert ask(HELD, alive=["w1"]) == "busy"
    assert crashes(HELD, owner="w1") == 1  # it rejoined its group


def test_what_was_given_back_keeps_its_count() -> None:
    assert crashes(HELD._replace(state="free")) == 1


def test_what_is_over_is_skipped_and_an_equal_task_later_is_new() -> None:
    over = HELD._replace(state="over")
    assert ask(over) == "over"
    assert ask(over, offset=8) == Lease("w2", 0, 3, 8, "held")


def test_an_equal_task_later_inherits_the_count_and_no_crash() -> None:
    assert ask(HELD, offset=8) == Lease("w2", 1, 3, 8, "held")


def test_a_lease_is_read_as_it_was_written() -> None:
    assert decode(HELD.encode()) == HELD
    for wrong in (b"", b"[]", b"3", b'{"owner": 1}', b"\xff"):
        with pytest.raises(ValueError):
            decode(wrong)


# -- addresses -------------------------------------------------------------------------------------


def test_addresses_are_hosts_with_ports() -> None:
    assert parse_servers("a:1,b.c-d:65535,[::1]:9092") == ["a:1", "b.c-d:65535", "[::1]:9092"]


@pytest.mark.parametrize(
    "wrong", ["", "a", "a:", ":1", "a:0", "a:65536", "a:1,", "a:1;b:2", "a b:1"]
)
def test_other_addresses_are_wrong_use(wrong: str) -> None:
    with pytest.raises(WrongUse, match="HOST:PORT"):
        parse_servers(wrong)

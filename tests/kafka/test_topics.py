"""Declared topics, and what each record carries."""

from contextlib import closing
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from fibstream.bus import wire
from fibstream.bus.kafka.declare import declare
from fibstream.bus.topics import partition_of
from fibstream.core.errors import WrongUse

from ..support.broker import Broker
from .waiting import RAW, Connect, eventually


def test_declaring_again_changes_nothing(broker: Broker) -> None:
    assert declare(broker.servers) == []


def test_a_topic_that_is_cleaned_up_otherwise_is_named(broker: Broker, dataset: str) -> None:
    name = wire.task_topic(dataset)
    with closing(KafkaAdminClient(bootstrap_servers=broker.servers)) as admin:
        admin.create_topics({name: {"num_partitions": 1, "configs": {"cleanup.policy": "compact"}}})
    with pytest.raises(WrongUse, match=rf"{name} has cleanup.policy=compact, expected delete"):
        declare(broker.servers, [dataset])


def test_a_topic_that_was_never_declared_is_wrong_use_and_is_not_made(
    broker: Broker, connect: Connect, dataset: str
) -> None:
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


def test_every_record_carries_its_headers(broker: Broker, connect: Connect, dataset: str) -> None:
    key = f"{dataset}/raw/0.0.1"
    connect().publish(RAW, key, b"value")
    place = TopicPartition(RAW, partition_of(RAW, key, 8))
    reader = KafkaConsumer(bootstrap_servers=broker.servers, auto_offset_reset="earliest")
    with closing(reader):
        reader.assign([place])

        def look() -> Any:
            found = reader.poll(timeout_ms=500).get(place, [])
            return next((record for record in found if record.key == key.encode()), None)

        record = eventually(look, "the record did not come")
    found = dict(record.headers)
    assert (record.value, found["ce_subject"]) == (b"value", key.encode())
    assert {"ce_id", "ce_specversion", "ce_source", "ce_type", "traceparent"} < found.keys()

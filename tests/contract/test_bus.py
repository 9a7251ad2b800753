"""The buses of fibstream under the suite that every bus must pass."""

import dataclasses
import sqlite3
from contextlib import closing, suppress

import pytest
from hypothesis import HealthCheck, Phase, settings
from kafka import KafkaProducer
from kafka.errors import InvalidRecordError

from fibstream.bus.kafka import KafkaBus
from fibstream.bus.memory import MemoryBus
from fibstream.bus.sqlite import SqliteBus
from fibstream.bus.topics import partition_of
from fibstream.testing.bus import BusTests, Promises

from ..support.broker import broker  # noqa: F401
from ..support.patience import PATIENCE_S


class TestMemoryBus(BusTests):
    promises = Promises(waits=False, durable=False)
    holds_any_bytes = False

    @pytest.fixture
    def connect(self):
        made: dict[str, MemoryBus] = {}  # one process has but one connection
        return lambda name, clock: made.setdefault(name, MemoryBus(clock))


class TestSqliteBus(BusTests):
    @pytest.fixture
    def connect(self, tmp_path):
        return lambda name, clock: SqliteBus(tmp_path / name, clock)

    def inject(self, bus, topic, key, value) -> None:
        """Edit the file by hand: SQLite keeps bytes that are no text, and numbers as values."""
        if key is None:
            return  # its tables have no row without a key
        table = "tasks" if topic in self.queues else "log"
        sql = f"INSERT OR REPLACE INTO {table} (topic, key, value) VALUES (?, CAST(? AS TEXT), ?)"
        with closing(sqlite3.connect(bus.path)) as db, db:
            db.execute(sql, (topic, key, 1.5 if value is None else value))


# The client's heartbeat, when a broker is slow, may leave a socket to the garbage collector.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
)
class TestKafkaBus(BusTests):
    """A real broker: its topics are shared, and a task may take seconds to come."""

    promises = Promises(timed=False, compacts=False, ordered=False, replaces=False, once=False)
    patience_s = 20.0  # to join a group on a busy machine
    quiet_s = 0.5  # long enough for a task that is there to be fetched
    machine = settings(
        max_examples=6, stateful_step_count=20, derandomize=True, database=None, deadline=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    keep = 4096

    @pytest.fixture
    def connect(self, broker):  # noqa: F811
        return lambda name, _: KafkaBus(
            broker.servers, name, private=True, keep=self.keep, session_s=2
        )

    def inject(self, bus, topic, key, value) -> None:
        """Write to the dataset's partition with a client of its own."""
        place = partition_of(topic, f"{bus.scope}/", bus._link.partitions(topic))
        with closing(KafkaProducer(bootstrap_servers=bus._link.servers)) as producer:
            sent = producer.send(topic, key=key, value=value, partition=place)
            with suppress(InvalidRecordError):  # a compacted topic takes no record without a key
                sent.get(PATIENCE_S)

    def kill(self, bus) -> None:
        """Its member neither polls nor leaves."""
        for queue in bus._queues.values():
            if queue.member is not None:
                queue.member._leave = queue.member._consumer._client.close
            queue._written.clear()
        bus.close()


class TestKafkaBusOfLargeLogs(TestKafkaBus):
    """No log is kept in memory."""

    promises = dataclasses.replace(TestKafkaBus.promises, rereads=False)
    keep = 0
    test_any_schedule_of_workers_keeps_the_promises = None  # type: ignore[assignment]  # queues are the same


@pytest.mark.parametrize("make", [lambda _: MemoryBus(), lambda at: SqliteBus(at / "bus")])
def test_clearing_a_log_leaves_the_others_and_never_repeats_an_offset(make, tmp_path) -> None:
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

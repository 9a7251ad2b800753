"""The buses of the contract suite, each with what a test needs to make time pass or owners go."""

import time
from collections.abc import Iterator

import pytest

from fibstream.bus import wire
from fibstream.bus.kafka.bus import KafkaBus
from fibstream.bus.memory import MemoryBus
from fibstream.bus.sqlite import SqliteBus
from fibstream.core.ports import Bus, Delivery

from ..support.broker import broker  # noqa: F401

LEASE_S = 10.0
PATIENCE_S = 20.0  # to join a group on a busy machine
QUIET_S = 0.5  # long enough for a task that is there to be fetched


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """One planner's bus, and one bus for each worker, under names that no other test uses."""

    logs = (wire.OBJECTS, wire.PROGRESS, wire.CONTROL)
    queues = (wire.task_topic("inference"), wire.task_topic("refine"))
    dataset = "d"
    patience_s = quiet_s = 0.0

    def __init__(self) -> None:
        self.clock = Clock()
        self.bus = self.open()
        self._workers: dict[str, Bus] = {}

    def open(self) -> Bus:
        raise NotImplementedError

    def key(self, name: str) -> str:
        """Return a key of this test's dataset."""
        return f"{self.dataset}/{name}"

    def worker(self, owner: str) -> Bus:
        """Return the bus of one worker."""
        if owner not in self._workers:
            self._workers[owner] = self.open()
        return self._workers[owner]

    def take(self, owner: str = "w1", queue: int = 0) -> Delivery:
        """Take a task that is there."""
        found = self._take(owner, queue, self.patience_s)
        assert found is not None
        return found

    def nothing(self, owner: str = "w1", queue: int = 0) -> bool:
        """Whether a worker finds nothing to take."""
        return self._take(owner, queue, self.quiet_s) is None

    def _take(self, owner: str, queue: int, patience_s: float) -> Delivery | None:
        bus, deadline = self.worker(owner), time.monotonic() + patience_s
        while True:
            found = bus.take(self.queues[queue], owner, LEASE_S)
            if found is not None or time.monotonic() >= deadline:
                return found
            bus.wait(0.05)

    def lose(self, owner: str) -> None:
        """Let a worker's lease run out, without a crash that anybody saw."""
        self.clock.now += LEASE_S + 1

    def die(self, owner: str) -> None:
        """End a worker as ``kill -9`` does: whoever started it then buries it."""

    def close(self) -> None:
        for bus in (self.bus, *self._workers.values()):
            bus.close()


class OnMemory(Bench):
    def open(self) -> Bus:
        if not hasattr(self, "bus"):
            return MemoryBus(self.clock)
        return self.bus  # there is but one process


class OnSqlite(Bench):
    def __init__(self, folder) -> None:
        self._path = folder / "bus"
        super().__init__()

    def open(self) -> Bus:
        return SqliteBus(self._path, self.clock)


def kill(bus: KafkaBus) -> None:
    """Make a bus say nothing more to anybody: its member neither polls nor leaves."""
    for queue in bus._queues.values():
        client = queue._consumer._client
        queue._leave = client.close  # type: ignore[method-assign]
    bus._taken.clear()
    bus.close()


class OnKafka(Bench):
    """A real broker; its topics are shared, so every test has a dataset of its own."""

    patience_s, quiet_s = PATIENCE_S, QUIET_S

    def __init__(self, servers: str, keep: int) -> None:
        self.dataset = f"d{time.time_ns()}"
        self._servers, self._keep = servers, keep
        super().__init__()

    def open(self) -> KafkaBus:
        return KafkaBus(self._servers, self.dataset, private=True, keep=self._keep, session_s=2)

    def lose(self, owner: str) -> None:
        self._workers.pop(owner).close()

    def die(self, owner: str) -> None:
        kill(self._workers.pop(owner))


@pytest.fixture(params=["memory", "sqlite", "kafka", "kafka-large"])
def bench(request, tmp_path) -> Iterator[Bench]:
    made: Bench
    if request.param == "memory":
        made = OnMemory()
    elif request.param == "sqlite":
        made = OnSqlite(tmp_path)
    else:  # a large log is one that is not kept in memory
        servers = request.getfixturevalue("broker").servers
        made = OnKafka(servers, keep=0 if request.param == "kafka-large" else 4096)
    yield made
    made.close()


@pytest.fixture
def bus(bench):
    return bench.bus

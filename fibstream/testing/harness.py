"""What a test of a bus needs: connections to one bus under test, time that passes, dead owners."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings

from fibstream.bus import wire
from fibstream.core.ports import Bus, Delivery, Entry

LEASE_S = 10.0

F = TypeVar("F", bound=Callable[..., Any])
Connect = Callable[[str, Callable[[], float]], Bus]


@dataclass(frozen=True)
class Promises:
    """What a bus promises beyond the port: the suite then holds it to that.

    Attributes
    ----------
    timed : bool
        A lease ends ``lease_s`` seconds of the clock after it was taken or renewed. Otherwise it
        lasts as long as the connection of its owner, and closing that frees its tasks.
    compacts : bool
        A log holds nothing but the last record of every key.
    ordered : bool
        Several logs are read in the order in which they were written, and tasks are taken in the
        order in which they were sent. Otherwise each log, and the tasks of each key, have one.
    replaces : bool
        A task replaces a waiting one of its key, and keeps the crashes of an equal one.
    once : bool
        What was acknowledged, discarded or forgotten never comes again, and is not counted.
    rereads : bool
        Several logs are read from any offset that was returned for them. Otherwise from 0, from
        the last entry returned, or from the end that was returned last.
    waits : bool
        ``wait`` is False when nothing was written.
    durable : bool
        Logs and tasks outlive the last connection.
    """

    timed: bool = True
    compacts: bool = True
    ordered: bool = True
    replaces: bool = True
    once: bool = True
    rereads: bool = True
    waits: bool = True
    durable: bool = True


class Clock:
    """Time that passes when a test wants it to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


def promised(promise: str) -> Callable[[F], F]:
    """Return the decorator of a test that only a bus with this promise must pass."""

    def mark(test: F) -> F:
        test.promised = (promise, *getattr(test, "promised", ()))  # type: ignore[attr-defined]
        return test

    return mark


class BusSuite:
    """What a subclass sets: ``connect`` always, the others where the defaults do not fit.

    Attributes
    ----------
    promises : Promises
        What the bus promises beyond the port.
    logs, queues : tuple of str
        Topics that are there: three logs and two queues.
    holds_any_bytes : bool
        Whether ``inject`` can put an item on it whose key is no text.
    patience_s : float
        A task or record that is there is seen after so long at the latest.
    quiet_s : float
        A task that is not seen after so long is not there.
    machine : settings
        How many schedules, of how many steps, each machine tries.
    """

    promises = Promises()
    holds_any_bytes = True
    logs: tuple[str, str, str] = (wire.OBJECTS, wire.PROGRESS, wire.CONTROL)
    queues: tuple[str, str] = (wire.task_topic("inference"), wire.task_topic("refine"))
    patience_s = 0.0
    quiet_s = 0.0
    machine = settings(
        max_examples=40, stateful_step_count=50, derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip

    def inject(self, bus: Bus, topic: str, key: bytes | None, value: bytes | None) -> None:
        """Put an item on a log or a queue as a stranger may: any bytes, or none, as key and value.

        Do nothing where the bus can hold no such item.
        """

    @pytest.fixture
    def connect(self) -> Connect:
        """Return a function of a name and a clock that opens a connection to the bus of that name.

        The first connection finds an empty bus, the next ones the same. All keys begin with the
        name and a slash, so buses of several names may share their topics. The clock returns the
        time in seconds at which leases are taken and end.
        """
        raise NotImplementedError("a suite needs the fixture `connect`")

    def kill(self, bus: Bus) -> None:
        """End a connection as ``kill -9`` ends its process: nothing is given back."""

    @pytest.fixture
    def harness(self, connect: Connect) -> Iterator["BusHarness"]:
        """One new bus with its connections."""
        made = BusHarness(self, connect)
        yield made
        made.close()

    @pytest.fixture
    def bus(self, harness: "BusHarness") -> Bus:
        """The connection of the planner."""
        return harness.bus

    def __init_subclass__(cls) -> None:
        """Leave out the tests of what is not promised."""
        super().__init_subclass__()
        for name in dir(cls):
            wanted = getattr(getattr(cls, name), "promised", ())
            if not all(getattr(cls.promises, promise) for promise in wanted):
                setattr(cls, name, None)


class BusHarness:
    """A new bus: one connection of a planner, and one for each worker."""

    def __init__(self, suite: BusSuite, connect: Connect) -> None:
        self.suite = suite
        self.clock = Clock()
        self.name = f"d{time.time_ns()}"
        self._connect = connect
        self.bus = self._open()
        self._workers: dict[str, Bus] = {}

    def _open(self) -> Bus:
        return self._connect(self.name, self.clock)

    def key(self, name: str) -> str:
        """Return a key of this bus."""
        return f"{self.name}/{name}"

    def worker(self, owner: str) -> Bus:
        """Return the connection of one worker."""
        if owner not in self._workers:
            self._workers[owner] = self._open()
        return self._workers[owner]

    def publish(self, name: str, value: bytes = b"", log: int = 0) -> None:
        """Append to a log."""
        self.bus.publish(self.suite.logs[log], self.key(name), value)

    def send(self, name: str, value: bytes = b"", queue: int = 0) -> None:
        """Put a task on a queue."""
        self.bus.send(self.suite.queues[queue], self.key(name), value)

    def take(self, owner: str = "w1", queue: int = 0) -> Delivery:
        """Take a task that is there."""
        found = self.look(owner, queue, self.suite.patience_s)
        assert found is not None
        return found

    def nothing(self, owner: str = "w1", queue: int = 0) -> bool:
        """Whether a worker finds nothing to take."""
        return self.look(owner, queue, self.suite.quiet_s) is None

    def look(self, owner: str, queue: int, patience_s: float) -> Delivery | None:
        """Take a task, or None when there is none for so long."""
        bus, deadline = self.worker(owner), time.monotonic() + patience_s
        while True:
            found = bus.take(self.suite.queues[queue], owner, LEASE_S)
            if found is not None or time.monotonic() >= deadline:
                return found
            bus.wait(0.05)

    def lose(self, owner: str) -> None:
        """Let a worker's leases end without a crash that anybody saw."""
        if self.suite.promises.timed:
            self.clock.now += LEASE_S + 1
        elif owner in self._workers:
            self._workers.pop(owner).close()

    def die(self, owner: str) -> None:
        """End a worker as ``kill -9`` does; whoever started it then reclaims its tasks."""
        if owner in self._workers:
            self.suite.kill(self._workers.pop(owner))

    def reopen(self) -> None:
        """Close every connection and open the planner's anew."""
        self.close()
        self._workers.clear()
        self.bus = self._open()

    def close(self) -> None:
        """Close every connection."""
        for bus in (self.bus, *self._workers.values()):
            bus.close()


def everything(bus: Bus, logs: tuple[str, ...], after: int = 0, limit: int = 1000) -> list[Entry]:
    """Read until nothing is left."""
    entries: list[Entry] = []
    while found := bus.read(logs, after, limit):
        assert len(found) <= limit
        entries += found
        after = found[-1].offset
    return entries


def last(entries: list[Entry]) -> list[tuple[str, str, bytes]]:
    """Return what a reader keeps: the last record of every key, in order."""
    kept: dict[tuple[str, str], bytes] = {}
    for entry in entries:
        kept.pop((entry.topic, entry.key), None)
        kept[entry.topic, entry.key] = entry.value
    return [(topic, key.partition("/")[2], value) for (topic, key), value in kept.items()]

"""Waiting for what a broker does in its own time, and buses that are read or emptied."""

import time
from collections.abc import Callable, Sequence
from threading import Event
from typing import TypeVar

from fibstream.bus import wire
from fibstream.bus.kafka import KafkaBus
from fibstream.core.errors import Retryable
from fibstream.core.ports import Delivery, Entry

from ..support.patience import PATIENCE_S

T = TypeVar("T")
Connect = Callable[..., KafkaBus]

RAW = wire.ledger_topic("raw")
TASKS = wire.task_topic("refine")


def eventually(condition: Callable[[], T | None], what: str) -> T:
    """Return the first true value of a condition."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        Event().wait(0.02)
    return found


def take(bus: KafkaBus, owner: str = "w1", topic: str = TASKS) -> Delivery:
    """Take the next task that comes."""

    def look() -> Delivery | None:
        try:
            found = bus.take(topic, owner, 10)
        except Retryable:  # it is not back in its group yet
            found = None
        if found is None:
            bus.wait(0.1)
        return found

    return eventually(look, "no task came")


def drain(bus: KafkaBus, owner: str = "w1") -> list[str]:
    """Take and acknowledge whatever is there; return the keys."""
    keys = []
    while bus.backlog(TASKS):
        found = take(bus, owner)
        keys.append(found.key)
        bus.acknowledge(found, owner)
    return keys


def everything(bus: KafkaBus, logs: Sequence[str]) -> list[Entry]:
    """Read logs from the beginning to their end."""
    entries: list[Entry] = []
    after = 0
    while found := bus.read(logs, after):
        entries += found
        after = found[-1].offset
    return entries

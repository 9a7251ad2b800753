"""Reading what others wrote: an item that cannot be read is counted, named, and passed over.

Anybody who reaches a bus can write to it. What is no event harms nobody: its reader goes on with
the next item, and whatever was meant is published again by the reconcile of a planner.
"""

import logging
import threading
from collections.abc import Iterator, Sequence

from fibstream.core.errors import Poison
from fibstream.core.ports import Bus, Entry

from . import wire

log = logging.getLogger(__name__)

NAMED = 10  # items that the log of a process names one by one; then the 16th, the 32nd and so on


class Tally:
    """How many items this process passed over; its metric is ``fibstream_unreadable_items_total``.

    One that is read again is counted again.
    """

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def add(self) -> int:
        """Count one; return how many there were."""
        with self._lock:
            self.count += 1
            return self.count


UNREADABLE = Tally()


def pass_over(where: str, why: object) -> None:
    """Count an item that cannot be read, and say so in the log unless there were many."""
    number = UNREADABLE.add()
    if number <= NAMED or number & (number - 1) == 0:
        log.error("%.200s passed over, the %d. of this process: %.300s", where, number, why)


def text_of(data: object) -> str | None:
    """Return the text of a key or a topic as an adapter found it; None where it is none."""
    try:
        return data.decode() if isinstance(data, bytes) else None
    except UnicodeDecodeError:
        return None


def event_of(entry: Entry) -> wire.Event | None:
    """Return the event of an entry of a log; None, counted, for what is none or has a wrong key."""
    try:
        event = wire.decode(entry.value)
        wire.check_key(entry.topic, entry.key, event)
    except Poison as poison:
        pass_over(f"{entry.topic} at {entry.offset}", poison)
        return None
    return event


def entries_of(bus: Bus, topics: Sequence[str], dataset: str, after: int = 0) -> Iterator[Entry]:
    """Yield the entries of one dataset in some logs, from an offset up to their end."""
    while entries := bus.read(topics, after):
        yield from (entry for entry in entries if wire.dataset_of(entry.key) == dataset)
        after = entries[-1].offset


def events_of(bus: Bus, topics: Sequence[str], dataset: str) -> Iterator[wire.Event]:
    """Yield the events of one dataset in some logs, from the beginning up to their end."""
    for entry in entries_of(bus, topics, dataset):
        if (event := event_of(entry)) is not None:
            yield event

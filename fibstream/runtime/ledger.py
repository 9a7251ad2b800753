"""Reading the logs of a dataset to their end."""

from collections.abc import Iterator, Sequence

from fibstream.bus import wire
from fibstream.core.events import Record
from fibstream.core.ports import Bus, Entry


def entries_of(bus: Bus, topics: Sequence[str], after: int = 0) -> Iterator[Entry]:
    """Yield every entry of some logs up to their end."""
    while entries := bus.read(topics, after):
        yield from entries
        after = entries[-1].offset


def ledger(bus: Bus) -> Iterator[Record]:
    """Yield the last record of every (stage, chunk)."""
    last = {}
    for entry in entries_of(bus, wire.ledger_topics()):
        event = wire.decode(entry.value)
        if isinstance(event, Record):
            last[event.stage, event.subject] = event
    yield from last.values()

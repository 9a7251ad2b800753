"""The ledger of a dataset read to its end, and the log by which its planners are asked to look."""

from collections.abc import Iterator

from fibstream.bus import wire
from fibstream.bus.reading import events_of
from fibstream.core.events import Record
from fibstream.core.ports import Bus


def request_reconcile(bus: Bus, dataset: str) -> int:
    """Ask every planner of a dataset for a reconcile; return the number of the request.

    It is the offset of an entry: what that holds means nothing, so nobody can spoil it.
    """
    bus.publish(wire.CONTROL, dataset, b"{}")
    return bus.end([wire.CONTROL])


def ledger(bus: Bus, dataset: str) -> Iterator[Record]:
    """Yield the last record of every (stage, subject) of a dataset."""
    last = {}
    for event in events_of(bus, wire.ledger_topics(), dataset):
        if isinstance(event, Record):
            last[event.stage, event.subject] = event
    yield from last.values()

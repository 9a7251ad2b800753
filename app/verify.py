"""`fibstream verify`: read every content against its stamp; needs no running service."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from fibstream.bus import wire
from fibstream.bus.sqlite import SqliteBus
from fibstream.core.dataset import Dataset
from fibstream.core.events import Place, Record
from fibstream.core.subject import order
from fibstream.runtime.ledger import ledger
from fibstream.runtime.root import open_bus
from fibstream.store.shard import Stamp
from fibstream.store.store import Blob, Store

from .catalogue import outputs, record_of, stage_names
from .folder import locked, open_dataset
from .hashes import hashes

Output = tuple[Place, list[Blob]]
Track = Callable[[Sequence[Output], str], Iterable[Output]]  # reports the progress of a loop


def verify_dataset(
    path: Path,
    *,
    rebuild: bool,
    with_hashes: bool,
    bus_url: str | None = None,
    track: Track = lambda items, _: items,
) -> tuple[list[Place], int, tuple[str, str] | None]:
    """Return what is damaged, how many stage outputs there are, and the hashes if asked for.

    Whatever differs is un-recorded in the dataset's log, so that the next run makes it anew; with
    ``rebuild`` the log is first written anew from the stamps.
    """
    files, dataset = open_dataset(path)
    store = Store(files, dataset.grid)
    with locked(path):
        bus = open_bus(bus_url, path, dataset.name)
        # Outputs of an earlier pipeline belong to no stage now: neither wanted nor damaged.
        names = stage_names(dataset, files)
        ready = (r for r in ledger(bus) if r.status == "ready" and r.stage in names)
        recorded = {(r.stage, r.subject) for r in ready}
        if rebuild and isinstance(bus, SqliteBus):  # a shared log is corrected by what follows
            bus.clear(wire.ledger_topics())
        damaged, seen = [], 0
        places = list(outputs(dataset, files, store))
        missing = recorded - {place for place, _ in places}
        for place, items in track(places, "verified"):
            record = _intact_record(dataset, store, place, items)
            absent = all(files.open(item.path) is None for item in items)
            if absent and place not in recorded:
                continue  # not computed yet
            seen += 1
            if record is None:
                damaged.append(place)
                record = Record(*place, "suspect")
            if rebuild or record.status == "suspect":
                key = wire.record_key(dataset.name, *place)
                bus.publish(wire.ledger_topic(place[0]), key, wire.encode(record))
        for place in sorted(missing, key=lambda place: (place[0], order(place[1]))):
            damaged.append(place)
            seen += 1
            key = wire.record_key(dataset.name, *place)
            bus.publish(wire.ledger_topic(place[0]), key, wire.encode(Record(*place, "suspect")))
        bus.close()
    found = hashes(path, dataset) if with_hashes and not damaged else None
    return damaged, seen, found


def _intact_record(
    dataset: Dataset, store: Store, place: Place, items: list[Blob]
) -> Record | None:
    """Return the record of a stage output; None when one of its blobs is damaged."""
    stamps = list(_stamps(store, items))
    return record_of(dataset, place, stamps) if len(stamps) == len(items) else None


def _stamps(store: Store, items: list[Blob]) -> Iterator[tuple[Blob, Stamp]]:
    for item in items:
        stamp = store.intact(item)
        if stamp is not None:
            yield item, stamp

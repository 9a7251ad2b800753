"""`fibstream verify`: read every content against its stamp; needs no running service."""

from collections.abc import Iterator
from pathlib import Path

from fibstream import wire
from fibstream.dataset import RECORD, Dataset
from fibstream.errors import WrongUse
from fibstream.events import Record
from fibstream.frontier import Place
from fibstream.local import LocalFiles
from fibstream.loops import read_dataset
from fibstream.root import open_bus
from fibstream.shard import Stamp
from fibstream.sqlite import SqliteBus
from fibstream.store import Object, Store

from .catalogue import outputs, record_of, stage_names
from .progress import track
from .run import hashes, ledger, locked


def open_dataset(path: Path) -> tuple[LocalFiles, Dataset]:
    """Open a dataset of `run`; raise WrongUse when the path is none."""
    if not (path / RECORD).is_file():
        raise WrongUse(f"{path}: not a dataset of fibstream run{_instead(path)}")
    files = LocalFiles(path)
    return files, read_dataset(files)


def _instead(path: Path) -> str:
    """Return what may have been meant by a path at which there is nothing."""
    if path.exists():
        return ""
    if path.with_name(f"{path.name}.zarr").is_dir():
        return f"; did you mean {path}.zarr?"
    if len(path.parts) == 1 and not path.suffix:
        return "; for one of services give --server HOST"
    return "; there is no such folder"


def verify_dataset(
    path: Path, *, rebuild: bool, with_hashes: bool, bus_url: str | None = None
) -> tuple[list[Place], int, tuple[str, str] | None]:
    """Return what is damaged, how many stage outputs there are, and the hashes if asked for.

    Whatever differs is un-recorded in the dataset's log, so that the next run makes it anew; with
    ``rebuild`` the log is first written anew from the stamps.
    """
    files, dataset = open_dataset(path)
    store = Store(files, dataset.grid)
    with locked(path):
        bus = open_bus(bus_url, path, dataset.name)
        # What an earlier pipeline made is nobody's now: neither wanted nor damaged.
        names = stage_names(dataset, files)
        ready = (r for r in ledger(bus) if r.status == "ready" and r.stage in names)
        recorded = {(r.stage, r.index) for r in ready}
        if rebuild and isinstance(bus, SqliteBus):  # a shared log is corrected by what follows
            bus.clear(wire.LEDGER_TOPICS)
        damaged, seen = [], 0
        places = list(outputs(dataset, files, store))
        missing = recorded - {place for place, _ in places}
        for place, items in track(places, "verified"):
            record = _look(store, place, items)
            absent = all(files.open(item.path) is None for item in items)
            if absent and place not in recorded:
                continue  # not made yet
            seen += 1
            if record is None:
                damaged.append(place)
                record = Record(*place, "suspect")
            if rebuild or record.status == "suspect":
                key = wire.record_key(dataset.name, *place)
                bus.publish(wire.ledger_topic(place[0]), key, wire.encode(record))
        for place in sorted(missing):
            damaged.append(place)
            seen += 1
            key = wire.record_key(dataset.name, *place)
            bus.publish(wire.ledger_topic(place[0]), key, wire.encode(Record(*place, "suspect")))
        bus.close()
    found = hashes(path, dataset) if with_hashes and not damaged else None
    return damaged, seen, found


def _look(store: Store, place: Place, items: list[Object]) -> Record | None:
    """Return the record that a stage output's objects make together; None when one is damaged."""
    stamps = list(_stamps(store, items))
    return record_of(place, stamps) if len(stamps) == len(items) else None


def _stamps(store: Store, items: list[Object]) -> Iterator[tuple[Object, Stamp]]:
    for item in items:
        stamp = store.intact(item)
        if stamp is not None:
            yield item, stamp

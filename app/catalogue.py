"""Every stage of every service of a dataset, for `verify` and the in-process runner."""

from collections.abc import Iterator

from fibstream import registry
from fibstream.bus import wire
from fibstream.core.dataset import Dataset
from fibstream.core.events import ORIGIN, Place, Record
from fibstream.core.ports import Bus, Files
from fibstream.core.stage import RAW
from fibstream.runtime.planner import raw_record
from fibstream.store.shard import Stamp
from fibstream.store.store import Blob, Store, blobs


def stage_names(dataset: Dataset, files: Files) -> set[str]:
    """Return the names of all stages of a dataset as its pipeline is now, raw and tables too."""
    stages = (stage for service in registry.services() for stage in service.stages(dataset, files))
    tables = (f"tables/{organelle.name}" for organelle in dataset.organelles)
    return {RAW, *(stage.name for stage in stages), *tables}


def restore_log(dataset: Dataset, store: Store, bus: Bus) -> None:
    """Write a log that was lost (or was in memory) again from the stamps, contents unread.

    Without it a planner would see chunks arrive one after the other and make labels of open
    objects that are final in the store already.
    """
    for place, items in outputs(dataset, store.files, store):
        stamps = [(item, stamp) for item in items if (stamp := store.stamp(item)) is not None]
        record = record_of(place, stamps) if len(stamps) == len(items) else None
        if record is not None:
            key = wire.record_key(dataset.name, *place)
            bus.publish(wire.ledger_topic(place[0]), key, wire.encode(record))


def record_of(place: Place, stamps: list[tuple[Blob, Stamp]]) -> Record | None:
    """Return the record of a stage output whose blobs have one key; None if they differ."""
    if len({stamp.key for _, stamp in stamps}) != 1:
        return None
    if place[0] == RAW:
        return raw_record(stamps[0][1])
    contents = {item.label: stamp.hash for item, stamp in stamps}
    return Record(*place, "ready", stamps[0][1].key, contents)


def outputs(dataset: Dataset, files: Files, store: Store) -> Iterator[tuple[Place, list[Blob]]]:
    """Yield every stage output of a dataset and its blobs, whether they exist or not.

    Of an open volume only chunks whose raw has a file are known.
    """
    # Not by the files of raw alone: what was computed from a lost one may still be there.
    chunks = sorted(dataset.grid.indices() if dataset.grid.sealed else store.chunks(RAW))
    for index in chunks:
        yield (RAW, index), [Blob(RAW, index, dataset.dtype)]
    for service in registry.services():
        for stage in service.stages(dataset, files):
            for index in chunks:
                yield (
                    (stage.name, index),
                    [i for o in stage.outputs for i in blobs(o, index, dataset.chunk)],
                )
    for organelle in dataset.organelles:
        table = Blob(f"tables/{organelle.name}.parquet", ORIGIN)
        yield (f"tables/{organelle.name}", ORIGIN), [table]

"""What is stored and reported at the end of a schedule, against the whole computation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fibstream.bus import wire
from fibstream.core.arrays import encode_arrays
from fibstream.core.events import GONE, ObjectChanged
from fibstream.core.ports import Bus
from fibstream.services.analysis.table import rows_hash
from fibstream.store.shard import decode_blob
from fibstream.store.store import Blob, Store

from .oracle import Whole, read_array


def differences(store: Store, bus: Bus, wanted: Whole) -> Iterator[str]:
    """Yield what is missing, damaged, wrong or too much."""
    for (name, dtype), array in wanted.arrays.items():
        for index in store.grid.indices():
            item, box = Blob(name, index, dtype), store.grid.box(index)
            if store.intact(item) is None:
                yield f"{item.path} is missing or damaged"
            elif not np.array_equal(read_array(store, item, box), array[box.slices()]):
                yield f"{item.path} is wrong"
    for name, summaries in wanted.objects.items():
        paths = {Blob(name, subject).path: subject for subject in summaries}
        if set(store.files.list(name)) != paths.keys():
            yield f"{name} has other objects"
        for path, subject in paths.items():
            if body(store, path) != encode_arrays(summaries[subject]):
                yield f"{path} is wrong"
    for path, content in wanted.files.items():
        found = body(store, path)
        if found is None or rows_of(found) != rows_of(content):
            yield f"{path} is wrong"
    if reported(bus) != objects_of(wanted.files):
        yield "objects were reported that are not in the tables"


def body(store: Store, path: str) -> bytes | None:
    """Return what a file that is no array holds; None where it is missing or damaged."""
    handle = store.files.open(path)
    decoded = decode_blob(handle.read(0, handle.size)) if handle else None
    return decoded[0] if decoded else None


def rows_of(content: bytes) -> str | bytes:
    """Return the hash of a table's rows, whose bytes name the software too; other bytes as is."""
    if not content.startswith(b"PAR1"):
        return content
    return rows_hash(pq.read_table(pa.BufferReader(content)))


def objects_of(files: Mapping[str, bytes]) -> set[tuple[str, int]]:
    """Return the objects of the tables, each with the name of its organelle or contact."""
    return {
        (path.removeprefix("tables/").removesuffix(".parquet"), id_)
        for path, content in files.items()
        if path.startswith("tables/")
        for id_ in pq.read_table(pa.BufferReader(content))["id"].to_pylist()
    }


def reported(bus: Bus) -> set[tuple[str, int]]:
    """Return the objects that planners reported as final, and not as gone since."""
    entries = bus.read([wire.OBJECTS], 0, 1 << 30)
    last = {(c.organelle, c.id): c.kind for c in map(wire.decode, (e.value for e in entries))
            if isinstance(c, ObjectChanged)}  # fmt: skip
    assert {kind for kind in last.values() if kind not in GONE} <= {"final"}
    return {object_ for object_, kind in last.items() if kind == "final"}

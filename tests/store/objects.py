"""Stored objects that tests look at: a shard, a summary and a table, each with its stamp."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fibstream.bus.memory import MemoryFiles
from fibstream.core.events import ORIGIN
from fibstream.core.grid import Grid
from fibstream.core.keys import digest
from fibstream.core.stage import Output
from fibstream.store.shard import Stamp, encode_blob
from fibstream.store.store import Blob, Store

INPUTS = (("raw", "raw", (0, 0, 1), "abc"),)
TABLE = Blob("tables/x.parquet", ORIGIN)
LONG = tuple(("raw", "raw", (0, 0, n), "f" * 32) for n in range(200))  # a stamp beyond 4096 bytes


def stamp(stage="s", index=(0, 0, 0), inputs=INPUTS):
    return Stamp(stage, index, "key", "", inputs, "1", "rule")


def put_array(store, name, array, index=(0, 0, 0), inputs=INPUTS, absent=False):
    """Write the full level of one chunk; return its object and content hash."""
    output = Output(name, str(array.dtype))
    ((item, data, content),) = store.encode(
        output, array, stamp(name, index, inputs), absent=absent
    )
    store.files.put(item.path, data)
    return item, content


def put_summary(store, name, arrays, inputs=INPUTS):
    ((item, data, content),) = store.encode(Output(name), arrays, stamp(name, inputs=inputs))
    store.files.put(item.path, data)
    return item, content


def parquet(rows=3):
    table = pa.table({"id": pa.array(range(1, rows + 1), pa.uint64()), "voxels": [7] * rows})
    table = table.replace_schema_metadata({"organelle": "x"})
    out = io.BytesIO()
    pq.write_table(table, out)
    return table, out.getvalue()


def put_table(store, inputs=INPUTS):
    _, body = parquet()
    made = Stamp("tables/x", ORIGIN, "key", digest(body), inputs, "1")
    store.files.put(TABLE.path, encode_blob(body, made))
    return TABLE, made.hash


def bare_store(shape, chunk):
    return Store(MemoryFiles(), Grid(shape, chunk))


def content(store, item):
    """Return the bytes of a stored object."""
    handle = store.files.open(item.path)
    return handle.read(0, handle.size)


def noise(shape, dtype, seed=0, filled=0.5):
    """Draw voxels, many of them zero."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 100, shape).astype(dtype)
    return np.where(rng.random(shape) < filled, values, 0).astype(dtype)

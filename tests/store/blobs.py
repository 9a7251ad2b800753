"""Blobs for tests: a shard, a summary and a table, each with its stamp."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fibstream.bus.memory import MemoryFiles
from fibstream.core.grid import Grid, Index
from fibstream.core.keys import digest
from fibstream.core.stage import Arrays, Output
from fibstream.core.subject import WHOLE, Subject
from fibstream.store.shard import Stamp, encode_blob
from fibstream.store.store import Blob, Store

Inputs = tuple[tuple[str, str, Index, str], ...]
INPUTS: Inputs = (("raw", "raw", (0, 0, 1), "abc"),)
TABLE = Blob("tables/x.parquet", WHOLE)
LONG: Inputs = tuple(
    ("raw", "raw", (0, 0, n), "f" * 32) for n in range(200)
)  # a stamp beyond 4096 bytes


def stamp(stage: Any = "s", subject: Subject = (0, 0, 0), inputs: Inputs = INPUTS) -> Stamp:
    return Stamp(stage, subject, "key", "", inputs, "1", "rule")


def put_array(
    store: Store,
    name: str,
    array: NDArray[Any],
    index: Index = (0, 0, 0),
    inputs: Inputs = INPUTS,
    absent: bool = False,
) -> tuple[Blob, str]:
    """Write the full level of one chunk; return its blob and content hash."""
    output = Output(name, str(array.dtype))
    ((blob, data, content),) = store.encode(
        output, array, stamp(name, index, inputs), absent=absent
    )
    store.files.put(blob.path, data)
    return blob, content


def put_summary(
    store: Store, name: str, arrays: Arrays, inputs: Inputs = INPUTS
) -> tuple[Blob, str]:
    ((blob, data, content),) = store.encode(Output(name), arrays, stamp(name, inputs=inputs))
    store.files.put(blob.path, data)
    return blob, content


def parquet(rows: int = 3) -> tuple[Any, bytes]:
    table = pa.table({"id": pa.array(range(1, rows + 1), pa.uint64()), "voxels": [7] * rows})
    table = table.replace_schema_metadata({"organelle": "x"})
    out = io.BytesIO()
    pq.write_table(table, out)
    return table, out.getvalue()


def put_table(store: Store, inputs: Inputs = INPUTS) -> tuple[Blob, str]:
    _, body = parquet()
    made = Stamp("tables/x", WHOLE, "key", digest(body), inputs, "1")
    store.files.put(TABLE.path, encode_blob(body, made))
    return TABLE, made.hash


def bare_store(shape: Index, chunk: Index) -> Store:
    return Store(MemoryFiles(), Grid(shape, chunk))


def content(store: Store, blob: Any) -> bytes:
    """Return the bytes of a blob."""
    handle = store.files.open(blob.path)
    assert handle is not None
    return handle.read(0, handle.size)


def noise(shape: tuple[int, ...], dtype: str, seed: int = 0, filled: float = 0.5) -> NDArray[Any]:
    """Draw voxels, many of them zero."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 100, shape).astype(dtype)
    return np.where(rng.random(shape) < filled, values, 0).astype(dtype)

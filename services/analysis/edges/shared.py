"""Decoded tables in memory that processes share: each content is decoded once, and never copied.

A table of 10^6 objects takes a second of CPU to decode, longer than any query of it; mapped, a
query reads the columns that it names.
"""

import fcntl
import mmap
import os
import sys
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fibstream.core.errors import LimitExceeded

MAX_TABLE = 1 << 30  # bytes of a decoded table: three million objects with all columns
MAX_SHARED = 2 << 30  # of all that are kept or in use


class SharedTable:
    """One decoded table in a file without a name; who has its descriptor can `mapped` it.

    ``rows`` are mapped, not in memory of their own; strictly ascending by ``id``.
    """

    def __init__(self, parquet: bytes) -> None:
        source = pq.ParquetFile(pa.BufferReader(parquet))
        self.descriptor = _written(lambda file: _copy(source, file))
        weakref.finalize(self, os.close, self.descriptor)
        self.rows = mapped(self.descriptor)
        ids = self.rows["id"]
        self._ids = ids.chunk(0).to_numpy() if ids.num_chunks else np.zeros(0, np.uint64)

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        size: int = self.rows.nbytes
        return size

    def take(self, ids: pa.ChunkedArray, columns: list[str] | None = None) -> pa.Table:
        """Return the rows of ``ids`` (uint64), in their order; every one must be there."""
        wanted = ids.to_numpy()
        places = np.searchsorted(self._ids, wanted)
        assert np.array_equal(self._ids[places], wanted)
        return self.rows.select(columns or self.rows.column_names).take(places)


class TableCache:
    """The decoded tables that were asked for last, by the hash of their content.

    Those that are kept and those still in use, which it may have let go, take ``most`` bytes.
    """

    def __init__(self, most: int = MAX_SHARED) -> None:
        self._most = most
        self._tables: OrderedDict[str, SharedTable] = OrderedDict()
        self._used: weakref.WeakSet[SharedTable] = weakref.WeakSet()
        self._lock = threading.Lock()  # also held while one decodes: one table is in memory then

    def find(self, content: str) -> SharedTable | None:
        """Return the table of this content hash, if it is kept."""
        with self._lock:
            return self._found(content)

    def keep(self, content: str, parquet: bytes) -> SharedTable:
        """Return the table of this content hash; decode it from ``parquet`` unless it is kept.

        Raises LimitExceeded where it, or tables in use, are too large.
        """
        with self._lock:
            table = self._found(content)
            if table is None:
                self._make_room(decoded_size(parquet))
                table = self._tables[content] = SharedTable(parquet)
                self._used.add(table)
            return table

    def _found(self, content: str) -> SharedTable | None:
        table = self._tables.get(content)
        if table is not None:
            self._tables.move_to_end(content)
        return table

    def _make_room(self, size: int) -> None:
        """Let tables go until another of ``size`` bytes may come."""
        if size > MAX_TABLE:
            raise LimitExceeded(
                f"the table holds {size >> 20} MB, and queries take {MAX_TABLE >> 20} MB at most:"
                " read its file"
            )
        while sum(table.size for table in self._used) + size > self._most:
            if not self._tables:
                raise LimitExceeded("tables of other calls fill the memory: call again later")
            self._tables.popitem(last=False)


def decoded_size(parquet: bytes) -> int:
    """Return the bytes that a table of a Parquet file takes decoded; its columns are numbers."""
    source = pq.ParquetFile(pa.BufferReader(parquet))
    bits: int = sum(field.type.bit_width for field in source.schema_arrow)
    size: int = source.metadata.num_rows * bits // 8
    return size


def mapped(descriptor: int) -> pa.Table:
    """Return the table that a descriptor of a `SharedTable` holds, without copying it."""
    # Older Linux maps what is sealed against writing only privately; nothing is copied either way.
    memory = mmap.mmap(descriptor, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    reader = pa.BufferReader(pa.py_buffer(memory))
    columns = []
    while reader.tell() < reader.size():
        columns.append(pa.ipc.open_stream(reader).read_all())
    schema = pa.schema([column.schema.field(0) for column in columns], columns[0].schema.metadata)
    return pa.table([column.column(0) for column in columns], schema=schema)


def _written(write: Callable[[IO[bytes]], None]) -> int:
    """Return a descriptor, for reading only, of a file without a name; in memory on Linux."""
    if sys.platform == "linux":
        memory = os.memfd_create("table", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with os.fdopen(memory, "wb") as file:
            write(file)
            file.flush()
            # A mapped file that got shorter would end whoever reads it.
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
            return os.open(f"/proc/self/fd/{memory}", os.O_RDONLY | os.O_CLOEXEC)
    with tempfile.NamedTemporaryFile() as file:
        write(file)
        file.flush()
        return os.open(file.name, os.O_RDONLY | os.O_CLOEXEC)


def _copy(source: pq.ParquetFile, file: IO[bytes]) -> None:
    """Write a Parquet file as Arrow streams, one for each column, which is whole in it.

    To take rows of a column that is in parts, Arrow puts all of it together each time.
    """
    for name in source.schema_arrow.names:
        column = source.read([name]).combine_chunks()
        with pa.ipc.new_stream(file, column.schema) as writer:
            writer.write_table(column)

"""From integer totals to the published table, its files and its hash."""

import hashlib
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from fibstream.core.stage import Arrays

from .columns import with_meanings
from .measures import MEASURES, Objects
from .measures.objects import VoxelSize

ROWS_A_GROUP = 1 << 17  # of Parquet; fixed, because it is part of the bytes


def finish(total: Arrays, voxel_size_nm: VoxelSize, *, raw: bool = False) -> pa.Table:
    """Return the table of objects.

    Parameters
    ----------
    total
        Rows as `totals.RowTotals.total` or `totals.merge` return them.
    voxel_size_nm
        Decimal edge lengths of a voxel, ``(z, y, x)``, in nm.
    raw
        Whether the chunks were measured with intensities.

    Returns
    -------
    pyarrow.Table
        One row for each object, in ascending order of id, with the columns of all
        `measures.MEASURES`, without ``raw`` of those that need no intensities.
        An id of which only crossings are known, its own chunks being absent, has no row.

    Raises
    ------
    WrongUse
        The voxel size is not three positive finite numbers.
    """
    objects = Objects(total, voxel_size_nm)
    columns: dict[str, pa.Array] = {}
    for measure in MEASURES:
        if raw or not measure.raw:
            made = zip(measure.columns.items(), measure.compute(objects), strict=True)
            columns |= {name: pa.array(values, column.type) for (name, column), values in made}
    return pa.table(columns)


def to_parquet(table: pa.Table, metadata: Mapping[str, str]) -> bytes:
    """Return the table as a Parquet file that carries ``metadata``, and of columns what they are.

    The same rows and metadata give the same bytes under the same version of Arrow.
    """
    table = with_meanings(table.combine_chunks())
    table = table.replace_schema_metadata(dict(sorted(metadata.items())))
    sink = pa.BufferOutputStream()
    pq.write_table(
        table, sink, version="2.6", compression="zstd", compression_level=3,
        row_group_size=ROWS_A_GROUP,
    )  # fmt: skip
    data: bytes = sink.getvalue().to_pybytes()
    return data


def to_csv(table: pa.Table) -> bytes:
    """Return the table as CSV: UTF-8, line feeds, no quotes.

    Integers are decimal, booleans ``true`` and ``false``, floats the shortest decimal that reads
    back as the same float; what is not known is empty.
    """
    columns = [[cell(value) for value in column.to_pylist()] for column in table.columns]
    return lines([",".join(table.column_names), *map(",".join, zip(*columns, strict=True))])


def cell(value: bool | int | float | str | None) -> str:
    """Return a value as text that reads back as the same value; nothing where it is not known."""
    if value is None or isinstance(value, str):
        return value or ""
    return str(value).lower() if isinstance(value, bool) else repr(value)


def lines(rows: Sequence[str]) -> bytes:
    """Return rows of text as the bytes of a file."""
    return "".join(f"{row}\n" for row in rows).encode()


def rows_hash(table: pa.Table) -> str:
    """Return the SHA-256 of a table's rows, in hexadecimal.

    It depends on the names, types and values of the columns only, not on how the table was made:
    rows are taken in order of ``id`` and columns in order of name.  What is hashed is the number of
    rows, and for each column its name, its type and its values, little-endian, numbers in
    64 bits and booleans in 8; name and type end with a zero byte.
    """
    table = table.sort_by("id").select(sorted(table.column_names))
    digest = hashlib.sha256(table.num_rows.to_bytes(8, "little"))
    for name, column in zip(table.column_names, table.columns, strict=True):
        values = column.to_numpy()
        little_endian = values.dtype.newbyteorder("<")
        assert values.dtype.kind in "uifb", f"{name} holds {column.type}"
        digest.update(f"{name}\0{values.dtype.name}\0".encode())
        digest.update(values.astype(little_endian).tobytes())
    return digest.hexdigest()

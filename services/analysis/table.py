"""From integer totals to the published table, its files and its hash.

Every float is the exact rational rounded once.  A voxel size is the decimal that the user wrote,
not its binary neighbour: the three sizes are whole numbers of one unit, ``1 / denominator`` nm, so
each cell is one division of two integers, which Python rounds correctly.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fibstream.core.errors import WrongUse
from fibstream.core.stage import Arrays

from .totals import LIMB_BITS

ROWS_A_GROUP = 1 << 17  # of Parquet; fixed, because it is part of the bytes

COSEM_HEADER = (
    "Object ID,Volume (nm^3),Surface Area (nm^2),COM X (nm),COM Y (nm),COM Z (nm),"
    "MIN X (nm),MIN Y (nm),MIN Z (nm),MAX X (nm),MAX Y (nm),MAX Z (nm),,Total Objects"
)

VoxelSize = Sequence[float]


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
        One row for each object, in ascending order of id: ``id`` (uint64), ``voxels`` (int64),
        ``volume_nm3``, ``area_nm2`` (faces times their area), ``centroid_{z,y,x}_nm`` (mean voxel
        index times voxel size, no half voxel added), ``min_{z,y,x}`` and ``max_{z,y,x}`` (int64
        voxel indices, both inclusive), ``touches_border`` (bool), and with ``raw`` ``raw_mean``.
        An id of which only faces are known, its own chunks being absent, has no row.

    Raises
    ------
    WrongUse
        The voxel size is not three positive finite numbers.
    """
    total = {name: values[total["voxels"] > 0] for name, values in total.items()}
    edges, unit = _whole_edges(voxel_size_nm)
    voxels = total["voxels"].tolist()
    *sums, intensities = (_exact(limbs) for limbs in np.moveaxis(total["wide"], 1, 0))
    voxel = math.prod(edges)
    columns: dict[str, Any] = {
        "id": pa.array(total["id"], pa.uint64()),
        "voxels": pa.array(total["voxels"], pa.int64()),
        "volume_nm3": [n * voxel / unit**3 for n in voxels],
        "area_nm2": _areas(total["faces"].tolist(), edges, unit),
    }
    for axis, edge, of_axis in zip("zyx", edges, sums, strict=True):
        centroids = [s * edge / (n * unit) for s, n in zip(of_axis, voxels, strict=True)]
        columns[f"centroid_{axis}_nm"] = centroids
    for name, bound in (("min", "low"), ("max", "high")):
        for axis, indices in zip("zyx", total[bound].T, strict=True):
            columns[f"{name}_{axis}"] = pa.array(indices, pa.int64())
    columns["touches_border"] = pa.array(total["touches_border"], pa.bool_())
    if raw:
        columns["raw_mean"] = [s / n for s, n in zip(intensities, voxels, strict=True)]
    return pa.table(
        {k: pa.array(v, pa.float64()) if isinstance(v, list) else v for k, v in columns.items()}
    )


def _whole_edges(voxel_size_nm: VoxelSize) -> tuple[list[int], int]:
    """Return the voxel's edges as whole multiples of ``1 / unit`` nm, and the unit."""
    sizes = [float(size) for size in voxel_size_nm]
    if len(sizes) != 3 or not all(math.isfinite(size) and size > 0 for size in sizes):
        raise WrongUse(f"voxel size {voxel_size_nm}: expected three positive numbers Z,Y,X in nm")
    decimals = [Fraction(str(size)) for size in sizes]
    unit = math.lcm(*(decimal.denominator for decimal in decimals))
    return [int(decimal * unit) for decimal in decimals], unit


def _exact(limbs: np.ndarray[Any, Any]) -> list[int]:
    return [(high << LIMB_BITS) + low for high, low in limbs.tolist()]


def _areas(faces: list[list[int]], edges: list[int], unit: int) -> list[float]:
    z, y, x = edges
    return [(fz * y * x + fy * z * x + fx * z * y) / unit**2 for fz, fy, fx in faces]


def to_parquet(table: pa.Table, metadata: Mapping[str, str]) -> bytes:
    """Return the table as a Parquet file that carries ``metadata``.

    The same rows and metadata give the same bytes under the same version of Arrow.
    """
    table = table.combine_chunks().replace_schema_metadata(dict(sorted(metadata.items())))
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
    back as the same float.
    """
    columns = [[_cell(value) for value in column.to_pylist()] for column in table.columns]
    return _lines([",".join(table.column_names), *map(",".join, zip(*columns, strict=True))])


def cosem_csv(table: pa.Table, voxel_size_nm: VoxelSize) -> bytes:
    """Return the table in the columns of Heinrich et al. (Nature 2021), axes in order x, y, z.

    MIN and MAX are voxel index times voxel size.  The last two cells of the first row are an empty
    one and the number of objects, of every other row two empty ones; a table without objects is
    its header.  The object id is decimal, every other number a float as in `to_csv`.
    """
    edges, unit = _whole_edges(voxel_size_nm)
    names = ["volume_nm3", "area_nm2", *(f"centroid_{axis}_nm" for axis in "xyz")]
    columns = [table.column(name).to_pylist() for name in ("id", *names)]
    for bound in ("min", "max"):
        for axis, edge in zip("xyz", reversed(edges), strict=True):
            indices = table.column(f"{bound}_{axis}").to_pylist()
            columns.append([index * edge / unit for index in indices])
    rows = [",".join(map(_cell, row)) + ",," for row in zip(*columns, strict=True)]
    if rows:
        rows[0] += str(len(rows))
    return _lines([COSEM_HEADER, *rows])


def _cell(value: bool | int | float) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _lines(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


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

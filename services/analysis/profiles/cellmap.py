"""The tables of objects and of contact sites of cellmap-analyze 0.6.2 (``measure``)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from fibstream.services.analysis.measures.objects import VoxelSize
from fibstream.services.analysis.table import cell, lines

INTENSITIES = ("Mean Intensity", "Std Intensity")  # only where there is raw


def cellmap_csv(table: pa.Table, voxel_size_nm: VoxelSize, offset_nm: VoxelSize) -> bytes:
    """Return the table in the columns of cellmap-analyze, axes in order x, y, z.

    Faces on the volume's border count as surface.  Coordinates are of voxel centres in the world:
    the place of the volume is in them.  Elongation is the major over the middle axis, flatness the
    middle over the minor one; where the shorter of the two is 0 the cell is empty.  Floats are as
    in `table.to_csv`.
    """
    return _csv(_columns(table, voxel_size_nm, offset_nm))


def cellmap_sites_csv(
    table: pa.Table, voxel_size_nm: VoxelSize, offset_nm: VoxelSize, names: tuple[str, str]
) -> bytes:
    """Return a table of contacts, with the ids that a contact has voxels of, and their area in it.

    Both are lists in a cell, of one id here, since a contact is between two objects; of none where
    the contact has no voxel of that side.
    """
    columns = dict(_columns(table, voxel_size_nm, offset_nm))
    for side, name in zip("ab", names, strict=True):
        found = zip(table[f"id_{side}"].to_pylist(), table[f"area_{side}_nm2"].to_pylist(),
                    strict=True)  # fmt: skip
        rows = [(f"[{id_}]", f"[{cell(area)}]") if area else ("[]", "[]") for id_, area in found]
        columns[f"Contacting {name} IDs"] = [ids for ids, _ in rows]
        columns[f"Contacting {name} Surface Area (nm^2)"] = [areas for _, areas in rows]
    return _csv(columns)


def _csv(columns: Mapping[str, Sequence[Any]]) -> bytes:
    rows = [",".join(map(_cell, row)) for row in zip(*columns.values(), strict=True)]
    return lines([",".join(columns), *rows])


def _columns(table: pa.Table, size: VoxelSize, offset: VoxelSize) -> Mapping[str, Sequence[Any]]:
    given = table.to_pydict()
    areas = zip(given["area_nm2"], given["border_area_nm2"], strict=True)
    columns: dict[str, Sequence[Any]] = {
        "Object ID": given["id"],
        "Volume (nm^3)": given["volume_nm3"],
        "Surface Area (nm^2)": [inside + border for inside, border in areas],
        "Radius of Gyration (nm)": given["radius_of_gyration_nm"],
    }
    places = list(zip("xyz", reversed(size), reversed(offset), strict=True))
    for axis, _, first in places:
        columns[f"COM {axis.upper()} (nm)"] = [c + first for c in given[f"centroid_{axis}_nm"]]
    for bound in ("min", "max"):
        for axis, edge, first in places:
            indices = given[f"{bound}_{axis}"]
            name = f"{bound.upper()} {axis.upper()} (nm)"
            columns[name] = [index * edge + first for index in indices]
    major, middle, minor = (given[f"axis_{which}_nm"] for which in ("major", "middle", "minor"))
    for n, lengths in enumerate((major, middle, minor), 1):
        columns[f"Principal Axis Length {n} (nm)"] = lengths
    columns["Elongation"] = _ratios(major, middle)
    columns["Flatness"] = _ratios(middle, minor)
    for axis in "xyz":
        columns[f"Principal Axis 1 {axis.upper()}"] = given[f"major_axis_{axis}"]
    for name, source in zip(INTENSITIES, ("raw_mean", "raw_std"), strict=True):
        if source in given:
            columns[name] = given[source]
    return columns


def _ratios(long: Sequence[float], short: Sequence[float]) -> list[float]:
    return [a / b if b else math.nan for a, b in zip(long, short, strict=True)]


def _cell(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return "" if math.isnan(value) else cell(value)

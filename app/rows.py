"""Rows of tables of objects as people read them: order, colours, names of columns and units."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import Dataset

from .colours import Colouring
from .parquet import read_parquet

BLACK = 0.02  # of the contrast: the inside of a mitochondrion is ten times as bright
COLUMNS: Mapping[str, str] = {
    "voxels": "voxels",
    "volume_nm3": "volume / µm³",
    "area_nm2": "surface / µm²",
    "centroid_z_nm": "z / nm",
    "centroid_y_nm": "y / nm",
    "centroid_x_nm": "x / nm",
    "touches_border": "cut by the border",
}
UNITS = {"volume_nm3": 1e9, "area_nm2": 1e6}  # of a column on the page, in that of the table

Row = dict[str, Any]


def ids_of(rows: Sequence[Row]) -> NDArray[np.uint64]:
    """Return the ids of rows, uint64 ``(n,)``."""
    return np.array([row["id"] for row in rows], np.uint64)


def colouring(rows: Sequence[Row], dataset: Dataset) -> Colouring:
    """Return the colours of the objects of a table, the largest first."""
    ends = (np.array([[row[f"{end}_{axis}"] for axis in "zyx"] for row in rows], np.int64)
            for end in ("min", "max"))  # fmt: skip
    low, high = (corners.reshape(-1, 3) for corners in ends)
    return Colouring(ids_of(rows), low, high, dataset.voxel_size_nm)


def rows_of(path: Path) -> list[Row]:
    """Return the rows of a table, the largest object first; none before it is made."""
    rows: list[Row] = read_parquet(path).to_pylist() if path.is_file() else []
    return sorted(rows, key=lambda row: (-row["voxels"], row["id"]))


def point(rows: Sequence[Row], dataset: Dataset) -> tuple[float, float, float]:
    """Return where the picture is cut, in nm: through the largest object, else the middle.

    An object that is black throughout was hardly imaged: another is shown where there is one.
    """
    candidates = [row for row in rows if not is_black(row, dataset)] or rows
    if candidates:
        z, y, x = (float(candidates[0][f"centroid_{axis}_nm"]) for axis in "zyx")
        return z, y, x
    shape = [edge or 0 for edge in dataset.shape]
    z, y, x = (n * s / 2 for n, s in zip(shape, dataset.voxel_size_nm, strict=True))
    return z, y, x


def is_black(row: Row, dataset: Dataset) -> bool:
    """Whether an object's mean grey value is the end of the contrast that networks see as black."""
    mean = row.get("raw_mean")
    if mean is None:
        return False
    low, high = dataset.contrast
    dark = (high - mean if dataset.invert else mean - low) / (high - low)
    return bool(dark < BLACK)


def columns(dataset: Dataset) -> Mapping[str, str]:
    """Return the headings of a table; its positions are counted from the first voxel's centre."""
    if not any(dataset.offset_nm):
        return COLUMNS
    return {c: f"{h} from the first voxel" if c.startswith("centroid") else h
            for c, h in COLUMNS.items()}  # fmt: skip


def volumes_of(rows: Sequence[Row]) -> list[float]:
    """Return volumes in cubic micrometres."""
    return [row["volume_nm3"] / UNITS["volume_nm3"] for row in rows]


def cell(value: Any, column: str) -> str:
    """Return a value of a table as text."""
    if isinstance(value, bool):
        return "yes" if value else ""
    if column in UNITS:
        return f"{value / UNITS[column]:.4g}"
    return f"{value:.0f}"

"""Totals of the organelles of a dataset: counts, volumes, relative volumes, densities.

After Extended Data Fig. 9a of Heinrich et al. 2021.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import pyarrow as pa

from fibstream.services.analysis.measures import Column

from .reference import Reference

UM3 = 1e9  # nm3
Row = dict[str, Any]

COLUMNS: Mapping[str, Column] = {
    "dataset": Column("string", "name of the dataset"),
    "organelle": Column("string", "name of the organelle"),
    "objects": Column("int64", "number of objects, those that the border cuts too"),
    "border_objects": Column("int64", "of them, those that the border of the volume cuts"),
    "volume_nm3": Column("double", "volume of all objects"),
    "area_nm2": Column("double", "their area by voxel faces, the border of the volume left out"),
    "crofton_area_nm2": Column("double", "their area by Crofton's formula, unbiased"),
    "mean_volume_nm3": Column("double", "mean volume of an object; nothing without objects"),
    "median_volume_nm3": Column("double", "median volume of an object"),
    "mean_crofton_area_nm2": Column("double", "mean area of an object, by Crofton's formula"),
    "relative_volume": Column("double", "volume_nm3 over reference_volume_nm3"),
    "objects_per_um3": Column("double", "objects in a cubic micrometre of the reference volume"),
    "reference": Column("string", "what relative_volume and objects_per_um3 relate to"),
    "reference_volume_nm3": Column("double", "its volume; nothing where none is known"),
}
SCHEMA = pa.schema([(name, column.type) for name, column in COLUMNS.items()])


def totals(dataset: str, tables: Mapping[str, pa.Table], reference: Reference | None) -> list[Row]:
    """Return a row for each organelle, with the columns of `COLUMNS`.

    Parameters
    ----------
    dataset
        Its name.
    tables
        The table of objects of each organelle, as `fibstream.services.analysis.table.finish` makes.
    reference
        What totals are part of; None where it is not known.

    Notes
    -----
    Sums are exact and rounded once: they do not depend on the order of objects. Organelles may
    overlap, and so their relative volumes need not add up to anything.
    """
    return [
        {"dataset": dataset, "organelle": name} | _figures(table) | _related(table, reference)
        for name, table in tables.items()
    ]


def _figures(table: pa.Table) -> Row:
    volumes, areas = _column(table, "volume_nm3"), _column(table, "crofton_area_nm2")
    count = table.num_rows
    return {
        "objects": count,
        "border_objects": sum(table["touches_border"].to_pylist()),
        "volume_nm3": math.fsum(volumes),
        "area_nm2": math.fsum(_column(table, "area_nm2")),
        "crofton_area_nm2": math.fsum(areas),
        "mean_volume_nm3": math.fsum(volumes) / count if count else None,
        "median_volume_nm3": median(volumes) if count else None,
        "mean_crofton_area_nm2": math.fsum(areas) / count if count else None,
    }


def _related(table: pa.Table, reference: Reference | None) -> Row:
    if reference is None or not reference.volume_nm3:
        name = "not known" if reference is None else f"{reference.name}, which is empty"
        return {"relative_volume": None, "objects_per_um3": None, "reference": name,
                "reference_volume_nm3": None if reference is None else 0.0}  # fmt: skip
    return {
        "relative_volume": math.fsum(_column(table, "volume_nm3")) / reference.volume_nm3,
        "objects_per_um3": table.num_rows / (reference.volume_nm3 / UM3),
        "reference": reference.name,
        "reference_volume_nm3": reference.volume_nm3,
    }


def _column(table: pa.Table, name: str) -> Sequence[float]:
    values: list[float] = table[name].to_pylist()
    return values

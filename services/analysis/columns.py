"""The meaning and the unit of each column of a table, which the table carries itself. Pure."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa

from .measures import MEASURES

MEANING = {name: column.meaning for measure in MEASURES for name, column in measure.columns.items()}


_UNITS = {
    r".*_(nm[23]?)": r"\1",
    r"voxels|(min|max)_[zyx]": "voxels",
    r"raw_.*": "grey values",
}


class Described(NamedTuple):
    """A column: its name, Arrow type, meaning and unit; what has none is a number or an id."""

    name: str
    type: str
    meaning: str
    unit: str


def described(schema: pa.Schema) -> list[Described]:
    """Return what the columns of a table are."""
    return [
        Described(field.name, str(field.type), _meaning(field), unit_of(field.name))
        for field in schema
    ]


def with_meanings(table: pa.Table) -> pa.Table:
    """Return the table with the meaning and the unit of each column in the column's metadata."""
    fields = [
        field.with_metadata({"meaning": column.meaning, "unit": column.unit})
        for field, column in zip(table.schema, described(table.schema), strict=True)
    ]
    return table.cast(pa.schema(fields, table.schema.metadata))


def unit_of(column: str) -> str:
    """Return the unit of a column, which its name ends with: ``nm2`` of ``area_nm2``."""
    for pattern, unit in _UNITS.items():
        if found := re.fullmatch(pattern, column):
            return found.expand(unit)
    return ""


def _meaning(field: pa.Field) -> str:
    """Return what a column means; one that only some tables have carries that itself."""
    own: Mapping[bytes, bytes] = field.metadata or {}
    return MEANING.get(field.name) or own.get(b"meaning", b"").decode()

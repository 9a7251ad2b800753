"""The meaning of each column of a table of objects."""

from collections.abc import Mapping

import pyarrow as pa

from .measures import MEASURES

MEANING = {name: column.meaning for measure in MEASURES for name, column in measure.columns.items()}


def described(schema: pa.Schema) -> list[tuple[str, str, str]]:
    """Return name, type and meaning of each column of a table."""
    return [(field.name, str(field.type), _meaning(field)) for field in schema]


def _meaning(field: pa.Field) -> str:
    """Return what a column means; one that only some tables have carries that itself."""
    own: Mapping[bytes, bytes] = field.metadata or {}
    return MEANING.get(field.name) or own.get(b"meaning", b"").decode()

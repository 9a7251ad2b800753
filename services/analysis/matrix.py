"""Which organelles are in contact, and how much: one row for each word ``contacts``. Pure."""

import math
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .stages.contact_words import Contact

SUMS = ("volume_nm3", "area_a_nm2", "area_b_nm2")
SCHEMA = pa.schema(
    [("name", pa.string()), ("a", pa.string()), ("b", pa.string()), ("kind", pa.string())]
    + [("distance_nm", pa.float64())]
    + [(name, pa.int64()) for name in ("contacts", "pairs", "objects_a", "objects_b")]
    + [(name, pa.float64()) for name in SUMS]
)


def class_matrix(found: Iterable[tuple[Contact, pa.Table]]) -> pa.Table:
    """Return what is in contact with what, a row for each table of contacts.

    ``pairs`` counts pairs of objects, ``objects_a`` the objects of ``a`` in contact with any of
    ``b``; of contacts within one organelle both count all its objects. Sums are rounded once, so
    they depend on no order of rows.
    """
    rows = [_row(contact, table) for contact, table in found]
    return pa.Table.from_pylist(rows, SCHEMA)


def _row(contact: Contact, table: pa.Table) -> dict[str, Any]:
    pairs = table.select(["id_a", "id_b"]).group_by(["id_a", "id_b"]).aggregate([])
    one, other = (pc.unique(pairs[name]) for name in ("id_a", "id_b"))
    if contact.a == contact.b:
        one = other = pc.unique(pa.concat_arrays([one, other]))
    return {
        "name": contact.name, "a": contact.a, "b": contact.b, "kind": contact.kind,
        "distance_nm": contact.distance_nm, "contacts": table.num_rows, "pairs": pairs.num_rows,
        "objects_a": len(one), "objects_b": len(other),
        **{name: math.fsum(table[name].to_pylist()) for name in SUMS},
    }  # fmt: skip

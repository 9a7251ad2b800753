"""The matrix of contacts is what one counts by hand, for any order of rows."""

import math
from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fibstream.core.dataset import RECORD
from fibstream.core.keys import canonical
from fibstream.services.analysis.matrix import SCHEMA, SUMS
from fibstream.v1 import analysis_pb2 as pb

from ..support import rpc
from ..support.patience import PATIENCE_S
from ..support.rpc import CODE
from .cell import Cell, Stub

PAIR, SAME = "generic--mito", "close"


@pytest.fixture
def cell(cell: Cell) -> Cell:
    """Return a dataset with contacts of two organelles, and of one, within 20 nm."""
    steps = {
        "contacts": (
            {"a": "mito", "b": "generic", "distance_nm": 20.0, "kind": "refined"},
            {"a": "mito", "b": "mito", "distance_nm": 8.0, "name": SAME},
        )
    }
    cell.dataset = cell.dataset.model_copy(update={"steps": steps})
    cell.files.put(RECORD, canonical(cell.dataset.model_dump(mode="json")))
    return cell


def contacts(seed: int, count: int = 300) -> pa.Table:
    """Return rows of contacts: few objects, some of them with ids above 2^63."""
    chance = np.random.default_rng(seed)
    ids = np.array([1, 5, 2**63, 2**64 - 1], np.uint64)
    return pa.table(
        {
            "id": pa.array(np.sort(chance.choice(10**9, count, replace=False)), pa.uint64()),
            "id_a": ids[chance.integers(0, 3, count)], "id_b": ids[chance.integers(1, 4, count)],
            **{name: 10 ** chance.uniform(-9, 9, count) for name in SUMS},
        }
    )  # fmt: skip


def matrix(stub: Stub, contacts: str = "") -> pa.Table:
    request = pb.ContactMatrixRequest(dataset="cell", contacts=contacts)
    answers = stub.ContactMatrix(request, timeout=PATIENCE_S)
    return pa.ipc.open_stream(b"".join(answer.rows for answer in answers)).read_all()


def test_objects_in_contact_are_counted_in_pairs(cell: Cell, stub: Stub) -> None:
    table = contacts(1)
    cell.write(table, f"contacts/{PAIR}")
    by_pair: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for row in table.to_pylist():
        by_pair[row["id_a"], row["id_b"]].append(row)
    found = matrix(stub, PAIR).to_pylist()
    assert [(row["id_a"], row["id_b"]) for row in found] == sorted(by_pair)
    for row in found:
        own = by_pair[row["id_a"], row["id_b"]]
        assert row["contacts"] == len(own)
        for name in SUMS:
            assert row[name] == pytest.approx(math.fsum(each[name] for each in own), rel=1e-12)


def test_organelles_in_contact_are_counted_by_name(cell: Cell, stub: Stub) -> None:
    tables = {PAIR: contacts(2), SAME: contacts(3)}
    for name, table in tables.items():
        cell.write(table, f"contacts/{name}")
    found = matrix(stub)
    assert found.schema.equals(SCHEMA)
    rows = {row["name"]: row for row in found.to_pylist()}
    assert list(rows) == [PAIR, SAME]
    assert [rows[PAIR][word] for word in ("a", "b", "kind", "distance_nm")] == [
        "generic", "mito", "refined", 20.0
    ]  # fmt: skip
    for name, row in rows.items():
        a, b = (tables[name][side].to_pylist() for side in ("id_a", "id_b"))
        both = set(a) | set(b)
        objects = (both, both) if name == SAME else (set(a), set(b))
        assert (row["contacts"], row["pairs"]) == (len(a), len(set(zip(a, b, strict=True))))
        assert (row["objects_a"], row["objects_b"]) == (len(objects[0]), len(objects[1]))
        for word in SUMS:
            assert row[word] == math.fsum(tables[name][word].to_pylist())


def test_contacts_that_are_not_there_yet_have_no_rows(cell: Cell, stub: Stub) -> None:
    assert matrix(stub, PAIR).num_rows == 0
    assert matrix(stub).column("contacts").to_pylist() == [0, 0]


def test_contacts_that_the_pipeline_lacks_are_named(cell: Cell, stub: Stub) -> None:
    code, says = rpc.refused(lambda: matrix(stub, "er--mito"))
    assert code == CODE.NOT_FOUND
    assert says == f"contacts 'er--mito': cell has {PAIR}, {SAME}"

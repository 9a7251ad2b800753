"""Pages of a table: they never overlap, and a filter or an order is nothing else."""

import base64
import random
from typing import Any

import pyarrow as pa
import pytest

from fibstream.core.keys import canonical
from fibstream.runtime.paging import MAX_PAGE
from fibstream.v1 import analysis_pb2 as pb

from ..support.rpc import CODE
from .cell import COUNT, Cell, Stub, query, refused, rows, table_of


def pages(stub: Stub, **given: Any) -> tuple[list[dict[str, Any]], list[pb.QueryObjectsResponse]]:
    """Return the rows of every page one after the other, and each answer."""
    answers: list[pb.QueryObjectsResponse] = []
    token = ""
    while not answers or token:
        answers.append(query(stub, page_token=token, **given))
        token = answers[-1].next_page_token
    return [row for a in answers for row in table_of(a).to_pylist()], answers


def test_all_pages_together_are_the_table_by_id(cell: Cell, stub: Stub) -> None:
    table = rows(1)
    cell.write(table)
    found, answers = pages(stub, organelle="mito", page_size=30)
    assert found == table.to_pylist()
    assert table_of(answers[0]).schema.types == table.schema.types
    assert [len(table_of(a)) for a in answers] == [30, 30, 30, 10]
    assert [len(table_of(a)) for a in pages(stub, organelle="mito", page_size=50)[1]] == [50, 50]
    assert {a.total for a in answers} == {COUNT}


@pytest.mark.parametrize("size", [1, 7, 25, 0])
def test_an_order_with_many_ties_is_total(cell: Cell, stub: Stub, size: int) -> None:
    cell.write(rows(1, 25))
    found, _ = pages(stub, organelle="mito", order_by="voxels DESC, touches_border", page_size=size)
    expected = sorted(
        rows(1, 25).to_pylist(), key=lambda r: (-r["voxels"], r["touches_border"], r["id"])
    )
    assert found == expected


def test_a_filter_chooses_rows(cell: Cell, stub: Stub) -> None:
    table = rows(1)
    cell.write(table)
    condition = "voxels > 2 AND NOT touches_border -- large ones inside"
    found, answers = pages(stub, organelle="mito", filter=condition, order_by="id DESC")
    wanted = [r for r in table.to_pylist() if r["voxels"] > 2 and not r["touches_border"]]
    assert found == wanted[::-1] and 0 < len(found) < COUNT
    assert answers[0].total == len(wanted)
    assert table_of(query(stub, organelle="mito", filter="voxels > 99")).num_rows == 0
    assert table_of(query(stub, organelle="generic", filter="voxels > 0")).num_rows == 0


def test_values_that_are_not_numbers_are_answered_and_compared(cell: Cell, stub: Stub) -> None:
    table = rows(1, 3)
    place = table.column_names.index("raw_mean")
    table = table.set_column(place, "raw_mean", pa.array([float("nan"), 1.0, float("inf")]))
    cell.write(table)
    found, _ = pages(stub, organelle="mito", order_by="raw_mean")
    assert [str(r["raw_mean"]) for r in found] == ["1.0", "inf", "nan"]
    assert query(stub, organelle="mito", filter="isnan(raw_mean)").total == 1
    code, says = refused(stub, organelle="mito", filter="voxels > 'NaN'")
    assert code == CODE.INVALID_ARGUMENT and says.startswith("filter: Could not convert")


def test_a_table_that_changes_between_pages_is_refused(cell: Cell, stub: Stub) -> None:
    cell.write(rows(1))
    token = query(stub, organelle="mito", page_size=10).next_page_token
    cell.write(rows(1))  # the same again: nothing changed
    assert query(stub, organelle="mito", page_size=10, page_token=token).total == COUNT
    cell.write(rows(2))
    code, says = refused(stub, organelle="mito", page_size=10, page_token=token)
    assert code == CODE.FAILED_PRECONDITION and "start again" in says


def test_a_token_belongs_to_its_query(cell: Cell, stub: Stub) -> None:
    cell.write(rows(1))
    token = query(stub, organelle="mito", filter="voxels > 1", page_size=10).next_page_token
    others: list[dict[str, Any]] = [
        {"filter": "voxels > 2"}, {"filter": "voxels > 1", "order_by": "voxels"}
    ]  # fmt: skip
    for other in others:
        code, says = refused(stub, organelle="mito", page_token=token, **other)
        assert code == CODE.INVALID_ARGUMENT and "page_token" in says


def test_garbage_is_no_token(cell: Cell, stub: Stub) -> None:
    cell.write(rows(1))
    chance = random.Random(4)
    bad = [base64.urlsafe_b64encode(chance.randbytes(n)).decode() for n in range(1, 40)]
    bad += ["x", "\u00e9", "====", "a" * 5000]
    for parts in ([], [1], [1, 2, 3], ["1", "a", "b"], [-5, "a", "b"], [True, 1, 2], {"a": 1}):
        bad.append(base64.urlsafe_b64encode(canonical(parts)).decode())
    for token in bad:
        assert refused(stub, organelle="mito", page_token=token)[0] == CODE.INVALID_ARGUMENT


def test_a_page_has_a_limit(cell: Cell, stub: Stub) -> None:
    code, says = refused(stub, organelle="mito", page_size=2**32 - 1)
    assert code == CODE.RESOURCE_EXHAUSTED and f"at most {MAX_PAGE}" in says


def test_the_largest_page_fits_a_message(cell: Cell, stub: Stub) -> None:
    cell.write(rows(1, MAX_PAGE + 1))
    answer = query(stub, organelle="mito", page_size=MAX_PAGE)
    assert table_of(answer).num_rows == MAX_PAGE and len(answer.rows) < 4 << 20


BAD_ORDERS = ["nope", "voxels SIDEWAYS", "voxels DESC LIMIT 1", "voxels,", "1", "random()",
              "voxels, voxels", "voxels; DROP TABLE mito", "(SELECT 1)"]  # fmt: skip


@pytest.mark.parametrize("order", BAD_ORDERS)
def test_an_order_is_columns_and_nothing_else(cell: Cell, stub: Stub, order: str) -> None:
    code, says = refused(stub, organelle="mito", order_by=order)
    assert code == CODE.INVALID_ARGUMENT and says.startswith("order_by")


def test_a_wrong_column_names_the_columns(cell: Cell, stub: Stub) -> None:
    wrong: list[dict[str, Any]] = [{"order_by": "size"}, {"filter": "size > 3"}]
    for given in wrong:
        _, says = refused(stub, organelle="mito", **given)
        assert "volume_nm3" in says and "size" in says


BAD_FILTERS = [
    "true) UNION ALL SELECT * FROM mito WHERE (true", "true); DROP TABLE mito; --",
    "true); SELECT (true", "true) ORDER BY (id", "true) GROUP BY (id", "true) LIMIT (1",
    "true) -- \n WINDOW (", "(", ")", "/*", "'", "\0", "id = ?", "id = $1", "random() < 0.5",
    "uuid() IS NULL", "RANDOM () < 0.5", "nextval('s') > 0", "error('x')", "now() IS NULL",
    "id IN (SELECT id FROM read_parquet('/etc/passwd'))",
    "id IN (SELECT length(content) FROM read_text('/etc/passwd'))",
    "id IN (SELECT id FROM generic)", "true) QUALIFY (true", "true) USING SAMPLE reservoir(50",
    "id IN (SELECT 1 FROM '/etc/passwd')", "x" * 30_000,
]  # fmt: skip


@pytest.mark.parametrize("condition", BAD_FILTERS)
def test_a_filter_is_one_condition_on_its_table(cell: Cell, stub: Stub, condition: str) -> None:
    cell.write(rows(1))
    code, says = refused(stub, organelle="mito", filter=condition)
    assert code in (CODE.INVALID_ARGUMENT, CODE.RESOURCE_EXHAUSTED) and "filter" in says
    assert query(stub, organelle="mito").total == COUNT

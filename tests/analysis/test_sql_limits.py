"""Filters and SQL that are deep, or whose errors repeat them: one line each."""

import pyarrow as pa
import pytest

from fibstream.core.errors import WrongUse
from fibstream.services.analysis.edges.sql import MAX_NESTED, Choice, choose, select

TABLES = {"mito": pa.table({"id": pa.array([1, 2, 3], pa.uint64()), "v": [1.0, 2.0, 3.0]})}


def filtered(condition: str) -> int:
    return choose(TABLES, Choice("mito", condition, (), 0, 10)).total


DEEP = {
    "parentheses": lambda n: "(" * n + "v = 1" + ")" * n,
    "not": lambda n: "NOT " * n + "true",
    "sum": lambda n: "v = " + "1 + " * n + "1",
    "case": lambda n: "CASE WHEN true THEN " * n + "true" + " END" * n,
    "call": lambda n: "abs(" * n + "v" + ")" * n + " = 1",
    "list": lambda n: "[" * n + "1" + "]" * n + " IS NOT NULL",
}


@pytest.mark.parametrize("form", DEEP.values(), ids=DEEP)
@pytest.mark.parametrize("depth", [150, 450, 640])
def test_what_is_deep_is_refused(form, depth: int) -> None:
    assert filtered(form(20)) >= 0
    with pytest.raises(WrongUse, match=f"^filter: expected expressions at most {MAX_NESTED} deep"):
        filtered(form(depth))


def test_selects_within_selects_are_refused_too() -> None:
    with pytest.raises(WrongUse, match=f"^sql: expected expressions at most {MAX_NESTED} deep"):
        select(TABLES, "SELECT * FROM (" * 500 + "SELECT 1" + ")" * 500)


def test_filters_may_add_and_subtract() -> None:
    assert filtered("v + 1 > 2") == 2 and filtered("v - id = 0") == 3
    with pytest.raises(WrongUse, match=r"random\(\) may give another value"):
        filtered("v + random() > 2")


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT {'q' * 5000} FROM mito",
        f'SELECT * FROM "{"q " * 2000}"', f"SELECT '{'q' * 900}'::INT",
        f"SELECT {'q' * 900}(1)", f"{'q' * 5000}",
    ],
)  # fmt: skip
def test_an_error_does_not_repeat_the_statement(sql: str) -> None:
    with pytest.raises(WrongUse) as caught:
        select(TABLES, sql)
    assert len(str(caught.value)) < 200 and str(caught.value).count("q") < 110

"""The evaluation store: columns, replacement, and what is no store."""

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fibstream.app.evaluation.selection import scores_of
from fibstream.app.evaluation.store import SCHEMA, Facts, append, read, rows_of
from fibstream.core.errors import WrongUse
from fibstream.kernels.metrics import PUBLISHED, Limits


def facts(**changes: object) -> Facts:
    base: dict[str, object] = {
        "path": "p.zarr", "label": "mito", "crop": "c1", "setup": "a", "iteration": 25_000,
        "threshold": 127.0,
    }  # fmt: skip
    return Facts(**(base | changes))  # type: ignore[arg-type]


def values(path: Path) -> dict[tuple[str, str], float]:
    return {(row["crop"], row["metric"]): row["value"] for row in read(path).to_pylist()}


def test_a_repeated_comparison_replaces_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "store.parquet"
    append(path, rows_of(facts(), {"dice": 0.5, "hausdorff": None}, PUBLISHED))
    append(path, rows_of(facts(), {"dice": 0.75}, PUBLISHED))
    append(path, rows_of(facts(crop="c2"), {"dice": 0.25}, PUBLISHED))
    assert values(path) == {("c1", "dice"): 0.75, ("c1", "hausdorff"): None, ("c2", "dice"): 0.25}
    assert pq.read_schema(path).remove_metadata() == SCHEMA


def test_parameters_tell_rows_apart_and_only_the_asked_ones_are_chosen_from(tmp_path) -> None:
    path, name = tmp_path / "store.parquet", "recall_with_tolerance"
    append(path, rows_of(facts(), {name: 0.5, "dice": 0.6}, PUBLISHED))
    append(path, rows_of(facts(), {name: 0.9, "dice": 0.6}, Limits(80, 200)))
    assert read(path).num_rows == 3
    assert {s.metric: s.value for s in scores_of(read(path))} == {name: 0.5, "dice": 0.6}
    other = scores_of(read(path), Limits(80, 200))
    assert {s.metric: s.value for s in other} == {name: 0.9, "dice": 0.6}


def test_only_predictions_at_the_threshold_with_a_value_are_chosen_from(tmp_path) -> None:
    path = tmp_path / "store.parquet"
    for wrong in ({"refined": True}, {"threshold": 100.0}, {"threshold": None}, {"setup": None},
                  {"iteration": None}):  # fmt: skip
        append(path, rows_of(facts(**wrong), {"dice": 0.5}, PUBLISHED))
    append(path, rows_of(facts(crop="c3"), {"dice": None, "jaccard": math.nan}, PUBLISHED))
    assert scores_of(read(path)) == []


def test_processes_that_add_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.parquet"
    with ThreadPoolExecutor(8) as pool:
        rows = [rows_of(facts(crop=f"c{n}"), {"dice": n / 32}, PUBLISHED) for n in range(32)]
        list(pool.map(lambda each: append(path, each), rows))
    assert len(values(path)) == 32


def test_what_is_no_store_is_named_and_left_alone(tmp_path: Path) -> None:
    text, other = tmp_path / "t.parquet", tmp_path / "o.parquet"
    text.write_text("none")
    pq.write_table(pa.table({"a": [1]}), other)
    for path, words in ((text, "not a Parquet file"), (other, "other columns")):
        before = path.read_bytes()
        with pytest.raises(WrongUse, match=words):
            append(path, rows_of(facts(), {"dice": 0.5}, PUBLISHED))
        assert path.read_bytes() == before
    with pytest.raises(WrongUse, match="no such file"):
        read(tmp_path / "none.parquet")

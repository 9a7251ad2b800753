"""`fibstream query` on a folder: no service is needed, and the limits are those of services."""

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from fibstream.core.events import Record
from fibstream.runtime.root import Root
from fibstream.store.local import LocalFiles

from ..analysis.cell import COUNT, Cell, rows
from ..support.command import Answer, inside


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[Cell]:
    root = Root(str(tmp_path))
    root.make("cell")
    made = Cell(root)
    made.record(z=12)
    yield made
    made.bus.close()


def query(folder: Path, sql: str, *more: object) -> Answer:
    return inside("query", sql, "--dataset", folder / "cell.zarr", *more)


def test_every_table_of_a_folder_is_there(cell: Cell, tmp_path: Path) -> None:
    cell.write(rows(1))
    answer = query(
        tmp_path, "SELECT count(*) AS n FROM mito UNION ALL SELECT count(*) FROM generic"
    )
    assert answer.code == 0 and answer.out.split() == ["n", str(COUNT), "0"]
    for name in ("t.csv", "t.parquet"):
        answer = query(tmp_path, "FROM mito ORDER BY id", "--out", tmp_path / name)
        assert answer.code == 0 and f"{COUNT} rows" in answer.out
    assert pq.read_table(tmp_path / "t.parquet")["id"] == rows(1)["id"]
    assert pa_csv.read_csv(tmp_path / "t.csv")["id"].to_pylist() == rows(1)["id"].to_pylist()


def test_a_dataset_that_is_not_complete_is_named(cell: Cell, tmp_path: Path) -> None:
    def note() -> str:
        return query(tmp_path, "SELECT 1").err

    assert "its own log is empty" in note()  # it may be on a bus elsewhere
    cell.write(rows(1))
    assert "note: " in note() and "not complete: raw is not done everywhere" in note()
    cell.record()
    assert "its end is not known yet" in note()
    cell.publish(Record("labels/mito", (0, 0, 0), "failed", "k", {}, reason="full"))
    assert "1 chunks failed" in note()


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT * FROM '/etc/passwd'", "sql:"), ("SELECT 1; SELECT 2", "expected one SELECT"),
        ("SELECT nope FROM mito", "there are: mito: id"), (" ", "expected one SELECT"),
        # On a machine that others use its time may end before its memory does.
        ("SELECT range(100000000)", "memory|longer than"), ("FROM range(1000000)", "LIMIT"),
    ],
)  # fmt: skip
def test_what_services_refuse_is_refused(cell: Cell, tmp_path: Path, sql: str, says: str) -> None:
    answer = query(tmp_path, sql)
    assert answer.code == 2 and re.search(says, answer.err) and answer.out == ""


def test_wrong_places_are_named(
    tmp_path: Path, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = inside("query", "SELECT 1", "--dataset", tmp_path / "none.zarr")
    assert answer.code == 2 and "no such folder" in answer.err
    monkeypatch.chdir(tmp_path)
    answer = inside("query", "SELECT 1", "--dataset", "cell", "--server", "127.0.0.1:1")
    assert answer.code != 0 and "did you mean the folder, --dataset cell.zarr?" in answer.err
    files = LocalFiles(tmp_path / "cell.zarr")
    cell.write(rows(1))
    handle = files.open("tables/mito.parquet")
    assert handle is not None
    files.put("tables/mito.parquet", handle.read(0, handle.size - 100))
    answer = query(tmp_path, "FROM mito")
    assert answer.code != 0 and "damaged" in answer.err

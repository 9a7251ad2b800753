"""Parquet is read without a thread of pyarrow, which could outlive Python."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fibstream.app.parquet import read_parquet

COUNT = """
import os, sys
from pathlib import Path
from fibstream.app.parquet import read_parquet
before = len(os.listdir("/proc/self/task"))
read_parquet(Path(sys.argv[1]))
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, pa.Table]:
    table = pa.table({name: list(range(1000)) for name in "abcdef"})
    path = tmp_path / "t.parquet"
    pq.write_table(table, path, row_group_size=100)
    return path, table


def test_rows_are_those_of_the_file(stored: tuple[Path, pa.Table]) -> None:
    path, table = stored
    assert read_parquet(path).equals(table)
    assert read_parquet(path, ["c", "a"]).equals(table.select(["c", "a"]))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no list of threads: not Linux")
def test_no_thread_is_begun(stored: tuple[Path, pa.Table]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", COUNT, str(stored[0])], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "0"

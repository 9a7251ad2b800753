"""SQL over the tables of a dataset in a folder, without services; the limits are theirs."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from fibstream.core.errors import WrongUse
from fibstream.services.analysis.edges.shared import TableCache
from fibstream.services.analysis.edges.sql_pool import SqlPool
from fibstream.services.analysis.edges.tables import named_tables, table_stages

from .folder import open_dataset
from .status import status_of


class _Here:
    """The caller of a query that waits for it in this process."""

    def is_active(self) -> bool:
        return True

    def add_callback(self, callback: Callable[[], None]) -> bool:  # noqa: ARG002
        return True


class Found(NamedTuple):
    """Rows of an answer, and why some may be missing or change; empty of a complete dataset."""

    rows: pa.Table
    open: str


def query_dataset(path: Path, sql: str) -> Found:
    """Return the answer to one SELECT over the tables of a dataset.

    Raises WrongUse, or LimitExceeded, for what services would refuse too.
    """
    files, dataset = open_dataset(path)
    if not table_stages(dataset, files):
        raise WrongUse(f"{path}: its pipeline makes no table")
    tables = named_tables(dataset, files, sql, TableCache())
    with closing(SqlPool()) as pool:
        rows = pool.run(sql, tables, _Here()).table()
    return Found(rows, _open(status_of(path)))


def _open(status: dict[str, Any]) -> str:
    """Return why rows may still change or be missing, as far as the dataset's own log knows."""
    if status["failed"]:
        return f"not complete: {len(status['failed'])} chunks failed"
    if not any(status["stages"].values()):
        return "its own log is empty, so nothing here knows whether it is complete"
    if not status["sealed"]:
        return "not complete: its end is not known yet"
    behind = [n for n, wanted in status["wanted"].items() if status["stages"][n] < (wanted or 0)]
    return f"not complete: {behind[0]} is not done everywhere" if behind else ""

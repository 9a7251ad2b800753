"""Queries of a table of a million objects with all columns: milliseconds, and DuckDB beside.

Run: ``python -m bench.queries [--rows N] [--turns N]``. Calls go through the servicer, whose SQL
runs in its process; the peer is DuckDB in this process, which reads the Parquet file each time.
Wall is what a caller waits for; CPU is that of both processes, which other work does not change.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from fibstream.runtime.root import Root
from fibstream.runtime.settings import Settings
from fibstream.services.analysis.servicer import AnalysisServicer
from fibstream.v1 import analysis_pb2 as pb
from tests.analysis.cell import Cell, rows

QUERIES = {
    "count by a filter": "SELECT count(*) FROM mito WHERE volume_nm3 > 5e5 AND NOT touches_border",
    "ten largest": "SELECT id, volume_nm3 FROM mito ORDER BY volume_nm3 DESC, id LIMIT 10",
    "histogram": "SELECT floor(volume_nm3 / 1e4), count(*) FROM mito GROUP BY 1 ORDER BY 1",
    "means by group": "SELECT touches_border, avg(area_nm2), avg(sphericity) FROM mito GROUP BY 1",
    "ids beyond 2^63": "SELECT min(id), count(*) FROM mito WHERE id > 9223372036854775808",
}


class Context:
    """The context of a call whose client waits."""

    def is_active(self) -> bool:
        return True

    def add_callback(self, callback: Callable[[], None]) -> bool:  # noqa: ARG002
        return True


def table_of(count: int) -> pa.Table:
    """Return a table of objects with all columns, of random values that hardly compress."""
    chance = np.random.default_rng(1)
    columns = {}
    for field in rows(1, 1).schema:
        if field.name == "id":
            values = np.unique(chance.integers(1, 2**64 - 1, count + 99, np.uint64))[:count]
        elif pa.types.is_boolean(field.type):
            values = chance.random(count) < 0.1
        elif pa.types.is_integer(field.type):
            values = chance.integers(0, 2**20, count)
        else:
            values = chance.random(count) * 1e6
        columns[field.name] = pa.array(values, field.type)
    return pa.table(columns)


def cpu_s(servicer: AnalysisServicer) -> float:
    """Return the CPU seconds so far of this process and of those that run SQL."""
    idle = [process for process in servicer._pool._idle.queue if process]
    tasks = [t for p in idle for t in Path(f"/proc/{p.process.pid}/task").iterdir()]
    return time.process_time() + sum(
        int((task / "schedstat").read_text().split()[0]) / 1e9 for task in tasks
    )


def timed(turn: Callable[[], Any], turns: int, cpu: Callable[[], float]) -> tuple[float, float]:
    """Return the median wall and CPU milliseconds of a turn, after one that warms up."""
    found = []
    for _ in range(turns + 1):
        wall, used = time.perf_counter(), cpu()
        turn()
        found.append((time.perf_counter() - wall, cpu() - used))
    wall, used = (1e3 * median(values) for values in zip(*found[1:], strict=True))
    return wall, used


def calls(servicer: AnalysisServicer) -> Iterator[tuple[str, Callable[[], Any], str]]:
    """Yield what is called, and in SQL what the peer does for it."""

    def query(**given: Any) -> pb.QueryObjectsResponse:
        return servicer.QueryObjects(pb.QueryObjectsRequest(dataset="cell", **given), Context())

    def stream(**given: Any) -> int:
        request = pb.StreamObjectsRequest(dataset="cell", table="mito", **given)
        return sum(len(answer.rows) for answer in servicer.StreamObjects(request, Context()))

    for name, sql in QUERIES.items():
        yield name, lambda sql=sql: query(sql=sql), sql
    yield "first page", lambda: query(organelle="mito"), "FROM mito ORDER BY id LIMIT 1000"
    largest = {"organelle": "mito", "order_by": "volume_nm3 DESC", "filter": "genus > 9"}
    order = "FROM mito WHERE genus > 9 ORDER BY volume_nm3 DESC, id LIMIT 1000"
    yield "page by filter, order", lambda: query(**largest), order
    yield (
        "stream, two columns",
        lambda: stream(columns="id, volume_nm3"),
        "SELECT id, volume_nm3 FROM mito ORDER BY id",
    )
    yield "stream, all", stream, "FROM mito ORDER BY id"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, closing(Root(folder)) as root:
        root.make("cell")
        cell = Cell(root)
        table = table_of(given.rows)
        cell.write(table)
        size = Path(folder, "cell.zarr/tables/mito.parquet").stat().st_size
        print(f"{table.shape} rows and columns: {table.nbytes / 1e6:.0f} MB decoded, "
              f"{size / 1e6:.0f} MB of file")  # fmt: skip
        del table
        servicer = AnalysisServicer(root, Settings.model_validate({}))
        with closing(servicer), closing(cell.bus):
            begun = time.process_time()
            servicer.QueryObjects(
                pb.QueryObjectsRequest(dataset="cell", sql="SELECT min(id) FROM mito"), Context()
            )
            print(f"first query, which decodes: {time.process_time() - begun:.2f} s of CPU")
            peer = duckdb.connect(config={"threads": 1})
            file = f"{folder}/cell.zarr/tables/mito.parquet"
            peer.execute(f"CREATE VIEW mito AS FROM read_parquet('{file}')")
            compare(servicer, peer, given.turns)


def compare(servicer: AnalysisServicer, peer: duckdb.DuckDBPyConnection, turns: int) -> None:
    """Print each call beside the peer."""
    print(
        f"{'median of ' + str(turns):24s} {'wall ms':>8s} {'CPU ms':>8s} {'peer CPU ms':>12s} ratio"
    )
    for name, turn, sql in calls(servicer):
        wall, used = timed(turn, turns, lambda: cpu_s(servicer))
        reading = timed(lambda sql=sql: read(peer, sql), min(turns, 3), time.process_time)
        print(f"{name:24s} {wall:8.0f} {used:8.0f} {reading[1]:12.0f} {reading[1] / used:5.1f}")


def read(peer: duckdb.DuckDBPyConnection, sql: str) -> int:
    """Take the answer of the peer batch by batch."""
    return sum(batch.num_rows for batch in peer.sql(sql).to_arrow_reader(10_000))


if __name__ == "__main__":
    main()

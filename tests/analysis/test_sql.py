"""SQL reaches nothing but the tables, and ends at its limits or with its caller."""

import threading
from pathlib import Path

import grpc
import pyarrow as pa
import pytest

from fibstream.runtime.root import Root
from fibstream.runtime.settings import Settings
from fibstream.services.analysis.edges.sql import MAX_ROWS
from fibstream.services.analysis.edges.sql_pool import SqlPool
from fibstream.services.analysis.servicer import AnalysisServicer
from fibstream.v1 import analysis_pb2 as pb

from ..support.patience import PATIENCE_S
from ..support.rpc import CODE
from .cell import COUNT, Cell, Stub, query, refused, rows, serving, table_of


def test_one_select_sees_every_table(cell: Cell, stub: Stub) -> None:
    cell.write(rows(1))
    cell.write(rows(2), "generic")
    sql = "SELECT count(*) AS n FROM mito UNION ALL SELECT count(*) FROM generic WHERE voxels > 0"
    answer = query(stub, sql=sql)
    assert table_of(answer).to_pydict() == {"n": [COUNT, COUNT]} and answer.total == 2
    wide = query(stub, sql="WITH big AS (FROM mito) SELECT max(id) AS id FROM big")
    assert table_of(wide)["id"].to_pylist() == [max(rows(1)["id"].to_pylist())]


def test_an_exact_integer_stays_exact(cell: Cell, stub: Stub) -> None:
    cell.write(rows(1))
    table = table_of(query(stub, sql="SELECT id FROM mito ORDER BY id"))
    assert table["id"].type == pa.uint64() and table["id"] == rows(1)["id"]


SECRET = "root:"
ESCAPES = [
    "SELECT * FROM '/etc/passwd'", "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM read_blob('/proc/self/environ')",
    "SELECT * FROM glob('/*')", "SELECT * FROM parquet_scan('{folder}/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')", "SELECT * FROM 'https://localhost/x.parquet'",
    "SELECT getenv('HOME')", "SELECT * FROM query('SELECT * FROM read_text(''/etc/passwd'')')",
    "SELECT * FROM sqlite_scan('{folder}/cell.zarr/.fibstream/bus.sqlite', 'log')",
    "ATTACH '{folder}/x.db'", "INSTALL httpfs", "LOAD httpfs", "COPY mito TO '{folder}/x.csv'",
    "COPY (SELECT 1) TO '{folder}/x.csv'", "EXPORT DATABASE '{folder}/x'", "SET threads = 8",
    "SET enable_external_access = true", "RESET memory_limit", "PRAGMA database_list",
    "CREATE TABLE x AS SELECT 1", "DROP VIEW mito", "CALL duckdb_settings()", "CHECKPOINT",
    "SELECT 1; SELECT 2", "SELECT 1; COPY mito TO '{folder}/x.csv'", "", " ", ";", "selec", "\0",
    "SELECT * FROM tables", "SELECT * FROM connection", "SELECT ?", "PIVOT mito ON voxels",
    "EXPLAIN ANALYZE SELECT 1", "SELECT nope FROM mito", "SELECT * FROM golgi",
    "SELECT " + "(" * 5000 + "1" + ")" * 5000, "SELECT '" + "x" * 50_000 + "'",
    "\u00e9\u2028\u00ff", "USE memory", "BEGIN", "PREPARE p AS SELECT 1",
    "SELECT * FROM which_secret('a', 's3')",
]  # fmt: skip


@pytest.mark.parametrize("sql", ESCAPES, ids=lambda sql: repr(sql[:40]))
def test_sql_reaches_nothing_but_the_tables(
    cell: Cell, stub: Stub, tmp_path: Path, sql: str
) -> None:
    cell.write(rows(1))
    before = sorted(tmp_path.rglob("*"))
    code, says = refused(stub, sql=sql.replace("{folder}", str(tmp_path)) or " ")
    assert code in (CODE.INVALID_ARGUMENT, CODE.RESOURCE_EXHAUSTED)
    assert SECRET not in says and len(says) < 1200
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("x.csv").exists()


def test_what_is_not_there_is_answered_with_what_is(cell: Cell, stub: Stub) -> None:
    assert "mito: id, voxels" in refused(stub, sql="SELECT nope FROM MITO")[1]
    assert "there are: generic; mito" in refused(stub, sql="SELECT * FROM golgi")[1]


def test_a_table_whose_name_is_put_together_is_not_there(cell: Cell, stub: Stub) -> None:
    """Only tables that the text names are read: one that is not read must not look empty."""
    cell.write(rows(1))
    hidden = "FROM query_table('mi' || 'to')"
    code, says = refused(stub, sql=f"SELECT count(*) {hidden}")
    assert code == CODE.INVALID_ARGUMENT and "mito does not exist" in says
    named = f"SELECT count(*) AS n {hidden} -- mito"
    assert table_of(query(stub, sql=named))["n"].to_pylist() == [COUNT]


def test_sql_stands_alone(cell: Cell, stub: Stub) -> None:
    for field in ({"organelle": "mito"}, {"filter": "true"}, {"page_size": 3}):
        code, says = refused(stub, sql="SELECT 1", **field)
        assert code == CODE.INVALID_ARGUMENT and says.startswith(next(iter(field)))


LARGE = [
    f"SELECT * FROM range({MAX_ROWS + 1})", "SELECT repeat('x', 1000000) FROM range(100)",
    "SELECT len(range(1000000000))", "SELECT len(repeat('x', 4000000000))",
    "SELECT len(string_agg(repeat('x', 1000000), '')) FROM range(1000)",
]  # fmt: skip


@pytest.mark.parametrize("sql", LARGE)
def test_what_is_too_large_is_refused_and_the_next_is_answered(
    cell: Cell, stub: Stub, sql: str
) -> None:
    cell.write(rows(1))
    code, says = refused(stub, sql=sql)
    assert code == CODE.RESOURCE_EXHAUSTED and "ask for" in says
    assert query(stub, organelle="mito").total == COUNT


ENDLESS = [
    "SELECT count(*) FROM range(1000000000000)",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t",
    # One call of one function, which DuckDB itself cannot interrupt.
    "SELECT list_sort(range(50000000))[1]",
]


@pytest.mark.parametrize("sql", ENDLESS)
def test_what_takes_too_long_is_ended(cell: Cell, root: Root, sql: str) -> None:
    servicer = AnalysisServicer(root, Settings.model_validate({}))
    servicer._pool = SqlPool(limit_s=2.0)
    cell.write(rows(1))
    with serving(servicer) as stub:
        code, says = refused(stub, timeout=PATIENCE_S, sql=sql)
        assert code == CODE.RESOURCE_EXHAUSTED and "longer than 2 s" in says
        servicer._pool._limit_s = PATIENCE_S  # the others in the pool are there
        assert query(stub, organelle="mito").total == COUNT
    servicer.close()


@pytest.mark.parametrize("leave", ["deadline", "cancel"])
def test_sql_ends_with_its_caller(
    cell: Cell, servicer: AnalysisServicer, stub: Stub, leave: str
) -> None:
    query(stub, sql="SELECT 1")
    places = servicer._pool._idle
    call = stub.QueryObjects.future(
        pb.QueryObjectsRequest(dataset="cell", sql=ENDLESS[0]),
        timeout=1.0 if leave == "deadline" else 2 * PATIENCE_S,
    )
    if leave == "cancel":
        threading.Timer(0.5, call.cancel).start()
    with pytest.raises((grpc.RpcError, grpc.FutureCancelledError)):
        call.result()
    free = [places.get(timeout=PATIENCE_S) for _ in range(2)]
    for place in free:
        places.put(place)
    assert table_of(query(stub, sql="SELECT 1 AS a"))["a"].to_pylist() == [1]


def test_many_ask_at_once(cell: Cell, stub: Stub) -> None:
    cell.write(rows(1))
    calls = [
        stub.QueryObjects.future(
            pb.QueryObjectsRequest(dataset="cell", sql=f"SELECT {n} AS n, count(*) FROM mito"),
            timeout=PATIENCE_S,
        )
        for n in range(20)
    ]
    assert [table_of(call.result())["n"].to_pylist() for call in calls] == [[n] for n in range(20)]

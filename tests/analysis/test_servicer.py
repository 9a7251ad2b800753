"""Tables by wire: what there is, pages that never overlap, and SQL that reaches nothing else."""

import base64
import random
import threading
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pyarrow as pa
import pytest

from fibstream.bus import wire
from fibstream.core.addresses import SERVICES
from fibstream.core.dataset import RECORD, Dataset, Organelle
from fibstream.core.events import ORIGIN, Progress, Record
from fibstream.core.keys import canonical, digest
from fibstream.runtime.grpc import GrpcServer as Server
from fibstream.runtime.grpc import ServicerBinding
from fibstream.runtime.root import Root
from fibstream.runtime.settings import Settings
from fibstream.services.analysis.columns import MEANING
from fibstream.services.analysis.edges.asking import Asking
from fibstream.services.analysis.edges.query import MAX_ROWS
from fibstream.services.analysis.servicer import MAX_PAGE, AnalysisServicer
from fibstream.services.analysis.table import finish, to_parquet
from fibstream.services.analysis.totals import merge, widen
from fibstream.store.shard import Stamp, encode_blob
from fibstream.v1 import analysis_pb2 as pb
from fibstream.v1.analysis_pb2_grpc import (
    AnalysisServiceStub,
    add_AnalysisServiceServicer_to_server,
)

CODE = grpc.StatusCode
COUNT = 100


@contextmanager
def serving(answers):
    room = ServicerBinding(
        add_AnalysisServiceServicer_to_server, answers, "fibstream.v1.AnalysisService"
    )
    server = Server("127.0.0.1:0", [room])
    server.open()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield AnalysisServiceStub(channel)
    server.close(grace_s=0)


def rows(seed, count=COUNT):
    """Return a table of objects; few sizes, so that order needs the id as well."""
    chance = np.random.default_rng(seed)
    n = count
    raw = {
        "id": np.sort(chance.choice(2**63 - 1, n, replace=False)).astype(np.uint64),
        "voxels": chance.integers(1, 6, n), "sum": chance.integers(0, 900, (n, 3)),
        "low": chance.integers(0, 9, (n, 3)), "high": chance.integers(9, 20, (n, 3)),
        "faces": chance.integers(1, 50, (n, 3)), "touches_border": chance.random(n) < 0.3,
        "raw": chance.integers(0, 5000, n),
    }  # fmt: skip
    return finish(merge([widen(raw)]), (8, 4, 4), raw=True)


class Cell:
    """A dataset ``cell`` without services: the test writes tables and the log."""

    def __init__(self, root):
        self.files = root.files("cell")
        self.bus = root.bus("cell")
        self.record()

    def record(self, z=None):
        dataset = Dataset(
            name="cell", shape=(z, 8, 8), chunk=(4, 8, 8), dtype="uint8",
            voxel_size_nm=(8, 4, 4), contrast=(0, 255),
            organelles=tuple(
                Organelle(recipe=name, source="mito", settings={}) for name in ("generic", "mito")
            ),
        )  # fmt: skip
        self.files.put(RECORD, canonical(dataset.model_dump(mode="json")))

    def write(self, table, name="mito"):
        """Write a table as analysis does; return its content hash."""
        path, body = f"tables/{name}.parquet", to_parquet(table, {"organelle": name})
        stamp = Stamp(f"tables/{name}", ORIGIN, "key", digest(body))
        self.files.put(path, encode_blob(body, stamp))
        record = Record(f"tables/{name}", ORIGIN, "ready", "key", {path: stamp.hash})
        self.publish(record)
        return stamp.hash

    def publish(self, record):
        key = wire.record_key("cell", record.stage, record.index)
        self.bus.publish(wire.ledger_topic(record.stage), key, wire.encode(record))

    def say(self, service, *, offset=None, settled=True, failed=0):
        offset = self.bus.end(wire.LEDGER_TOPICS) if offset is None else offset
        progress = Progress(service, offset, settled, 0, 1, 1, failed)
        self.bus.publish(wire.PROGRESS, f"cell/{service}", wire.encode(progress))


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """One door for the module: what answers questions takes half a second to start."""
    made = AnalysisServicer(Root(str(tmp_path_factory.mktemp("root"))), Settings())
    yield made
    made.close()


@pytest.fixture
def root(answers, tmp_path):
    answers._root = Root(str(tmp_path))
    answers._root.make("cell")
    return answers._root


@pytest.fixture
def cell(root):
    made = Cell(root)
    yield made
    made.bus.close()


@pytest.fixture
def stub(answers):
    with serving(answers) as stub:
        yield stub


def query(stub, timeout=30, **given):
    return stub.QueryObjects(pb.QueryObjectsRequest(dataset="cell", **given), timeout=timeout)


def table_of(answer):
    table = pa.ipc.open_stream(answer.rows).read_all()
    assert list(answer.columns) == table.column_names
    return table


def refused(stub, timeout=30, **given):
    with pytest.raises(grpc.RpcError) as caught:
        query(stub, timeout, **given)
    assert "\n" not in caught.value.details()
    return caught.value.code(), caught.value.details()


def pages(stub, **given):
    """Return the rows of every page one after the other, and each answer."""
    answers, token = [], ""
    while not answers or token:
        answers.append(query(stub, page_token=token, **given))
        token = answers[-1].next_page_token
    return [row for a in answers for row in table_of(a).to_pylist()], answers


# -- describing --------------------------------------------------------------------------------


def test_every_column_has_a_meaning_in_one_place():
    assert rows(0).column_names == list(MEANING)
    assert all(MEANING.values())


def described(stub):
    answer = stub.Describe(pb.DescribeRequest(dataset="cell"), timeout=10)
    return {table.organelle: table for table in answer.tables}


def test_tables_are_described_before_and_after_they_are_made(cell, stub):
    before = described(stub)
    assert {name: t.rows for name, t in before.items()} == {"generic": 0, "mito": 0}
    cell.write(rows(1))
    after = described(stub)
    assert {name: t.rows for name, t in after.items()} == {"generic": 0, "mito": COUNT}
    assert before["mito"].columns == after["mito"].columns == after["generic"].columns
    columns = {c.name: (c.type, c.meaning) for c in after["mito"].columns}
    assert columns["id"] == ("uint64", MEANING["id"])
    assert [c.name for c in after["mito"].columns] == list(MEANING)


def test_a_table_is_final_when_everything_is_sealed_seen_and_settled(cell, stub):
    cell.write(rows(1))

    def final():
        found = described(stub)
        assert not found["generic"].final  # it is not there
        return found["mito"].final

    for service in SERVICES[:-1]:
        cell.say(service)
    assert not final()
    cell.say(SERVICES[-1])
    assert not final()  # not sealed
    cell.record(z=12)
    assert final()
    cell.say("refine", failed=1)
    assert not final()
    cell.say("refine", settled=False)
    assert not final()
    cell.say("refine")
    assert final()
    cell.publish(Record("raw", (0, 0, 0), "ready", "2", {"raw": "h"}))
    assert not final()  # nobody has seen that one yet
    for service in SERVICES:
        cell.say(service)
    assert final()
    hash_ = cell.write(rows(2))
    record = Record("tables/mito", ORIGIN, "ready", "key", {"tables/mito.parquet": "other"})
    cell.publish(record)
    for service in SERVICES:
        cell.say(service)
    assert not final() and hash_ != "other"  # the log has another table than the store


# -- pages -------------------------------------------------------------------------------------


def test_all_pages_together_are_the_table_by_id(cell, stub):
    table = rows(1)
    cell.write(table)
    found, answers = pages(stub, organelle="mito", page_size=30)
    assert found == table.to_pylist()
    assert table_of(answers[0]).schema.types == table.schema.types
    assert [len(table_of(a)) for a in answers] == [30, 30, 30, 10]
    assert {a.total for a in answers} == {COUNT}


@pytest.mark.parametrize("size", [1, 7, 25, 0])
def test_an_order_with_many_ties_is_total(cell, stub, size):
    cell.write(rows(1, 25))
    found, _ = pages(stub, organelle="mito", order_by="voxels DESC, touches_border", page_size=size)
    expected = sorted(
        rows(1, 25).to_pylist(), key=lambda r: (-r["voxels"], r["touches_border"], r["id"])
    )
    assert found == expected


def test_a_filter_chooses_rows(cell, stub):
    table = rows(1)
    cell.write(table)
    condition = "voxels > 2 AND NOT touches_border -- large ones inside"
    found, answers = pages(stub, organelle="mito", filter=condition, order_by="id DESC")
    wanted = [r for r in table.to_pylist() if r["voxels"] > 2 and not r["touches_border"]]
    assert found == wanted[::-1] and 0 < len(found) < COUNT
    assert answers[0].total == len(wanted)
    assert table_of(query(stub, organelle="mito", filter="voxels > 99")).num_rows == 0
    assert table_of(query(stub, organelle="generic", filter="voxels > 0")).num_rows == 0


def test_values_that_are_not_numbers_are_answered_and_compared(cell, stub):
    table = rows(1, 3)
    place = table.column_names.index("raw_mean")
    table = table.set_column(place, "raw_mean", pa.array([float("nan"), 1.0, float("inf")]))
    cell.write(table)
    found, _ = pages(stub, organelle="mito", order_by="raw_mean")
    assert [str(r["raw_mean"]) for r in found] == ["1.0", "inf", "nan"]
    assert query(stub, organelle="mito", filter="isnan(raw_mean)").total == 1
    code, says = refused(stub, organelle="mito", filter="voxels > 'NaN'")
    assert code == CODE.INVALID_ARGUMENT and says.startswith("filter: Could not convert")


def test_a_table_that_changes_between_pages_says_so(cell, stub):
    cell.write(rows(1))
    token = query(stub, organelle="mito", page_size=10).next_page_token
    cell.write(rows(1))  # the same again: nothing changed
    assert query(stub, organelle="mito", page_size=10, page_token=token).total == COUNT
    cell.write(rows(2))
    code, says = refused(stub, organelle="mito", page_size=10, page_token=token)
    assert code == CODE.FAILED_PRECONDITION and "start again" in says


def test_a_token_belongs_to_its_question(cell, stub):
    cell.write(rows(1))
    token = query(stub, organelle="mito", filter="voxels > 1", page_size=10).next_page_token
    for other in ({"filter": "voxels > 2"}, {"filter": "voxels > 1", "order_by": "voxels"}):
        code, says = refused(stub, organelle="mito", page_token=token, **other)
        assert code == CODE.INVALID_ARGUMENT and "page_token" in says


def test_garbage_is_no_token(cell, stub):
    cell.write(rows(1))
    chance = random.Random(4)
    bad = [base64.urlsafe_b64encode(chance.randbytes(n)).decode() for n in range(1, 40)]
    bad += ["x", "\u00e9", "====", "a" * 5000]
    for parts in ([], [1], [1, 2, 3], ["1", "a", "b"], [-5, "a", "b"], [True, 1, 2], {"a": 1}):
        bad.append(base64.urlsafe_b64encode(canonical(parts)).decode())
    for token in bad:
        assert refused(stub, organelle="mito", page_token=token)[0] == CODE.INVALID_ARGUMENT


def test_a_page_has_a_limit(cell, stub):
    code, says = refused(stub, organelle="mito", page_size=2**32 - 1)
    assert code == CODE.RESOURCE_EXHAUSTED and f"at most {MAX_PAGE}" in says


def test_the_largest_page_fits_a_message(cell, stub):
    cell.write(rows(1, MAX_PAGE + 1))
    answer = query(stub, organelle="mito", page_size=MAX_PAGE)
    assert table_of(answer).num_rows == MAX_PAGE and len(answer.rows) < 2 << 20


BAD_ORDERS = ["nope", "voxels SIDEWAYS", "voxels DESC LIMIT 1", "voxels,", "1", "random()",
              "voxels, voxels", "voxels; DROP TABLE mito", "(SELECT 1)"]  # fmt: skip


@pytest.mark.parametrize("order", BAD_ORDERS)
def test_an_order_is_columns_and_nothing_else(cell, stub, order):
    code, says = refused(stub, organelle="mito", order_by=order)
    assert code == CODE.INVALID_ARGUMENT and says.startswith("order_by")


def test_a_wrong_column_names_the_columns(cell, stub):
    for given in ({"order_by": "size"}, {"filter": "size > 3"}):
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
def test_a_filter_is_one_condition_on_its_table(cell, stub, condition):
    cell.write(rows(1))
    code, says = refused(stub, organelle="mito", filter=condition)
    assert code in (CODE.INVALID_ARGUMENT, CODE.RESOURCE_EXHAUSTED) and "filter" in says
    assert query(stub, organelle="mito").total == COUNT


# -- SQL ---------------------------------------------------------------------------------------


def test_one_select_sees_every_table(cell, stub):
    cell.write(rows(1))
    cell.write(rows(2), "generic")
    sql = "SELECT count(*) AS n FROM mito UNION ALL SELECT count(*) FROM generic WHERE voxels > 0"
    answer = query(stub, sql=sql)
    assert table_of(answer).to_pydict() == {"n": [COUNT, COUNT]} and answer.total == 2
    wide = query(stub, sql="WITH big AS (FROM mito) SELECT max(id) AS id FROM big")
    assert table_of(wide)["id"].to_pylist() == [max(rows(1)["id"].to_pylist())]


def test_an_exact_integer_stays_exact(cell, stub):
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
def test_sql_reaches_nothing_but_the_tables(cell, stub, tmp_path, sql):
    cell.write(rows(1))
    before = sorted(tmp_path.rglob("*"))
    code, says = refused(stub, sql=sql.replace("{folder}", str(tmp_path)) or " ")
    assert code in (CODE.INVALID_ARGUMENT, CODE.RESOURCE_EXHAUSTED)
    assert SECRET not in says and len(says) < 1000
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("x.csv").exists()


def test_what_is_not_there_is_answered_with_what_is(cell, stub):
    for sql in ("SELECT nope FROM mito", "SELECT * FROM golgi"):
        assert "mito: id, voxels" in refused(stub, sql=sql)[1]


def test_sql_stands_alone(cell, stub):
    for field in ({"organelle": "mito"}, {"filter": "true"}, {"page_size": 3}):
        code, says = refused(stub, sql="SELECT 1", **field)
        assert code == CODE.INVALID_ARGUMENT and says.startswith(next(iter(field)))


LARGE = [
    f"SELECT * FROM range({MAX_ROWS + 1})", "SELECT repeat('x', 1000000) FROM range(100)",
    "SELECT len(range(1000000000))", "SELECT len(repeat('x', 4000000000))",
    "SELECT len(string_agg(repeat('x', 1000000), '')) FROM range(1000)",
]  # fmt: skip


@pytest.mark.parametrize("sql", LARGE)
def test_what_is_too_large_is_refused_and_the_next_is_answered(cell, stub, sql):
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
def test_what_takes_too_long_is_ended(cell, root, sql):
    answers = AnalysisServicer(root, Settings())
    answers._asking = Asking(limit_s=2.0)
    cell.write(rows(1))
    with serving(answers) as stub:
        code, says = refused(stub, timeout=60, sql=sql)
        assert code == CODE.RESOURCE_EXHAUSTED and "longer than 2 s" in says
        assert query(stub, organelle="mito").total == COUNT
    answers.close()


@pytest.mark.parametrize("leave", ["deadline", "cancel"])
def test_a_question_ends_with_its_caller(cell, answers, stub, leave):
    query(stub, sql="SELECT 1")
    places = answers._asking._line
    call = stub.QueryObjects.future(
        pb.QueryObjectsRequest(dataset="cell", sql=ENDLESS[0]),
        timeout=1.0 if leave == "deadline" else 30,
    )
    if leave == "cancel":
        threading.Timer(0.5, call.cancel).start()
    with pytest.raises((grpc.RpcError, grpc.FutureCancelledError)):
        call.result()
    free = [places.get(timeout=10) for _ in range(2)]  # both are free long before the 30 s
    for place in free:
        places.put(place)
    assert table_of(query(stub, sql="SELECT 1 AS a"))["a"].to_pylist() == [1]


def test_many_ask_at_once(cell, stub):
    cell.write(rows(1))
    calls = [
        stub.QueryObjects.future(
            pb.QueryObjectsRequest(dataset="cell", sql=f"SELECT {n} AS n, count(*) FROM mito"),
            timeout=30,
        )
        for n in range(20)
    ]
    assert [table_of(call.result())["n"].to_pylist() for call in calls] == [[n] for n in range(20)]


# -- names and damage --------------------------------------------------------------------------

BAD_NAMES = [
    ("nobody", "mito", CODE.NOT_FOUND, "dataset 'nobody'"),
    ("../cell", "mito", CODE.INVALID_ARGUMENT, "'../cell'"),
    ("", "mito", CODE.INVALID_ARGUMENT, "dataset ''"),
    ("cell", "golgi", CODE.NOT_FOUND, "organelle 'golgi': cell has generic, mito"),
    ("cell", "../../x", CODE.NOT_FOUND, "organelle '../../x'"),
    ("cell", "", CODE.NOT_FOUND, "organelle ''"),
]


@pytest.mark.parametrize(("dataset", "organelle", "code", "says"), BAD_NAMES)
def test_a_wrong_name_is_named(cell, stub, dataset, organelle, code, says):
    request = pb.QueryObjectsRequest(dataset=dataset, organelle=organelle)
    with pytest.raises(grpc.RpcError) as caught:
        stub.QueryObjects(request, timeout=10)
    assert caught.value.code() == code and says in caught.value.details()
    if dataset != "cell":
        with pytest.raises(grpc.RpcError) as caught:
            stub.Describe(pb.DescribeRequest(dataset=dataset), timeout=10)
        assert caught.value.code() == code


def test_a_damaged_table_is_not_read(cell, stub):
    cell.write(rows(1))
    handle = cell.files.open("tables/mito.parquet")
    data = bytearray(handle.read(0, handle.size))
    handle.close()
    data[100] ^= 1
    cell.files.put("tables/mito.parquet", bytes(data))
    code, says = refused(stub, organelle="mito")
    assert code == CODE.FAILED_PRECONDITION and "damaged" in says

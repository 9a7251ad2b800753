"""Rows of a table as a stream: all of them, of one moment, and nothing is left of who goes away."""

import gc
import os
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fibstream.client import Client
from fibstream.core.errors import LimitExceeded, WrongUse
from fibstream.runtime.grpc import GrpcServer, ServicerBinding
from fibstream.services.analysis.arrow import MAX_PIECE, messages, pieces, rows_a_piece
from fibstream.services.analysis.edges.shared import SharedTable, TableCache, decoded_size
from fibstream.services.analysis.servicer import AnalysisServicer
from fibstream.services.analysis.table import to_parquet
from fibstream.v1 import analysis_pb2 as pb
from fibstream.v1.analysis_pb2_grpc import add_AnalysisServiceServicer_to_server as add

from ..support import rpc
from ..support.patience import PATIENCE_S, eventually
from ..support.rpc import CODE
from .cell import COUNT, Cell, Stub, rows

LARGE = 20_000  # rows of numbers: several messages


@cache
def plain(count: int, shift: int = 0) -> pa.Table:
    """Return a table of ids on both sides of 2^63, far apart, and of some other numbers."""
    ids = [n * (2**64 // (count + 1)) + 1 + shift for n in range(count)]
    numbers = {
        f"v{k}": pa.array([(n * 7919) % 1009 * 0.5 for n in range(count)]) for k in range(60)
    }
    return pa.table({"id": pa.array(ids, pa.uint64()), **numbers})


@pytest.fixture
def large(cell: Cell) -> pa.Table:
    cell.write(plain(LARGE))
    return plain(LARGE)


def stream(stub: Stub, **given: Any) -> Iterator[pb.StreamObjectsResponse]:
    request = pb.StreamObjectsRequest(dataset="cell", **({"table": "mito"} | given))
    found: Iterator[pb.StreamObjectsResponse] = stub.StreamObjects(request, timeout=PATIENCE_S)
    return found


def streamed(stub: Stub, **given: Any) -> pa.Table:
    data = b"".join(answer.rows for answer in stream(stub, **given))
    return pa.ipc.open_stream(data).read_all()


def refused(stub: Stub, **given: Any) -> rpc.Refusal:
    return rpc.refused(lambda: list(stream(stub, **given)))


def test_all_rows_come_in_small_messages(large: pa.Table, stub: Stub) -> None:
    sizes = [len(answer.rows) for answer in stream(stub)]
    assert len(sizes) > 4 and max(sizes) < 1.1 * MAX_PIECE
    assert streamed(stub).equals(large)


def test_rows_are_chosen_as_by_hand(large: pa.Table, stub: Stub) -> None:
    found = streamed(
        stub, columns='id, "v3"', filter="v1 > 250 AND id >= 9223372036854775808",
        order_by="v2 DESC", limit=7000,
    )  # fmt: skip
    wanted = [(r["id"], r["v3"]) for r in large.to_pylist() if r["v1"] > 250 and r["id"] >= 2**63]
    wanted.sort(key=lambda row: (-row[1], row[0]))
    assert found.column_names == ["id", "v3"] and len(wanted) < 7000
    assert [(r["id"], r["v3"]) for r in found.to_pylist()] == wanted
    few = streamed(stub, columns="v3,id", limit=3)
    assert few.to_pylist() == large.select(["v3", "id"]).slice(0, 3).to_pylist()
    assert streamed(stub, limit=2**64 - 1, columns="id")["id"] == large["id"]


def test_before_a_table_is_made_it_has_columns_and_no_rows(cell: Cell, stub: Stub) -> None:
    found = streamed(stub, table="generic", columns="id, volume_nm3")
    assert (found.num_rows, found.schema.names) == (0, ["id", "volume_nm3"])


WRONG: list[tuple[dict[str, Any], Any, str]] = [
    ({"table": "golgi"}, CODE.NOT_FOUND, "table 'golgi': cell has generic, mito"),
    ({"columns": "id, nope"}, CODE.INVALID_ARGUMENT, "columns: no column 'nope': one of id, "),
    ({"columns": "id, id"}, CODE.INVALID_ARGUMENT, "columns 'id, id': names a column twice"),
    ({"columns": "*"}, CODE.INVALID_ARGUMENT, "columns: no column '*'"),
    ({"columns": "id," * 9000}, CODE.RESOURCE_EXHAUSTED, "columns: 27000 characters; at most"),
    ({"order_by": "v1 UP"}, CODE.INVALID_ARGUMENT, "order_by"),
    ({"order_by": "id," * 9000}, CODE.RESOURCE_EXHAUSTED, "order_by: 27000 characters; at most"),
    ({"filter": "true) UNION ALL SELECT * FROM mito WHERE (true"}, CODE.INVALID_ARGUMENT, "filter"),
    ({"filter": "id IN (SELECT 1 FROM '/etc/passwd')"}, CODE.INVALID_ARGUMENT, "filter"),
    ({"filter": "random() > 0"}, CODE.INVALID_ARGUMENT, "filter: random()"),
]


@pytest.mark.parametrize(("given", "code", "says"), WRONG)
def test_wrong_requests_are_refused_by_name(
    cell: Cell, stub: Stub, given: dict[str, Any], code: Any, says: str
) -> None:
    found, text = refused(stub, **given)
    assert found == code and says in text and len(text) < 1200


def test_a_stream_is_of_one_moment_and_takes_no_process(
    cell: Cell, large: pa.Table, servicer: AnalysisServicer, stub: Stub
) -> None:
    answers = stream(stub, columns=", ".join(large.column_names[:40]))
    first = next(answers).rows
    cell.write(plain(LARGE, shift=1))
    assert streamed(stub, columns="id", limit=1)["id"][0].as_py() == 2
    assert servicer._pool._idle.qsize() == 2
    data = first + b"".join(answer.rows for answer in answers)
    assert pa.ipc.open_stream(data).read_all()["id"] == large["id"]


def opened() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def test_who_goes_away_leaves_nothing(
    cell: Cell, large: pa.Table, servicer: AnalysisServicer, stub: Stub
) -> None:
    cache = servicer._cache = TableCache()
    list(stream(stub))
    cache._tables.clear()
    before = opened()
    for number in range(3):
        cell.write(plain(LARGE, shift=number + 2))
        call: Any = stream(stub)
        next(call)
        cache._tables.clear()
        assert len(cache._used) == 1  # by the call alone, which nobody reads on
        call.cancel()
        eventually(lambda: not cache._used, "the table is let go")
    eventually(lambda: opened() <= before, "descriptors are closed")
    assert servicer._pool._idle.qsize() == 2


def test_the_client_yields_batches_and_may_stop_early(
    cell: Cell, large: pa.Table, servicer: AnalysisServicer
) -> None:
    server = GrpcServer("127.0.0.1:0", [ServicerBinding(add, servicer, "fibstream.v1.Test")])
    server.open()
    with Client(f"analysis=127.0.0.1:{server.port}", patience_s=0) as client:
        assert pa.Table.from_batches(client.stream_objects("cell", "mito")).equals(large)
        (none,) = client.stream_objects("cell", "mito", filter="v1 > 3 AND v1 < 3")
        assert none.num_rows == 0 and none.schema.equals(large.schema)
        few = list(islice(client.stream_objects("cell", "mito", filter="v1 > 3"), 2))
        assert len(few) == 2 and few[0].num_rows == rows_a_piece(large.schema)
        with pytest.raises(WrongUse, match="columns: no column 'nope'"):
            next(client.stream_objects("cell", "mito", columns="nope"))
        assert client.contact_matrix("cell").num_rows == 0
    server.close(grace_s=0)


def test_tables_that_do_not_fit_are_refused_and_old_ones_let_go() -> None:
    one, other = (to_parquet(plain(100, shift), {}) for shift in (0, 1))
    cache = TableCache(most=int(1.5 * decoded_size(one)))
    held = cache.keep("one", one)
    with pytest.raises(LimitExceeded, match="call again later"):
        cache.keep("other", other)
    assert cache.find("one") is None  # let go, but in use
    del held
    gc.collect()
    assert cache.keep("other", other) is cache.keep("other", b"") is cache.find("other")


def test_a_decoded_table_is_its_file_and_nobody_can_change_it() -> None:
    table = rows(3, COUNT)
    shared = SharedTable(to_parquet(table, {}))
    assert shared.rows.equals(table)
    assert 0 <= shared.size - decoded_size(to_parquet(table, {})) < table.num_columns
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(shared.descriptor, b"x")
    with pytest.raises(OSError, match=r"not permitted|Invalid"):
        os.truncate(f"/proc/self/fd/{shared.descriptor}", 0)


def test_messages_one_after_the_other_are_a_stream() -> None:
    table = rows(3, COUNT)
    for parts in ([], [table], list(pieces(table, 7))):
        found = pa.ipc.open_stream(b"".join(messages(table.schema, parts))).read_all()
        assert found.equals(table if parts else table.slice(0, 0))

"""The process that runs SQL of clients: with little memory, little time and no files.

Started by `sql_pool` as ``python -m fibstream.services.analysis.edges.sql_process DESCRIPTOR``, the
number of an open socket. It answers one query after the other until the other end is closed.
"""

import contextlib
import json
import resource
import sys
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fibstream.core.errors import LimitExceeded, WrongUse

from .sql import Answer, Page, page, select

# DuckDB's own limit misses what one value holds, such as a list of 10^8 numbers. Python, Arrow and
# DuckDB map 1 GB before the first query; then come the tables, and DuckDB's 512 MB.
ADDRESS_SPACE = 3 << 30  # bytes
NO_MEMORY = 3  # exit status: there was no memory even to receive the query
CPU_S = 35  # of one query, for when the pool has died; it kills the process earlier


def main() -> None:
    """Answer queries until the socket is closed."""
    connection = Connection(int(sys.argv[1]))
    _limit(resource.RLIMIT_AS, ADDRESS_SPACE)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    try:
        connection.send_bytes(b"ready")
        while True:
            _serve(connection)
    except (EOFError, ConnectionError, KeyboardInterrupt):
        pass
    except MemoryError:
        sys.exit(NO_MEMORY)


def _serve(connection: Connection) -> None:
    """Receive one query and answer it."""
    query = json.loads(connection.recv_bytes())
    tables = {name: connection.recv_bytes() for name in query["tables"]}
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + CPU_S, soft=True)
    for part in answer(query, tables):
        connection.send_bytes(part)


def answer(query: dict[str, Any], tables: dict[str, bytes]) -> list[bytes]:
    """Return an answer's head as JSON and its rows as an Arrow IPC stream, or an error alone."""
    try:
        found = _run(query, {n: pq.read_table(pa.BufferReader(t)) for n, t in tables.items()})
    except WrongUse as error:
        kind = "LimitExceeded" if isinstance(error, LimitExceeded) else "WrongUse"
        return [json.dumps({"error": kind, "message": str(error)}).encode()]
    except (MemoryError, pa.ArrowMemoryError):
        message = "the query needs more memory than it may use; ask for less"
        return [json.dumps({"error": "LimitExceeded", "message": message}).encode()]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, found.rows.schema) as stream:
        stream.write_table(found.rows)
    head = {"total": found.total, "columns": found.rows.column_names}
    return [json.dumps(head).encode(), sink.getvalue().to_pybytes()]


def encode_query(query: Page | str, tables: list[str]) -> bytes:
    """Return a query as it is sent: a page of a table, or SQL."""
    body = {"sql": query} if isinstance(query, str) else {"page": asdict(query)}
    return json.dumps(body | {"tables": tables}).encode()


def _run(query: dict[str, Any], tables: dict[str, pa.Table]) -> Answer:
    if "sql" in query:
        return select(tables, query["sql"])
    fields = query["page"]
    order = tuple((name, down) for name, down in fields.pop("order"))
    return page(tables, Page(order=order, **fields))


def _limit(what: int, limit: int, *, soft: bool = False) -> None:
    _, hard = resource.getrlimit(what)
    # Not every system limits everything; the pool's time limit holds in any case.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(what, (limit, hard if soft else limit))


if __name__ == "__main__":
    main()

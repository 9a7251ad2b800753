"""The process that runs SQL of clients: with little memory, little time and no files.

Started by `sql_pool` as ``python -m fibstream.services.analysis.edges.sql_process DESCRIPTOR``, the
number of an open socket. It answers one query after the other until the other end is closed. Tables
come as descriptors of `shared.SharedTable` and are mapped.
"""

import contextlib
import json
import os
import resource
import socket
import sys
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

import pyarrow as pa

from fibstream.core.errors import LimitExceeded, WrongUse

from .shared import mapped
from .sql import Answer, Choice, choose, select

# DuckDB's own limit misses what one value holds, such as a list of 10^8 numbers. Python, Arrow and
# DuckDB map 1 GB before the first query; then come the tables, 1 GB at most, and DuckDB's 512 MB.
ADDRESS_SPACE = 3 << 30  # bytes
NO_MEMORY = 3  # exit status: there was no memory even to receive the query
CPU_S = 35  # of one query, for when the pool has died; it kills the process earlier


def main() -> None:
    """Answer queries until the socket is closed."""
    descriptors = socket.socket(fileno=os.dup(int(sys.argv[1])))
    connection = Connection(int(sys.argv[1]))
    _limit(resource.RLIMIT_AS, ADDRESS_SPACE)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    try:
        connection.send_bytes(b"ready")
        while True:
            _serve(connection, descriptors)
    except (EOFError, ConnectionError, KeyboardInterrupt):
        pass
    except MemoryError:
        sys.exit(NO_MEMORY)


def _serve(connection: Connection, descriptors: socket.socket) -> None:
    """Receive one query and answer it."""
    query = json.loads(connection.recv_bytes())
    tables = {name: _received(descriptors) for name in query["tables"]}
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + CPU_S, soft=True)
    for part in answer(query, tables):
        connection.send_bytes(part)


def _received(descriptors: socket.socket) -> pa.Table:
    """Map the next table."""
    _, received, _, _ = socket.recv_fds(descriptors, 1, 1)
    if not received:
        raise EOFError
    try:
        return mapped(received[0])
    except OSError as error:  # the address space is full
        raise MemoryError from error
    finally:
        os.close(received[0])


def answer(query: dict[str, Any], tables: dict[str, pa.Table]) -> list[bytes]:
    """Return an answer's head as JSON and its rows as an Arrow IPC stream, or an error alone."""
    try:
        found = _run(query, tables)
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


def encode_query(query: Choice | str, tables: list[str], others: list[str]) -> bytes:
    """Return a query as it is sent: a choice of rows of a table, or SQL."""
    body = {"sql": query} if isinstance(query, str) else {"choice": asdict(query)}
    return json.dumps(body | {"tables": tables, "others": others}).encode()


def _run(query: dict[str, Any], tables: dict[str, pa.Table]) -> Answer:
    if "sql" in query:
        return select(tables, query["sql"], query["others"])
    fields = query["choice"]
    order = tuple((name, down) for name, down in fields.pop("order"))
    return choose(tables, Choice(order=order, **fields))


def _limit(what: int, limit: int, *, soft: bool = False) -> None:
    _, hard = resource.getrlimit(what)
    # Not every system limits everything; the pool's time limit holds in any case.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(what, (limit, hard if soft else limit))


if __name__ == "__main__":
    main()

"""The process that runs strangers' SQL: it has little memory, little time, and no files.

Started by `asking` as ``python -m fibstream.services.analysis.edges.answering DESCRIPTOR``; it
answers one question after the other until the other end of the socket is closed.
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

from .query import Answer, Page, page, select

# DuckDB's own limit misses what one value holds, such as a list of 10^8 numbers. Python, Arrow and
# DuckDB map 1 GB before the first question; then come the tables, and DuckDB's 512 MB.
ADDRESS_SPACE = 3 << 30  # bytes
NO_MEMORY = 3  # exit status: not even the question found room
CPU_S = 35  # of one question: ends a process whose asker died; asked longer, it is killed before


def main() -> None:
    """Answer until nobody asks any more."""
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
    """Take one question and answer it."""
    question = json.loads(connection.recv_bytes())
    tables = {name: connection.recv_bytes() for name in question["tables"]}
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + CPU_S, soft=True)
    for part in answer(question, tables):
        connection.send_bytes(part)


def answer(question: dict[str, Any], tables: dict[str, bytes]) -> list[bytes]:
    """Return an answer's head as JSON and its rows as an Arrow IPC stream, or an error alone."""
    try:
        found = _ask(question, {n: pq.read_table(pa.BufferReader(t)) for n, t in tables.items()})
    except WrongUse as error:
        kind = "LimitExceeded" if isinstance(error, LimitExceeded) else "WrongUse"
        return [json.dumps({"error": kind, "message": str(error)}).encode()]
    except (MemoryError, pa.ArrowMemoryError):
        said = "the question needs more memory than it may take; ask for less"
        return [json.dumps({"error": "LimitExceeded", "message": said}).encode()]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, found.rows.schema) as stream:
        stream.write_table(found.rows)
    head = {"total": found.total, "columns": found.rows.column_names}
    return [json.dumps(head).encode(), sink.getvalue().to_pybytes()]


def written(question: Page | str, tables: list[str]) -> bytes:
    """Return a question as it is sent: a page of a table, or SQL."""
    body = {"sql": question} if isinstance(question, str) else {"page": asdict(question)}
    return json.dumps(body | {"tables": tables}).encode()


def _ask(question: dict[str, Any], tables: dict[str, pa.Table]) -> Answer:
    if "sql" in question:
        return select(tables, question["sql"])
    fields = question["page"]
    order = tuple((name, down) for name, down in fields.pop("order"))
    return page(tables, Page(order=order, **fields))


def _limit(what: int, most: int, *, soft: bool = False) -> None:
    _, hard = resource.getrlimit(what)
    # Not every system limits everything; the asker's clock stays.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(what, (most, hard if soft else most))


if __name__ == "__main__":
    main()

"""Queries of tables, in SQL that reaches nothing but these tables.

The SQL comes from a client. DuckDB keeps it from files, the network and settings; memory and time,
which it cannot limit in every case (``range(1e9)`` in one cell), are limited by `sql_process`, the
process in which it runs.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from fibstream.core.echo import cut, echo
from fibstream.core.errors import LimitExceeded, WrongUse

MAX_MEMORY = "512MB"  # of DuckDB: tables are mapped, and a million objects with all columns 360 MB
MAX_ROWS = 100_000  # of one answer; more are better read from the files of the tables
MAX_BYTES = 6 << 20  # of one answer: with its columns it must stay below a message of 8 MB
MAX_TEXT = 20_000  # characters of SQL: longer ones may nest too deep for the parser
MAX_KNOWN = 1000  # characters of the names of columns in a message
MAX_SAID = 120  # characters of an error of DuckDB, which repeats names of the statement
MAX_NESTED = 100  # expressions within expressions: the syntax tree is walked by recursion
MAX_CHOSEN = 10_000_000  # ids of one choice: 80 MB
BATCH = 2048  # rows between two checks of these limits

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "python_enable_replacements": False,  # the name of a table must not find a variable of Python
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "allow_community_extensions": False,
    "temp_directory": "",  # never spill: the folder may be read-only
    "memory_limit": MAX_MEMORY,
    "max_expression_depth": MAX_NESTED,
    "threads": 1,  # sums of floats come out the same each time
}
_LOCK = "SET lock_configuration = true"
_SERIALIZE = "SELECT json_serialize_sql(?)"
# Of these only some forms, of times with zones, are not the same in each query: the zone is locked.
_ARITHMETIC = ("+", "-")
_VOLATILE = (
    "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability IN"
    " ('VOLATILE', 'CONSISTENT_WITHIN_QUERY')"
)
_REPEATED = re.compile(r"\"[^\"]*\"|'[^']*'|\S{81,}")
_UNKNOWN = (duckdb.BinderException, duckdb.CatalogException)


@dataclass(frozen=True)
class Choice:
    """Rows of one table: those that fulfil ``filter``, in a total order, from ``offset`` on.

    ``limit`` is None for all of them.
    """

    table: str
    filter: str
    order: tuple[tuple[str, bool], ...]  # of columns, each with whether it descends
    offset: int = 0
    limit: int | None = None


@dataclass(frozen=True)
class Answer:
    """Rows of an answer, and the number of rows that a choice is part of."""

    rows: pa.Table
    total: int


def choose(tables: Mapping[str, pa.Table], query: Choice) -> Answer:
    """Return the ids that are chosen, in order; raise WrongUse for what is not one condition.

    Only ids are sorted: with all columns a million rows would not fit into the memory.
    """
    table = tables[query.table]
    with _connect(tables) as connection:
        where = _condition(connection, query)
        source = f"FROM {_quoted(query.table)} WHERE (\n{where}\n)"
        names = ", ".join(table.column_names)
        order = [f"{_quoted(name)}{' DESC' if down else ''}" for name, down in query.order]
        order += [] if "id" in dict(query.order) else ["id"]
        statement = f"SELECT id {source} ORDER BY {', '.join(order)} OFFSET {query.offset}"
        if query.limit is not None:
            statement += f" LIMIT {query.limit}"
        ids = _capped(connection, statement, "filter", names, MAX_CHOSEN, 8 * MAX_CHOSEN)
        total = _capped(connection, f"SELECT count(*) {source}", "filter", names)[0][0].as_py()
        return Answer(ids, total)


def select(tables: Mapping[str, pa.Table], sql: str, others: Sequence[str] = ()) -> Answer:
    """Return the answer to one SELECT; raise WrongUse for anything else, LimitExceeded if large.

    ``others`` are names of tables that are there, too, and that the statement does not name.
    """
    _check_length(sql, "sql")
    with _connect(tables) as connection:
        try:
            statements = connection.extract_statements(sql)
        except duckdb.Error as error:
            raise _rejection("sql", error) from None
        if len(statements) != 1:
            raise WrongUse(f"sql: {len(statements)} statements; expected one SELECT")
        if statements[0].type != duckdb.StatementType.SELECT:
            kind = statements[0].type.name
            raise WrongUse(f"sql: a statement of kind {kind}; expected one SELECT")
        known = [f"{name}: {', '.join(table.column_names)}" for name, table in tables.items()]
        rows = _capped(connection, sql, "sql", "; ".join([*known, *others]))
        return Answer(rows, rows.num_rows)


def _connect(tables: Mapping[str, pa.Table]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:", config=_CONFIG)
    for name, table in tables.items():
        connection.register(name, table)
    connection.execute(_LOCK)
    return connection


def _condition(connection: duckdb.DuckDBPyConnection, query: Choice) -> str:
    """Return the filter if it is one condition without volatile functions.

    The whole statement is parsed: but for the condition, its syntax tree must be that of ``true``.
    """
    if not query.filter.strip():
        return "true"
    _check_length(query.filter, "filter")
    try:
        return _checked(connection, query)
    except RecursionError:
        raise WrongUse(f"filter: expected expressions at most {MAX_NESTED} deep") from None


def _checked(connection: duckdb.DuckDBPyConnection, query: Choice) -> str:
    plain, own = (
        _parsed(connection, f"SELECT * FROM {_quoted(query.table)} WHERE (\n{condition}\n)")
        for condition in ("true", query.filter)
    )
    condition = own["statements"][0]["node"].pop("where_clause", None)
    plain["statements"][0]["node"].pop("where_clause")
    if condition is None or _without_locations(plain) != _without_locations(own):
        raise WrongUse(f"filter {echo(query.filter, 60)}: expected one condition, nothing else")
    volatile = {name for (name,) in connection.execute(_VOLATILE).fetchall()}
    for name in _functions(condition):
        if name in volatile and name not in _ARITHMETIC:
            raise WrongUse(f"filter: {name}() may give another value for each page")
    return query.filter


def _parsed(connection: duckdb.DuckDBPyConnection, sql: str) -> Any:
    ((text,),) = connection.execute(_SERIALIZE, [sql]).fetchall()
    found = json.loads(text)
    if found["error"]:
        if "expression depth" in found["error_message"]:
            raise WrongUse(f"filter: expected expressions at most {MAX_NESTED} deep")
        raise WrongUse(f"filter: {_line(found['error_message'])}")
    return found


def _without_locations(node: Any) -> Any:
    """Return a syntax tree without the positions of its parts in the text."""
    if isinstance(node, dict):
        kept = {k: v for k, v in node.items() if not k.startswith("query_location")}
        return {k: _without_locations(v) for k, v in kept.items()}
    return [_without_locations(item) for item in node] if isinstance(node, list) else node


def _functions(node: Any) -> Iterator[str]:
    """Yield the names of all functions in a syntax tree."""
    if isinstance(node, dict):
        name = node.get("function_name")
        if isinstance(name, str):
            yield name.lower()
    if isinstance(node, dict | list):
        for item in node.values() if isinstance(node, dict) else node:
            yield from _functions(item)


def _capped(
    connection: duckdb.DuckDBPyConnection, statement: str, what: str, columns: str,
    most_rows: int = MAX_ROWS, most_bytes: int = MAX_BYTES,
) -> pa.Table:  # fmt: skip
    """Run a statement; raise LimitExceeded once its rows are more than one answer may hold."""
    batches, rows, size = [], 0, 0
    try:
        reader = connection.sql(statement).to_arrow_reader(BATCH)
        for batch in reader:
            batches.append(batch)
            rows, size = rows + batch.num_rows, size + batch.nbytes
            if rows > most_rows or size > most_bytes:
                raise LimitExceeded(
                    f"{what}: the answer is more than {most_rows} rows or {most_bytes >> 20} MB;"
                    " ask for fewer rows or columns (LIMIT), or read the table's file"
                )
        return pa.Table.from_batches(batches, reader.schema)
    except (duckdb.Error, pa.ArrowException) as error:
        raise _rejection(what, error, columns) from None


def _rejection(what: str, error: Exception, columns: str = "") -> WrongUse:
    """Return the error of a client's statement, in one line."""
    text = str(error)
    if isinstance(error, duckdb.OutOfMemoryException) or "Out of Memory" in text:
        return LimitExceeded(f"{what}: needs more than {MAX_MEMORY} of memory; ask for less")
    # A name was not found: list the columns.
    known = f"; there are: {columns}" if isinstance(error, _UNKNOWN) and columns else ""
    if "expression depth" in text:
        return WrongUse(f"{what}: expected expressions at most {MAX_NESTED} deep")
    return WrongUse(f"{what}: {_line(text)}{cut(known, MAX_KNOWN)}")


def _line(text: str) -> str:
    """Return the first line of an error of DuckDB without its kind."""
    first = text.strip().splitlines()[0] if text.strip() else "cannot be run"
    said = first.split("Error: ", 1)[-1]
    # What it repeats of the statement, in quotes or as one word, is not always short.
    return cut(_REPEATED.sub(lambda found: cut(found.group()), said), MAX_SAID)


def _check_length(text: str, what: str) -> None:
    if len(text) > MAX_TEXT:
        raise LimitExceeded(f"{what}: {len(text)} characters; at most {MAX_TEXT}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

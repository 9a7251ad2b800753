"""The embedded bus: one SQLite file, durable, shared by the processes of one machine."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from tenacity import (
    Retrying,
    retry_if_exception_type,
    retry_if_not_exception_type,
    stop_after_delay,
    wait_fixed,
)

from fibstream.core.errors import Damaged, DiskFull, NotFound, Retryable, WrongUse
from fibstream.core.ports import Delivery, Entry

from .reading import pass_over, text_of

BUSY_S = 30.0  # a writer waits this long for another; each transaction takes microseconds
POLL_S = 0.005  # how often a waiting process looks at SQLite's change counter (one page read)

VERSION = 2  # of the tables below
_SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
    offset INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, key TEXT NOT NULL,
    value BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS log_key ON log (topic, key);
CREATE TABLE IF NOT EXISTS tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, key TEXT NOT NULL,
    value BLOB NOT NULL, owner TEXT, lease REAL NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0, sent REAL NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS tasks_topic ON tasks (topic, id);
CREATE INDEX IF NOT EXISTS tasks_key ON tasks (topic, key);
"""
_COLUMNS = {
    "log": ("offset", "topic", "key", "value"),
    "tasks": ("id", "topic", "key", "value", "owner", "lease", "crashes", "sent"),
}
_FREE = "(owner IS NULL OR lease < ?)"
# What no waiting mends: a statement that the file's tables do not fit, a file that is not SQLite's
# or damaged, a rule that somebody else gave its tables.
_FOREIGN = {
    sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_CONSTRAINT,
}  # fmt: skip


class SqliteBus:
    """A bus in one file; its logs are compacted at once: an entry replaces the one of its key."""

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.time, *, read_only: bool = False
    ) -> None:
        self.path = path.absolute()
        self._clock = clock
        uri = self.path.as_uri()
        if read_only:
            uri += f"?{_reading(self.path)}"
        try:
            if not read_only:
                # Not the dataset's folder: a late process must not bring back one that was deleted.
                path.parent.mkdir(exist_ok=True)
            # A connection may be made in one thread and used in another, never in two at a time.
            self._db = sqlite3.connect(
                uri, timeout=BUSY_S, isolation_level=None, check_same_thread=False, uri=True
            )
        except FileNotFoundError as error:
            raise NotFound(f"bus {path}: {path.parent.parent} is not there") from error
        except (OSError, sqlite3.OperationalError) as error:
            raise Damaged(f"bus {path}: {error}") from error
        # Anybody may have edited the file: texts are decoded where they are read.
        self._db.text_factory = bytes
        self._file, self._seen = (0, 0), -1
        try:
            self._prepare(read_only=read_only)
        except BaseException:
            self._db.close()
            raise
        self._file = _identity(self.path)

    def _prepare(self, *, read_only: bool) -> None:
        if read_only:
            if not self._run("SELECT 1 FROM sqlite_master"):
                raise NotFound(f"bus {self.path}: its tables are still to be made")
            self._check_tables("log")  # an earlier version had other tasks
            return
        self._journal()
        # A kill loses nothing; after a power cut the last records may be lost, and reconcile
        # finds their blobs in the store.
        self._run("PRAGMA synchronous=NORMAL")
        self._create()
        self._check_tables(*_COLUMNS)

    def _journal(self) -> None:
        """Switch to a write-ahead log: the one statement for which SQLite does not wait itself."""
        switching = Retrying(
            retry=retry_if_exception_type(Retryable) & retry_if_not_exception_type(DiskFull),
            stop=stop_after_delay(BUSY_S), wait=wait_fixed(POLL_S), reraise=True,
        )  # fmt: skip
        switching(self._run, "PRAGMA journal_mode=WAL")

    def _create(self) -> None:
        self._run("BEGIN IMMEDIATE")  # others may open the same new file at this moment
        version = self._run("PRAGMA user_version")[0][0]
        tables = self._run("SELECT name FROM sqlite_master WHERE type = 'table'")
        if version > VERSION or (tables and (b"log",) not in tables):
            raise self._wrong(f"not a bus of this version (it has tables of version {version})")
        if version != VERSION:
            # Tasks are sent again: those of an earlier version are not read.
            self._run("DROP TABLE IF EXISTS tasks")
            self._run(f"PRAGMA user_version = {VERSION}")
        for statement in _SCHEMA.split(";"):
            self._run(statement)
        self._run("COMMIT")

    def _check_tables(self, *tables: str) -> None:
        """Raise Damaged for tables with other columns: another program made them."""
        for table in tables:
            found = [text_of(row[1]) for row in self._run(f"PRAGMA table_info({table})")]
            if tuple(found) != _COLUMNS[table]:
                raise self._wrong(f"its table {table} is none of fibstream")

    def _run(self, sql: str, *values: object) -> list[Any]:
        try:
            # All rows at once: a statement that returns what it changes commits with its last row.
            return self._db.execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code == sqlite3.SQLITE_FULL:
                raise DiskFull(f"no space left for the bus: {error}") from error
            if code in _FOREIGN:
                self._db.close()
                raise self._wrong(str(error)) from error
            if isinstance(error, sqlite3.OperationalError):
                raise Retryable(f"bus {self.path}: {error}") from error
            raise  # a wrong call is a bug; a wrong file is not

    def _wrong(self, why: str) -> WrongUse:
        return Damaged(f"bus {self.path}: {why}; delete it, and verify --rebuild writes it anew")

    def _write(self, *statements: tuple[object, ...]) -> None:
        self._run("BEGIN IMMEDIATE")
        try:
            for sql, *values in statements:
                self._run(str(sql), *values)
            self._run("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.ProgrammingError):  # closed: the file is damaged
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            raise

    def publish(self, topic: str, key: str, value: bytes) -> None:
        """Append to a log."""
        self._write(
            ("DELETE FROM log WHERE topic = ? AND key = ?", topic, key),
            ("INSERT INTO log (topic, key, value) VALUES (?, ?, ?)", topic, key, value),
        )

    def read(self, topics: Collection[str], after: int, limit: int = 1000) -> list[Entry]:
        """Return entries with an offset larger than ``after``, in order."""
        found: list[Entry] = []
        while not found:  # none may be readable of those that one page has
            rows = self._rows(topics, after, limit)
            if not rows:
                break
            after = rows[-1][0]
            found = [entry for row in rows if (entry := _entry(row)) is not None]
        return found

    def _rows(self, topics: Collection[str], after: int, limit: int) -> list[Any]:
        marks = ",".join("?" * len(topics))
        return self._run(
            f"SELECT offset, topic, key, value FROM log WHERE offset > ? AND topic IN ({marks})"
            " ORDER BY offset LIMIT ?",
            after, *topics, limit,
        )  # fmt: skip

    def end(self, topics: Collection[str]) -> int:
        """Return the largest offset in these logs, of what ``read`` returns."""
        return next((row[0] for row in self._newest(topics) if _readable(row)), 0)

    def _newest(self, topics: Collection[str]) -> Iterator[Any]:
        """Yield the rows of these logs, the last first."""
        marks, before = ",".join("?" * len(topics)), 2**63 - 1
        sql = f"SELECT offset, topic, key, value FROM log WHERE offset <= ? AND topic IN ({marks})"
        while rows := self._run(f"{sql} ORDER BY offset DESC LIMIT 1", before, *topics):
            yield rows[0]
            before = rows[0][0] - 1

    def send(self, topic: str, key: str, value: bytes) -> None:
        """Put a task on a queue; it replaces a waiting one of the same key."""
        same = f"topic = ? AND key = ? AND {_FREE}"
        now = self._clock()
        self._write(
            (
                "INSERT INTO tasks (topic, key, value, sent, crashes) VALUES (?, ?, ?, ?, COALESCE("
                f"(SELECT MAX(crashes) FROM tasks WHERE {same} AND value = ?), 0))",
                topic, key, value, now, topic, key, now, value,
            ),
            (
                f"DELETE FROM tasks WHERE {same} AND id != last_insert_rowid()",
                topic, key, now,
            ),
        )  # fmt: skip

    def take(self, topic: str, owner: str, lease_s: float) -> Delivery | None:
        """Lease the oldest task that nobody holds."""
        now = self._clock()
        first = f"SELECT id FROM tasks WHERE topic = ? AND {_FREE} ORDER BY id LIMIT 1"
        while self._run(first, topic, now):  # read without the writer's lock: mostly nothing
            rows = self._run(
                f"UPDATE tasks SET owner = ?, lease = ? WHERE id = ({first})"
                " RETURNING id, key, value, crashes, sent",
                owner, now + lease_s, topic, now,
            )  # fmt: skip
            if not rows:
                return None  # another was faster
            if deliveries := self._deliveries(rows):
                return deliveries[0]
        return None

    def _deliveries(self, rows: Sequence[Any]) -> list[Delivery]:
        """Return the tasks in some rows; one that cannot be read is taken off its queue."""
        found = []
        for row in rows:
            if (delivery := _delivery(row)) is None:
                self._run("DELETE FROM tasks WHERE id = ?", row[0])
            else:
                found.append(delivery)
        return found

    def renew(self, delivery: Delivery, owner: str, lease_s: float) -> bool:
        """Hold on to a task."""
        sql = "UPDATE tasks SET lease = ? WHERE id = ? AND owner = ? RETURNING id"
        return bool(self._run(sql, self._clock() + lease_s, delivery.id, owner))

    def acknowledge(self, delivery: Delivery, owner: str) -> None:
        """Take a finished task off its queue."""
        self._run("DELETE FROM tasks WHERE id = ? AND owner = ?", delivery.id, owner)

    def backlog(self, topic: str) -> int:
        """Return how many tasks are not acknowledged."""
        rows = self._run("SELECT COUNT(*) FROM tasks WHERE topic = ?", topic)
        return int(rows[0][0])

    def reclaim(self, owner: str) -> list[Delivery]:
        """Release the tasks of an owner that died."""
        rows = self._run(
            "UPDATE tasks SET owner = NULL, crashes = crashes + 1 WHERE owner = ?"
            " RETURNING id, key, value, crashes, sent",
            owner,
        )
        return self._deliveries(rows)

    def discard(self, delivery: Delivery) -> None:
        """Take a task off its queue, whoever holds it."""
        self._run("DELETE FROM tasks WHERE id = ?", delivery.id)

    def forget(self) -> None:
        """Remove all tasks: planners send again what they want; only while nobody works."""
        self._run("DELETE FROM tasks")

    def clear(self, topics: Collection[str]) -> None:
        """Empty logs that belong to one run; only while nobody works."""
        for topic in topics:
            self._run("DELETE FROM log WHERE topic = ?", topic)

    def wait(self, timeout_s: float) -> bool:
        """Return True when another connection wrote, False after ``timeout_s`` if none did."""
        deadline = time.monotonic() + timeout_s
        while True:
            version = self._run("PRAGMA data_version")[0][0]
            if version != self._seen:
                self._seen = version
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(POLL_S, left))

    @property
    def is_current(self) -> bool:
        """Whether the open file is still the one at its path: a dataset may have been deleted."""
        try:
            return self._file == _identity(self.path)
        except OSError:  # opening it anew says what is wrong
            return False

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _reading(path: Path) -> str:
    """Return how a bus is opened that is only read; raise NotFound when there is none.

    SQLite makes files beside one that it reads, unless it is told that nobody writes: then it does
    not look into the write-ahead log, which is there while somebody does.
    """
    if not os.path.lexists(path):
        raise NotFound(f"bus {path}: not found")
    archived = not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists()
    return "immutable=1" if archived else "mode=ro"


def _identity(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_dev, state.st_ino


def _readable(row: Sequence[Any]) -> bool:
    """Whether a row of the log is an entry: anybody may have edited the file."""
    _, topic, key, value = row
    return None not in (text_of(topic), text_of(key)) and isinstance(value, bytes)


def _entry(row: Sequence[Any]) -> Entry | None:
    """Return the entry of a row; None, counted, for one that is none."""
    if not _readable(row):
        pass_over(f"row {row[0]} of the log", "expected texts and a blob")
        return None
    offset, topic, key, value = row
    return Entry(offset, topic.decode(), key.decode(), value)


def _delivery(row: Sequence[Any]) -> Delivery | None:
    """Return the task of a row; None, counted, for one that somebody edited."""
    number, key, value, crashes, sent_s = row
    key = text_of(key)
    numbers = isinstance(crashes, int) and isinstance(sent_s, int | float)
    if key is None or not isinstance(value, bytes) or not numbers:
        pass_over(f"task {number}", "expected a text, a blob and numbers")
        return None
    return Delivery(number, key, value, crashes, float(sent_s))

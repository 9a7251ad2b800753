"""A pool of processes that run queries and may be killed: each is a `sql_process`.

A server must outlive any SQL that it is sent. A query that runs too long, or whose client is gone,
is ended with its process, and the next query gets a new one.
"""

import contextlib
import json
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import NamedTuple, Protocol

import pyarrow as pa

from fibstream.core.errors import LimitExceeded, Retryable, WrongState, WrongUse

from .shared import SharedTable
from .sql import Choice
from .sql_process import NO_MEMORY, encode_query

MAX_PROCESSES = 2  # each may use a core and 3 GB of address space; other queries wait
LIMIT_S = 30.0  # of one query: a table of a million objects is sorted in a second
POLL_S = 0.25  # between two checks of a waiting query whether its client is still there
START_S = 60.0  # of a process: half a second, unless the machine is busy
MAX_QUERIES = 1000  # of one process, so that a leak of memory ends
CANCELLED = "the call was cancelled"


class Caller(Protocol):
    """Who waits for an answer; a call of gRPC is one."""

    def is_active(self) -> bool:
        """Whether it still waits."""

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Have a function called when it no longer waits; False when that is so already."""


class Reply(NamedTuple):
    """The answer to a query; ``rows`` is an Arrow IPC stream."""

    columns: list[str]
    total: int
    rows: bytes

    def table(self) -> pa.Table:
        """Return the rows."""
        return pa.ipc.open_stream(self.rows).read_all()


@dataclass
class _Process:
    process: subprocess.Popen[bytes]
    connection: Connection
    descriptors: socket.socket  # the same socket, over which tables are passed
    queries: int = 0

    def end(self) -> None:
        """Kill it, whatever it does."""
        self.process.kill()
        self.process.wait()
        self.connection.close()
        self.descriptors.close()


class _Watchdog:
    """Kills a process at the end of its time, or when its client is gone, unless it was quicker."""

    def __init__(self, process: _Process, limit_s: float) -> None:
        self._process = process
        self._lock = threading.Lock()
        self._done = False
        self.reason = ""
        self._timer = threading.Timer(limit_s, self.stop, ["time"])
        self._timer.daemon = True
        self._timer.start()

    def stop(self, reason: str) -> None:
        """Kill the process if it has not answered."""
        with self._lock:
            if not self._done:
                self._done, self.reason = True, reason
                self._process.process.kill()

    def close(self) -> None:
        """Note that the process has answered: from now on nothing is killed."""
        with self._lock:
            self._done = True
        self._timer.cancel()


class SqlPool:
    """Runs at most ``MAX_PROCESSES`` queries at a time; ``close`` ends all processes."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        # Last in, first out: one process is kept warm, the other is started when it is needed.
        self._idle: queue.LifoQueue[_Process | None] = queue.LifoQueue()
        for _ in range(MAX_PROCESSES):
            self._idle.put(None)

    def run(
        self, query: Choice | str, tables: Mapping[str, SharedTable | None], context: Caller
    ) -> Reply:
        """Return the answer to a query.

        Parameters
        ----------
        query
            A choice of rows of a table, which is answered with their ids, or one SELECT.
        tables
            Tables by name; None for those that the query does not name.
        context
            The call that waits for the answer: when it ends, so does the query.

        Raises
        ------
        WrongUse, LimitExceeded
            The query has no answer, or too large a one.
        WrongState
            The call has ended.
        """
        with self._process(context) as process:
            watchdog = _Watchdog(process, self._limit_s)
            if not context.add_callback(lambda: watchdog.stop("cancelled")):
                watchdog.stop("cancelled")
            try:
                return _exchange(process, query, tables)
            except (EOFError, OSError):
                process.queries = MAX_QUERIES
                raise self._cause(process, watchdog.reason) from None
            finally:
                watchdog.close()

    def _cause(self, process: _Process, reason: str) -> Exception:
        """Return why a process did not answer."""
        if reason == "cancelled":
            return WrongState(CANCELLED)
        if reason == "time":
            return LimitExceeded(f"the query took longer than {self._limit_s:g} s; ask for less")
        status = process.process.wait()
        if status < 0 or status == NO_MEMORY:  # killed by the system, or out of memory
            return LimitExceeded("the query needs more memory than it may use; ask for less")
        return RuntimeError(f"the process that runs queries ended with status {status}")

    @contextlib.contextmanager
    def _process(self, context: Caller) -> Iterator[_Process]:
        """Wait for a free process; put it back, or an empty place when it is of no more use."""
        place = self._wait(context)
        try:
            process = place or _start()
        except BaseException:
            self._idle.put(None)
            raise
        try:
            process.queries += 1
            yield process
        except LimitExceeded:
            process.queries = MAX_QUERIES  # its memory may be fragmented
            raise
        finally:
            keep = process.queries < MAX_QUERIES
            if not keep:
                process.end()
            self._idle.put(process if keep else None)

    def _wait(self, context: Caller) -> _Process | None:
        while context.is_active():
            with contextlib.suppress(queue.Empty):
                return self._idle.get(timeout=POLL_S)
        raise WrongState(CANCELLED)

    def close(self) -> None:
        """End every idle process; no query may follow."""
        with contextlib.suppress(queue.Empty):
            while True:
                process = self._idle.get_nowait()
                if process is not None:
                    process.end()


def _start() -> _Process:
    """Start a process that inherits nothing but one end of a socket."""
    here, there = socket.socketpair()
    with there:
        line = [sys.executable, "-I", "-m", "fibstream.services.analysis.edges.sql_process"]
        process = subprocess.Popen(
            [*line, str(there.fileno())], pass_fds=[there.fileno()], stdin=subprocess.DEVNULL,
            env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
    started = _Process(process, Connection(os.dup(here.fileno())), here)
    try:
        if started.connection.poll(START_S):
            started.connection.recv_bytes()  # it is ready
            return started
    except (EOFError, OSError):
        pass
    started.end()
    raise Retryable("the process that runs queries did not start")


def _exchange(
    process: _Process, query: Choice | str, tables: Mapping[str, SharedTable | None]
) -> Reply:
    connection = process.connection
    named = {name: table for name, table in tables.items() if table}
    connection.send_bytes(encode_query(query, list(named), [n for n in tables if n not in named]))
    for table in named.values():
        socket.send_fds(process.descriptors, [b"t"], [table.descriptor])
    head = json.loads(connection.recv_bytes())
    if "error" in head:
        kind = LimitExceeded if head["error"] == "LimitExceeded" else WrongUse
        raise kind(head["message"])
    return Reply(head["columns"], head["total"], connection.recv_bytes())

"""Questions asked of processes that may be killed: the other end is `answering`.

A server must outlive any SQL that it is sent. What runs too long, or what nobody waits for any
more, is ended with its process, and the next question gets a new one.
"""

import contextlib
import json
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import NamedTuple

import grpc

from fibstream.core.errors import LimitExceeded, Retryable, WrongState, WrongUse

from .answering import NO_MEMORY, written
from .query import Page

MAX_AT_ONCE = 2  # each may take a core and 3 GB of address space; others wait in line
LIMIT_S = 30.0  # of one question: a table of a million objects is sorted in a second
LOOK_S = 0.25  # how often one that waits in line looks whether its caller is still there
START_S = 60.0  # of a process: half a second, unless the machine has much else to do
RETIRE = 1000  # questions to one process: what leaks, leaks so long
GONE = "the call was cancelled"


class Reply(NamedTuple):
    """The answer to a question; ``rows`` is an Arrow IPC stream."""

    columns: list[str]
    total: int
    rows: bytes


@dataclass
class _Process:
    process: subprocess.Popen[bytes]
    connection: Connection
    asked: int = 0

    def end(self) -> None:
        """Kill it, whatever it does."""
        self.process.kill()
        self.process.wait()
        self.connection.close()


class _Watch:
    """Kills a process at the end of its time, or when its caller has gone, unless it was quick."""

    def __init__(self, process: _Process, limit_s: float) -> None:
        self._process = process
        self._lock = threading.Lock()
        self._done = False
        self.reason = ""
        self._timer = threading.Timer(limit_s, self.stop, ["time"])
        self._timer.daemon = True
        self._timer.start()

    def stop(self, reason: str) -> None:
        """Kill the process if it is still at it."""
        with self._lock:
            if not self._done:
                self._done, self.reason = True, reason
                self._process.process.kill()

    def close(self) -> None:
        """The answer is there: from now on nothing is killed."""
        with self._lock:
            self._done = True
        self._timer.cancel()


class Asking:
    """Asks at most ``MAX_AT_ONCE`` questions at a time; ``close`` ends all processes."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        # Last in, first out: one process is kept warm, the other is started when it is needed.
        self._line: queue.LifoQueue[_Process | None] = queue.LifoQueue()
        for _ in range(MAX_AT_ONCE):
            self._line.put(None)

    def ask(
        self, question: Page | str, tables: Mapping[str, bytes], context: grpc.ServicerContext
    ) -> Reply:
        """Return the answer; raise WrongUse or LimitExceeded when there is none.

        Parameters
        ----------
        question
            A page of a table, or one SELECT.
        tables
            Parquet files by name.
        context
            The call that wants to know: when it ends, so does the question.
        """
        with self._process(context) as process:
            watch = _Watch(process, self._limit_s)
            if not context.add_callback(lambda: watch.stop("gone")):
                watch.stop("gone")
            try:
                return _exchange(process.connection, question, tables)
            except (EOFError, OSError):
                process.asked = RETIRE
                raise self._died(process, watch.reason) from None
            finally:
                watch.close()

    def _died(self, process: _Process, reason: str) -> Exception:
        """Return why a process did not answer."""
        if reason == "gone":
            return WrongState(GONE)
        if reason == "time":
            return LimitExceeded(f"the question took longer than {self._limit_s:g} s; ask for less")
        status = process.process.wait()
        if status < 0 or status == NO_MEMORY:  # killed by the system, or out of room
            return LimitExceeded("the question needs more memory than it may take; ask for less")
        return RuntimeError(f"the process that answers questions ended with status {status}")

    @contextlib.contextmanager
    def _process(self, context: grpc.ServicerContext) -> Iterator[_Process]:
        """Wait in line for a process; put it back, or an empty place when it is of no more use."""
        place = self._wait(context)
        try:
            process = place or _start()
        except BaseException:
            self._line.put(None)
            raise
        try:
            process.asked += 1
            yield process
        except LimitExceeded:
            process.asked = RETIRE  # its memory may be in pieces
            raise
        finally:
            keep = process.asked < RETIRE
            if not keep:
                process.end()
            self._line.put(process if keep else None)

    def _wait(self, context: grpc.ServicerContext) -> _Process | None:
        while context.is_active():
            with contextlib.suppress(queue.Empty):
                return self._line.get(timeout=LOOK_S)
        raise WrongState(GONE)

    def close(self) -> None:
        """End every process that does nothing; ask no more after that."""
        with contextlib.suppress(queue.Empty):
            while True:
                process = self._line.get_nowait()
                if process is not None:
                    process.end()


def _start() -> _Process:
    """Start a process that has nothing of ours but one end of a socket."""
    here, there = socket.socketpair()
    with there:
        line = [sys.executable, "-I", "-m", "fibstream.services.analysis.edges.answering"]
        process = subprocess.Popen(
            [*line, str(there.fileno())], pass_fds=[there.fileno()], stdin=subprocess.DEVNULL,
            env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
    started = _Process(process, Connection(here.detach()))
    try:
        if started.connection.poll(START_S):
            started.connection.recv_bytes()  # it is ready
            return started
    except (EOFError, OSError):
        pass
    started.end()
    raise Retryable("the process that answers questions did not start")


def _exchange(connection: Connection, question: Page | str, tables: Mapping[str, bytes]) -> Reply:
    connection.send_bytes(written(question, list(tables)))
    for table in tables.values():
        connection.send_bytes(table)
    head = json.loads(connection.recv_bytes())
    if "error" in head:
        raise (LimitExceeded if head["error"] == "LimitExceeded" else WrongUse)(head["message"])
    return Reply(head["columns"], head["total"], connection.recv_bytes())

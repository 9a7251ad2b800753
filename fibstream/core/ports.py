"""The ports: what fibstream needs of a bus and of a store of files. Pure.

Third parties may implement `Bus` and `Files`; ``fibstream.testing`` has the suites that an
implementation must pass. All methods may raise Retryable while the outside is away, DiskFull (a
Retryable) when there is no space, and WrongUse when what was named cannot be used at all.

An instance is used by one thread at a time, unless it says otherwise; several instances, in several
processes, work on the same logs, queues and files at a time.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, Protocol

from .errors import Retryable

# Names the content of one file at one time; () when there is no file. Equal bytes put again may
# have an equal generation: a decision based on a generation must follow from the content alone.
Generation = tuple[int, ...]


class Replaced(Retryable):
    """The file is no longer the generation that was opened, and cannot be read further."""


class Entry(NamedTuple):
    """One entry of a log."""

    offset: int  # larger than 0, and larger than that of every earlier entry of its key
    topic: str
    key: str
    value: bytes


class Delivery(NamedTuple):
    """A task leased to one owner."""

    id: int  # names this task on its bus; a task sent anew has another one
    key: str
    value: bytes
    crashes: int  # how often an owner died while it held the task
    sent_s: float = 0.0  # Unix time at which it was put on its queue; 0 if unknown


class Bus(Protocol):
    """Logs that can be read from the beginning, and queues whose tasks are leased.

    A topic is a log or a queue. Keys and topics are text, values bytes of at most 64 KiB.
    Delivery is at least once. A log keeps at least the last entry of every key: where keys repeat,
    the last entry wins. A queue delivers at least the newest task of every key.
    """

    def publish(self, topic: str, key: str, value: bytes) -> None:
        """Append an entry to a log, durably: readers see it after this returns."""

    def read(self, topics: Collection[str], after: int, limit: int = 1000) -> list[Entry]:
        """Return at most ``limit`` entries of these logs with an offset larger than ``after``.

        They come in the order of their offsets; an empty list means that none are left. ``after``
        is 0 for the beginning, or an offset that this bus returned for the same logs. Entries of
        one log come in the order in which they were published. Of several large logs a bus may
        refuse offsets other than 0, the last one returned, and the last end.
        """

    def end(self, topics: Collection[str]) -> int:
        """Return the offset of the last entry that `read` of these logs returns, 0 if none.

        Entries that were published before the call are included.
        """

    def send(self, topic: str, key: str, value: bytes) -> None:
        """Put a task on a queue; it may replace a waiting task of the same key.

        An equal waiting task that it replaces passes its count of crashes on. If the task cannot
        be put, this call or, at the latest, the next call on this bus raises the error.
        """

    def take(self, topic: str, owner: str, lease_s: float) -> Delivery | None:
        """Lease the oldest task that nobody holds for ``lease_s`` seconds; None if there is none.

        ``owner`` names the process that works on it. A task whose lease has ended counts as held
        by nobody.
        """

    def renew(self, delivery: Delivery, owner: str, lease_s: float) -> bool:
        """Extend a lease to ``lease_s`` seconds from now; False when ``owner`` has lost it.

        A lease that ended is not lost while nobody took the task.
        """

    def acknowledge(self, delivery: Delivery, owner: str) -> None:
        """Remove a finished task from its queue; do nothing if ``owner`` does not hold it."""

    def backlog(self, topic: str) -> int:
        """Return how many tasks of a queue are not acknowledged, held ones included.

        Of several tasks of one key at least one is counted; where each comes at least once, one
        that is over may be.
        """

    def reclaim(self, owner: str) -> list[Delivery]:
        """Release all tasks of an owner that died, and count one crash for each; return them.

        Those whose lease has ended and that nobody took since are among them.
        """

    def discard(self, delivery: Delivery) -> None:
        """Remove a task from its queue, whoever holds it; do nothing if it is gone."""

    def forget(self) -> None:
        """Forget all crashes and leases, and all tasks where they can be removed.

        It is called only while no planner and no worker is at work. Planners then send again what
        they want; an older task that is still delivered does no harm.
        """

    def wait(self, timeout_s: float) -> bool:
        """Return True once something may have been written, False after ``timeout_s`` seconds.

        It returns at once if something was written since the last call; ``timeout_s`` may be 0.
        What this instance writes itself need not count; what waits to be read or taken may be
        reported again.
        """

    @property
    def is_current(self) -> bool:
        """Whether it is still the bus at its address: that of a dataset is deleted with it."""

    def close(self) -> None:
        """Release the connection. No other method is called afterwards."""


class Handle(Protocol):
    """One generation of one file, open for reading.

    All bytes that it returns are of that generation. If the file is replaced or deleted, a handle
    either goes on reading the old bytes (a folder keeps the file open) or raises Replaced from
    `size`, `end`, `read` and `parts`; the reader then opens the file again.
    """

    generation: Generation

    @property
    def size(self) -> int:
        """Bytes of the file. To know it may cost as much as to read them all."""

    def end(self, count: int) -> bytes:
        """Return the last ``count`` bytes, all of them when there are fewer."""

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes ``[start, stop)``, fewer where the file ends before."""

    def parts(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return what `read` returns for each ``(start, stop)``; requests may be combined."""

    def close(self) -> None:
        """Release the file."""


class Files(Protocol):
    """Whole files by relative path, replaced atomically: a folder, or a prefix of a bucket.

    Paths have ``/`` between their parts and none at either end. Readers see the old bytes or the
    new ones, never a mixture, and see what a `put` wrote as soon as it has returned. Several
    threads may use one instance.
    """

    def open(self, path: str) -> Handle | None:
        """Open the present generation of a file; None when there is no file."""

    def put(self, path: str, data: bytes, expected: Generation | None = None) -> bool:
        """Replace a file whole and durably, and return True; folders are made as needed.

        With ``expected`` it is replaced only if that is its generation, ``()`` meaning that there
        is no file; otherwise nothing is written and False is returned. Where answers can be lost,
        the other generation may come from this very put: after False, read again. WrongUse is
        raised when the folder or bucket that holds all files was deleted.
        """

    def delete(self, path: str) -> None:
        """Delete a file; do nothing if there is none."""

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the paths of all files below the folder ``prefix``, sorted; "" means all."""

"""What the core asks of the outside world; every port has several adapters, one contract suite."""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, Protocol

from .errors import Retryable

# Names one content of one file; () when there is no file. The same bytes put again may have the
# same name: what is decided over a generation must follow from the content alone.
Generation = tuple[int, ...]


class Moved(Retryable):
    """A file is no longer the generation that was opened, and cannot be read further."""


class Entry(NamedTuple):
    """One record of a log."""

    offset: int
    topic: str
    key: str
    value: bytes


class Delivery(NamedTuple):
    """A task handed to one owner under a lease."""

    id: int
    key: str
    value: bytes
    crashes: int
    sent_s: float = 0.0  # Unix time at which it was put on its queue; 0 where nobody knows


class Bus(Protocol):
    """Logs that can be read from the beginning, and queues whose tasks are leased.

    Delivery is at least once. A log has at least the last record of every key: where keys repeat,
    the last one wins. A queue delivers at least the newest task of every key.
    """

    def publish(self, topic: str, key: str, value: bytes) -> None:
        """Append to a log."""

    def read(self, topics: Collection[str], after: int, limit: int = 1000) -> list[Entry]:
        """Return entries with an offset larger than ``after``, in order; none when none are left.

        ``after`` is 0, or an offset that this bus returned for these logs.
        """

    def end(self, topics: Collection[str]) -> int:
        """Return the offset that reading these logs to their end leads to, 0 when empty."""

    def send(self, topic: str, key: str, value: bytes) -> None:
        """Put a task on a queue; it may replace a waiting one of the same key.

        One that could not be put is told by the next call that touches the bus, at the latest.
        """

    def take(self, topic: str, owner: str, lease_s: float) -> Delivery | None:
        """Lease the oldest task that this owner may have and that nobody holds."""

    def renew(self, delivery: Delivery, owner: str, lease_s: float) -> bool:
        """Hold on to a task; False when the lease was lost."""

    def acknowledge(self, delivery: Delivery, owner: str) -> None:
        """Take a finished task off its queue, unless it now belongs to somebody else."""

    def backlog(self, topic: str) -> int:
        """Return how many tasks of a queue are not acknowledged."""

    def reclaim(self, owner: str) -> list[Delivery]:
        """Release the tasks of an owner that died and count the crash against each."""

    def discard(self, delivery: Delivery) -> None:
        """Take a task off its queue, whoever holds it."""

    def forget(self) -> None:
        """Forget crashes, leases, and tasks if they can be told apart; only while nobody works.

        Planners will say again what they want; an old task that still comes does no harm.
        """

    def wait(self, timeout_s: float) -> bool:
        """Return True when something may have been written, False after ``timeout_s`` if not.

        What was told once is not told again.
        """

    def close(self) -> None:
        """Let go of the connection."""


class Handle(Protocol):
    """One generation of one file, open for reading.

    Whatever is returned is of that generation. A folder keeps a replaced file open; what cannot
    raises Moved, and the reader opens anew.
    """

    generation: Generation

    @property
    def size(self) -> int:
        """Bytes of the file; ask for it only to read all of them: it may cost as much."""

    def end(self, count: int) -> bytes:
        """Return the last ``count`` bytes, all of them when there are fewer."""

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes ``[start, stop)``, fewer where the file ends before."""

    def parts(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return several ranges ``[start, stop)``, at once if that is faster."""

    def close(self) -> None:
        """Let go of the file."""


class Files(Protocol):
    """Whole files by relative path, replaced atomically: a folder, or an object store."""

    def open(self, path: str) -> Handle | None:
        """Open one generation of a file; None when there is none."""

    def put(self, path: str, data: bytes, expected: Generation | None = None) -> bool:
        """Replace a file whole and durably.

        With ``expected`` only over that generation (``()``: only when there is no file); False
        when another one was found. Where answers can be lost, that other one may be this very put:
        after False, read again.
        """

    def delete(self, path: str) -> None:
        """Remove a file if it is there."""

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the paths below a folder, in order; all with an empty ``prefix``."""

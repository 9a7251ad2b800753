"""A bus and files in memory, for tests and the simulation, under the same contract suites."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from fibstream.core.ports import Delivery, Entry, Generation


@dataclass
class _Task:
    topic: str
    key: str
    value: bytes
    owner: str | None = None
    lease: float = 0.0
    crashes: int = 0
    sent: float = 0.0


class MemoryBus:
    """A bus for one process."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._log: dict[tuple[str, str], Entry] = {}
        self._last = 0
        self._tasks: dict[int, _Task] = {}
        self._next = 0

    def publish(self, topic: str, key: str, value: bytes) -> None:
        """Append to a log; an entry replaces the one before of its key."""
        self._last += 1
        self._log.pop((topic, key), None)
        self._log[topic, key] = Entry(self._last, topic, key, value)

    def read(self, topics: Collection[str], after: int, limit: int = 1000) -> list[Entry]:
        """Return entries with an offset larger than ``after``, in order."""
        found: list[Entry] = []
        for entry in reversed(self._log.values()):  # newest first: the log is in order of offsets
            if entry.offset <= after:
                break
            if entry.topic in topics:
                found.append(entry)
        return found[::-1][:limit]

    def end(self, topics: Collection[str]) -> int:
        """Return the largest offset in these logs."""
        newest = (e.offset for e in reversed(self._log.values()) if e.topic in topics)
        return next(newest, 0)

    def send(self, topic: str, key: str, value: bytes) -> None:
        """Put a task on a queue; it replaces a waiting one of the same key."""
        crashes = 0
        for number, task in list(self._tasks.items()):
            if (task.topic, task.key) == (topic, key) and self._free(task):
                if task.value == value:
                    crashes = max(crashes, task.crashes)
                del self._tasks[number]
        self._next += 1
        self._tasks[self._next] = _Task(topic, key, value, crashes=crashes, sent=self._clock())

    def _free(self, task: _Task) -> bool:
        return task.owner is None or task.lease < self._clock()

    def waiting(self, topic: str) -> list[Delivery]:
        """Return the tasks of a queue that nobody holds, as ``take`` would, the oldest first."""
        return list(self._waiting(topic))

    def _waiting(self, topic: str) -> Iterator[Delivery]:
        for number, task in self._tasks.items():
            if task.topic == topic and self._free(task):
                yield Delivery(number, task.key, task.value, task.crashes, task.sent)

    def take(self, topic: str, owner: str, lease_s: float) -> Delivery | None:
        """Lease the oldest task that nobody holds."""
        delivery = next(self._waiting(topic), None)
        if delivery is not None:
            task = self._tasks[delivery.id]
            task.owner, task.lease = owner, self._clock() + lease_s
        return delivery

    def renew(self, delivery: Delivery, owner: str, lease_s: float) -> bool:
        """Hold on to a task."""
        task = self._tasks.get(delivery.id)
        if task is None or task.owner != owner:
            return False
        task.lease = self._clock() + lease_s
        return True

    def acknowledge(self, delivery: Delivery, owner: str) -> None:
        """Take a finished task off its queue."""
        task = self._tasks.get(delivery.id)
        if task is not None and task.owner == owner:
            del self._tasks[delivery.id]

    def backlog(self, topic: str) -> int:
        """Return how many tasks are not acknowledged."""
        return sum(task.topic == topic for task in self._tasks.values())

    def reclaim(self, owner: str) -> list[Delivery]:
        """Release the tasks of an owner that died."""
        released = []
        for number, task in self._tasks.items():
            if task.owner == owner:
                task.owner, task.crashes = None, task.crashes + 1
                released.append(Delivery(number, task.key, task.value, task.crashes, task.sent))
        return released

    def discard(self, delivery: Delivery) -> None:
        """Take a task off its queue, whoever holds it."""
        self._tasks.pop(delivery.id, None)

    def forget(self) -> None:
        """Drop all tasks."""
        self._tasks.clear()

    def clear(self, topics: Collection[str]) -> None:
        """Empty logs that belong to one run."""
        for log_key in [log_key for log_key in self._log if log_key[0] in topics]:
            del self._log[log_key]

    def wait(self, timeout_s: float) -> bool:  # noqa: ARG002
        """Return True at once: nobody else writes while the caller waits."""
        return True

    @property
    def is_current(self) -> bool:
        """True: it has no address."""
        return True

    def close(self) -> None:
        """Do nothing: nothing is held."""


class MemoryHandle:
    """One generation of one file."""

    def __init__(self, data: bytes, generation: Generation) -> None:
        self._data = data
        self.size = len(data)
        self.generation = generation

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes ``[start, stop)``."""
        return self._data[start:stop]

    def end(self, count: int) -> bytes:
        """Return the last ``count`` bytes."""
        return self._data[max(self.size - count, 0) :]

    def parts(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return several ranges."""
        return [self._data[start:stop] for start, stop in ranges]

    def close(self) -> None:
        """Do nothing: nothing is held."""


class MemoryFiles:
    """Files of one process."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[int, bytes]] = {}
        self._generation = 0

    def open(self, path: str) -> MemoryHandle | None:
        """Open one generation of a file."""
        found = self._files.get(path)
        return MemoryHandle(found[1], (found[0],)) if found else None

    def put(self, path: str, data: bytes, expected: Generation | None = None) -> bool:
        """Replace a file, with ``expected`` only over that generation."""
        found = self._files.get(path)
        if expected is not None and expected != ((found[0],) if found else ()):
            return False
        self._generation += 1
        self._files[path] = (self._generation, bytes(data))
        return True

    def delete(self, path: str) -> None:
        """Remove a file if it is there."""
        self._files.pop(path, None)

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the paths below a folder."""
        folder = prefix.rstrip("/") + "/" if prefix else ""
        yield from sorted(p for p in self._files if p.startswith(folder))

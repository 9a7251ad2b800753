"""What logs must answer, decided without a bus."""

from collections.abc import Collection, Mapping, Sequence

from fibstream.core.ports import Entry

from .harness import Promises

Position = Mapping[str, int]  # of each log, the number of the last record that was read


class LogModel:
    """Every record ever written; each has a value of its own."""

    def __init__(self, promises: Promises) -> None:
        self._promises = promises
        self._records: list[tuple[str, str, bytes]] = []
        self._newest: dict[tuple[str, str], int] = {}  # (log, key) -> number, counted from 1

    def publish(self, topic: str, key: str) -> bytes:
        """Return the value to write."""
        value = f"{len(self._records) + 1}".encode()
        self._records.append((topic, key, value))
        self._newest[topic, key] = len(self._records)
        return value

    def end(self, topics: Collection[str]) -> Position:
        """Return where somebody who has read all is."""
        return {
            topic: max((n for (t, _), n in self._newest.items() if t == topic), default=0)
            for topic in topics
        }

    def empty(self, topics: Collection[str]) -> bool:
        """Whether nothing was written to these logs."""
        return not any(self.end(topics).values())

    def read(
        self, topics: Collection[str], start: Position, entries: Sequence[Entry]
    ) -> list[Position]:
        """Check what was read after a position; return the position after each entry."""
        position, found = dict(start), set()
        passed: list[Position] = []
        for entry in entries:
            number = int(entry.value)
            assert entry.topic in topics
            assert entry[1:] == self._records[number - 1]
            assert number > position.get(entry.topic, 0), "read twice, or out of order"
            if self._promises.compacts:
                assert self._newest[entry.topic, entry.key] == number, "replaced before"
            position[entry.topic] = number
            if self._promises.ordered:
                position |= dict.fromkeys(topics, number)
            found.add(number)
            passed.append(dict(position))
        due = self._due(topics, start)
        if entries:
            due = {n for n in due if n <= position.get(self._records[n - 1][0], 0)}
        assert due <= found, "a last record was left out"
        return passed

    def _due(self, topics: Collection[str], start: Position) -> set[int]:
        """Return the last records of keys that lie after a position."""
        return {n for (t, _), n in self._newest.items() if t in topics and n > start.get(t, 0)}

"""Several logs on Kafka read as one, and what of them is kept in memory."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kafka import TopicPartition

from fibstream.bus.reading import pass_over, text_of
from fibstream.bus.wire import dataset_of
from fibstream.core.errors import WrongUse
from fibstream.core.ports import Entry

from .follower import Follower
from .link import Link

KEEP = 4096  # entries a small log may have to be answered from memory, compacted: some megabytes
BUFFER = 20_000  # entries read ahead of the caller: some tens of megabytes


class Count:
    """Counts the entries of some partitions: the offset of a log that is spread over them.

    It is the sum, over the partitions, of Kafka's offset of the last own entry plus one. So it
    only grows, and all who read to the end get the same, whatever others write in between.
    """

    def __init__(self, places: Sequence[TopicPartition], scope: str | None) -> None:
        self.places = places
        self._scope = scope
        self.reset()

    def reset(self) -> None:
        """Start again at the beginning."""
        self.seen = dict.fromkeys(self.places, 0)
        self.own = dict.fromkeys(self.places, 0)
        self.total = 0

    def jump(self, seen: Mapping[TopicPartition, int], own: Mapping[TopicPartition, int]) -> None:
        """Move to where another count was."""
        self.seen, self.own, self.total = dict(seen), dict(own), sum(own.values())

    def accept(self, place: TopicPartition, records: Sequence[Any]) -> None:
        """Count the records that were not seen yet."""
        for record in records:
            if record.offset < self.seen[place]:
                continue
            self.seen[place] = record.offset + 1
            if record.value is None:
                continue  # a tombstone goes in time: it must not count
            key = text_of(record.key)
            if key is None:
                pass_over(f"{place.topic} {place.partition} at {record.offset}", "no key")
                continue
            if self._scope is None or dataset_of(key) == self._scope:
                self.total += record.offset + 1 - self.own[place]
                self.own[place] = record.offset + 1
                self.on_entry(Entry(self.total, place.topic, key, record.value))

    def on_entry(self, entry: Entry) -> None:
        """Take an entry that was counted."""


class View(Count):
    """Logs read as one. Small ones are kept, compacted; of large ones only what is read ahead."""

    def __init__(
        self,
        link: Link,
        follower: Follower,
        places: Sequence[TopicPartition],
        scope: str | None,
        keep: int,
        stall_s: float,
    ) -> None:
        super().__init__(places, scope)
        self._link = link
        self._stall_s = stall_s
        self._keep = keep
        self._kept: dict[tuple[str, str], Entry] | None = {}
        self._ahead: deque[Entry] = deque()
        self._limit = BUFFER  # of those
        self._position = 0  # the offset of the last entry returned
        self._refused: set[TopicPartition] = set()  # where records were not taken, being too many
        self._mark: Count | None = None  # where ``end`` was
        self._counter: tuple[Count, Follower] | None = None
        self.news = False
        self._follower = follower
        follower.add(self)

    # -- what comes in ---------------------------------------------------------------------------

    def accept(self, place: TopicPartition, records: Sequence[Any]) -> None:
        """Take records, unless too many wait already: then they are read again later."""
        if place in self._refused or (self._kept is None and len(self._ahead) >= self._limit):
            self._refused.add(place)
            return
        super().accept(place, records)

    def on_entry(self, entry: Entry) -> None:
        """Keep an entry until it is read, or while the log is small."""
        self.news = True
        if self._kept is None:
            self._ahead.append(entry)
            return
        self._kept.pop((entry.topic, entry.key), None)
        self._kept[entry.topic, entry.key] = entry
        if len(self._kept) > self._keep:
            self._ahead = deque(e for e in self._kept.values() if e.offset > self._position)
            self._kept = None

    def _catch_up(self, enough: Callable[[], bool] = lambda: False) -> bool:
        if self._refused:
            self._refused.clear()
            self._follower.rewind(self)
        return self._follower.catch_up(self, enough)

    # -- what goes out ---------------------------------------------------------------------------

    @property
    def left(self) -> bool:
        """Whether entries wait that a read could return at once."""
        return bool(self._ahead)

    def read(self, after: int, limit: int) -> list[Entry]:
        """Return entries after an offset; see ``KafkaBus.read``."""
        moved = after != self._position
        if self._kept is None and moved:
            self._move_to(after)
        self._position = after
        ready = self._ahead if self._kept is None else 0 < after < self.total and not moved
        if not ready or limit > BUFFER:
            self._limit = max(limit, BUFFER)  # a caller that wants everything gets it
            self._catch_up(lambda: self._kept is None and len(self._ahead) >= limit)
            self._limit = BUFFER
        found = self._from_ahead(limit) if self._kept is None else self._from_kept(after, limit)
        if found:
            self._position = found[-1].offset
        self.news = False
        return found

    def _from_kept(self, after: int, limit: int) -> list[Entry]:
        assert self._kept is not None
        found = []
        for entry in reversed(self._kept.values()):  # newest first: in order of offsets
            if entry.offset <= after:
                break
            found.append(entry)
        return found[::-1][:limit]

    def _from_ahead(self, limit: int) -> list[Entry]:
        return [self._ahead.popleft() for _ in range(min(limit, len(self._ahead)))]

    def _move_to(self, after: int) -> None:
        """Move to an offset of a log that is too large to be kept."""
        self._ahead.clear()
        self._refused.clear()
        if after == 0:
            self.reset()
        elif self._mark is not None and after == self._mark.total:
            self.jump(self._mark.seen, self._mark.own)
        elif len(self.places) == 1:
            self.jump({self.places[0]: after}, {self.places[0]: after})
        else:
            raise WrongUse(
                f"offset {after} of {sorted({p.topic for p in self.places})}: a large log is read"
                " on from where this bus was, from its end, or from 0"
            )
        self._follower.rewind(self)

    def end(self) -> int:
        """Return the offset of the last entry; see ``KafkaBus.end``."""
        there = self._catch_up(lambda: self._kept is None and len(self._ahead) >= BUFFER)
        if there:
            self._forget_counter()
            count: Count = self
        else:
            count = self._count_on()
        if self._kept is None:
            self._mark = Count(self.places, self._scope)
            self._mark.jump(count.seen, count.own)
        return count.total

    def _count_on(self) -> Count:
        """Count, with a consumer of its own, what lies beyond all that may be read ahead."""
        if self._counter is None:
            counter = Count(self.places, self._scope)
            counter.jump(self.seen, self.own)
            follower = Follower(self._link, self._stall_s)
            follower.add(counter)
            self._counter = counter, follower
        counter, follower = self._counter
        follower.catch_up(counter)
        return counter

    def _forget_counter(self) -> None:
        if self._counter is not None:
            self._counter[1].close()
            self._counter = None

    def close(self) -> None:
        """Close what was opened beside the follower."""
        self._forget_counter()

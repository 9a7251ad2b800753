"""Following logs on Kafka: one consumer for all that one bus reads, and what is kept of it.

A *part* is something that follows partitions: a view of logs, the leases, the tail of a queue. The
follower feeds every part each record of its partitions, in order, whatever the others are up to.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from kafka import TopicPartition

from fibstream.bus.wire import dataset_of
from fibstream.core.errors import Retryable, WrongUse
from fibstream.core.ports import Entry

from .link import CALL_S, STALLS, Link, reaching

log = logging.getLogger(__name__)

BATCH = 2000  # records that one look returns: what is worth a round trip
# A broker holds a look that finds nothing for so long. Partitions added meanwhile wait as long;
# half of it would double what idle processes cost.
HOLD_MS = 100
KEEP = 4096  # entries a small log may have to be answered from memory, compacted: some megabytes
BUFFER = 20_000  # entries read ahead of the caller: some tens of megabytes


class Stall:
    """Decides that a consumer is stuck: behind the end of its logs, and silent for ``stall_s``."""

    def __init__(self, stall_s: float) -> None:
        self._stall_s = stall_s
        self._since: float | None = None

    def look(self, now_s: float, *, behind: bool, polled: bool) -> bool:
        """Say what was seen at a time; True when it has been silent too long, once per time."""
        if polled or not behind:
            self._since = None
        elif self._since is None:
            self._since = now_s
        elif now_s - self._since >= self._stall_s:
            self._since = None
            return True
        return False


class Part(Protocol):
    """What follows some partitions."""

    seen: dict[TopicPartition, int]  # the offset that is accepted next

    @property
    def places(self) -> Sequence[TopicPartition]:
        """The partitions it follows."""

    def accept(self, place: TopicPartition, records: Sequence[Any]) -> None:
        """Take the records that were not seen yet, which may be none of these."""


class Follower:
    """The consumer of one bus and the parts it feeds; used by one thread at a time."""

    def __init__(self, link: Link, stall_s: float) -> None:
        self._link = link
        self._stall = Stall(stall_s)
        self._parts: list[Part] = []
        self._next: dict[TopicPartition, int] = {}  # what the consumer returns next
        self._consumer: Any = None
        self.restarts = 0
        self.lock = threading.RLock()

    def add(self, part: Part) -> None:
        """Feed a part from the offsets that it wants."""
        self._parts.append(part)
        self.rewind(part)

    def remove(self, part: Part) -> None:
        """Feed a part no more."""
        self._parts.remove(part)
        wanted = {place for other in self._parts for place in other.places}
        for place in set(part.places) - wanted:
            del self._next[place]
        if self._consumer is not None:
            self._consumer.assign(list(self._next))

    def rewind(self, part: Part) -> None:
        """Go to where a part wants to read on, or to where another does that is behind it."""
        fresh = [place for place in part.places if place not in self._next]
        self._next |= dict.fromkeys(fresh, -1)
        if self._consumer is not None and fresh:
            self._consumer.assign(list(self._next))
        for place in part.places:
            self._seek(place)

    def _seek(self, place: TopicPartition) -> None:
        wanted = min(part.seen[place] for part in self._parts if place in part.seen)
        if wanted != self._next[place]:
            self._next[place] = wanted
            if self._consumer is not None:
                self._consumer.seek(place, wanted)

    def _open(self) -> Any:
        if self._consumer is None:
            consumer = self._link.consumer(fetch_max_wait_ms=HOLD_MS, max_poll_records=BATCH)
            consumer.assign(list(self._next))
            for place, offset in self._next.items():
                consumer.seek(place, offset)
            self._consumer = consumer
        return self._consumer

    def poll(self, timeout_s: float) -> bool:
        """Feed what is there, or comes within ``timeout_s``; False when nothing did."""
        with reaching(self._link.servers):
            found = self._open().poll(timeout_ms=max(int(timeout_s * 1000), 0))
        for place, records in found.items():
            self._next[place] = records[-1].offset + 1
            for part in self._parts:
                if place in part.seen:
                    part.accept(place, records)
        return bool(found)

    def ends(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Ask the broker for the offsets that come next in these partitions."""
        with reaching(self._link.servers):
            found: Mapping[TopicPartition, int] = self._open().end_offsets(
                list(places), timeout_ms=int(CALL_S * 1000)
            )
            return found

    def catch_up(self, part: Part, enough: Callable[[], bool] = lambda: False) -> bool:
        """Feed a part all that is acknowledged by now, unless it has ``enough`` before.

        Return whether the end was reached. Raise Retryable when nothing comes for CALL_S.
        """
        ends = self.ends(part.places)
        deadline = time.monotonic() + CALL_S
        while behind := [place for place in part.places if part.seen[place] < ends[place]]:
            if enough():
                return False
            now = time.monotonic()
            if now > deadline:
                raise Retryable(f"kafka {self._link.servers}: nothing came for {CALL_S:.0f} s")
            polled = self.poll(min(HOLD_MS / 1000, deadline - now))
            if polled:
                deadline = time.monotonic() + CALL_S
            else:
                self._skip_holes(behind)
            if self._stall.look(time.monotonic(), behind=True, polled=polled):
                self._restart(behind)
        self._stall.look(time.monotonic(), behind=False, polled=False)
        return True

    def _skip_holes(self, behind: Sequence[TopicPartition]) -> None:
        """Follow the consumer over offsets that hold no record: compacted, or past retention."""
        for place in behind:
            with reaching(self._link.servers):
                position = self._open().position(place, timeout_ms=int(CALL_S * 1000))
            if position is None or position <= self._next[place]:
                continue
            self._next[place] = position
            for part in self._parts:
                if place in part.seen:
                    part.seen[place] = max(part.seen[place], position)

    def _restart(self, behind: Sequence[TopicPartition]) -> None:
        log.error("kafka consumer stalled behind the end of %s: starting it anew", behind)
        self.restarts += 1
        STALLS.count += 1
        self.close()

    def close(self) -> None:
        """Close the consumer; the next use opens another where this one was."""
        if self._consumer is not None:
            self._consumer.close(autocommit=False, timeout_ms=1000)
            self._consumer = None


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
        """Go to where another count was."""
        self.seen, self.own, self.total = dict(seen), dict(own), sum(own.values())

    def accept(self, place: TopicPartition, records: Sequence[Any]) -> None:
        """Count the records that were not seen yet."""
        for record in records:
            if record.offset < self.seen[place]:
                continue
            self.seen[place] = record.offset + 1
            if record.key is None or record.value is None:
                continue  # a tombstone goes in time: it must not count
            key = record.key.decode()
            if self._scope is None or dataset_of(key) == self._scope:
                self.total += record.offset + 1 - self.own[place]
                self.own[place] = record.offset + 1
                self.note(Entry(self.total, place.topic, key, record.value))

    def note(self, entry: Entry) -> None:
        """Do with an entry what there is to do."""


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
        self._room = BUFFER
        self._position = 0  # the offset of the last entry returned
        self._lost: set[TopicPartition] = set()  # where records were refused for want of room
        self._mark: Count | None = None  # where ``end`` was
        self._counter: tuple[Count, Follower] | None = None
        self.news = False
        self._follower = follower
        follower.add(self)

    # -- what comes in ---------------------------------------------------------------------------

    def accept(self, place: TopicPartition, records: Sequence[Any]) -> None:
        """Take records, unless too many wait already: then they are read again later."""
        if place in self._lost or (self._kept is None and len(self._ahead) >= self._room):
            self._lost.add(place)
            return
        super().accept(place, records)

    def note(self, entry: Entry) -> None:
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
        if self._lost:
            self._lost.clear()
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
            self._go(after)
        self._position = after
        ready = self._ahead if self._kept is None else 0 < after < self.total and not moved
        if not ready or limit > BUFFER:
            self._room = max(limit, BUFFER)  # who asks for everything gets it
            self._catch_up(lambda: self._kept is None and len(self._ahead) >= limit)
            self._room = BUFFER
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

    def _go(self, after: int) -> None:
        """Go to an offset of a log that is too large to be kept."""
        self._ahead.clear()
        self._lost.clear()
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
        """Let go of what was opened beside the follower."""
        self._forget_counter()

"""Following logs on Kafka: one consumer for all that one bus reads.

A *part* is something that follows partitions: a view of logs, the leases, the tail of a queue. The
follower feeds every part each record of its partitions, in order, whatever the others are up to.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from kafka import TopicPartition

from fibstream.core.errors import Retryable

from .link import CALL_S, HOLD_MS, RETRY_S, Link, reaching
from .stall import STALLS, Stall

log = logging.getLogger(__name__)

BATCH = 2000  # records that one poll returns: what is worth a round trip


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
        """Move to where a part reads on, or to where another does that is behind it."""
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
        """Return the offsets that the broker will give next in these partitions."""
        deadline = time.monotonic() + CALL_S
        while True:
            try:
                with reaching(self._link.servers):
                    found: Mapping[TopicPartition, int] = self._open().end_offsets(
                        list(places), timeout_ms=int(CALL_S * 1000)
                    )
                    return found
            except KeyError as error:
                # kafka-python 3.0.12 forgets partitions of topics that it does not know yet, when
                # it knows others in the same call. It has begun to look them up.
                if time.monotonic() > deadline:
                    raise Retryable(
                        f"kafka {self._link.servers}: no metadata of {error}"
                    ) from error
            time.sleep(RETRY_S)

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
        log.error("kafka consumer stalled behind the end of %s: opening it anew", behind)
        self.restarts += 1
        STALLS.count += 1
        self.close()

    def close(self) -> None:
        """Close the consumer; the next use opens another where this one was."""
        if self._consumer is not None:
            self._consumer.close(autocommit=False, timeout_ms=1000)
            self._consumer = None

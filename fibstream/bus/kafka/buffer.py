"""What one member of a group fetched: tasks that wait, tasks that are held, what may be committed.

Kafka commits positions, not tasks: of each partition the first unfinished task. And a partition
that went and came back is fetched again from there, while tasks of it may still be held here.
"""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from kafka import TopicPartition
from kafka.structs import OffsetAndMetadata

from fibstream.bus.wire import dataset_of

from .lease import QueuedTask, queued

Position = tuple[TopicPartition, int]


class TaskBuffer:
    """The tasks of one member; who uses it holds a lock, and passes the time in seconds."""

    def __init__(self, scope: str | None) -> None:
        self._scope = scope  # the dataset whose tasks alone are wanted; None for all
        self.mine: set[TopicPartition] = set()  # the partitions assigned
        self.next: dict[TopicPartition, int] = {}  # after the last record fetched
        self.waiting: deque[QueuedTask] = deque()
        self.held: dict[Position, QueuedTask] = {}
        self._not_before: dict[Position, float] = {}  # of tasks that wait and were put back
        self._turns: dict[str, int] = {}  # dataset -> when a task of it was taken last

    # -- what the group does ---------------------------------------------------------------------

    def add(self, found: Mapping[TopicPartition, Sequence[Any]]) -> None:
        """Take fetched records, but for those of partitions that are no longer assigned."""
        for place, records in found.items():
            if place not in self.mine:
                continue
            self.next[place] = records[-1].offset + 1
            for record in records:
                # A partition that went and came back brings again what is still held.
                again = (place, record.offset) in self.held
                task = None if again else queued(place, record)
                if task and (self._scope is None or dataset_of(task.key) == self._scope):
                    self.waiting.append(task)

    def revoke(self, places: Collection[TopicPartition]) -> None:
        """Drop what waits in partitions that go; tasks that are held stay held."""
        self.mine -= set(places)
        self.waiting = deque(task for task in self.waiting if task.place not in places)
        self._not_before = {at: s for at, s in self._not_before.items() if at[0] not in places}
        for place in places:
            self.next.pop(place, None)

    def leave(self) -> None:
        """Drop all that waits."""
        self.revoke({*self.mine, *self.next})

    # -- what the worker does --------------------------------------------------------------------

    def due(self, now_s: float) -> QueuedTask | None:
        """Return the oldest task that may be taken, of the dataset that waits longest; or None."""
        due = (t for t in self.waiting if self._not_before.get(t[:2], now_s) <= now_s)
        return min(due, key=lambda task: self._turns.get(dataset_of(task.key), 0), default=None)

    def take(self, now_s: float) -> QueuedTask | None:
        """Hold the task that is due, if there is one: datasets with much to do take turns."""
        task = self.due(now_s)
        if task is not None:
            self.waiting.remove(task)
            waiting = {dataset_of(each.key) for each in self.waiting}
            turns = {name: turn for name, turn in self._turns.items() if name in waiting}
            last = max(self._turns.values(), default=0)
            self._turns = turns | {dataset_of(task.key): last + 1}
            self.held[task[:2]] = task
        return task

    def put_back(self, task: QueuedTask, until_s: float) -> None:
        """Hold a task no longer: it is taken again, not before a time."""
        if self.held.pop(task[:2], None) and task.place in self.mine:
            self.waiting.appendleft(task)
            self._not_before[task[:2]] = until_s

    def remove(self, place: TopicPartition, offset: int) -> bool:
        """Remove a finished task; whether a commit can cover it.

        It cannot when the partition is no longer ours, nor when that went and came back and is not
        yet fetched up to the task: it will be fetched once more.
        """
        count = len(self.waiting) + len(self.held)
        self.held.pop((place, offset), None)
        self.waiting = deque(task for task in self.waiting if task[:2] != (place, offset))
        removed = len(self.waiting) + len(self.held) < count
        return removed and place in self.mine and offset < self.next.get(place, 0)

    def offsets(self) -> dict[TopicPartition, OffsetAndMetadata]:
        """Return what may be committed: of each partition the first unfinished task."""
        first = {place: self.next[place] for place in self.mine if place in self.next}
        for task in (*self.held.values(), *self.waiting):
            if task.place in first:
                first[task.place] = min(first[task.place], task.offset)
        return {place: OffsetAndMetadata(offset, "", -1) for place, offset in first.items()}

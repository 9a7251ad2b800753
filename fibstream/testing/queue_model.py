"""What queues must answer, decided without a bus: who holds a task, and its crashes."""

from collections.abc import Callable
from dataclasses import dataclass

from fibstream.core.ports import Delivery

from .harness import Promises


@dataclass
class Task:
    """A task as it was sent, and what became of it."""

    queue: str
    key: str
    value: bytes
    sent_s: float
    crashes: int = 0
    id: int | None = None  # known when it was first delivered
    owner: str | None = None
    until_s: float = 0.0
    over: bool = False  # acknowledged, discarded, forgotten or replaced


class QueueModel:
    """Every task ever sent, in order.

    Where a bus replaces no task, each has a value of its own, so that deliveries are known apart.
    """

    def __init__(self, promises: Promises, clock: Callable[[], float]) -> None:
        self._promises = promises
        self._clock = clock
        self.tasks: list[Task] = []
        self._by_id: dict[int, Task] = {}

    def _held(self, task: Task) -> bool:
        in_time = not self._promises.timed or task.until_s >= self._clock()
        return task.owner is not None and in_time

    @property
    def left(self) -> bool:
        """Whether there are tasks, held or not."""
        return any(not task.over for task in self.tasks)

    def send(self, queue: str, key: str, value: bytes) -> bytes:
        """Return the value to send."""
        if not self._promises.replaces:
            value += b"%d" % len(self.tasks)
        task = Task(queue, key, value, self._clock())
        for other in self.tasks if self._promises.replaces else ():
            if (other.queue, other.key, other.over) != (queue, key, False) or self._held(other):
                continue
            if other.value == value:
                task.crashes = max(task.crashes, other.crashes)
            other.over = True
        self.tasks.append(task)
        return value

    def due(self, queue: str) -> list[Task]:
        """Return the tasks that nobody holds and somebody must get, oldest first."""
        free = [t for t in self.tasks if t.queue == queue and not t.over and not self._held(t)]
        if self._promises.replaces:
            return free
        newest = {task.key: task for task in self.tasks if task.queue == queue}
        return [task for task in free if newest[task.key] is task]

    def take(self, queue: str, owner: str, lease_s: float, found: Delivery) -> None:
        """Check a delivery, and lease it."""
        task = self._find(queue, found)
        assert (task.queue, task.key, task.value) == (queue, found.key, found.value)
        assert not self._held(task), "held by somebody"
        if self._promises.once:
            assert not task.over, "acknowledged, discarded, forgotten or replaced before"
        if not task.over:
            assert found.crashes == task.crashes
        if self._promises.ordered:
            assert task is self.due(queue)[0], "not the oldest"
        if self._promises.timed:
            assert found.sent_s in (0, task.sent_s)
        task.id, task.owner, task.until_s = found.id, owner, self._clock() + lease_s
        self._by_id[found.id] = task

    def _find(self, queue: str, found: Delivery) -> Task:
        if found.id in self._by_id:
            return self._by_id[found.id]
        wanted = (queue, found.key, found.value, None)
        fits = [t for t in self.tasks if (t.queue, t.key, t.value, t.id) == wanted]
        assert fits, "never sent, or delivered under another id before"
        return fits[-1]

    def owns(self, number: int, owner: str) -> bool:
        """Whether a delivery is this owner's, in time or not taken by another since."""
        task = self._by_id[number]
        return task.owner == owner and not task.over

    def renew(self, number: int, lease_s: float) -> None:
        """Lease a task for longer."""
        self._by_id[number].until_s = self._clock() + lease_s

    def end(self, number: int) -> None:
        """Take a task off its queue."""
        task = self._by_id[number]
        task.over, task.owner = True, None

    def release(self, owner: str) -> list[Task]:
        """Free the tasks of an owner; return those that are not over."""
        held = [task for task in self.tasks if task.owner == owner]
        for task in held:
            task.owner = None
        return [task for task in held if not task.over]

    def forget(self) -> None:
        """End all tasks."""
        for task in self.tasks:
            task.over, task.owner = True, None

    def backlog(self, queue: str, found: int) -> None:
        """Check how many tasks are counted."""
        tasks = [task for task in self.tasks if task.queue == queue]
        left = [task.key for task in tasks if not task.over]
        assert found == len(left) if self._promises.once else len(set(left)) <= found <= len(tasks)

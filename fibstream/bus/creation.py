"""A dataset on a bus that others share: its keys there name its creation too.

A dataset that is deleted and created anew under its name is another one. On a bus of its own the
entries of the old one went with it; on a shared one they stay, and who was at work on it may go on.
"""

from collections.abc import Collection

from fibstream.core.ports import Bus, Delivery, Entry

from . import wire


class CreationBus:
    """A bus as one creation of a dataset sees it: its own keys begin with the dataset's name.

    On the bus below they begin with its owner. What begins with the name alone there, of an earlier
    version or of a stranger, is not of this dataset: above it begins with the owner.
    """

    def __init__(self, bus: Bus, name: str, creation: str) -> None:
        self._bus = bus
        owner = wire.owner(name, creation)
        self._exchanged = {name: owner, owner: name}

    def key(self, key: str) -> str:
        """Return a key of the bus below as it is above, and the other way round."""
        head, slash, rest = key.partition("/")
        return self._exchanged.get(head, head) + slash + rest

    def _delivery(self, delivery: Delivery) -> Delivery:
        return delivery._replace(key=self.key(delivery.key))

    def publish(self, topic: str, key: str, value: bytes) -> None:
        """Append an entry to a log."""
        self._bus.publish(topic, self.key(key), value)

    def read(self, topics: Collection[str], after: int, limit: int = 1000) -> list[Entry]:
        """Return entries of these logs, of whatever the bus below sees."""
        found = self._bus.read(topics, after, limit)
        return [entry._replace(key=self.key(entry.key)) for entry in found]

    def end(self, topics: Collection[str]) -> int:
        """Return the offset of the last entry that `read` of these logs returns."""
        return self._bus.end(topics)

    def send(self, topic: str, key: str, value: bytes) -> None:
        """Put a task on a queue."""
        self._bus.send(topic, self.key(key), value)

    def take(self, topic: str, owner: str, lease_s: float) -> Delivery | None:
        """Lease the oldest task, of whatever the bus below sees."""
        found = self._bus.take(topic, owner, lease_s)
        return None if found is None else self._delivery(found)

    def renew(self, delivery: Delivery, owner: str, lease_s: float) -> bool:
        """Extend a lease."""
        return self._bus.renew(self._delivery(delivery), owner, lease_s)

    def acknowledge(self, delivery: Delivery, owner: str) -> None:
        """Remove a finished task from its queue."""
        self._bus.acknowledge(self._delivery(delivery), owner)

    def backlog(self, topic: str) -> int:
        """Return how many tasks of a queue are not acknowledged."""
        return self._bus.backlog(topic)

    def reclaim(self, owner: str) -> list[Delivery]:
        """Release all tasks of an owner that died."""
        return [self._delivery(each) for each in self._bus.reclaim(owner)]

    def discard(self, delivery: Delivery) -> None:
        """Remove a task from its queue, whoever holds it."""
        self._bus.discard(self._delivery(delivery))

    def forget(self) -> None:
        """Forget all crashes and leases, and tasks where they can be removed."""
        self._bus.forget()

    def wait(self, timeout_s: float) -> bool:
        """Return True once something may have been written, False after ``timeout_s`` seconds."""
        return self._bus.wait(timeout_s)

    @property
    def is_current(self) -> bool:
        """Whether it is still the bus at its address."""
        return self._bus.is_current

    def close(self) -> None:
        """Release the connection."""
        self._bus.close()

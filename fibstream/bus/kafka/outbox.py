"""Records on their way: sent without waiting, confirmed by the next call that touches the bus."""

import threading

from .link import Link, Sent

UNCONFIRMED = 1000  # records sent and not yet confirmed: some megabytes


class Outbox:
    """What one bus sent and the broker has not confirmed; any thread may send."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._sent: list[Sent] = []
        self._lock = threading.Lock()

    def send(self, topic: str, key: str, value: bytes | None) -> None:
        """Send a record (None: a tombstone); wait for the earlier ones when they are too many."""
        sent = self._link.send(topic, key, value)
        with self._lock:
            self._sent.append(sent)
        if len(self._sent) >= UNCONFIRMED:
            self.flush()

    def flush(self) -> None:
        """Wait until all that was sent is confirmed; raise Retryable when it was not in time."""
        with self._lock:
            sent, self._sent = self._sent, []
        for each in sent:
            self._link.confirm(each)

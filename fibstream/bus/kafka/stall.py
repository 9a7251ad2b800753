"""When a consumer counts as stuck, and how often that happened in this process."""

from dataclasses import dataclass


@dataclass
class Tally:
    """How often consumers of this process were stuck and opened anew."""

    count: int = 0


STALLS = Tally()


class Stall:
    """Decides that a consumer is stuck: behind the end of its logs, and silent for ``stall_s``."""

    def __init__(self, stall_s: float) -> None:
        self._stall_s = stall_s
        self._since: float | None = None

    def look(self, now_s: float, *, behind: bool, polled: bool) -> bool:
        """Record what was seen at a time; True when it was silent too long, once per period."""
        if polled or not behind:
            self._since = None
        elif self._since is None:
            self._since = now_s
        elif now_s - self._since >= self._stall_s:
            self._since = None
            return True
        return False

"""What buses count in a process, as metrics: an adapter knows no telemetry."""

from typing import Protocol

from fibstream.bus.reading import UNREADABLE
from fibstream.telemetry.metrics import CONSUMER_STALLS, UNREADABLE_ITEMS, Metric, Telemetry


class Tally(Protocol):
    """A number that only grows."""

    count: int


class Tallies:
    """Adds to the metrics what was counted since the last call."""

    def __init__(self, telemetry: Telemetry, *, kafka: bool) -> None:
        self._telemetry = telemetry
        self._tallies: dict[Metric, Tally] = {UNREADABLE_ITEMS: UNREADABLE}
        if kafka:
            from fibstream.bus.kafka.stall import STALLS

            self._tallies[CONSUMER_STALLS] = STALLS
        self._counted = dict.fromkeys(self._tallies, 0)
        for metric in self._tallies:
            telemetry.begin(metric)

    def count(self) -> None:
        """Add what is new."""
        for metric, tally in self._tallies.items():
            if (now := tally.count) > self._counted[metric]:
                self._telemetry.add(metric, now - self._counted[metric])
                self._counted[metric] = now

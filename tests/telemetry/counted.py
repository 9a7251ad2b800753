"""A line of chunks whose service keeps metrics, on a clock that only a test moves."""

from dataclasses import dataclass, field, replace
from typing import Any, get_args

from prometheus_client import CollectorRegistry

from fibstream.core.grid import Grid
from fibstream.core.stage import Stage
from fibstream.runtime.site import Site
from fibstream.runtime.worker import Outcome, Worker
from fibstream.store.store import Store
from fibstream.telemetry import metrics as declared
from fibstream.telemetry.metrics import Metric
from fibstream.telemetry.prometheus import Prometheus

from ..runtime.line import Line

BLUR = {"service": "blur", "stage": "prediction"}
Samples = dict[tuple[Any, ...], float]  # the value of each series, by name and labels


class Clock:
    """Seconds that pass only when a test moves them."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class CountedLine(Line):
    """A line whose service keeps metrics."""

    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.prometheus = Prometheus("blur", "1.0", self.clock, lambda: 1e9 + self.clock())

    @property
    def site(self) -> Site:
        return replace(super().site, telemetry=self.prometheus)

    def worker(self, stage: Stage | None = None, grid: Grid | None = None) -> Worker:
        store = Store(self.files, grid or self.grid)
        site = Site("d", store, self.bus, "1.0", self.prometheus)
        return Worker(site, [stage or self.stage], lambda: self.grid)

    def value(self, metric: Metric, suffix: str = "", **labels: str) -> float | None:
        """Return the value of one series, or None."""
        return self.prometheus.registry.get_sample_value(metric.name + suffix, labels)

    def count(self, metric: Metric, **labels: str) -> float | None:
        """Return a value of the service itself; of a histogram, its number of values."""
        suffix = "_count" if metric.kind == "histogram" else ""
        names = {label.name for label in metric.labels}
        given = {k: v for k, v in BLUR.items() if k in names} | labels
        return self.value(metric, suffix, **given)

    def sum(self, metric: Metric, **labels: str) -> float:
        """Return the sum of the values of a histogram."""
        total = self.value(metric, "_sum", **BLUR, **labels)
        assert total is not None
        return total

    def outcomes(self) -> dict[str, float]:
        """Return the number of tasks by outcome, without zeros."""
        every = {o: self.count(declared.TASKS, outcome=o) for o in get_args(Outcome)}
        return {outcome: number for outcome, number in every.items() if number}


def samples(registry: CollectorRegistry) -> Samples:
    """Return every series with its value."""
    return {
        (s.name, *sorted(s.labels.items())): s.value
        for family in registry.collect()
        for s in family.samples
    }

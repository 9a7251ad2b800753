"""What a planner reports of objects: their changes, and that earlier ones are no more."""

from collections.abc import Generator, Iterable, Mapping
from dataclasses import replace

from fibstream.bus import wire
from fibstream.bus.reading import event_of
from fibstream.core.events import GONE, ObjectChanged
from fibstream.core.fold import Fold
from fibstream.core.ports import Entry
from fibstream.telemetry.metrics import PlannerMetrics

from .site import Site

BATCH = 500  # entries of the log of objects read at once


class ObjectReports:
    """Publishes the changes of the objects of a ``fold``; generators yield before each effect.

    ``rules`` are the digests of the settings of its organelles, which each change carries.
    """

    def __init__(
        self, site: Site, fold: Fold, metrics: PlannerMetrics, rules: Mapping[str, str]
    ) -> None:
        self._site = site
        self._fold = fold
        self._rules = rules
        self._metrics = metrics
        self._reported: set[tuple[str, int]] = set()  # objects that it has reported, and that are
        self._looked_back = not fold.organelles

    def publish_changes(self) -> Generator[None, None, None]:
        """Publish the changes since the last call."""
        for change in self._fold.changes():
            yield
            self._publish(change)

    def withdraw_earlier(self) -> Generator[None, None, None]:
        """Withdraw, once, the objects that earlier planners reported and that are no more.

        Other limits, or a chunk acquired anew when another planner ran, leave such objects in the
        log, and the fold never knew them. To be called when the fold has all summaries.
        """
        if self._looked_back:
            return
        yield from self.publish_changes()
        last: dict[tuple[str, int], ObjectChanged] = {}
        after = 0
        while entries := self._site.bus.read([wire.OBJECTS], after, BATCH):
            after = entries[-1].offset
            last |= {(c.organelle, c.id): c for c in self._own(entries)}
            yield
        for object_, change in last.items():
            if change.kind not in GONE and object_ not in self._reported:
                yield
                self._publish(replace(change, kind="withdrawn", into=None))
        self._looked_back = True

    def _own(self, entries: Iterable[Entry]) -> Iterable[ObjectChanged]:
        """Yield the changes of objects of this fold."""
        for entry in entries:
            if wire.dataset_of(entry.key) != self._site.dataset:
                continue
            change = event_of(entry)
            if isinstance(change, ObjectChanged) and change.organelle in self._fold.organelles:
                yield change

    def _publish(self, change: ObjectChanged) -> None:
        object_ = change.organelle, change.id
        (self._reported.discard if change.kind in GONE else self._reported.add)(object_)
        key = f"{self._site.dataset}/{change.organelle}/{change.id}"
        change = replace(change, rule=self._rules.get(change.organelle, ""))
        self._site.bus.publish(wire.OBJECTS, key, wire.encode(change))
        self._metrics.object_changed(change)

"""`fibstream verify`: read every content against its stamp; needs no running service.

The measure is what the grid and the pipeline promise, never the log: a log that was lost, or that
an earlier call has corrected, makes nothing whole. The log and the stamps only tell what was there
and is gone, which is damage, from what is not made yet. Where the log does not know what is stored,
it was lost, and of a sealed dataset an output counts as gone if all is there that it is made of.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fibstream.bus import wire
from fibstream.bus.sqlite import SqliteBus
from fibstream.core.dataset import Dataset
from fibstream.core.events import Place, Record
from fibstream.core.ports import Bus
from fibstream.core.subject import OBJECTS, Subjects, exists, order
from fibstream.runtime.ledger import ledger
from fibstream.runtime.root import open_bus
from fibstream.store.store import Blob, Store

from .catalogue import blobs_of, landed, outdated, outputs, record_of, stages_of, unknown
from .folder import locked, open_dataset
from .hashes import hashes

Output = tuple[Place, list[Blob]]
Track = Callable[[Sequence[Output], str], Iterable[Output]]  # reports the progress of a loop


@dataclass
class Verified:
    """What a look at all contents found; ``every``, ``lacking`` and ``outdated`` are by stage."""

    sealed: bool
    every: Counter[str] = field(default_factory=Counter)  # outputs that there must be
    damaged: list[Place] = field(default_factory=list)  # or gone
    lacking: Counter[str] = field(default_factory=Counter)  # not there yet
    outdated: Counter[str] = field(default_factory=Counter)  # of other settings or inputs
    hashes: tuple[str, str] | None = None

    @property
    def whole(self) -> bool:
        """Whether all that the dataset promises is there and intact."""
        return self.sealed and not (self.damaged or self.lacking or self.outdated)


def verify_dataset(
    path: Path,
    *,
    rebuild: bool,
    with_hashes: bool,
    bus_url: str | None = None,
    track: Track = lambda items, _: items,
) -> Verified:
    """Look at every output that a sealed dataset promises, or of what an open one has landed.

    What is damaged or gone is un-recorded in the dataset's log, so that the next run makes it anew;
    with ``rebuild`` the log is first written anew from the stamps. Hashes are those of a whole
    dataset, if asked for.
    """
    files, dataset = open_dataset(path)
    store = Store(files, dataset.grid)
    with locked(path):
        bus = open_bus(bus_url, path, dataset.name, dataset.incarnation)
        look = _Look(dataset, store, bus)
        if rebuild and isinstance(bus, SqliteBus):  # a shared log is corrected by what follows
            bus.clear(wire.ledger_topics())
        for place, items in track(look.places, "looked at"):
            look.at(place, items)
        found = look.conclude()
        corrections = [Record(*place, "suspect") for place in found.damaged]
        for record in [*(look.intact.values() if rebuild else ()), *corrections]:
            key = wire.record_key(dataset.name, record.stage, record.subject)
            bus.publish(wire.ledger_topic(record.stage), key, wire.encode(record))
        bus.close()
    if with_hashes and found.whole:
        found.hashes = hashes(path, dataset)
    return found


class _Look:
    """One look at the outputs of a dataset: ``at`` each of its ``places``, then ``conclude``."""

    def __init__(self, dataset: Dataset, store: Store, bus: Bus) -> None:
        self._dataset = dataset
        self._store = store
        # Outputs of an earlier pipeline belong to no stage now: neither wanted nor damaged.
        self._subjects: dict[str, Subjects] = {s.stage: s.subjects for s in landed(dataset)}
        self._landing = set(self._subjects)
        self._subjects |= {s.name: s.subjects for s in stages_of(dataset, store.files)}
        records = list(ledger(bus, dataset.name))
        self._logged = {(r.stage, r.subject) for r in records if r.status == "ready"}
        self._was_there = {(r.stage, r.subject) for r in records if self._shows_it_was_there(r)}
        self.places = list(outputs(dataset, store.files, store))
        self._more = sorted(self._was_there - {place for place, _ in self.places}, key=_order)
        self.places += [(place, blobs_of(dataset, store.files, place)) for place in self._more]
        self.intact: dict[Place, Record] = {}
        self._absent: set[Place] = set()

    def _shows_it_was_there(self, record: Record) -> bool:
        """Whether a record shows that its output was stored once, though it may be gone now."""
        # What lands fails by being damaged; an output that is computed, by not being made.
        shown = record.status in ("ready", "suspect")
        shown = shown or (record.stage in self._landing and record.status == "failed")
        return shown and self._may_exist((record.stage, record.subject))

    def _may_exist(self, place: Place) -> bool:
        """Whether the pipeline as it is now has such an output; the seal may have cut cells off."""
        subjects = self._subjects.get(place[0])
        grid = self._dataset.grid
        return subjects is not None and (not grid.sealed or exists(place[1], subjects, grid))

    def at(self, place: Place, items: list[Blob]) -> None:
        """Look at one output."""
        stamps = [(item, stamp) for item in items if (stamp := self._store.intact(item))]
        for _, stamp in stamps:  # what something was made of was there
            self._was_there.update((stage, subject) for stage, _, subject, _ in stamp.inputs)
        record = record_of(self._dataset, place, stamps) if len(stamps) == len(items) else None
        if record is not None:
            self.intact[place] = record
        elif not any(self._is_there(item) for item in items):
            self._absent.add(place)

    def _is_there(self, item: Blob) -> bool:
        handle = self._store.files.open(item.path)
        if handle is not None:
            handle.close()
        return handle is not None

    def conclude(self) -> Verified:
        """Say what is damaged or gone, and what is not made yet, after all was looked at."""
        found = Verified(self._dataset.grid.sealed)
        looked = {place for place, _ in self.places}
        unseen = [p for p in self._was_there - looked if self._may_exist(p)]
        old = outdated(self._dataset, self._store, self.intact)
        missing = self._absent - self._was_there
        if found.sealed and missing:  # of an open dataset much is merely not made yet
            self._was_there |= unknown(
                self._dataset, self._store, self.intact, missing, self._logged
            )
        for place in [*(place for place, _ in self.places), *sorted(unseen, key=_order)]:
            stage, absent = place[0], place in self._absent or place not in looked
            if absent and place in self._more and self._subjects[stage] is OBJECTS:
                continue  # an object that is no more
            found.every[stage] += 1
            if place in old:
                found.outdated[stage] += 1
            elif absent and place not in self._was_there:
                found.lacking[stage] += 1
            elif place not in self.intact:
                found.damaged.append(place)
        return found


def _order(place: Place) -> tuple[str, tuple[int, ...]]:
    return place[0], order(place[1])

"""Which outputs can be made now: a pure state machine over the ledger's records.

For each subject it knows the *wanted* key, or none while an input in its halo is missing. Wanted
and not recorded: a task. Level-triggered, so lost, repeated and reordered records change nothing.

An output of the whole dataset is made of what is known so far: when many more cells are known than
the last time, and when nothing else is left to do. An output of an object is wanted while the fold
knows the object, by its box; of one that is no more, the recorded output is to be removed.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from .events import Place, Record, Task
from .grid import Box, Grid, Index
from .keys import NamedInput, parameters_digest
from .objects import ObjectIndex
from .stage import Input, Stage
from .subject import (
    CHUNKS,
    OBJECTS,
    WHOLE,
    Lattice,
    ObjectId,
    Subject,
    box_of,
    count,
    exists,
    members,
    order,
    readers,
    unpack_box,
)
from .wanted import Wanted, key_of, reading_box

LOOKS = 64  # without a task, until a planner may turn to another dataset: about 5 ms
EPOCH = 64  # changed cells, and an eighth of all, between two outputs of the whole dataset
Extra = Callable[[str, Subject], bytes | None]


class Frontier:
    """The outputs of one service's ``stages``; ``extra`` gives what a fold adds to a task.

    ``kept`` are further stages whose records are kept, read or not: those of what lands.
    """

    def __init__(
        self, stages: Sequence[Stage], grid: Grid, extra: Extra, kept: Collection[str] = ()
    ) -> None:
        self.grid = grid
        self.records: dict[Place, Record] = {}
        self.failed: set[Place] = set()
        self._stages = {stage.name: stage for stage in stages}
        self._rules = {stage.name: parameters_digest(stage) for stage in stages}
        self._extra = extra
        self._kept = frozenset(kept)
        self._issued: dict[Place, str] = {}
        self._dirty: dict[Place, None] = {}
        self._dirty_objects: dict[Place, None] = {}  # after the cells that they are found in
        self._held_back: dict[Place, None] = {}  # wanted, while many tasks are under way
        self._sealing: list[Place] = []  # records whose readers the seal may change
        self._done: set[Place] = set()
        self._blocked: set[Place] = set()
        self._stale: dict[str, int] = {}  # stage of the whole dataset -> changes since it was made
        self._known: dict[str, dict[Subject, Record]] = {}  # input of such a stage -> its records
        self._objects = ObjectIndex()  # those that the fold knows
        self._gone: dict[Place, None] = {}  # recorded outputs of objects that are no more
        self._readers: dict[str, list[tuple[Stage, Input]]] = {}
        for stage in stages:
            for source in stage.inputs:
                self._readers.setdefault(source.stage, []).append((stage, source))
                if stage.subjects is WHOLE:
                    self._known.setdefault(source.stage, {})

    def apply(self, record: Record) -> None:
        """Apply one record; any status but ``ready`` and ``failed`` un-records the output."""
        if not self._follows(record.stage):
            return  # a million chunks have six million records: keep those that are read here
        place = record.stage, record.subject
        if record.status in ("ready", "failed"):
            self.records[place] = record
        else:
            self.records.pop(place, None)
        self._issued.pop(place, None)
        if record.status == "removed":
            self._gone.pop(place, None)
        if record.stage in self._known and record.subject is not WHOLE:
            if record.status == "ready":
                self._known[record.stage][record.subject] = record
            else:
                self._known[record.stage].pop(record.subject, None)
        self._touch_around(place)

    def may_exist(self, record: Record) -> bool:
        """Whether a record of a stage that is followed here is of a subject that it can have.

        The seal cuts cells off, but nothing has ever been beyond the edge in y or x.
        """
        if not self._follows(record.stage):
            return True
        own = self._stages.get(record.stage)
        read = self._readers.get(record.stage, ())
        kinds = [own.subjects] if own else [source.subjects for _, source in read] or [CHUNKS]
        z_open = Grid((None, *self.grid.shape[1:]), self.grid.chunk)
        return all(exists(record.subject, kind, z_open) for kind in kinds)

    def _follows(self, stage: str) -> bool:
        return stage in self._stages or stage in self._readers or stage in self._kept

    def _touch_around(self, place: Place) -> None:
        """Mark an output, if it is of these stages, and all that read it."""
        name, subject = place
        if name in self._stages:
            self.touch(place)
        for output in self._objects.readers(place):
            self.touch(output)
        for stage, source in self._readers.get(name, ()):
            if stage.subjects is WHOLE:
                self.touch((stage.name, WHOLE))
            elif isinstance(subject, tuple) and isinstance(source.subjects, Lattice):
                cut, halo = source.subjects, source.halo
                for reader in readers(subject, cut, halo, stage.subjects, self.grid):
                    self.touch((stage.name, reader))

    def touch(self, place: Place) -> None:
        """Mark an output as to be checked again."""
        name, subject = place
        if subject is WHOLE:
            self._stale[name] = self._stale.get(name, 0) + 1
        elif isinstance(subject, ObjectId):
            self._dirty_objects[place] = None
        else:
            self._dirty[place] = None

    def seal(self, grid: Grid) -> None:
        """Take the sealed grid: blocks at the end of z now have a border."""
        self.grid = grid
        self._sealing = list(self.records)
        for name in [n for n, s in self._stages.items() if s.subjects is WHOLE and self.records]:
            self.touch((name, WHOLE))

    def forget_issued(self) -> None:
        """Forget which tasks were sent, since one may be lost; those wanted come again."""
        for place in self._issued:
            self.touch(place)
        self._issued.clear()

    def wanted(self, place: Place) -> Wanted | None:
        """Return key and inputs of an output; None while an input or ``extra`` is missing."""
        name, subject = place
        stage = self._stages[name]
        if not exists(subject, stage.subjects, self.grid):
            return None
        extra = self._extra(name, subject) if stage.folded and subject is not WHOLE else b""
        if stage.subjects is OBJECTS:
            self._follow_object(stage, place, extra)
        if extra is None or not self._found(stage, subject):
            return None
        inputs = self._so_far(stage) if subject is WHOLE else self._complete(stage, subject)
        if not inputs:
            return None
        key = key_of(stage, self.grid, subject, inputs, extra, self._rules[name])
        return Wanted(key, tuple(inputs), extra)

    def _follow_object(self, stage: Stage, place: Place, extra: bytes | None) -> None:
        """Note which cells an object is read from, or that it is no more and its output is."""
        if extra is None:
            self._objects.drop(place)
            if place in self.records:
                self._gone[place] = None
            return
        self._gone.pop(place, None)
        if (box := unpack_box(extra)) != self._objects.box(place):
            self._objects.put(place, box, self._cells(stage, box))

    def _cells(self, stage: Stage, box: Box) -> set[Place]:
        """Return the cells that an object with a box is read from, and found in."""
        read = {(s.stage, cell) for s in stage.inputs for cell in self._covering(s, box)}
        return read | self._rows(stage, box)

    def _rows(self, stage: Stage, box: Box) -> set[Place]:
        """Return the rows of all cells that an object with a box is read from."""
        rows = stage.found_in
        assert rows is not None, stage.name
        cells = rows.cells.grid(self.grid)
        boxes = {reading_box(source, self.grid, box) for source in stage.inputs}
        return {(rows.stage, cell) for read in boxes for cell in cells.covering(read)}

    def _found(self, stage: Stage, subject: Subject) -> bool:
        """Whether the rows that an object is found in are those of what it reads."""
        if stage.found_in is None:
            return True
        known = self._done if stage.found_in.stage in self._stages else self.records
        return all(place in known for place in self._rows(stage, self._core(stage, subject)))

    def gone(self) -> list[Place]:
        """Return the recorded outputs of objects that are no more."""
        return list(self._gone)

    def knows(self, place: Place) -> bool:
        """Whether an output is that of an object which the fold knows."""
        return place in self._objects

    def _complete(self, stage: Stage, subject: Subject) -> list[NamedInput] | None:
        """Return all inputs of a cell or an object, or None while one is missing."""
        inputs: list[NamedInput] = []
        for source in stage.inputs:
            for cell in self._reach(stage, source, subject):
                record = self.records.get((source.stage, cell))
                content = record.hashes.get(source.label) if record else None
                if content is None:
                    return None
                inputs.append(NamedInput(source.stage, source.label, cell, content))
        return inputs

    def _so_far(self, stage: Stage) -> list[NamedInput]:
        """Return the inputs of a whole dataset that are there; the seal may have cut cells off."""
        return [
            NamedInput(source.stage, source.label, subject, record.hashes[source.label])
            for source in stage.inputs
            for subject, record in sorted(
                self._known[source.stage].items(), key=lambda item: order(item[0])
            )
            if source.label in record.hashes and exists(subject, source.subjects, self.grid)
        ]

    def _reach(self, stage: Stage, source: Input, subject: Subject) -> Iterator[Index]:
        yield from self._covering(source, self._core(stage, subject))

    def _core(self, stage: Stage, subject: Subject) -> Box:
        """Return the box of a subject; an object is one that the fold knows."""
        box = self._objects.box((stage.name, subject))
        return box or box_of(subject, stage.subjects, self.grid)

    def _covering(self, source: Input, core: Box) -> Iterator[Index]:
        """Yield the cells of an input that a subject with the box ``core`` reads."""
        if isinstance(source.subjects, Lattice):
            cells = source.subjects.grid(self.grid)
            yield from cells.covering(reading_box(source, self.grid, core))

    def reads(self, place: Place) -> Iterator[Place]:
        """Yield the outputs that an output is made of; none of an object that is not known."""
        name, subject = place
        stage = self._stages[name]
        if isinstance(subject, ObjectId) and not self.knows(place):
            return
        for source in stage.inputs:
            cells: Iterable[Subject] = self._reach(stage, source, subject)
            if subject is WHOLE:
                every = members(source.subjects, self.grid) if self.grid.sealed else ()
                cells = {*self._known[source.stage], *every}
            yield from ((source.stage, cell) for cell in cells)

    def tasks(self, *, whole: bool = True) -> Iterator[Task]:
        """Yield a task for every output that is wanted, not recorded and not under way.

        With ``whole`` also for outputs of the whole dataset of which enough has changed.
        """
        yield from (task for task in self.looks(whole=whole) if task is not None)

    def looks(self, *, whole: bool = True, window: float = math.inf) -> Iterator[Task | None]:
        """Yield ``tasks``, and None now and then so that the caller may do something else.

        While ``window`` tasks are under way, others that are wanted are held back.
        """
        while self._sealing:
            self._touch_around(self._sealing.pop())
            if len(self._sealing) % LOOKS == LOOKS - 1:
                yield None
        if whole:
            self._wake(lambda stage, changes: changes >= self._enough(stage))
        looked = 0
        while (place := self._next_place(window)) is not None:
            task = self._look(place, window)
            looked = 0 if task else looked + 1
            if task or looked % LOOKS == 0:
                yield task

    def _next_place(self, window: float) -> Place | None:
        """Take the next output to be checked; None when none is left."""
        free = len(self._issued) < window
        for waiting in (self._dirty, self._dirty_objects, self._held_back if free else {}):
            if waiting:
                place = next(iter(waiting))
                del waiting[place]
                return place
        return None

    def _look(self, place: Place, window: float) -> Task | None:
        """Check an output; return its task when it is wanted, not recorded and not under way."""
        wanted = self.wanted(place)
        record = self.records.get(place)
        same = wanted is not None and record is not None and record.key == wanted.key
        failed = same and record is not None and record.status == "failed"
        if (same and not failed) != (place in self._done):
            for output in self._objects.readers(place):
                self.touch(output)  # it waits for its rows to be those of what it reads
        for holds, places in (
            (same and not failed, self._done),
            (failed, self.failed),
            (wanted is None, self._blocked),
        ):
            (places.add if holds else places.discard)(place)
        if wanted is None or same or self._issued.get(place) == wanted.key:
            return None
        if len(self._issued) >= window and place not in self._issued:
            self._held_back[place] = None
            return None
        self._issued[place] = wanted.key
        return Task(*place, wanted.key, wanted.inputs, wanted.extra)

    def finish(self) -> None:
        """Have every output of the whole dataset checked: nothing else is left to do."""
        self._wake(lambda *_: True)

    def _enough(self, stage: str) -> int:
        """Return how many changes make an output of the whole dataset due."""
        known = (len(self._known[source.stage]) for source in self._stages[stage].inputs)
        return max(EPOCH, sum(known) // 8)

    def _wake(self, due: Callable[[str, int], bool]) -> None:
        for stage in [stage for stage, changes in self._stale.items() if due(stage, changes)]:
            del self._stale[stage]
            self._dirty[stage, WHOLE] = None

    def missing(self) -> Iterator[tuple[Input, Index] | None]:
        """Yield each input without a record that an output waits for, and None now and then."""
        seen: set[tuple[Input, Index]] = set()
        for looked, (name, subject) in enumerate(self._waiting(), 1):
            for source in self._stages[name].inputs:
                for cell in self._reach(self._stages[name], source, subject):
                    if (source.stage, cell) not in self.records and (source, cell) not in seen:
                        seen.add((source, cell))
                        yield source, cell
            if looked % LOOKS == 0:
                yield None

    def _waiting(self) -> Iterator[Place]:
        """Yield the outputs that may wait for an input; of a sealed volume all that are unmade."""
        if self.grid.sealed:
            stages = self._stages.items()
            every = ((n, s) for n, stage in stages for s in members(stage.subjects, self.grid))
            made = self._done, self.failed
            yield from (p for p in every if p[1] is WHOLE or not any(p in each for each in made))
            found = [p for p in self._objects if not any(p in each for each in made)]
        else:
            found = [p for p in self._blocked if p[1] is not WHOLE]
        for name, subject in sorted(found, key=lambda place: (place[0], order(place[1]))):
            if isinstance(subject, ObjectId) and not self.knows((name, subject)):
                continue
            if exists(subject, self._stages[name].subjects, self.grid):
                yield name, subject

    @property
    def idle(self) -> bool:
        """Whether no output is left to be checked, but those of the whole dataset."""
        return not (self._sealing or self._dirty or self._dirty_objects or self._held_back)

    @property
    def stale(self) -> bool:
        """Whether an output of the whole dataset is left to be checked."""
        return bool(self._stale)

    def wanted_count(self, landed: int) -> int:
        """Return the number of outputs of these stages; of objects of those known so far.

        Before the seal, those of cells are taken to be as many as the ``landed`` chunks.
        """
        every = (stage.subjects for stage in self._stages.values())
        counts = (
            count(s, self.grid) if self.grid.sealed or s is WHOLE else landed
            for s in every
            if s is not OBJECTS
        )
        return sum(n or 0 for n in counts) + len(self._objects)

    @property
    def recorded(self) -> int:
        """Number of outputs that are recorded under the wanted key."""
        return len(self._done)

    def own_records(self) -> list[Record]:
        """Return the records of this service's own outputs, failed ones included."""
        return [r for (stage, _), r in self.records.items() if stage in self._stages]

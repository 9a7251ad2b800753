"""Which chunks can be made now: a pure state machine over the ledger's records.

For each chunk it knows the *wanted* key, or none while an input in its halo is missing. Wanted and
not recorded: a task. Level-triggered, so lost, repeated and reordered records change nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from .events import Place, Record, Task
from .grid import Box, Grid, Halo, Index
from .keys import NamedInput, parameters_digest, wanted_key
from .stage import Input, Stage

KEPT = ("raw", "tables")  # families whose records every planner keeps, read or not
Extra = Callable[[str, Index], bytes | None]


class Wanted(NamedTuple):
    """The key of an output that can be made, and what it is made of."""

    key: str
    inputs: tuple[NamedInput, ...]
    extra: bytes


def boxes(stage: Stage, grid: Grid, index: Index) -> dict[str, Box]:
    """Return the box that each array input of a block is read in, by name, cut at the volume."""
    return {i.name: grid.block(index, i.halo) for i in stage.inputs if i.dtype}


def key_of(
    stage: Stage,
    grid: Grid,
    index: Index,
    inputs: Iterable[NamedInput],
    extra: bytes,
    rule: str = "",
) -> str:
    """Return the key of one output; the same in planner and worker, or the task is stale."""
    rule = rule or parameters_digest(stage)
    return wanted_key(rule, grid.box(index), boxes(stage, grid, index), inputs, extra)


class Frontier:
    """The chunks of one service's ``stages``; ``extra`` gives what a fold adds to a task."""

    def __init__(self, stages: Sequence[Stage], grid: Grid, extra: Extra) -> None:
        self.grid = grid
        self.records: dict[Place, Record] = {}
        self.failed: set[Place] = set()
        self._stages = {stage.name: stage for stage in stages}
        self._rules = {stage.name: parameters_digest(stage) for stage in stages}
        self._extra = extra
        self._issued: dict[Place, str] = {}
        self._dirty: dict[Place, None] = {}
        self._done: set[Place] = set()
        self._blocked: set[Place] = set()
        self._readers: dict[str, list[tuple[str, Halo]]] = {}
        for stage in stages:
            for source in stage.inputs:
                self._readers.setdefault(source.stage, []).append((stage.name, source.halo))

    def apply(self, record: Record) -> None:
        """Apply one record; any status but ``ready`` and ``failed`` un-records the output."""
        if not self._follows(record.stage):
            return  # a million chunks have six million records: keep those that are read here
        place = record.stage, record.index
        if record.status in ("ready", "failed"):
            self.records[place] = record
        else:
            self.records.pop(place, None)
        self._issued.pop(place, None)
        if record.stage in self._stages:
            self.touch(place)
        for reader, halo in self._readers.get(record.stage, ()):
            for index in self.grid.readers(record.index, halo):
                self.touch((reader, index))

    def _follows(self, stage: str) -> bool:
        known = stage in self._stages or stage in self._readers
        return known or stage.partition("/")[0] in KEPT

    def touch(self, place: Place) -> None:
        """Mark an output as to be checked again."""
        self._dirty[place] = None

    def seal(self, grid: Grid) -> None:
        """Take the sealed grid: blocks at the end of z now have a border."""
        self.grid = grid
        for _, index in list(self.records):
            for stage in self._stages:
                self.touch((stage, index))

    def forget_issued(self) -> None:
        """Forget which tasks were sent, since one may be lost; those wanted come again."""
        for place in self._issued:
            self.touch(place)
        self._issued.clear()

    def wanted(self, place: Place) -> Wanted | None:
        """Return key and inputs of an output; None while an input or ``extra`` is missing."""
        name, index = place
        stage = self._stages[name]
        if not self.grid.contains(index):
            return None
        inputs: list[NamedInput] = []
        for source in stage.inputs:
            for chunk in self.grid.reach(index, source.halo):
                record = self.records.get((source.stage, chunk))
                content = record.hashes.get(source.name) if record else None
                if content is None:
                    return None
                inputs.append(NamedInput(source.stage, source.name, chunk, content))
        extra = self._extra(name, index) if stage.folded else b""
        if extra is None:
            return None
        key = key_of(stage, self.grid, index, inputs, extra, self._rules[name])
        return Wanted(key, tuple(inputs), extra)

    def tasks(self) -> Iterator[Task]:
        """Yield a task for every output that is wanted, not recorded and not under way."""
        while self._dirty:
            place = next(iter(self._dirty))
            del self._dirty[place]
            wanted = self.wanted(place)
            record = self.records.get(place)
            same = wanted is not None and record is not None and record.key == wanted.key
            failed = same and record is not None and record.status == "failed"
            for holds, places in (
                (same and not failed, self._done),
                (failed, self.failed),
                (wanted is None, self._blocked),
            ):
                (places.add if holds else places.discard)(place)
            if wanted and not same and self._issued.get(place) != wanted.key:
                self._issued[place] = wanted.key
                yield Task(*place, wanted.key, wanted.inputs, wanted.extra)

    def missing(self) -> Iterator[tuple[Input, Index]]:
        """Yield every input without a record that an output waits for, each once, sorted."""
        blocked = set(self._blocked)
        if self.grid.sealed:
            every = {(name, index) for name in self._stages for index in self.grid.indices()}
            blocked = every - self._done - self.failed
        wants = {
            (source, chunk)
            for name, index in blocked
            if self.grid.contains(index)
            for source in self._stages[name].inputs
            for chunk in self.grid.reach(index, source.halo)
            if (source.stage, chunk) not in self.records
        }
        yield from sorted(wants)

    @property
    def idle(self) -> bool:
        """Whether no output is left to be checked."""
        return not self._dirty

    @property
    def recorded(self) -> int:
        """Number of outputs that are recorded under the wanted key."""
        return len(self._done)

    def own_records(self) -> list[Record]:
        """Return the records of this service's own outputs, failed ones included."""
        return [r for (stage, _), r in self.records.items() if stage in self._stages]

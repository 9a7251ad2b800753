"""The worker: make one chunk's output, in the order of effects that the protocol prescribes.

``handle`` is a generator that yields before each effect. Production runs it through; the
simulation stops it at any of these points, kills it there, or lets it sleep and wake as a zombie.
"""

import contextlib
import logging
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeVar

from fibstream.core.errors import Poison
from fibstream.core.events import Record, Task
from fibstream.core.grid import Box, Grid, Index
from fibstream.core.keys import NamedInput, parameters_digest
from fibstream.core.stage import Arrays, Block, Input, Made, Patch, Stage
from fibstream.core.subject import OBJECTS, WHOLE, ObjectId, Subject, box_of, exists, named
from fibstream.core.wanted import boxes, key_of
from fibstream.store import manifest
from fibstream.store.shard import Stamp
from fibstream.store.store import Blob, Changed, Store
from fibstream.telemetry.metrics import (
    OUTCOME,
    TASK_SECONDS,
    TASKS,
)

from .site import Site

log = logging.getLogger(__name__)

MAX_REASON = 1000  # characters: a line that a person reads
MAX_OBJECT = 2**30  # voxels of the box of an object, with its halo: 8 GiB of labels
Outcome = Literal["computed", "reused", "dropped", "failed"]


class Worker:
    """Carries out the tasks of one service's ``stages``; ``refresh`` reads the grid anew."""

    def __init__(self, site: Site, stages: Sequence[Stage], refresh: Callable[[], Grid]) -> None:
        self._site = site
        self._stages = {stage.name: stage for stage in stages}
        self._refresh = refresh
        for stage in stages:
            for outcome in OUTCOME.values:
                site.telemetry.begin(TASKS, stage=stage.family, outcome=outcome)
        self.cause = ""  # why the last task failed

    def handle(self, task: Task) -> Generator[None, None, Outcome]:
        """Carry out one task; the caller acknowledges it afterwards."""
        if not self.knows(task):  # nobody waits for a record of it
            return "dropped"
        stage = self._stages[task.stage]
        outcome = yield from self._carry_out(stage, task)
        self._site.telemetry.add(TASKS, stage=stage.family, outcome=outcome)
        return outcome

    def knows(self, task: Task) -> bool:
        """Whether the pipeline has the stage of a task, and that stage such subjects.

        An earlier pipeline had other stages; and anybody may send a task.
        """
        stage, grid = self._stages.get(task.stage), self._site.store.grid
        z_open = Grid((None, *grid.shape[1:]), grid.chunk)
        return stage is not None and exists(task.subject, stage.subjects, z_open)

    def _carry_out(self, stage: Stage, task: Task) -> Generator[None, None, Outcome]:
        lap = self._site.telemetry.laps(TASK_SECONDS, stage=stage.family)
        yield
        try:
            task = self._spelled_out(task)
        except Changed:  # a newer task has another manifest
            return (yield from self._drop(task))
        if not self._current(stage, task):
            return (yield from self._drop(task))
        hashes = self._finished(stage, task)
        if hashes is not None:
            lap("read")
            yield
            self._site.publish(Record(task.stage, task.subject, "ready", task.key, hashes))
            lap("publish")
            return "reused"
        try:
            block = self._read(stage, task)
            lap("read")
            outputs = stage.compute(block)  # it reads the summaries of a whole dataset itself
            lap("compute")
            encoded = self._encode(stage, task, outputs, absent=block.absent)
        except Changed as changed:
            yield
            self._site.publish(Record(changed.stage, changed.subject, "suspect"))
            return (yield from self._drop(task))
        except Poison as poison:
            log.error("%s %s failed: %s", task.stage, task.subject, poison)
            yield
            self.cause = str(poison)[:MAX_REASON]
            self._site.publish(
                Record(task.stage, task.subject, "failed", task.key, reason=self.cause)
            )
            return "failed"
        for blob, data, _ in encoded:
            yield
            self._site.store.files.put(blob.path, data)
        lap("write")
        yield
        made = {blob.label: content for blob, _, content in encoded}
        self._site.publish(Record(task.stage, task.subject, "ready", task.key, made))
        lap("publish")
        return "computed"

    def _spelled_out(self, task: Task) -> Task:
        """Return a task with the inputs that its manifest names."""
        if not task.manifest:
            return task
        inputs = manifest.read(self._site.store, task.stage, task.subject, task.manifest)
        return replace(task, inputs=inputs)

    def _drop(self, task: Task) -> Generator[None, None, Outcome]:
        yield
        self._site.publish(Record(task.stage, task.subject, "dropped"))
        return "dropped"

    def _current(self, stage: Stage, task: Task) -> bool:
        """Whether the task's key follows from its inputs on the grid as it is (sealed or not)."""
        rule = parameters_digest(stage)
        for attempt in (0, 1):
            if attempt:
                self._site.store.grid = self._refresh()
            grid = self._site.store.grid
            with contextlib.suppress(ValueError):  # a task that nobody's planner made
                if task.key == key_of(stage, grid, task.subject, task.inputs, task.extra, rule):
                    return True
        return False

    def _finished(self, stage: Stage, task: Task) -> dict[str, str] | None:
        """Return the hashes of the stage's own objects if all verify under the wanted key (P3)."""
        hashes = {}
        for blob in self._site.blobs(stage, task.subject):
            stamp = self._site.store.stamp(blob)
            if stamp is None or stamp.key != task.key:
                return None  # a look at the stamp spares reading voxels that are not ours
            whole = self._site.store.intact(blob)
            if whole is None or whole.key != task.key:
                return None
            hashes[blob.label] = whole.hash
        return hashes

    def _read(self, stage: Stage, task: Task) -> Block:
        """Read all inputs as the task names them (P2); raise Changed where one is not there."""
        store = self._site.store
        core = box_of(task.subject, stage.subjects, store.grid, task.extra)
        if task.subject is WHOLE:
            return self._read_whole(stage, task, core)
        read = boxes(stage, store.grid, core)
        if isinstance(task.subject, ObjectId):
            _check_object(task.subject, read.values())
        patches: dict[str, Patch] = {}
        summaries: dict[str, Arrays] = {}
        for source in stage.inputs:
            cells = _cells(source, task)
            if source.dtype:
                patches[source.name] = store.read(source, read[source.name], cells)
            elif isinstance(task.subject, tuple):  # stages of objects read arrays alone
                own = cells[task.subject]
                summaries[source.name] = store.read_summary(source, task.subject, own)
        return Block(task.subject, core, patches, summaries, task.extra)

    def _read_whole(self, stage: Stage, task: Task, core: Box) -> Block:
        """Return the block of a whole dataset; its summaries are read when they are looked up."""
        store = self._site.store
        of_objects = [source for source in stage.inputs if source.subjects is OBJECTS]
        of_cells = [source for source in stage.inputs if source.subjects is not OBJECTS]
        cells = {s.name: Summaries(store, s, _cells(s, task)) for s in of_cells}
        objects = {s.name: Summaries(store, s, _objects(s, task)) for s in of_objects}
        return Block(WHOLE, core, {}, cells=cells, objects=objects, grid=store.grid)

    def _encode(
        self,
        stage: Stage,
        task: Task,
        outputs: Mapping[str, Made],
        *,
        absent: bool,
    ) -> list[tuple[Blob, bytes, str]]:
        stamp = Stamp(
            stage.name, task.subject, task.key, "",
            () if task.manifest else tuple(map(_plain, task.inputs)),
            task.manifest, self._site.version, parameters_digest(stage),
        )  # fmt: skip
        return [
            encoded
            for output in stage.outputs
            for encoded in self._site.store.encode(
                output, outputs[output.name], stamp, absent=absent, subjects=stage.subjects
            )
        ]


S = TypeVar("S", bound=Subject)


def _cells(source: Input, task: Task) -> dict[Index, str]:
    """Return the cells of one input that a task names, with the content hash of each."""
    named = (i for i in task.inputs if i.name == source.label)
    return {i.subject: i.hash for i in named if isinstance(i.subject, tuple)}


def _objects(source: Input, task: Task) -> dict[ObjectId, str]:
    """Return the objects of one input that a task names, with the content hash of each."""
    named = (i for i in task.inputs if i.name == source.label)
    return {i.subject: i.hash for i in named if isinstance(i.subject, ObjectId)}


def _plain(each: NamedInput) -> tuple[str, str, Index, str]:
    """Return an input as a stamp has it: only manifests name objects."""
    assert isinstance(each.subject, tuple)
    return each.stage, each.name, each.subject, each.hash


def _check_object(subject: ObjectId, read: Iterable[Box]) -> None:
    """Raise Poison when the box of an object does not fit into the memory of a worker."""
    voxels = max((math.prod(box.shape) for box in read), default=0)
    if voxels > MAX_OBJECT:
        raise Poison(f"{named(subject)} lies in a box of {voxels} voxels; at most {MAX_OBJECT}")


class Summaries(Mapping[S, Arrays]):
    """The summaries of the subjects that a task names; each is read, verified, when looked up.

    Looking up raises Changed where one is not there as the task names it.
    """

    def __init__(self, store: Store, source: Input, named: Mapping[S, str]) -> None:
        self._store = store
        self._source = source
        self._named = named

    def __getitem__(self, subject: S) -> Arrays:
        return self._store.read_summary(self._source, subject, self._named[subject])

    def __contains__(self, subject: object) -> bool:
        return subject in self._named  # the inherited one would read it

    def __iter__(self) -> Iterator[S]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)

"""The worker: make one chunk's output, in the order of effects that the protocol prescribes.

``handle`` is a generator that yields before each effect. Production runs it through; the
simulation stops it at any of these points, kills it there, or lets it sleep and wake as a zombie.
"""

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Literal

from numpy.typing import NDArray

from fibstream.core.errors import Poison
from fibstream.core.events import Record, Task
from fibstream.core.frontier import boxes, key_of
from fibstream.core.grid import Grid
from fibstream.core.keys import parameters_digest
from fibstream.core.stage import Arrays, Block, Patch, Stage
from fibstream.store.shard import Stamp
from fibstream.store.store import Blob, Changed
from fibstream.telemetry.metrics import (
    OUTCOME,
    TASK_SECONDS,
    TASKS,
)

from .site import Site

log = logging.getLogger(__name__)

MAX_REASON = 1000  # characters: a line that a person reads
Outcome = Literal["computed", "reused", "dropped", "failed"]


class Worker:
    """Carries out the tasks of one service's ``stages``; ``refresh`` reads the grid anew."""

    def __init__(self, site: Site, stages: Sequence[Stage], refresh: Callable[[], Grid]) -> None:
        self._site = site
        self._stages = {stage.name: stage for stage in stages}
        self._refresh = refresh
        for stage in stages:
            for outcome in OUTCOME.values:
                site.telemetry.add(TASKS, 0, stage=stage.family, outcome=outcome)
        self.cause = ""  # why the last task failed

    def handle(self, task: Task) -> Generator[None, None, Outcome]:
        """Carry out one task; the caller acknowledges it afterwards."""
        stage = self._stages[task.stage]
        outcome = yield from self._carry_out(stage, task)
        self._site.telemetry.add(TASKS, stage=stage.family, outcome=outcome)
        return outcome

    def _carry_out(self, stage: Stage, task: Task) -> Generator[None, None, Outcome]:
        lap = self._site.telemetry.laps(TASK_SECONDS, stage=stage.family)
        yield
        if not self._current(stage, task):
            return (yield from self._drop(task))
        hashes = self._finished(stage, task)
        if hashes is not None:
            lap("read")
            yield
            self._site.publish(Record(task.stage, task.index, "ready", task.key, hashes))
            lap("publish")
            return "reused"
        try:
            block = self._read(stage, task)
        except Changed as changed:
            yield
            self._site.publish(Record(changed.stage, changed.index, "suspect"))
            return (yield from self._drop(task))
        try:
            lap("read")
            outputs = stage.compute(block)
            lap("compute")
            encoded = self._encode(stage, task, outputs, absent=block.absent)
        except Poison as poison:
            log.error("%s %s failed: %s", task.stage, task.index, poison)
            yield
            self.cause = str(poison)[:MAX_REASON]
            self._site.publish(
                Record(task.stage, task.index, "failed", task.key, reason=self.cause)
            )
            return "failed"
        for blob, data, _ in encoded:
            yield
            self._site.store.files.put(blob.path, data)
        lap("write")
        yield
        made = {blob.label: content for blob, _, content in encoded}
        self._site.publish(Record(task.stage, task.index, "ready", task.key, made))
        lap("publish")
        return "computed"

    def _drop(self, task: Task) -> Generator[None, None, Outcome]:
        yield
        self._site.publish(Record(task.stage, task.index, "dropped"))
        return "dropped"

    def _current(self, stage: Stage, task: Task) -> bool:
        """Whether the task's key follows from its inputs on the grid as it is (sealed or not)."""
        rule = parameters_digest(stage)
        for attempt in (0, 1):
            if attempt:
                self._site.store.grid = self._refresh()
            grid = self._site.store.grid
            if task.key == key_of(stage, grid, task.index, task.inputs, task.extra, rule):
                return True
        return False

    def _finished(self, stage: Stage, task: Task) -> dict[str, str] | None:
        """Return the hashes of the stage's own objects if all verify under the wanted key (P3)."""
        hashes = {}
        for blob in self._site.blobs(stage, task.index):
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
        read = boxes(stage, store.grid, task.index)
        patches: dict[str, Patch] = {}
        summaries: dict[str, Arrays] = {}
        for source in stage.inputs:
            named = {i.chunk: i.hash for i in task.inputs if i.name == source.name}
            if not source.dtype:
                summaries[source.name] = store.read_summary(source, task.index, named[task.index])
            else:
                patches[source.name] = store.read(source, read[source.name], named)
        return Block(task.index, store.grid.box(task.index), patches, summaries, task.extra)

    def _encode(
        self,
        stage: Stage,
        task: Task,
        outputs: Mapping[str, NDArray[Any] | Arrays],
        *,
        absent: bool,
    ) -> list[tuple[Blob, bytes, str]]:
        stamp = Stamp(
            stage.name, task.index, task.key, "",
            tuple((i.stage, i.name, i.chunk, i.hash) for i in task.inputs),
            self._site.version, parameters_digest(stage),
        )  # fmt: skip
        return [
            encoded
            for output in stage.outputs
            for encoded in self._site.store.encode(
                output, outputs[output.name], stamp, absent=absent
            )
        ]

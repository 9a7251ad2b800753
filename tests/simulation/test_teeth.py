"""Teeth: take one rule of the protocol away, and the simulation must see it.

A mutant that survives means that the simulation proves less than it says.
"""

from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fibstream.bus import wire
from fibstream.core.dataset import RECORD, Dataset
from fibstream.core.errors import AlreadyExists, NotFound
from fibstream.core.events import Place, Task
from fibstream.core.grid import Box, Grid, Index
from fibstream.core.keys import canonical
from fibstream.core.stage import RAW, Input, Output, Patch, Stage
from fibstream.runtime.planner import landed_record
from fibstream.runtime.site import Site
from fibstream.runtime.worker import Outcome, Worker
from fibstream.services.ingest.edges.landing import land
from fibstream.store.record import RecordWatch
from fibstream.store.shard import Stamp
from fibstream.store.store import Blob, Changed, Store

from ..support.files import content
from ..support.light import KEPT
from .faults import Diverged, Faults, Rules
from .outside import NamedFiles
from .services import SERVICES
from .world import World

NONE = Faults(0, 0, 0, 0, 0, 0, 0)  # nor what users do
(INFERENCE,) = (service for service in SERVICES if service.name == "inference")
TRIES = 60  # seeds until a mutant must have been seen; each was seen within a third of it


class DoneRecordApart(Worker):
    """Without P1: what is done is noted beside the objects, not inside them."""

    notes: dict[Place, tuple[str, dict[str, str]]]

    def _finished(self, stage: Stage, task: Task) -> dict[str, str] | None:
        key, hashes = self.notes.get((stage.name, task.subject), ("", {}))
        return hashes if key == task.key else None

    def handle(self, task: Task) -> Generator[None, None, Outcome]:
        outcome = yield from super().handle(task)
        if outcome == "computed":
            items = self._site.blobs(self._stages[task.stage], task.subject)
            stamps = {item.label: self._site.store.stamp(item) for item in items}
            hashes = {label: stamp.hash for label, stamp in stamps.items() if stamp}
            self.notes[task.stage, task.subject] = (task.key, hashes)
        return outcome


class UnverifiedReads(Store):
    """Without P2: a reader takes what is there."""

    def read(self, source: Input, box: Box, expected: Mapping[Index, str]) -> Patch:
        found = {}
        for index in expected:
            stamp = self.intact(Blob(source.name, index, source.dtype))
            if stamp is None:
                raise Changed(source.stage, index)
            found[index] = stamp.hash
        return super().read(source, box, found)


class TrustTheStamp(Worker):
    """Without P3: a stamp with the right key is taken for its content."""

    def _finished(self, stage: Stage, task: Task) -> dict[str, str] | None:
        stamps = {
            item.label: self._site.store.stamp(item)
            for item in self._site.blobs(stage, task.subject)
        }
        if all(stamp is not None and stamp.key == task.key for stamp in stamps.values()):
            return {label: stamp.hash for label, stamp in stamps.items() if stamp}
        return None


def land_anything(
    site: Site, index: Index, voxels: NDArray[Any] | None, dtype: str, revision: int | None = None,
    *, stage: str = RAW, name: str = RAW,
) -> Generator[None, None, None]:  # fmt: skip
    """Without P4: the last writer wins."""
    absent = voxels is None
    if voxels is None:
        voxels = np.zeros(site.store.grid.box(index).shape, dtype)
    stamp = Stamp(stage, index, "", "", revision=revision or 1)
    ((item, data, content),) = site.store.encode(Output(name, dtype), voxels, stamp, absent=absent)
    yield
    site.store.files.put(item.path, data)
    yield
    site.publish(landed_record(Input(stage, name, dtype), replace(stamp, hash=content)))


def border_where_nothing_landed_yet(dataset: Dataset, landed: set[Index]) -> Grid:
    """Without the border rule: the volume ends where nothing has landed yet."""
    grid = dataset.grid
    if grid.sealed:
        return grid
    end = max((grid.box(index).stop[0] for index in landed), default=grid.chunk[0])
    return Grid((end, *grid.shape[1:]), grid.chunk)


def broken(
    rules: Rules, *, steady: bool = False, faults: Faults | None = None,
    seen: tuple[type[Exception], ...] = (Diverged,),
) -> int:  # fmt: skip
    """Return the number of seeds until a schedule ends wrong; fail when none does."""
    for seed in range(TRIES):
        DoneRecordApart.notes = {}
        drawn = replace(faults or Faults(crashes=6, naps=6, flips=4, duplicates=5))
        try:
            World(seed, drawn, rules, steady=steady).run()
        except seen:
            return seed + 1
    pytest.fail(f"{TRIES} schedules did not notice")


def test_p1_a_done_record_beside_the_objects_is_caught() -> None:
    broken(Rules(worker=DoneRecordApart))


def test_p2_an_unverified_read_is_caught() -> None:
    broken(Rules(store=UnverifiedReads))


def test_p3_trusting_a_stamp_is_caught() -> None:
    broken(Rules(worker=TrustTheStamp))


def test_p4_raw_that_moves_backward_is_caught() -> None:
    broken(Rules(land=land_anything))


def test_p5_no_reconcile_is_caught() -> None:
    broken(Rules(reconcile=False))


def test_a_border_before_the_seal_is_caught() -> None:
    broken(Rules(grid=border_where_nothing_landed_yet), steady=True, faults=NONE)


def test_a_folder_that_is_told_by_its_name_alone_is_caught() -> None:
    """Without the identity of folders: who worked on a deleted dataset writes into the new one."""
    # A shard of another grid in the place of a chunk, or another content of the same revision.
    seen = (Diverged, ValueError, AlreadyExists)
    broken(Rules(files=NamedFiles), faults=Faults(naps=6, recreations=1), seen=seen)


def test_a_dataset_that_is_told_by_its_name_alone_is_caught() -> None:
    """Without incarnations: planners of the deleted dataset stay, and nobody plans the new one."""

    def named(watch: RecordWatch) -> bool:
        return False  # the name is the same

    seen = (Diverged, NotFound)
    broken(Rules(outdated=named), faults=replace(NONE, recreations=1), seen=seen)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_of_a_dataset_lands_in_one_of_its_name(seed: int) -> None:
    """Every zombie of the deleted dataset is let go on to its end; each write is refused."""
    world = World(seed, NONE)
    while world.step() and len([a for a in world.actors if a.kind != "client"]) < 2:
        pass
    zombies = [actor for actor in world.actors if actor.kind != "client"]
    world.recreate()
    before, bus = contents(world), world.bus
    assert zombies and before.keys() == {RECORD, *KEPT}  # all that making a dataset leaves
    refused = 0
    for zombie in zombies:
        with suppress(NotFound):
            refused += 1
            for _ in zombie.steps:
                pass
            refused -= 1
    assert (contents(world), bus.end(wire.ledger_topics())) == (before, 0)
    assert refused
    world.run()


def contents(world: World) -> dict[str, bytes]:
    return {path: content(world.files, path) for path in world.files.paths}


class NoRedeliveryGuard(Worker):
    """Without the redelivery guard: a task that was done is done again."""

    def _finished(self, stage: Stage, task: Task) -> dict[str, str] | None:
        return None


@pytest.mark.parametrize(("worker", "again"), [(Worker, False), (NoRedeliveryGuard, True)])
def test_a_redelivered_task_computes_nothing(worker: type[Worker], again: bool) -> None:
    world = World(5, NONE, Rules(worker=worker), steady=True)
    world.run()
    before = world.computed
    for task in world.sent:
        world.bus.send(*task)
    while world.step():
        pass
    assert (world.computed > before) == again


# -- scripted schedules: too rare for a random search (protocol.md, C3 and C7) --------------------


class Script:
    """A world without chance: one chunk, moved by hand."""

    def __init__(self, *, reconcile: bool) -> None:
        self.world = World(1, NONE, Rules(reconcile=reconcile))
        world = self.world
        world.actors = []
        index = (0, 0, 0)
        z, y, x = world.dataset.chunk
        world.dataset = world.dataset.model_copy(update={"shape": (None, y, x)})
        world.final = world.dataset.sealed(z)
        world.files.put(RECORD, canonical(world.dataset.model_dump(mode="json")))
        world.seal()
        world.planners = {service.name: world.planner(service) for service in SERVICES}
        noise = np.random.default_rng(3)
        self.a, self.b = (
            noise.integers(0, 255, (z, y, x)).astype(world.dataset.dtype) for _ in range(2)
        )
        world.plan = {index: []}
        world.landed = {index}

    def land(self, voxels: NDArray[Any], revision: int) -> None:
        self.world.plan[0, 0, 0].append((revision, voxels))
        steps = land(self.world.site(), (0, 0, 0), voxels, self.world.dataset.dtype, revision)
        for _ in steps:
            pass

    def drain(self) -> None:
        while self.world.step():
            pass

    def take(self, owner: str) -> Any:
        topic = wire.task_topic("inference")
        delivery = self.world.bus.take(topic, owner, 1.0)
        assert delivery is not None
        return self.world.work(INFERENCE, delivery, owner)


def c3(*, reconcile: bool) -> None:
    """Content B, A, B; a zombie of the middle task writes last, over a record that stands."""
    script = Script(reconcile=reconcile)
    script.land(script.b, 1)
    script.drain()
    script.land(script.a, 2)
    planner = script.world.planners["inference"]
    for steps in (planner.consume(), planner.act()):
        for _ in steps:
            pass
    zombie = script.take("zombie")
    next(zombie)
    next(zombie)  # it has read A and computed, and stops before its first put
    script.land(script.b, 3)
    script.world.bus.reclaim("zombie")
    script.drain()  # the redelivered task finds no A and is dropped
    (stage,) = script.world.stages(INFERENCE)
    for _ in planner.site.blobs(stage, (0, 0, 0)):
        next(zombie)  # it puts every object, and dies before its record
    script.world.run()


def c7(*, reconcile: bool) -> None:
    """The record of revision 2 arrives after that of revision 3, and compaction keeps it."""
    script = Script(reconcile=reconcile)
    script.land(script.b, 2)
    script.drain()
    old = script.world.site().store.stamp(Blob(RAW, (0, 0, 0), script.world.dataset.dtype))
    assert old is not None
    script.land(script.a, 3)
    script.world.site().publish(landed_record(Input(RAW, RAW), old))
    script.world.planners = {s.name: script.world.planner(s) for s in SERVICES}
    script.world.run()


@pytest.mark.parametrize("schedule", [c3, c7])
def test_scripted_schedules_need_reconcile(schedule: Any) -> None:
    schedule(reconcile=True)
    with pytest.raises(Diverged):
        schedule(reconcile=False)

"""Stages on lattices of their own and on coarser levels make what they make of the whole volume."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fibstream.bus import wire
from fibstream.bus.memory import MemoryBus, MemoryFiles
from fibstream.core.events import Place, Sealed
from fibstream.core.fold import NoFold
from fibstream.core.grid import Grid, Halo, Index
from fibstream.core.keys import digest
from fibstream.core.pyramid import level_box, levels
from fibstream.core.stage import RAW, Block, Input, Made, Output, Stage
from fibstream.core.subject import CHUNKS, WHOLE, Lattice, members, readers
from fibstream.runtime.loops import drive
from fibstream.runtime.planner import Planner
from fibstream.runtime.site import Site
from fibstream.runtime.worker import Worker
from fibstream.services.ingest.edges.landing import land
from fibstream.store import manifest
from fibstream.store.store import Blob, Store

from .line import task_of

Voxels = NDArray[np.uint8]

SHAPE = (20, 35, 18)  # no edge below is a divisor
GRID, OPEN = Grid(SHAPE, (16, 16, 16)), Grid((None, *SHAPE[1:]), (16, 16, 16))
WIDE, FINE = Lattice((32, 32, 32)), Lattice((8, 8, 8))
HALO = Halo((2, 4, 0), (4, 2, 6))  # even, so that it is whole voxels of level 1
SUMMED = "prediction/fine", "prediction/half"
TABLE = Blob("tables/sums.csv", WHOLE)


def spread(array: Voxels, level: int) -> Voxels:
    """Return for each voxel the sum of those in its halo, beyond the volume 0."""
    total = array.astype(np.int64)
    for axis, (low, high) in enumerate(zip(*HALO, strict=True)):
        widths = [(0, 0)] * 3
        widths[axis] = low >> level, high >> level
        padded = np.pad(total, widths)
        window = np.lib.stride_tricks.sliding_window_view(padded, sum(widths[axis]) + 1, axis=axis)
        total = window.sum(-1)
    return (total % 251).astype(np.uint8)


def enlarged(array: Voxels, level: int) -> Voxels:
    """Return a level's voxels at their full size; it may be one too long."""
    return array.repeat(2**level, 0).repeat(2**level, 1).repeat(2**level, 2)


def stage(name: str, cut: Lattice, source: Input) -> Stage:
    """Return a stage that spreads its input, with a pyramid, and the sum of each cell."""

    def compute(block: Block) -> Mapping[str, Made]:
        patch = block.patches[source.name]
        core = level_box(block.core, source.level)
        made = enlarged(
            spread(patch.array, source.level)[core.slices(patch.box.start)], source.level
        )
        z, y, x = block.core.shape
        made = made[:z, :y, :x]
        return {name: made, f"summaries/{name}": {"sum": np.array([made.sum(dtype=np.int64)])}}

    outputs = Output(name, "uint8", "mean"), Output(f"summaries/{name}")
    return Stage(name, 1, (source,), outputs, {}, compute, subjects=cut)


def reads(name: str, maker: str = "", level: int = 0, cut: Lattice = CHUNKS) -> Input:
    return Input(maker or name, name, "uint8", HALO, level, cut)


def same(block: Block) -> Mapping[str, Made]:
    return {RAW: block.patches[RAW].array}


def gather(block: Block) -> Mapping[str, Made]:
    known = [block.cells[f"summaries/{name}"] for name in SUMMED]
    sums = [(cell, int(cells[cell]["sum"][0])) for cells in known for cell in sorted(cells)]
    return {TABLE.name: repr(sums).encode()}


STAGES = (
    Stage(
        "pyramid/raw", 1, (Input(RAW, RAW, "uint8"),), (Output(RAW, "uint8", "mean", 1),), {}, same
    ),
    stage("prediction/wide", WIDE, reads(RAW)),
    stage("prediction/fine", FINE, reads("prediction/wide", cut=WIDE)),
    stage("prediction/half", FINE, reads(RAW, "pyramid/raw", 1)),
    stage("prediction/quarter", CHUNKS, reads("prediction/wide", level=2, cut=WIDE)),
    Stage(
        "tables/sums", 1, tuple(Input(n, f"summaries/{n}", subjects=FINE) for n in SUMMED),
        (Output(TABLE.name),), {}, gather, subjects=WHOLE,
    ),
)  # fmt: skip
ARRAYS = STAGES[1:5]


def oracle(raw: Voxels) -> dict[str, Voxels]:
    """Return what each stage makes of the whole volume as one block."""
    made = {RAW: raw}
    for each in ARRAYS:
        (source,) = each.inputs
        coarse = levels(made[source.name], "mean", source.level + 1)[-1]
        z, y, x = raw.shape
        made[each.name] = enlarged(spread(coarse, source.level), source.level)[:z, :y, :x]
    return made


@dataclass
class World:
    """One dataset on memory, and a planner and worker of ``stages``."""

    grid: Grid
    stages: Sequence[Stage] = STAGES

    def __post_init__(self) -> None:
        self.files, self.bus = MemoryFiles(), MemoryBus(lambda: 0.0)
        self.done: Counter[Place] = Counter()
        self.planner = Planner(self.site, "s", self.stages, NoFold(), lambda: self.grid)
        self.worker = Worker(self.site, self.stages, lambda: self.grid)

    @property
    def site(self) -> Site:
        return Site("d", Store(self.files, self.grid), self.bus)

    def land(self, raw: Voxels, index: Index) -> None:
        drive(land(self.site, index, raw[self.grid.box(index).slices()], "uint8"))

    def work(self, most: int = 10**6) -> None:
        """Let planner and worker go on until nothing is left, or ``most`` tasks are done."""
        while True:
            drive(self.planner.consume())
            drive(self.planner.act())
            delivery = self.bus.take(wire.task_topic("s"), "w", 1) if most else None
            if delivery is None and not self.planner.more:
                return
            if delivery is not None:
                task = task_of(delivery.value)
                outcome = drive(self.worker.handle(task))
                self.done[task.stage, task.subject] += outcome == "computed"
                self.bus.acknowledge(delivery, "w")
                most -= 1

    def array(self, of: Stage, level: int) -> NDArray[Any]:
        """Return a level of an output of the volume, read as a later stage would."""
        assert isinstance(of.subjects, Lattice)
        source = Input(of.name, of.name, "uint8", level=level, subjects=of.subjects)
        hashes = {}
        for cell in of.subjects.grid(self.grid).indices():
            stamp = self.site.store.intact(Blob(of.name, cell, "uint8", level, of.subjects))
            assert stamp is not None
            hashes[cell] = stamp.hash
        return self.site.store.read(source, level_box(self.grid.volume, level), hashes).array


def right(world: World, raw: Voxels) -> None:
    """Assert that every level of every output is that of the whole volume, and the table too."""
    expected = oracle(raw)
    for each in ARRAYS:
        assert isinstance(each.subjects, Lattice)
        count = {WIDE: 3, FINE: 1, CHUNKS: 2}[each.subjects]
        for level, whole in enumerate(levels(expected[each.name], "mean", count)):
            assert np.array_equal(world.array(each, level), whole), (each.name, level)
    cut = FINE.grid(GRID)
    sums = [
        (i, int(expected[name][cut.box(i).slices()].sum(dtype=np.int64)))
        for name in SUMMED
        for i in cut.indices()
    ]
    assert world.site.store.intact(TABLE) is not None
    handle = world.files.open(TABLE.path)
    assert handle is not None
    assert handle.read(0, handle.size).startswith(repr(sums).encode())


def volume(seed: int) -> Voxels:
    return np.random.default_rng(seed).integers(0, 200, SHAPE).astype(np.uint8)


EVERY = {(each.name, subject) for each in STAGES for subject in members(each.subjects, GRID)}


@pytest.mark.parametrize("seed", range(3))
def test_cells_of_any_lattice_make_the_whole(seed: int) -> None:
    """Chunks land in any order, and tasks are done in between."""
    raw, world, rng = volume(seed), World(GRID), np.random.default_rng(seed)
    order = list(GRID.indices())
    rng.shuffle(order)
    for z, y, x in order:
        world.land(raw, (int(z), int(y), int(x)))
        world.work(int(rng.integers(0, 4)))
    world.work()
    right(world, raw)
    tables = world.done.pop(("tables/sums", WHOLE))
    assert tables in (1, 2)  # after an epoch, and at the end
    assert world.done == dict.fromkeys(EVERY - {("tables/sums", WHOLE)}, 1)
    assert world.planner.settled
    assert (world.planner.wanted, world.planner.frontier.recorded) == (len(EVERY), len(EVERY))


def test_a_cell_beyond_the_landed_chunks_waits_for_the_seal() -> None:
    raw, world = volume(0), World(OPEN)
    for index in GRID.indices():
        sealed, world.grid = world.grid, GRID  # a last chunk is short, as its uploader knows
        world.land(raw, index)
        world.grid = sealed
    world.work()
    assert not any(name == "prediction/wide" for name, _ in world.done)  # it would end at z = 32
    world.grid = GRID
    world.bus.publish(wire.ledger_topic("dataset"), "d/dataset", wire.encode(Sealed(SHAPE[0])))
    world.work()
    right(world, raw)


def test_a_landed_change_is_followed_by_exactly_what_reads_it() -> None:
    raw, world = volume(0), World(GRID)
    for index in GRID.indices():
        world.land(raw, index)
    world.work()
    world.done.clear()
    changed = (1, 2, 1)
    box = GRID.box(changed)
    raw[box.slices()] = volume(1)[box.slices()]
    world.land(raw, changed)
    world.work()
    right(world, raw)
    wide = set(readers(changed, CHUNKS, HALO, WIDE, GRID))
    assert wide == {(0, 0, 0), (0, 1, 0)}
    half = set(readers(changed, CHUNKS, HALO, FINE, GRID))
    assert 0 < len(half) < 10
    assert {
        place for place in world.done if place[0] in ("prediction/wide", "prediction/half")
    } == {
        *(("prediction/wide", cell) for cell in wide),
        *(("prediction/half", cell) for cell in half),
    }
    assert set(world.done.values()) == {1}


def test_a_lost_level_is_made_again_by_reconcile() -> None:
    raw, world = volume(0), World(GRID)
    for index in GRID.indices():
        world.land(raw, index)
    world.work()
    world.done.clear()
    world.files.delete(Blob("prediction/wide", (0, 1, 0), "uint8", 2, WIDE).path)
    drive(world.planner.reconcile())
    world.work()
    assert world.done == {("prediction/wide", (0, 1, 0)): 1}
    right(world, raw)


# -- more inputs than an event names ---------------------------------------------------------------

MANY = Grid((14, 14, 14), (2, 2, 2))  # 343 chunks


def total(block: Block) -> Mapping[str, Made]:
    return {"summaries/labels/all": {"sum": np.array([block.patches[RAW].array.sum(dtype=int)])}}


ALL = Stage(
    "labels/all", 1, (Input(RAW, RAW, "uint8"),), (Output("summaries/labels/all"),), {}, total,
    subjects=Lattice((14, 14, 14)),
)  # fmt: skip
MANIFEST = manifest.path("labels/all", (0, 0, 0))


@pytest.fixture
def many() -> tuple[World, Voxels]:
    raw = np.random.default_rng(0).integers(1, 9, MANY.extent).astype(np.uint8)
    world = World(MANY, [ALL])
    for index in MANY.indices():
        world.land(raw, index)
    return world, raw


def lost(world: World) -> None:
    world.files.delete(MANIFEST)


def replaced(world: World) -> None:
    manifest.put(world.site.store, "labels/all", (0, 0, 0), [])


@pytest.mark.parametrize("happens", [None, lost, replaced])
def test_inputs_beyond_those_of_an_event_are_named_by_a_manifest(
    many: tuple[World, Voxels], happens: Callable[[World], None] | None
) -> None:
    world, raw = many
    drive(world.planner.consume())
    drive(world.planner.act())
    delivery = world.bus.take(wire.task_topic("s"), "w", 1)
    assert delivery is not None
    task = task_of(delivery.value)
    assert (task.subject, task.inputs, task.manifest != "") == ((0, 0, 0), (), True)
    if happens is None:
        assert drive(world.worker.handle(task)) == "computed"
    else:
        happens(world)
        assert drive(world.worker.handle(task)) == "dropped"
    world.bus.acknowledge(delivery, "w")
    world.work()
    assert world.planner.settled
    stamp = world.site.store.intact(Blob("summaries/labels/all", (0, 0, 0)))
    assert stamp is not None
    assert (stamp.inputs, stamp.manifest) == ((), task.manifest)
    named = manifest.read(world.site.store, "labels/all", (0, 0, 0), task.manifest)
    assert [i.subject for i in named] == list(MANY.indices())
    source = Input("labels/all", "summaries/labels/all")
    found = world.site.store.read_summary(source, (0, 0, 0), stamp.hash)
    assert int(found["sum"][0]) == raw.sum(dtype=int)
    assert digest(manifest.encode(named)) == task.manifest

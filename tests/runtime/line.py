"""Three chunks in a row, and one stage that blurs raw and sums it: what planner and worker do.

Everything is production code on memory; nothing happens until a test takes a step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fibstream.bus import wire
from fibstream.bus.memory import MemoryBus, MemoryFiles
from fibstream.core.events import Record, Sealed, Task
from fibstream.core.fold import Fold, NoFold
from fibstream.core.frontier import Frontier
from fibstream.core.grid import Grid, Halo, Index
from fibstream.core.stage import RAW, Block, Compute, Input, Output, Stage
from fibstream.core.subject import Subject
from fibstream.runtime.loops import drive
from fibstream.runtime.planner import Planner, landed_record
from fibstream.runtime.site import Site
from fibstream.runtime.worker import Outcome, Worker
from fibstream.services.ingest.edges.landing import land
from fibstream.store.shard import Stamp
from fibstream.store.store import Blob, Store

Voxels = NDArray[np.uint8]

STAGE = "prediction/blur"
SUMMARY = "summaries/prediction/blur"
RAW_INPUT = Input(RAW, RAW, "uint8")
CHUNKS = [(0, 0, 0), (1, 0, 0), (2, 0, 0)]
FIRST, MIDDLE, LAST = CHUNKS
SHAPE, CHUNK = (11, 4, 4), (4, 4, 4)  # the last chunk is short
GRID, OPEN = Grid(SHAPE, CHUNK), Grid((None, 4, 4), CHUNK)


def volume(seed: int = 0) -> Voxels:
    """Draw a volume of raw voxels."""
    return np.random.default_rng(seed).integers(1, 100, SHAPE).astype(np.uint8)


def blurred(raw: Voxels) -> Voxels:
    """Return the mean of three voxels along z of the whole volume, rounded down."""
    padded = np.pad(raw.astype(int), ((1, 1), (0, 0), (0, 0)))
    mean: NDArray[np.int64] = (padded[:-2] + padded[1:-1] + padded[2:]) // 3
    return mean.astype(np.uint8)


def blur(block: Block) -> dict[str, Any]:
    """Compute the blurred chunk, and the sum of its raw voxels as a summary."""
    patch = block.patches[RAW]
    core = block.core.slices(patch.box.start)
    output = blurred(patch.array)[core]
    if block.absent:
        output = np.zeros_like(output)
    return {"blur": output, SUMMARY: {"sum": np.array([patch.array[core].sum()])}}


def make_stage(compute: Compute = blur, *, halo: int = 1, folded: bool = False) -> Stage:
    """Return the stage, with another function if given."""
    source = Input(RAW, RAW, "uint8", Halo.of(halo))
    outputs = (Output("blur", "uint8"), Output(SUMMARY))
    return Stage(STAGE, 1, (source,), outputs, {}, compute, folded)


def raw_blob(index: Index) -> Blob:
    """Return the blob of a raw chunk."""
    return Blob(RAW, index, "uint8")


@dataclass
class Line:
    """One dataset on a memory bus; ``grid`` is that of its record."""

    grid: Grid = GRID
    stage: Stage = field(default_factory=make_stage)
    files: MemoryFiles = field(default_factory=MemoryFiles)
    more: tuple[Stage, ...] = ()  # further stages of the same service

    def __post_init__(self) -> None:
        self.bus = MemoryBus(lambda: 0.0)
        self.raw = volume()

    @property
    def site(self) -> Site:
        return Site("d", Store(self.files, self.grid), self.bus, "1.0")

    # -- steps ---------------------------------------------------------------------------------

    def land(
        self,
        *chunks: Index,
        raw: Voxels | Literal[False] | None = None,
        revision: int | None = None,
    ) -> None:
        """Land chunks, all by default; with ``raw=False`` they are declared absent."""
        source = self.raw if raw is None else raw
        site = Site("d", Store(self.files, GRID), self.bus)
        for index in chunks or CHUNKS:
            voxels = None if source is False else source[GRID.box(index).slices()]
            drive(land(site, index, voxels, "uint8", None))

    def seal(self) -> None:
        """Set the extent in z, and record it."""
        self.grid = GRID
        self.bus.publish(wire.ledger_topic("dataset"), "d/dataset", wire.encode(Sealed(SHAPE[0])))

    def worker(self, stage: Stage | None = None, grid: Grid | None = None) -> Worker:
        """Return a worker, of another stage or on another grid if given."""
        site = Site("d", Store(self.files, grid or self.grid), self.bus, "1.0")
        return Worker(site, [stage or self.stage, *self.more], lambda: self.grid)

    def handle(self, task: Task, stage: Stage | None = None, grid: Grid | None = None) -> Outcome:
        """Carry out one task."""
        return drive(self.worker(stage, grid).handle(task))

    def planner(self, fold: Fold | None = None) -> Planner:
        """Return a planner of the stages that has read nothing yet."""
        stages = [self.stage, *self.more]
        return Planner(self.site, "blur", stages, fold or NoFold(), lambda: self.grid)

    def ingest(self, *lands: Input) -> Planner:
        """Return the planner of ingest, which owns what lands: raw unless something is given."""
        return Planner(self.site, "ingest", [], NoFold(), lambda: self.grid, lands or [RAW_INPUT])

    def work(self) -> list[Outcome]:
        """Carry out every task that waits; return the outcomes."""
        outcomes = []
        while delivery := self.bus.take(wire.task_topic("blur"), "w", 1):
            outcomes.append(self.handle(task_of(delivery.value)))
            self.bus.acknowledge(delivery, "w")
        return outcomes

    def flip(self, blob: Blob, position: int = 5) -> None:
        """Change one byte of a blob, and neither its stamp nor its record."""
        data = bytearray(self.content()[blob.path])
        data[position] ^= 1
        self.files.put(blob.path, bytes(data))

    # -- state ---------------------------------------------------------------------------------

    def tasks(self) -> dict[Index, Task]:
        """Return the task of each chunk that can be made, by the raw chunks that are stored."""
        frontier = Frontier([self.stage], self.grid, lambda _stage, _index: None)
        for index in self.site.store.chunks(RAW):
            stamp = self.site.store.stamp(raw_blob(index))
            assert stamp is not None
            frontier.apply(landed_record(RAW_INPUT, stamp))
        return {cell_of(task.subject): task for task in frontier.tasks()}

    def ledger(self, stage: str | None = None) -> list[Record]:
        """Return the records that the ledger holds, the newest last."""
        events = [wire.decode(e.value) for e in self.bus.read(wire.ledger_topics(), 0)]
        return [e for e in events if isinstance(e, Record) and stage in (None, e.stage)]

    def record(self, index: Subject, stage: str = STAGE) -> Record:
        """Return the one record of a chunk."""
        (record,) = [r for r in self.ledger(stage) if r.subject == index]
        return record

    def status(self, index: Subject = MIDDLE, stage: str = STAGE) -> str | None:
        """Return the status that the ledger has of a chunk, or None."""
        found = [r.status for r in self.ledger(stage) if r.subject == index]
        return found[0] if found else None

    def queue(self) -> list[Task]:
        """Return the tasks that wait, which stay on the queue."""
        topic, found = wire.task_topic("blur"), []
        while delivery := self.bus.take(topic, "reader", 1):
            found.append(delivery)
        for delivery in found:
            self.bus.discard(delivery)
            self.bus.send(topic, delivery.key, delivery.value)
        return [task_of(delivery.value) for delivery in found]

    def blobs(self, index: Index) -> list[Blob]:
        """Return the blobs of a chunk's outputs: the blurred chunk, and the summary."""
        return self.site.blobs(self.stage, index)

    def intact(self, index: Index) -> list[Stamp]:
        """Return the stamps of those blobs that are stored and intact."""
        found = [self.site.store.intact(blob) for blob in self.blobs(index)]
        return [stamp for stamp in found if stamp is not None]

    def output(self, index: Index) -> NDArray[Any]:
        """Return the voxels of a blurred chunk that is stored and intact."""
        blob = self.blobs(index)[0]
        stamp = self.site.store.intact(blob)
        assert stamp is not None
        source = Input(STAGE, blob.name, blob.dtype)
        return self.site.store.read(source, GRID.box(index), {index: stamp.hash}).array

    def complete(self) -> bool:
        """Whether every output is that of the whole volume ``raw``."""
        whole = blurred(self.raw)
        return all(np.array_equal(self.output(i), whole[GRID.box(i).slices()]) for i in CHUNKS)

    def content(self) -> dict[str, bytes]:
        """Return the bytes of every blob, by path."""
        found = {}
        for folder in (RAW, "blur", "summaries", "tables"):
            for path in self.files.list(folder):
                handle = self.files.open(path)
                assert handle is not None
                found[path] = handle.read(0, handle.size)
        return found


Finished = tuple[Line, Planner]  # and all that it wants is recorded


def cell_of(subject: Subject) -> Index:
    """Return a subject that is known to be a cell."""
    assert isinstance(subject, tuple)
    return subject


def task_of(data: bytes) -> Task:
    """Return the task that a queue holds as bytes."""
    event = wire.decode(data)
    assert isinstance(event, Task)
    return event


def turn(planner: Planner, *, reconcile: bool = False) -> None:
    """Let a planner do all that it can now."""
    drive(planner.consume())
    drive(planner.act())
    if reconcile:
        drive(planner.reconcile())
        drive(planner.consume())
        drive(planner.act())


def settle(line: Line, *planners: Planner, passes: int = 6) -> None:
    """Let planners and workers go on, each turn with a reconcile, until nothing is written."""
    for _ in range(passes):
        before = line.bus.end(wire.ledger_topics()), line.content()
        for planner in planners:
            turn(planner, reconcile=True)
        done = line.work()
        for planner in planners:
            turn(planner)
        if not done and (line.bus.end(wire.ledger_topics()), line.content()) == before:
            return
    raise AssertionError("no end")


def unused(block: Block) -> Mapping[str, Any]:
    """Stand for a stage's function that must not be called."""
    raise AssertionError("computed")


def watched(seen: list[Block], compute: Compute = blur) -> Callable[[Block], Mapping[str, Any]]:
    """Return a stage's function that also keeps the blocks that it is called with."""

    def call(block: Block) -> Mapping[str, Any]:
        seen.append(block)
        return compute(block)

    return call

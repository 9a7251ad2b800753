"""Three chunks on a line, and one stage that blurs raw and counts it: what worker and planner do.

Everything is the real thing, on memory; time passes only when a test takes a step.
"""

from dataclasses import dataclass, field

import numpy as np

from fibstream.bus import wire
from fibstream.bus.memory import MemoryBus, MemoryFiles
from fibstream.core.events import Record, Sealed, Task
from fibstream.core.fold import NoFold
from fibstream.core.frontier import Frontier
from fibstream.core.grid import Grid
from fibstream.core.stage import RAW, Input, Output, Stage
from fibstream.runtime.loops import drive
from fibstream.runtime.planner import Planner, raw_record
from fibstream.runtime.site import Site
from fibstream.runtime.worker import Worker
from fibstream.services.ingest.edges.landing import land
from fibstream.store.store import Blob, Store

STAGE = "prediction/blur"
SUMMARY = "summaries/prediction/blur"
RAW_INPUT = Input(RAW, RAW, "uint8")
CHUNKS = [(0, 0, 0), (1, 0, 0), (2, 0, 0)]
SHAPE, CHUNK = (11, 4, 4), (4, 4, 4)  # the last chunk is short
GRID, OPEN = Grid(SHAPE, CHUNK), Grid((None, 4, 4), CHUNK)


def volume(seed=0):
    return np.random.default_rng(seed).integers(1, 100, SHAPE).astype(np.uint8)


def blurred(raw):
    """Return the mean of three voxels along z of the whole volume, half down."""
    padded = np.pad(raw.astype(int), ((1, 1), (0, 0), (0, 0)))
    return ((padded[:-2] + padded[1:-1] + padded[2:]) // 3).astype(np.uint8)


def blur(block):
    patch = block.patches[RAW]
    core = block.core.slices(patch.box.start)
    made = blurred(patch.array)[core]
    if block.absent:
        made = np.zeros_like(made)
    return {"blur": made, SUMMARY: {"sum": np.array([patch.array[core].sum()])}}


def make_stage(compute=blur, **other):
    source = Input(RAW, RAW, "uint8", other.pop("halo", RAW_INPUT.halo.of(1)))
    outputs = (Output("blur", "uint8"), Output(SUMMARY))
    return Stage(STAGE, 1, (source,), outputs, {}, compute, **other)


@dataclass
class Line:
    """One dataset on a memory bus; ``grid`` is its record."""

    grid: Grid = GRID
    stage: Stage = field(default_factory=make_stage)

    def __post_init__(self):
        self.files, self.bus = MemoryFiles(), MemoryBus(lambda: 0.0)
        self.raw = volume()

    @property
    def site(self):
        return Site("d", Store(self.files, self.grid), self.bus, "1.0")

    # -- what happens --------------------------------------------------------------------------

    def land(self, *chunks, raw=None, revision=None):
        raw = self.raw if raw is None else raw
        site = Site("d", Store(self.files, GRID), self.bus)
        for index in chunks or CHUNKS:
            voxels = None if raw is False else raw[GRID.box(index).slices()]
            drive(land(site, index, voxels, "uint8", revision))

    def seal(self):
        self.grid = GRID
        self.bus.publish(wire.ledger_topic("dataset"), "d/dataset", wire.encode(Sealed(SHAPE[0])))

    def worker(self, stage=None, grid=None):
        site = Site("d", Store(self.files, grid or self.grid), self.bus, "1.0")
        return Worker(site, [stage or self.stage], lambda: self.grid)

    def handle(self, task, stage=None, grid=None):
        return drive(self.worker(stage, grid).handle(task))

    def planner(self, fold=None, stages=None):
        stages = [self.stage] if stages is None else stages
        return Planner(self.site, "blur", stages, fold or NoFold(), lambda: self.grid)

    def ingest(self):
        return Planner(self.site, "ingest", [], NoFold(), lambda: self.grid, RAW_INPUT)

    def work(self, service="blur"):
        """Carry out every task that waits; return the outcomes."""
        outcomes = []
        while delivery := self.bus.take(wire.task_topic(service), "w", 1):
            outcomes.append(self.handle(wire.decode(delivery.value)))
            self.bus.acknowledge(delivery, "w")
        return outcomes

    # -- what is there -------------------------------------------------------------------------

    def tasks(self):
        """Return the task of each chunk that can be made, by the raw chunks that are stored."""
        frontier = Frontier([self.stage], self.grid, lambda stage, index: None)
        for index in self.site.store.chunks(RAW):
            stamp = self.site.store.stamp(Blob(RAW, index, "uint8"))
            frontier.apply(raw_record(stamp))
        return {task.index: task for task in frontier.tasks()}

    def ledger(self, stage=None):
        """Return the records that the log holds, the newest last."""
        events = [wire.decode(e.value) for e in self.bus.read(wire.LEDGER_TOPICS, 0)]
        return [e for e in events if isinstance(e, Record) and stage in (None, e.stage)]

    def queue(self, service="blur"):
        """Return the tasks that wait, which stay there."""
        topic, found = wire.task_topic(service), []
        while delivery := self.bus.take(topic, "looking", 1):
            found.append(delivery)
        for delivery in found:
            self.bus.discard(delivery)
            self.bus.send(topic, delivery.key, delivery.value)
        tasks = [wire.decode(d.value) for d in found]
        assert all(isinstance(t, Task) for t in tasks)
        return tasks

    def items(self, index):
        return self.site.blobs(self.stage, index)

    def whole(self, index):
        """Return the stamps of a chunk's outputs that verify."""
        found = [self.site.store.intact(item) for item in self.items(index)]
        return [stamp for stamp in found if stamp is not None]

    def made(self, index):
        """Return the voxels that are stored."""
        item = self.items(index)[0]
        stamp = self.site.store.intact(item)
        source = Input(STAGE, item.name, item.dtype)
        return self.site.store.read(source, GRID.box(index), {index: stamp.hash}).array

    def content(self):
        """Return every stored file."""
        found = {}
        for folder in (RAW, "blur", "summaries", "tables"):
            for path in self.files.list(folder):
                handle = self.files.open(path)
                found[path] = handle.read(0, handle.size)
        return found

    def flip(self, item, where=5):
        """Change one byte of a stored object, and neither stamp nor record."""
        data = bytearray(self.content()[item.path])
        data[where] ^= 1
        self.files.put(item.path, bytes(data))


def turn(planner, *, reconcile=False):
    """Let a planner do all that it can now."""
    drive(planner.consume())
    drive(planner.act())
    if reconcile:
        drive(planner.reconcile())
        drive(planner.consume())
        drive(planner.act())


def raw_item(index):
    return Blob(RAW, index, "uint8")

"""A stage of objects: an output for each closed object, by its box; none of what goes is left."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from fibstream.bus import wire
from fibstream.core.arrays import decode_arrays
from fibstream.core.errors import Poison
from fibstream.core.events import Record, Task
from fibstream.core.grid import Box, Halo
from fibstream.core.stage import RAW, Arrays, Block, Input, Made, Output, Stage
from fibstream.core.subject import OBJECTS, WHOLE, ObjectId, pack_box
from fibstream.kernels.extents import ObjectBoxes
from fibstream.runtime import worker as worker_module
from fibstream.runtime.loops import drive
from fibstream.runtime.planner import Planner
from fibstream.store.shard import decode_blob
from fibstream.store.store import Blob

from .line import CHUNKS, FIRST, GRID, LAST, MIDDLE, OPEN, STAGE, SUMMARY, Line, settle, turn

SHAPES, SHAPE = "measures/shape", "summaries/measures/shape"
LIST, PATH = "tables/shapes", "tables/shapes.csv"
A, B, C = ObjectId(1), ObjectId(2), ObjectId(3)
LABELS, ROWS = Input(STAGE, "labels", "uint64", Halo.of(1)), Input(STAGE, SUMMARY)


def label(block: Block) -> Mapping[str, Made]:
    """Return the raw values of a chunk as ids, and where each lies."""
    labels = block.patches[RAW].array.astype(np.uint64)
    ids = [int(i) for i in np.unique(labels) if i]
    where = [np.argwhere(labels == i) + block.core.start for i in ids]
    rows: Arrays = {
        "id": np.array(ids, np.uint64),
        "low": np.array([w.min(0) for w in where], np.int64).reshape(-1, 3),
        "high": np.array([w.max(0) for w in where], np.int64).reshape(-1, 3),
    }
    return {"labels": labels, SUMMARY: rows}


def shape(block: Block) -> Mapping[str, Made]:
    """Return the voxels of an object, and those of others around it."""
    assert isinstance(block.subject, ObjectId)
    patch = block.patches["labels"]
    assert patch.box.meet(GRID.volume) == block.core.grow(Halo.of(1)).meet(GRID.volume)
    own = patch.array == block.subject.number
    assert not own.sum() - own[block.core.slices(patch.box.start)].sum()
    return {SHAPE: {"voxels": np.array([own.sum(), ((patch.array != 0) & ~own).sum()], "<i8")}}


def listed(block: Block) -> Mapping[str, Made]:
    """Return a line for each object that has an output."""
    known = block.objects[SHAPE]
    assert set(block.cells) == {SUMMARY}
    lines = (f"{i.number},{known[i]['voxels'][0]}" for i in sorted(known))
    return {PATH: "\n".join(lines).encode()}


LABEL = Stage(STAGE, 1, (Input(RAW, RAW, "uint8"),), (Output("labels", "uint64"), Output(SUMMARY)),
              {}, label)  # fmt: skip
OBJECT = Stage(SHAPES, 1, (LABELS,), (Output(SHAPE),), {}, shape, folded=True, subjects=OBJECTS,
               found_in=ROWS)  # fmt: skip
TABLE = Stage(LIST, 1, (ROWS, Input(SHAPES, SHAPE, subjects=OBJECTS)), (Output(PATH),), {}, listed,
              subjects=WHOLE)  # fmt: skip


def raw(*spans: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return a volume with a rod of each (id, first, stop) along z."""
    volume = np.zeros(GRID.extent, np.uint8)
    for number, first, stop in spans:
        volume[first:stop, 1:3, number] = number
    return volume


# A goes from the first chunk into the second, B lies in the second, C ends the volume.
CELL = raw((1, 2, 6), (2, 5, 7), (3, 9, 11))


class World(Line):
    """A line whose labels are the raw values, with an output for each object and their table."""

    def __init__(self, content: NDArray[np.uint8] = CELL, *, still_open: bool = False) -> None:
        super().__init__(OPEN if still_open else GRID, LABEL, more=(OBJECT, TABLE))
        self.raw = content

    def fold(self) -> ObjectBoxes:
        return ObjectBoxes(ROWS, [SHAPES], self.grid)

    def objects(self) -> dict[int, list[int]]:
        """Return what is stored of each object, all of it intact and recorded."""
        found = {}
        for path in self.files.list(SHAPE):
            subject = ObjectId(int(path.rpartition("/")[2]))
            stamp = self.site.store.intact(Blob(SHAPE, subject))
            assert stamp is not None
            record = self.record(subject, SHAPES)
            assert (record.status, record.key) == ("ready", stamp.key)
            assert record.hashes == {SHAPE: stamp.hash}
            decoded = decode_blob(self.content()[path])
            assert decoded is not None
            found[subject.number] = decode_arrays(decoded[0])["voxels"].tolist()
        return found

    def table(self) -> str:
        decoded = decode_blob(self.content()[PATH])
        assert decoded is not None
        return decoded[0].decode()

    def task(self, subject: ObjectId) -> Task:
        """Return the task of an object that waits."""
        (task,) = [t for t in self.queue() if t.subject == subject]
        return task


Settled = tuple[World, Planner]


@pytest.fixture
def settled() -> Settled:
    world = World()
    world.land()
    planner = world.planner(world.fold())
    settle(world, planner)
    return world, planner


def test_every_object_has_its_output_and_the_table_names_them(settled: Settled) -> None:
    world, planner = settled
    assert world.objects() == {1: [8, 4], 2: [4, 4], 3: [4, 0]}
    assert world.table() == "1,8\n2,4\n3,4"
    assert (planner.wanted, planner.frontier.recorded, planner.settled) == (7, 7, True)
    stamp = world.site.store.intact(Blob(SHAPE, A))
    assert stamp is not None and [cell for _, _, cell, _ in stamp.inputs] == [FIRST, MIDDLE]
    seen = world.bus.end(wire.ledger_topics())
    settle(world, world.planner(world.fold()))
    assert world.bus.end(wire.ledger_topics()) == seen, "a planner that starts anew finds all done"


def test_an_object_waits_for_the_chunks_that_it_may_go_on_in() -> None:
    world = World(still_open=True)
    planner = world.planner(world.fold())
    for index, known in ((FIRST, []), (MIDDLE, [1, 2]), (LAST, [1, 2, 3])):
        world.land(index)
        settle(world, planner)
        assert sorted(world.objects()) == known
        assert planner.wanted == CHUNKS.index(index) + 1 + len(known) + 1
    world.seal()
    planner.site.store.grid = world.grid
    settle(world, planner)
    assert sorted(world.objects()) == [1, 2, 3]


def test_what_belongs_to_an_object_that_is_no_more_is_removed(settled: Settled) -> None:
    world, planner = settled
    world.raw = raw((1, 2, 8), (3, 9, 11))  # A grew, B went
    world.land(MIDDLE)
    settle(world, planner)
    assert world.objects() == {1: [12, 0], 3: [4, 0]}
    assert world.table() == "1,12\n3,4"
    assert (world.status(B, SHAPES), planner.wanted) == ("removed", 6)
    assert planner.frontier.recorded == 6 and planner.settled
    world.raw = CELL
    world.land(MIDDLE)
    settle(world, planner)
    assert world.objects() == {1: [8, 4], 2: [4, 4], 3: [4, 0]}


def test_only_objects_that_read_a_chunk_are_made_again(settled: Settled) -> None:
    world, planner = settled
    before = {i: world.record(i, SHAPES).key for i in (A, B, C)}
    world.raw = raw((1, 2, 6), (2, 5, 8), (3, 9, 11))  # B has one more layer, beside C's halo
    world.land(MIDDLE)
    settle(world, planner)
    after = {i: world.record(i, SHAPES).key for i in (A, B, C)}
    assert world.objects() == {1: [8, 4], 2: [6, 4], 3: [4, 0]}
    assert [i for i in before if after[i] != before[i]] == [A, B]
    assert Box((9, 1, 3), (11, 3, 4)).grow(Halo.of(1)).start[0] == 8  # C begins where LAST does


def test_a_planner_that_has_not_read_the_whole_ledger_removes_nothing(settled: Settled) -> None:
    """An object that it does not know yet is not one that is no more."""
    world, _ = settled
    late = world.planner(world.fold())
    for stage, subject in ((SHAPES, A), (SHAPES, B)):
        late.frontier.apply(world.record(subject, stage))
    drive(late.act())
    drive(late.reconcile())
    assert sorted(world.objects()) == [1, 2, 3]
    settle(world, late)
    assert sorted(world.objects()) == [1, 2, 3]


def test_an_output_that_a_killed_worker_left_of_an_object_is_found_and_removed(
    settled: Settled,
) -> None:
    world, planner = settled
    world.raw = raw((1, 2, 6), (2, 5, 8), (3, 9, 11))
    world.land(MIDDLE)
    turn(planner)
    world.work()
    turn(planner)
    task = world.task(B)
    steps = world.worker().handle(task)
    left = Blob(SHAPE, B)
    while (stamp := world.site.store.stamp(left)) is None or stamp.key != task.key:
        next(steps)  # it is killed before its record
    world.raw = raw((1, 2, 6), (3, 9, 11))
    world.land(MIDDLE)
    settle(world, planner)
    assert sorted(world.objects()) == [1, 3]
    world.files.put(left.path, b"what a worker wrote that woke up late")
    drive(planner.reconcile())
    assert not planner.settled
    settle(world, planner)
    assert sorted(world.objects()) == [1, 3] and planner.settled


def test_a_lost_or_damaged_output_is_made_again(settled: Settled) -> None:
    world, planner = settled
    before = world.content()
    world.files.delete(Blob(SHAPE, A).path)
    world.flip(Blob(SHAPE, C))
    world.site.publish(Record(SHAPES, C, "suspect"))  # as whoever reads it does
    settle(world, planner)
    assert world.content() == before


def test_one_that_fails_is_recorded_and_told_apart() -> None:
    def poisoned(block: Block) -> Mapping[str, Made]:
        if block.subject == B:
            raise Poison("no skeleton")
        return shape(block)

    world = World()
    world.more = (replace(OBJECT, compute=poisoned), TABLE)
    world.land()
    planner = world.planner(world.fold())
    settle(world, planner)
    assert planner.frontier.failed == {(SHAPES, B)}
    assert world.record(B, SHAPES).reason == "no skeleton"
    assert sorted(world.objects()) == [1, 3] and world.table() == "1,8\n3,4"
    world.more = (OBJECT, TABLE)
    world.site.publish(Record(SHAPES, B, "suspect"))  # as replay does
    settle(world, planner)
    assert sorted(world.objects()) == [1, 2, 3] and world.table() == "1,8\n2,4\n3,4"
    world.more = (replace(OBJECT, compute=poisoned), TABLE)
    world.site.publish(Record(SHAPES, B, "suspect"))
    world.files.delete(Blob(SHAPE, B).path)
    settle(world, planner)
    world.raw = raw((1, 2, 6), (3, 9, 11))
    world.land(MIDDLE)
    settle(world, planner)
    assert (planner.frontier.failed, world.status(B, SHAPES)) == (set(), "removed")


def test_an_object_too_large_for_a_worker_fails_with_a_line_that_names_it(
    settled: Settled, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, planner = settled
    monkeypatch.setattr(worker_module, "MAX_OBJECT", 6 * 4 * 3 - 1)
    world.files.delete(Blob(SHAPE, A).path)
    settle(world, planner)
    reason = world.record(A, SHAPES).reason
    assert reason == "object 1 lies in a box of 72 voxels; at most 71"


@pytest.mark.parametrize("extra", [b"", b"abc", pack_box(Box((0, 0, 0), (9, 9, 9)))])
def test_a_task_with_another_box_is_dropped(settled: Settled, extra: bytes) -> None:
    world, _ = settled
    record = world.record(A, SHAPES)
    before = world.content()
    stamp = world.site.store.intact(Blob(SHAPE, A))
    assert stamp is not None
    inputs = Task(SHAPES, A, record.key, (), extra)
    assert world.handle(inputs) == "dropped"
    assert world.content() == before


SUMMARIES = Input(STAGE, SUMMARY)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: replace(OBJECT, folded=False),
        lambda: replace(OBJECT, found_in=None),
        lambda: replace(LABEL, found_in=ROWS),
        lambda: replace(OBJECT, inputs=(LABELS, SUMMARIES)),
        lambda: replace(OBJECT, outputs=(Output("shape", "uint8"),)),
        lambda: replace(LABEL, inputs=(Input(SHAPES, SHAPE, subjects=OBJECTS),)),
        lambda: replace(LABEL, inputs=(Input(LIST, PATH, subjects=WHOLE),)),
        lambda: replace(TABLE, inputs=(Input(SHAPES, SHAPE, subjects=OBJECTS),)),
    ],
)
def test_a_stage_that_cannot_be_is_refused_when_it_is_declared(wrong: Callable[[], Stage]) -> None:
    with pytest.raises(ValueError, match=r"^stage [a-z]+/[a-z]+: "):
        wrong()

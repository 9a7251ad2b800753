"""One task: the order of effects, and why a wrong output cannot be bound to a key."""

from dataclasses import replace

import numpy as np
import pytest

from fibstream.bus.memory import MemoryFiles
from fibstream.core.errors import DiskFull, Poison
from fibstream.core.events import Record
from fibstream.core.frontier import key_of
from fibstream.core.grid import Box
from fibstream.core.keys import ABSENT, parameters_digest
from fibstream.core.stage import Input, Output, Stage
from fibstream.store.store import Blob

from .line import (
    CHUNKS,
    GRID,
    OPEN,
    RAW,
    STAGE,
    SUMMARY,
    Line,
    blur,
    blurred,
    make_stage,
    raw_item,
    volume,
)

MIDDLE = (1, 0, 0)


def never(block):
    raise AssertionError("computed")


@pytest.fixture
def line():
    made = Line()
    made.land()
    return made


@pytest.fixture
def task(line):
    return line.tasks()[MIDDLE]


def statuses(line, stage=STAGE):
    return [(r.index, r.status) for r in line.ledger(stage)]


# -- what is made ----------------------------------------------------------------------------------


def test_blocks_make_the_whole(line):
    for index, each in line.tasks().items():
        assert line.handle(each) == "computed"
        assert np.array_equal(line.made(index), blurred(line.raw)[GRID.box(index).slices()])
    assert statuses(line) == [(index, "ready") for index in CHUNKS]


def test_a_block_is_given_what_the_task_names(line):
    seen = []
    stage = replace(line.stage, compute=lambda block: seen.append(block) or blur(block))
    line.handle(line.tasks()[MIDDLE], stage)
    (block,) = seen
    assert (block.index, block.core) == (MIDDLE, Box((4, 0, 0), (8, 4, 4)))
    assert block.patches[RAW].box == Box((3, 0, 0), (9, 4, 4))
    assert np.array_equal(block.patches[RAW].array, line.raw[3:9])
    assert not block.absent


def test_a_summary_and_the_extra_of_a_fold_reach_the_function(line):
    line.handle(line.tasks()[MIDDLE])
    seen = []
    reader = Stage(
        "labels/x", 1, (Input(RAW, RAW, "uint8"), Input(STAGE, SUMMARY)), (Output("x", "uint8"),),
        {}, lambda block: seen.append(block) or {"x": block.patches[RAW].array}, folded=True,
    )  # fmt: skip
    stored = line.whole(MIDDLE)[1].hash
    inputs = (line.tasks()[MIDDLE].inputs[1], (STAGE, SUMMARY, MIDDLE, stored))
    inputs = tuple(type(inputs[0])(*i) for i in inputs)
    task = replace(line.tasks()[MIDDLE], stage="labels/x", inputs=inputs, extra=b"mapping")
    task = replace(task, key=key_of(reader, GRID, MIDDLE, inputs, b"mapping"))
    assert line.handle(task, reader) == "computed"
    assert seen[0].summaries[SUMMARY]["sum"] == line.raw[4:8].sum()
    assert seen[0].extra == b"mapping"


def test_every_object_names_the_task_that_made_it(line, task):
    line.handle(task)
    stamps = line.whole(MIDDLE)
    assert len(stamps) == 2
    for stamp in stamps:
        assert (stamp.stage, stamp.index, stamp.key) == (STAGE, MIDDLE, task.key)
        assert stamp.inputs == tuple((i.stage, i.name, i.chunk, i.hash) for i in task.inputs)
        assert (stamp.version, stamp.parameters) == ("1.0", parameters_digest(line.stage))
    (record,) = line.ledger(STAGE)
    assert record.key == task.key
    assert record.hashes == {"blur": stamps[0].hash, SUMMARY: stamps[1].hash}


def test_an_absent_chunk_makes_an_absent_output_and_zeros_for_its_neighbour():
    line = Line()
    line.land((0, 0, 0), (2, 0, 0))
    line.land(MIDDLE, raw=False)
    for task in line.tasks().values():
        assert line.handle(task) == "computed"
    assert line.whole(MIDDLE)[0].hash == ABSENT
    assert not line.made(MIDDLE).any()
    raw = line.raw.copy()
    raw[4:8] = 0
    assert np.array_equal(line.made((2, 0, 0)), blurred(raw)[8:])


# -- the order of effects --------------------------------------------------------------------------


def test_nothing_is_announced_before_all_of_it_is_stored(line, task):
    seen = []
    for _ in line.worker().handle(task):
        seen.append((len(line.whole(MIDDLE)), len(line.ledger(STAGE))))
    seen.append((len(line.whole(MIDDLE)), len(line.ledger(STAGE))))
    assert seen == [(0, 0), (0, 0), (1, 0), (2, 0), (2, 1)]


@pytest.mark.parametrize("effects", range(1, 5))
def test_a_worker_that_died_anywhere_is_made_good_by_another(line, task, effects):
    steps = line.worker().handle(task)
    for _ in range(effects):
        next(steps)
    steps.close()
    assert statuses(line) == []
    assert line.handle(task) == ("reused" if effects == 4 else "computed")
    assert statuses(line) == [(MIDDLE, "ready")]
    assert np.array_equal(line.made(MIDDLE), blurred(line.raw)[4:8])


def test_two_workers_on_one_task_write_the_same_bytes(line, task):
    first, second = (line.worker().handle(task) for _ in range(2))
    contents = []
    for _ in range(3):
        next(first)
    line.handle(task)
    contents.append(line.content())
    for _ in first:
        contents.append(line.content())
    assert next(second) is None
    with pytest.raises(StopIteration) as ended:
        while True:
            next(second)
    assert ended.value.value == "reused"
    assert all(content == contents[0] for content in contents)
    assert len(line.ledger(STAGE)) == 1


# -- P3: a key is done only if the objects say so --------------------------------------------------


def test_what_is_complete_is_announced_and_not_computed(line, task):
    line.handle(task)
    (before,) = line.ledger(STAGE)
    content = line.content()
    line.site.publish(Record(STAGE, MIDDLE, "suspect"))
    assert line.handle(task, make_stage(never)) == "reused"
    assert line.ledger(STAGE) == [before]
    assert line.content() == content


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("damage", ["rot", "loss", "another chunk's"])
def test_what_is_not_complete_is_computed(line, task, which, damage):
    for each in line.tasks().values():
        line.handle(each)
    before = line.content()
    item = line.items(MIDDLE)[which]
    if damage == "rot":
        line.flip(item)
    elif damage == "loss":
        line.files.delete(item.path)
    else:
        line.files.put(item.path, before[line.items((0, 0, 0))[which].path])
    assert line.content() != before
    assert line.handle(task) == "computed"
    assert line.content() == before


def test_an_output_of_other_inputs_is_not_taken_for_this_one(line):
    first = line.tasks()[MIDDLE]
    line.handle(first)
    line.land(raw=volume(1))
    second = line.tasks()[MIDDLE]
    assert second.key != first.key
    assert line.handle(second) == "computed"
    assert np.array_equal(line.made(MIDDLE), blurred(volume(1))[4:8])


# -- P2: a task whose inputs are not there ends ----------------------------------------------------


def lost(line, item):
    line.files.delete(item.path)


def rotten(line, item):
    line.flip(item)


def replaced(line, item):
    line.land(item.index, raw=volume(1))


@pytest.mark.parametrize("index", CHUNKS)
@pytest.mark.parametrize("damage", [lost, rotten, replaced])
def test_a_task_whose_input_changed_tells_and_ends(line, task, damage, index):
    damage(line, raw_item(index))
    before = line.content()
    assert line.handle(task, make_stage(never)) == "dropped"
    assert statuses(line, RAW)[-1] == (index, "suspect")
    assert [s for _, s in statuses(line, RAW)].count("suspect") == 1
    assert statuses(line) == [(MIDDLE, "dropped")]
    assert line.content() == before


def test_a_chunk_that_the_task_does_not_read_may_change(line):
    task = line.tasks()[0, 0, 0]
    replaced(line, raw_item((2, 0, 0)))
    assert line.handle(task) == "computed"


# -- the key follows from the task -----------------------------------------------------------------


@pytest.mark.parametrize(
    "other", [{"key": "f" * 32}, {"extra": b"more"}, {"index": (0, 0, 0)}, {"inputs": ()}]
)
def test_a_task_whose_key_is_not_of_its_inputs_is_refused(line, task, other):
    stale = replace(task, **other)
    before = line.content()
    assert line.handle(stale, make_stage(never)) == "dropped"
    assert statuses(line) == [(stale.index, "dropped")]
    assert [s for _, s in statuses(line, RAW)] == ["ready"] * 3
    assert line.content() == before


def test_a_task_of_another_rule_is_refused(line, task):
    newer = replace(make_stage(never), version=2)
    assert line.handle(task, newer) == "dropped"


def test_a_task_of_an_open_volume_is_refused_once_it_is_sealed():
    line = Line(OPEN, make_stage(halo=make_stage().inputs[0].halo.of(0)))
    line.land()
    task = line.tasks()[2, 0, 0]  # nobody could know that the chunk is short
    line.grid = GRID
    assert (
        line.handle(task, grid=OPEN) == "computed"
    )  # this worker did not hear of it, and was right
    assert line.handle(task, grid=GRID) == "dropped"
    again = line.tasks()[2, 0, 0]
    assert again.key != task.key
    assert line.handle(again, grid=GRID) == "computed"


def test_a_worker_that_did_not_hear_of_the_seal_looks_again(line):
    last = line.tasks()[2, 0, 0]
    assert line.handle(last, grid=OPEN) == "computed"
    assert np.array_equal(line.made((2, 0, 0)), blurred(line.raw)[8:])


# -- failures --------------------------------------------------------------------------------------


def test_what_can_never_succeed_is_recorded_as_failed(line, task):
    def poisoned(block):
        raise Poison("x" * 5000)

    before = line.content()
    assert line.handle(task, make_stage(poisoned)) == "failed"
    (record,) = line.ledger(STAGE)
    assert (record.index, record.status, record.key) == (MIDDLE, "failed", task.key)
    assert record.reason == "x" * 1000
    assert record.hashes == {}
    assert not record.crashed
    assert line.content() == before


def test_a_bug_is_nobodys_secret(line, task):
    def broken(block):
        raise ZeroDivisionError

    before = line.content()
    with pytest.raises(ZeroDivisionError):
        line.handle(task, make_stage(broken))
    assert statuses(line) == []
    assert line.content() == before


class FullFiles(MemoryFiles):
    """Files with no room for another summary."""

    def put(self, path, data, expected=None):
        if path.startswith("summaries/"):
            raise DiskFull("no space left")
        return super().put(path, data, expected)


def test_a_full_disk_ends_the_task_before_it_is_announced():
    line = Line()
    line.files = FullFiles()
    line.land()
    task = line.tasks()[MIDDLE]
    with pytest.raises(DiskFull):
        line.handle(task)
    assert statuses(line) == []
    line.files.__class__ = MemoryFiles  # room was made
    assert line.handle(task) == "computed"
    assert Blob(SUMMARY, MIDDLE).path in line.content()

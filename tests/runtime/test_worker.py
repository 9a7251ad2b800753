"""One task: the order of effects, and why a wrong output cannot be bound to a key."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fibstream.bus.memory import MemoryFiles
from fibstream.core.errors import DiskFull, Poison
from fibstream.core.events import Record, Task
from fibstream.core.grid import Box, Index
from fibstream.core.keys import ABSENT, NamedInput, parameters_digest
from fibstream.core.ports import Generation
from fibstream.core.stage import RAW, Block, Input, Output, Stage
from fibstream.core.subject import Subject
from fibstream.core.wanted import key_of
from fibstream.store.store import Blob

from .line import (
    CHUNKS,
    FIRST,
    GRID,
    LAST,
    MIDDLE,
    OPEN,
    STAGE,
    SUMMARY,
    Line,
    blurred,
    cell_of,
    make_stage,
    raw_blob,
    unused,
    volume,
    watched,
)


@pytest.fixture
def task(line: Line) -> Task:
    return line.tasks()[MIDDLE]


def statuses(line: Line, stage: str = STAGE) -> list[tuple[Subject, str]]:
    return [(r.subject, r.status) for r in line.ledger(stage)]


# -- what is made ----------------------------------------------------------------------------------


def test_blocks_make_the_whole(line: Line) -> None:
    for index, each in line.tasks().items():
        assert line.handle(each) == "computed"
        assert np.array_equal(line.output(index), blurred(line.raw)[GRID.box(index).slices()])
    assert statuses(line) == [(index, "ready") for index in CHUNKS]


def test_a_block_is_given_what_the_task_names(line: Line) -> None:
    seen: list[Block] = []
    stage = make_stage(watched(seen))
    line.handle(line.tasks()[MIDDLE], stage)
    (block,) = seen
    assert (block.subject, block.core) == (MIDDLE, Box((4, 0, 0), (8, 4, 4)))
    assert block.patches[RAW].box == Box((3, 0, 0), (9, 4, 4))
    assert np.array_equal(block.patches[RAW].array, line.raw[3:9])
    assert not block.absent


def test_a_summary_and_the_extra_of_a_fold_reach_the_function(line: Line) -> None:
    line.handle(line.tasks()[MIDDLE])
    seen: list[Block] = []
    compute = watched(seen, lambda block: {"x": block.patches[RAW].array})
    reader = Stage(
        "labels/x", 1, (Input(RAW, RAW, "uint8"), Input(STAGE, SUMMARY)), (Output("x", "uint8"),),
        {}, compute, folded=True,
    )  # fmt: skip
    stored = line.intact(MIDDLE)[1].hash
    inputs = line.tasks()[MIDDLE].inputs[1], NamedInput(STAGE, SUMMARY, MIDDLE, stored)
    task = replace(line.tasks()[MIDDLE], stage="labels/x", inputs=inputs, extra=b"mapping")
    task = replace(task, key=key_of(reader, GRID, MIDDLE, inputs, b"mapping"))
    assert line.handle(task, reader) == "computed"
    assert seen[0].summaries[SUMMARY]["sum"] == line.raw[4:8].sum()
    assert seen[0].extra == b"mapping"


def test_every_blob_names_the_task_that_made_it(line: Line, task: Task) -> None:
    line.handle(task)
    stamps = line.intact(MIDDLE)
    assert len(stamps) == 2
    for stamp in stamps:
        assert (stamp.stage, stamp.subject, stamp.key) == (STAGE, MIDDLE, task.key)
        assert stamp.inputs == tuple((i.stage, i.name, i.subject, i.hash) for i in task.inputs)
        assert (stamp.version, stamp.parameters) == ("1.0", parameters_digest(line.stage))
    (record,) = line.ledger(STAGE)
    assert record.key == task.key
    assert record.hashes == {"blur": stamps[0].hash, SUMMARY: stamps[1].hash}


def test_an_absent_chunk_makes_an_absent_output_and_zeros_for_its_neighbour() -> None:
    line = Line()
    line.land(FIRST, LAST)
    line.land(MIDDLE, raw=False)
    for task in line.tasks().values():
        assert line.handle(task) == "computed"
    assert line.intact(MIDDLE)[0].hash == ABSENT
    assert not line.output(MIDDLE).any()
    raw = line.raw.copy()
    raw[4:8] = 0
    assert np.array_equal(line.output(LAST), blurred(raw)[8:])


# -- the order of effects --------------------------------------------------------------------------


def test_nothing_is_announced_before_all_of_it_is_stored(line: Line, task: Task) -> None:
    seen = []
    for _ in line.worker().handle(task):
        seen.append((len(line.intact(MIDDLE)), len(line.ledger(STAGE))))
    seen.append((len(line.intact(MIDDLE)), len(line.ledger(STAGE))))
    assert seen == [(0, 0), (0, 0), (1, 0), (2, 0), (2, 1)]


@pytest.mark.parametrize("effects", range(1, 5))
def test_a_task_whose_worker_died_is_finished_by_another(
    line: Line, task: Task, effects: int
) -> None:
    steps = line.worker().handle(task)
    for _ in range(effects):
        next(steps)
    steps.close()
    assert statuses(line) == []
    assert line.handle(task) == ("reused" if effects == 4 else "computed")
    assert statuses(line) == [(MIDDLE, "ready")]
    assert np.array_equal(line.output(MIDDLE), blurred(line.raw)[4:8])


def test_two_workers_on_one_task_write_the_same_bytes(line: Line, task: Task) -> None:
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


# -- P3: a key is done only if the blobs say so ----------------------------------------------------


def test_what_is_complete_is_announced_and_not_computed(line: Line, task: Task) -> None:
    line.handle(task)
    (before,) = line.ledger(STAGE)
    content = line.content()
    line.site.publish(Record(STAGE, MIDDLE, "suspect"))
    assert line.handle(task, make_stage(unused)) == "reused"
    assert line.ledger(STAGE) == [before]
    assert line.content() == content


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("damage", ["rot", "loss", "another chunk's"])
def test_what_is_not_complete_is_computed(line: Line, task: Task, which: int, damage: str) -> None:
    for each in line.tasks().values():
        line.handle(each)
    before = line.content()
    blob = line.blobs(MIDDLE)[which]
    if damage == "rot":
        line.flip(blob)
    elif damage == "loss":
        line.files.delete(blob.path)
    else:
        line.files.put(blob.path, before[line.blobs(FIRST)[which].path])
    assert line.content() != before
    assert line.handle(task) == "computed"
    assert line.content() == before


def test_an_output_of_other_inputs_is_not_taken_for_this_one(line: Line) -> None:
    first = line.tasks()[MIDDLE]
    line.handle(first)
    line.land(raw=volume(1))
    second = line.tasks()[MIDDLE]
    assert second.key != first.key
    assert line.handle(second) == "computed"
    assert np.array_equal(line.output(MIDDLE), blurred(volume(1))[4:8])


# -- P2: a task whose inputs are not there ends ----------------------------------------------------


Damage = Callable[[Line, Blob], None]


def lost(line: Line, blob: Blob) -> None:
    line.files.delete(blob.path)


def rotten(line: Line, blob: Blob) -> None:
    line.flip(blob)


def replaced(line: Line, blob: Blob) -> None:
    line.land(cell_of(blob.subject), raw=volume(1))


@pytest.mark.parametrize("index", CHUNKS)
@pytest.mark.parametrize("damage", [lost, rotten, replaced])
def test_a_task_whose_input_changed_suspects_it_and_ends(
    line: Line, task: Task, damage: Callable[[Line, Blob], None], index: Index
) -> None:
    damage(line, raw_blob(index))
    before = line.content()
    assert line.handle(task, make_stage(unused)) == "dropped"
    assert statuses(line, RAW)[-1] == (index, "suspect")
    assert [s for _, s in statuses(line, RAW)].count("suspect") == 1
    assert statuses(line) == [(MIDDLE, "dropped")]
    assert line.content() == before


def test_a_chunk_that_the_task_does_not_read_may_change(line: Line) -> None:
    task = line.tasks()[FIRST]
    replaced(line, raw_blob(LAST))
    assert line.handle(task) == "computed"


# -- the key follows from the task -----------------------------------------------------------------


Change = dict[str, Any]


@pytest.mark.parametrize(
    "other", [{"key": "f" * 32}, {"extra": b"more"}, {"subject": FIRST}, {"inputs": ()}]
)
def test_a_task_whose_key_is_not_of_its_inputs_is_refused(
    line: Line, task: Task, other: dict[str, Any]
) -> None:
    stale = replace(task, **other)
    before = line.content()
    assert line.handle(stale, make_stage(unused)) == "dropped"
    assert statuses(line) == [(stale.subject, "dropped")]
    assert [s for _, s in statuses(line, RAW)] == ["ready"] * 3
    assert line.content() == before


def test_a_task_of_another_rule_is_refused(line: Line, task: Task) -> None:
    newer = replace(make_stage(unused), version=2)
    assert line.handle(task, newer) == "dropped"


def test_a_task_of_an_open_volume_is_refused_once_it_is_sealed() -> None:
    line = Line(OPEN, make_stage(halo=0))
    line.land()
    task = line.tasks()[LAST]  # nobody could know that the chunk is short
    line.grid = GRID
    # A worker that has not read the seal is right too.
    assert line.handle(task, grid=OPEN) == "computed"
    assert line.handle(task, grid=GRID) == "dropped"
    again = line.tasks()[LAST]
    assert again.key != task.key
    assert line.handle(again, grid=GRID) == "computed"


def test_a_worker_that_has_not_read_the_seal_reads_the_grid_again(line: Line) -> None:
    last = line.tasks()[LAST]
    assert line.handle(last, grid=OPEN) == "computed"
    assert np.array_equal(line.output(LAST), blurred(line.raw)[8:])


# -- failures --------------------------------------------------------------------------------------


def test_what_can_never_succeed_is_recorded_as_failed(line: Line, task: Task) -> None:
    def poisoned(block: Block) -> dict[str, Any]:
        raise Poison("x" * 5000)

    before = line.content()
    assert line.handle(task, make_stage(poisoned)) == "failed"
    (record,) = line.ledger(STAGE)
    assert (record.subject, record.status, record.key) == (MIDDLE, "failed", task.key)
    assert record.reason == "x" * 1000
    assert record.hashes == {}
    assert not record.crashed
    assert line.content() == before


def test_a_bug_ends_the_worker(line: Line, task: Task) -> None:
    def broken(block: Block) -> dict[str, Any]:
        raise ZeroDivisionError

    before = line.content()
    with pytest.raises(ZeroDivisionError):
        line.handle(task, make_stage(broken))
    assert statuses(line) == []
    assert line.content() == before


class FullFiles(MemoryFiles):
    """Files with no room for another summary."""

    def put(self, path: str, data: bytes, expected: Generation | None = None) -> bool:
        if path.startswith("summaries/"):
            raise DiskFull("no space left")
        return super().put(path, data, expected)


def test_a_full_disk_ends_the_task_before_it_is_announced() -> None:
    line = Line(files=FullFiles())
    line.land()
    task = line.tasks()[MIDDLE]
    with pytest.raises(DiskFull):
        line.handle(task)
    assert statuses(line) == []
    line.files.__class__ = MemoryFiles  # space was made
    assert line.handle(task) == "computed"
    assert Blob(SUMMARY, MIDDLE).path in line.content()

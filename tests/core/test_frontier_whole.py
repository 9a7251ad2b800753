"""Outputs of the whole dataset: made of what is known, seldom while it grows, and in the end."""

import random
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibstream.core.events import Record, Status, Task
from fibstream.core.frontier import EPOCH, Frontier
from fibstream.core.grid import Grid, Index
from fibstream.core.keys import NamedInput
from fibstream.core.stage import Block, Input, Output, Stage
from fibstream.core.subject import WHOLE, Lattice
from fibstream.core.wanted import key_of

FACTS, RAW = "summaries/facts", "raw"
GRID = Grid((40, 5, 10), (1, 1, 1))
CELLS = list(GRID.indices())  # 2000: an eighth of them is well above the least
TABLE, OTHER = "tables/t", "tables/o"


def nothing(_block: Block) -> dict[str, Any]:
    return {}


def whole(name: str, *stages: str) -> Stage:
    inputs = tuple(Input(stage, FACTS) for stage in stages)
    return Stage(name, 1, inputs, (Output(name),), {}, nothing, subjects=WHOLE)


FACTS_STAGE = Stage("measures/m", 1, (Input(RAW, RAW, "uint8"),), (Output(FACTS),), {}, nothing)
STAGE = whole(TABLE, "measures/m")


def frontier(*stages: Stage, grid: Grid = GRID) -> Frontier:
    return Frontier(stages or (STAGE,), grid, lambda _stage, _index: None)


def facts(cell: Index, content: str = "1", stage: str = "measures/m") -> Record:
    return Record(stage, cell, "ready", f"key {content}", {FACTS: f"{cell} {content}"})


def done(task: Task) -> Record:
    return Record(task.stage, task.subject, "ready", task.key, {task.stage: "h " + task.key})


def feed(made: Frontier, cells: Iterable[Index], content: str = "1") -> None:
    for cell in cells:
        made.apply(facts(cell, content))


def found(made: Frontier) -> list[tuple[Input, Index]]:
    return [each for each in made.missing() if each is not None]


def finished(made: Frontier) -> list[Task]:
    """Return the tasks that are left when nothing else is; they are carried out."""
    made.finish()
    tasks = list(made.tasks())
    for task in tasks:
        made.apply(done(task))
    return tasks


def test_it_is_made_of_all_that_is_known_in_raster_order() -> None:
    made = frontier()
    feed(made, [CELLS[7], CELLS[3], CELLS[90]])
    made.apply(Record("measures/m", CELLS[4], "failed", "key", reason="no"))
    (task,) = finished(made)
    assert (task.stage, task.subject, task.extra) == (TABLE, WHOLE, b"")
    cells = [CELLS[3], CELLS[7], CELLS[90]]
    assert task.inputs == tuple(NamedInput("measures/m", FACTS, c, f"{c} 1") for c in cells)
    assert task.key == key_of(STAGE, GRID, WHOLE, task.inputs, b"")


def test_of_nothing_it_is_not_made() -> None:
    made = frontier()
    made.touch((TABLE, WHOLE))
    assert finished(made) == []
    assert made.recorded == 0


def test_all_inputs_of_several_stages_are_named_in_the_order_of_the_stage() -> None:
    made = frontier(whole(TABLE, "measures/z", "measures/a"))
    for stage in ("measures/a", "measures/z"):
        for cell in (CELLS[1], CELLS[0]):
            made.apply(facts(cell, stage=stage))
    (task,) = finished(made)
    assert [(i.stage, i.subject) for i in task.inputs] == [
        (stage, cell) for stage in ("measures/z", "measures/a") for cell in CELLS[:2]
    ]


# -- when ------------------------------------------------------------------------------------------


def growth(cells: Iterable[Index]) -> list[int]:
    """Return how many cells were known each time that it was made while they came."""
    made, sizes = frontier(), []
    for cell in cells:
        made.apply(facts(cell))
        for task in made.tasks():
            sizes.append(len(task.inputs))
            made.apply(done(task))
            assert list(made.tasks()) == []
    return sizes


def test_while_cells_come_it_waits_for_an_epoch_and_an_eighth_of_all() -> None:
    sizes = growth(CELLS)
    assert sizes[0] == EPOCH
    for before, after in pairwise(sizes):
        # Its own record counts as one change, as it may be another than what is wanted.
        assert after - before in (max(EPOCH, after // 8) - 1, max(EPOCH, after // 8))
    assert sum(sizes) < 10 * len(CELLS), "what is read again grows with the square"


def test_an_open_volume_and_many_changes_are_no_other_case() -> None:
    made = frontier(grid=Grid((None, 5, 10), (1, 1, 1)))
    feed(made, CELLS[: EPOCH - 1])
    assert list(made.tasks()) == []
    assert made.idle and made.stale
    feed(made, CELLS[EPOCH - 1 : EPOCH])
    assert not list(made.tasks(whole=False))
    assert made.stale
    assert [len(task.inputs) for task in made.tasks()] == [EPOCH]


def test_to_finish_makes_it_of_any_change() -> None:
    made = frontier()
    feed(made, CELLS[:3])
    assert list(made.tasks()) == []
    (first,) = finished(made)
    assert len(first.inputs) == 3
    assert finished(made) == []
    assert (made.recorded, made.idle, made.stale) == (1, True, False)
    feed(made, CELLS[:1], "2")
    (second,) = finished(made)
    assert second.key != first.key
    assert [i.hash for i in second.inputs] == [f"{CELLS[0]} 2"] + [f"{c} 1" for c in CELLS[1:3]]


def test_two_stages_wait_each_for_its_own_inputs() -> None:
    made = frontier(STAGE, whole(OTHER, "measures/o"))
    feed(made, CELLS[: EPOCH - 1])
    made.apply(facts(CELLS[0], stage="measures/o"))
    assert list(made.tasks()) == []
    feed(made, CELLS[EPOCH - 1 : EPOCH])
    assert [task.stage for task in made.tasks()] == [TABLE]
    assert [task.stage for task in finished(made)] == [OTHER]


def test_cells_are_made_at_once_whatever_waits() -> None:
    made = frontier(FACTS_STAGE, STAGE)
    for cell in CELLS[:3]:
        made.apply(Record(RAW, cell, "ready", "1", {RAW: "h"}))
        (task,) = made.tasks()
        assert task.subject == cell
        made.apply(done(task))
    assert [task.subject for task in made.tasks()] == []
    assert made.stale


# -- again -----------------------------------------------------------------------------------------


def known(count: int = 3) -> tuple[Frontier, Task]:
    made = frontier()
    feed(made, CELLS[:count])
    (task,) = finished(made)
    assert finished(made) == []
    return made, task


def test_equal_records_want_the_key_that_is_recorded() -> None:
    made, _ = known()
    feed(made, CELLS[:3])
    assert finished(made) == []
    assert made.recorded == 1


@pytest.mark.parametrize("status", ["suspect", "dropped"])
def test_it_is_made_again_under_its_key_when_it_is_suspected_or_dropped(status: Status) -> None:
    made, task = known()
    made.apply(Record(TABLE, WHOLE, status))
    assert made.stale and list(made.tasks()) == []
    assert finished(made) == [task]


@pytest.mark.parametrize("status", ["suspect", "dropped", "failed"])
def test_a_cell_that_is_un_recorded_is_left_out_until_it_returns(status: Status) -> None:
    made, first = known()
    made.apply(Record("measures/m", CELLS[1], status))
    (task,) = finished(made)
    assert [i.subject for i in task.inputs] == [CELLS[0], CELLS[2]]
    feed(made, CELLS[1:2])
    assert finished(made) == [first]


def test_a_failure_is_not_tried_again_until_an_input_changes() -> None:
    made = frontier()
    feed(made, CELLS[:3])
    made.finish()
    (task,) = made.tasks()
    made.apply(Record(TABLE, WHOLE, "failed", task.key, reason="no"))
    assert finished(made) == []
    assert (made.failed, made.recorded) == ({(TABLE, WHOLE)}, 0)
    feed(made, CELLS[3:4])
    assert len(finished(made)) == 1
    assert finished(made) == []
    assert (made.failed, made.recorded) == (set(), 1)


def test_a_task_under_way_is_not_sent_again_until_it_is_forgotten() -> None:
    made = frontier()
    feed(made, CELLS[:3])
    made.finish()
    (task,) = made.tasks()
    feed(made, CELLS[:3])
    made.finish()
    assert list(made.tasks()) == []
    made.forget_issued()
    assert made.stale and list(made.tasks()) == []
    made.finish()
    assert list(made.tasks()) == [task]


def test_the_seal_changes_its_key_and_not_its_inputs() -> None:
    made = frontier(grid=Grid((None, 5, 10), (1, 1, 1)))
    feed(made, CELLS[:3])
    (first,) = finished(made)
    made.seal(GRID)
    assert made.stale
    (second,) = finished(made)
    assert second.inputs == first.inputs
    assert second.key == key_of(STAGE, GRID, WHOLE, first.inputs, b"") != first.key


def test_a_cell_that_the_seal_cuts_off_is_left_out() -> None:
    """Cells smaller than a chunk are made beyond the end of a last chunk that turns out short."""
    source = Input("measures/m", FACTS, subjects=Lattice((2, 4, 4)))
    table = Stage(TABLE, 1, (source,), (Output(TABLE),), {}, nothing, subjects=WHOLE)
    made = frontier(table, grid=Grid((None, 4, 4), (8, 4, 4)))
    feed(made, [(z, 0, 0) for z in range(4)])
    assert [len(task.inputs) for task in finished(made)] == [4]
    made.seal(Grid((3, 4, 4), (8, 4, 4)))
    assert [[i.subject for i in task.inputs] for task in finished(made)] == [[(0, 0, 0), (1, 0, 0)]]


# -- what is missing -------------------------------------------------------------------------------


def test_in_a_sealed_volume_every_cell_without_a_record_is_missing() -> None:
    grid = Grid((1, 1, 4), (1, 1, 1))
    made = frontier(grid=grid)
    assert [cell[2] for _, cell in found(made)] == [0, 1, 2, 3]
    made.apply(facts((0, 0, 2)))
    (_,) = finished(made)
    assert finished(made) == []
    assert made.recorded == 1
    assert [(source.stage, cell[2]) for source, cell in found(made)] == [
        ("measures/m", n) for n in (0, 1, 3)
    ]


def test_in_an_open_volume_it_misses_nothing() -> None:
    made = frontier(grid=Grid((None, 1, 4), (1, 1, 1)))
    made.touch((TABLE, WHOLE))
    assert finished(made) == []  # it is made of nothing yet
    assert found(made) == []
    made.apply(facts((0, 0, 2)))
    assert found(made) == []
    assert len(finished(made)) == 1
    assert found(made) == []


# -- any order -------------------------------------------------------------------------------------

SMALL = Grid((2, 2, 2), (1, 1, 1))
CONTENTS = st.dictionaries(
    st.sampled_from(list(SMALL.indices())), st.sampled_from("ab"), min_size=1
)


@given(CONTENTS, st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_the_end_is_equal_for_any_order_of_records(contents: dict[Index, str], seed: int) -> None:
    """Earlier contents, suspects, repeats, looks and the seal come in between in any order."""
    rng = random.Random(seed)
    made = frontier(grid=Grid((None, 2, 2), (1, 1, 1)))
    ends = [facts(cell, content) for cell, content in contents.items()]
    noise = [facts(cell, "old") for cell in SMALL.indices()]
    noise += [Record("measures/m", cell, "suspect") for cell in SMALL.indices()]
    steps: list[Record | None] = [*noise, *ends, *ends, None]
    rng.shuffle(steps)
    for step in [*steps, *[Record("measures/m", c, "suspect") for c in SMALL.indices()], *ends]:
        if step is None:
            made.seal(SMALL)
        else:
            made.apply(step)
        if rng.random() < 0.3:
            for task in made.tasks() if rng.random() < 0.5 else finished(made):
                made.apply(done(task))
    finished(made)
    assert finished(made) == []
    plain = frontier(grid=SMALL)
    for record in sorted(ends, key=lambda r: repr(r.subject)):
        plain.apply(record)
    (task,) = finished(plain)
    assert made.records[TABLE, WHOLE].key == task.key
    assert made.wanted((TABLE, WHOLE)) == plain.wanted((TABLE, WHOLE))

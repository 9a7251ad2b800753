"""The law: every chunk's task is sent once, and never before all that it reads is recorded."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibstream.core.events import Place, Record, Status, Task
from fibstream.core.frontier import LOOKS, Frontier
from fibstream.core.grid import Grid, Halo, Index
from fibstream.core.keys import digest
from fibstream.core.stage import Block, Input, Output, Stage
from fibstream.core.subject import Subject
from fibstream.core.wanted import key_of

RAW = "raw"


def no_outputs(_block: Block) -> dict[str, Any]:
    return {}


def stage(name: str, *inputs: Input, folded: bool = False) -> Stage:
    outputs = (Output(name, "uint8"),)
    return Stage(name, 1, inputs, outputs, {}, no_outputs, folded=folded)


def reads(name: str, halo: int | Halo = 0) -> Input:
    return Input(name, name, "uint8", halo if isinstance(halo, Halo) else Halo.of(halo))


def landed(index: Index, content: str = "1") -> Record:
    return Record(
        RAW, index, "ready", content, {RAW: digest(content.encode(), repr(index).encode())}
    )


def done(task: Task, content: str = "") -> Record:
    """The record of a finished task: other inputs, other content."""
    return Record(
        task.stage,
        task.subject,
        "ready",
        task.key,
        {task.stage: digest((content or task.key).encode())},
    )


def no_extra(name: str, subject: Subject) -> None:
    return None


def cell_of(subject: Subject) -> Index:
    assert isinstance(subject, tuple)
    return subject


def drain(frontier: Frontier) -> list[Task]:
    return list(frontier.tasks())


def found(frontier: Frontier) -> list[tuple[Input, Index]]:
    return [each for each in frontier.missing() if each is not None]


class Run:
    """Records in any order, each delivered again at any later time, and every task carried out."""

    def __init__(self, grid: Grid, stages: Sequence[Stage], seed: int) -> None:
        self.rng = random.Random(seed)
        self.stages = {s.name: s for s in stages}
        self.frontier = Frontier(stages, grid, lambda name, index: repr((name, index)).encode())
        self.recorded: set[Place] = set()
        self.tasks: list[Task] = []

    def perform(self, records: Iterable[Record]) -> None:
        waiting = list(records)
        while waiting:
            record = waiting.pop(self.rng.randrange(len(waiting)))
            if self.rng.random() < 0.4:
                waiting.append(record)  # it will come again
            self.frontier.apply(record)
            self.recorded.add((record.stage, record.subject))
            if self.rng.random() < 0.7:
                waiting += [done(task) for task in self.look()]
        found = self.look()
        if found:
            self.perform(done(task) for task in found)

    def look(self) -> list[Task]:
        found = drain(self.frontier)
        for task in found:
            self.check(task)
        self.tasks += found
        return found

    def check(self, task: Task) -> None:
        wanted = [
            (source.stage, source.name, chunk)
            for source in self.stages[task.stage].inputs
            for chunk in self.frontier.grid.reach(cell_of(task.subject), source.halo)
        ]
        assert [i[:3] for i in task.inputs] == wanted
        assert all((maker, chunk) in self.recorded for maker, _, chunk in wanted)
        assert task.key == key_of(
            self.stages[task.stage], self.frontier.grid, task.subject, task.inputs, task.extra
        )

    def counts(self) -> Counter[Place]:
        return Counter((task.stage, task.subject) for task in self.tasks)


SMALL = st.tuples(*[st.integers(1, 3)] * 3)
HALOS = st.builds(Halo, *[st.tuples(*[st.integers(0, 7)] * 3)] * 2)  # wider than any chunk


@st.composite
def cases(draw: st.DrawFn) -> Any:
    chunk, count = draw(SMALL), draw(st.tuples(*[st.integers(1, 2)] * 3))
    shape = tuple(c * n - draw(st.integers(0, c - 1)) for c, n in zip(chunk, count, strict=True))
    first, second, across = draw(HALOS), draw(HALOS), draw(HALOS)
    return Grid(shape, chunk), (
        stage("a", reads(RAW, first)),
        stage("b", reads("a", second), reads(RAW, across), folded=True),
    )


@given(cases(), st.integers(0, 2**32 - 1))
@settings(max_examples=80)
def test_every_task_once_and_never_too_early(case: Any, seed: int) -> None:
    grid, stages = case
    run = Run(grid, stages, seed)
    run.perform([landed(index) for index in grid.indices()])
    every = {(s.name, index) for s in stages for index in grid.indices()}
    assert run.counts() == dict.fromkeys(every, 1)
    assert run.frontier.idle
    assert run.frontier.recorded == len(every)
    assert {(r.stage, r.subject) for r in run.frontier.own_records()} == every


@given(cases(), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_an_open_z_gives_the_same_outputs_once_it_is_sealed(case: Any, seed: int) -> None:
    """While z is open a block that reaches beyond what landed waits."""
    sealed, stages = case
    run = Run(Grid((None, *sealed.shape[1:]), sealed.chunk), stages, seed)
    run.perform([landed(index) for index in sealed.indices()])
    before = run.counts()
    for name, index in before:
        for source in run.stages[name].inputs:
            assert all(
                sealed.contains(c) for c in run.frontier.grid.reach(cell_of(index), source.halo)
            )
    run.frontier.seal(sealed)
    run.perform([])
    every = {(s.name, index) for s in stages for index in sealed.indices()}
    assert set(run.counts()) == every
    last = {(t.stage, t.subject): t.key for t in run.tasks}
    assert {(r.stage, r.subject): r.key for r in run.frontier.own_records()} == last
    whole = Run(sealed, stages, seed + 1)
    whole.perform([landed(index) for index in sealed.indices()])
    assert {(t.stage, t.subject): t.key for t in whole.tasks} == last


def test_a_block_at_the_open_end_waits_for_the_seal() -> None:
    grid = Grid((None, 4, 4), (4, 4, 4))
    frontier = Frontier([stage("a", reads(RAW, Halo((0, 0, 0), (1, 0, 0))))], grid, no_extra)
    for z in range(3):
        frontier.apply(landed((z, 0, 0)))
    assert [t.subject for t in drain(frontier)] == [(0, 0, 0), (1, 0, 0)]
    frontier.seal(Grid((12, 4, 4), (4, 4, 4)))
    assert [t.subject for t in drain(frontier)] == [(2, 0, 0)]


def test_a_chunk_that_turns_out_to_be_short_is_made_again() -> None:
    grid = Grid((None, 4, 4), (4, 4, 4))
    frontier = Frontier([stage("a", reads(RAW))], grid, no_extra)
    for z in range(2):
        frontier.apply(landed((z, 0, 0)))
    first = drain(frontier)
    for task in first:
        frontier.apply(done(task))
    frontier.seal(Grid((7, 4, 4), (4, 4, 4)))
    (again,) = drain(frontier)
    assert again.subject == (1, 0, 0)
    assert again.key not in {task.key for task in first}


# -- one record at a time --------------------------------------------------------------------------


@pytest.fixture
def line() -> Run:
    """Four chunks on a line; ``a`` reads raw and its neighbours, ``b`` reads ``a`` alone."""
    stages = [stage("a", reads(RAW, 1)), stage("b", reads("a"))]
    frontier = Frontier(stages, Grid((1, 1, 8), (1, 1, 2)), no_extra)
    run = Run(frontier.grid, stages, 0)
    run.frontier = frontier
    run.perform([landed((0, 0, x)) for x in range(4)])
    run.tasks.clear()
    return run


def places(tasks: Iterable[Task]) -> list[tuple[str, int]]:
    return [(task.stage, cell_of(task.subject)[2]) for task in tasks]


@pytest.mark.parametrize("status", ["suspect", "dropped"])
def test_an_output_that_is_suspected_is_made_again_under_the_same_key(
    line: Run, status: Status
) -> None:
    key = line.frontier.records["a", (0, 0, 1)].key
    line.frontier.apply(Record("a", (0, 0, 1), status))
    assert line.frontier.recorded == 8
    (task,) = drain(line.frontier)
    assert (task.stage, task.subject, task.key) == ("a", (0, 0, 1), key)
    assert line.frontier.recorded == 6  # neither it nor its reader
    line.frontier.apply(done(task))
    assert drain(line.frontier) == []  # equal content: its reader has nothing to do
    assert line.frontier.recorded == 8


def test_an_input_that_is_suspected_stops_its_readers_and_its_return_starts_nothing(
    line: Run,
) -> None:
    line.frontier.apply(Record(RAW, (0, 0, 1), "suspect"))
    assert drain(line.frontier) == []
    assert line.frontier.wanted(("a", (0, 0, 2))) is None
    assert [(s.stage, i[2]) for s, i in found(line.frontier)] == [(RAW, 1)]
    line.frontier.apply(landed((0, 0, 1)))
    assert drain(line.frontier) == []
    assert found(line.frontier) == []


# -- no step is long, and no queue either ----------------------------------------------------------

WIDE = Grid((1, 20, 50), (1, 1, 1))


def wide(*indices: Index) -> Frontier:
    frontier = Frontier([stage("a", reads(RAW, 1)), stage("b", reads("a"))], WIDE, no_extra)
    for index in indices or WIDE.indices():
        frontier.apply(landed(index))
    return frontier


@pytest.mark.parametrize("window", [1, 7, 10_000])
def test_no_more_tasks_are_under_way_than_the_window_and_all_come_in_the_end(window: int) -> None:
    frontier, rng = wide(), random.Random(window)
    under_way: dict[Place, Task] = {}
    sent: set[tuple[Place, str]] = set()
    while not frontier.idle or under_way:
        for task in frontier.looks(window=window):
            if task is not None:
                under_way[task.stage, task.subject] = task
                assert ((task.stage, task.subject), task.key) not in sent
                sent.add(((task.stage, task.subject), task.key))
        assert len(under_way) <= window
        assert frontier.idle or len(under_way) == window
        for task in rng.sample(list(under_way.values()), min(len(under_way), 50)):
            frontier.apply(done(under_way.pop((task.stage, task.subject))))
    assert list(frontier.looks()) == []
    assert (len(sent), frontier.recorded) == (2000, 2000)


def test_what_was_under_way_comes_again_before_what_is_held_back() -> None:
    frontier = wide()
    first = [task for task in frontier.looks(window=9) if task]
    frontier.forget_issued()
    assert [task for task in frontier.looks(window=9) if task] == first


def longest_step(steps: Iterable[object], work: list[int]) -> int:
    """Return the most work (counted elsewhere) between two steps of an iterator."""
    work.clear()
    longest = before = 0
    for _ in steps:
        longest, before = max(longest, len(work) - before), len(work)
    return max(longest, len(work) - before)


def test_no_look_takes_longer_because_the_dataset_is_large() -> None:
    """Records that change nothing, a seal, and what is missing: a planner may turn elsewhere."""
    work: list[int] = []

    class Counted(Frontier):
        def wanted(self, place: Place) -> Any:
            work.append(1)
            return super().wanted(place)

        def _touch_around(self, place: Place) -> None:
            work.append(1)
            super()._touch_around(place)

        def _reach(self, *args: Any) -> Any:
            work.append(1)
            return super()._reach(*args)

    open_ended = Grid((None, 20, 50), (1, 1, 1))
    frontier = Counted([stage("a", reads(RAW, 1))], open_ended, no_extra)
    for index in WIDE.indices():
        if index[2] % 3:  # every output lacks an input
            frontier.apply(landed(index))
    assert longest_step(frontier.looks(), work) <= 3 * LOOKS
    frontier.seal(WIDE)
    assert not frontier.idle
    assert longest_step(frontier.looks(), work) <= 3 * LOOKS
    assert len(work) > 1000 and frontier.idle
    assert longest_step(frontier.missing(), work) <= 3 * LOOKS
    assert len(work) >= 1000


def test_new_content_is_followed_by_exactly_its_readers(line: Run) -> None:
    line.frontier.apply(landed((0, 0, 0), "2"))
    tasks = drain(line.frontier)
    assert places(tasks) == [("a", 0), ("a", 1)]
    old = line.frontier.records["a", (0, 0, 1)].hashes["a"]
    line.frontier.apply(done(tasks[0]))
    same = Record("a", (0, 0, 1), "ready", tasks[1].key, {"a": old})
    line.frontier.apply(same)  # propagation stops where an output is what it was
    assert places(drain(line.frontier)) == [("b", 0)]


def test_a_return_to_the_first_content_wants_the_first_key(line: Run) -> None:
    first = line.frontier.records["a", (0, 0, 0)].key
    line.frontier.apply(landed((0, 0, 0), "2"))
    drain(line.frontier)
    line.frontier.apply(landed((0, 0, 0)))
    assert drain(line.frontier) == []  # its record still stands: what is stored, reconcile knows
    wanted = line.frontier.wanted(("a", (0, 0, 0)))
    assert wanted is not None
    assert wanted.key == first


def test_an_older_record_of_an_output_is_not_what_is_wanted(line: Run) -> None:
    line.frontier.apply(Record("a", (0, 0, 0), "ready", "old key", {"a": "x"}))
    assert places(drain(line.frontier)) == [("a", 0), ("b", 0)]


def test_what_failed_is_not_tried_again_until_its_inputs_change(line: Run) -> None:
    key = line.frontier.records["a", (0, 0, 0)].key
    line.frontier.apply(Record("a", (0, 0, 0), "failed", key, reason="no"))
    assert drain(line.frontier) == []
    assert line.frontier.failed == {("a", (0, 0, 0))}
    assert line.frontier.wanted(("b", (0, 0, 0))) is None
    line.frontier.forget_issued()
    assert drain(line.frontier) == []
    line.frontier.apply(landed((0, 0, 0), "2"))
    tasks = drain(line.frontier)
    assert places(tasks) == [("a", 0), ("a", 1)]
    assert line.frontier.failed == set()


def test_forgetting_sends_again_what_is_under_way_and_nothing_else(line: Run) -> None:
    line.frontier.apply(landed((0, 0, 3), "2"))
    tasks = drain(line.frontier)
    assert places(tasks) == [("a", 2), ("a", 3)]
    line.frontier.apply(done(tasks[0]))
    drain(line.frontier)
    line.frontier.forget_issued()
    again = drain(line.frontier)
    assert [t for t in again if t.stage == "a"] == [tasks[1]]
    assert [t.subject for t in again if t.stage == "b"] == [(0, 0, 2)]


def test_a_folded_stage_waits_for_its_fold_and_follows_it() -> None:
    known: dict[str, bytes] = {}
    folded = stage("a", reads(RAW), folded=True)
    frontier = Frontier([folded], Grid((1, 1, 1), (1, 1, 1)), lambda name, _: known.get(name))
    place = ("a", (0, 0, 0))
    frontier.apply(landed(place[1]))
    assert drain(frontier) == []
    known["a"] = b"1"
    frontier.touch(place)
    (task,) = drain(frontier)
    assert task.extra == b"1"
    frontier.apply(done(task))
    frontier.touch(place)
    assert drain(frontier) == []
    known["a"] = b"2"
    frontier.touch(place)
    (other,) = drain(frontier)
    assert other.extra == b"2"
    assert other.key != task.key


def test_what_lies_outside_the_grid_is_never_wanted(line: Run) -> None:
    line.frontier.apply(landed((0, 0, 9)))
    line.frontier.touch(("b", (5, 0, 0)))
    assert drain(line.frontier) == []

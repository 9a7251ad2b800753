"""A planner and its fold: summaries go in, object changes come out."""

import pytest

from fibstream.bus import wire
from fibstream.core.events import ObjectChanged, Record
from fibstream.core.fold import NoFold
from fibstream.core.grid import Grid, Index
from fibstream.core.stage import Arrays, Input
from fibstream.runtime.loops import drive
from fibstream.runtime.planner import Planner

from .line import (
    FIRST,
    LAST,
    MIDDLE,
    STAGE,
    SUMMARY,
    Finished,
    Line,
    settle,
    turn,
)


class Sums(NoFold):
    """The sums of all chunks."""

    inputs: tuple[Input, ...] = (Input(STAGE, SUMMARY),)

    def __init__(self) -> None:
        self.sums: dict[Index, int] = {}
        self.count = 0
        self.sealed = False
        self._changes: list[ObjectChanged] = []

    def put(self, source: Input, index: Index, content: str, summary: Arrays) -> None:
        self.sums[index] = int(summary["sum"][0])
        self._changes.append(ObjectChanged("mito", "opened", index[0] + 1, 1))

    def landed(self, count: int) -> None:
        self.count = count

    def seal(self, grid: Grid) -> None:
        self.sealed = grid.sealed

    def changes(self) -> list[ObjectChanged]:
        changes, self._changes = self._changes, []
        return changes


Summed = tuple[Line, Planner, Sums]


@pytest.fixture
def summed(line: Line) -> Summed:
    fold = Sums()
    planner = line.planner(fold)
    settle(line, planner)
    return line, planner, fold


def test_a_fold_takes_what_happens(summed: Summed) -> None:
    line, _, fold = summed
    assert (len(fold.sums), fold.count, fold.sealed) == (3, 3, True)
    events = [wire.decode(e.value) for e in line.bus.read([wire.OBJECTS], 0)]
    assert sorted(e.id for e in events if isinstance(e, ObjectChanged)) == [1, 2, 3]


def test_a_summary_that_is_not_as_recorded_is_suspected(summed: Summed) -> None:
    line, _, _ = summed
    before = line.content()
    line.flip(line.blobs(MIDDLE)[1])
    fold = Sums()
    planner = line.planner(fold)
    drive(planner.consume())
    assert line.status() == "suspect"
    assert sorted(fold.sums) == [FIRST, LAST]
    settle(line, planner)
    assert line.content() == before
    assert len(fold.sums) == 3


def test_a_suspect_that_nobody_reads_is_made_again_by_its_owner(
    finished: Finished,
) -> None:
    """C8: damage below an intact stamp; the worker reads the content, so the loop ends."""
    line, planner = finished
    before = line.content()
    line.flip(line.blobs(MIDDLE)[0])
    settle(line, planner)
    assert line.content() != before  # stamps do not show it
    line.site.publish(Record(STAGE, MIDDLE, "suspect"))
    turn(planner)
    (task,) = line.queue()
    assert drive(line.worker().handle(task)) == "computed"
    settle(line, planner)
    assert line.content() == before

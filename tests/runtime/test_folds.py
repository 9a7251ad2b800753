"""A planner and its fold: summaries go in, object changes and results come out."""

from collections.abc import Iterator

import pytest

from fibstream.bus import wire
from fibstream.core.events import ORIGIN, ObjectChanged, Record
from fibstream.core.fold import NoFold, Result
from fibstream.core.grid import Grid, Index
from fibstream.core.stage import Arrays, Input
from fibstream.runtime.loops import drive
from fibstream.runtime.planner import Planner
from fibstream.store.store import Blob

from .line import (
    CHUNKS,
    FIRST,
    GRID,
    LAST,
    MIDDLE,
    STAGE,
    SUMMARY,
    Finished,
    Line,
    settle,
    turn,
    volume,
)

TABLE = Blob("tables/sums.csv", ORIGIN)


class Sums(NoFold):
    """One table of all sums, due when nothing is left to do."""

    inputs: tuple[Input, ...] = (Input(STAGE, SUMMARY),)

    def __init__(self) -> None:
        self.sums: dict[Index, int] = {}
        self.writes = self.count = 0
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

    def results(self, *, idle: bool) -> Iterator[Result]:
        if idle and self.sums:
            body = ",".join(str(n) for _, n in sorted(self.sums.items())).encode()
            yield Result("tables/sums", body.decode(), (TABLE.path,), lambda: self.make(body))

    def make(self, body: bytes) -> dict[str, bytes]:
        self.writes += 1
        return {TABLE.path: body}


Summed = tuple[Line, Planner, Sums]


@pytest.fixture
def summed(line: Line) -> Summed:
    fold = Sums()
    planner = line.planner(fold)
    settle(line, planner)
    return line, planner, fold


def expected(line: Line) -> bytes:
    return ",".join(str(line.raw[GRID.box(i).slices()].sum()) for i in CHUNKS).encode()


def body(line: Line) -> bytes:
    return line.content()[TABLE.path].partition(b'{"hash')[0]


def test_a_fold_takes_what_happens(summed: Summed) -> None:
    line, _, fold = summed
    assert (len(fold.sums), fold.count, fold.sealed) == (3, 3, True)
    events = [wire.decode(e.value) for e in line.bus.read([wire.OBJECTS], 0)]
    assert sorted(e.id for e in events if isinstance(e, ObjectChanged)) == [1, 2, 3]


def test_results_are_written_once(summed: Summed) -> None:
    line, planner, fold = summed
    assert fold.writes == 1
    assert body(line) == expected(line)
    generation = line.site.store.stamp_and_generation(TABLE)[1]
    settle(line, planner)
    other = Sums()
    settle(line, line.planner(other))
    assert (fold.writes, other.writes) == (1, 0)
    assert line.site.store.stamp_and_generation(TABLE)[1] == generation


def test_results_follow_what_they_are_made_of(summed: Summed) -> None:
    line, planner, fold = summed
    line.raw[4:8] = volume(1)[4:8]
    line.land(MIDDLE)
    settle(line, planner)
    assert fold.writes == 2
    assert body(line) == expected(line)


def test_results_whose_record_is_lost_are_not_written_again(
    summed: Summed,
) -> None:
    line, _, _ = summed
    generation = line.site.store.stamp_and_generation(TABLE)[1]
    line.bus.clear([wire.ledger_topic("tables")])
    settle(line, line.planner(Sums()))
    assert line.site.store.stamp_and_generation(TABLE)[1] == generation
    assert line.status(ORIGIN, "tables/sums") == "ready"


@pytest.mark.parametrize("restarted", [False, True])
def test_a_lost_result_is_found(summed: Summed, restarted: bool) -> None:
    line, planner, _ = summed
    before = line.content()
    line.files.delete(TABLE.path)
    planner = line.planner(Sums()) if restarted else planner
    settle(line, planner)
    assert line.content() == before


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

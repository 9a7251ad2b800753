"""The planner: what it asks for, when again, and how it finds what no record says."""

import numpy as np
import pytest

from fibstream.bus import wire
from fibstream.core.errors import Poison
from fibstream.core.events import MAX_EVENT, ORIGIN, ObjectChanged, Record
from fibstream.core.fold import NoFold, Result
from fibstream.core.keys import ABSENT
from fibstream.core.stage import Input
from fibstream.runtime.loops import drive
from fibstream.runtime.planner import raw_record
from fibstream.store.store import Blob

from .line import (
    CHUNKS,
    GRID,
    OPEN,
    RAW,
    STAGE,
    SUMMARY,
    Line,
    blurred,
    make_stage,
    raw_item,
    turn,
    volume,
)

MIDDLE = (1, 0, 0)
TABLE = Blob("tables/sums.csv", ORIGIN)


@pytest.fixture
def line():
    made = Line()
    made.land()
    return made


@pytest.fixture
def finished(line):
    """A line of which everything is made, and its planner."""
    planner = line.planner()
    settle(line, planner)
    return line, planner


def settle(line, *planners, passes=6):
    """Let planners and workers go on, each turn with a reconcile, until nothing is written."""
    for _ in range(passes):
        before = line.bus.end(wire.LEDGER_TOPICS), line.content()
        for planner in planners:
            turn(planner, reconcile=True)
        done = line.work()
        for planner in planners:
            turn(planner)
        if not done and (line.bus.end(wire.LEDGER_TOPICS), line.content()) == before:
            return
    raise AssertionError("no end")


def status(line, index=MIDDLE, stage=STAGE):
    """Return what the ledger says of one chunk, or None."""
    found = [r.status for r in line.ledger(stage) if r.index == index]
    return found[0] if found else None


def right(line):
    """Whether every output is that of the whole volume as it is stored now."""
    whole = blurred(line.raw)
    return all(np.array_equal(line.made(i), whole[GRID.box(i).slices()]) for i in CHUNKS)


# -- asking ----------------------------------------------------------------------------------------


def test_each_chunk_is_asked_for_once(line):
    planner = line.planner()
    turn(planner)
    line.land()  # retried uploads: announced again, and nothing else
    turn(planner)
    turn(planner)
    assert {t.index: t for t in line.queue()} == line.tasks()
    assert line.bus._next == 6  # three were sent, and three were put back by looking at them


def test_nothing_is_asked_for_before_its_neighbours_are_there():
    line = Line()
    planner = line.planner()
    for index, ready in (((2, 0, 0), []), ((0, 0, 0), []), (MIDDLE, CHUNKS)):
        line.land(index)
        turn(planner)
        assert sorted(t.index for t in line.queue()) == ready


def test_a_finished_run_leaves_nothing_to_do(finished):
    line, planner = finished
    assert planner.idle and right(line)
    assert (planner.wanted, planner.frontier.recorded, planner.backlog) == (3, 3, 0)
    again = line.planner()
    settle(line, again)
    assert again.idle
    assert again.frontier.recorded == 3
    assert line.work() == []


def test_a_planner_that_waits_for_its_workers_is_not_idle(line):
    planner = line.planner()
    assert not planner.idle  # the ledger is not read
    turn(planner)
    assert not planner.idle  # tasks are under way
    line.work()
    assert not planner.idle
    turn(planner)
    assert planner.idle


def test_a_planner_killed_at_any_effect_is_replaced_by_another(line):
    for effects in range(8):
        steps = acting(line.planner())
        for _ in range(effects):
            next(steps, None)
        steps.close()
    settle(line, line.planner())
    assert right(line)


def acting(planner):
    yield from planner.consume()
    yield from planner.act()


def test_another_datasets_records_are_none_of_its_business(line):
    other = Line()
    other.bus = line.bus
    planner = line.planner()
    key = wire.record_key("dd", RAW, MIDDLE)
    event = Record(RAW, MIDDLE, "ready", "9", {RAW: "other"})
    line.bus.publish(wire.ledger_topic(RAW), key, wire.encode(event))
    turn(planner)
    assert planner.frontier.records[RAW, MIDDLE].hashes != {RAW: "other"}


def test_a_lost_task_is_sent_again_at_the_next_reconcile(line):
    planner = line.planner()
    turn(planner)
    line.bus.forget()
    turn(planner)
    assert line.queue() == []
    turn(planner, reconcile=True)
    assert sorted(t.index for t in line.queue()) == CHUNKS


def test_a_dropped_task_is_sent_again_at_once(line):
    planner = line.planner()
    turn(planner)
    line.bus.forget()
    line.site.publish(Record(STAGE, MIDDLE, "dropped"))
    turn(planner)
    assert [t.index for t in line.queue()] == [MIDDLE]


def test_the_end_of_an_open_volume_is_asked_for_once_it_is_sealed():
    line = Line(OPEN)
    line.land()
    planner = line.planner()
    settle(line, planner)
    assert (planner.landed_z, planner.wanted) == (3, 3)
    assert status(line, (2, 0, 0)) is None
    line.seal()
    settle(line, planner)
    assert status(line, (2, 0, 0)) == "ready"
    assert planner.site.store.grid == GRID
    assert right(line)


def test_a_task_too_large_for_an_event_has_failed():
    class Wordy(NoFold):
        def extra(self, stage, index):
            return bytes(MAX_EVENT) if index == MIDDLE else b""

    line = Line(stage=make_stage(folded=True))
    line.land()
    planner = line.planner(Wordy())
    settle(line, planner)
    (record,) = [r for r in line.ledger(STAGE) if r.index == MIDDLE]
    assert record.status == "failed"
    assert str(MAX_EVENT) in record.reason
    assert planner.frontier.failed == {(STAGE, MIDDLE)}
    assert planner.idle


# -- finding ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [0, 1])
def test_a_lost_object_is_found_by_looking_and_made_again(finished, which):
    line, planner = finished
    before = line.content()
    line.files.delete(line.items(MIDDLE)[which].path)
    turn(planner)
    assert line.queue() == []  # nobody told
    turn(planner, reconcile=True)
    assert [t.index for t in line.queue()] == [MIDDLE]
    settle(line, planner)
    assert line.content() == before


def test_an_object_of_another_key_is_found_by_looking(finished):
    """C1: a stale writer's put came last, and its record did not."""
    line, planner = finished
    before = line.content()
    line.land(raw=volume(1))
    (stale,) = [t for t in line.tasks().values() if t.index == MIDDLE]
    steps = line.worker().handle(stale)
    for _ in range(4):
        next(steps)  # it puts both objects and falls asleep
    steps.close()
    line.land()
    assert line.content() != before
    settle(line, planner)
    after = line.content()
    assert {p: d for p, d in after.items() if not p.startswith("raw")} == {
        p: d for p, d in before.items() if not p.startswith("raw")
    }


def test_what_a_record_on_its_way_explains_is_not_doubted(finished):
    line, planner = finished
    line.land(raw=volume(1))
    for task in line.tasks().values():
        assert line.handle(task) == "computed"
    before = line.bus.end(wire.LEDGER_TOPICS)
    drive(planner.reconcile())  # it has not read those records yet, and reads them in between
    assert line.bus.end(wire.LEDGER_TOPICS) == before
    assert planner.frontier.records[STAGE, MIDDLE].status == "ready"


def test_lost_records_of_outputs_cost_no_computation(finished):
    line, _ = finished
    before = line.content()
    line.bus.clear([wire.ledger_topic(STAGE)])
    planner = line.planner(stages=[line.stage])
    turn(planner)
    assert line.work() == ["reused"] * 3
    settle(line, planner)
    assert line.content() == before
    assert [status(line, i) for i in CHUNKS] == ["ready"] * 3


def test_lost_records_of_inputs_are_asked_for_and_said_again(line):
    line.bus.clear([wire.ledger_topic(RAW)])
    line.site.publish(raw_record(line.site.store.stamp(raw_item((0, 0, 0)))))
    planner, ingest = line.planner(), line.ingest()
    turn(planner, reconcile=True)
    assert [status(line, i, RAW) for i in CHUNKS] == ["ready", "suspect", "suspect"]
    settle(line, ingest, planner)
    assert [status(line, i, RAW) for i in CHUNKS] == ["ready"] * 3
    assert right(line)


def test_what_never_landed_is_not_asked_for():
    line = Line()
    line.land(MIDDLE)
    turn(line.planner(), reconcile=True)
    assert [(r.index, r.status) for r in line.ledger()] == [(MIDDLE, "ready")]


# -- raw -------------------------------------------------------------------------------------------


def test_raw_that_nobody_announced_is_announced(line):
    line.bus.clear([wire.ledger_topic(RAW)])
    ingest = line.ingest()
    turn(ingest, reconcile=True)
    assert [(r.index, r.status) for r in line.ledger(RAW)] == [(i, "ready") for i in CHUNKS]
    assert ingest.landed_z == 0  # it reads its own words like anybody's
    turn(ingest)
    assert ingest.landed_z == 3


def test_an_older_record_of_raw_is_corrected_by_what_is_stored(line):
    """C7: the record of an older revision was appended last, and compaction kept it."""
    (old,) = [r for r in line.ledger(RAW) if r.index == MIDDLE]
    line.land(MIDDLE, raw=volume(1))
    (new,) = [r for r in line.ledger(RAW) if r.index == MIDDLE]
    line.site.publish(old)
    ingest = line.ingest()
    turn(ingest, reconcile=True)
    assert [r for r in line.ledger(RAW) if r.index == MIDDLE] == [new]
    assert new.hashes != old.hashes


def test_raw_that_is_doubted_for_nothing_is_announced_as_before(line):
    before = line.ledger(RAW)
    ingest = line.ingest()
    turn(ingest)
    line.site.publish(Record(RAW, MIDDLE, "suspect"))
    assert not ingest.idle
    turn(ingest)
    turn(ingest)
    assert {r.index: r for r in line.ledger(RAW)} == {r.index: r for r in before}
    assert ingest.idle


def test_only_ingest_answers_for_raw(line):
    planner = line.planner()
    turn(planner)
    line.site.publish(Record(RAW, MIDDLE, "suspect"))
    turn(planner, reconcile=True)
    assert status(line, MIDDLE, RAW) == "suspect"


@pytest.mark.parametrize("damage", ["rot", "loss"])
def test_a_damaged_raw_chunk_has_failed_until_it_lands_again(line, damage):
    planner, ingest = line.planner(), line.ingest()
    turn(ingest)
    if damage == "rot":
        line.flip(raw_item(MIDDLE))
    else:
        line.files.delete(raw_item(MIDDLE).path)
    turn(planner)
    assert line.work() == ["dropped"] * 3
    turn(ingest)
    turn(planner)
    (record,) = [r for r in line.ledger(RAW) if r.index == MIDDLE]
    assert record.status == "failed"
    assert "land it again" in record.reason
    assert line.queue() == []
    assert planner.frontier.recorded == 0
    settle(line, ingest, planner)  # looking again and again says nothing new
    assert status(line, MIDDLE, RAW) == "failed"
    line.land(MIDDLE)
    settle(line, ingest, planner)
    assert status(line, MIDDLE, RAW) == "ready"
    assert right(line)


def test_an_absent_chunk_is_followed_like_any_other():
    line = Line()
    line.land((0, 0, 0), (2, 0, 0))
    line.land(MIDDLE, raw=False)
    planner = line.planner()
    settle(line, planner)
    assert planner.idle
    line.raw[4:8] = 0
    assert line.whole(MIDDLE)[0].hash == ABSENT
    assert np.array_equal(line.made((0, 0, 0)), blurred(line.raw)[:4])


# -- failures --------------------------------------------------------------------------------------


def poisoned(block):
    raise Poison("cannot")


def test_a_failed_key_is_not_tried_again_and_another_is(line):
    stage, line.stage = line.stage, make_stage(poisoned)
    planner = line.planner()
    settle(line, planner)
    assert planner.frontier.failed == {(STAGE, i) for i in CHUNKS}
    assert planner.idle
    line.stage = stage  # healthy again, but nobody asks
    settle(line, planner, line.planner())
    assert status(line) == "failed"
    line.raw = volume(1)
    line.land()
    settle(line, planner)
    assert planner.frontier.failed == set()
    assert right(line)


def test_a_failure_is_beaten_by_a_stamp_that_carries_the_key(finished):
    line, planner = finished
    key = line.tasks()[MIDDLE].key
    line.site.publish(Record(STAGE, MIDDLE, "failed", key, reason="another worker's crash"))
    turn(planner)
    assert planner.frontier.failed == {(STAGE, MIDDLE)}
    turn(planner, reconcile=True)
    assert line.work() == ["reused"]
    turn(planner)
    assert planner.frontier.failed == set()
    assert status(line) == "ready"


# -- folds and results -----------------------------------------------------------------------------


class Sums(NoFold):
    """One table of all sums, due when nothing is left to do."""

    inputs = (Input(STAGE, SUMMARY),)

    def __init__(self):
        self.sums, self.made, self.sealed, self.count, self.said = {}, 0, False, 0, []

    def put(self, source, index, content, summary):
        self.sums[index] = int(summary["sum"][0])
        self.said.append(ObjectChanged("mito", "opened", index[0] + 1, 1))

    def landed(self, count):
        self.count = count

    def seal(self, grid):
        self.sealed = grid.sealed

    def changes(self):
        said, self.said = self.said, []
        return said

    def results(self, *, idle):
        if idle and self.sums:
            body = ",".join(str(n) for _, n in sorted(self.sums.items())).encode()
            yield Result("tables/sums", body.decode(), (TABLE.path,), lambda: self.make(body))

    def make(self, body):
        self.made += 1
        return {TABLE.path: body}


@pytest.fixture
def summed(line):
    fold = Sums()
    planner = line.planner(fold)
    settle(line, planner)
    return line, planner, fold


def expected(line):
    return ",".join(str(line.raw[GRID.box(i).slices()].sum()) for i in CHUNKS).encode()


def body(line):
    return line.content()[TABLE.path].partition(b'{"hash')[0]


def test_a_fold_is_told_what_happens(summed):
    line, _, fold = summed
    assert (len(fold.sums), fold.count, fold.sealed) == (3, 3, True)
    events = [wire.decode(e.value) for e in line.bus.read([wire.OBJECTS], 0)]
    assert sorted(e.id for e in events) == [1, 2, 3]


def test_results_are_written_once(summed):
    line, planner, fold = summed
    assert fold.made == 1
    assert body(line) == expected(line)
    generation = line.site.store.stamp_and_generation(TABLE)[1]
    settle(line, planner)
    other = Sums()
    settle(line, line.planner(other))
    assert (fold.made, other.made) == (1, 0)
    assert line.site.store.stamp_and_generation(TABLE)[1] == generation


def test_results_follow_what_they_are_made_of(summed):
    line, planner, fold = summed
    line.raw[4:8] = volume(1)[4:8]
    line.land(MIDDLE)
    settle(line, planner)
    assert fold.made == 2
    assert body(line) == expected(line)


def test_results_whose_record_is_lost_are_not_written_again(summed):
    line, _, _ = summed
    generation = line.site.store.stamp_and_generation(TABLE)[1]
    line.bus.clear([wire.ledger_topic("tables")])
    settle(line, line.planner(Sums()))
    assert line.site.store.stamp_and_generation(TABLE)[1] == generation
    assert status(line, ORIGIN, "tables/sums") == "ready"


@pytest.mark.parametrize("restarted", [False, True])
def test_a_lost_result_is_found_by_looking(summed, restarted):
    line, planner, _ = summed
    before = line.content()
    line.files.delete(TABLE.path)
    planner = line.planner(Sums()) if restarted else planner
    settle(line, planner)
    assert line.content() == before


def test_a_summary_that_is_not_as_its_record_says_is_doubted(summed):
    line, _, _ = summed
    before = line.content()
    line.flip(line.items(MIDDLE)[1])
    fold = Sums()
    planner = line.planner(fold)
    drive(planner.consume())
    assert status(line) == "suspect"
    assert sorted(fold.sums) == [(0, 0, 0), (2, 0, 0)]
    settle(line, planner)
    assert line.content() == before
    assert len(fold.sums) == 3


def test_a_doubt_of_what_nobody_reads_is_settled_by_its_owner(finished):
    """C8: rot below an intact stamp; the worker looks at content, so no doubt goes in circles."""
    line, planner = finished
    before = line.content()
    line.flip(line.items(MIDDLE)[0])
    settle(line, planner)
    assert line.content() != before  # looking at stamps cannot see it
    line.site.publish(Record(STAGE, MIDDLE, "suspect"))
    turn(planner)
    (task,) = line.queue()
    assert drive(line.worker().handle(task)) == "computed"
    settle(line, planner)
    assert line.content() == before

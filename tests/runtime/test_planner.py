"""The planner: which tasks it sends, and when again."""

from typing import Any

from fibstream.bus import wire
from fibstream.core.errors import Poison
from fibstream.core.events import MAX_EVENT, Record
from fibstream.core.fold import NoFold
from fibstream.core.stage import RAW, Block
from fibstream.core.subject import Subject
from fibstream.runtime.planner import Planner, Steps

from .line import (
    CHUNKS,
    FIRST,
    GRID,
    LAST,
    MIDDLE,
    OPEN,
    STAGE,
    Finished,
    Line,
    cell_of,
    make_stage,
    settle,
    turn,
    volume,
)


def test_each_chunk_gets_one_task(line: Line) -> None:
    planner = line.planner()
    turn(planner)
    line.land()  # retried uploads: announced again, and nothing else
    turn(planner)
    turn(planner)
    assert {t.subject: t for t in line.queue()} == line.tasks()
    line.bus.send("probe", "k", b"")
    # Three were sent, and three put back by `Line.queue`.
    assert [probe.id for probe in line.bus.waiting("probe")] == [7]


def test_no_task_is_sent_before_the_neighbours_have_landed() -> None:
    line = Line()
    planner = line.planner()
    for index, ready in ((LAST, []), (FIRST, []), (MIDDLE, CHUNKS)):
        line.land(index)
        turn(planner)
        assert sorted(cell_of(t.subject) for t in line.queue()) == ready


def test_a_finished_run_leaves_nothing_to_do(finished: Finished) -> None:
    line, planner = finished
    assert planner.idle and line.complete()
    assert (planner.wanted, planner.frontier.recorded, planner.backlog) == (3, 3, 0)
    again = line.planner()
    settle(line, again)
    assert again.idle
    assert again.frontier.recorded == 3
    assert line.work() == []


def test_a_planner_that_waits_for_its_workers_is_not_idle(line: Line) -> None:
    planner = line.planner()
    assert not planner.idle  # the ledger is not read
    turn(planner)
    assert not planner.idle  # tasks are under way
    line.work()
    assert not planner.idle
    turn(planner)
    assert planner.idle


def test_a_planner_killed_at_any_effect_is_replaced_by_another(line: Line) -> None:
    for effects in range(8):
        steps = acting(line.planner())
        for _ in range(effects):
            next(steps, None)
        steps.close()
    settle(line, line.planner())
    assert line.complete()


def acting(planner: Planner) -> Steps:
    yield from planner.consume()
    yield from planner.act()


def test_records_of_another_dataset_are_ignored(line: Line) -> None:
    other = Line()
    other.bus = line.bus
    planner = line.planner()
    key = wire.record_key("dd", RAW, MIDDLE)
    event = Record(RAW, MIDDLE, "ready", "9", {RAW: "other"})
    line.bus.publish(wire.ledger_topic(RAW), key, wire.encode(event))
    turn(planner)
    assert planner.frontier.records[RAW, MIDDLE].hashes != {RAW: "other"}


def test_a_lost_task_is_sent_again_at_the_next_reconcile(line: Line) -> None:
    planner = line.planner()
    turn(planner)
    line.bus.forget()
    turn(planner)
    assert line.queue() == []
    turn(planner, reconcile=True)
    assert sorted(cell_of(t.subject) for t in line.queue()) == CHUNKS


def test_a_dropped_task_is_sent_again_at_once(line: Line) -> None:
    planner = line.planner()
    turn(planner)
    line.bus.forget()
    line.site.publish(Record(STAGE, MIDDLE, "dropped"))
    turn(planner)
    assert [t.subject for t in line.queue()] == [MIDDLE]


def test_the_end_of_an_open_volume_is_made_once_it_is_sealed() -> None:
    line = Line(OPEN)
    line.land()
    planner = line.planner()
    settle(line, planner)
    assert (planner.landed_z, planner.wanted) == (3, 3)
    assert line.status(LAST) is None
    line.seal()
    settle(line, planner)
    assert line.status(LAST) == "ready"
    assert planner.site.store.grid == GRID
    assert line.complete()


def test_a_task_too_large_for_an_event_has_failed() -> None:
    class Large(NoFold):
        def extra(self, stage: str, subject: Subject) -> bytes:
            return bytes(MAX_EVENT) if subject == MIDDLE else b""

    line = Line(stage=make_stage(folded=True))
    line.land()
    planner = line.planner(Large())
    settle(line, planner)
    record = line.record(MIDDLE)
    assert record.status == "failed"
    assert str(MAX_EVENT) in record.reason
    assert planner.frontier.failed == {(STAGE, MIDDLE)}
    assert planner.idle


# -- failures -------------------------------------------------------------------------------------


def poisoned(block: Block) -> dict[str, Any]:
    raise Poison("cannot")


def test_a_failed_key_is_not_tried_again_and_another_is(line: Line) -> None:
    stage, line.stage = line.stage, make_stage(poisoned)
    planner = line.planner()
    settle(line, planner)
    assert planner.frontier.failed == {(STAGE, i) for i in CHUNKS}
    assert planner.idle
    line.stage = stage  # it would succeed, but no task is sent
    settle(line, planner, line.planner())
    assert line.status() == "failed"
    line.raw = volume(1)
    line.land()
    settle(line, planner)
    assert planner.frontier.failed == set()
    assert line.complete()


def test_a_failure_is_beaten_by_a_stamp_that_carries_the_key(
    finished: Finished,
) -> None:
    line, planner = finished
    key = line.tasks()[MIDDLE].key
    line.site.publish(Record(STAGE, MIDDLE, "failed", key, reason="crash of another worker"))
    turn(planner)
    assert planner.frontier.failed == {(STAGE, MIDDLE)}
    turn(planner, reconcile=True)
    assert line.work() == ["reused"]
    turn(planner)
    assert planner.frontier.failed == set()
    assert line.status() == "ready"

"""Reconcile: how a planner finds what no record tells, and what ingest does about raw."""

import numpy as np
import pytest

from fibstream.bus import wire
from fibstream.core.events import Record
from fibstream.core.keys import ABSENT
from fibstream.core.stage import RAW, Input, Output
from fibstream.runtime.loops import drive
from fibstream.runtime.planner import landed_record
from fibstream.services.ingest.edges.landing import land
from fibstream.store.shard import Stamp
from fibstream.store.store import Blob

from .line import (
    CHUNKS,
    FIRST,
    LAST,
    MIDDLE,
    RAW_INPUT,
    STAGE,
    Finished,
    Line,
    blurred,
    raw_blob,
    settle,
    turn,
    volume,
)


@pytest.mark.parametrize("which", [0, 1])
def test_a_lost_blob_is_found_and_made_again(finished: Finished, which: int) -> None:
    line, planner = finished
    before = line.content()
    line.files.delete(line.blobs(MIDDLE)[which].path)
    turn(planner)
    assert line.queue() == []  # the ledger has not changed
    turn(planner, reconcile=True)
    assert [t.subject for t in line.queue()] == [MIDDLE]
    settle(line, planner)
    assert line.content() == before


def test_a_blob_of_another_key_is_found(finished: Finished) -> None:
    """C1: a stale writer's put came last, and its record did not."""
    line, planner = finished
    before = line.content()
    line.land(raw=volume(1))
    (stale,) = [t for t in line.tasks().values() if t.subject == MIDDLE]
    steps = line.worker().handle(stale)
    for _ in range(4):
        next(steps)  # it puts both blobs and stops
    steps.close()
    line.land()
    assert line.content() != before
    settle(line, planner)
    after = line.content()
    assert {p: d for p, d in after.items() if not p.startswith("raw")} == {
        p: d for p, d in before.items() if not p.startswith("raw")
    }


def test_a_difference_that_a_record_on_its_way_explains_is_not_suspected(
    finished: Finished,
) -> None:
    line, planner = finished
    line.land(raw=volume(1))
    for task in line.tasks().values():
        assert line.handle(task) == "computed"
    before = line.bus.end(wire.ledger_topics())
    drive(planner.reconcile())  # it has not read those records yet, and reads them in between
    assert line.bus.end(wire.ledger_topics()) == before
    assert planner.frontier.records[STAGE, MIDDLE].status == "ready"


def test_lost_records_of_outputs_cost_no_computation(finished: Finished) -> None:
    line, _ = finished
    before = line.content()
    line.bus.clear([wire.ledger_topic(STAGE)])
    planner = line.planner()
    turn(planner)
    assert line.work() == ["reused"] * 3
    settle(line, planner)
    assert line.content() == before
    assert [line.status(i) for i in CHUNKS] == ["ready"] * 3


def test_lost_records_of_inputs_are_announced_again(line: Line) -> None:
    line.bus.clear([wire.ledger_topic(RAW)])
    stamp = line.site.store.stamp(raw_blob(FIRST))
    assert stamp is not None
    line.site.publish(landed_record(RAW_INPUT, stamp))
    planner, ingest = line.planner(), line.ingest()
    turn(planner, reconcile=True)
    assert [line.status(i, RAW) for i in CHUNKS] == ["ready", "suspect", "suspect"]
    settle(line, ingest, planner)
    assert [line.status(i, RAW) for i in CHUNKS] == ["ready"] * 3
    assert line.complete()


def test_what_never_landed_is_not_suspected() -> None:
    line = Line()
    line.land(MIDDLE)
    turn(line.planner(), reconcile=True)
    assert [(r.subject, r.status) for r in line.ledger()] == [(MIDDLE, "ready")]


# -- raw ------------------------------------------------------------------------------------------


def test_raw_without_a_record_is_announced(line: Line) -> None:
    line.bus.clear([wire.ledger_topic(RAW)])
    ingest = line.ingest()
    turn(ingest, reconcile=True)
    assert [(r.subject, r.status) for r in line.ledger(RAW)] == [(i, "ready") for i in CHUNKS]
    assert ingest.landed_z == 0  # it has not read its own records
    turn(ingest)
    assert ingest.landed_z == 3


def test_an_older_record_of_raw_is_corrected_by_what_is_stored(line: Line) -> None:
    """C7: the record of an older revision was appended last, and compaction kept it."""
    old = line.record(MIDDLE, RAW)
    line.land(MIDDLE, raw=volume(1))
    new = line.record(MIDDLE, RAW)
    line.site.publish(old)
    ingest = line.ingest()
    turn(ingest, reconcile=True)
    assert line.record(MIDDLE, RAW) == new
    assert new.hashes != old.hashes


def test_intact_raw_that_is_suspected_is_announced_as_before(line: Line) -> None:
    before = line.ledger(RAW)
    ingest = line.ingest()
    turn(ingest)
    line.site.publish(Record(RAW, MIDDLE, "suspect"))
    assert not ingest.idle
    turn(ingest)
    turn(ingest)
    assert {r.subject: r for r in line.ledger(RAW)} == {r.subject: r for r in before}
    assert ingest.idle


def test_only_ingest_announces_raw(line: Line) -> None:
    planner = line.planner()
    turn(planner)
    line.site.publish(Record(RAW, MIDDLE, "suspect"))
    turn(planner, reconcile=True)
    assert line.status(MIDDLE, RAW) == "suspect"


@pytest.mark.parametrize("damage", ["rot", "loss"])
def test_a_damaged_raw_chunk_has_failed_until_it_lands_again(line: Line, damage: str) -> None:
    planner, ingest = line.planner(), line.ingest()
    turn(ingest)
    if damage == "rot":
        line.flip(raw_blob(MIDDLE))
    else:
        line.files.delete(raw_blob(MIDDLE).path)
    turn(planner)
    assert line.work() == ["dropped"] * 3
    turn(ingest)
    turn(planner)
    record = line.record(MIDDLE, RAW)
    assert record.status == "failed"
    assert "land it again" in record.reason
    assert line.queue() == []
    assert planner.frontier.recorded == 0
    settle(line, ingest, planner)  # repeated reconciles publish nothing new
    assert line.status(MIDDLE, RAW) == "failed"
    line.land(MIDDLE)
    settle(line, ingest, planner)
    assert line.status(MIDDLE, RAW) == "ready"
    assert line.complete()


def test_an_absent_chunk_is_followed_like_any_other() -> None:
    line = Line()
    line.land(FIRST, LAST)
    line.land(MIDDLE, raw=False)
    planner = line.planner()
    settle(line, planner)
    assert planner.idle
    line.raw[4:8] = 0
    assert line.intact(MIDDLE)[0].hash == ABSENT
    assert np.array_equal(line.output(FIRST), blurred(line.raw)[:4])


# -- a stored prediction --------------------------------------------------------------------------

STORED = Input("stored/er", "predictions/er", "uint8")


def test_a_stored_prediction_is_followed_like_raw_and_beside_it(line: Line) -> None:
    for voxels in (line.raw[:4], line.raw[4:8]):  # the second lands over the first
        steps = land(line.site, FIRST, voxels, "uint8", stage=STORED.stage, name=STORED.name)
        drive(steps)
    record = line.record(FIRST, STORED.stage)
    assert (record.key, set(record.hashes)) == ("2", {STORED.name})
    line.bus.clear([wire.ledger_topic(STORED.stage)])
    ingest = line.ingest(RAW_INPUT, STORED)
    turn(ingest, reconcile=True)
    turn(ingest)
    assert line.ledger(STORED.stage) == [record]
    assert ingest.landed_z == 3  # raw alone counts as landed
    line.files.delete(Blob(STORED.name, FIRST, "uint8").path)
    turn(ingest, reconcile=True)
    turn(ingest)
    assert line.status(FIRST, STORED.stage) == "failed"
    assert line.status(FIRST, RAW) == "ready"


def test_what_a_network_predicted_is_not_announced_as_stored(line: Line) -> None:
    """The array was predicted by an earlier pipeline, and has not landed yet."""
    output, stamp = Output(STORED.name, "uint8"), Stamp("prediction/net", FIRST, "key", "")
    ((blob, data, _),) = line.site.store.encode(output, line.raw[:4], stamp)
    line.files.put(blob.path, data)
    ingest = line.ingest(RAW_INPUT, STORED)
    turn(ingest, reconcile=True)
    line.site.publish(Record(STORED.stage, FIRST, "suspect"))
    turn(ingest)
    turn(ingest)
    assert [r.status for r in line.ledger(STORED.stage)] == ["failed"]

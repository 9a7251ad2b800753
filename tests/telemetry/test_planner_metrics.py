"""Metrics of a planner: freshness, duplicates, non-determinism, reconciles."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import generate_latest

from fibstream.core.dataset import RECORD
from fibstream.core.events import ObjectChanged, Record
from fibstream.core.stage import Block
from fibstream.runtime.host import PlannerHost
from fibstream.runtime.loops import drive
from fibstream.telemetry import metrics as declared
from fibstream.telemetry.metrics import QUEUE, PlannerMetrics
from fibstream.telemetry.prometheus import Prometheus

from ..runtime.line import (
    CHUNKS,
    FIRST,
    LAST,
    MIDDLE,
    STAGE,
    blur,
    make_stage,
    raw_blob,
    turn,
    volume,
)
from ..runtime.serving import SERVICE, SETTINGS, SharedRoot
from .counted import CountedLine


def test_freshness_is_from_the_first_landing_to_the_first_output() -> None:
    line = CountedLine()
    planner = line.planner()
    line.land()
    turn(planner)
    line.clock.seconds += 3
    line.work()
    turn(planner)
    line.clock.seconds += 1000
    line.land(raw=volume(1))  # acquired again: not counted twice
    turn(planner)
    line.work()
    turn(planner)
    assert (line.count(declared.FRESHNESS), line.sum(declared.FRESHNESS)) == (3, 9)


def test_freshness_of_what_landed_before_the_planner_started_is_not_known(
    line: CountedLine,
) -> None:
    planner = line.planner()
    turn(planner)
    line.work()
    turn(planner)
    assert planner.frontier.recorded == 3
    assert line.count(declared.FRESHNESS) == 0


def test_a_freshness_is_there_before_anything_landed(line: CountedLine) -> None:
    """Prometheus has no rate of a series that begins with all that it will ever count."""
    assert line.count(declared.FRESHNESS) is None
    PlannerMetrics(line.prometheus, [f"{STAGE}/er", STAGE])
    assert line.count(declared.FRESHNESS) == 0


def test_what_never_landed_has_no_freshness() -> None:
    line = CountedLine()
    planner = line.planner()
    line.land(MIDDLE, raw=False)
    line.land(FIRST, LAST)
    turn(planner)
    line.work()
    turn(planner)
    assert planner.frontier.recorded == 3
    assert line.count(declared.FRESHNESS) == 2


def test_a_chunk_that_failed_is_not_timed_any_more(line: CountedLine) -> None:
    planner = line.planner()
    line.land(MIDDLE, raw=volume(1))
    metrics = PlannerMetrics(line.prometheus, [STAGE])
    metrics.live = True
    metrics.landed(MIDDLE)
    line.clock.seconds += 5
    metrics.recorded(Record(STAGE, MIDDLE, "failed", "k"), None)
    metrics.recorded(Record(STAGE, MIDDLE, "ready", "k", {"blur": "a"}), None)
    assert line.count(declared.FRESHNESS) == 0
    assert planner.metrics is not metrics


def test_a_task_that_is_sent_again_is_a_duplicate(line: CountedLine) -> None:
    planner = line.planner()
    turn(planner)
    assert line.count(declared.DUPLICATE_TASKS) == 0
    turn(planner, reconcile=True)  # forgets which tasks are under way
    assert line.count(declared.DUPLICATE_TASKS) == 3
    line.work()
    turn(planner)
    line.land(MIDDLE, raw=volume(1))
    turn(planner)
    assert line.count(declared.DUPLICATE_TASKS) == 3  # other keys
    assert line.count(declared.DUPLICATE_RESULTS) == 0


def test_a_task_for_another_reason_is_no_duplicate(line: CountedLine) -> None:
    planner = line.planner()
    turn(planner)
    line.land(raw=volume(1))
    turn(planner)  # other keys, though nothing was recorded under the first
    line.work()
    turn(planner)
    line.site.publish(Record(STAGE, MIDDLE, "suspect"))
    turn(planner)  # the same key, which was recorded in between
    assert [task.subject for task in line.queue()] == [MIDDLE]
    assert line.count(declared.DUPLICATE_TASKS) == 0


def test_raw_that_lands_again_is_no_result(line: CountedLine) -> None:
    planner = line.planner()
    line.land(MIDDLE)
    turn(planner)
    line.land(MIDDLE)
    turn(planner)
    assert line.count(declared.DUPLICATE_RESULTS) == 0


def test_a_result_that_is_recorded_again_is_a_duplicate(line: CountedLine) -> None:
    planner = line.planner()
    turn(planner)
    line.work()
    turn(planner)
    record = line.record(MIDDLE)
    line.site.publish(record)
    turn(planner)
    assert line.count(declared.DUPLICATE_RESULTS) == 1
    line.site.publish(Record(STAGE, MIDDLE, "suspect"))
    turn(planner)
    line.work()
    turn(planner)
    assert line.count(declared.DUPLICATE_RESULTS) == 1  # wanted: its record was taken back
    assert line.count(declared.NONDETERMINISTIC) == 0


@pytest.mark.parametrize("suspected", [False, True])
def test_one_key_with_two_contents_is_an_error(
    line: CountedLine, caplog: pytest.LogCaptureFixture, suspected: bool
) -> None:
    planner = line.planner()
    turn(planner)
    line.work()
    turn(planner)
    record = line.record(MIDDLE)
    if suspected:  # the record that it contradicts is gone from the ledger
        line.site.publish(Record(STAGE, MIDDLE, "suspect"))
        turn(planner)
    line.site.publish(replace(record, hashes={**record.hashes, "blur": "0" * 32}))
    turn(planner)
    assert line.count(declared.NONDETERMINISTIC) == 1
    assert line.count(declared.DUPLICATE_RESULTS) == 0
    (message,) = (r.getMessage() for r in caplog.records if r.levelname == "ERROR")
    assert f"{STAGE} {MIDDLE} is not deterministic" in message and record.key in message


def test_a_kernel_that_is_not_deterministic_is_found_by_its_own_planner_alone(
    line: CountedLine, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)

    def noise(block: Block) -> dict[str, Any]:
        return blur(block) | {"blur": rng.integers(0, 9, block.core.shape).astype(np.uint8)}

    line.stage = make_stage(noise)
    planner, ingest = line.planner(), line.ingest()
    turn(planner)
    line.work()
    turn(planner)
    line.files.delete(line.blobs(MIDDLE)[0].path)
    turn(planner, reconcile=True)
    assert line.work() == ["computed"]
    turn(planner)
    turn(ingest)
    assert line.count(declared.NONDETERMINISTIC) == 1
    assert line.count(declared.RECONCILES, found="differences") == 1
    assert len(caplog.records) == 1


def test_other_keys_have_other_contents(line: CountedLine) -> None:
    planner = line.planner()
    for seed in (1, 2, 1):
        line.land(raw=volume(seed))
        turn(planner)
        line.work()
        turn(planner)
    assert line.outcomes()["computed"] == 9
    assert line.count(declared.NONDETERMINISTIC) == line.count(declared.DUPLICATE_RESULTS) == 0


def test_a_reconcile_counts_whether_it_found_something_and_its_time(line: CountedLine) -> None:
    planner = line.planner()
    turn(planner)
    line.work()
    turn(planner)
    line.files.delete(line.blobs(MIDDLE)[0].path)
    steps = planner.reconcile()
    next(steps)
    line.clock.seconds += 6
    drive(steps)
    assert line.count(declared.RECONCILES, found="differences") == 1
    assert line.count(declared.SUSPECTS) == 1
    seconds = declared.RECONCILE_SECONDS
    assert line.value(seconds, "_sum", service="blur") == 6


def test_a_damaged_raw_chunk_is_one_difference_and_no_more(line: CountedLine) -> None:
    ingest = line.ingest()
    turn(ingest, reconcile=True)
    line.files.delete(raw_blob(MIDDLE).path)
    for _ in range(3):
        turn(ingest, reconcile=True)
    assert line.count(declared.RECONCILES, found="nothing") == 3
    assert line.count(declared.RECONCILES, found="differences") == 1


def test_gauges_of_two_planners_add_up_until_one_is_closed(line: CountedLine) -> None:
    first, second = line.planner(), line.planner()
    first.update_gauges()
    second.update_gauges()
    assert line.count(declared.LEDGER_LAG) == 2 * len(CHUNKS)
    second.metrics.object_changed(ObjectChanged("mito", "opened", 1, 1))
    second.metrics.close()
    assert line.count(declared.LEDGER_LAG) == len(CHUNKS)
    assert line.count(declared.OPEN_OBJECTS, organelle="mito") == 0


def test_a_root_without_datasets_has_no_tasks_and_one_that_cannot_be_read_has_no_number(
    tmp_path: Path,
) -> None:
    """No number is not "no task": an autoscaler keeps some workers then, and none at 0."""
    found = []
    for name in ("empty", "damaged"):
        (tmp_path / name).mkdir()
        telemetry = Prometheus(SERVICE.name, "1.0")
        with closing(SharedRoot(str(tmp_path / name))) as root:
            if name == "damaged":
                root.make("cell")
                root.files("cell").put(RECORD, b"no record")
                root.enter("cell")
            with closing(PlannerHost(SERVICE, root, SETTINGS, telemetry)) as host:
                host.turn()
                page = generate_latest(telemetry.registry).decode()
        found.append([line for line in page.splitlines() if line.startswith(QUEUE.name)])
    assert found == [['fibstream_queue_tasks{service="inference"} 0.0'], []]

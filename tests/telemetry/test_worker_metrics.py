"""Metrics of a worker: outcomes, times of steps, suspects."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

from fibstream.core.errors import Poison
from fibstream.core.stage import Block
from fibstream.runtime.worker import Outcome
from fibstream.telemetry import metrics as declared

from ..runtime.line import FIRST, MIDDLE, blur, make_stage, raw_blob, turn, volume
from .counted import CountedLine


def test_outcomes_start_at_zero_before_the_first_task(line: CountedLine) -> None:
    line.worker()
    assert [line.count(declared.TASKS, outcome=o) for o in get_args(Outcome)] == [0, 0, 0, 0]


def test_every_outcome_is_counted_once(line: CountedLine) -> None:
    tasks = line.tasks()
    for task in tasks.values():
        line.handle(task)
    assert line.outcomes() == {"computed": 3}
    line.handle(tasks[MIDDLE])
    assert line.outcomes() == {"computed": 3, "reused": 1}
    line.handle(replace(tasks[MIDDLE], key="f" * 32))
    line.land(MIDDLE, raw=volume(1))
    line.handle(tasks[MIDDLE])
    assert line.outcomes() == {"computed": 3, "reused": 1, "dropped": 1} | {"reused": 2}
    line.handle(tasks[FIRST])
    assert line.outcomes() == {"computed": 3, "reused": 3, "dropped": 1}


def test_a_task_that_fails_is_counted_as_that(line: CountedLine) -> None:
    def fail(block: Block) -> dict[str, Any]:
        raise Poison("NaN")

    line.handle(line.tasks()[MIDDLE], make_stage(fail))
    assert line.outcomes() == {"failed": 1}
    assert line.count(declared.TASK_SECONDS, step="read") == 1
    assert line.count(declared.TASK_SECONDS, step="compute") is None


def test_each_step_is_timed_once_in_a_task(line: CountedLine) -> None:
    def slow(block: Block) -> dict[str, Any]:
        line.clock.seconds += 2
        return blur(block)

    def slower(seconds: float, function: Callable[..., Any]) -> Any:
        def call(*arguments: Any) -> Any:
            line.clock.seconds += seconds
            return function(*arguments)

        return call

    task = line.tasks()[MIDDLE]
    line.files.open = slower(0.25, line.files.open)  # type: ignore[method-assign]
    line.files.put = slower(4, line.files.put)  # type: ignore[method-assign]
    line.bus.publish = slower(16, line.bus.publish)  # type: ignore[method-assign]
    line.handle(task, make_stage(slow))
    took = {s: line.sum(declared.TASK_SECONDS, step=s) for s in ("compute", "write", "publish")}
    assert took == {"compute": 2, "write": 8, "publish": 16}  # two blobs are put
    opened = line.sum(declared.TASK_SECONDS, step="read") / 0.25
    assert opened == int(opened) >= 4  # its own two blobs and three inputs
    for step in ("read", "compute", "write", "publish"):
        assert line.count(declared.TASK_SECONDS, step=step) == 1
    line.handle(task, make_stage(slow))  # reused: it reads and publishes
    counts = {s: line.count(declared.TASK_SECONDS, step=s) for s in declared.STEP.values}
    assert counts == {"queue": None, "read": 2, "compute": 1, "write": 1, "publish": 2}


def test_a_lost_input_is_a_suspect_of_its_own_stage(line: CountedLine) -> None:
    task = line.tasks()[MIDDLE]
    line.files.delete(raw_blob(MIDDLE).path)
    line.handle(task)
    assert line.outcomes() == {"dropped": 1}
    assert line.count(declared.SUSPECTS, stage="raw") == 1
    assert line.count(declared.SUSPECTS, stage="prediction") is None


def test_the_last_record_has_its_time(line: CountedLine) -> None:
    assert line.count(declared.LAST_COMMIT) is None
    line.handle(line.tasks()[MIDDLE])
    line.clock.seconds += 50
    assert line.count(declared.LAST_COMMIT) == 1e9 + 100


def test_a_whole_run_gives_exact_counts() -> None:
    line = CountedLine()
    planner = line.planner()
    line.land()
    turn(planner)
    planner.update_gauges()
    assert line.count(declared.QUEUE) == 3
    assert line.work() == ["computed"] * 3
    planner.update_gauges()
    assert (line.count(declared.QUEUE), line.count(declared.LEDGER_LAG)) == (0, 3)
    line.clock.seconds += 7
    turn(planner, reconcile=True)
    planner.update_gauges()
    assert line.count(declared.LEDGER_LAG) == 0
    assert line.outcomes() == {"computed": 3}
    assert line.count(declared.FRESHNESS) == 3
    assert line.sum(declared.FRESHNESS) == 21
    assert line.count(declared.RECONCILES, found="nothing") == 1
    assert line.count(declared.RECONCILES, found="differences") == 0
    assert line.count(declared.DUPLICATE_TASKS) == line.count(declared.DUPLICATE_RESULTS) == 0
    assert line.count(declared.NONDETERMINISTIC) == 0
    assert planner.idle

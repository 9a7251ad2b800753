"""Metrics of objects: how many are open, and how long they take to be final."""

import pytest

from fibstream.core.events import Change, ObjectChanged
from fibstream.core.fold import NoFold
from fibstream.telemetry import metrics as declared
from fibstream.telemetry.metrics import PlannerMetrics

from ..runtime.line import turn
from .counted import CountedLine


@pytest.fixture
def metrics(line: CountedLine) -> PlannerMetrics:
    metrics = PlannerMetrics(line.prometheus, [])
    metrics.live = True
    return metrics


def report(metrics: PlannerMetrics, *kinds: Change, id_: int = 7, organelle: str = "mito") -> None:
    for kind in kinds:
        into = 1 if kind == "merged_into" else None
        metrics.object_changed(ObjectChanged(organelle, kind, id_, 5, into))


def finality(line: CountedLine) -> list[float | None]:
    return [line.value(declared.FINALITY, s, organelle="mito") for s in ("_count", "_sum")]


@pytest.mark.parametrize("end", ["closed", "final"])
def test_finality_is_from_open_to_closed(
    line: CountedLine, metrics: PlannerMetrics, end: Change
) -> None:
    report(metrics, "opened", "grown")
    line.clock.seconds += 8
    report(metrics, "grown")
    assert line.count(declared.OPEN_OBJECTS, organelle="mito") == 1
    line.clock.seconds += 2
    report(metrics, end, "final")
    assert line.count(declared.OPEN_OBJECTS, organelle="mito") == 0
    assert finality(line) == [1, 10]


@pytest.mark.parametrize("end", ["merged_into", "withdrawn"])
def test_an_object_that_is_gone_is_not_final(
    line: CountedLine, metrics: PlannerMetrics, end: Change
) -> None:
    report(metrics, "opened", end)
    assert line.count(declared.OPEN_OBJECTS, organelle="mito") == 0
    assert finality(line) == [None, None]


def test_an_object_that_was_never_open_counts_nowhere(
    line: CountedLine, metrics: PlannerMetrics
) -> None:
    report(metrics, "closed", "final", "withdrawn")
    assert line.count(declared.OPEN_OBJECTS, organelle="mito") is None
    assert finality(line) == [None, None]


def test_an_object_that_opens_again_is_timed_again(
    line: CountedLine, metrics: PlannerMetrics
) -> None:
    report(metrics, "opened", "closed", "opened")
    line.clock.seconds += 4
    report(metrics, "closed")
    assert finality(line) == [2, 4]


def test_an_object_that_was_open_before_is_counted_and_not_timed(
    line: CountedLine, metrics: PlannerMetrics
) -> None:
    metrics.live = False
    report(metrics, "opened")
    metrics.live = True
    report(metrics, "opened", id_=8)
    assert line.count(declared.OPEN_OBJECTS, organelle="mito") == 2
    report(metrics, "grown", "closed")
    assert line.count(declared.OPEN_OBJECTS, organelle="mito") == 1
    assert finality(line) == [None, None]


def test_organelles_are_counted_apart(line: CountedLine, metrics: PlannerMetrics) -> None:
    report(metrics, "opened")
    report(metrics, "opened", organelle="er")
    report(metrics, "opened", id_=8)
    assert line.count(declared.OPEN_OBJECTS, organelle="mito") == 2
    assert line.count(declared.OPEN_OBJECTS, organelle="er") == 1


def test_changes_of_a_fold_are_counted(line: CountedLine) -> None:
    class Changes(NoFold):
        def changes(self) -> list[ObjectChanged]:
            return [ObjectChanged("mito", "opened", n, 1) for n in (1, 2)]

    turn(line.planner(Changes()))
    assert line.count(declared.OPEN_OBJECTS, organelle="mito") == 2

"""The declarations of metrics: names and labels as Prometheus wants them, and bounded."""

from typing import get_args

import grpc
import pytest

from fibstream.runtime.worker import Outcome
from fibstream.services.ingest.edges.landing import LandingOutcome
from fibstream.telemetry import metrics as declared
from fibstream.telemetry.metrics import MAX_LABEL_VALUES, METRICS, Metric


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_rules_of_prometheus(metric: Metric) -> None:
    total = "_total" if metric.kind == "counter" else ""
    assert metric.name.startswith("fibstream_")
    assert metric.name.endswith(f"_{metric.unit}{total}")
    assert metric.name == metric.name.lower()
    scaled = ("milli", "micro", "_ms", "_us", "minutes", "hours", "mega", "kilo", "percent", "_mb")
    assert not any(word in metric.name for word in scaled)  # base units
    assert (metric.unit == "seconds") == (metric.kind == "histogram" or "stamp" in metric.name)
    assert (metric.unit == "info") == metric.name.endswith("_info")
    assert metric.help.endswith(".")


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_labels_are_bounded(metric: Metric) -> None:
    names = [label.name for label in metric.labels]
    assert len(set(names)) == len(names)
    for label in metric.labels:
        assert bool(label.values) != bool(label.source), label  # a list, or where it comes from
        assert label.name not in {"chunk", "index", "object", "id", "dataset", "key", "le"}
        assert len(set(label.values)) == len(label.values) <= MAX_LABEL_VALUES
    assert names[:1] != ["service"] or metric.labels[0] is declared.SERVICE


def test_names_are_unique() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize(
    "metric", [m for m in METRICS if m.kind == "histogram"], ids=lambda m: m.name
)
def test_buckets_reach_from_five_milliseconds_to_ten_minutes(metric: Metric) -> None:
    assert metric.buckets[0] <= 0.005 and metric.buckets[-1] >= 600
    assert list(metric.buckets) == sorted(set(metric.buckets))
    steps = [b / a for a, b in zip(metric.buckets, metric.buckets[1:], strict=False)]
    assert max(steps) <= 7  # a quantile is not better than its bucket is narrow


def test_label_values_are_those_of_the_code() -> None:
    assert declared.OUTCOME.values == get_args(Outcome)
    assert declared.LANDING.values == (*get_args(LandingOutcome), "refused")
    assert declared.CODE.values == tuple(code.name for code in grpc.StatusCode)

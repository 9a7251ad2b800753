"""docs/operating.md documents exactly the metrics, labels, ports and limits of the code."""

import re

import yaml

from fibstream import registry
from fibstream.telemetry.metrics import MAX_LABEL_VALUES, METRICS, OTHER
from fibstream.telemetry.prometheus import REQUESTS

from .test_docs import PAGES, quoted, rows, text

PAGE = "docs/operating.md"
SUFFIXES = ("_bucket", "_sum", "_count")
SERIES = {metric.name for metric in METRICS} | {
    metric.name + suffix for metric in METRICS if metric.kind == "histogram" for suffix in SUFFIXES
}


def test_every_metric_is_documented_with_its_labels_and_meaning() -> None:
    documented = [(quoted(r[0])[0], r[1], quoted(r[2]), r[3]) for r in rows(PAGE, "metric")]
    actual = [(m.name, m.kind, [label.name for label in m.labels], m.help) for m in METRICS]
    assert documented == actual


def test_every_label_is_documented_with_exactly_its_values() -> None:
    documented = {}
    for cell, values in rows(PAGE, "label"):
        name, *metrics = quoted(cell)
        documented[name, *metrics] = tuple(quoted(values)) or values
    actual = {}
    for metric in METRICS:
        for label in metric.labels:
            homes = {o for m in METRICS for o in m.labels if o.name == label.name}
            place = (label.name, metric.name) if len(homes) > 1 else (label.name,)
            actual[place] = label.values or label.source
    assert documented == actual


def test_every_named_metric_exists() -> None:
    for page in PAGES:
        named = set(re.findall(r"\bfibstream_[a-z0-9_]+", page.read_text()))
        assert named <= SERIES, page


def test_every_alert_is_documented_with_what_to_do() -> None:
    rules = yaml.safe_load(text("deploy/k8s/components/monitoring/rules.yaml"))["spec"]["groups"]
    alerts = [rule["alert"] for group in rules for rule in group["rules"] if "alert" in rule]
    assert [quoted(row[0]) for row in rows(PAGE, "alert")] == [[name] for name in alerts]
    assert "Never alarm on `fibstream_suspect_chunks_total`" in text(PAGE)


def test_ports_and_limits_are_those_of_the_code() -> None:
    documented = [tuple(row) for row in rows(PAGE, "service")]
    assert documented == [
        (service.name, str(service.port), str(9801 + 100 * n))
        for n, service in enumerate(registry.services())
    ]
    assert f"at most {MAX_LABEL_VALUES} values" in text(PAGE)
    assert f"counts as `{OTHER}`" in text(PAGE)
    assert (REQUESTS, "at most eight requests at a time" in text(PAGE)) == (8, True)

"""Rules, alerts and dashboard: of metrics that exist, and each alert fires on its fault and clears.

Here the fault is a series, and time is that of ``promtool``; ``test_scraped`` has live services.
"""

import json
import math
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from fibstream.telemetry.metrics import METRICS

from .conftest import ROOT, needed

MONITORING = ROOT / "deploy" / "k8s" / "components" / "monitoring"
RULES = yaml.safe_load((MONITORING / "rules.yaml").read_text())["spec"]
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
SUFFIXES = ("_bucket", "_sum", "_count")


def rules(kind: str) -> dict[str, str]:
    """Return name and expression of all ``record`` or ``alert`` rules."""
    found = [rule for group in RULES["groups"] for rule in group["rules"] if kind in rule]
    return {rule[kind]: rule["expr"] for rule in found}


def panels() -> dict[str, str]:
    """Return title and expression of every line of the dashboard, for all namespaces."""
    return {
        f"{panel['title']} {target['refId']}": target["expr"].replace("$namespace", ".*")
        for panel in DASHBOARD["panels"] for target in panel["targets"]
    }  # fmt: skip


def every() -> dict[str, str]:
    return rules("record") | rules("alert") | panels()


def test_every_series_that_is_named_exists() -> None:
    series = {m.name for m in METRICS if m.kind != "histogram"}
    series |= {m.name + s for m in METRICS if m.kind == "histogram" for s in SUFFIXES}
    for name, expression in every().items():
        assert set(re.findall(r"\bfibstream_\w+", expression)) <= series, name
        assert set(re.findall(r"\bfibstream:\w+:\w+", expression)) <= rules("record").keys(), name


def test_labels_have_the_values_that_are_asked_for() -> None:
    labels = {metric.name: {x.name: x for x in metric.labels} for metric in METRICS}
    found = [
        (name, *label)
        for expression in every().values()
        for name, inside in re.findall(r"(fibstream_\w+)\{([^}]*)\}", expression)
        for label in re.findall(r"(\w+)=~?\"([^\"]+)\"", inside)
        if label[0] != "namespace"
    ]
    assert len(found) > 4
    for name, label, values in found:
        if known := labels[name][label].values:
            assert set(values.split("|")) <= set(known), (name, label)


def test_no_alert_is_raised_by_normal_events() -> None:
    alerts = " ".join(rules("alert").values())
    assert "nondeterministic" in alerts
    assert "dead_letters" in alerts
    assert not re.search("suspect|duplicate|dropped", alerts)


def test_every_metric_is_on_the_dashboard_or_in_a_rule() -> None:
    shown = " ".join(every().values())
    quiet = {m.name for m in METRICS if m.name not in shown}
    # What explains a slow run, and is no error.
    assert quiet == {
        "fibstream_suspect_chunks_total", "fibstream_duplicate_tasks_total",
        "fibstream_duplicate_results_total",
    }  # fmt: skip


class Fault(NamedTuple):
    """Series, each with its values as (value at the end, minutes), and when the alert is on."""

    series: dict[str, list[tuple[float, int]]]
    on: int  # minutes
    off: int


ONE = 'namespace="n",service="refine"'
HOUR = 60
GONE = math.nan  # no sample at all
# Forty chunks that waited for more than half an hour, and then thousands that did not.
LATE: dict[str, list[tuple[float, int]]] = {
    "1800": [(0, 5), (0, 40), (4000, 60)],
    "3600": [(0, 5), (40, 40), (4040, 60)],
    "+Inf": [(0, 5), (40, 40), (4040, 60)],
}
FAULTS = {
    "FibstreamProcessDown": Fault(
        {'up{job="n/fibstream",instance="i"}': [(1, 5), (0, 10), (1, 20)]}, 12, 20
    ),
    "FibstreamOutputNotDeterministic": Fault(
        {f"fibstream_nondeterministic_outputs_total{{{ONE}}}": [(0, 5), (1, 90)]}, 8, 75
    ),
    "FibstreamTasksGivenUp": Fault(
        {f'fibstream_dead_letters_total{{{ONE},reason="poison"}}': [(0, 5), (1, 60)]}, 8, 25
    ),
    "FibstreamNoResults": Fault(
        {f"fibstream_queue_tasks{{{ONE}}}": [(0, 5), (9, 30), (0, 20)]}, 20, 40
    ),
    "FibstreamNetworkNotReady": Fault(
        {'fibstream_queue_tasks{namespace="n",service="inference"}': [(0, 5), (9, 30), (0, 20)]},
        20, 40,
    ),
    "FibstreamPlannerBehind": Fault(
        {f"fibstream_ledger_lag_entries{{{ONE}}}": [(0, 5), (5000, 20), (0, 20)]}, 20, 30
    ),
    "FibstreamPlannerGone": Fault(
        {f"fibstream_ledger_lag_entries{{{ONE}}}": [(0, 5), (GONE, 30), (0, 20)]}, 20, 40
    ),
    "FibstreamQueueGrows": Fault(
        {f"fibstream_queue_tasks{{{ONE}}}": [(0, 5), (101, 1), (9000, 100), (0, 20)]}, 80, 110
    ),
    "FibstreamResultsLate": Fault(
        {f'fibstream_freshness_seconds_bucket{{{ONE},stage="labels",le="{le}"}}': values
         for le, values in LATE.items()}, 40, 100,
    ),
    "FibstreamConsumerStalls": Fault(
        {f"fibstream_consumer_stalls_total{{{ONE}}}": [(0, 5), (10, 10), (10, 90)]}, 15, 90
    ),
    "FibstreamStoreAndLedgerDiffer": Fault(
        {f'fibstream_reconciles_total{{{ONE},found="differences"}}': [(0, 5), (10, 10), (10, 90)],
         'fibstream_landed_chunks_total{namespace="n",outcome="written"}': [(7, 110)]}, 20, 90,
    ),
    "FibstreamDatasetLeftAlone": Fault(
        {f"fibstream_quarantined_datasets{{{ONE}}}": [(0, 5), (1, 10), (0, 10)]}, 10, 20
    ),
    "FibstreamStrangersOnBus": Fault(
        {f"fibstream_unreadable_items_total{{{ONE}}}": [(0, 5), (1, 90)]}, 8, 75
    ),
    "FibstreamLandingsRefused": Fault(
        {'fibstream_landed_chunks_total{namespace="n",outcome="refused"}': [(0, 5), (1, 60)]},
        8, 25,
    ),
    "FibstreamCallsFail": Fault(
        {f'fibstream_grpc_requests_total{{{ONE},method="Land",code="INTERNAL"}}': [(1, 60)]}, 3, 20
    ),
    "FibstreamDiskNearlyFull": Fault(
        {f"fibstream_store_free_bytes{{{ONE}}}": [(50, 5), (5, 10), (50, 10)],
         f"fibstream_store_size_bytes{{{ONE}}}": [(100, 30)]}, 10, 20,
    ),
}  # fmt: skip
# The same series, but what happens meanwhile is normal: the alert stays off.
NORMAL = {
    "FibstreamNoResults": {
        f"fibstream_last_commit_timestamp_seconds{{{ONE}}}": "0+60x60",  # promtool begins at 0
    },
    "FibstreamNetworkNotReady": {
        'fibstream_tasks_total{namespace="n",service="inference",stage="p",outcome="computed"}':
            "0+1x60",
    },
    "FibstreamPlannerGone": {  # it is started anew, or moved to another node
        f"fibstream_ledger_lag_entries{{{ONE}}}": "0x14 _x3 0x40",
    },
    "FibstreamStoreAndLedgerDiffer": {
        'fibstream_landed_chunks_total{namespace="n",outcome="written"}': "0+1x110",
    },
}  # fmt: skip


def written(segments: list[tuple[float, int]]) -> str:
    """Return values minute by minute in promtool's notation: to each value in so many minutes.

    Counters and gauges alike jump, but for segments of more than one value, which rise evenly.
    """
    values: list[float] = []
    for value, minutes in segments:
        before = values[-1] if values else value
        even = value > before and value - before >= minutes > 5
        steps = [before + (value - before) * n / minutes for n in range(1, minutes + 1)]
        values += steps if even else [value] * minutes
    return " ".join("_" if math.isnan(value) else f"{value:g}" for value in values)


def case(name: str, at: list[tuple[int, int]], more: dict[str, str]) -> dict[str, Any]:
    """Return a test of one alert: whether it is on at these minutes."""
    series = {key: written(value) for key, value in FAULTS[name].series.items()} | more
    firing = f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)'
    return {
        "interval": "1m",
        "name": name,
        "input_series": [{"series": key, "values": value} for key, value in series.items()],
        "promql_expr_test": [
            {"expr": firing, "eval_time": f"{minute}m",
             "exp_samples": [{"labels": "{}", "value": wanted}]}
            for minute, wanted in at
        ],
    }  # fmt: skip


def promtool(folder: Path, cases: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    """Run cases over the rules."""
    (folder / "rules.yml").write_text(yaml.safe_dump(RULES))
    tests = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": cases}
    (folder / "tests.yml").write_text(yaml.safe_dump(tests))
    command = [needed("promtool"), "test", "rules", "tests.yml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_each_alert_fires_on_its_fault_and_clears(tmp_path: Path) -> None:
    assert FAULTS.keys() == rules("alert").keys()
    cases = [case(name, [(2 if name != "FibstreamCallsFail" else 30, 0), (f.on, 1), (f.off, 0)], {})
             for name, f in FAULTS.items()]  # fmt: skip
    found = promtool(tmp_path, cases)
    assert found.returncode == 0, found.stdout + found.stderr


def test_alerts_stay_off_while_work_goes_on(tmp_path: Path) -> None:
    cases = [case(name, [(FAULTS[name].on, 0)], more) for name, more in NORMAL.items()]
    found = promtool(tmp_path, cases)
    assert found.returncode == 0, found.stdout + found.stderr


def test_tasks_after_a_pause_have_the_ten_minutes_that_the_alert_says(tmp_path: Path) -> None:
    cases = [case("FibstreamNoResults", [(14, 0), (17, 1)], {})]  # they come at five
    found = promtool(tmp_path, cases)
    assert found.returncode == 0, found.stdout + found.stderr


def test_a_large_disk_that_is_nearly_full_is_seen_beside_a_small_one(tmp_path: Path) -> None:
    more = {
        f"fibstream_store_free_bytes{{{ONE}}}": "50x30",  # of 100
        'fibstream_store_free_bytes{namespace="n",service="ingest"}': "60x30",
        'fibstream_store_size_bytes{namespace="n",service="ingest"}': "1000x30",
    }
    found = promtool(tmp_path, [case("FibstreamDiskNearlyFull", [(10, 1)], more)])
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_rules_and_what_they_say_are_valid(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(RULES))
    command = [needed("promtool"), "check", "rules", "--lint-fatal", "rules.yml"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr

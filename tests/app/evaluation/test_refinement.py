"""What refinement changes: predictions and the segmentations made of them belong together."""

from dataclasses import replace
from typing import Any

import pyarrow as pa

from fibstream.app.evaluation.plots import refinement
from fibstream.app.evaluation.refinement import effects
from fibstream.app.evaluation.store import SCHEMA, Facts, rows_of
from fibstream.kernels.metrics import PUBLISHED

PREDICTION = Facts("p.zarr", "mito", "c1", setup="small", iteration=20, threshold=127.0)
REFINED = replace(PREDICTION, path="r.zarr", threshold=None, refined=True)
BEFORE = {"dice": 0.5, "precision": 0.4, "recall": 0.8}
AFTER = {"dice": 0.7, "precision": 0.6, "recall": 0.75}


def store(*parts: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([row for part in parts for row in part], SCHEMA)


def rows(facts: Facts, values: dict[str, float], dilate_nm: float = 0.0) -> list[dict[str, Any]]:
    return rows_of(facts, values, PUBLISHED, dilate_nm)


def test_both_sides_meet_by_label_crop_and_network() -> None:
    other = replace(REFINED, path="s.zarr")
    apart = [
        replace(REFINED, path="t.zarr", **change)
        for change in ({"iteration": 30}, {"setup": "large"}, {"crop": "c2"}, {"label": "er"})
    ]
    found = effects(store(
        rows(PREDICTION, BEFORE), rows(REFINED, AFTER), rows(other, BEFORE),
        *(rows(facts, AFTER) for facts in apart),
    ))  # fmt: skip
    assert [(e.label, e.crop, e.path) for e in found] == [
        ("mito", "c1", "r.zarr"),
        ("mito", "c1", "s.zarr"),
    ]
    assert (found[0].before, found[0].after) == (BEFORE, AFTER)
    assert found[1].after == BEFORE


def test_another_dilation_threshold_or_a_missing_metric_is_no_effect() -> None:
    assert not effects(store(rows(PREDICTION, BEFORE), rows(REFINED, AFTER, 8.0)))
    loose = replace(PREDICTION, threshold=100.0)
    assert not effects(store(rows(loose, BEFORE), rows(REFINED, AFTER)))
    some = {key: value for key, value in AFTER.items() if key != "recall"}
    assert not effects(store(rows(PREDICTION, BEFORE), rows(REFINED, some)))


def test_the_plot_has_the_points_of_all_three_metrics() -> None:
    found = effects(store(rows(PREDICTION, BEFORE), rows(REFINED, AFTER)))
    panels = refinement(found).axes
    points = {panel.get_title(): panel.lines[0].get_xydata().tolist() for panel in panels}
    assert points == {
        "F1 score (Dice)": [[0.5, 0.7]],
        "precision": [[0.4, 0.6]],
        "recall": [[0.8, 0.75]],
    }

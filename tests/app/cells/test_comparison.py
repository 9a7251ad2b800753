"""Comparisons take whole objects of two datasets, or one value of each; what differs is told."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fibstream.app.cells.comparison import (
    DISTRIBUTION,
    EFFECTS,
    OF_DATASETS,
    OF_OBJECTS,
    distributions,
    effects,
    notes,
)
from fibstream.app.cells.plots import effect_dots, object_boxes
from fibstream.app.cells.reference import Reference
from fibstream.app.cells.specimen import UNKNOWN, Specimen
from fibstream.app.cells.totals import totals
from fibstream.kernels.effects import cliffs_delta, hodges_lehmann

from ...analysis.cell import rows

FACTS = {"voxel size": "8 nm", "recipe": "mito", "prediction": "mito by base"}


def specimen(name: str, tables: dict[str, pa.Table], **facts: str) -> Specimen:
    given = {**FACTS, **{key.replace("_", " "): value for key, value in facts.items()}}
    return Specimen(name, tables, dict.fromkeys(tables, given), Reference("imaged volume", 1e9))


def compared(specimens: list[Specimen], groups: Any = None) -> list[dict[str, Any]]:
    every = [row for s in specimens for row in totals(s.name, s.tables, s.reference)]
    return effects(specimens, every, groups or {})


def inside(table: pa.Table, measure: str) -> np.ndarray:
    return np.array([r[measure] for r in table.to_pylist() if not r["touches_border"]])


def test_objects_are_whole_ones_of_two_datasets() -> None:
    one, two = rows(1), rows(2, 40)
    found = compared([specimen("a", {"mito": one}), specimen("b", {"mito": two})])
    objects = {row["measure"]: row for row in found if row["level"] == "objects"}
    assert list(objects) == list(OF_OBJECTS)
    for measure, row in objects.items():
        a, b = inside(one, measure), inside(two, measure)
        assert a.size < one.num_rows
        assert (row["n_a"], row["n_b"]) == (a.size, b.size)
        assert row["cliffs_delta"] == cliffs_delta(a, b)
        assert row["shift"] == hodges_lehmann(a, b).estimate
        assert row["shift_low"] <= row["shift"] <= row["shift_high"]
        assert "not" in row["assumes"] and row["differs"] == ""
        assert set(row) <= set(EFFECTS)


def test_one_dataset_a_side_has_a_difference_and_nothing_more() -> None:
    found = compared([specimen("a", {"mito": rows(1)}), specimen("b", {"mito": rows(2, 40)})])
    row = next(r for r in found if (r["level"], r["measure"]) == ("datasets", "objects"))
    assert (row["median_a"], row["median_b"], row["shift"]) == (100, 40, -60)
    assert row["shift_low"] is None and "cliffs_delta" not in row
    assert [r["measure"] for r in found if r["level"] == "datasets"] == [
        *OF_DATASETS, *(f"median {m}" for m in OF_OBJECTS),
    ]  # fmt: skip


def test_groups_take_one_value_of_each_dataset() -> None:
    every = [specimen(f"d{n}", {"mito": rows(n, 20 + n)}) for n in range(8)]
    groups = {"A": [f"d{n}" for n in range(4)], "B": [f"d{n}" for n in range(4, 8)]}
    found = compared(every, groups)
    assert {row["level"] for row in found} == {"datasets"}
    row = next(r for r in found if r["measure"] == "objects")
    assert (row["n_a"], row["n_b"], row["cliffs_delta"], row["shift"]) == (4, 4, 1.0, 4.0)
    assert (row["shift_low"], row["shift_high"]) == (1.0, 7.0)  # the largest, of level 34 of 35
    assert row["interval"] == pytest.approx(34 / 35)
    row = next(r for r in found if r["measure"] == "median sphericity")
    medians = [np.median(inside(s.tables["mito"], "sphericity")) for s in every]
    assert row["median_a"] == np.median(medians[:4])


def test_what_is_not_the_same_is_told_in_a_line() -> None:
    one = specimen("a", {"er": rows(1), "mito": rows(1)})
    two = specimen("b", {"mito": rows(1)}, voxel_size="4 nm", recipe=UNKNOWN)
    three = specimen("c", {"er": rows(1), "mito": rows(1)})._replace(reference=None)
    assert notes([one, two, three]) == [
        "er: is not in b",
        "er: reference: imaged volume (a); not known (c)",
        "mito: voxel size: 8 nm (a, c); 4 nm (b)",
        "mito: recipe: mito (a, c); not recorded (b)",
        "mito: reference: imaged volume (a, b); not known (c)",
    ]  # fmt: skip
    found = compared([one, two, three])
    differs = {(r["b"], r["organelle"]): r["differs"] for r in found}
    assert differs == {
        ("b", "mito"): "voxel size, recipe", ("b", "er"): "", ("c", "er"): "reference",
        ("c", "mito"): "reference",
    }  # fmt: skip
    assert notes([one, specimen("d", {"er": rows(2), "mito": rows(3)})]) == []
    assert notes([two, two._replace(name="e")]) == ["mito: recipe: not recorded (b, e)"]


def test_what_is_empty_has_no_effect() -> None:
    nothing = specimen("b", {"mito": rows(1).slice(0, 0)})
    found = compared([specimen("a", {"mito": rows(1)}), nothing])
    assert all("shift" not in r for r in found if r["level"] == "objects")
    row = next(r for r in found if r["measure"] == "mean_volume_nm3")
    assert (row["n_a"], row["n_b"], row["median_b"]) == (1, 0, None)
    (first, *_) = distributions([nothing])
    assert first["whole_objects"] == 0 and first["median"] is None


def test_distributions_and_figures_have_what_the_objects_have() -> None:
    every = [specimen("a", {"mito": rows(1), "er": rows(3)}), specimen("b", {"mito": rows(2, 40)})]
    spread = distributions(every)
    assert [(r["dataset"], r["organelle"], r["measure"]) for r in spread] == [
        (d, o, m) for d, o in (("a", "mito"), ("a", "er"), ("b", "mito")) for m in OF_OBJECTS
    ]
    assert list(spread[0]) == list(DISTRIBUTION)
    values = inside(rows(1), "volume_nm3")
    assert spread[0]["whole_objects"] == values.size and spread[0]["max"] == values.max()
    assert spread[0]["median"] == np.median(values)
    assert spread[0]["sd"] == pytest.approx(values.std(ddof=1))
    boxes = object_boxes(spread, ["mito", "er"])
    medians = sorted(
        line.get_xdata()[0] for line in boxes.axes[0].get_lines() if len(line.get_xdata()) == 1
    )
    wanted = sorted(r["median"] for r in spread if r["measure"] == "volume_nm3")
    assert medians == wanted
    whiskers = [r["q95"] for r in spread if r["measure"] == "sphericity"]
    assert boxes.axes[2].get_xlim() == (0, 1.02 * max(1, *whiskers))
    for row in spread:
        row.update(dict.fromkeys(("q95", "q75", "median"), 1.3))
    assert object_boxes(spread, ["mito", "er"]).axes[2].get_xlim() == (0, pytest.approx(1.326))
    found = compared(every)
    dots = effect_dots(found, ["mito", "er"])
    deltas = [line.get_xdata()[0] for line in dots.axes[0].get_lines()
              if line.get_linestyle() == "None" and len(line.get_xdata())]  # fmt: skip
    assert deltas == [found[0]["cliffs_delta"]]

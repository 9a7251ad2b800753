"""Totals of tables, against plain sums of their columns."""

import numpy as np
import pyarrow as pa
import pytest

from fibstream.app.cells.plots import ordered, relative_volumes
from fibstream.app.cells.reference import Reference
from fibstream.app.cells.totals import COLUMNS, totals

from ...analysis.cell import rows


@pytest.mark.parametrize("seed", range(3))
def test_totals_are_those_of_the_columns_in_any_order(seed: int) -> None:
    table = rows(seed)
    mixed = table.take(np.random.default_rng(seed).permutation(table.num_rows))
    (one,), (two,) = (
        totals("cell", {"mito": t}, Reference("imaged volume", 4e12)) for t in (table, mixed)
    )
    assert one == two and list(one) == list(COLUMNS)
    values = {name: table[name].to_numpy() for name in table.column_names}
    assert one["objects"] == 100
    assert one["border_objects"] == values["touches_border"].sum() > 0
    assert one["volume_nm3"] == pytest.approx(values["voxels"].sum() * 8 * 4 * 4, rel=1e-15)
    assert one["crofton_area_nm2"] == pytest.approx(values["crofton_area_nm2"].sum(), rel=1e-14)
    assert one["area_nm2"] == pytest.approx(values["area_nm2"].sum(), rel=1e-14)
    assert one["median_volume_nm3"] == np.median(values["volume_nm3"])
    assert one["mean_volume_nm3"] == pytest.approx(values["volume_nm3"].mean())
    assert one["mean_crofton_area_nm2"] == pytest.approx(values["crofton_area_nm2"].mean())
    assert one["relative_volume"] == one["volume_nm3"] / 4e12
    assert one["objects_per_um3"] == 100 / 4000


def test_nothing_is_made_up_where_nothing_is_known() -> None:
    table = rows(0)
    empty, full = totals("cell", {"er": table.slice(0, 0), "mito": table}, None)
    assert empty["objects"] == 0 and empty["volume_nm3"] == 0
    assert empty["mean_volume_nm3"] is empty["median_volume_nm3"] is None
    assert (
        full["relative_volume"] is full["objects_per_um3"] is full["reference_volume_nm3"] is None
    )
    assert full["reference"] == "not known"
    (none,) = totals("cell", {"mito": table}, Reference("cell mask inside", 0.0))
    assert none["relative_volume"] is None
    assert none["reference"] == "cell mask inside, which is empty"


def points(figure: object, panel: int) -> dict[float, float]:
    """Return the dots of a panel: value by height."""
    lines = figure.axes[panel].get_lines()  # type: ignore[attr-defined]
    return {y: x for line in lines if line.get_linestyle() == "None"
            for x, y in zip(*line.get_data(), strict=True)}  # fmt: skip


def test_the_figure_has_a_dot_for_each_figure_of_each_dataset() -> None:
    large, small = rows(1), rows(2, 30)
    reference = Reference("imaged volume", 1e9)
    made = [*totals("a", {"er": small, "mito": large}, reference),
            *totals("b", {"mito": small, "none": small.slice(0, 0)}, reference)]  # fmt: skip
    assert ordered(made) == ["mito", "er", "none"]
    figure = relative_volumes(made)
    by_row = {(round(y), y > round(y)): x for y, x in points(figure, 0).items()}
    assert by_row == {
        (0, False): made[1]["relative_volume"], (0, True): made[2]["relative_volume"],
        (1, False): made[0]["relative_volume"],
    }  # fmt: skip
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["mito", "er", "none"]
    assert sorted(points(figure, 1).values()) == [30, 30, 100]
    unknown = relative_volumes(totals("a", {"mito": large}, None))
    assert list(points(unknown, 0).values()) == [pa.compute.sum(large["volume_nm3"]).as_py()]

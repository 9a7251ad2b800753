"""A shift by a grey level moves the threshold by exactly one, whatever the squash length."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibstream.app.cells.error_bars import changes, error_bars
from fibstream.app.cells.shifts import AS_IT_IS, FIGURES, ONE, shifts, threshold_at
from fibstream.core.dataset import Dataset, Organelle, Prediction
from fibstream.core.errors import WrongUse
from fibstream.services.refine.recipe import resolve
from fibstream.services.refine.recipes.generic import rule_of
from fibstream.services.refine.rule import threshold_level


def dataset(threshold_nm: float = 0.0, recipe: str = "generic", **prediction: Any) -> Dataset:
    settings = resolve(recipe, {"threshold_nm": threshold_nm}).model_dump(mode="json")
    return Dataset(
        name="cell", shape=(8, 8, 8), chunk=(8, 8, 8), dtype="uint8", voxel_size_nm=(8, 8, 8),
        contrast=(0, 255), predictions=(Prediction(name="mito", **prediction),),
        organelles=(Organelle(name="mito", recipe=recipe, settings=settings,
                              inputs={"prediction": "mito"}),),
    )  # fmt: skip


@given(st.floats(-60, 60) | st.just(0.0), st.floats(25, 1000))
def test_a_grey_level_is_one_and_nanometres_are_the_recipes(own: float, squash: float) -> None:
    made = dataset(own, squash_nm=squash)
    level = rule_of(made, made.organelles[0]).level
    found, left_out = shifts(made, made.organelles[0])
    rules = {s.shift: rule_of(s.dataset, s.dataset.organelles[0]) for s in found}
    by_shift = {s.shift: s for s in found}
    assert {s.shift: s.level for s in found} == {name: r.level for name, r in rules.items()}
    assert rules[AS_IT_IS].level == level
    for by in (-1, 1):
        if (name := f"{by:+d} grey level") in rules:
            assert rules[name].level == level + by * ONE
    for by in (-4, 4):
        assert by_shift[f"{by:+d} nm"].threshold_nm == own + by
    assert len(found) + len(left_out) == 5
    assert by_shift[AS_IT_IS].row == {
        "organelle": "mito", "shift": "none", "threshold_nm": own, "grey_level": level / 128,
    }  # fmt: skip


@pytest.mark.parametrize("squash", [20.0, 50.0])
def test_every_level_has_a_threshold_that_no_rounding_moves(squash: float) -> None:
    levels = range(70, 254 * ONE, 7)  # of these the bound itself, not the middle, misses 4 %
    assert [threshold_level(threshold_at(n, squash) or 0.0, squash) for n in levels] == [*levels]
    assert threshold_at(64, squash) is threshold_at(255 * ONE, squash) is None


def test_a_probability_has_grey_levels_and_no_nanometres() -> None:
    made = dataset(is_distance=False)
    found, left_out = shifts(made, made.organelles[0])
    assert left_out == ["mito: mito is a probability, which has no nm"]
    assert [(s.shift, s.threshold_nm, s.row["grey_level"]) for s in found] == [
        ("none", None, 127), ("-1 grey level", None, 126), ("+1 grey level", None, 128),
    ]  # fmt: skip
    assert [rule_of(s.dataset, s.dataset.organelles[0]).level for s in found] == [
        127 * 128, 126 * 128, 128 * 128,
    ]  # fmt: skip


def test_what_is_saturated_is_left_out_and_told() -> None:
    made = dataset(75.0, squash_nm=25.0)
    found, left_out = shifts(made, made.organelles[0])
    assert [s.shift for s in found] == ["none", "-1 grey level", "-4 nm"]
    assert left_out[0] == "mito, +1 grey level: prediction mito: its bytes are saturated there"
    assert left_out[1].startswith("mito, +4 nm: threshold_nm 79: expected")


def test_a_recipe_without_a_threshold_is_named() -> None:
    made = dataset()
    with pytest.raises(WrongUse, match="organelle x: recipe own has no threshold_nm"):
        shifts(made, Organelle(name="x", recipe="own", settings={}, inputs={}))


def test_bars_reach_from_the_least_to_the_most() -> None:
    def row(shift: str, objects: int, volume: float) -> dict[str, Any]:
        return {"organelle": "mito", "shift": shift, **dict.fromkeys(FIGURES, volume),
                "objects": objects}  # fmt: skip

    rows = [row("none", 10, 200.0), row("-1 grey level", 12, 202.0), row("+1 grey level", 9, 198.0),
            row("-4 nm", 20, 240.0), row("+4 nm", 5, 150.0)]  # fmt: skip
    assert changes(rows, "mito", "nm", "volume_nm3") == pytest.approx([20, -25])
    assert changes(rows, "mito", "grey level", "objects") == pytest.approx([20, -10])
    spans = {
        tuple(round(float(x), 6) for x in line.get_xdata())
        for line in error_bars(rows, "cell").axes[1].get_lines()
        if line.get_linewidth() == 2.5 and len(line.get_xdata())
    }
    assert spans == {(-25, 20), (-1, 1)}
    nothing = [row("none", 0, 0.0), row("-4 nm", 3, 5.0)]
    assert changes(nothing, "mito", "nm", "objects") == []

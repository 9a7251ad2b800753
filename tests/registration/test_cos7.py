"""The published transforms and landmarks of a real cell, by our own code (Heinrich et al. 2021)."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.phantom.light.published import published
from fibstream.services.registration.landmarks import (
    Marked,
    apart,
    between_people,
    errors,
    from_people,
    raters,
)
from fibstream.services.registration.maps import (
    ERROR_EDGES,
    STRETCH_EDGES,
    added,
    counted,
    difference_map,
)
from fibstream.services.registration.transform import Spline, Transform, apply

SAMPLES = Path(__file__).parents[2] / "samples"
# Where the published landmarks' light stack was cut out of the PALM stack, whole and half voxels.
CROP_NM = np.array([42.5 * 104.0, 420 * 52.0, 845 * 52.0])


@cache
def people() -> dict[str, Marked]:
    """Return everybody's landmarks in nm, light places in the PALM stack."""
    found = raters((SAMPLES / "cos7_landmarks.csv").read_text())
    return {
        name: Marked(m.numbers, m.specimen * 1000, m.light * 1000 + CROP_NM)
        for name, m in found.items()
    }


@cache
def deformation(name: str) -> Transform:
    """Return the published displacement, which comes after the affine map from light to EM."""
    known = published(name).spline
    return Transform(
        np.eye(3), np.zeros(3),
        Spline(np.ascontiguousarray(known.coefficients), known.origin, known.spacing),
    )  # fmt: skip


def to_specimen(name: str, light: np.ndarray) -> np.ndarray:
    """Return where the published transform sends places of the light image."""
    affine = published(name).affine
    return deformation(name).to_light(apply(affine.matrix, light) + affine.offset)


def humans() -> dict[str, Marked]:
    return {name: m for name, m in people().items() if name != "Auto"}


def test_people_agree_with_each_other_and_with_the_transform_as_published() -> None:
    automatic = to_specimen("cos7-palm", people()["Auto"].light)
    assert apart(automatic, people()["Auto"].specimen).max() < 1.0
    human, auto = between_people(humans()), from_people(humans(), automatic)
    assert (len(human), len(auto)) == (31, 62)
    measured = [human.mean(), np.median(human), human.max(), auto.mean()]
    assert measured == pytest.approx([31.6, 25.5, 96.5, 107.5], abs=0.05)
    each = auto.reshape(2, 31).mean(axis=0)  # of a landmark, over both people
    spread = [np.median(each), each.std(ddof=1), np.quantile(each, 0.9), each.max()]
    assert spread == pytest.approx([101, 55, 170, 250], abs=1)


@pytest.mark.parametrize(("person", "mean"), [("AW", 110.8), ("JB", 104.1)])
def test_the_error_of_a_transform_at_landmarks_in_both_images(person: str, mean: float) -> None:
    mark, affine = people()[person], published("cos7-palm").affine
    flat = apply(affine.matrix, mark.light) + affine.offset
    assert errors(deformation("cos7-palm"), flat, mark.specimen).mean() == pytest.approx(
        mean, abs=0.1
    )


@pytest.mark.parametrize(("name", "figures"), [
    ("cos7-palm", [0.9999, 0.047, 0.884, 0.921, 1.081, 1.172, 0.729, 1.436]),
    ("cos7-sim", [1.017, 0.053, None, None, None, None, 0.743, 1.525]),
])  # fmt: skip
def test_stretch_of_the_published_deformations(name: str, figures: list[float | None]) -> None:
    bent = deformation(name)
    assert bent.spline is not None
    count = np.array(bent.spline.coefficients.shape[:3])
    nodes = np.stack(np.meshgrid(*[np.arange(2, n - 2) for n in count], indexing="ij"), -1)
    values = bent.stretch(bent.spline.origin + nodes.reshape(-1, 3) * bent.spline.spacing)
    found = counted(values, STRETCH_EDGES)
    measured = [values.mean(), values.std()]
    measured += [found.quantile(q) for q in (0.01, 0.05, 0.95, 0.99)] + [found.least, found.most]
    for value, wanted, within in zip(measured, figures, [0.002, 0.002] + [0.012] * 6, strict=True):
        assert wanted is None or value == pytest.approx(wanted, abs=within)
    assert found.folds == found.unknown == 0


def test_palm_against_sim_as_a_map_and_its_histogram_over_blocks() -> None:
    light = people()["Auto"].light
    known = apart(to_specimen("cos7-palm", light), to_specimen("cos7-sim", light))
    assert 50 < np.median(known) < 400
    # The same transform twice but for a shift of 3, 4, 12 nm: 13 nm wherever both are known.
    one = deformation("cos7-palm")
    assert one.spline is not None
    other = Transform(np.eye(3), np.array([3.0, 4.0, 12.0]), one.spline)
    low = one.spline.origin + 3 * one.spline.spacing
    grid = ((400.0, 800.0, 800.0), (float(low[0]), float(low[1]), float(low[2])))
    whole = Box((0, 0, 0), (6, 9, 8))
    values = difference_map(one, other, grid, whole)
    assert np.allclose(values, 13.0, atol=1e-3)
    parts = [Box((0, 0, 0), (6, 4, 8)), Box((0, 4, 0), (6, 9, 8))]
    halves = [counted(difference_map(one, other, grid, box), ERROR_EDGES) for box in parts]
    both, all_ = added(*halves), counted(values, ERROR_EDGES)
    assert np.array_equal(both.counts, all_.counts)
    assert both[2:] == all_[2:]
    assert both.quantile(0.5) == pytest.approx(13.0, abs=1.0)
    assert both.known == 6 * 9 * 8
    beyond = difference_map(one, other, (grid[0], (-1e6, 0.0, 0.0)), whole)
    assert counted(beyond, ERROR_EDGES).unknown == 6 * 9 * 8


@pytest.mark.parametrize(("text", "said"), [
    ("", "expected a first row Pt-index"),
    ("Pt-index,Rater ID,em-x,em-y,em-z,lm-x,lm-y,lm-z\n1,A,1,2,3,4,5", "row 2"),
    ("Pt-index,Rater ID,em-x,em-y,em-z,lm-x,lm-y,lm-z\n1,A,1,2,3,4,5,nan", "row 2"),
    ("Pt-index,Rater ID,em-x,em-y,em-z,lm-x,lm-y,lm-z\n1,A,1,2,3,4,5,6\n1,A,1,2,3,4,5,6", "twice"),
])  # fmt: skip
def test_landmarks_of_another_form_are_refused(text: str, said: str) -> None:
    with pytest.raises(WrongUse, match=said):
        raters(text)


def test_people_must_have_marked_the_same() -> None:
    two = {name: people()[name] for name in ("AW", "JB")}
    with pytest.raises(WrongUse, match="two or more"):
        between_people({"AW": two["AW"]})
    cut = Marked(two["JB"].numbers[:5], two["JB"].specimen[:5], two["JB"].light[:5])
    with pytest.raises(WrongUse, match="same numbers"):
        between_people({"AW": two["AW"], "JB": cut})

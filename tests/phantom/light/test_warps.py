"""Warps against formulas of their own: both directions, folds, splines, plates, slabs, elastix."""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from fibstream.core.errors import WrongUse
from fibstream.phantom.light import Affine, Warp, elastix
from fibstream.phantom.light.deformations import Slabs, Spline, ThinPlate
from fibstream.phantom.light.drawing import FAMILIES, VOLUME_RATIO, draw_frame
from fibstream.phantom.light.published import PUBLISHED, published

EXTENT = np.array([3000.0, 9000.0, 7000.0])
RIM = 3000.0
LANDMARKS = Path(__file__).parents[3] / "samples" / "cos7_landmarks.csv"
# Where the published landmarks' light stack was cut out of the PALM stack, whole and half voxels.
CROP_NM = np.array([42.5 * 104.0, 420 * 52.0, 845 * 52.0])


def places(count: int = 400, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (count, 3)) * EXTENT


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_both_directions_agree_and_nothing_folds(family: str, seed: int) -> None:
    frame = draw_frame(family, seed, EXTENT, RIM)
    points = places()
    there = frame.warp.to_light(points)
    assert np.abs(frame.warp.to_specimen(there) - points).max() < 1e-5
    assert np.abs(frame.warp.to_light(frame.warp.to_specimen(there)) - there).max() < 1e-5
    stretch = frame.warp.stretch(points)
    assert stretch.min() > VOLUME_RATIO[0] and stretch.max() < VOLUME_RATIO[1]
    faces = np.concatenate([places(2000), np.rint(places(500) / EXTENT) * EXTENT])
    inside = frame.warp.to_light(faces)  # the light field holds all of it, deformed as it is
    assert (inside > 0).all() and (inside < np.array(frame.size_nm)).all()
    again = draw_frame(family, seed, EXTENT, RIM)
    assert np.array_equal(again.warp.to_light(points), there)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_light_field_holds_a_small_specimen_however_far_it_is_deformed(family: str) -> None:
    extent = np.array([1080.0, 1800.0, 1800.0])
    for seed in range(8):
        frame = draw_frame(family, seed, extent, 740.0)
        inside = frame.warp.to_light(np.random.default_rng(seed).uniform(0, 1, (500, 3)) * extent)
        room = np.minimum(inside.min(axis=0), np.array(frame.size_nm) - inside.max(axis=0))
        assert room.min() > 200.0  # what is promised is 250 nm, from a grid of points


@pytest.mark.parametrize("family", ["bspline", "tps", "cos7-palm"])
def test_stretch_is_the_determinant_of_the_map_itself(family: str) -> None:
    warp = draw_frame(family, 4, EXTENT, RIM).warp
    points, step = places(60), 5.0
    columns = [
        (warp.to_light(points + step * axis) - warp.to_light(points - step * axis)) / (2 * step)
        for axis in np.eye(3)
    ]
    found = np.linalg.det(np.stack(columns, axis=-1)) / np.linalg.det(warp.affine.matrix)
    assert np.allclose(warp.stretch(points), found, atol=1e-4)


def test_orientations_are_of_all_kinds() -> None:
    matrices = np.array(
        [draw_frame("affine", n, EXTENT, 0.0).warp.affine.matrix for n in range(200)]
    )
    signs = np.sign(np.linalg.det(matrices))
    assert 60 < (signs < 0).sum() < 140
    assert 60 < (matrices[:, 0, 0] < 0).sum() < 140
    turns = np.arctan2(matrices[:, 2, 1], matrices[:, 1, 1])
    assert np.histogram(turns, 8, (-np.pi, np.pi))[0].min() > 8
    scale = np.sqrt(np.abs(np.linalg.det(matrices[:, 1:, 1:])))
    assert 0.78 < scale.min() < 0.84 and 1.16 < scale.max() < 1.22
    tilt = np.degrees(np.arccos(np.abs(matrices[:, 0, 0]) / np.linalg.norm(matrices[:, 0], axis=1)))
    assert 2.0 < tilt.max() < 4.5


def test_a_spline_is_that_of_another_program() -> None:
    rng = np.random.default_rng(1)
    spline = Spline(rng.normal(0, 100, (5, 6, 7, 3)), np.array([-900.0, -50, 20]),
                    np.array([700.0, 900.0, 1100.0]))  # fmt: skip
    points = rng.uniform(-3000, 9000, (500, 3))
    at = ((points - spline.origin) / spline.spacing).T
    for axis in range(3):
        other = map_coordinates(spline.coefficients[..., axis], at, order=3, prefilter=False,
                                mode="grid-constant")  # fmt: skip
        assert np.allclose(spline.displacement(points)[:, axis], other, atol=1e-9)
    assert (spline.displacement(np.full((1, 3), 1e6)) == 0).all()


def test_a_plate_goes_through_its_nails_and_is_affine_without_bending() -> None:
    rng = np.random.default_rng(2)
    control_points = rng.uniform(0, 5000, (20, 3))
    moves = rng.normal(0, 200, (20, 3))
    assert np.allclose(
        ThinPlate(control_points, moves).displacement(control_points), moves, atol=1e-6
    )
    slope = rng.normal(0, 0.05, (3, 3))
    flat = ThinPlate(control_points, control_points @ slope + 7.0)
    points = rng.uniform(-5000, 9000, (50, 3))
    assert np.allclose(flat.displacement(points), points @ slope + 7.0, atol=1e-6)
    assert flat.displacement(np.zeros((0, 3))).shape == (0, 3)


def test_slabs_jump_where_they_are_said_to() -> None:
    slabs = Slabs(np.array([1000.0, 2000.0]), np.array([[0.0, 0.0], [50.0, -20.0], [7.0, 3.0]]))
    points = np.array([[999.9, 5, 5], [1000.0, 5, 5], [1999.0, 5, 5], [2500.0, 5, 5]])
    assert slabs.displacement(points).tolist() == [
        [0, 0, 0], [0, 50, -20], [0, 50, -20], [0, 7, 3],
    ]  # fmt: skip


def test_a_warp_that_folds_is_said_to() -> None:
    steep = Spline(np.random.default_rng(3).normal(0, 4000, (8, 8, 8, 3)), np.full(3, -1500.0),
                   np.full(3, 1000.0))  # fmt: skip
    warp = Warp(Affine(np.eye(3), np.zeros(3)), steep)
    assert warp.stretch(places()).min() < 0
    with pytest.raises(ArithmeticError, match="too steep"):
        warp.to_specimen(places())
    with pytest.raises(WrongUse, match="warp 'twist'"):
        draw_frame("twist", 1, EXTENT, RIM)


def rows(rater: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a rater's landmarks in both frames, nm, (z, y, x)."""
    with LANDMARKS.open() as file:
        found = [row for row in csv.DictReader(file) if row["Rater ID"] == rater]
    em, light = (
        np.array([[float(row[f"{name}-{a}"]) for a in "zyx"] for row in found]) * 1000.0
        for name in ("em", "lm")
    )
    return em, light


def test_the_published_transform_gives_the_published_landmarks() -> None:
    em, light = rows("Auto")
    found = published("cos7-palm").warp().to_specimen(light + CROP_NM)
    assert len(em) == 31
    assert np.linalg.norm(found - em, axis=1).max() < 1.0
    other = published("cos7-sim").warp().to_specimen(light + CROP_NM)
    assert np.median(np.linalg.norm(other - em, axis=1)) > 50
    human, _ = rows("JB")
    assert np.linalg.norm(human - em, axis=1).mean() == pytest.approx(104.1, abs=0.1)


@pytest.mark.parametrize(("name", "mean", "sd", "low", "high"), [
    ("cos7-palm", 0.9999, 0.047, 0.729, 1.436), ("cos7-sim", 1.017, 0.053, 0.743, 1.525),
])  # fmt: skip
def test_the_published_deformations_stretch_as_measured(name, mean, sd, low, high) -> None:
    known = published(name)
    count = np.array(known.spline.coefficients.shape[:3])
    nodes = np.stack(np.meshgrid(*[np.arange(2, n - 2) for n in count], indexing="ij"), -1)
    points = known.spline.origin + nodes.reshape(-1, 3) * known.spline.spacing
    warp = Warp(Affine(np.eye(3), np.zeros(3)), known.spline)
    found = warp.stretch(points)
    assert found.min() > 0
    assert found.mean() == pytest.approx(mean, abs=0.01)
    assert found.std() == pytest.approx(sd, abs=0.01)
    assert low - 0.05 < found.min() and found.max() < high + 0.05


def test_a_centred_deformation_is_the_published_one_moved() -> None:
    known = published("cos7-palm")
    place = np.array([2000.0, 3000.0, 4000.0])
    points = known.middle + np.random.default_rng(5).normal(0, 1500, (50, 3))
    moved = known.centred(place).displacement(points - known.middle + place)
    assert np.allclose(moved, known.spline.displacement(points), atol=1e-9)
    assert known.spline.displacement(points).std() > 20
    with pytest.raises(WrongUse, match=" or ".join(PUBLISHED)):
        published("cos7-xray")


@pytest.mark.parametrize(("text", "said"), [
    ("", "transform ''"), ('(Transform "EulerTransform")', "EulerTransform"),
    ('(Transform "AffineTransform")\n(TransformParameters 1 2 3)', "3 numbers; expected 12"),
    ('(Transform "AffineTransform")', "no numbers under TransformParameters"),
])  # fmt: skip
def test_other_elastix_files_are_refused(text: str, said: str) -> None:
    with pytest.raises(WrongUse, match=said):
        elastix.affine(text)

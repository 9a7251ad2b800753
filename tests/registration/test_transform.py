"""Transforms: the same as ITK's, inverted exactly, folds counted without a wrong border."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st

from fibstream.core.errors import WrongUse
from fibstream.services.registration.transform import Spline, Transform, from_itk, to_itk

MIRROR = np.diag([-1.1, 0.9, 1.0])


def made(seed: int, strength: float = 120.0) -> Transform:
    rng = np.random.default_rng(seed)
    spline = Spline(
        rng.normal(0, strength, (6, 7, 8, 3)),
        np.array([-1000.0, -1500.0, -900.0]),
        np.array([1000.0, 1500.0, 1200.0]),
    )
    matrix = MIRROR @ (np.eye(3) + rng.normal(0, 0.1, (3, 3)))
    return Transform(matrix, rng.normal(0, 5000, 3), spline)


def spline_of(transform: Transform) -> Spline:
    """Return the displacement of a transform that has one."""
    assert transform.spline is not None
    return transform.spline


def inside(transform: Transform, rng: np.random.Generator, count: int = 200) -> np.ndarray:
    grid = spline_of(transform)
    last = np.array(grid.coefficients.shape[:3]) - 2
    return grid.origin + grid.spacing * (1 + rng.uniform(0, 1, (count, 3)) * (last - 1))


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_the_inverse_gives_every_point_back(seed: int) -> None:
    transform, rng = made(seed), np.random.default_rng(seed)
    points = inside(transform, rng)
    back = transform.to_specimen(transform.to_light(points))
    known = np.logical_and.reduce(np.isfinite(back), axis=1)
    assert np.abs(back - points)[known].max() < 1e-5
    u = spline_of(transform).at(points)[0]
    ways = [spline_of(transform).at(p)[2] for p in (points + 2 * np.sign(u), points - u)]
    middle = np.logical_and(*ways)
    # Only at the border a solved place may leave the domain.
    assert known[middle].mean() > 0.95


@given(st.integers(0, 2**32))
@settings(max_examples=10, deadline=None)
def test_places_and_files_are_those_of_itk(seed: int) -> None:
    transform = made(seed)
    points = inside(transform, np.random.default_rng(seed), 50)
    itk = to_itk(transform)
    theirs = np.array([itk.TransformPoint(p[::-1].tolist())[::-1] for p in points])
    assert np.abs(theirs - transform.to_light(points)).max() < 1e-8
    again = from_itk(itk)
    assert np.array_equal(again.to_light(points), transform.to_light(points))


@pytest.mark.parametrize("suffix", ["h5", "tfm"])
def test_a_written_transform_is_read_back(tmp_path, suffix: str) -> None:
    path = str(tmp_path / f"t.{suffix}")
    transform = made(3)
    sitk.WriteTransform(to_itk(transform), path)
    points = inside(transform, np.random.default_rng(1))
    again = from_itk(sitk.ReadTransform(path)).to_light(points)
    assert np.abs(again - transform.to_light(points)).max() < 1e-9


def test_other_transforms_of_itk_are_refused_in_one_line() -> None:
    with pytest.raises(WrongUse, match=r"Euler3DTransform.*expected an affine") as caught:
        from_itk(sitk.Euler3DTransform())
    assert "\n" not in str(caught.value)
    with pytest.raises(WrongUse, match="2 axes"):
        from_itk(sitk.AffineTransform(2))
    with pytest.raises(WrongUse, match="order 2"):
        grid = sitk.BSplineTransformInitializer(sitk.Image(9, 9, 9, sitk.sitkFloat32), [3] * 3, 2)
        from_itk(sitk.CompositeTransform([sitk.AffineTransform(3), grid]))
    for value, why in ((0.0, "an inverse"), (np.nan, "not finite")):
        affine = sitk.AffineTransform(3)
        affine.SetMatrix(np.diag([1.0, value, 1.0]).ravel().tolist())
        with pytest.raises(WrongUse, match=why):
            from_itk(affine)
    bent = made(1)
    spline_of(bent).coefficients[2, 3, 4, 1] = np.inf
    with pytest.raises(WrongUse, match="not finite"):
        from_itk(to_itk(bent))


@given(st.integers(0, 2**32))
@settings(max_examples=10, deadline=None)
def test_stretch_is_that_of_differences_up_to_the_border_and_of_a_mirror_positive(seed) -> None:
    transform, rng = made(seed, 60.0), np.random.default_rng(seed)
    assert np.linalg.det(transform.matrix) < 0
    grid = spline_of(transform)
    last = grid.origin + grid.spacing * (np.array(grid.coefficients.shape[:3]) - 2)
    points = inside(transform, rng, 60)
    points[::3] = np.where(rng.uniform(size=points[::3].shape) < 0.5, last - 1.0, points[::3])
    points = points.clip(grid.origin + grid.spacing + 1.0, last - 1.0)
    steps = 0.5 * np.eye(3)
    columns = [(transform.to_light(points + s) - transform.to_light(points - s)) for s in steps]
    found = np.linalg.det(np.stack(columns, -1)) / np.linalg.det(transform.matrix)
    assert transform.stretch(points) == pytest.approx(found, abs=1e-4)


def test_a_fold_is_seen_and_has_no_inverse_that_is_wrong() -> None:
    transform = made(5, 2500.0)
    points = inside(transform, np.random.default_rng(2), 500)
    assert (transform.stretch(points) <= 0).any()
    back = transform.to_specimen(transform.to_light(points))
    known = np.isfinite(back).all(axis=1)
    there = transform.to_light(back[known])
    assert np.abs(there - transform.to_light(points)[known]).max() < 1e-4


def test_beyond_the_domain_nothing_is_claimed() -> None:
    transform = made(4)
    far = np.array([[-1.0, 100.0, 100.0], [np.nan, 0.0, 0.0]]) - 1000.0
    assert np.isnan(transform.to_light(far)).all()
    assert np.isnan(transform.stretch(far)).all()
    flat = Transform(transform.matrix, transform.offset)
    assert np.isnan(transform.to_specimen(flat.to_light(far))).all()
    assert flat.stretch(far).tolist() == [1.0, 1.0]

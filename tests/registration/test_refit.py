"""Landmarks corrected by a person: nothing moved changes nothing, what moved is followed."""

from functools import cache

import numpy as np
import pytest

from fibstream.core.errors import WrongUse
from fibstream.services.registration.exchange import Landmarks, bigwarp_rows, bigwarp_text
from fibstream.services.registration.fit import grid_over
from fibstream.services.registration.port import Image
from fibstream.services.registration.refit import from_landmarks, refit
from fibstream.services.registration.transform import Spline, Transform, apply

EM = Image(np.zeros((32, 96, 96), np.uint8), (128.0, 128.0, 128.0), (500.0, -800.0, 0.0))
TURN = np.array([[-0.95, 0.02, 0.0], [0.0, 0.6, -0.8], [0.01, 0.8, 0.6]])


@cache
def found() -> Transform:
    grid, rng = grid_over(EM, 2000.0), np.random.default_rng(3)
    bent = rng.normal(0, 150, (*grid.shape, 3))
    return Transform(
        TURN, np.array([900.0, 4000.0, -300.0]), Spline(bent, grid.origin, grid.spacing)
    )


@cache
def rows(count: int = 150) -> Landmarks:
    """Return landmarks as a registration exports them and a file gives them back."""
    rng = np.random.default_rng(4)
    places = np.array(EM.corner_nm) + rng.uniform(0.02, 0.98, (count, 3)) * EM.extent_nm
    return bigwarp_rows(bigwarp_text(found().to_light(places), places))


def shifted(index: np.ndarray, by: np.ndarray) -> Landmarks:
    moving = rows().moving.copy()
    moving[index] += by
    return rows()._replace(moving=moving)


def miss(transform: Transform, marks: Landmarks) -> np.ndarray:
    return np.linalg.norm(transform.to_light(marks.target) - marks.moving, axis=1)


def test_nothing_moved_changes_nothing_whatever_rows_are_left_out() -> None:
    assert refit(found(), rows(), EM) is found()
    few = Landmarks(rows().names[:3], rows().moving[:3], rows().target[:3])
    assert refit(found(), few, EM) is found()
    assert refit(found(), Landmarks((), np.zeros((0, 3)), np.zeros((0, 3))), EM) is found()


def test_a_region_that_was_moved_is_followed_and_the_rest_stays() -> None:
    middle = EM.middle_nm + np.array([0.0, 3000.0, 3000.0])
    away = np.linalg.norm((rows().target - middle)[:, 1:], axis=1)
    near, far = np.flatnonzero(away < 2000), np.flatnonzero(away > 5500)
    assert len(near) > 8 and len(far) > 20
    marks = shifted(near, np.array([30.0, -200.0, 120.0]))
    again = refit(found(), marks, EM)
    assert np.median(miss(again, marks)[near]) < 60  # it was 235
    assert miss(again, marks)[far].max() < 20
    assert np.array_equal(again.matrix, found().matrix)
    lighter = refit(found(), marks, EM, weight=np.where(away < 2000, 0.05, 1.0))
    assert np.median(miss(lighter, marks)[near]) > 1.3 * np.median(miss(again, marks)[near])


def test_landmarks_alone_give_the_affine_map_and_the_deformation() -> None:
    marks = rows()
    flat = Transform(TURN, found().offset)
    light = apply(TURN, marks.target) + found().offset
    exact = from_landmarks(Landmarks(marks.names, light, marks.target), EM)
    assert np.abs(exact.to_light(marks.target) - flat.to_light(marks.target)).max() < 1e-3
    bent = from_landmarks(marks, EM)
    assert np.median(miss(bent, marks)) < 25
    assert np.median(miss(flat, marks)) > 35


def test_what_cannot_be_followed_is_refused() -> None:
    one = np.array([0])
    with pytest.raises(WrongUse, match=r"'Pt-0'.*moved too far; expected nm"):
        refit(found(), shifted(one, np.full(3, 1e6)), EM)
    with pytest.raises(WrongUse, match="moved too far"):
        refit(found(), shifted(one, np.full(3, np.nan)), EM)
    micrometres = rows()._replace(target=rows().target / 1000 + 1e5)
    with pytest.raises(WrongUse, match="outside of the specimen"):
        refit(found(), micrometres, EM)
    marks = shifted(one, np.full(3, 50.0))
    for weight in (np.ones(3), np.full(150, -1.0), np.full(150, np.nan), np.arange(150.0)):
        with pytest.raises(WrongUse, match="weights"):
            refit(found(), marks, EM, weight=weight)
    other = Image(EM.voxels, (100.0, 100.0, 100.0))
    with pytest.raises(WrongUse, match="its grid is not that of this specimen"):
        refit(found(), marks, other)
    with pytest.raises(WrongUse, match="3 rows; expected at least 4"):
        from_landmarks(Landmarks(rows().names[:3], rows().moving[:3], rows().target[:3]), EM)
    plane = rows().target * [0.0, 1.0, 1.0] + [1000.0, 0.0, 0.0]
    with pytest.raises(WrongUse, match="all in a plane"):
        from_landmarks(rows()._replace(target=plane), EM)

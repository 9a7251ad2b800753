"""The map of the error to expect: that of the exact inverse, honest far from patches."""

import math

import numpy as np

from fibstream.services.registration.fit import Fit, basis, grid_over, solved
from fibstream.services.registration.port import Image
from fibstream.services.registration.uncertainty import error_map, signs, spread

EM = Image(np.zeros((20, 60, 60), np.uint8), (150.0, 150.0, 150.0), (-400.0, 300.0, 0.0))
GRID = grid_over(EM, 2000.0)


def fitted(points: np.ndarray, seed: int = 1) -> Fit:
    rng = np.random.default_rng(seed)
    weight = np.stack([rng.uniform(0.2, 0.6, len(points)), *[rng.uniform(0.5, 2, len(points))] * 2])
    spline, used = solved(GRID, points, rng.normal(0, 30, points.shape), weight.T.copy(), 1e-2)
    return Fit(spline, used, 1e-2)


def placed(count: int, share: float, seed: int = 2) -> np.ndarray:
    """Return places in the part of the specimen with low x."""
    rng = np.random.default_rng(seed)
    return np.array(EM.corner_nm) + rng.uniform(0, 1, (count, 3)) * EM.extent_nm * [1, 1, share]


def test_the_spread_is_that_of_the_exact_inverse() -> None:
    points, places = placed(150, 1.0), placed(200, 1.0, 3)
    fit, b = fitted(points), basis(GRID, placed(200, 1.0, 3))
    total = np.zeros(len(places))
    for axis in range(3):
        seen = basis(GRID, points)
        matrix = (seen.T @ seen.multiply(fit.weight[:, axis][:, None])).toarray()
        inverse = np.linalg.inv(matrix + fit.bending * GRID.penalty.toarray())
        total += ((b @ inverse) * b.toarray()).sum(axis=1)
    ratio = spread(GRID, points, fit, places) / np.sqrt(total)
    assert abs(np.median(ratio) - 1) < 0.08
    assert 0.55 < ratio.min() < ratio.max() < 1.6


def test_the_map_grows_away_from_patches_and_is_the_error_near_them() -> None:
    points = placed(200, 0.4)
    found = error_map(EM, GRID, points, fitted(points), 60.0)
    assert found.voxels.shape == (3, 9, 9)
    assert found.voxel_nm == (1000.0, 1000.0, 1000.0)
    assert found.corner_nm == EM.corner_nm
    along = np.median(found.grey, axis=(0, 1))
    assert 45 < np.median(along[:3]) < 75
    assert along[8] > 3 * along[2]
    assert (np.diff(along[3:]) > 0).all()
    twice = error_map(EM, GRID, points, fitted(points), 120.0)
    assert np.allclose(twice.voxels, 2 * found.grey, rtol=1e-5)
    assert np.array_equal(found.voxels, error_map(EM, GRID, points, fitted(points), 60.0).voxels)


def test_nothing_known_is_infinite() -> None:
    points = placed(20, 1.0)
    nothing = fitted(points)._replace(weight=np.zeros((20, 3)))
    assert np.isinf(error_map(EM, GRID, points, nothing, 60.0).voxels).all()
    assert np.isinf(error_map(EM, GRID, points, fitted(points), math.inf).voxels).all()
    few = Image(np.zeros((4, 4, 4), np.uint8), (50.0, 50.0, 50.0))
    assert error_map(few, GRID, np.zeros((0, 3)), nothing, 60.0).voxels.shape == (1, 1, 1)


def test_signs_are_balanced_and_never_those_of_another_sample() -> None:
    drawn = [signs(4000, sample, part) for sample in range(4) for part in range(3)]
    assert all(abs(one.mean()) < 0.06 for one in drawn)
    assert all(set(one) == {-1.0, 1.0} for one in drawn)
    products = np.corrcoef(np.stack(drawn)) - np.eye(len(drawn))
    assert np.abs(products).max() < 0.07

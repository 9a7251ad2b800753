"""Predictions of a phantom: exact distances, noise of the stated size, blocks equal the whole."""

import numpy as np
import pytest

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Grid
from fibstream.kernels.distance import distance_bytes
from fibstream.kernels.schema.classes import PREDICTED, members
from fibstream.phantom.predictions import Noise, predicted, prediction_halo, smooth_noise

SHAPE, VOXEL_NM = (30, 33, 36), (20.0, 16.0, 16.0)
WHOLE = Box((0, 0, 0), SHAPE)
LABELS = np.zeros(SHAPE, np.uint8)
LABELS[4:17, 6:20, 8:25] = 4  # a mitochondrion with its membrane, across chunk faces
LABELS[4, 6:20, 8:25] = 3
LABELS[20:24, 25:30, 3:9] = 31
LABELS[24, 25:30, 3:9] = 32


def whole(name: str, noise: Noise, seed: int = 5) -> np.ndarray:
    return predicted(name, LABELS, WHOLE, WHOLE, VOXEL_NM, noise, seed)


def test_without_noise_it_is_the_byte_of_the_exact_distance() -> None:
    for name in ("mito", "mito_membrane", "er"):
        expected = distance_bytes(members(LABELS, name), WHOLE, WHOLE, VOXEL_NM, 50.0)
        assert np.array_equal(whole(name, Noise(0.0)), expected)
    inside = np.isin(LABELS, (31, 32))  # an appendage is part of a centrosome
    assert np.array_equal(whole("centrosome", Noise(0.0)) >= 127, inside)


@pytest.mark.parametrize("chunk", [(7, 33, 10), (16, 9, 36)])
def test_blocks_equal_the_whole(chunk) -> None:
    grid, noise = Grid(SHAPE, chunk), Noise(12.0, 70.0)
    for name in ("mito", "centrosome"):
        found = np.empty(SHAPE, np.uint8)
        for index in grid.indices():
            box, around = grid.box(index), grid.block(index, prediction_halo(VOXEL_NM))
            labels = LABELS[around.slices()]
            found[box.slices()] = predicted(name, labels, around, box, VOXEL_NM, noise, 5)
        assert np.array_equal(found, whole(name, noise))


def test_noise_has_the_stated_deviation_and_length() -> None:
    length, voxel = 60.0, 10.0
    box = Box((-40, 0, 100), (140, 180, 280))  # 27,000 lattice edges: places may be negative
    noise = smooth_noise(77, box, (voxel,) * 3, length)
    lag = round(length / voxel)
    assert abs(noise.mean()) < 0.05
    assert noise.std() == pytest.approx(1, abs=0.03)
    places = [noise[p % 6 :: 6, p // 6 :: 6].std() for p in (0, 3, 20)]  # at, beside the lattice
    assert places == pytest.approx([1, 1, 1], abs=0.06)
    for axis in range(3):
        along = np.moveaxis(noise, axis, 0)
        near, far = ((along[:-n] * along[n:]).mean() for n in (lag, 4 * lag))
        assert near == pytest.approx(0.5, abs=0.06)
        assert abs(far) < 0.06


def test_classes_and_seeds_have_noise_of_their_own() -> None:
    noise = Noise(10.0)
    empty = [whole("er", noise), whole("golgi", noise), whole("er", noise, seed=6)]
    assert not any(np.array_equal(empty[a], empty[b]) for a, b in ((0, 1), (0, 2)))
    moved = whole("mito", noise).astype(int) - whole("mito", Noise(0.0))
    assert moved[LABELS == 4].std() > 1


WRONG = {
    "deviation": (lambda: Noise(-1.0), "noise -1 nm: expected 0 to 200"),
    "not a number": (lambda: Noise(float("nan")), "noise nan nm: expected 0 to 200"),
    "length": (lambda: Noise(8.0, 0.0), "noise length 0 nm: expected 1 to 10000"),
    "class": (lambda: whole("cytosol", Noise()), "class cytosol: expected one of ecs, .*"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name) -> None:
    make, message = WRONG[name]
    with pytest.raises(WrongUse, match=message):
        make()


def test_all_classes_of_networks_have_one() -> None:
    for name in PREDICTED:
        assert whole(name, Noise(0.0)).shape == SHAPE

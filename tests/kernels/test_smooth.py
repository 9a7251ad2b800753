"""The integer Gaussian: the same in blocks as whole, and a Gaussian."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from fibstream.core.grid import Box, Halo, Index
from fibstream.core.ids import gid
from fibstream.kernels.conventions import Triple, radius
from fibstream.kernels.smooth import smooth, taps
from fibstream.services.refine.cut import cut_fragments

from ..refine.whole import absence, block_of, one_box, random_absent, random_grid, rule_of

SIGMAS = [(1.0, 1.0, 1.0), (0.5, 0.0, 2.2), (3.0, 1.5, 0.7)]


@pytest.mark.parametrize("sigma", [0.0, 0.1, 0.5, 1.0, 2.3, 3.0, 40.0])
def test_the_taps_sum_to_one(sigma: float) -> None:
    kernel = taps(sigma)
    assert kernel[0] + 2 * kernel[1:].sum() == 2**15
    assert (kernel >= 0).all() and (np.diff(kernel) <= 0).all()


@pytest.mark.parametrize("sigma", SIGMAS)
def test_blocks_are_the_whole(sigma: Triple) -> None:
    rng = np.random.default_rng(1)
    for _ in range(6):
        volume = rng.integers(0, 256, rng.integers(1, 30, 3)).astype(np.uint8)
        whole = smooth(volume, sigma, one_box(volume))
        grid = random_grid(rng, volume.shape)
        for index in grid.indices():
            core, box = grid.box(index), grid.block(index, Halo(radius(sigma), radius(sigma)))
            inside = Box(*(tuple(np.subtract(p, box.start).tolist()) for p in core))
            assert np.array_equal(smooth(volume[box.slices()], sigma, inside), whole[core.slices()])


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("shape", [(40, 30, 50), (1, 2, 3), (3, 40, 1)])
def test_it_is_the_gaussian_of_scipy(sigma: Triple, shape: Index) -> None:
    image = np.random.default_rng(2).integers(0, 256, shape).astype(np.uint8)
    exact = gaussian_filter(image.astype(float), sigma, mode="mirror", truncate=4)
    assert np.abs(smooth(image, sigma, one_box(image)) / 128 - exact).max() < 0.1


def rounded(image: NDArray[np.int64], sigma: float, axis: int) -> NDArray[np.int64]:
    """Return one axis smoothed as it is defined: mirrored, in whole numbers, half up."""
    kernel = taps(sigma)
    reach = kernel.size - 1
    around = np.pad(image, [(reach * (a == axis),) * 2 for a in range(3)], mode="reflect")
    total = np.zeros(image.shape, np.int64)
    for step in range(-reach, reach + 1):
        shifted = around.take(range(reach + step, reach + step + image.shape[axis]), axis)
        total += int(kernel[abs(step)]) * shifted
    return (total + (1 << 14)) >> 15


@pytest.mark.parametrize("sigma", SIGMAS)
def test_it_is_its_definition_to_the_last_bit(sigma: Triple) -> None:
    """With grey levels 0 and 128 many sums end in exactly one half."""
    image = np.random.default_rng(4).choice([0, 128], (14, 15, 16)).astype(np.uint8)
    expected = image.astype(np.int64) << 7
    for axis in range(3):
        expected = rounded(expected, sigma[axis], axis)
    assert np.array_equal(smooth(image, sigma, one_box(image)), expected)


@pytest.mark.parametrize("axis", range(3))
def test_a_half_is_rounded_up(axis: int) -> None:
    sigma = next(s / 10 for s in range(5, 40) if taps(s / 10)[1] % 2)
    image = np.zeros((9, 9, 9), np.uint8)
    image[4, 4, 4] = 128
    beside = tuple(4 + (a == axis) for a in range(3))
    z, y, x = (sigma * (a == axis) for a in range(3))
    value = int(taps(sigma)[1]) * (128 << 7)
    assert value % (1 << 15) == 1 << 14
    assert smooth(image, (z, y, x), one_box(image))[beside] == (value >> 15) + 1


def test_extreme_values_stay_what_they_are() -> None:
    for level in (0, 1, 255):
        image = np.full((9, 10, 11), level, np.uint8)
        assert (smooth(image, (3.0, 2.0, 1.0), one_box(image)) == level * 128).all()


def test_fragments_of_a_smoothed_prediction_are_those_of_the_whole() -> None:
    """Each voxel is foreground in its block exactly if it is in the whole; absent ones never."""
    rule = rule_of(smooth_nm=8, threshold_nm=-30, fill_holes="none")
    rng = np.random.default_rng(3)
    for _ in range(6):
        volume = rng.integers(0, 180, rng.integers(1, 25, 3)).astype(np.uint8)
        grid = random_grid(rng, volume.shape)
        absent = random_absent(rng, grid)
        gone = absence(grid, absent)
        volume[gone] = 0
        level = (128 * np.tanh(-30 / 50) + 127) * 128
        mask = (smooth(volume, (1.0, 2.0, 2.0), one_box(volume)) >= level) & ~gone
        for index in grid.indices():
            patch, core = block_of(volume, grid, index, absent, rule)
            pieces, _ = cut_fragments(patch, core, rule)
            assert np.array_equal(pieces > 0, mask[core.slices()])


def test_a_fragment_is_named_by_its_first_voxel() -> None:
    volume = np.zeros((4, 4, 8), np.uint8)
    volume[0, 0, 0] = volume[2, 1:3, 5] = 255
    core = Box((0, 0, 4), (4, 4, 8))
    grid = random_grid(np.random.default_rng(0), volume.shape)
    grid = type(grid)(volume.shape, (4, 4, 4))
    patch, core = block_of(volume, grid, (0, 0, 1), set(), rule_of())
    pieces, summary = cut_fragments(patch, core, rule_of())
    assert summary["ids"].tolist() == [1 + gid((2, 1, 5))]
    assert pieces[2, 2, 1] == 1 + gid((2, 1, 5))
    patch, core = block_of(volume, grid, (0, 0, 0), set(), rule_of())
    assert cut_fragments(patch, core, rule_of())[0][0, 0, 0] == 1

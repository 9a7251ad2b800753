"""Bytes of signed distances: those of the whole volume for any block, and of the targets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from fibstream.core.grid import Box, Grid
from fibstream.kernels.distance import SATURATED, byte_halo, distance_bytes, near_distances
from fibstream.services.inference.training.targets import signed_distance

Voxel = tuple[float, float, float]
SQUASH_NM = 20.0  # small volumes saturate
EDGES = st.sampled_from([4.0, 5.0, 8.0, 12.345, 25.0, 70.0])


def of_whole(mask: NDArray[np.bool_], voxel: Voxel) -> NDArray[np.uint8]:
    box = Box((0, 0, 0), mask.shape)
    return distance_bytes(mask, box, box, voxel, SQUASH_NM)


def drawn(seed: int, shape: tuple[int, int, int], share: float) -> NDArray[np.bool_]:
    """Draw a mask with large regions, so that some bytes are saturated."""
    rough = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    found: NDArray[np.bool_] = rough > np.quantile(rough, share)
    return found


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), voxel=st.tuples(EDGES, EDGES, EDGES),
    shape=st.tuples(*[st.integers(1, 40)] * 3), chunk=st.tuples(*[st.integers(2, 20)] * 3),
    share=st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]),
)  # fmt: skip
def test_bytes_of_chunks_are_those_of_the_whole_volume(
    seed: int, voxel: Voxel, shape: tuple[int, int, int], chunk: tuple[int, int, int], share: float
) -> None:
    mask, halo = drawn(seed, shape, share), byte_halo(voxel, SQUASH_NM)
    whole, grid = of_whole(mask, voxel), Grid(shape, chunk)
    for index in grid.indices():
        core = grid.box(index)
        box = core.grow(halo).meet(grid.volume)
        part = distance_bytes(mask[box.slices()], box, core, voxel, SQUASH_NM)
        assert np.array_equal(part, whole[core.slices()])


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6), voxel=st.tuples(EDGES, EDGES, EDGES),
    shape=st.tuples(*[st.integers(2, 9)] * 3),
)  # fmt: skip
def test_the_nearest_voxel_of_the_other_side_is_found(
    seed: int, voxel: Voxel, shape: tuple[int, int, int]
) -> None:
    """By brute force over all pairs of voxels, in nanometres."""
    mask = drawn(seed, shape, 0.5)
    where = np.argwhere(np.ones(shape, bool)) * np.array(voxel)
    apart = np.linalg.norm(where[:, None] - where[None], axis=-1)
    apart[mask.reshape(-1)[:, None] == mask.reshape(-1)[None]] = np.inf
    distance = apart.min(1).reshape(shape) - min(voxel) / 2
    grey = 128 * np.tanh(np.where(mask, distance, -distance) / SQUASH_NM) + 127
    assert np.abs(of_whole(mask, voxel) - np.clip(grey, 0, 255)).max() <= 0.5 + 1e-6


def test_voxels_of_which_64_bits_hold_no_squares_across_a_volume() -> None:
    """Edges of up to 0.1 mm, as the largest that a dataset may have; cut into parts, and not."""
    rng = np.random.default_rng(3)
    for shape, voxel, squash_nm in (
        ((40, 3, 5), (100_000.0, 4.0, 6.0), SQUASH_NM),
        ((24, 22, 1), (90_000.0, 100_000.0, 100_000.0), 1000.0),
        ((600, 600, 2), (6_400.0, 6_399.0, 6_400.0), 1000.0),
    ):
        mask = rng.random(shape) < 0.02
        mask[mask.shape[0] // 40 :] = False  # what is left is as far away as the volume is long
        box = Box((0, 0, 0), mask.shape)
        found = near_distances(mask, box, box, voxel, squash_nm)
        most = SATURATED * squash_nm + min(voxel) / 2
        outer, inner = (ndimage.distance_transform_edt(m, voxel) for m in (~mask, mask))
        wanted = np.minimum(outer + inner, most) - min(voxel) / 2
        assert np.abs(np.where(mask, found, -found) - wanted).max() <= 1


def test_distances_are_those_of_the_targets_of_training() -> None:
    mask = drawn(1, (30, 30, 30), 0.6)
    target = signed_distance(mask, (5.0, 5.0, 5.0), 1000.0)
    wanted = np.clip(np.rint(128 * np.tanh(target / np.float64(SQUASH_NM)) + 127), 0, 255)
    assert np.array_equal(of_whole(mask, (5.0, 5.0, 5.0)), wanted)
    assert ((wanted >= 127) == mask).all()


@pytest.mark.parametrize("inside", [False, True])
def test_where_there_is_no_boundary_bytes_are_saturated(inside: bool) -> None:
    mask = np.full((3, 4, 5), inside)
    assert (of_whole(mask, (8.0, 8.0, 8.0)) == 255 * inside).all()


def test_the_halo_is_no_wider_than_bytes_can_change() -> None:
    assert byte_halo((10.0, 20.0, 40.0), 50.0).low == (16, 8, 4)
    for sign, byte in ((1, 255), (-1, 0)):
        assert np.clip(np.rint(128 * np.tanh(sign * SATURATED) + 127), 0, 255) == byte

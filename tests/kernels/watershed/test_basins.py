"""Steepest descent: blocks glued by their border equal the whole, voxel by voxel."""

import numpy as np
import pytest
from skimage.segmentation import watershed

from fibstream.core.grid import Box
from fibstream.core.ids import gid, voxel
from fibstream.kernels.conventions import Connectivity
from fibstream.kernels.watershed.basins import (
    HIGHEST,
    OUTSIDE,
    find_basins,
    paint_ends,
    relief_of,
)

from ...refine.whole import random_grid
from .whole import RANK, block_of, descent, random_relief, whole_box

CONNECTIVITIES: list[Connectivity] = [6, 18, 26]


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_blocks_glued_by_their_border_equal_the_whole(connectivity: Connectivity) -> None:
    rng = np.random.default_rng(connectivity)
    for _ in range(40):
        relief = random_relief(rng)
        grid, ends = random_grid(rng, relief.shape), np.zeros(relief.shape, np.uint64)
        for index in grid.indices():
            core = grid.box(index)
            ends[core.slices()] = paint_ends(block_of(relief, core, connectivity))
        glued = np.zeros_like(ends)
        for here in np.ndindex(relief.shape):
            end = ends[here]
            while end and ends[voxel(int(end) - 1)] != end:
                end = ends[voxel(int(end) - 1)]
            glued[here] = end
        whole = np.zeros_like(ends)
        for voxels, minimum in descent(relief, connectivity).items():
            whole[voxels] = 1 + gid(minimum)
        assert np.array_equal(glued, whole)
        assert np.array_equal(paint_ends(block_of(relief, whole_box(relief), connectivity)), whole)


def test_a_block_far_from_the_origin_has_the_names_of_its_voxels() -> None:
    relief = np.full((2, 1, 3), 7, np.uint16)
    relief[1, 0, 2] = 3
    start = (2**21 - 2, 2**21 - 1, 2**21 - 3)
    box = Box(start, (2**21, 2**21, 2**21))
    ends = paint_ends(find_basins(relief, box, box, 6))
    assert ends[1, 0, 2] == 1 + gid((2**21 - 1, 2**21 - 1, 2**21 - 1))
    assert ends[0, 0, 0] == 1 + gid(start)


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_it_is_the_flood_of_scikit_image_over_ranks(connectivity: Connectivity) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        relief = random_relief(rng, 14)
        ends = paint_ends(block_of(relief, whole_box(relief), connectivity))
        mask = relief != OUTSIDE
        order = np.argsort(relief.ravel(), kind="stable")
        ranks = np.empty(order.size, np.int64)
        ranks[order] = np.arange(order.size)
        names = [name for name in np.unique(ends).tolist() if name]
        at = np.zeros(relief.shape, np.int64)
        for number, name in enumerate(names, 1):
            at[voxel(name - 1)] = number
        flooded = watershed(
            ranks.reshape(relief.shape), at, connectivity=RANK[connectivity], mask=mask
        )
        assert np.array_equal(np.array([0, *names], np.uint64)[flooded], ends)


def test_the_relief_is_low_where_levels_are_high() -> None:
    smoothed = np.array([[[0, 126 << 7, (126 << 7) + 1, 255 << 7]]], np.uint16)
    assert relief_of(smoothed, 126).tolist() == [[[OUTSIDE, OUTSIDE, HIGHEST - (126 << 7) - 1, 0]]]

"""Voxels that were never imaged are of no object and of no hole, however the volume is cut."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from fibstream.core.grid import Box
from fibstream.core.stage import Patch
from fibstream.kernels.absent import BLOCK_HALO, EDGE, Unimaged
from fibstream.kernels.conventions import Connectivity
from fibstream.kernels.relabel import relabel
from fibstream.services.refine.cut import cut_fragments
from fibstream.services.refine.rule import FillHoles, object_fold

from .whole import random_grid, random_volume, rule_of, whole

VALUE = 3
RULES: list[tuple[Connectivity, FillHoles]] = [(6, "one"), (26, "all"), (18, "none"), (6, "all")]


def padded(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.uint16]:
    """Raw of which boxes, a lost slice and single voxels have the value of padding."""
    raw = rng.integers(VALUE, VALUE + 30, shape).astype(np.uint16)
    for _ in range(3):
        start = [rng.integers(-6, n) for n in shape]
        size = rng.choice((1, 7, 8, 10), 3)
        raw[tuple(slice(max(a, 0), max(a + s, 0)) for a, s in zip(start, size, strict=True))] = (
            VALUE
        )
    if rng.random() < 0.5:
        raw[:, rng.integers(0, shape[1])] = VALUE
    return raw


def opened(same: NDArray[np.bool_]) -> NDArray[np.bool_]:
    around = np.pad(same, EDGE, constant_values=True)
    found = np.zeros_like(around)
    for axis in range(3):
        square = np.ones([1 if a == axis else EDGE for a in range(3)], bool)
        found |= ndimage.binary_opening(around, square)
    return found[(slice(EDGE, -EDGE),) * 3]


@pytest.mark.parametrize(("connectivity", "holes"), RULES)
def test_blocks_are_the_whole(connectivity: Connectivity, holes: FillHoles) -> None:
    rule, seen = rule_of(connectivity=connectivity, fill_holes=holes), 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        mask = random_volume(rng)
        raw, grid = padded(rng, mask.shape), random_grid(rng, mask.shape)
        gone = opened(raw == VALUE)
        seen += int(gone.any() and not gone.all())
        fold, pieces = object_fold(rule), {}
        for index in rng.permutation(list(grid.indices())).tolist():
            chunk, around = grid.box(tuple(index)), grid.block(tuple(index), BLOCK_HALO)
            read = grid.block(tuple(index), rule.halo)
            prediction = np.where(mask, 200, 50).astype(np.uint8)[read.slices()]
            unimaged = Unimaged(Patch(raw[around.slices()], around), VALUE)
            pieces[tuple(index)] = cut_fragments(Patch(prediction, read), chunk, rule, unimaged)
            fold.put(tuple(index), pieces[tuple(index)][1])
        found = np.zeros(mask.shape, np.uint64)
        for index, (cut, summary) in pieces.items():
            found[grid.box(index).slices()] = relabel(cut, summary["ids"], fold.mapping(index))
        assert np.array_equal(found, whole(mask & ~gone, gone, rule)), seed
    assert seen > 10


def test_a_cavity_that_was_not_imaged_is_no_hole() -> None:
    mask = np.zeros((16, 16, 16), bool)
    mask[2:14, 2:14, 2:14] = True
    raw = np.full(mask.shape, 50, np.uint16)
    raw[8, 4:12, 4:12] = VALUE
    box = Box((0, 0, 0), (16, 16, 16))
    prediction = Patch(np.where(mask, 200, 50).astype(np.uint8), box)
    cut, _ = cut_fragments(prediction, box, rule_of(), Unimaged(Patch(raw, box), VALUE))
    assert np.array_equal(cut > 0, mask & (raw != VALUE))

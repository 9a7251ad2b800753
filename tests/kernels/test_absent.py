"""Which voxels were never imaged: the whole volume and any cut of it agree."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Grid
from fibstream.core.stage import Patch
from fibstream.kernels.absent import (
    BLOCK_HALO,
    EDGE,
    HALO,
    Unimaged,
    absent_voxels,
    check_value,
    constant_squares,
)

VALUE = 9


def by_definition(same: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The union of all squares of one value along two axes; beyond the volume all have it."""
    padded = np.pad(same, EDGE, constant_values=True)
    found = np.zeros_like(padded)
    for axis in range(3):
        square = np.ones([1 if a == axis else EDGE for a in range(3)], bool)
        found |= ndimage.binary_opening(padded, square)
    inner = slice(EDGE, -EDGE)
    return found[inner, inner, inner]


def padded_volume(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Noise with single voxels, slabs, corners and slanted rims of the declared value."""
    shape = tuple(rng.integers(9, 40, 3))
    volume = rng.integers(VALUE - 2, VALUE + 4, shape).astype(np.uint8)
    for _ in range(rng.integers(0, 4)):
        start = [rng.integers(-8, n) for n in shape]
        size = rng.choice((1, 4, 7, 8, 9, 30), 3)
        volume[tuple(slice(max(a, 0), max(a + s, 0)) for a, s in zip(start, size, strict=True))] = (
            VALUE
        )
    if rng.random() < 0.5:
        z, y, x = np.indices(shape)
        volume[y + z // 3 + x // 5 < rng.integers(0, 20)] = VALUE
    return volume


@given(st.integers(0, 100_000))
def test_any_cut_of_the_volume_agrees_with_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    volume = padded_volume(rng)
    z, y, x = volume.shape
    cz, cy, cx = (int(min(n, rng.integers(1, 24))) for n in volume.shape)
    grid = Grid((z, y, x), (cz, cy, cx))
    gone = {index for index in grid.indices() if rng.random() < 0.1}
    same = volume == VALUE
    declared = np.zeros(volume.shape, bool)
    for index in gone:
        declared[grid.box(index).slices()] = True
    expected = by_definition(same | declared) | declared
    for index in itertools.islice(grid.indices(), 40):
        box = grid.block(index, HALO)
        holes = tuple(grid.box(i).meet(box) for i in gone if not grid.box(i).meet(box).empty)
        seen = np.where(declared, 0, volume)[box.slices()]
        found = absent_voxels(Patch(seen, box, holes), VALUE, grid.box(index))
        assert np.array_equal(found, expected[grid.box(index).slices()])


def whole(volume: NDArray[Any], value: float = VALUE) -> NDArray[np.bool_]:
    z, y, x = volume.shape
    box = Box((0, 0, 0), (z, y, x))
    return absent_voxels(Patch(volume, box), value, box)


def test_single_voxels_in_tissue_are_not_absent() -> None:
    volume = np.full((20, 20, 20), 5, np.uint8)
    volume[10, 10, 10] = volume[3:10, 5:12, 5:12] = VALUE
    assert not whole(volume).any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_lost_slice_is_absent_whichever_axis_it_was_milled_along(axis: int) -> None:
    volume = np.full((20, 20, 20), 5, np.uint8)
    np.moveaxis(volume, axis, 0)[7] = VALUE
    assert np.array_equal(whole(volume), volume == VALUE)


def test_a_rim_of_one_voxel_is_absent_and_so_is_no_wider_one() -> None:
    volume = np.full((20, 20, 20), 5, np.uint8)
    volume[4, :, 0] = volume[4, 0, :] = VALUE
    assert np.array_equal(whole(volume), volume == VALUE)


@pytest.mark.parametrize(("dtype", "value"), [("float32", 0.1), ("int16", -32768), ("uint16", 0)])
def test_the_value_is_that_of_the_type(dtype: str, value: float) -> None:
    volume = np.full((9, 9, 9), 7, dtype)
    volume[:8, :8] = value
    assert np.array_equal(whole(volume, value), volume == np.dtype(dtype).type(value))


@given(st.integers(0, 1000))
def test_constant_squares_are_those_inside_slices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sample = rng.integers(0, 9, (2, *rng.integers(EDGE, 20, 2))).astype(np.uint8)
    y, x = (rng.integers(0, n - EDGE + 1) for n in sample.shape[1:])
    sample[0, y : y + EDGE, x : x + 11] = 3
    expected = np.zeros(sample.shape, bool)
    for z, v, u in np.ndindex(2, *(n - EDGE + 1 for n in sample.shape[1:])):
        square = (z, slice(v, v + EDGE), slice(u, u + EDGE))
        expected[square] |= np.ptp(sample[square]) == 0
    assert np.array_equal(constant_squares(sample), expected)


@pytest.mark.parametrize(
    ("value", "dtype", "fits"),
    [
        (0, "uint8", True), (255, "uint8", True), (256, "uint8", False), (-1, "uint8", False),
        (-128, "int8", True), (0.5, "uint16", False), (0.1, "float32", True),
        (-3e38, "float32", True), (1e300, "float32", False), (-np.inf, "float32", False),
        (np.nan, "float32", False), (np.nan, "uint8", False), (np.inf, "int16", False),
    ],
)  # fmt: skip
def test_a_value_is_one_that_voxels_can_have(value: float, dtype: str, fits: bool) -> None:
    if fits:
        assert check_value(value, dtype) == value
    else:
        with pytest.raises(WrongUse, match=f"expected one that voxels of {dtype} can have"):
            check_value(value, dtype)


def test_a_block_is_read_as_far_as_a_voxel_beyond_its_chunk_needs() -> None:
    """A square of 7 voxels is none; cut off by what was read, it would be one."""
    volume = np.zeros((30, 30, 30), np.uint8)
    volume[:, 10:17, 10:17] = VALUE
    whole, core = Box((0, 0, 0), (30, 30, 30)), Box((0, 0, 0), (12, 10, 10))
    block, around = Box(core.start, (13, 11, 11)), core.grow(BLOCK_HALO).meet(whole)
    raw = Patch(volume[around.slices()], around)
    expected = absent_voxels(Patch(volume, whole), VALUE, block)
    assert np.array_equal(Unimaged(raw, VALUE).within(block), expected)


def test_a_mask_says_it_of_each_voxel_and_adds_to_the_value() -> None:
    rng = np.random.default_rng(2)
    box, inner = Box((2, 3, 4), (30, 31, 32)), Box((12, 13, 14), (15, 17, 19))
    mask = Patch((rng.random(box.shape) < 0.5).astype(np.uint8), box)
    known = mask.array[inner.slices(box.start)] > 0
    assert np.array_equal(Unimaged(mask=mask).within(inner), ~known)
    raw = Patch(np.full(box.shape, VALUE, np.uint8), box)
    assert Unimaged(raw, VALUE, mask).within(inner).all()
    assert not Unimaged().within(inner).any()

"""What was never imaged is predicted as 0, and seen as middle grey, whatever the chunk."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fibstream.core.grid import Box, Grid
from fibstream.core.stage import Patch
from fibstream.kernels.absent import absent_voxels
from fibstream.services.inference.grey import contrast
from fibstream.services.inference.seen import MIDDLE, View, predict_raw, raw_halo
from fibstream.services.inference.tiling import predict

from ..support.engines import TinyEngine

ENGINE = TinyEngine(("mito", "er"))


def volume(seed: int, value: int, dtype: str = "uint8") -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    shape = rng.integers(9, 26, 3)
    raw = rng.integers(0, 201, shape).astype(dtype)
    raw[raw == value] = 100
    raw[: rng.integers(0, 10), : rng.integers(4, 14)] = value
    raw[rng.integers(0, shape[0])] = value
    for axis in (0, 2):  # rods that are a voxel too narrow, unless they lie at the border
        y, x = rng.integers(0, np.delete(shape, axis) - 7)
        np.moveaxis(raw, axis, 0)[:, y : y + 7, x : x + 7] = value
    raw.flat[rng.integers(0, raw.size, 5)] = value
    return raw


def predicted(raw: NDArray[Any], chunk: tuple[int, int, int], view: View) -> NDArray[np.uint8]:
    z, y, x = raw.shape
    grid = Grid((z, y, x), (min(chunk[0], z), min(chunk[1], y), min(chunk[2], x)))
    found = np.zeros((2, z, y, x), np.uint8)
    for index in grid.indices():
        box = grid.block(index, raw_halo(ENGINE.spec, view))
        made = predict_raw(Patch(raw[box.slices()], box), grid.box(index), ENGINE, view)
        found[:, *grid.box(index).slices()] = made
    return found


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.tuples(*[st.integers(2, 20)] * 3), st.booleans())
def test_a_voxel_is_the_same_whatever_its_chunk(
    seed: int, chunk: tuple[int, int, int], invert: bool
) -> None:
    raw, view = volume(seed, 7), View((10, 190), invert, 7)
    z, y, x = raw.shape
    box = Box((0, 0, 0), (z, y, x))
    absent = absent_voxels(Patch(raw, box), 7, box)
    grey = contrast(raw, 10, 190, invert=invert)
    grey[absent] = MIDDLE
    expected = predict(Patch(grey, box), box, ENGINE)
    expected[:, absent] = 0
    assert np.array_equal(predicted(raw, chunk, view), expected)
    assert 0 < absent.sum() < absent.size


@given(st.integers(0, 1000))
def test_the_value_itself_makes_no_difference(seed: int) -> None:
    whole = (99, 99, 99)
    black, white = volume(seed, 0), volume(seed, 0)
    box = Box((0, 0, 0), (black.shape[0], black.shape[1], black.shape[2]))
    white[absent_voxels(Patch(black, box), 0, box)] = 255
    one = predicted(black, whole, View((0, 255), absent_value=0))
    other = predicted(white, whole, View((0, 255), absent_value=255))
    assert np.array_equal(one, other)


def test_a_chunk_declared_absent_is_as_one_that_holds_the_value() -> None:
    raw = np.random.default_rng(3).integers(1, 200, (16, 16, 16)).astype(np.uint8)
    raw[8:, :, :8] = 0
    gone, core = Box((8, 0, 0), (16, 16, 8)), Box((0, 0, 0), (8, 16, 16))
    box = Box((0, 0, 0), (16, 16, 16))
    view = View((0, 255), absent_value=0)
    landed = predict_raw(Patch(raw, box), core, ENGINE, view)
    declared = predict_raw(Patch(raw, box, (gone,)), core, ENGINE, view._replace(absent_value=255))
    assert np.array_equal(landed, declared)


class _Unused:
    spec = ENGINE.spec
    profile = ENGINE.profile

    def infer(self, tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
        raise AssertionError(tile.shape)


def test_a_chunk_that_was_never_imaged_costs_no_network() -> None:
    box, view = Box((0, 0, 0), (9, 9, 9)), View((0, 255), absent_value=4)
    black = Patch(np.full((9, 9, 9), 4, np.uint8), box)
    found = predict_raw(black, box, _Unused(), view)
    assert found.shape == (2, 9, 9, 9) and not found.any()

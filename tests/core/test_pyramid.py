"""Coarser levels against the plainest computation, window by window."""

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from math import floor
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fibstream.core.grid import Grid, Index
from fibstream.core.pyramid import SMALLEST, halve_mean, halve_mode, level_box, level_count, levels

SHAPES = st.tuples(*[st.integers(1, 5)] * 3)
SEEDS = st.integers(0, 2**32 - 1)
TOP = np.iinfo(np.uint64).max


def by_window(array: NDArray[Any], rule: Callable[[Any], Any]) -> NDArray[Any]:
    """Apply ``rule`` to the voxels of each window of 2³, cut at the volume's end."""
    out = np.zeros([-(-n // 2) for n in array.shape], array.dtype)
    for place in np.ndindex(*out.shape):
        out[place] = rule(array[tuple(slice(2 * p, 2 * p + 2) for p in place)].ravel().tolist())
    return out


def mean_half_up(values: NDArray[Any]) -> Any:
    return floor(Fraction(sum(values), len(values)) + Fraction(1, 2))


def smallest_mode(values: NDArray[Any]) -> Any:
    counts = Counter(values)
    return min(v for v, n in counts.items() if n == max(counts.values()))


@given(SHAPES, SEEDS, st.sampled_from(("uint8", "int8", "uint16", "int16")))
@settings(max_examples=60)
def test_mean_of_integers_is_rounded_half_up(shape: Index, seed: int, dtype: str) -> None:
    info = np.iinfo(dtype)
    rng = np.random.default_rng(seed)
    ends = rng.choice([info.min, info.max], shape)
    array = np.where(rng.random(shape) < 0.3, ends, rng.integers(-3, 4, shape) % 5).astype(dtype)
    found = halve_mean(array)
    assert found.dtype == array.dtype
    assert np.array_equal(found, by_window(array, mean_half_up))


@pytest.mark.parametrize(("pair", "mean"), [((0, 1), 1), ((1, 2), 2), ((-1, 0), 0), ((-2, -1), -1)])
def test_a_half_goes_up(pair: list[int], mean: int) -> None:
    assert halve_mean(np.array([[pair]], np.int16)).item() == mean


@given(SHAPES, SEEDS)
@settings(max_examples=40)
def test_mean_of_floats_is_that_of_doubles(shape: Index, seed: int) -> None:
    array = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    wanted = by_window(array, lambda values: float(np.mean(values)))
    assert halve_mean(array).dtype == np.float32
    np.testing.assert_allclose(halve_mean(array), wanted, rtol=1e-6)


@given(SHAPES, SEEDS, st.integers(1, 5))
@settings(max_examples=100)
def test_mode_takes_the_smallest_of_the_commonest(shape: Index, seed: int, kinds: int) -> None:
    rng = np.random.default_rng(seed)
    ids = np.array([0, 1, 2**32, 2**53 + 1, TOP - 1], np.uint64)  # floats would lose the last two
    array = rng.choice(rng.permutation(ids)[:kinds], shape)
    assert np.array_equal(halve_mode(array), by_window(array, smallest_mode))


@pytest.mark.parametrize("kind", ["mean", "mode"])
@pytest.mark.parametrize("chunk", [(16, 32, 16), (24, 16, 48), (64, 64, 32)])
def test_levels_of_chunks_are_the_levels_of_the_whole(
    kind: Literal["mean", "mode"], chunk: Index
) -> None:
    """While edges are even; the last chunks are short, odd ones among them."""
    rng = np.random.default_rng(sum(chunk))
    count = level_count(chunk)
    assert count > 1
    volume = rng.integers(0, 4, [c + c // 2 + 3 for c in chunk]).astype(np.uint64)
    z, y, x = volume.shape
    grid = Grid((z, y, x), chunk)
    whole = levels(volume, kind, count)
    for index in grid.indices():
        box = grid.box(index)
        for level, part in enumerate(levels(volume[box.slices()], kind, count)):
            coarse = level_box(box, level)
            assert part.shape == coarse.shape
            assert np.array_equal(part, whole[level][coarse.slices()])


def test_an_owner_writes_levels_while_its_edges_are_even_and_not_tiny() -> None:
    for edge, other in product((1, 7, 8, 15, 16, 24, 32, 48, 96, 512), repeat=2):
        count = level_count((edge, other, 512))
        assert 1 <= count <= 5
        for level in range(1, count):
            assert edge % 2**level == 0 == other % 2**level
            assert min(edge, other) >> level >= SMALLEST
        if count < 5:
            odd = edge % 2**count or other % 2**count
            assert odd or min(edge, other) >> count < SMALLEST

"""Coarser voxels are those of the pyramid's rules, whatever box is read."""

from dataclasses import replace
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Grid
from fibstream.core.pyramid import halve_mean, halve_mode, windows_mean
from fibstream.volumes import downsampled as module
from fibstream.volumes.display import Display
from fibstream.volumes.downsampled import (
    averaged,
    downsampled,
    moved,
    windows_mode,
)
from fibstream.volumes.positions import NOWHERE, Position, common, offset_nm, position_at
from fibstream.volumes.sources import Source
from fibstream.volumes.zarr_n5.selection import Kind

Triple = tuple[int, int, int]
edges = st.tuples(*[st.integers(1, 11)] * 3)


def source(array: NDArray[Any], kind: Kind = "raw", position: Position | None = None) -> Source:
    z, y, x = array.shape
    return Source("v", (z, y, x), array.dtype, (4.0, 2.0, 2.0), kind,
                  lambda box: array[box.slices()].copy(), Display(), position=position)  # fmt: skip


def drawn(seed: int, shape: Triple, kind: Kind) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    dtypes = ("uint8", "int16", "float32") if kind == "raw" else ("uint8", "uint64")
    dtype = np.dtype(dtypes[seed % len(dtypes)])
    low = -300 if dtype.kind != "u" else 0
    return rng.integers(low, 250 if kind == "raw" else 4, shape).astype(dtype)


@given(st.integers(0, 2**20), edges, edges, edges, st.sampled_from(["raw", "labels"]))
@settings(max_examples=150, deadline=None)
def test_any_box_is_that_part_of_the_whole(
    seed: int, shape: Triple, wanted: Triple, chunk: Triple, kind: Kind
) -> None:
    z, y, x = (min(f, n) for f, n in zip(wanted, shape, strict=True))
    array = drawn(seed, shape, kind)
    coarse = downsampled(source(array, kind), (z, y, x))
    grid = Grid(coarse.shape, chunk)
    whole = (windows_mean if kind == "raw" else windows_mode)(array, (z, y, x))
    assert coarse.shape == whole.shape and coarse.dtype == array.dtype
    for index in grid.indices():
        assert np.array_equal(coarse.read(grid.box(index)), whole[grid.box(index).slices()])


@given(edges, edges, st.tuples(*[st.integers(-(10**6), 10**6)] * 3))
@settings(max_examples=60, deadline=None)
def test_what_is_declared_is_what_an_averaged_volume_states(
    shape: Triple, wanted: Triple, at: Triple
) -> None:
    z, y, x = (min(f, n) for f, n in zip(wanted, shape, strict=True))
    size, offset = (4.0, 2.0, 2.0), (float(at[0]), float(at[1]), float(at[2]))
    fine = source(np.zeros(shape, np.uint8), position=position_at(offset, size))
    coarse = downsampled(fine, (z, y, x))
    declared = averaged(shape, size, offset, (z, y, x))
    assert declared[:2] == (coarse.shape, coarse.voxel_size_nm)
    assert declared[2] == pytest.approx(offset_nm(coarse))
    assert averaged((None, *shape[1:]), size, offset, (z, y, x))[0] == (None, *coarse.shape[1:])


@given(st.integers(0, 2**20), edges, edges)
@settings(max_examples=60, deadline=None)
def test_means_are_half_up_and_labels_the_most_frequent(
    seed: int, shape: Triple, factors: Triple
) -> None:
    raw, labels = drawn(seed - seed % 3, shape, "raw"), drawn(seed, shape, "labels")
    signed = drawn(seed - seed % 3 + 1, shape, "raw")
    for array, found in (
        (raw, windows_mean(raw, factors)), (signed, windows_mean(signed, factors)),
        (labels, windows_mode(labels, factors)),
    ):  # fmt: skip
        for index in np.ndindex(*found.shape):
            part = tuple(slice(i * f, i * f + f) for i, f in zip(index, factors, strict=True))
            voxels = [int(v) for v in array[part].ravel()]
            if array is labels:
                expected = min(sorted(set(voxels)), key=lambda v: -voxels.count(v))
            else:
                expected = floor(Fraction(sum(voxels), len(voxels)) + Fraction(1, 2))
            assert found[index] == expected


@given(st.integers(0, 2**20), edges, edges, st.sampled_from((0, 255)))
@settings(max_examples=60, deadline=None)
def test_what_was_not_imaged_counts_in_no_mean(
    seed: int, shape: Triple, factors: Triple, absent: int
) -> None:
    array = drawn(seed, shape, "raw")
    array[np.random.default_rng(seed).random(shape) < 0.6] = absent
    found = windows_mean(array, factors, absent)
    for index in np.ndindex(*found.shape):
        part = tuple(slice(i * f, i * f + f) for i, f in zip(index, factors, strict=True))
        voxels = [Fraction(float(v)) for v in array[part].ravel() if v != absent]
        mean = sum(voxels, Fraction(0)) / max(len(voxels), 1)
        expected = mean if array.dtype.kind == "f" else floor(mean + Fraction(1, 2))
        assert found[index] == array.dtype.type(expected if voxels else absent)
    z, y, x = (min(f, n) for f, n in zip(factors, shape, strict=True))
    coarse = downsampled(source(array), (z, y, x), absent)
    whole = Box((0, 0, 0), coarse.shape)
    assert np.array_equal(coarse.read(whole), windows_mean(array, (z, y, x), absent))


def test_by_two_it_is_the_pyramid() -> None:
    for seed in range(12):
        raw, labels = drawn(seed, (7, 8, 9), "raw"), drawn(1, (7, 8, 9), "labels")
        assert np.array_equal(windows_mean(raw, (2, 2, 2)), halve_mean(raw))
        assert np.array_equal(windows_mode(labels, (2, 2, 2)), halve_mode(labels))


def test_large_boxes_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", (40, 40))
    array, read = drawn(0, (9, 10, 11), "raw"), []
    fine = source(array)
    fetch = fine.fetch

    def noted(box: Box) -> NDArray[Any]:
        read.append(np.prod(box.shape))
        return fetch(box)

    fine.fetch = noted
    coarse = downsampled(fine, (2, 3, 2))
    whole = windows_mean(array, (2, 3, 2))
    assert np.array_equal(coarse.read(Box((0, 0, 0), coarse.shape)), whole)
    assert max(read) <= 40 and len(read) > 9


def test_size_and_place_follow() -> None:
    array = np.zeros((8, 9, 10), np.uint8)
    coarse = downsampled(source(array), (2, 3, 1))
    assert coarse.voxel_size_nm == (8, 6, 2) and coarse.shape == (4, 3, 10)
    assert coarse.position is not None
    centre = [v * s for v, s in zip(coarse.position.voxels, coarse.voxel_size_nm, strict=True)]
    assert centre == pytest.approx([2, 2, 0])  # half a coarse voxel less half a fine one
    assert moved(Position((3, 3, 3), corner=True), (2, 3, 1)) == Position((1.5, 1, 3), True)
    assert moved(NOWHERE, (2, 3, 1)) is NOWHERE
    crop = source(array[2:], position=Position((2.0, 0.0, 0.0)))
    met = common(crop, downsampled(source(array, position=Position()), (2, 3, 1)))
    assert met.shape == (6, 9, 10) and met.parts[1].start == (2, 0, 0)


@pytest.mark.parametrize("factors", [(0, 1, 1), (17, 1, 1), (1, 1, 11), (-2, 1, 1)])
def test_factors_that_are_refused(factors: Triple) -> None:
    with pytest.raises(WrongUse, match="--downsample"):
        downsampled(source(np.zeros((20, 20, 10), np.uint8)), factors)


@pytest.mark.parametrize("value", [None, 7])
def test_masked_voxels_count_in_no_mean_as_voxels_of_the_value_do(value: float | None) -> None:
    rng = np.random.default_rng(8)
    raw = rng.integers(8, 200, (9, 10, 11)).astype(np.uint8)
    mask = (rng.random(raw.shape) < 0.4).astype(np.uint8)
    mask[:4, :4, :4] = 0
    coarse = downsampled(replace(source(raw), mask=source(mask, "labels")), (2, 3, 2), value)
    whole = Box((0, 0, 0), coarse.shape)
    painted = np.where(mask == 0, 7, raw).astype(np.uint8)
    expected = windows_mean(painted, (2, 3, 2), 7)
    assert coarse.mask is not None
    imaged = coarse.mask.read(whole)
    assert np.array_equal(imaged, expected != 7)
    assert np.array_equal(coarse.read(whole), np.where(imaged, expected, value or 0))
    box = Box((1, 1, 2), (4, 3, 5))
    assert np.array_equal(coarse.mask.read(box), imaged[box.slices()])

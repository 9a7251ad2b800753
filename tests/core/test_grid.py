"""Chunks tile the volume, and who reads a chunk is the mirror image of what a chunk reads."""

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fibstream.core.dataset import clip_chunk
from fibstream.core.errors import LimitExceeded
from fibstream.core.grid import (
    MAX_AXIS,
    MAX_CHUNK,
    MAX_CHUNKS,
    Box,
    Grid,
    Halo,
    Index,
    check_count,
    inner_edge,
)


def triples(low: int, high: int) -> Any:
    return st.tuples(*[st.integers(low, high)] * 3)


@st.composite
def grids(draw: st.DrawFn) -> Any:
    """Up to 27 chunks, of any edges, the last of an axis often short."""
    chunk, count = draw(triples(1, 7)), draw(triples(1, 3))
    short = [draw(st.integers(0, c - 1)) for c in chunk]
    return Grid(tuple(c * n - s for c, n, s in zip(chunk, count, short, strict=True)), chunk)


GRIDS = grids()
HALOS = st.builds(Halo, triples(0, 20), triples(0, 20))  # wider than any of the chunks, often


def owners(grid: Grid) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Paint each voxel with the number of its chunk, and count how often it was painted."""
    painted = np.zeros(grid.extent, int)
    times = np.zeros(grid.extent, int)
    for number, index in enumerate(grid.indices()):
        painted[grid.box(index).slices()] = number
        times[grid.box(index).slices()] += 1
    return painted, times


@given(GRIDS)
def test_blocks_tile_the_volume_in_raster_order(grid: Grid) -> None:
    indices = list(grid.indices())
    _, times = owners(grid)
    assert (times == 1).all()
    assert indices == sorted(set(indices))
    assert all(grid.contains(i) and not grid.box(i).empty for i in indices)
    assert len(indices) == np.prod(grid.count)


@given(GRIDS, HALOS)
@settings(max_examples=60)
def test_a_block_reaches_exactly_the_chunks_whose_voxels_it_reads(grid: Grid, halo: Halo) -> None:
    painted, _ = owners(grid)
    indices = list(grid.indices())
    for index in indices:
        read = np.unique(painted[grid.block(index, halo).slices()])
        reach = list(grid.reach(index, halo))
        assert reach == [indices[n] for n in read]
        assert index in reach


@given(GRIDS, HALOS)
@settings(max_examples=60)
def test_readers_mirror_reach(grid: Grid, halo: Halo) -> None:
    indices = list(grid.indices())
    pairs = {(a, b) for a in indices for b in grid.reach(a, halo)}
    assert pairs == {(a, b) for b in indices for a in grid.readers(b, halo)}


def test_a_one_sided_halo_is_read_from_the_other_side() -> None:
    grid = Grid((9, 3, 3), (3, 3, 3))
    ahead = Halo((0, 0, 0), (1, 0, 0))
    assert list(grid.reach((1, 0, 0), ahead)) == [(1, 0, 0), (2, 0, 0)]
    assert list(grid.readers((1, 0, 0), ahead)) == [(0, 0, 0), (1, 0, 0)]


@given(GRIDS, HALOS, st.integers(1, 14))
@settings(max_examples=60)
def test_an_open_z_reads_all_that_any_extent_may_turn_out_to_need(
    sealed: Grid, halo: Halo, more: int
) -> None:
    grown = Grid((None, *sealed.shape[1:]), sealed.chunk)
    assert not grown.sealed and sealed.sealed
    for index in sealed.indices():
        now, later = (list(g.reach(index, halo)) for g in (sealed, grown))
        assert set(now) <= set(later)
        assert all(grown.contains(i) and index in grown.readers(i, halo) for i in later)
        if sealed.block(index, halo).stop[0] < sealed.extent[0]:
            assert now == later
        else:
            beyond = grown.box(index).stop[0] + halo.high[0] - 1
            assert max(i[0] for i in later) == beyond // sealed.chunk[0]


def test_an_open_z_has_no_list_of_chunks() -> None:
    with pytest.raises(AssertionError):
        list(Grid((None, 3, 3), (2, 2, 2)).indices())


@given(GRIDS, triples(-5, 20), triples(-5, 20))
def test_covering_is_every_chunk_with_a_voxel_in_the_box(
    grid: Grid, start: Index, stop: Index
) -> None:
    box = Box(start, stop)
    painted, _ = owners(grid)
    indices = list(grid.indices())
    inside = painted[tuple(slice(max(a, 0), max(b, 0)) for a, b in zip(start, stop, strict=True))]
    assert list(grid.covering(box)) == [indices[n] for n in np.unique(inside)]


@given(triples(-9, 9), triples(-9, 9), triples(-9, 9), triples(-9, 9), HALOS)
def test_boxes_meet_and_grow_as_sets_of_voxels_do(
    a: Index, b: Index, c: Index, d: Index, halo: Halo
) -> None:
    one, two = Box(a, b), Box(c, d)
    meet = one.meet(two)
    for axis in range(3):
        first, second = (set(range(x.start[axis], x.stop[axis])) for x in (one, two))
        assert set(range(meet.start[axis], meet.stop[axis])) == first & second
        assert one.shape[axis] == len(first)
    grown = one.grow(halo)
    assert grown.start == tuple(s - h for s, h in zip(a, halo.low, strict=True))
    assert grown.stop == tuple(s + h for s, h in zip(b, halo.high, strict=True))
    assert one.empty == (0 in one.shape)


def test_slices_are_relative_to_the_first_voxel_of_the_array() -> None:
    volume = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    box = Box((1, 2, 3), (3, 4, 6))
    patch = volume[box.slices()]
    inner = Box((2, 2, 4), (3, 3, 6))
    assert np.array_equal(patch[inner.slices(box.start)], volume[2:3, 2:3, 4:6])


@pytest.mark.parametrize(
    ("shape", "chunk"),
    [
        ((0, 1, 1), (1, 1, 1)),
        ((1, MAX_AXIS + 1, 1), (1, 1, 1)),
        ((4, 4, 4), (0, 1, 1)),
        ((4, 4, 4), (1, 1, MAX_CHUNK + 1)),
    ],
)
def test_a_grid_beyond_the_limits_is_refused(shape: Index, chunk: Index) -> None:
    with pytest.raises(AssertionError):
        Grid(shape, chunk)


def test_the_limits_themselves_are_allowed() -> None:
    grid = Grid((MAX_AXIS,) * 3, (MAX_CHUNK,) * 3)
    z, y, x = (n - 1 for n in grid.count)
    assert grid.box((z, y, x)).stop == (MAX_AXIS,) * 3


EDGES = st.integers(1, MAX_AXIS)
SHAPES = st.tuples(st.none() | EDGES, EDGES, EDGES)


@given(SHAPES, triples(1, MAX_CHUNK))
def test_a_volume_of_too_many_chunks_is_refused_with_a_chunk_that_would_do(
    shape: tuple[int | None, int, int], chunk: Index
) -> None:
    chunk = clip_chunk(chunk, shape)
    count = math.prod(Grid((shape[0] or 1, *shape[1:]), chunk).count)
    if count <= MAX_CHUNKS:
        check_count(shape, chunk)
        return
    with pytest.raises(LimitExceeded, match=f": {count} chunks") as caught:
        check_count(shape, chunk)
    if would := re.search(r"at most 1000000 a dataset: ([\d,]+) would do$", str(caught.value)):
        z, y, x = map(int, would[1].split(","))
        assert all(before <= after for before, after in zip(chunk, (z, y, x), strict=True))
        check_count(shape, (z, y, x))
    else:
        assert "no edges up to 512 would do" in str(caught.value)
        with pytest.raises(LimitExceeded):
            check_count(shape, clip_chunk((MAX_CHUNK,) * 3, shape))


@pytest.mark.parametrize(
    ("shape", "chunk", "layers"),
    [
        ((None, 1000, 1000), (1, 1, 1), 1),
        ((None, 1000, 500), (1, 1, 1), 2),
        ((None, 10, 10), (2, 5, 5), 250_000),
        ((None, 1, 1), (512, 1, 1), 4096),  # the axis ends first
        ((7, 10, 10), (2, 5, 5), 4),
    ],
)
def test_an_open_volume_grows_to_a_million_chunks_and_no_further(
    shape: Any, chunk: Index, layers: int
) -> None:
    grid = Grid(shape, chunk)
    assert grid.layers == layers
    check_count(shape, chunk)
    grid.check_growth((layers - 1, 0, 0))
    with pytest.raises(LimitExceeded, match=f"beyond the last layer {layers - 1}; layers of"):
        grid.check_growth((layers, 0, 0))


def test_inner_edge_is_the_largest_divisor_up_to_64_that_is_not_tiny() -> None:
    for edge in range(1, MAX_CHUNK + 1):
        divisors = [d for d in range(16, 65) if edge % d == 0]
        assert inner_edge(edge) == (divisors[-1] if divisors else edge)

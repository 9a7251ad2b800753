"""The saddle graph: blocks joined equal the whole, and the whole every pair of its voxels."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from fibstream.core.grid import Box
from fibstream.kernels.conventions import Connectivity
from fibstream.kernels.watershed.saddles import find_saddles, join

from . import whole


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_it_is_what_lies_between_all_pairs_of_voxels(connectivity: Connectivity) -> None:
    rng = np.random.default_rng(connectivity)
    for _ in range(20):
        relief = whole.random_relief(rng, 8)
        graph = find_saddles(
            whole.block_of(relief, whole.whole_box(relief), connectivity), connectivity
        )
        expected = sorted(whole.saddles(relief, connectivity).items())
        assert graph.edge.tolist() == [list(pair) for pair, _ in expected]
        assert graph.saddle.tolist() == [list(between.saddle) for _, between in expected]
        rows = zip(graph.at.tolist(), graph.level.tolist(), graph.times.tolist(), strict=True)
        assert list(rows) == [
            (row, level, times)
            for row, (_, between) in enumerate(expected)
            for level, times in sorted(between.levels.items())
        ]
        members = defaultdict(list)
        for voxel, end in whole.descent(relief, connectivity).items():
            members[end].append(whole.name(voxel))
        basins = sorted(members, key=whole.name)
        assert graph.basin.tolist() == list(map(whole.name, basins))
        assert graph.relief.tolist() == [int(relief[basin]) for basin in basins]
        assert graph.first.tolist() == [min(members[basin]) for basin in basins]
        assert graph.voxels.tolist() == [len(members[basin]) for basin in basins]


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_blocks_joined_are_the_whole(connectivity: Connectivity) -> None:
    rng = np.random.default_rng(connectivity)
    for _ in range(15):
        relief = whole.random_relief(rng, 10)
        whole.joined(relief, whole.whole_box(relief), connectivity, rng)


def test_descent_that_returns_to_a_block_is_followed() -> None:
    # From 9 down to 1, to and fro between the two halves.
    relief = np.array([[[9, 8], [6, 7], [5, 4], [2, 3], [1, 20]]], np.uint16)
    halves = [Box((0, 0, x), (1, 5, x + 1)) for x in (0, 1)]
    one, other = (find_saddles(whole.block_of(relief, half, 6), 6) for half in halves)
    graph = join(one, other)
    assert graph.basin.tolist() == [whole.name((0, 4, 0))] and graph.voxels.tolist() == [10]
    assert Counter(graph.shell[:, 1].tolist()) == {whole.name((0, 4, 0)): 10}


def test_blocks_that_make_up_no_block_are_not_joined() -> None:
    relief = np.zeros((3, 1, 1), np.uint16)
    ends = [
        find_saddles(whole.block_of(relief, Box((z, 0, 0), (z + 1, 1, 1)), 6), 6) for z in (0, 2)
    ]
    with pytest.raises(AssertionError):
        join(*ends)

"""Dynamics against floods of the whole volume, markers against Prim's algorithm."""

import heapq

import numpy as np
import pytest
from scipy import ndimage

from fibstream.core.grid import Box
from fibstream.core.ids import voxel
from fibstream.kernels.conventions import Connectivity
from fibstream.kernels.watershed.basins import OUTSIDE
from fibstream.kernels.watershed.dynamics import (
    ENDLESS,
    contract,
    find_components,
    find_dynamics,
    mark,
    spanning_forest,
)
from fibstream.kernels.watershed.saddles import SaddleGraph, find_saddles

from . import whole


def flooded(relief: whole.Relief, connectivity: Connectivity, basins: list[int]) -> list[int]:
    """The dynamics of minima, by the components of every sublevel set."""
    structure = ndimage.generate_binary_structure(3, whole.RANK[connectivity])
    places = [voxel(basin - 1) for basin in basins]
    lowest = {p: (int(relief[p]), n) for p, n in zip(places, basins, strict=True)}
    found = dict.fromkeys(places, ENDLESS)
    for level in sorted(set(relief[relief != OUTSIDE].tolist()), reverse=True):
        labels = ndimage.label(relief <= level, structure)[0]
        for p in places:
            others = [q for q in places if labels[q] == labels[p] and lowest[q] < lowest[p]]
            if labels[p] and others:
                found[p] = level - lowest[p][0]
    return [found[p] for p in places]


def grown(graph: SaddleGraph, markers: set[int]) -> list[int]:
    """The marker of each basin: the lowest saddle on the edge of what is marked comes first."""
    of = {marker: marker for marker in markers}
    around: dict[int, list[tuple[list[int], int]]] = {b: [] for b in graph.basin.tolist()}
    for (a, b), saddle in zip(graph.edge.tolist(), graph.saddle.tolist(), strict=True):
        around[a].append((saddle, b))
        around[b].append((saddle, a))
    queue = [(saddle, b, m) for m in markers for saddle, b in around[m]]
    heapq.heapify(queue)
    while queue:
        _, basin, marker = heapq.heappop(queue)
        if basin not in of:
            of[basin] = marker
            for saddle, b in around[basin]:
                heapq.heappush(queue, (saddle, b, marker))
    return [of[b] for b in graph.basin.tolist()]


@pytest.mark.parametrize("connectivity", [6, 26])
def test_dynamics_and_markers(connectivity: Connectivity) -> None:
    rng = np.random.default_rng(connectivity)
    for _ in range(20):
        relief = whole.random_relief(rng, 8)
        box = whole.whole_box(relief)
        graph = find_saddles(whole.block_of(relief, box, connectivity), connectivity)
        dynamics = find_dynamics(graph)
        assert dynamics.tolist() == flooded(relief, connectivity, graph.basin.tolist())
        least = int(rng.choice([0, 1, 2, 100, 20000]))
        markers = mark(graph, least)
        assert markers.tolist() == grown(graph, set(graph.basin[dynamics >= least].tolist()))
        merged = contract(graph, markers)
        assert (find_dynamics(merged) >= least).all()
        assert merged.voxels.sum() == np.count_nonzero(relief != OUTSIDE)
        structure = ndimage.generate_binary_structure(3, whole.RANK[connectivity])
        labels = ndimage.label(relief != OUTSIDE, structure)[0]
        of = {int(labels[voxel(int(n) - 1)]) for n in np.unique(find_components(graph))}
        assert of == set(range(1, labels.max() + 1))


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_forests_of_blocks_joined_are_the_forest_of_the_whole(connectivity: Connectivity) -> None:
    rng = np.random.default_rng(connectivity)
    for _ in range(12):
        relief = whole.random_relief(rng, 9)
        box = whole.whole_box(relief)
        forest = whole.joined(relief, box, connectivity, rng, spanning_forest)
        graph = find_saddles(whole.block_of(relief, box, connectivity), connectivity)
        assert np.array_equal(find_dynamics(forest), find_dynamics(graph))
        for least in (1, 3, 5000):
            assert np.array_equal(mark(forest, least), mark(graph, least))


def test_graphs_with_open_ends_are_refused() -> None:
    relief = np.array([[[1, 5, 6, 0, 3]]], np.uint16)
    graph = find_saddles(whole.block_of(relief, Box((0, 0, 0), (1, 1, 3)), 6), 6)
    assert graph.basin.tolist() == [1, 4] and graph.edge.tolist() == [[1, 4]]
    cut = graph._replace(basin=graph.basin[:1], relief=graph.relief[:1])
    with pytest.raises(AssertionError, match="beyond the blocks"):
        find_dynamics(cut)

"""Agglomeration against the rule as it is written, component by component, and on known shapes."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from fibstream.core.grid import Grid
from fibstream.kernels.conventions import Connectivity
from fibstream.kernels.mapping import encode_mapping
from fibstream.kernels.relabel import relabel
from fibstream.kernels.watershed.agglomerate import agglomerate
from fibstream.kernels.watershed.basins import HIGHEST, OUTSIDE, paint_ends, relief_of
from fibstream.kernels.watershed.dynamics import contract, find_components, mark
from fibstream.kernels.watershed.presets import MITOCHONDRIA, NUCLEI
from fibstream.kernels.watershed.rule import Agglomeration
from fibstream.kernels.watershed.saddles import (
    SaddleGraph,
    find_in,
    find_saddles,
    follow,
    join_all,
    rows_of,
)

from ...refine.whole import random_grid
from ...support.geometry import triple
from . import whole

Ids = NDArray[np.uint64]


def score(levels: Counter[int], rule: Agglomeration) -> Fraction:
    """One less the quantile of the affinities of single pairs of voxels."""
    span = 255 - rule.background
    affinities = sorted(
        (Fraction(HIGHEST - relief, 128) - rule.background) / span for relief in levels.elements()
    )
    at = min(rule.quantile * len(affinities) // 100, len(affinities) - 1)
    return 1 - affinities[at]


def merged(graph: SaddleGraph, rule: Agglomeration) -> dict[int, int]:
    """The rule step by step: all scores anew, the least pair merges."""
    between: dict[frozenset[int], Counter[int]] = {}
    for row, pair in enumerate(graph.edge.tolist()):
        mine = graph.at == row
        counts = dict(zip(graph.level[mine].tolist(), graph.times[mine].tolist(), strict=True))
        between[frozenset(pair)] = Counter(counts)
    region = {b: b for b in graph.basin.tolist()}
    while between:
        scores = {(score(n, rule), min(pair), max(pair)) for pair, n in between.items()}
        least, a, b = min(scores)
        if least >= rule.threshold:
            break
        region = {k: a if v == b else v for k, v in region.items()}
        after: dict[frozenset[int], Counter[int]] = {}
        for pair, n in between.items():
            new = frozenset(a if end == b else end for end in pair)
            if len(new) == 2:
                after[new] = after.get(new, Counter()) + n
        between = after
    first = dict(zip(graph.basin.tolist(), graph.first.tolist(), strict=True))
    least_of = {r: min(first[k] for k in region if region[k] == r) for r in region.values()}
    return {basin: least_of[r] for basin, r in region.items()}


def random_rule(rng: np.random.Generator) -> Agglomeration:
    """Any quantile and threshold."""
    threshold = Fraction(int(rng.integers(0, 41)), 40)
    least = int(rng.choice([1, 1, 300]))
    return Agglomeration(int(rng.choice([0, 25, 50, 100])), threshold, 126, least)


def random_relief(rng: np.random.Generator) -> whole.Relief:
    """Levels up to the background, many of them equal."""
    relief = whole.random_relief(rng, 7)
    inside = relief != OUTSIDE
    relief[inside] = relief[inside].astype(np.int64) * 1651 % (129 << 7)
    return relief


def graph_of(relief: whole.Relief, connectivity: Connectivity = 6) -> SaddleGraph:
    """The graph of a volume in one block."""
    box = whole.whole_box(relief)
    return find_saddles(whole.block_of(relief, box, connectivity), connectivity)


@pytest.mark.parametrize("seed", range(12))
def test_it_is_the_rule_step_by_step(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(3):
        graph, rule = graph_of(random_relief(rng)), random_rule(rng)
        markers = mark(graph, rule.least_dynamics)
        expected = merged(contract(graph, markers), rule)
        assert agglomerate(graph, rule).tolist() == [expected[m] for m in markers.tolist()]


def part_of(graph: SaddleGraph, inside: NDArray[np.bool_]) -> SaddleGraph:
    """The basins marked, with the edges between them."""
    kept = np.isin(graph.edge[:, 0], graph.basin[inside])
    row = np.cumsum(kept) - 1
    levels = kept[graph.at]
    return graph._replace(
        **{k: getattr(graph, k)[inside] for k in ("basin", "relief", "first", "voxels")},
        **{k: getattr(graph, k)[kept] for k in ("edge", "saddle")},
        **{k: getattr(graph, k)[levels] for k in ("level", "times")},
        at=row[graph.at[levels]],
    )


def test_components_of_the_foreground_do_not_influence_one_another() -> None:
    rng = np.random.default_rng(5)
    for _ in range(30):
        graph, rule = graph_of(random_relief(rng)), random_rule(rng)
        objects, components = agglomerate(graph, rule), find_components(graph)
        for component in np.unique(components):
            inside = components == component
            assert np.array_equal(agglomerate(part_of(graph, inside), rule), objects[inside])


def in_blocks(
    relief: whole.Relief, grid: Grid, rule: Agglomeration, connectivity: Connectivity
) -> Ids:
    """The objects of a volume of which no more than a block is read at a time."""
    basins = {i: whole.block_of(relief, grid.box(i), connectivity) for i in grid.indices()}
    graphs = {i: find_saddles(b, connectivity) for i, b in basins.items()}
    graph, out = join_all(graphs), np.zeros(relief.shape, np.uint64)
    objects = agglomerate(graph, rule)
    shell = follow([g.shell for g in graphs.values()])
    for index, block in basins.items():
        ends = paint_ends(block)
        mine = graphs[index].basin
        minima = find_in(shell[:, 0], shell[:, 1], mine)
        resolved = objects[rows_of(graph.basin, minima)]
        out[grid.box(index).slices()] = relabel(ends, mine, encode_mapping(mine, resolved))
    return out


def test_objects_in_blocks_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(6)
    for connectivity in (6, 18, 26) * 8:
        relief, rule = random_relief(rng), random_rule(rng)
        graph = graph_of(relief, connectivity)
        ends = paint_ends(whole.block_of(relief, whole.whole_box(relief), connectivity))
        expected = relabel(ends, graph.basin, encode_mapping(graph.basin, agglomerate(graph, rule)))
        grid = random_grid(rng, relief.shape)
        assert np.array_equal(in_blocks(relief, grid, rule, connectivity), expected)
        for name in np.unique(expected[expected > 0]):
            assert name == whole.name(triple(np.argwhere(expected == name)[0]))


def test_a_neck_is_cut_by_the_affinity_of_its_later_voxel() -> None:
    smoothed = np.array([[[255, 200, 130, 140, 255]]], np.uint16) << np.uint16(7)
    graph = graph_of(relief_of(smoothed, 126))
    assert graph.basin.tolist() == [1, 5] and graph.level.tolist() == [115 << 7]
    for quantile in (0, 50, 100):
        cut = agglomerate(graph, Agglomeration(quantile, Fraction(115, 129)))
        whole_one = agglomerate(graph, Agglomeration(quantile, Fraction(115 * 256 + 1, 129 * 256)))
        assert cut.tolist() == [1, 4] and whole_one.tolist() == [1, 1]


def test_published_parameters() -> None:
    published = {k: (r.quantile, float(r.threshold)) for k, r in MITOCHONDRIA.items()}
    assert published == {
        "hela-2": (25, 0.9),
        "hela-3": (25, 0.875),
        "jurkat": (50, 0.6),
        "macrophage": (50, 0.7),
    }
    assert {k: (r.quantile, float(r.threshold)) for k, r in NUCLEI.items()} == {"jurkat": (25, 0.1)}


def known_shapes() -> NDArray[np.uint8]:
    """The volume of the published unit tests, (z, y, x), whose six objects are known."""
    z, y, x = np.ogrid[:150, :150, :150]
    shapes = np.full((150, 150, 150), 126, np.uint8)
    shapes[np.broadcast_to(z > 140, shapes.shape)] = 255
    sphere = (x - 117) ** 2 + (y - 117) ** 2 + (z - 98) ** 2 <= 29**2
    hole = (abs(x - 117) < 5) & (abs(y - 117) < 5) & (abs(z - 98) < 5)
    shapes[sphere] = 255
    shapes[hole] = 0
    shapes[((x - 75) ** 2 + (y - 50) ** 2 <= 49**2) & (z < 138)] = 255
    bent = (x > 130) & (x < 140) & (z > 70) & (z < 80) & (y < 4)
    shapes[bent] = 255
    shapes[bent & (y == 2) & (x < 139)] = 0
    for at_x, at_y in [(100, 98), (100, 99), (100, 100), (102, 98), (102, 99), (104, 99)]:
        shapes[75, at_y, at_x] = 255
    inner = np.zeros_like(shapes)
    inner[1:149, 1:149, 1:149] = shapes[1:149, 1:149, 1:149]
    return inner


def test_objects_of_known_shapes() -> None:
    relief = relief_of(known_shapes().astype(np.uint16) << np.uint16(7), 126)
    labels = in_blocks(relief, Grid(relief.shape, (64, 64, 64)), MITOCHONDRIA["hela-2"], 6)
    names, voxels = np.unique(labels[labels > 0], return_counts=True)
    names, voxels = names[voxels > 1], voxels[voxels > 1]
    assert names.size == 6
    centres = 4 * np.array(ndimage.center_of_mass(np.ones_like(labels), labels, names))[:, ::-1]
    rows = dict(zip((64 * voxels).tolist(), centres.round(3).tolist(), strict=True))
    assert rows[65979200] == [300, 200, 276]
    assert rows[10944] == [540.842, 8, 300]
    assert rows[192] == [400, 396, 300]
    expected = ndimage.label(relief != OUTSIDE)[0]
    found, numbers = np.unique(labels.ravel(), return_inverse=True)
    pairs = np.unique(numbers * (expected.max() + 1) + expected.ravel())
    assert pairs.size == expected.max() + 1 == found.size

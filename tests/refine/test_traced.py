"""Components, fragments and objects of every basin are those of the whole volume."""

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from fibstream.app.reference import STRUCTURE
from fibstream.core.grid import Halo, Index
from fibstream.core.ids import gids
from fibstream.core.stage import Arrays
from fibstream.kernels.conventions import Connectivity
from fibstream.kernels.mapping import decode_mapping, encode_mapping
from fibstream.kernels.relabel import relabel
from fibstream.kernels.watershed.agglomerate import agglomerate
from fibstream.kernels.watershed.dynamics import mark
from fibstream.kernels.watershed.split import SplitFold
from fibstream.kernels.watershed.traced import LEVELS, Trace, trace

from .touching import Case

Chunks = dict[Index, tuple[NDArray[np.uint64], Arrays]]
COMPONENT = LEVELS.index("component")
CONNECTIVITIES: tuple[Connectivity, ...] = (6, 18, 26)


def traced(case: Case, chunks: Chunks, most_bytes: int = 1 << 28) -> Trace:
    order = [index for index in case.order if index in chunks]
    return trace(order, lambda index: chunks[index][1], case.given.agglomeration, most_bytes)


def painted(case: Case, chunks: Chunks, found: Trace, level: int) -> NDArray[np.uint64]:
    out = np.zeros(case.grid.extent, np.uint64)
    for index, (ends, summary) in chunks.items():
        mapping = encode_mapping(summary["ids"], found.names[index][level])
        out[case.grid.box(index).slices()] = relabel(ends, summary["ids"], mapping)
    return out


def by_first_voxel(groups: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Name each number but 0 by its first voxel."""
    distinct, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    z, y, x = groups.shape
    names = np.where(distinct > 0, gids(first, (0, 0, 0), (z, y, x)) + np.uint64(1), 0)
    return names.astype(np.uint64)[inverse.reshape(groups.shape)]


def sizes(labels: NDArray[np.uint64]) -> Counter[int]:
    ids, voxels = np.unique(labels[labels > 0], return_counts=True)
    return Counter(dict(zip(ids.tolist(), voxels.tolist(), strict=True)))


def whole(case: Case) -> tuple[NDArray[np.uint64], ...]:
    """Components, fragments and objects of the volume as one block."""
    ends, graph = case.graph()
    rule, mask = case.given.agglomeration, ends > 0
    structure = ndimage.generate_binary_structure(3, STRUCTURE[case.given.connectivity])
    groups = [ndimage.label(mask, structure)[0].astype(np.uint64)]
    for of_basin in (mark(graph, rule.least_dynamics), agglomerate(graph, rule)):
        groups.append(np.zeros_like(ends))
        groups[-1][mask] = of_basin[np.searchsorted(graph.basin, ends[mask])]
    fill = case.given.fill_holes
    fills = fill, "none" if fill == "none" else "one", fill  # nothing joins fragments
    named = [by_first_voxel(group) for group in groups]
    return tuple(case.filled(each, how) for each, how in zip(named, fills, strict=True))


@pytest.mark.parametrize("seed", range(200, 218))
def test_blocks_are_the_whole(seed: int) -> None:
    case = Case(seed, CONNECTIVITIES[seed % 3], [0.0, 3.0][seed % 2])
    chunks, expected = case.chunks(case.values), whole(case)
    for most_bytes in (1, 10_000, 1 << 28):  # components one by one, some together, all
        found = traced(case, chunks, most_bytes)
        for level, named in enumerate(expected):
            assert np.array_equal(painted(case, chunks, found, level), named), LEVELS[level]
            assert found.voxels[level] == sizes(named), LEVELS[level]


def test_fragments_and_objects_differ_in_some_of_these() -> None:
    """Else the law above would say nothing of them."""
    counts = []
    for seed in range(200, 218):
        case = Case(seed, CONNECTIVITIES[seed % 3], [0.0, 3.0][seed % 2])
        counts.append([len(sizes(each)) for each in whole(case)])
    assert sum(a < b < c for a, c, b in counts) >= 3


def test_an_open_component_is_one_object() -> None:
    """While a chunk is missing, what reaches it is not divided, and all else is as in the end."""
    for seed in range(230, 242):
        case = Case(seed, 6, 0.0)
        chunks, expected = case.chunks(case.values), whole(case)
        missing = case.order[0]
        del chunks[missing]
        found = traced(case, chunks)
        box = case.grid.box(missing)
        reach = np.zeros(case.grid.extent, bool)
        reach[box.grow(Halo.of(1)).meet(case.grid.volume).slices()] = True
        open_ = np.isin(expected[0], expected[0][reach])
        seen = np.ones_like(reach)
        seen[box.slices()] = False
        for level, named in enumerate(expected):
            here = painted(case, chunks, found, level)
            assert np.array_equal(here[seen & ~open_], named[seen & ~open_])
            assert np.array_equal(here[open_], painted(case, chunks, found, COMPONENT)[open_])


def test_objects_are_those_of_the_fold_while_two_contents_meet() -> None:
    """Of a chunk that was acquired anew, and whose neighbours are not, nothing is assumed."""
    mixed = 0
    for seed in range(250, 266):
        case = Case(seed, CONNECTIVITIES[seed % 3], 0.0)
        chunks, others = case.chunks(case.values), case.chunks(case.values[::-1].copy())
        fold = SplitFold(case.given.agglomeration, case.grid)
        for index in sorted(chunks):
            fold.put(index, chunks[index][1])
        chunks = {i: others[i] if case.rng.random() < 0.2 else own for i, own in chunks.items()}
        for index in sorted(chunks):
            fold.put(index, chunks[index][1])
        fold.snapshot()
        case.order = sorted(chunks)
        found = traced(case, chunks)
        for index, (_, summary) in chunks.items():
            expected = decode_mapping(summary["ids"], fold.mapping(index))
            assert np.array_equal(found.names[index][LEVELS.index("object")], expected), seed
        mixed += len(chunks) > 1
    assert mixed > 5

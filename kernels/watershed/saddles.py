"""The saddle graph of the basins of a block, and that of two blocks joined.

A basin whose minimum lies beyond the block has a provisional name: the voxel by which descent
leaves. The *shell* says where every voxel on the hull of a block descends to, so joining two blocks
replaces provisional names. Blocks joined in any order have the graph of the block they make up,
to the bit: all sums are of integers and every tie is broken by voxels' names, ``1 + gid``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box, Index
from fibstream.core.ids import AXIS_BITS, AXIS_MASK

from ..compiled import compiled
from ..conventions import Connectivity
from .basins import OUTSIDE, Basins, Ids, Relief, flat_steps, name_voxels

Ends = NDArray[np.int32]
VOXEL_BITS, STEP_BITS, LEVEL_BITS = 32, 4, 16  # of keys that sort pairs of voxels


class SaddleGraph(NamedTuple):
    """Basins and the saddles between them; all arrays are sorted.

    Attributes
    ----------
    core
        The block, in voxels of the volume.
    basin
        Names of the ends of descent, uint64 ``(n,)``: minima, and voxels just beyond the block.
    relief
        At the end, uint16 ``(n,)``.
    first
        Least name of the block's voxels that descend there, uint64 ``(n,)``.
    voxels
        Their number, uint64 ``(n,)``.
    shell
        Voxels on the hull of the block and their ends, uint64 ``(s, 2)``.
    edge
        Ends of neighbouring voxels, the lesser first, uint64 ``(m, 2)``.
    saddle
        The least of (greater relief of the two voxels, first voxel, second voxel) over all pairs
        of neighbouring voxels with these ends, uint64 ``(m, 3)``.
    at, level, times
        How often the later voxel of such a pair has a relief: row of ``edge`` (int64), relief
        (uint16) and number (uint64), each ``(k,)``. The affinity of two voxels is that of the later
        one, as waterz takes it.
    """

    core: Box
    basin: Ids
    relief: Relief
    first: Ids
    voxels: Ids
    shell: Ids
    edge: Ids
    saddle: Ids
    at: NDArray[np.int64]
    level: Relief
    times: Ids


def find_saddles(basins: Basins, connectivity: Connectivity) -> SaddleGraph:
    """Return the saddle graph of a block; a pair of voxels belongs to the block of the earlier."""
    shape, relief, end = basins.relief.shape, basins.relief.reshape(-1), basins.end.reshape(-1)
    voxels, first = np.zeros(end.size, np.int32), np.empty(end.size, np.int32)
    _count_voxels(shape, end, voxels, first)
    ends = np.flatnonzero(voxels)
    hull = np.zeros(shape, np.bool_)
    hull[1:-1, 1:-1, 1:-1] = True
    hull[2:-2, 2:-2, 2:-2] = False
    outer = np.flatnonzero(hull.reshape(-1) & (end >= 0))
    return SaddleGraph(
        basins.core,
        name_voxels(basins, ends),
        relief[ends],
        name_voxels(basins, first[ends]),
        voxels[ends].astype(np.uint64),
        np.stack([name_voxels(basins, outer), name_voxels(basins, end[outer])], 1),
        *_find_edges(basins, connectivity),
    )


def unite(graphs: Sequence[SaddleGraph]) -> SaddleGraph:
    """Return the graph of the basins of any blocks; ``core`` is the box around all of them.

    The shell is that of every block: whoever has a provisional name finds its end there.
    """
    start, stop = zip(
        *((min(low), max(high)) for low, high in zip(*_corners(graphs), strict=True)), strict=True
    )
    both = {
        field: np.concatenate([getattr(graph, field) for graph in graphs])
        for field in SaddleGraph._fields[1:]
    }
    rows = np.cumsum([0, *(len(graph.edge) for graph in graphs)])
    both["at"] += np.repeat(rows[:-1], [graph.at.size for graph in graphs])
    shell = follow([graph.shell for graph in graphs])
    merged = SaddleGraph(Box(start, stop), **both)._replace(shell=shell)
    names, ends = shell[:, 0], shell[:, 1]
    return rename(merged, find_in(names, ends, merged.basin), find_in(names, ends, merged.edge))


def _corners(graphs: Sequence[SaddleGraph]) -> tuple[list[Index], list[Index]]:
    """Return by axis the first and the last places of all blocks."""
    lows, highs = ([getattr(g.core, end) for g in graphs] for end in ("start", "stop"))
    return list(zip(*lows, strict=True)), list(zip(*highs, strict=True))


def join(one: SaddleGraph, other: SaddleGraph) -> SaddleGraph:
    """Return the saddle graph of two blocks that make up one, which is asserted."""
    found = unite([one, other])
    assert np.prod(found.core.shape) == np.prod(one.core.shape) + np.prod(other.core.shape)
    return _hull_only(found)


def join_all(graphs: Mapping[Index, SaddleGraph]) -> SaddleGraph:
    """Return the saddle graph of the blocks of a grid, by their indices (z, y, x) on it."""
    return _hull_only(unite(list(graphs.values())))


def _hull_only(graph: SaddleGraph) -> SaddleGraph:
    return graph._replace(shell=graph.shell[_on_hull(graph.shell[:, 0], graph.core)])


def follow(shells: list[Ids]) -> Ids:
    """Return shells of blocks as one, sorted, with the ends of paths through all of the blocks.

    An end that is still beyond them stays. Descent never returns, so doubling the paths ends; of
    blocks of volumes that differ they may run in a circle, which is then left as it is.
    """
    shell = np.concatenate(shells)
    shell = shell[np.argsort(shell[:, 0])]
    for _ in range(len(shell).bit_length() + 1):
        after = find_in(shell[:, 0], shell[:, 1], shell[:, 1])
        if np.array_equal(after, shell[:, 1]):
            break
        shell[:, 1] = after
    return shell


def find_in(names: Ids, values: Ids, wanted: Ids) -> Ids:
    """Return the value of each wanted name, or the name itself where sorted names lack it."""
    if not names.size:
        return wanted
    at = np.minimum(np.searchsorted(names, wanted), names.size - 1)
    return np.where(names[at] == wanted, values[at], wanted)


def is_complete(graph: SaddleGraph) -> bool:
    """Whether every edge leads to basins of the graph, and no basin to another one.

    So it is with whole components of the foreground, unless blocks are of volumes that differ.
    """
    below = find_in(graph.shell[:, 0], graph.shell[:, 1], graph.basin)
    return bool(np.isin(graph.edge, graph.basin).all() and np.array_equal(below, graph.basin))


def rows_of(names: Ids, wanted: Ids) -> NDArray[np.intp]:
    """Return where sorted names hold each wanted one, which is asserted."""
    rows = np.searchsorted(names, wanted)
    inside = names.take(rows, mode="clip") if names.size else np.zeros_like(wanted)
    assert np.array_equal(inside, wanted), "the minimum of a basin is beyond the blocks"
    return rows


def with_edges(graph: SaddleGraph, kept: NDArray[np.bool_]) -> SaddleGraph:
    """Return the graph with some of its edges, bool ``(m,)``."""
    times = kept[graph.at]
    row = np.cumsum(kept) - 1
    return graph._replace(
        edge=graph.edge[kept], saddle=graph.saddle[kept], at=row[graph.at[times]],
        level=graph.level[times], times=graph.times[times],
    )  # fmt: skip


def rename(graph: SaddleGraph, basin: Ids, edge: Ids) -> SaddleGraph:
    """Return the graph in which basins of one new name are one; the order need not be kept.

    ``basin`` are the new names of ``graph.basin``, of which one is the old one of each, and
    ``edge`` those of ``graph.edge``.
    """
    names, group = np.unique(basin, return_inverse=True)
    relief = np.zeros(names.size, np.uint16)
    same = basin == graph.basin  # the basin that gives the others its name knows the relief
    relief[group[same]] = graph.relief[same]
    first = np.full(names.size, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(first, group, graph.first)
    voxels = np.zeros(names.size, np.uint64)
    np.add.at(voxels, group, graph.voxels)
    return graph._replace(
        basin=names, relief=relief, first=first, voxels=voxels, **_merge_edges(graph, edge)
    )


def _merge_edges(graph: SaddleGraph, ends: Ids) -> dict[str, Any]:
    """Return the edges with new ends: those within one basin dropped, parallel ones added."""
    ends = np.sort(ends, axis=1)
    order = np.lexsort((*graph.saddle.T[::-1], ends[:, 1], ends[:, 0]))
    order = order[ends[order, 0] != ends[order, 1]]
    sorted_ends = ends[order]
    new = np.ones(order.size, np.bool_)
    new[1:] = (sorted_ends[1:] != sorted_ends[:-1]).any(axis=1)
    row = np.full(len(ends), -1, np.int64)
    row[order] = np.cumsum(new) - 1
    kept = row[graph.at] >= 0
    keys = row[graph.at[kept]] << LEVEL_BITS | graph.level[kept].astype(np.int64)
    keys, at = np.unique(keys, return_inverse=True)
    times = np.zeros(keys.size, np.uint64)
    np.add.at(times, at, graph.times[kept])
    return {
        "edge": sorted_ends[new],
        "saddle": graph.saddle[order[new]],
        "at": keys >> LEVEL_BITS,
        "level": (keys & OUTSIDE).astype(np.uint16),
        "times": times,
    }


def _on_hull(names: Ids, core: Box) -> NDArray[np.bool_]:
    place, hull = names - np.uint64(1), np.zeros(names.size, np.bool_)
    for axis in range(3):
        along = place >> np.uint64((2 - axis) * AXIS_BITS) & np.uint64(AXIS_MASK)
        hull |= (along == core.start[axis]) | (along == core.stop[axis] - 1)
    return hull


def _find_edges(
    basins: Basins, connectivity: Connectivity
) -> tuple[Ids, Ids, NDArray[np.int64], Relief, Ids]:
    """Return edge, saddle, at, level and times of a block."""
    shape, relief, end = basins.relief.shape, basins.relief.reshape(-1), basins.end.reshape(-1)
    steps = flat_steps(connectivity, shape)
    count = _write_pairs(shape, relief, end, steps, *_room(0))
    ends, saddles, levels = _room(count)
    _write_pairs(shape, relief, end, steps, ends, saddles, levels)
    order = np.argsort(ends, kind="stable")
    ends, saddles = ends[order], saddles[order]
    new = np.ones(count, np.bool_)
    new[1:] = ends[1:] != ends[:-1]
    begin = np.flatnonzero(new)
    keys = (np.cumsum(new) - 1) << LEVEL_BITS | levels[order].astype(np.int64)
    keys, times = np.unique(keys, return_counts=True)
    pairs = ends[begin]
    least = np.minimum.reduceat(saddles, begin) if count else saddles
    first = least >> STEP_BITS & (1 << VOXEL_BITS) - 1
    second = first + steps[least & (1 << STEP_BITS) - 1]
    saddle = (least >> STEP_BITS + VOXEL_BITS).astype(np.uint64)
    lesser, greater = pairs >> VOXEL_BITS, pairs & (1 << VOXEL_BITS) - 1
    return (
        np.stack([name_voxels(basins, lesser), name_voxels(basins, greater)], 1),
        np.stack([saddle, name_voxels(basins, first), name_voxels(basins, second)], 1),
        keys >> LEVEL_BITS,
        (keys & OUTSIDE).astype(np.uint16),
        times.astype(np.uint64),
    )


def _room(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Relief]:
    return np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.uint16)


@compiled
def _count_voxels(shape: Index, end: Ends, voxels: Ends, first: Ends) -> None:
    """Count the voxels of the block at each end, and note the first one."""
    for z in range(1, shape[0] - 1):
        for y in range(1, shape[1] - 1):
            row = (z * shape[1] + y) * shape[2]
            for p in range(row + 1, row + shape[2] - 1):
                if end[p] >= 0:
                    if voxels[end[p]] == 0:
                        first[end[p]] = p
                    voxels[end[p]] += 1


@compiled
def _write_pairs(
    shape: Index,
    relief: Relief,
    end: Ends,
    steps: NDArray[np.int64],
    ends: NDArray[np.int64],
    saddles: NDArray[np.int64],
    levels: Relief,
) -> int:
    """Write pairs of neighbouring voxels with two ends while there is room; return how many."""
    count = 0
    for z in range(1, shape[0] - 1):
        for y in range(1, shape[1] - 1):
            row = (z * shape[1] + y) * shape[2]
            for p in range(row + 1, row + shape[2] - 1):
                if end[p] < 0:
                    continue
                for s in range(steps.size):
                    q = p + steps[s]
                    if end[q] < 0 or end[q] == end[p]:
                        continue
                    if count < ends.size:
                        low, high = min(end[p], end[q]), max(end[p], end[q])
                        ends[count] = np.int64(low) << VOXEL_BITS | np.int64(high)
                        saddle = np.int64(max(relief[p], relief[q]))
                        place = np.int64(p) << STEP_BITS | np.int64(s)
                        saddles[count] = saddle << STEP_BITS + VOXEL_BITS | place
                        levels[count] = relief[q]
                    count += 1
    return count

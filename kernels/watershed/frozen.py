"""What is decided of a component that is open: basins that are one, and objects that are done.

A basin is *frozen* that has a voxel beside a chunk that is missing: what it touches, and what it
descends to, are not all known. Everything else follows, and is what the whole volume
gives, by three rules:

* Over rising saddles, sets that have met no frozen basin yet join as `dynamics.mark` has it. When
  such a set meets one that has, its minima are as deep as they seem, and its lowest one at least
  as deep as that saddle is high. If it is shallow, and the other has a lower minimum, it ends
  there, in the marker behind that saddle, if this is one for certain.
* A marker is *settled* if it and all around it are markers for certain: nothing joins any of them
  but by agglomeration. A quantile of two lists together lies between theirs (agglomeration is
  reducible: Bruynooghe, Cahiers de l'Analyse des Donnees 1978), so that of two settled markers
  whose score is the least of both nothing unknown comes first. Where scores are equal the order of
  names decides, which may change: all that such scores connect waits if one of it has to wait.
* A settled marker that has no score below the threshold has none later.

So chunks that are missing let abut all that touches them wait, as in abiss (Lu et al.,
arXiv:2106.10795), and what waits is as large as their faces, not as the component.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Grid, Index
from fibstream.core.ids import AXIS_BITS, AXIS_MASK
from fibstream.core.stage import Arrays

from ..compiled import compiled
from ..roots import root_of
from .agglomerate import merge, neighbours
from .basins import Ids, Relief
from .dynamics import ENDLESS, Numbers, numbered, spanning_forest
from .rule import Agglomeration
from .saddles import SaddleGraph, find_in, rename, rows_of, unite, with_edges
from .summary import selected

Rows = NDArray[np.bool_]
ByChunk = Mapping[Index, tuple[Rows, Ids]]


class Settled(NamedTuple):
    """Basins of some chunks of one component, as far as they are one.

    Attributes
    ----------
    graph
        What agglomerates: its names are the least of the markers that have merged, or those of
        basins that wait. What is done is not in it.
    forest
        The spanning forest of all markers and of basins that wait, by which dynamics are told.
    beside
        Rows (piece of background, end of descent beside it, what of the graph that end is), of
        pieces that may be holes.
    rows
        By chunk, which of its basins these are, and what of the graph each is.
    """

    graph: SaddleGraph
    forest: SaddleGraph
    beside: Ids
    rows: ByChunk

    def of_ends(self, ends: Ids) -> Ids:
        """Return what of the graph ends of descent are, as far as it is known."""
        known = self.beside[self.beside[:, 1] != self.beside[:, 2], 1:]
        known = known[np.unique(known[:, 0], return_index=True)[1]]
        names, to = self.graph.shell.T
        return find_in(names, to, find_in(known[:, 0], known[:, 1], ends))


class Done(NamedTuple):
    """Objects of an open component that nothing can change any more.

    Attributes
    ----------
    voxels
        Of each object, by its id: its least voxel.
    rows
        By chunk, which of its basins are done, and the object of each.
    """

    voxels: Mapping[int, int]
    rows: ByChunk


def of_chunk(chunk: Index, kept: Rows, summary: Arrays) -> Settled:
    """Return some basins of a chunk; ``kept`` is of all rows of ``ids`` of its summary."""
    graph = selected(summary, kept)
    own = kept[: summary["relief"].size]
    return Settled(graph, graph, np.empty((0, 3), np.uint64), {chunk: (own, graph.basin)})


def united(parts: Sequence[Settled]) -> Settled:
    """Return parts of one component as one; each basin of a chunk is in one of them."""
    graph = unite([part.graph for part in parts])
    merged = any(part.forest is not part.graph for part in parts)
    forest = unite([part.forest for part in parts]) if merged else graph
    names, ends = graph.shell.T
    beside = np.concatenate([part.beside for part in parts])
    beside[:, 2] = find_in(names, ends, beside[:, 2])
    rows: dict[Index, tuple[Rows, Ids]] = {}
    for part in parts:
        for chunk, (own, of) in part.rows.items():
            before, found = rows.get(chunk, (np.zeros_like(own), of[:0]))
            to = np.zeros(own.size, np.uint64)
            to[before], to[own] = found, find_in(names, ends, of)
            rows[chunk] = before | own, to[before | own]
    return Settled(graph, forest, beside, rows)


def settle(
    parts: Sequence[Settled], grid: Grid, known: Collection[Index], rule: Agglomeration,
    beside: Ids,
) -> tuple[Settled, Done, Rows]:  # fmt: skip
    """Merge what is decided, and take out what is done.

    Parameters
    ----------
    parts
        All basins of a component in the chunks that are known, each once.
    grid
        The chunks of the volume; while its extent is open, none is the last.
    known
        Chunks whose summaries are there.
    rule
        What decides which basins become one object.
    beside
        Rows (piece of background, end of descent beside it) of all known chunks, of pieces that
        may still be holes, but those that ``parts`` have.

    Returns
    -------
    Settled
        What is left.
    Done
        The objects that are done.
    ndarray of bool
        Which rows of ``beside`` are of this component: they are in what is left.
    """
    one = united(parts)
    of = one.of_ends(beside[:, 1])
    own = np.isin(of, one.graph.basin)
    one = one._replace(beside=np.concatenate([one.beside, np.column_stack([beside, of])[own]]))
    open_ = _beside_missing(one.graph.shell, grid, known)
    clusters, sure = _clusters(one.forest, open_[:, 1], rule.least_dynamics)
    forest = _renamed(one.forest, one.forest.basin, clusters)
    names = find_in(one.forest.basin, clusters, one.graph.basin)
    graph = _renamed(one.graph, one.graph.basin, names)

    settled = _settled(graph, sure)
    around = neighbours(_within(graph), rule.quantile)
    groups = graph.basin[merge(around, rule, (~settled).tolist())]
    apart = np.array([all(e.score >= rule.limit for e in es.values()) for es in around], np.bool_)
    names = find_in(graph.basin, groups, names)
    beside = one.beside.copy()
    beside[:, 2] = find_in(one.graph.basin, names, beside[:, 2])
    done = graph.basin[settled & apart & (groups == graph.basin)]
    done = done[~np.isin(done, beside[:, 2])]

    graph = _renamed(graph, graph.basin, groups)
    rows = {chunk: (own, find_in(one.graph.basin, names, of))
            for chunk, (own, of) in one.rows.items()}  # fmt: skip
    left = Settled(
        _without(graph, done)._replace(shell=open_),  # frozen basins keep their names
        spanning_forest(forest)._replace(shell=_beside_missing(forest.shell, grid, known)),
        beside, _only(rows, done, among=False),
    )  # fmt: skip
    return left, _done(graph, done, rows), own


def _done(graph: SaddleGraph, names: Ids, rows: ByChunk) -> Done:
    """Return basins of a graph that are objects, by the ids that these have."""
    at = rows_of(graph.basin, names)
    ids, voxels = graph.first[at], graph.voxels[at]
    found = {chunk: (own, find_in(names, ids, of))
             for chunk, (own, of) in _only(rows, names, among=True).items()}  # fmt: skip
    return Done(dict(zip(ids.tolist(), voxels.tolist(), strict=True)), found)


def _places(names: Ids) -> Numbers:
    """Return the voxel of each name, int64 ``(n, 3)``."""
    place = (names - np.uint64(1)).astype(np.int64)
    return np.stack([place >> n * AXIS_BITS & AXIS_MASK for n in (2, 1, 0)], 1)


def _beside_missing(shell: Ids, grid: Grid, known: Collection[Index]) -> Ids:
    """Return the rows of a shell whose voxel has a neighbour in a chunk that is missing."""
    at, edges = _places(shell[:, 0]), np.array(grid.chunk)
    chunk = at // edges
    low = at == chunk * edges
    high = at == np.minimum((chunk + 1) * edges, grid.extent) - 1
    distinct, row = np.unique(chunk, axis=0, return_inverse=True)
    found = np.zeros(len(shell), np.bool_)
    for step in product((-1, 0, 1), repeat=3):
        there = np.full(len(shell), True)
        for axis, way in enumerate(step):
            if way:
                there &= (high if way > 0 else low)[:, axis]
        missing = [grid.contains(n) and n not in known
                   for n in map(tuple, (distinct + step).tolist())]  # fmt: skip
        found |= there & np.array(missing, np.bool_)[row.reshape(-1)]
    return shell[found]


def _clusters(forest: SaddleGraph, frozen: Ids, least: int) -> tuple[Ids, Ids]:
    """Return the least basin that each one is certain to be one with, and markers for certain."""
    inner = _within(forest)
    numbers, ends, order = numbered(inner)
    floor, waits = np.empty(numbers.size, np.uint16), np.empty(numbers.size, np.bool_)
    floor[numbers], waits[numbers] = inner.relief, np.isin(inner.basin, frozen)
    root, sure = _join(ends, inner.saddle[order, 0].astype(np.uint16), floor, waits, least)
    names = np.empty(numbers.size, np.uint64)
    names[numbers] = inner.basin
    return names[root[numbers]], np.unique(names[root[sure]])


def _settled(graph: SaddleGraph, sure: Ids) -> Rows:
    """Whether each basin is a marker for certain, and all that it touches are."""
    wrong = ~np.isin(graph.edge, sure)
    beside = np.concatenate([graph.edge[wrong[:, 1], 0], graph.edge[wrong[:, 0], 1]])
    return np.isin(graph.basin, sure) & ~np.isin(graph.basin, beside)


def _renamed(graph: SaddleGraph, basin: Ids, names: Ids) -> SaddleGraph:
    """Return the graph with basins of one name merged; ends beyond it stay."""
    return rename(graph, names, find_in(basin, names, graph.edge))


def _within(graph: SaddleGraph) -> SaddleGraph:
    """Return the graph without edges that lead beyond it."""
    return with_edges(graph, np.asarray(np.isin(graph.edge, graph.basin).all(axis=1)))


def _without(graph: SaddleGraph, gone: Ids) -> SaddleGraph:
    """Return the graph without some basins and their edges."""
    kept = ~np.isin(graph.basin, gone)
    left = with_edges(graph, np.asarray(~np.isin(graph.edge, gone).any(axis=1)))
    return left._replace(
        basin=graph.basin[kept], relief=graph.relief[kept], first=graph.first[kept],
        voxels=graph.voxels[kept],
    )  # fmt: skip


def _only(rows: ByChunk, names: Ids, *, among: bool) -> dict[Index, tuple[Rows, Ids]]:
    """Return the rows that are of some names, or those that are not."""
    found = {}
    for chunk, (own, of) in rows.items():
        kept = np.isin(of, names, invert=not among)
        left = own.copy()
        left[own] = kept
        if kept.any():
            found[chunk] = left, of[kept]
    return found


@compiled
def _join(
    ends: Numbers, saddle: Relief, floor: Relief, frozen: Rows, least: int
) -> tuple[Numbers, Rows]:
    """Join ends in order where what they meet is known; return roots, and markers for certain."""
    parent, waits = np.arange(floor.size), frozen.copy()
    depth = np.full(floor.size, ENDLESS, np.int64)
    known = np.zeros(saddle.size, np.int8)  # both sets, or that of an end that dies here: 1 + end
    for e in range(saddle.size):
        a, b = root_of(parent, ends[e, 0]), root_of(parent, ends[e, 1])
        if a == b:
            continue
        low, high = min(a, b), max(a, b)
        if not waits[high]:
            depth[high] = np.int64(saddle[e]) - floor[high]
            known[e] = (1 if high == a else 2) if waits[low] else 3
        elif not waits[low]:
            depth[low] = np.int64(saddle[e]) - floor[low]
        waits[low] |= waits[high]
        parent[high] = low
    flood = np.arange(floor.size)
    for e in range(saddle.size):
        if known[e]:
            a, b = root_of(flood, ends[e, 0]), root_of(flood, ends[e, 1])
            if known[e] == 2:
                a, b = b, a
            if known[e] == 3 and (depth[a] < least or depth[b] < least):
                flood[max(a, b)] = min(a, b)
            elif known[e] < 3 and depth[a] < least <= depth[b] and not frozen[b]:
                flood[a] = b
    sure = np.empty(floor.size, np.bool_)
    for node in range(floor.size):
        flood[node] = root_of(flood, node)
        sure[node] = depth[flood[node]] >= least and not frozen[flood[node]]
    return flood, sure

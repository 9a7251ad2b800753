"""Basins merged by a quantile of the affinities between them, in exact integers.

The affinity of a voxel is ``(g - background) / (255 - background)`` for a smoothed grey level g, so
the score of two basins, one less a quantile of the affinities between them, is a relief over
``2**7 * (255 - background)``: scores compare as integers, with a threshold as a fraction.

After waterz (Funke et al., IEEE PAMI 2019): the least score first, up to a threshold; the quantile
takes the value at ``floor(quantile * n / 100)`` of ``n`` in ascending order of affinity.
"""

import heapq
from collections import Counter

import numpy as np

from .basins import Ids
from .dynamics import contract, mark
from .rule import Agglomeration
from .saddles import SaddleGraph, find_in, rows_of


class Between:
    """How often each relief occurs between two basins, and its quantile: the score."""

    __slots__ = ("score", "times")

    def __init__(self, times: Counter[int], quantile: int) -> None:
        self.times = times
        self.rescore(quantile)

    def rescore(self, quantile: int) -> None:
        """Take the quantile anew."""
        total = self.times.total()
        before = min(quantile * total // 100, total - 1)
        # Ascending affinity is descending relief.
        for relief in sorted(self.times, reverse=True):
            before -= self.times[relief]
            if before < 0:
                self.score = relief
                return


Around = list[dict[int, Between]]


def agglomerate(graph: SaddleGraph, rule: Agglomeration, forest: SaddleGraph | None = None) -> Ids:
    """Return the object of each basin, uint64 ``(n,)``: the least name of its voxels.

    Parameters
    ----------
    graph
        Of a whole volume, or of whole components of its foreground: they do not influence one
        another.
    rule
        Ties of scores are broken by the names of the two basins, the lesser ones first; a merged
        basin has the lesser name.
    forest
        Of all basins, where those of ``graph`` are merged in part (`frozen.settle`): it alone tells
        how deep minima are.
    """
    deep = graph if forest is None else forest
    markers = find_in(deep.basin, mark(deep, rule.least_dynamics), graph.basin)
    merged = contract(graph, markers)
    region = np.array(merge(neighbours(merged, rule.quantile), rule), np.int64)
    first = np.full(region.size, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(first, region, merged.first)
    return first[region[rows_of(merged.basin, markers)]]


def merge(around: Around, rule: Agglomeration, waits: list[bool] | None = None) -> list[int]:
    """Return the row of the basin that each one becomes part of; ``around`` is then of these.

    Parameters
    ----------
    around
        The neighbours of each basin, as `neighbours` makes them.
    rule
        Its threshold ends it.
    waits
        Basins of which not everything is known, `frozen.settle`; more become so on the way.
    """
    queue = [(e.score, a, b) for a, es in enumerate(around) for b, e in es.items() if a < b]
    heapq.heapify(queue)
    parent = list(range(len(around)))
    limit = rule.limit
    while queue and queue[0][0] < limit:
        score, a, b = heapq.heappop(queue)
        between = around[a].get(b)
        if between is None or between.score != score:
            continue  # merged or changed since
        if waits is not None and _must_wait(around, a, b, waits):
            continue
        parent[b] = a
        for c in _absorb(around, a, b, rule.quantile):
            heapq.heappush(queue, (around[a][c].score, min(a, c), max(a, c)))
    for row in range(len(parent)):
        parent[row] = parent[parent[row]]  # rows before this one are final
    return parent


def _must_wait(around: Around, a: int, b: int, waits: list[bool]) -> bool:
    """Whether two basins wait, whose score is the least of both: then all of that score do."""
    score, found = around[a][b].score, {a, b}
    new = [a, b]
    while new:
        here = new.pop()
        beyond = {c for c, e in around[here].items() if e.score == score} - found
        found |= beyond
        new += beyond
    if any(waits[node] for node in found):
        for node in found:
            waits[node] = True
        return True
    return False


def neighbours(graph: SaddleGraph, quantile: int) -> Around:
    """Return by row the neighbours of each basin, and what is between."""
    around: Around = [{} for _ in graph.basin]
    ends = rows_of(graph.basin, graph.edge).tolist()
    bounds = np.searchsorted(graph.at, np.arange(len(ends) + 1)).tolist()
    level, times = graph.level.tolist(), graph.times.tolist()
    for row, (a, b) in enumerate(ends):
        part = slice(bounds[row], bounds[row + 1])
        counts = Counter(dict(zip(level[part], times[part], strict=True)))
        around[a][b] = around[b][a] = Between(counts, quantile)
    return around


def _absorb(around: Around, a: int, b: int, quantile: int) -> list[int]:
    """Move the neighbours of ``b`` to ``a`` and return them."""
    moved = []
    for c, between in around[b].items():
        del around[c][b]
        if c == a:
            continue
        moved.append(c)
        if c in around[a]:
            around[a][c].times.update(between.times)
            around[a][c].rescore(quantile)
        else:
            around[a][c] = around[c][a] = between
    around[b].clear()
    return moved

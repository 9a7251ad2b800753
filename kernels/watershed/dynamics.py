"""How deep minima are below their saddles, and basins merged into those of deep minima.

Kruskal's algorithm (1956) over saddles in their total order meets the components of every sublevel
set (Najman & Schmitt, IEEE PAMI 1996). What it keeps, a spanning forest, is a summary that blocks
can be joined by: an edge that closes a cycle of lower ones in a block does so in the whole.
"""

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled
from ..roots import root_of
from .basins import Ids, Relief
from .saddles import SaddleGraph, rename, rows_of

Numbers = NDArray[np.int64]
ENDLESS = 0xFFFF  # the dynamics of the lowest minimum of a component: no saddle leads lower


def spanning_forest(graph: SaddleGraph) -> SaddleGraph:
    """Return the graph with the edges of its minimum spanning forest, without affinities."""
    names, ends = np.unique(graph.edge, return_inverse=True)
    order = _saddle_order(graph)
    ends = ends.reshape(-1, 2)[order]
    depth = np.empty(names.size, np.uint16)
    floor = np.zeros(names.size, np.uint16)
    kept = _kruskal(ends, graph.saddle[order, 0].astype(np.uint16), floor, depth)
    rows = np.sort(order[kept])
    return graph._replace(
        edge=graph.edge[rows],
        saddle=graph.saddle[rows],
        at=graph.at[:0],
        level=graph.level[:0],
        times=graph.times[:0],
    )


def find_dynamics(graph: SaddleGraph) -> Relief:
    """Return how far each minimum is below the saddle to a lower one, uint16 ``(n,)``.

    The lower of two minima in the total order (relief, name) stays when they meet; a minimum that
    is never met by a lower one has `ENDLESS`. The graph or its spanning forest will do; it is that
    of a whole volume, or of whole components of its foreground.
    """
    numbers, ends, order = numbered(graph)
    depth = np.full(numbers.size, ENDLESS, np.uint16)
    floor = np.empty(numbers.size, np.uint16)
    floor[numbers] = graph.relief
    _kruskal(ends, graph.saddle[order, 0].astype(np.uint16), floor, depth)
    return depth[numbers]


def mark(graph: SaddleGraph, least: int) -> Ids:
    """Return the marker of each basin, uint64 ``(n,)``: a minimum with dynamics of ``least``.

    Basins join over their lowest saddle unless both sides hold a marker (a spanning forest rooted
    at the markers). With 1, only minima of the same plateau are merged.
    """
    assert 0 <= least < ENDLESS
    numbers, ends, _ = numbered(graph)
    marked = np.empty(numbers.size, np.bool_)
    marked[numbers] = find_dynamics(graph) >= least
    names = np.empty(numbers.size, np.uint64)
    names[numbers] = graph.basin
    return names[_flood(ends, marked)[numbers]]


def contract(graph: SaddleGraph, names: Ids) -> SaddleGraph:
    """Return the graph with basins of one name merged; ``names`` is uint64 ``(n,)``."""
    return rename(graph, names, names[rows_of(graph.basin, graph.edge)])


def find_components(graph: SaddleGraph) -> Ids:
    """Return the component of foreground of each basin, uint64 ``(n,)``: its lowest minimum."""
    return mark(graph, ENDLESS - 1)


def _saddle_order(graph: SaddleGraph) -> Numbers:
    return np.lexsort(graph.saddle.T[::-1])


def numbered(graph: SaddleGraph) -> tuple[Numbers, Numbers, Numbers]:
    """Return the number of each basin in (relief, name), the edges' ends in order, the order."""
    numbers = np.empty(graph.basin.size, np.int64)
    numbers[np.lexsort((graph.basin, graph.relief))] = np.arange(graph.basin.size)
    order = _saddle_order(graph)
    return numbers, numbers[rows_of(graph.basin, graph.edge[order])], order


@compiled
def _kruskal(ends: Numbers, saddle: Relief, floor: Relief, depth: Relief) -> NDArray[np.bool_]:
    """Join ends in order; write the depth of roots that end; return which edges joined two."""
    parent = np.arange(floor.size)
    kept = np.zeros(saddle.size, np.bool_)
    for e in range(saddle.size):
        a, b = root_of(parent, ends[e, 0]), root_of(parent, ends[e, 1])
        if a != b:
            kept[e] = True
            depth[max(a, b)] = saddle[e] - floor[max(a, b)]
            parent[max(a, b)] = min(a, b)
    return kept


@compiled
def _flood(ends: Numbers, marked: NDArray[np.bool_]) -> Numbers:
    """Join ends in order unless both roots are marked; return the root of each."""
    parent = np.arange(marked.size)
    for e in range(len(ends)):
        a, b = root_of(parent, ends[e, 0]), root_of(parent, ends[e, 1])
        if a != b and not (marked[a] and marked[b]):
            # A marked root is the lower one: an unmarked one would be as far below this saddle.
            parent[max(a, b)] = min(a, b)
    for node in range(parent.size):
        parent[node] = root_of(parent, node)
    return parent

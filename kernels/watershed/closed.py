"""Closed components of foreground put together from summaries of chunks, and the holes in them.

A hole is a piece of background that is connected by faces and reaches neither the volume's border
nor an absent voxel. It is filled if its voxels share faces with voxels of one object alone, as
Heinrich et al. 2021 do after agglomeration; with `Agglomeration.merging` it joins all of them.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Index
from fibstream.core.stage import Arrays

from ..roots import roots_of
from .basins import Ids
from .saddles import SaddleGraph, find_in, is_complete, rows_of, unite
from .summary import Pieces, pieces_in, selected

Rows = NDArray[np.intp]


class Closed(NamedTuple):
    """Closed components.

    Attributes
    ----------
    graph
        Their saddle graph.
    pieces
        The background that is joined to them, of all chunks one by one.
    touched
        Row of the basin of each row of ``pieces.beside``.
    rows
        By chunk, rows of its basins in ``graph``, and the rows of its pieces in ``pieces``.
    """

    graph: SaddleGraph
    pieces: Pieces
    touched: Rows
    rows: dict[Index, tuple[Rows, slice]]

    def named(self, chunk: Index, basins: Ids, pieces: Ids) -> Ids:
        """Return names of basins and of pieces in the order of a chunk's summary."""
        rows, part = self.rows[chunk]
        return np.concatenate([basins[rows], pieces[part]])


def unite_closed(
    held: Mapping[Index, NDArray[np.bool_]], read: Callable[[Index], Arrays]
) -> Closed | None:
    """Return closed components; None if they lack a basin.

    So it is while a chunk was acquired anew and its neighbours were not: summaries of two contents
    are mixed, of which one is still to be replaced.

    Parameters
    ----------
    held
        By chunk, which rows of its ``ids`` belong to the components.
    read
        Returns the summary of a chunk; each is asked for once.
    """
    graphs, pieces, ends = [], [], {}
    for chunk, kept in held.items():
        summary = read(chunk)
        graphs.append(selected(summary, kept))
        pieces.append(pieces_in(summary, kept))
        ends[chunk] = graphs[-1].basin
    graph, background = unite(graphs), Pieces(*map(np.concatenate, zip(*pieces, strict=True)))
    touched = _below(graph, background.beside[:, 1])
    if not (is_complete(graph) and np.isin(touched, graph.basin).all()):
        return None
    bounds = np.cumsum([0, *(each.name.size for each in pieces)]).tolist()
    parts = map(slice, bounds[:-1], bounds[1:])
    rows = {
        chunk: (rows_of(graph.basin, _below(graph, each)), part)
        for (chunk, each), part in zip(ends.items(), parts, strict=True)
    }
    return Closed(graph, background, rows_of(graph.basin, touched), rows)


def fill_holes(closed: Closed, objects: Ids, *, merging: bool) -> tuple[Ids, Ids]:
    """Return the object of each basin and that of each piece of background, 0 for none; uint64.

    Parameters
    ----------
    closed
        Whole holes with all that is around them.
    objects
        Of each basin, uint64 ``(n,)``: the least name of its voxels. No hole changes it, as the
        voxel before its first one is in the object.
    merging
        Whether a hole joins all objects around it.
    """
    pieces = closed.pieces
    nodes = np.unique(np.concatenate([pieces.name, pieces.links.ravel()]))
    hole = roots_of(np.searchsorted(nodes, pieces.links), nodes.size)
    beside = hole[np.searchsorted(nodes, pieces.beside[:, 0])]
    if merging:
        objects = _joined(objects, beside, objects[closed.touched])
    around = objects[closed.touched]
    order = np.lexsort((around, beside))
    beside, around = beside[order], around[order]
    new = np.ones(order.size, np.bool_)
    new[1:] = (beside[1:] != beside[:-1]) | (around[1:] != around[:-1])
    inside = np.zeros(nodes.size, np.uint64)
    inside[beside] = around
    inside[np.bincount(beside[new], minlength=nodes.size) != 1] = 0
    return objects, inside[hole[np.searchsorted(nodes, pieces.name)]]


def _joined(objects: Ids, hole: NDArray[np.int64], around: Ids) -> Ids:
    """Return objects of which those around one hole are one."""
    names, row = np.unique(objects, return_inverse=True)
    # A pair for each voxel around a hole: its object, and that of the hole's first one.
    first = np.unique(hole, return_index=True)
    other = around[first[1][np.searchsorted(first[0], hole)]]
    pairs = np.stack([np.searchsorted(names, around), np.searchsorted(names, other)], 1)
    return names[roots_of(pairs, names.size)[row]]


def _below(graph: SaddleGraph, ends: Ids) -> Ids:
    """Return where descent ends that leaves a block."""
    return find_in(graph.shell[:, 0], graph.shell[:, 1], ends)

"""Closed components of foreground put together from summaries of chunks, and the holes in them.

A hole is a piece of background that is connected by faces and reaches neither the volume's border
nor an absent voxel. It is filled if its voxels share faces with voxels of one object alone, as
Heinrich et al. 2021 do after agglomeration; with `Agglomeration.merging` it joins all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Index
from fibstream.core.stage import Arrays

from ..roots import roots_of
from .basins import Ids
from .frozen import Settled, of_chunk, united
from .saddles import SaddleGraph, is_complete, rows_of
from .summary import Pieces, pieces_in

Rows = NDArray[np.intp]


class Closed(NamedTuple):
    """Closed components.

    Attributes
    ----------
    graph
        Their saddle graph, of what is left of them.
    forest
        The saddles of all their basins.
    pieces
        The background that is joined to them, of all chunks one by one.
    touched
        Row of the basin of each row of ``pieces.beside``.
    rows
        By chunk, rows of its basins in ``graph``, and the rows of its pieces in ``pieces``.
    """

    graph: SaddleGraph
    forest: SaddleGraph
    pieces: Pieces
    touched: Rows
    rows: dict[Index, tuple[Rows, slice]]

    def named(self, chunk: Index, basins: Ids, pieces: Ids) -> Ids:
        """Return names of basins and of pieces in the order of a chunk's summary."""
        rows, part = self.rows[chunk]
        return np.concatenate([basins[rows], pieces[part]])


def unite_closed(
    held: Mapping[Index, NDArray[np.bool_]], read: Callable[[Index], Arrays],
    parts: Sequence[Settled] = (),
) -> Closed | None:  # fmt: skip
    """Return closed components; None if they lack a basin.

    So it is while a chunk was acquired anew and its neighbours were not: summaries of two contents
    are mixed, of which one is still to be replaced.

    Parameters
    ----------
    held
        By chunk, which rows of its ``ids`` belong to the components.
    read
        Returns the summary of a chunk; each is asked for once.
    parts
        What is settled of them, `frozen.settle`, of rows that are held.
    """
    found, pieces = list(parts), []
    for chunk, kept in held.items():
        summary = read(chunk)
        pieces.append(pieces_in(summary, kept))
        rest = kept.copy()
        for part in parts:
            own, _ = part.rows.get(chunk, (rest[:0], None))
            rest[: own.size] &= ~own
        found.append(of_chunk(chunk, rest, summary))
    one, background = united(found), Pieces(*map(np.concatenate, zip(*pieces, strict=True)))
    touched = one.of_ends(background.beside[:, 1])
    whole = is_complete(one.graph) and is_complete(one.forest)
    if not (whole and np.isin(touched, one.graph.basin).all()):
        return None
    bounds = np.cumsum([0, *(each.name.size for each in pieces)]).tolist()
    places = map(slice, bounds[:-1], bounds[1:])
    rows = {
        chunk: (rows_of(one.graph.basin, one.rows[chunk][1]), place)
        for chunk, place in zip(held, places, strict=True)
    }
    return Closed(one.graph, one.forest, background, rows_of(one.graph.basin, touched), rows)


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

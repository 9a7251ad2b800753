"""The basins of one chunk as fragments, and a summary of them for the fold that agglomerates them.

The fragment of a voxel is where steepest descent from it ends in the chunk, or leaves it; see
`fibstream.kernels.watershed`. Where holes are filled, that of background is the piece of it that
may be a hole, or the basin that is alone around it.
"""

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import Poison
from fibstream.core.grid import Box, Halo, Index
from fibstream.core.ids import AXIS_BITS, AXIS_MASK
from fibstream.core.stage import Arrays, Patch
from fibstream.kernels.absent import Unimaged
from fibstream.kernels.components import paint
from fibstream.kernels.conventions import LEVEL_BITS
from fibstream.kernels.planes import extended
from fibstream.kernels.smooth import smooth
from fibstream.kernels.union_find import OUT
from fibstream.kernels.watershed.basins import (
    HIGHEST,
    OUTSIDE,
    Basins,
    Relief,
    find_basins,
    name_voxels,
    paint_ends,
)
from fibstream.kernels.watershed.beside import find_beside
from fibstream.kernels.watershed.saddles import SaddleGraph, find_saddles, rows_of
from fibstream.kernels.watershed.summary import Pieces, packed

from .cut import Fragments, cut_foreground
from .rule import ObjectRule

Names = NDArray[np.uint64]
MAX_SADDLES = 1 << 21  # pairs of basins of a chunk: 100 MB, 30 times what a smooth prediction has


def cut_basins(
    patch: Patch, core: Box, rule: ObjectRule, unimaged: Unimaged | None = None
) -> tuple[Names, Arrays]:
    """Cut a chunk of a prediction into basins.

    Parameters
    ----------
    patch
        The prediction, uint8, ``(z, y, x)``: the chunk with the radius of the Gaussian and one
        more voxel on every side, cut at the volume.
    core
        The chunk.
    rule
        Smoothing, level, connectivity, and whether holes are filled.
    unimaged
        What tells which voxels were never imaged; None where the dataset declares no value.

    Returns
    -------
    fragments
        The name of each voxel's end, uint64, shaped as the chunk, 0 for background; where holes are
        filled, background that may be one has a name too.
    summary
        As `fibstream.kernels.watershed.summary` describes it.

    Raises
    ------
    Poison
        Too many basins touch each other: a noisy prediction, not smoothed.
    """
    around = core.grow(Halo.of(1)).meet(patch.box)
    absent = None if unimaged is None else unimaged.within(around)
    relief = _relief(patch, around, rule, absent)
    basins = find_basins(relief, around, core, rule.connectivity)
    graph = find_saddles(basins, rule.connectivity)
    if len(graph.edge) > MAX_SADDLES:
        raise Poison(
            f"chunk at {core.start}: {len(graph.edge)} pairs of basins touch; expected at most"
            f" {MAX_SADDLES}: smooth the prediction more, or choose smaller chunks"
        )
    block, _ = extended(patch, core)
    inside = block.slices(around.start)
    found, components = cut_foreground(
        relief[inside] != OUTSIDE, patch, core, rule, None if absent is None else absent[inside]
    )
    painted = found.painted(core.shape)
    of = painted[_places(graph.first, core.start)]
    links = [components["links"].reshape(-1, 2), _linked(graph, painted, core)]
    components = {**components, "links": np.concatenate(links)}
    fragments, pieces = paint_ends(basins), None
    if rule.fill_holes != "none":
        graph, pieces, owners = _hollows(found, basins, graph, block.shape, fragments)
        of = np.concatenate([of, owners])
    part = np.searchsorted(components["ids"], of)
    return fragments, packed(graph, part, components, pieces)


def _linked(graph: SaddleGraph, painted: Names, core: Box) -> Names:
    """Return pairs of fragments of a chunk from which descent leaves by one voxel.

    That voxel touches both, so that they are one component; a basin must not be of two, of which
    each would know a part of its edges. By faces no voxel leaves a chunk twice.
    """
    voxel, end = graph.shell.T
    pairs = np.unique(np.stack([end, painted[_places(voxel, core.start)]], 1), axis=0)
    same = pairs[1:, 0] == pairs[:-1, 0]
    return np.stack([pairs[:-1, 1][same], pairs[1:, 1][same]], 1)


def _hollows(
    found: Fragments, basins: Basins, graph: SaddleGraph, block: Index, fragments: Names
) -> tuple[SaddleGraph, Pieces, Names]:
    """Name background that may be a hole in ``fragments``.

    Return the graph in which basins have the voxels of holes that they are alone around, the other
    pieces of background, and the names of the components that these are part of.
    """
    parts, names, owner = found
    may_be = ~parts.solid & (names != OUT)
    numbers = paint(parts, may_be * np.arange(1, names.size + 1, dtype=np.uint64), block)
    of, end = find_beside(numbers.astype(np.int32), basins.end, basins.core.shape)
    ends, of = name_voxels(basins, end), of - 1
    alone = may_be & (parts.touch == 0) & (np.bincount(of, minlength=names.size) == 1)
    basin = np.zeros(names.size, np.uint64)
    basin[of] = ends
    voxels = graph.voxels.copy()
    np.add.at(voxels, rows_of(graph.basin, basin[alone]), parts.voxels[alone])
    named = np.concatenate([np.zeros(1, np.uint64), np.where(alone, basin, names)])
    z, y, x = fragments.shape
    here = numbers[:z, :y, :x].astype(np.intp)
    np.copyto(fragments, named[here], where=here > 0)
    needed = may_be & ~alone & (parts.voxels > 0)
    needed[of] = ~alone[of]
    kept = np.flatnonzero(needed)
    kept = kept[np.argsort(names[kept])]
    rows = ~alone[of]
    beside = np.stack([names[of[rows]], ends[rows]], 1)
    beside = beside[np.lexsort(beside.T[::-1])]
    pieces = Pieces(names[kept], parts.voxels[kept].astype(np.uint64), beside, beside[:0])
    return graph._replace(voxels=voxels), pieces, names[owner[kept]]


def _relief(patch: Patch, box: Box, rule: ObjectRule, absent: NDArray[np.bool_] | None) -> Relief:
    """Return how far smoothed levels are below the highest, `OUTSIDE` where nothing counts."""
    inside = Box(*(_less(end, patch.box.start) for end in box))
    if any(rule.sigma):
        smoothed = smooth(patch.array, rule.sigma, inside)
    else:
        smoothed = patch.array[inside.slices()].astype(np.uint16) << np.uint16(LEVEL_BITS)
    relief = np.where(smoothed >= rule.level, np.uint16(HIGHEST) - smoothed, np.uint16(OUTSIDE))
    for gone in patch.absent:
        common = gone.meet(box)
        if not common.empty:
            relief[common.slices(box.start)] = OUTSIDE
    if absent is not None:
        relief[absent] = OUTSIDE
    return relief


def _less(place: Index, origin: Index) -> Index:
    z, y, x = (a - b for a, b in zip(place, origin, strict=True))
    return z, y, x


def _places(names: Names, start: Index) -> tuple[NDArray[np.int64], ...]:
    """Return where in a chunk voxels lie, by their names ``1 + gid``."""
    place = (names - np.uint64(1)).astype(np.int64)
    return tuple((place >> (2 - axis) * AXIS_BITS & AXIS_MASK) - start[axis] for axis in range(3))

"""The basins of one chunk as fragments, and a summary of them for the fold that agglomerates them.

The fragment of a voxel is where steepest descent from it ends in the chunk, or leaves it; see
`fibstream.kernels.watershed`.
"""

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import Poison
from fibstream.core.grid import Box, Halo, Index
from fibstream.core.ids import AXIS_BITS, AXIS_MASK
from fibstream.core.stage import Arrays, Patch
from fibstream.kernels.absent import Unimaged
from fibstream.kernels.conventions import LEVEL_BITS
from fibstream.kernels.planes import extended
from fibstream.kernels.smooth import smooth
from fibstream.kernels.watershed.basins import HIGHEST, OUTSIDE, Relief, find_basins, paint_ends
from fibstream.kernels.watershed.saddles import find_saddles
from fibstream.kernels.watershed.summary import packed

from .cut import cut_foreground
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
        Smoothing, level and connectivity.
    unimaged
        What tells which voxels were never imaged; None where the dataset declares no value.

    Returns
    -------
    fragments
        The name of each voxel's end, uint64, shaped as the chunk, 0 for background.
    summary
        As `fibstream.kernels.watershed.summary` describes it.

    Raises
    ------
    Poison
        Too many basins touch each other: a noisy prediction, not smoothed.
    """
    around = core.grow(Halo.of(1)).meet(patch.box)
    relief = _relief(patch, around, rule, unimaged)
    basins = find_basins(relief, around, core, rule.connectivity)
    graph = find_saddles(basins, rule.connectivity)
    if len(graph.edge) > MAX_SADDLES:
        raise Poison(
            f"chunk at {core.start}: {len(graph.edge)} pairs of basins touch; expected at most"
            f" {MAX_SADDLES}: smooth the prediction more, or choose smaller chunks"
        )
    block, _ = extended(patch, core)
    mask = relief[block.slices(around.start)] != OUTSIDE
    parts, components = cut_foreground(mask, patch, core, rule, None)
    of = parts[_places(graph.first, core.start)]
    part = np.searchsorted(components["ids"], of)
    return paint_ends(basins), packed(graph, part, components)


def _relief(patch: Patch, box: Box, rule: ObjectRule, unimaged: Unimaged | None) -> Relief:
    """Return how far smoothed levels are below the highest, `OUTSIDE` where nothing counts."""
    inside = Box(*(_less(end, patch.box.start) for end in box))
    if any(rule.sigma):
        smoothed = smooth(patch.array, rule.sigma, inside)
    else:
        smoothed = patch.array[inside.slices()].astype(np.uint16) << np.uint16(LEVEL_BITS)
    relief = np.where(smoothed >= rule.level, np.uint16(HIGHEST) - smoothed, np.uint16(OUTSIDE))
    for absent in patch.absent:
        common = absent.meet(box)
        if not common.empty:
            relief[common.slices(box.start)] = OUTSIDE
    if unimaged is not None:
        relief[unimaged.within(box)] = OUTSIDE
    return relief


def _less(place: Index, origin: Index) -> Index:
    z, y, x = (a - b for a, b in zip(place, origin, strict=True))
    return z, y, x


def _places(names: Names, start: Index) -> tuple[NDArray[np.int64], ...]:
    """Return where in a chunk voxels lie, by their names ``1 + gid``."""
    place = (names - np.uint64(1)).astype(np.int64)
    return tuple((place >> (2 - axis) * AXIS_BITS & AXIS_MASK) - start[axis] for axis in range(3))

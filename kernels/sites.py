"""Both sides of contact sites: faces of the organelles inside them, and the gaps between.

All that a chunk has of a site is a sum of integers over its own voxels, so that the rows of chunks
add up to those of the whole volume, in any order.
"""

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box
from fibstream.core.stage import Arrays, Patch

from .compiled import compiled
from .near import Footprint
from .surface import Ids


def measure_sites(
    sites: Ids, one: Patch, other: Patch | None, core: Box, near: Footprint
) -> Arrays:
    """Measure the boundary voxels in the contact sites of a chunk: those of objects of either side.

    Parameters
    ----------
    sites
        Ids of contact sites, ``(z, y, x)``, those of the chunk.
    one, other
        Labels of the two organelles, uint64: the chunk with all that is near it, cut at the volume.
        None for ``other``: sites are between objects of ``one``.
    core
        The chunk.
    near
        The footprint of the contact distance.

    Returns
    -------
    Arrays
        One row for each site, side, object and gap: ``id``, ``object`` uint64, ``side`` uint8 (0 of
        ``one``), ``rank`` int32, that of the step from a boundary voxel to the nearest voxel of the
        other side, and sums over such voxels: ``voxels`` int64, ``faces`` int64 ``(n, 3)``, those
        across each axis to anything else but the border of the volume.
    """
    parts = [_side(sites, one, other or one, core, near, other is None, 0)]
    if other is not None:
        parts.append(_side(sites, other, one, core, near, False, 1))
    return _summed({name: np.concatenate([p[name] for p in parts]) for name in parts[0]})


def _side(
    sites: Ids, ours: Patch, theirs: Patch, core: Box, near: Footprint, same: bool, side: int
) -> Arrays:
    """Return a row for each boundary voxel of one side that has something near it."""
    inside = core.slices(ours.box.start)
    at = np.argwhere((sites != 0) & (ours.array[inside] != 0))
    here = at + np.array(core.start) - np.array(ours.box.start)
    faces, ranks = np.zeros((len(at), 3), np.int64), np.full(len(at), -1, np.int32)
    _measure(here, ours.array, theirs.array, same, near.steps, near.ranks, (faces, ranks))
    known = ranks >= 0
    z, y, x = at[known].T
    objects = ours.array[tuple(here[known].T)]
    return {
        "id": sites[z, y, x], "object": objects, "side": np.full(len(z), side, np.uint8),
        "rank": ranks[known], "voxels": np.ones(len(z), np.int64), "faces": faces[known],
    }  # fmt: skip


@compiled
def _measure(
    voxels: NDArray[np.int64], ours: Ids, theirs: Ids, same: bool, steps: NDArray[np.int32],
    ranks: NDArray[np.int32], out: tuple[NDArray[np.int64], NDArray[np.int32]],
) -> None:  # fmt: skip
    faces, found = out
    nz, ny, nx = ours.shape
    for v in range(voxels.shape[0]):
        z, y, x = voxels[v, 0], voxels[v, 1], voxels[v, 2]
        own = ours[z, y, x]
        for n in range(ranks.size):
            at = z + steps[n, 0], y + steps[n, 1], x + steps[n, 2]
            if 0 <= at[0] < nz and 0 <= at[1] < ny and 0 <= at[2] < nx:
                id_ = theirs[at]
                if id_ != 0 and not (same and id_ == own):
                    found[v] = ranks[n]
                    break
        for side in (-1, 1):
            if 0 <= z + side < nz and ours[z + side, y, x] != own:
                faces[v, 0] += 1
            if 0 <= y + side < ny and ours[z, y + side, x] != own:
                faces[v, 1] += 1
            if 0 <= x + side < nx and ours[z, y, x + side] != own:
                faces[v, 2] += 1


def _summed(rows: Arrays) -> Arrays:
    """Return rows by ascending id, side, object and rank, equal ones added up."""
    if not rows["id"].size:
        return rows
    keys = [rows[name] for name in ("id", "side", "object", "rank")]
    order = np.lexsort(keys[::-1])
    changed = np.any([key[order][1:] != key[order][:-1] for key in keys], axis=0)
    starts = np.concatenate([[0], np.flatnonzero(changed) + 1])
    summed = {name: np.add.reduceat(rows[name][order], starts) for name in ("voxels", "faces")}
    return {name: row[order][starts] for name, row in rows.items()} | summed

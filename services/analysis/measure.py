"""Partial measures of the objects of one chunk: integers, so that they add up in any order.

All that a chunk has of an id is a sum, a minimum or a maximum, and no voxel, pair or cube of voxels
is counted by two chunks.  Added up over all chunks (`totals`), the rows are those of the whole
volume; floats appear once, at the end (`table`).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import MAX_AXIS, Box, Index
from fibstream.core.stage import Arrays, Patch
from fibstream.kernels.runs import rank

from .conventions import HALO
from .cubes import BORDER_FACES, CROSSINGS, EULER, SUMS, cube_sums
from .limbs import PRODUCTS, shifted
from .passes import add_cubes, add_moments, grey_levels

CUBE_SUMS = cube_sums()


def measure(labels: Patch, core: Box, raw: NDArray[Any] | None = None) -> Arrays:
    """Measure the objects of one chunk.

    A *crossing* is a pair of voxels of the volume, neighbours in one of the 13
    `cubes.DIRECTIONS`, that differ in id; it counts for both ids.  A *face* is a crossing along an
    axis.  Faces on the volume's border are counted apart.

    Parameters
    ----------
    labels
        Ids, any integer type, not negative, 0 is background; the box is ``core`` grown by `HALO`
        and cut at the volume, so a side that was cut is a border of the volume.
    core
        The chunk, at most 512 voxels an edge and below 2**21 along each axis.
    raw
        Intensities of the voxels of ``core``, an integer type of at most 32 bits.

    Returns
    -------
    Arrays
        One row for each id other than 0 that has a voxel in the chunk or adds to one of its sums,
        in ascending order of ``id`` (uint64). The rest is int64 unless noted; ``(n, 3)`` is zyx:

        - ``voxels`` ``(n,)``: voxels in the chunk; 0 where the chunk owns only crossings of the id
        - ``wide`` ``(n, 9, 2)``: sums of the voxels' indices z, y, x in the volume, and of their
          products zz, yy, xx, zy, zx, yx, in limbs (see `limbs`)
        - ``low``, ``high`` ``(n, 3)``: smallest and largest index, both inclusive; 2**21 and -1
          without a voxel, the neutral elements of minimum and maximum
        - ``crossings`` ``(n, 13)``, ``border_faces`` ``(n, 3)``, ``euler`` ``(n, 2)``: see `cubes`
        - ``levels`` ``(n,)``: how many different intensities the object has in the chunk; 0
          without ``raw``

        And one entry for each intensity of each row, in order of row and intensity: ``level``, of
        the type of ``raw``, and ``level_voxels``, int32, how many voxels have it.

    Raises
    ------
    WrongUse
        ``labels`` or ``raw`` holds what has no exact sum, or an id is negative.
    """
    assert labels.box == core.grow(HALO).meet(labels.box), (labels.box, core)
    assert core == core.meet(labels.box), (labels.box, core)
    ids, ranks = rank(_checked(labels.array))
    inside = ranks[core.slices(labels.box.start)]
    rows = _moments(inside, core, len(ids))
    rows |= _cubes(ranks, core, labels.box, len(ids))
    rows["id"] = ids.astype(np.uint64)
    cubes = ("crossings", "border_faces", "euler")
    seen = (rows["voxels"] > 0) | np.any([rows[name].any(axis=1) for name in cubes], axis=0)
    seen[0] = False  # the background has rank 0
    order = np.flatnonzero(seen)[np.argsort(rows["id"][seen])]
    chosen = {name: row[order] for name, row in rows.items()}
    return chosen | _levels(inside, _checked_raw(raw, inside), rows["voxels"], order)


def _checked(labels: NDArray[Any]) -> NDArray[Any]:
    if labels.dtype.kind not in "uib":
        raise WrongUse(f"labels: {labels.dtype} voxels are no ids; expected an integer type")
    if labels.dtype.kind == "i" and labels.min() < 0:
        raise WrongUse(f"labels: id {labels.min()} is negative; expected ids from 0 up")
    return labels


def _checked_raw(raw: NDArray[Any] | None, inside: NDArray[np.int32]) -> NDArray[Any] | None:
    if raw is None:
        return None
    if raw.dtype.kind not in "ui" or raw.dtype.itemsize > 4:
        raise WrongUse(
            f"raw: {raw.dtype} voxels have no exact sum; expected integers of at most 32 bits"
        )
    assert raw.shape == inside.shape, (raw.shape, inside.shape)
    return np.ascontiguousarray(raw, raw.dtype.newbyteorder("="))


def _moments(inside: NDArray[np.int32], core: Box, count: int) -> Arrays:
    """Count voxels, add up indices and their products and find the bounds, by rank."""
    voxels = np.zeros(count, np.int64)
    sums = np.zeros((count, PRODUCTS.stop), np.int64)
    low = np.full((count, 3), MAX_AXIS, np.int64)
    high = np.full((count, 3), -1, np.int64)
    add_moments(inside, voxels, sums, low, high)
    start = np.array(core.start, np.int64)
    shift = (voxels[:, None] > 0) * start  # a row without a voxel keeps the neutral elements
    return {
        "voxels": voxels,
        "wide": shifted(voxels, sums, core.start),
        "low": low + shift,
        "high": high + shift,
    }


def _cubes(ranks: NDArray[np.int32], core: Box, patch: Box, count: int) -> Arrays:
    """Add up what cubes give, by rank; outside the volume they see background."""
    low, high = _ends(core.start, (0, 0, 0)), _ends(core.stop, patch.stop)
    padded = ranks
    if any(low) or any(high):
        shape = [a + n + b for a, n, b in zip(low, ranks.shape, high, strict=True)]
        padded = np.zeros(shape, np.int32)
        padded[tuple(slice(a, a + n) for a, n in zip(low, ranks.shape, strict=True))] = ranks
    sums = np.zeros((count, SUMS), np.int64)
    add_cubes(padded, low, high, CUBE_SUMS, sums)
    return {
        "crossings": sums[:, CROSSINGS],
        "border_faces": sums[:, BORDER_FACES],
        "euler": sums[:, EULER],
    }


def _ends(side: Index, border: Index) -> Index:
    """Return for each axis 1 where a chunk's side is the border of the volume, else 0."""
    z, y, x = (int(a == b) for a, b in zip(side, border, strict=True))
    return z, y, x


def _levels(
    inside: NDArray[np.int32],
    raw: NDArray[Any] | None,
    voxels: NDArray[np.int64],
    order: NDArray[np.int64],
) -> Arrays:
    """Return the intensities of the objects whose ranks are ``order``, in that order."""
    if raw is None:
        none = np.zeros(0, np.uint8), np.zeros(0, np.int32)
        return {"levels": np.zeros(len(order), np.int64), "level": none[0], "level_voxels": none[1]}
    levels, level, level_voxels = grey_levels(inside, raw, voxels, order)
    return {"levels": levels, "level": level, "level_voxels": level_voxels}

"""Partial measures of the objects of one chunk: integers, so that they add up in any order.

All that a chunk has of an id is a sum, a minimum, a maximum or an "any", and no voxel and no face
is counted by two chunks. Added up over all chunks (`totals`), the rows are those of the whole
volume; floats appear once, at the end (`table`).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import MAX_AXIS, Box, Index
from fibstream.core.stage import Arrays, Patch
from fibstream.kernels.compiled import compiled
from fibstream.kernels.runs import rank

from .conventions import HALO

STEPS: tuple[Index, ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


def measure(labels: Patch, core: Box, raw: NDArray[Any] | None = None) -> Arrays:
    """Measure the objects of one chunk.

    A *face* is the square between two voxels that share it and differ in id; it counts for both
    ids.  Faces on the volume's border are not counted.  The definition is that of the object tables
    of Heinrich et al. (Nature 2021).

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
        One row for each id other than 0 that has a voxel in the chunk or a face owned by it, in
        ascending order of ``id`` (uint64). The rest is int64 unless noted; ``(n, 3)`` is zyx:

        - ``voxels`` ``(n,)``: voxels in the chunk; 0 where the chunk owns only a face of the id
        - ``sum`` ``(n, 3)``: sum of the voxels' indices in the volume: at most 2**27 voxels of
          an index below 2**21, so below 2**48
        - ``low``, ``high`` ``(n, 3)``: smallest and largest index, both inclusive; 2**21 and -1
          without a voxel, the neutral elements of minimum and maximum
        - ``faces`` ``(n, 3)``: faces across each axis
        - ``touches_border`` ``(n,)`` bool: whether a voxel lies on the border of the volume
        - ``raw`` ``(n,)``: sum of the intensities, below 2**59 in size; 0 without ``raw``

    Raises
    ------
    WrongUse
        ``labels`` or ``raw`` holds what has no exact sum, or an id is negative.
    """
    assert labels.box == core.grow(HALO).meet(labels.box), (labels.box, core)
    assert core == core.meet(labels.box), (labels.box, core)
    ids, ranks = rank(_checked(labels.array))
    inside = ranks[core.slices(labels.box.start)]
    rows = _moments(ranks, core, len(ids))
    rows["faces"] = _faces(ranks, core.shape, len(ids))
    rows["touches_border"] = _touches_border(inside, core, labels.box, len(ids))
    rows["raw"] = _raw_sums(inside, raw, len(ids))
    seen = (rows["voxels"] > 0) | rows["faces"].any(axis=1)
    seen[0] = False  # the background has rank 0
    rows["id"] = ids.astype(np.uint64)
    order = np.flatnonzero(seen)[np.argsort(rows["id"][seen])]
    return {name: row[order] for name, row in rows.items()}


def _checked(labels: NDArray[Any]) -> NDArray[Any]:
    if labels.dtype.kind not in "uib":
        raise WrongUse(f"labels: {labels.dtype} voxels are no ids; expected an integer type")
    if labels.dtype.kind == "i" and labels.min() < 0:
        raise WrongUse(f"labels: id {labels.min()} is negative; expected ids from 0 up")
    return labels


def _moments(ranks: NDArray[np.int32], core: Box, count: int) -> Arrays:
    """Count voxels, add up indices and find the bounds, by rank."""
    voxels = np.zeros(count, np.int64)
    sums = np.zeros((count, 3), np.int64)
    low = np.full((count, 3), MAX_AXIS, np.int64)
    high = np.full((count, 3), -1, np.int64)
    _add_moments(ranks, core.shape, (voxels, sums, low, high))
    start = np.array(core.start, np.int64)
    shift = (voxels[:, None] > 0) * start  # a row without a voxel keeps the neutral elements
    return {
        "voxels": voxels,
        "sum": sums + voxels[:, None] * start,
        "low": low + shift,
        "high": high + shift,
    }


@compiled
def _add_moments(
    ranks: NDArray[np.int32],
    shape: Index,
    rows: tuple[NDArray[np.int64], ...],
) -> None:
    """Add the voxels of ``ranks[:shape]``, run by run, in indices of the array."""
    voxels, sums, low, high = rows
    for z in range(shape[0]):
        for y in range(shape[1]):
            row = ranks[z, y]
            begin = 0
            while begin < shape[2]:
                i = row[begin]
                end = begin + 1
                while end < shape[2] and row[end] == i:
                    end += 1
                length = end - begin
                voxels[i] += length
                sums[i, 0] += length * z
                sums[i, 1] += length * y
                sums[i, 2] += length * (begin + end - 1) // 2  # of x: an arithmetic series
                low[i, 0] = min(low[i, 0], z)
                low[i, 1] = min(low[i, 1], y)
                low[i, 2] = min(low[i, 2], begin)
                high[i, 0] = max(high[i, 0], z)
                high[i, 1] = max(high[i, 1], y)
                high[i, 2] = max(high[i, 2], end - 1)
                begin = end


def _faces(ranks: NDArray[np.int32], core: Index, count: int) -> NDArray[np.int64]:
    """Count the faces across each axis whose lower voxel lies in ``ranks[:core]``, by rank."""
    faces = np.zeros((3, count), np.int64)
    for step, faces_of_axis in zip(STEPS, faces, strict=True):
        # Without a voxel above, the patch was cut: a border, which has no faces.
        lower = tuple(min(c, n - s) for c, n, s in zip(core, ranks.shape, step, strict=True))
        _add_faces(ranks, lower, step, faces_of_axis)
    return faces.T


@compiled
def _add_faces(
    ranks: NDArray[np.int32], shape: Index, step: Index, faces: NDArray[np.int64]
) -> None:
    """Add the faces between each voxel of ``ranks[:shape]`` and the one a step above it."""
    for z in range(shape[0]):
        for y in range(shape[1]):
            lower = ranks[z, y]
            upper = ranks[z + step[0], y + step[1], step[2] :]
            for x in range(shape[2]):
                if lower[x] != upper[x]:
                    faces[lower[x]] += 1
                    faces[upper[x]] += 1


def _touches_border(
    inside: NDArray[np.int32], core: Box, patch: Box, count: int
) -> NDArray[np.bool_]:
    """Return for each rank whether it has a voxel on the border of the volume."""
    touches = np.zeros(count, bool)
    for axis in range(3):
        planes = np.moveaxis(inside, axis, 0)
        if core.start[axis] == 0:
            touches[planes[0]] = True
        if core.stop[axis] == patch.stop[axis]:
            touches[planes[-1]] = True
    return touches


def _raw_sums(inside: NDArray[np.int32], raw: NDArray[Any] | None, count: int) -> NDArray[np.int64]:
    sums = np.zeros(count, np.int64)
    if raw is None:
        return sums
    if raw.dtype.kind not in "ui" or raw.dtype.itemsize > 4:
        raise WrongUse(
            f"raw: {raw.dtype} voxels have no exact sum; expected integers of at most 32 bits"
        )
    assert raw.shape == inside.shape, (raw.shape, inside.shape)
    _add_raw(np.ascontiguousarray(inside), np.ascontiguousarray(raw), sums)
    return sums


@compiled
def _add_raw(ranks: NDArray[np.int32], raw: NDArray[Any], sums: NDArray[np.int64]) -> None:
    for i, intensity in zip(ranks.ravel(), raw.ravel()):  # noqa: B905 - numba has no strict
        sums[i] += np.int64(intensity)

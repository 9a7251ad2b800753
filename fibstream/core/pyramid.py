"""Coarser levels of a chunk: means for grey values, modes for labels. Pure.

Level ``l + 1`` halves level ``l``; a last voxel without a partner is its own window. As long as a
chunk's edges are even, its owner can write the coarser chunk alone. Axes are (z, y, x).
"""

from itertools import pairwise, product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .grid import Box, Index

SMALLEST = 8  # voxels per edge: a smaller shard is mostly index and stamp
MAX_LEVELS = 5  # the full one included


def level_count(chunk: Index) -> int:
    """Return how many levels the owner of a chunk writes, the full one included."""
    levels = 1
    while levels < MAX_LEVELS and all(
        c % 2**levels == 0 and c >> levels >= SMALLEST for c in chunk
    ):
        levels += 1
    return levels


def level_box(box: Box, level: int) -> Box:
    """Return a chunk's box in voxels of a coarser level; level 0 is the full one."""
    az, ay, ax = (a >> level for a in box.start)
    bz, by, bx = (-(-b >> level) for b in box.stop)
    return Box((az, ay, ax), (bz, by, bx))


def _corners(array: NDArray[Any], fill: int) -> list[NDArray[Any]]:
    """Return the eight voxels of each 2x2x2 window, ``(z, y, x)``; ``fill`` beyond an odd end."""
    odd = [n % 2 for n in array.shape]
    if any(odd):
        array = np.pad(array, [(0, n) for n in odd], constant_values=fill)
    return [array[z::2, y::2, x::2] for z in (0, 1) for y in (0, 1) for x in (0, 1)]


def _counts(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return how many voxels each window has, in a shape that broadcasts to the windows'."""
    ends = (np.array([2] * (n // 2) + [1] * (n % 2)) if n % 2 else np.array([2]) for n in shape)
    z, y, x = np.ix_(*ends)
    count: NDArray[np.int64] = z * y * x
    return count


def halve_mean(array: NDArray[Any]) -> NDArray[Any]:
    """Return the mean of each 2x2x2 window.

    Parameters
    ----------
    array : (z, y, x) ndarray of int or float

    Returns
    -------
    (ceil(z / 2), ceil(y / 2), ceil(x / 2)) ndarray of the same dtype
        Means of integers are rounded half up. At an odd end a window has fewer voxels.
    """
    of_floats = array.dtype.kind == "f"
    small = np.int32 if array.dtype.itemsize <= 2 else np.int64  # of eight voxels, doubled
    first, *others = _corners(array, 0)
    total: NDArray[Any] = first.astype(np.float64 if of_floats else small)
    for corner in others:
        total += corner.astype(total.dtype)
    count = _counts(array.shape).astype(total.dtype)
    mean: NDArray[Any] = total / count if of_floats else (2 * total + count) // (2 * count)
    return mean.astype(array.dtype)


def windows_mean(
    array: NDArray[Any], factors: Index, absent_value: float | None = None,
    imaged: NDArray[np.uint8] | None = None,
) -> NDArray[Any]:  # fmt: skip
    """Return the mean of each window of ``factors`` voxels.

    Parameters
    ----------
    array : (z, y, x) ndarray of int or float
        From the first voxel of a window on; the last windows may be incomplete.
    factors : tuple of int
        Edges (z, y, x) of a window in voxels.
    absent_value : float, optional
        Voxels that are left out; a window without others has that value.
    imaged : (z, y, x) ndarray of uint8, optional
        0 for voxels that are left out, too; a window without others is 0 if no value is given.

    Returns
    -------
    (ceil(z / factors[0]), ...) ndarray of the same dtype
        Of integers rounded half up; of floats added in float64, in raster order of the window.
    """
    shape = tuple(-(-n // f) for n, f in zip(array.shape, factors, strict=True))
    total = np.zeros(shape, np.float64 if array.dtype.kind == "f" else np.int64)
    count = np.zeros(shape, np.int64)
    for start in product(*(range(f) for f in factors)):
        every = tuple(slice(a, None, f) for a, f in zip(start, factors, strict=True))
        part = array[every]
        filled = tuple(slice(n) for n in part.shape)
        known = np.ones(part.shape, bool) if imaged is None else imaged[every] > 0
        if absent_value is not None:
            known &= part != absent_value
        total[filled] += np.where(known, part, 0)
        count[filled] += known
    some = np.maximum(count, 1)
    mean = total / some if array.dtype.kind == "f" else (2 * total + some) // (2 * some)
    if absent_value is not None:
        mean = np.where(count == 0, absent_value, mean)
    found: NDArray[Any] = mean.astype(array.dtype)
    return found


def halve_mode(labels: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the most frequent label of each 2x2x2 window, of equally frequent ones the smallest.

    Parameters
    ----------
    labels : (z, y, x) ndarray of uint64
        Below 2**64 - 1, which stands for voxels beyond an odd end and is not counted.

    Returns
    -------
    (ceil(z / 2), ceil(y / 2), ceil(x / 2)) ndarray of uint64
    """
    beyond = np.iinfo(labels.dtype).max  # sorts last, and never wins: it is not counted
    first, *others = _corners(labels, int(beyond))
    best: NDArray[np.uint64] = first.copy()
    mixed = np.zeros(first.shape, np.bool_)
    for corner in others:
        mixed |= corner != first
    best[mixed] = _mode(np.stack([corner[mixed] for corner in (first, *others)]), int(beyond))
    return best


def _mode(corners: NDArray[np.uint64], beyond: int) -> NDArray[np.uint64]:
    """Return the mode of each column of ``(8, n)``, the smallest of equals, but not ``beyond``."""
    corners.sort(axis=0)
    best: NDArray[np.uint64] = corners[0].copy()
    votes = np.ones(best.shape, np.int8)
    run = votes.copy()
    for before, after in pairwise(corners):
        run = np.where(after == before, run + 1, 1).astype(np.int8)
        better = (run > votes) & (after != beyond)
        best[better], votes[better] = after[better], run[better]
    return best


def levels(array: NDArray[Any], kind: Literal["mean", "mode"], count: int) -> list[NDArray[Any]]:
    """Return ``count`` levels of a (z, y, x) chunk, the full one first, all of its dtype.

    ``kind`` is "mean" for grey values (``halve_mean``), "mode" for labels (``halve_mode``).
    """
    halve = halve_mean if kind == "mean" else halve_mode
    found = [array]
    while len(found) < count:
        found.append(halve(found[-1]))
    return found

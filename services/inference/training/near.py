"""Exact distances to a mask, as far as targets need them: less work than `kernels.edt` has."""

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Index
from fibstream.kernels.compiled import compiled

FAR = 1 << 61  # no voxel of the mask is near; a square can be added to it
BLOCK = 512  # voxels that pass together: they stay in the first cache


def near_squares(mask: NDArray[np.bool_], edges_pm: Index, most_pm: int) -> NDArray[np.int64]:
    """Return the squared distance of each voxel to the nearest of the mask.

    Parameters
    ----------
    mask
        ``(z, y, x)``.
    edges_pm
        Edges of a voxel, (z, y, x), of `kernels.edt.picometres`.
    most_pm
        How far is looked along each axis.

    Returns
    -------
    ndarray of int64
        Shaped like ``mask``, in pm^2: the square where it is at most that of ``most_pm``, else
        something larger.
    """
    z, y, x = mask.shape
    reach = [most_pm // edge for edge in edges_pm]
    squares = _along_rows(np.ascontiguousarray(mask), edges_pm[2])
    squares = _taken_in(squares, edges_pm[1], reach[1])
    squares = _taken_in(squares.reshape(1, z, y * x), edges_pm[0], reach[0])
    return squares.reshape(z, y, x)


@compiled
def _along_rows(mask: NDArray[np.bool_], edge: int) -> NDArray[np.int64]:
    """Return the squares within each row: the nearest one is the last before or the next."""
    depth, height, width = mask.shape
    squares = np.empty((depth, height, width), np.int64)
    for z in range(depth):
        for y in range(height):
            last = -1
            for x in range(width):
                if mask[z, y, x]:
                    last = x
                squares[z, y, x] = (edge * (x - last)) ** 2 if last >= 0 else FAR
            following = -1
            for x in range(width - 1, -1, -1):
                if mask[z, y, x]:
                    following = x
                if following >= 0:
                    squares[z, y, x] = min(squares[z, y, x], (edge * (following - x)) ** 2)
    return squares


@compiled
def _taken_in(squares: NDArray[np.int64], edge: int, reach: int) -> NDArray[np.int64]:
    """Take the middle axis into squares, contiguous: of all voxels within reach the lowest sum."""
    outer, count, inner = squares.shape
    found = squares.copy()
    some = np.empty(count, np.bool_)
    for a in range(outer):
        for start in range(0, inner, BLOCK):
            stop = min(start + BLOCK, inner)
            for i in range(count):
                some[i] = (squares[a, i, start:stop] < FAR).any()
            for i in range(count):
                into = found[a, i, start:stop]
                if not into.any():
                    continue  # nothing is nearer
                for j in range(max(i - reach, 0), min(i + reach + 1, count)):
                    if some[j] and i != j:
                        further = (edge * (i - j)) ** 2
                        added = squares[a, j, start:stop]
                        for x in range(stop - start):
                            into[x] = min(into[x], added[x] + further)
    return found

"""The nearest objects of every voxel within a ball, found axis by axis.

The least of (squared distance, id) over all voxels of objects is found one axis after another, as a
distance transform is (Saito & Toriwaki, Pattern Recognition 1994): what is added along an axis is
the same for all that lie in one place of it, so that it changes no order among them. So are the two
least of different ids. A voxel takes three times the width of the ball instead of its volume.
"""

import math

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled

Ids = NDArray[np.uint64]
Squares = NDArray[np.int32]


def spread(labels: Ids, seeds: NDArray[np.bool_], ball: int, *, two: bool) -> tuple[Ids, Ids]:
    """Return the ids of the nearest object of each voxel, and of the second nearest one.

    Parameters
    ----------
    labels
        Ids of objects, ``(z, y, x)``, 0 for none. Beyond the array there is nothing.
    seeds
        bool ``(z, y, x)``: the voxels of objects that are near others.
    ball
        The greatest squared distance between centres, in voxels.
    two
        Whether the second is wanted; else it is 0.

    Returns
    -------
    first, second
        ``(z, y, x)`` each, 0 where there is none within the ball; of equally far objects the one
        with the smaller id is nearer.
    """
    first = np.where(seeds, labels, np.uint64(0))
    second = np.zeros(labels.shape if two else (0, 0, 0), np.uint64)
    squares = np.zeros((2, *labels.shape) if two else (1, *labels.shape), np.int32)
    for order in ((0, 2, 1), (0, 1, 2), (1, 0, 2)):  # the middle one is spread along
        ids = first.transpose(order), second.transpose(order)
        _spread(*ids, squares.transpose(0, *(axis + 1 for axis in order)), ball, math.isqrt(ball))
    return first, second if two else np.zeros(labels.shape, np.uint64)


@compiled
def _spread(first: Ids, second: Ids, squares: Squares, ball: int, radius: int) -> None:
    """Let each place of the middle axis take what is nearest along it."""
    two = squares.shape[0] == 2
    outer, places, inner = first.shape
    for o in range(outer):
        one, other = first[o].copy(), second[o].copy() if two else second[:, 0].copy()
        far = squares[:, o].copy()
        if not one.any():
            continue
        for i in range(places):
            for k in range(inner):
                ids, best = (np.uint64(0), np.uint64(0)), (2**30, 2**30)
                for j in range(max(0, i - radius), min(places, i + radius + 1)):
                    if one[j, k] == 0:
                        continue
                    step = (i - j) * (i - j)
                    ids, best = _take(ids, best, one[j, k], far[0, j, k] + step)
                    if two and other[j, k] != 0:
                        ids, best = _take(ids, best, other[j, k], far[1, j, k] + step)
                if best[0] <= ball:
                    first[o, i, k], squares[0, o, i, k] = ids[0], best[0]
                if two and best[1] <= ball:
                    second[o, i, k], squares[1, o, i, k] = ids[1], best[1]


@compiled
def _take(
    ids: tuple[np.uint64, np.uint64], best: tuple[int, int], id_: np.uint64, square: int
) -> tuple[tuple[np.uint64, np.uint64], tuple[int, int]]:
    """Return the two least of different ids, one more offered."""
    if id_ == ids[0]:
        return ids, (min(best[0], square), best[1])
    if square < best[0] or (square == best[0] and id_ < ids[0]):
        return (id_, ids[0]), (square, best[0])
    if id_ == ids[1]:
        return ids, (best[0], min(best[1], square))
    if square < best[1] or (square == best[1] and id_ < ids[1]):
        return (ids[0], id_), (best[0], square)
    return ids, best

"""The nearest objects of every voxel within a ball, found axis by axis.

The least of (squared distance, id) over all voxels of objects is found one axis after another, as a
distance transform is (Saito & Toriwaki, Pattern Recognition 1994): what is added along an axis is
the same for all that lie in one place of it, so that it changes no order among them. So are the two
least of different ids. A voxel takes three times the width of the ball instead of its volume.

Both are kept as one number: the squared distance in the upper half, the rank of the id below.
"""

import math

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled
from .runs import rank

Ids = NDArray[np.uint64]
Keys = NDArray[np.int64]
BITS = 32  # of a rank: a block has fewer voxels
NONE = 1 << 62  # no object; with a squared distance added it is still less than 2**63
ORDERS = ((0, 2, 1), (0, 1, 2), (1, 0, 2))  # of axes: what is spread along comes second


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
    ids, ranks = rank(np.where(seeds, labels, np.uint64(0)))
    order = np.argsort(ids)  # 0 stays first
    places = np.empty(ids.size, np.int64)
    places[order] = np.arange(ids.size)
    places[0] = NONE
    first = places[ranks]
    second = np.full(labels.shape if two else (0, 0, 0), NONE)
    for axes in ORDERS:
        if two:
            _spread_two(first.transpose(axes), second.transpose(axes), math.isqrt(ball))
        else:
            _spread_one(first.transpose(axes), math.isqrt(ball))
    ids = ids[order]
    one, other = (_ids_within(keys, ids, ball) for keys in (first, second))
    return one, other if two else np.zeros(labels.shape, np.uint64)


def _ids_within(keys: Keys, ids: Ids, ball: int) -> Ids:
    found: Ids = ids[np.where(keys >> BITS <= ball, keys & (1 << BITS) - 1, 0)]
    return found


@compiled
def _spread_one(keys: Keys, radius: int) -> None:
    """Let each place of the middle axis take the least along it."""
    outer, places, inner = keys.shape
    for o in range(outer):
        before = keys[o].copy()
        some = np.array([row.min() < NONE for row in before])
        best = np.empty(inner, np.int64)
        for i in range(places):
            best[:] = NONE
            for j in range(max(0, i - radius), min(places, i + radius + 1)):
                if some[j]:
                    step, row = np.int64((i - j) * (i - j)) << BITS, before[j]
                    for k in range(inner):
                        best[k] = min(best[k], row[k] + step)
            keys[o, i] = best


@compiled
def _spread_two(first: Keys, second: Keys, radius: int) -> None:
    """Let each place of the middle axis take the two least of different ranks along it."""
    outer, places, inner = first.shape
    for o in range(outer):
        one, other = first[o].copy(), second[o].copy()
        some = np.array([row.min() < NONE for row in one])
        for i in range(places):
            low, high = max(0, i - radius), min(places, i + radius + 1)
            if not some[low:high].any():
                continue
            for k in range(inner):
                a, b = np.int64(NONE), np.int64(NONE)
                for j in range(low, high):
                    if one[j, k] < NONE:
                        step = np.int64((i - j) * (i - j)) << BITS
                        a, b = _take(a, b, one[j, k] + step)
                        if other[j, k] < NONE:
                            a, b = _take(a, b, other[j, k] + step)
                first[o, i, k], second[o, i, k] = a, b


@compiled
def _take(a: np.int64, b: np.int64, key: np.int64) -> tuple[np.int64, np.int64]:
    """Return the two least keys of different ranks, one more offered."""
    mask = (1 << BITS) - 1
    if key & mask == a & mask:
        return min(a, key), b
    if key < a:
        return key, a
    if key & mask == b & mask:
        return a, min(b, key)
    return a, min(b, key)

"""How far two samples lie apart: Cliff's delta, and the Hodges-Lehmann shift with its interval.

Both ask only for the order of values, and so suit volumes and areas, of which few are very large.
The interval is that of Moses (Hollander, Wolfe and Chicken 2014, 4.3): distribution-free for
samples of independent values.
"""

import math
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.kernels.compiled import compiled

Floats = NDArray[np.float64]

EXACT = 50  # values of a sample: beyond it the normal approximation is right to a thousandth
LEVEL = 0.95
_SIGN = 1 << 63


class Shift(NamedTuple):
    """By how much values of the second sample are larger, and between what limits.

    Without limits the samples are too small for any interval of the level.
    """

    estimate: float
    low: float | None
    high: float | None
    level: float | None  # that the interval has, at least the one asked for


def cliffs_delta(a: Floats, b: Floats) -> float:
    """Return how often a value of ``b`` (m,) is larger than one of ``a`` (n,), less how often not.

    -1 to 1 (Cliff 1993); equal values count for nothing. Exact: one division of whole numbers.
    """
    a, b = np.sort(a), np.sort(b)
    below = int(np.searchsorted(a, b, "left").sum(dtype=np.int64))
    above = a.size * b.size - int(np.searchsorted(a, b, "right").sum(dtype=np.int64))
    return (below - above) / (a.size * b.size)


def hodges_lehmann(a: Floats, b: Floats, level: float = LEVEL) -> Shift:
    """Return the median of all differences of ``b`` (m,) and ``a`` (n,), with its interval.

    Time and memory are those of sorting: the n m differences are never made. Finite values only,
    at least one in each.
    """
    a, b = np.sort(a) + 0.0, np.sort(b) + 0.0
    pairs = a.size * b.size
    middle = [_smallest(a, b, rank) for rank in {(pairs - 1) // 2, pairs // 2}]
    estimate = sum(middle) / len(middle)
    cut, reached = _outside(a.size, b.size, level)
    if not cut:
        return Shift(estimate, None, None, None)
    low, high = _smallest(a, b, cut - 1), _smallest(a, b, pairs - cut)
    return Shift(estimate, low, high, reached)


def _outside(n: int, m: int, level: float) -> tuple[int, float]:
    """Return which of the sorted differences, counted from either end, limits the interval.

    0 where samples are so small that the largest interval is not of the level.
    """
    if max(n, m) > EXACT:
        z = NormalDist().inv_cdf((1 + level) / 2)
        cut = math.floor(n * m / 2 - z * math.sqrt(n * m * (n + m + 1) / 12))
        return max(cut, 0), level
    counts = _ranks(*sorted((n, m)))
    every, below, cut = sum(counts), 0, 0
    while 2 * (below + counts[cut]) <= (1 - level) * every:
        below += counts[cut]
        cut += 1
    return cut, float(1 - 2 * below / every)


@lru_cache
def _ranks(n: int, m: int) -> list[int]:
    """Return in how many orders of n and m different values u pairs are reversed, for each u.

    The Mann-Whitney distribution: Gaussian binomial coefficients, exact.
    """
    counts = [1] + [0] * (n * m)
    for k in range(1, n + 1):
        for u in range(n * m, m + k - 1, -1):  # times 1 - q^(m + k)
            counts[u] -= counts[u - m - k]
        for u in range(k, n * m + 1):  # over 1 - q^k
            counts[u] += counts[u - k]
    return counts


def _smallest(a: Floats, b: Floats, rank: int) -> float:
    """Return the difference b - a of a rank, 0 for the smallest, of sorted values.

    A bisection over all floating-point numbers, which are in order as whole numbers.
    """
    low, high = _whole(b[0] - a[-1]), _whole(b[-1] - a[0])
    while low < high:
        middle = (low + high) // 2
        if _count(a, b, _real(middle)) > rank:
            high = middle
        else:
            low = middle + 1
    return _real(low)


def _whole(value: float) -> int:
    """Return the place of a number among all of them."""
    bits = int(np.float64(value + 0.0).view(np.uint64))
    return _SIGN - bits if bits & _SIGN else bits


def _real(place: int) -> float:
    bits = place if place >= 0 else _SIGN - place
    return float(np.uint64(bits).view(np.float64))


@compiled
def _count(a: Floats, b: Floats, most: float) -> int:
    """Return how many differences are at most ``most``: one walk along both."""
    found, j = 0, 0
    for i in range(a.size):
        while j < b.size and b[j] - a[i] <= most:
            j += 1
        found += j
    return found

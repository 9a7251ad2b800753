"""A histogram of volumes, and round numbers for an axis."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

BINS = 24  # of the histogram


class Histogram(NamedTuple):
    """Counts in bins of equal width on a logarithmic axis, from one power of ten to another."""

    counts: list[int]
    low: int
    high: int


def histogram(volumes: Sequence[float]) -> Histogram | None:
    """Return a histogram of volumes in cubic micrometres; None of fewer than two."""
    if len(volumes) < 2:
        return None
    logs = np.log10(np.asarray(volumes))
    low = math.floor(logs.min())
    high = max(math.ceil(logs.max() + 1e-9), low + 1)
    return Histogram(np.histogram(logs, BINS, (low, high))[0].tolist(), low, high)


def ticks(most: int) -> list[int]:
    """Return whole numbers from 0 to at least ``most``, at most six of them, in round steps."""
    step = next(s * 10**e for e in range(19) for s in (1, 2, 5) if 5 * s * 10**e >= most)
    return list(range(0, most + step, step))

"""The grey values of an object's voxels: moments and exact quantiles."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fibstream.services.analysis.limbs import grouped_sums

from .objects import Column, Measure, Objects, Values

PERCENTILES = (5, 25, 50, 75, 95)


def _compute(objects: Objects) -> Sequence[Values]:
    total = objects.total
    level, weights = total["level"].astype(np.int64), total["level_voxels"]
    groups = total["levels"].tolist()
    sums = grouped_sums(weights, level, groups)
    squares = grouped_sums(weights, level * level, groups)
    means = [s / n for s, n in zip(sums, objects.voxels, strict=True)]
    deviations = [
        math.sqrt((n * square - s * s) / (n * n))
        for n, s, square in zip(objects.voxels, sums, squares, strict=True)
    ]
    return means, deviations, *quantiles(level, weights, total["voxels"])


def quantiles(
    level: NDArray[np.int64], weights: NDArray[np.int64], voxels: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """Return the smallest value, those at `PERCENTILES` and the largest, of each object.

    The value at ``p`` percent is the smallest that at least ``p`` percent of the voxels do not
    exceed: one that occurs, as `numpy.quantile` gives it by ``inverted_cdf``.

    Parameters
    ----------
    level, weights
        The values of all objects, ascending in each, and how many voxels have them.
    voxels
        Of each object.
    """
    reached = np.cumsum(weights)
    before = np.cumsum(voxels) - voxels
    ranks = [np.ones_like(voxels), *((p * voxels + 99) // 100 for p in PERCENTILES), voxels]
    return [level[np.searchsorted(reached, before + rank)] for rank in ranks]


_SHARE = "smallest raw value that at least {0} % of the object's voxels do not exceed"
GREY = Measure(
    {
        "raw_mean": Column("double", "mean raw value of the object's voxels"),
        "raw_std": Column("double", "standard deviation of the raw values of the object's voxels"),
        "raw_min": Column("int64", "smallest raw value of the object's voxels"),
        **{f"raw_p{p}": Column("int64", _SHARE.format(p)) for p in PERCENTILES},
        "raw_max": Column("int64", "largest raw value of the object's voxels"),
    },
    _compute,
    raw=True,
)

"""The window of grey values of a volume, from a sample of it; padding is no data."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

PER_MILLE = 5, 995  # of the voxels that are data: what is black, what is white


class Counts(NamedTuple):
    """The distinct values of a sample, ascending, and how many voxels have each."""

    values: NDArray[Any]
    voxels: NDArray[np.int64]

    def without(self, value: float) -> "Counts":
        """Return the counts of all other values."""
        kept = self.values != value
        return Counts(self.values[kept], self.voxels[kept])


def count_values(sample: NDArray[Any]) -> Counts:
    """Count the values of an array (z, y, x) of integers or floats, slice by slice."""
    if sample.dtype.kind == "f" or sample.dtype.itemsize > 2:
        values, voxels = np.unique(sample, return_counts=True)
        return Counts(values, voxels.astype(np.int64))
    first, last = np.iinfo(sample.dtype).min, np.iinfo(sample.dtype).max
    every = np.zeros(last - first + 1, np.int64)
    for one in sample:
        every += np.bincount(one.ravel().astype(np.int32) - first, minlength=every.size)
    found = np.flatnonzero(every)
    return Counts((found + first).astype(sample.dtype), every[found])


def data_counts(
    sample: NDArray[Any], absent_value: float | None = None,
    mask: NDArray[np.uint8] | None = None,
) -> Counts:  # fmt: skip
    """Count the values of a sample that are data.

    No data are ``absent_value``, exactly 0, and of what is left the smallest or largest value,
    whichever is more frequent, if it touches the rim of a slice, as padding of aligned slices does,
    and has more than twice the voxels of the value next to it, as the tail of a histogram has not.

    Parameters
    ----------
    sample
        Grey values, (z, y, x), integers or floats.
    absent_value
        What voxels that were never imaged are declared to hold; None: nothing is declared.
    mask
        0 for voxels that are declared never imaged, shaped as ``sample``; they count nowhere.

    Returns
    -------
    Counts
        Of a sample that is padding alone: none.
    """
    known = np.ones(sample.shape, bool) if mask is None else mask > 0
    counts = count_values(sample[known][None] if mask is not None else sample).without(0)
    if absent_value is not None:
        counts = counts.without(absent_value)
    if counts.values.size < 2:
        return counts
    end, next_to_it = max((0, 1), (-1, -2), key=lambda ends: int(counts.voxels[ends[0]]))
    if counts.voxels[end] <= 2 * counts.voxels[next_to_it]:
        return counts
    extreme = counts.values[end]
    found = (sample == extreme) & known
    rims = (found[:, (0, -1), :], found[:, :, (0, -1)])
    return counts.without(extreme) if any(rim.any() for rim in rims) else counts


def window_of(counts: Counts) -> tuple[float, float] | None:
    """Return the grey values that 0.5 and 99.5 % of the counted voxels do not exceed.

    Each is a value of the sample (``inverted_cdf`` of `numpy.percentile`, in integers); None where
    the two are the same or there are none.
    """
    if not counts.values.size:
        return None
    below = np.cumsum(counts.voxels)
    low, high = (
        float(counts.values[np.searchsorted(below * 1000, below[-1] * part)]) for part in PER_MILLE
    )
    return (low, high) if low < high else None

"""Voxels that were never imaged: those of a declared value, in areas, and those of a mask.

A microscope's stack is padded where slices were shifted, cropped or lost. The value of the padding
may also occur in tissue, here and there: so a voxel is absent only where it lies in a square of
``EDGE`` x ``EDGE`` voxels, along any two axes, that all have the value: a morphological opening
(Serra 1982). That depends on ``MARGIN`` voxels around it, never on how the volume is cut.
A mask says it of each voxel by itself: 0 was never imaged, 1 was.
"""

import math
from collections.abc import Callable
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import MAX_ABSENT, Dataset
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Halo
from fibstream.core.stage import MASK, RAW, Block, Input, Patch

# A power of 2. In 8-bit FIB-SEM stacks (EPFL at 5 nm, FlyEM at 10 nm) noise leaves not one square
# of 3 x 3 equal voxels; what is saturated, as stained lipid may be, is seldom as wide as 8.
EDGE = 8
MARGIN = EDGE - 1
HALO = Halo.of(MARGIN)
NOTABLE = 0.001  # share of a sample that is of one value in areas: less is not worth a line
BLOCK_HALO = Halo.of(MARGIN + 1)  # of a block with a voxel more than its chunk on each side

Bits = NDArray[np.bool_]


def check_value(value: float, dtype: str) -> float:
    """Return a declared value; raise WrongUse where no voxel of ``dtype`` can have it."""
    kind = np.dtype(dtype)
    fits = math.isfinite(value)
    if fits and kind.kind == "f":
        fits = abs(value) <= min(float(np.finfo(kind).max), MAX_ABSENT)
    if fits and kind.kind in "ui":
        limits = np.iinfo(kind)
        fits = float(value).is_integer() and limits.min <= value <= limits.max
    if not fits:
        raise WrongUse(f"absent value {value:g}: expected one that voxels of {dtype} can have")
    return float(value)


def absent_voxels(raw: Patch, value: float, core: Box) -> Bits:
    """Return which voxels were never imaged.

    Parameters
    ----------
    raw
        Grey values (z, y, x): ``core`` with at least ``HALO``, cut at the volume. What lies beyond
        the volume counts as padding, as do chunks that were declared absent.
    value
        What voxels that were never imaged hold, in the units of ``raw``.
    core
        A box of the volume.

    Returns
    -------
    NDArray[np.bool_]
        Shaped as ``core``. A voxel is the same whatever box it is asked for with.
    """
    around = core.grow(HALO)
    known = around.meet(raw.box)
    same = raw.array[known.slices(raw.box.start)] == raw.array.dtype.type(value)
    for box in raw.absent:
        common = box.meet(known)
        if not common.empty:
            same[common.slices(known.start)] = True
    if not same.any():
        return np.zeros(core.shape, np.bool_)
    padded = np.ones(around.shape, np.bool_)
    padded[known.slices(around.start)] = same
    inside = np.zeros(core.shape, np.bool_)
    for plane in combinations(range(3), 2):
        inside |= _opened(padded, plane)
    for box in raw.absent:
        common = box.meet(core)
        if not common.empty:
            inside[common.slices(core.start)] = True
    return inside


class Unimaged(NamedTuple):
    """What tells which voxels of a box were never imaged, as far as a dataset declares it.

    ``raw`` is read with ``HALO`` around the box, the mask as far as the box.
    """

    raw: Patch | None = None
    value: float | None = None  # what absent voxels of ``raw`` hold
    mask: Patch | None = None  # uint8: 0 where a voxel was never imaged, else 1

    def within(self, box: Box) -> Bits:
        """Return which voxels of a box were never imaged; see `absent_voxels`."""
        found = np.zeros(box.shape, np.bool_)
        if self.raw is not None and self.value is not None:
            found |= absent_voxels(self.raw, self.value, box)
        if self.mask is not None:
            found |= self.mask.array[box.slices(self.mask.box.start)] == 0
        return found


def declaring_inputs(dataset: Dataset) -> list[Input]:
    """Return what a stage reads to know what was never imaged in a chunk and a voxel around it."""
    found = []
    if dataset.absent_value is not None:
        found.append(Input(RAW, RAW, dataset.dtype, BLOCK_HALO))
    if dataset.absent_mask:
        found.append(Input(MASK, MASK, "uint8", Halo.of(1)))
    return found


def declared(dataset: Dataset, block: Block) -> Unimaged | None:
    """Return what a block with the inputs above tells; None where the dataset declares nothing."""
    if not declaring_inputs(dataset):
        return None
    raw = None if dataset.absent_value is None else block.patches[RAW]
    return Unimaged(raw, dataset.absent_value, block.patches.get(MASK))


def constant_squares(sample: NDArray[Any]) -> Bits:
    """Return which voxels of slices (z, y, x) lie in a square of ``EDGE`` equal voxels.

    The sample has at least ``EDGE`` rows and columns; squares lie in it whole.
    """
    high, low = sample, sample
    for axis in (1, 2):
        high, low = _windows(high, axis, np.maximum), _windows(low, axis, np.minimum)
    starts: Bits = np.pad(high == low, [(0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)])
    for axis in (1, 2):
        starts = _windows(starts, axis, np.logical_or)
    return starts


def constant_area(
    sample: NDArray[Any], mask: NDArray[np.uint8] | None = None
) -> tuple[float, float] | None:
    """Return the value that most areas of one value have, and their share of the voxels.

    An area of one value is a union of squares of ``EDGE`` voxels in slices (z, y, x); noise leaves
    none in what was imaged. Voxels with 0 in ``mask`` are left out. None where they are
    less than a thousandth of the sample.
    """
    z, y, x = sample.shape
    if min(y, x) < EDGE:
        return None
    squares = constant_squares(sample)
    if mask is not None:
        squares &= mask > 0
    values, voxels = np.unique(sample[squares], return_counts=True)
    if not values.size or voxels.max() < NOTABLE * z * y * x:
        return None
    return float(values[voxels.argmax()]), float(voxels.max()) / (z * y * x)


def _opened(mask: Bits, plane: tuple[int, ...]) -> Bits:
    """Return the opening of a mask by squares in a plane, ``MARGIN`` voxels less on each side."""
    third = ({0, 1, 2} - set(plane)).pop()
    found = np.moveaxis(np.moveaxis(mask, third, 0)[MARGIN:-MARGIN], 0, third)
    for operation in (np.logical_and, np.logical_or):
        for axis in plane:
            found = _windows(found, axis, operation)
    return found


def _windows(array: NDArray[Any], axis: int, operation: Callable[..., Any]) -> NDArray[Any]:
    """Reduce every window of ``EDGE`` voxels along an axis, of which the result has less."""
    found, step = np.moveaxis(array, axis, 0), 1
    while step < EDGE:  # windows of 2, 4, 8
        found = operation(found[:-step], found[step:])
        step *= 2
    return np.moveaxis(found, 0, axis)

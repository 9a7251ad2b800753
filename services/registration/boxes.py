"""Boxes of a warped light image, at any level of its pyramid: equal to the whole, to the bit.

The image is that of `lm/NAME`: made tile by tile, its coarser levels means of 2 x 2 x 2 voxels of
the level before.  Axes are (z, y, x).  Pure.
"""

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import LimitExceeded, OutOfRange, WrongUse
from fibstream.core.grid import MAX_AXIS, Box, Grid, Index
from fibstream.core.pyramid import MAX_LEVELS, halve_mean, level_box

CHUNK: Index = (64, 128, 128)  # voxels of `lm/NAME` that are made, and stored, at a time
MAX_VOXELS = 1 << 24  # full voxels that a box is made of: 20 seconds of one core
Shape = tuple[int | None, int, int]  # None: an open z
Read = Callable[[Box], NDArray[Any]]  # the full voxels of a box


def level_shape(shape: Shape, level: int) -> Shape:
    """Return the voxels of a level of an image of ``shape`` full voxels."""
    z, y, x = shape
    _, (_, ry, rx) = level_box(Box((0, 0, 0), (1, y, x)), level)
    return None if z is None else -(-z >> level), ry, rx


def checked(origin: Index, size: Index, level: int, shape: Shape) -> Box:
    """Return a box of a level, in its voxels.

    Raises
    ------
    WrongUse
        A level that no pyramid has, or an empty box.
    OutOfRange
        The box does not lie inside the level.
    LimitExceeded
        It is made of too many full voxels.
    """
    if not 0 <= level < MAX_LEVELS:
        raise WrongUse(f"level {level}: expected 0 to {MAX_LEVELS - 1}")
    z, y, x = size
    if min(size) < 1:
        raise WrongUse(f"shape {z},{y},{x}: expected Z,Y,X of at least 1 voxel")
    depth, *rest = level_shape(shape, level)
    ends = (MAX_AXIS >> level if depth is None else depth, *rest)
    stop = tuple(a + n for a, n in zip(origin, size, strict=True))
    if any(b > end for b, end in zip(stop, ends, strict=True)):
        whole = ",".join("?" if n is None else str(n) for n in (depth, *rest))
        raise OutOfRange(
            f"box {','.join(map(str, origin))} to {','.join(map(str, stop))}: level {level} has"
            f" {whole} voxels"
        )
    most = MAX_VOXELS >> 3 * level
    if z * y * x > most:
        raise LimitExceeded(f"shape {z},{y},{x}: at most {most} voxels of level {level} in a call")
    return Box(origin, (stop[0], stop[1], stop[2]))


def slabs(read: Read, shape: Shape, box: Box, level: int) -> Iterator[NDArray[Any]]:
    """Yield a box of a level as slabs along z, whose concatenation it is.

    Parameters
    ----------
    read
        Returns full voxels; it is asked for no more than a tile of ``CHUNK`` at a time.
    shape
        Of the whole, in full voxels.
    box, level
        As `checked` returns it.
    """
    z, y, x = (max(edge >> level, 1) for edge in CHUNK)
    tiles = Grid(level_shape(shape, level), (z, y, x))
    for _, indices in groupby(tiles.covering(box), key=lambda index: index[0]):
        parts = [tiles.box(index).meet(box) for index in indices]
        first, last = parts[0].start, parts[-1].stop
        slab: NDArray[Any] | None = None
        for part in parts:
            voxels = _at_level(read, shape, part, level)
            if slab is None:
                slab = np.empty(Box(first, last).shape, voxels.dtype)
            slab[part.slices(first)] = voxels
        assert slab is not None
        yield slab


def _at_level(read: Read, shape: Shape, part: Box, level: int) -> NDArray[Any]:
    """Return the voxels of a part of a level: windows end where the whole image does."""
    ends = (shape[0] or MAX_AXIS, *shape[1:])
    az, ay, ax = (a << level for a in part.start)
    bz, by, bx = (min(b << level, end) for b, end in zip(part.stop, ends, strict=True))
    voxels = read(Box((az, ay, ax), (bz, by, bx)))
    for _ in range(level):
        voxels = halve_mean(voxels)
    return voxels

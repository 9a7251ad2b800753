"""A prediction at the voxel size that registration works on: which level, and what is averaged.

The command reads a stored pyramid and a stream reads cells of one; both follow these rules, so
that they see equal voxels.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import MAX_CHUNK, Grid, Index
from fibstream.core.pyramid import halve_mean, level_count, windows_mean

PREDICTION_NM = 64.0  # what the window of grey values is measured for
TOLERANCE = 1.01  # of it: 4.03 nm times 16 is 64 nm
Triple = tuple[float, float, float]
MOST = 16  # voxels averaged along an axis
DIGITS = 6  # of a place in nm that count
MAX_HALVINGS = 5  # with them a cell of whole windows is no larger than the largest chunk


class Coarse(NamedTuple):
    """How a dataset's predictions are read: a level, halved again, then averaged.

    ``halvings`` are those that the stored pyramid lacks, ``factors`` the voxels (z, y, x) averaged
    after them. ``edges`` are those of a cell in voxels of the full level: whole windows, and no
    fewer than a chunk has where a cell may be that large. ``voxel_nm`` are those of the result.
    """

    level: int
    halvings: int
    factors: Index
    edges: Index
    voxel_nm: Triple

    @property
    def windows(self) -> Index:
        """Voxels of the full level along each of the result."""
        z, y, x = (f << (self.level + self.halvings) for f in self.factors)
        return z, y, x


def halvings_of(voxel_nm: Triple) -> int:
    """Return how often all edges are doubled before one would be too coarse.

    It does not depend on which levels are stored: a mean of rounded means is not that of all.
    """
    found = 0
    while found < MAX_HALVINGS and fits(_times(voxel_nm, 2.0 ** (found + 1))):
        found += 1
    return found


def fits(voxel_nm: Triple) -> bool:
    """Whether voxels are not coarser than registration wants them."""
    return max(voxel_nm) <= PREDICTION_NM * TOLERANCE


def factors_of(voxel_nm: Triple) -> Index:
    """Return how many voxels are averaged along each axis once all edges were doubled."""
    z, y, x = (max(1, min(int(PREDICTION_NM * TOLERANCE / edge), MOST)) for edge in voxel_nm)
    return z, y, x


def coarse_of(voxel_nm: Triple, chunk: Index) -> Coarse:
    """Return how predictions of a dataset with such voxels and chunks are read."""
    halvings = halvings_of(voxel_nm)
    level = min(halvings, level_count(chunk) - 1)
    size = _times(voxel_nm, 2.0**halvings)
    factors = factors_of(size)
    dz, dy, dx = (edge * f for edge, f in zip(size, factors, strict=True))
    z, y, x = (
        min(-(-c // w), MAX_CHUNK // w) * w
        for c, w in zip(chunk, (f << halvings for f in factors), strict=True)
    )
    return Coarse(level, halvings - level, factors, (z, y, x), (dz, dy, dx))


def corner_of(centre_nm: Triple, voxel_nm: Triple) -> Triple:
    """Return where the corner of a first voxel lies, nm, from its centre; to a millionth of one.

    The command moves a place level by level, and a stage does not: the last digits must not tell.
    """
    z, y, x = (round(c - v / 2, DIGITS) for c, v in zip(centre_nm, voxel_nm, strict=True))
    return z, y, x


def averaged(array: NDArray[np.uint8], coarse: Coarse) -> NDArray[np.uint8]:
    """Return the voxels (z, y, x) of a cell, read at its level, at the size of the result."""
    for _ in range(coarse.halvings):
        array = halve_mean(array)
    return np.asarray(windows_mean(array, coarse.factors), np.uint8)


def assembled(
    cells: Mapping[Index, NDArray[np.uint8]], shape: Index, coarse: Coarse
) -> NDArray[np.uint8]:
    """Return the whole of what is known, 0 elsewhere.

    Parameters
    ----------
    cells
        Averaged voxels (z, y, x) of cells, by their place on the lattice.
    shape
        Of the volume in voxels of the full level.
    coarse
        How they were averaged.
    """
    windows = coarse.windows
    whole = np.zeros([-(-n // w) for n, w in zip(shape, windows, strict=True)], np.uint8)
    steps = [e // w for e, w in zip(coarse.edges, windows, strict=True)]
    for index in cells:
        grey = cells[index]
        start = [i * s for i, s in zip(index, steps, strict=True)]
        whole[tuple(slice(a, a + n) for a, n in zip(start, grey.shape, strict=True))] = grey
    return whole


def landed_voxels(
    cells: Mapping[Index, NDArray[np.uint8]], shape: Index, coarse: Coarse
) -> NDArray[np.bool_]:
    """Return which voxels of what `assembled` returns are those of cells, bool."""
    filled = {index: np.ones(cells[index].shape, np.uint8) for index in cells}
    return assembled(filled, shape, coarse).view(np.bool_)


def known_shape(cells: Mapping[Index, object], grid: Grid, coarse: Coarse) -> Index:
    """Return the voxels of the full level up to the last cell that is known in z."""
    _, y, x = grid.extent
    if grid.shape[0] is not None:
        return grid.shape[0], y, x
    return (max(z for z, _, _ in cells) + 1) * coarse.edges[0], y, x


def _times(size: Triple, factor: float) -> Triple:
    z, y, x = (edge * factor for edge in size)
    return z, y, x

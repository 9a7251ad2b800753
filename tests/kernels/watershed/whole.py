"""Steepest descent, saddles and agglomeration of a whole volume, voxel by voxel in plain Python."""

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box, Halo, Index
from fibstream.core.ids import gid
from fibstream.kernels.conventions import Connectivity
from fibstream.kernels.watershed.basins import OUTSIDE, Basins, find_basins

RANK: dict[Connectivity, int] = {6: 1, 18: 2, 26: 3}
Relief = NDArray[np.uint16]


def neighbours(relief: Relief, here: Index, connectivity: Connectivity) -> Iterator[Index]:
    """Yield the foreground voxels around one, itself included."""
    for step in product((-1, 0, 1), repeat=3):
        z, y, x = (h + s for h, s in zip(here, step, strict=True))
        inside = all(0 <= n < size for n, size in zip((z, y, x), relief.shape, strict=True))
        if sum(map(abs, step)) <= RANK[connectivity] and inside and relief[z, y, x] != OUTSIDE:
            yield z, y, x


def foreground(relief: Relief) -> list[Index]:
    """The voxels that are not outside, in raster order."""
    return [(int(z), int(y), int(x)) for z, y, x in np.argwhere(relief != OUTSIDE)]


def descent(relief: Relief, connectivity: Connectivity) -> dict[Index, Index]:
    """The minimum under each voxel of the foreground."""
    voxels = sorted(foreground(relief), key=lambda v: (relief[v], gid(v)))
    end: dict[Index, Index] = {}
    for here in voxels:  # the least neighbour comes earlier, or is the voxel itself
        least = min(neighbours(relief, here, connectivity), key=lambda v: (relief[v], gid(v)))
        end[here] = end.get(least, here)
    return end


def random_relief(rng: np.random.Generator, most: int = 9) -> Relief:
    """A small volume; few levels, so that plateaus are common."""
    shape = rng.integers(1, most, 3)
    relief = rng.integers(0, rng.choice([2, 4, 40, 30000]), shape).astype(np.uint16)
    relief[rng.random(shape) < rng.choice([0.0, 0.2, 0.6])] = OUTSIDE
    return relief


def block_of(relief: Relief, core: Box, connectivity: Connectivity) -> Basins:
    """The basins of a block, which reads one more voxel where there is one."""
    box = core.grow(Halo.of(1)).meet(whole_box(relief))
    return find_basins(relief[box.slices()], box, core, connectivity)


def whole_box(relief: Relief) -> Box:
    """The box of a volume."""
    z, y, x = relief.shape
    return Box((0, 0, 0), (z, y, x))

"""Steepest descent of a block in the total order (relief, global id).

The next voxel of a voxel is the least of itself and its neighbours: a function of those alone.
Along a path the order strictly falls, so it ends: at a minimum, or where it leaves the block.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box, Halo, Index
from fibstream.core.ids import AXIS_BITS

from ..compiled import compiled
from ..conventions import LEVEL_BITS, Connectivity

Ids = NDArray[np.uint64]
Relief = NDArray[np.uint16]

HIGHEST = 255 << LEVEL_BITS  # the relief of a smoothed grey level of 0
OUTSIDE = 0xFFFF  # the relief of a voxel that is not foreground
_HALF = [step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]
# Steps to the neighbours that come later, in raster order.
LATER: dict[Connectivity, NDArray[np.int64]] = {
    6: np.array([step for step in _HALF if sum(map(abs, step)) <= 1]),
    18: np.array([step for step in _HALF if sum(map(abs, step)) <= 2]),
    26: np.array(_HALF),
}


class Basins(NamedTuple):
    """The ends of steepest descent from the voxels of a block.

    Both arrays cover the block and one more voxel on every side, ``(z, y, x)``.

    Attributes
    ----------
    core
        The block, in voxels of the volume.
    relief
        uint16; `OUTSIDE` where nothing is foreground or the volume has ended.
    end
        Flat position of the end of each voxel, int32, -1 outside the foreground. Voxels beyond the
        block are ends: only the block that holds them knows where they descend to.
    """

    core: Box
    relief: Relief
    end: NDArray[np.int32]


def relief_of(smoothed: NDArray[np.uint16], background: int) -> Relief:
    """Return how far smoothed levels are below the highest one, `OUTSIDE` of the foreground.

    Parameters
    ----------
    smoothed
        Grey levels times ``2**7``, as `smooth` returns them.
    background
        Grey level up to which a voxel is background, from 0 to 255.
    """
    assert 0 <= background <= 255
    inside = smoothed > background << LEVEL_BITS
    return np.where(inside, np.uint16(HIGHEST) - smoothed, np.uint16(OUTSIDE))


def find_basins(relief: Relief, box: Box, core: Box, connectivity: Connectivity) -> Basins:
    """Follow every voxel of ``core`` to the end of its steepest descent.

    Parameters
    ----------
    relief
        Low where an organelle is deep, uint16 ``(z, y, x)``; `OUTSIDE` is no foreground.
    box
        Where it lies in the volume: ``core`` and one more voxel on every side, or less where the
        volume ends.
    core
        The block, in voxels of the volume; with the voxels around it fewer than 2**31.
    connectivity
        Of the steps: 6, 18 or 26 neighbours.
    """
    assert relief.shape == box.shape and relief.dtype == np.uint16
    z, y, x = (n + 2 for n in core.shape)
    assert z * y * x < 2**31
    around = np.full((z, y, x), OUTSIDE, np.uint16)
    read = core.grow(Halo.of(1)).meet(box)
    around[read.slices(_before(core))] = relief[read.slices(box.start)]
    later = flat_steps(connectivity, around.shape)
    steps = np.concatenate([-later[::-1], [0], later])
    end = np.full(around.size, -1, np.int32)
    _descend(around.reshape(-1), around.shape, steps, end)
    _follow(around.shape, end)
    return Basins(core, around, end.reshape(around.shape))


def name_voxels(basins: Basins, positions: NDArray[np.integer]) -> Ids:
    """Return ``1 + gid`` of voxels given by their flat positions in the arrays of ``basins``."""
    z, y, x = (axis.astype(np.int64) for axis in np.unravel_index(positions, basins.relief.shape))
    place = (z << 2 * AXIS_BITS) + (y << AXIS_BITS) + x + _first_name(basins.core)
    return place.astype(np.uint64)


def paint_ends(basins: Basins) -> Ids:
    """Return the block, uint64 ``(z, y, x)``: the name of each voxel's end, 0 of background.

    The name is ``1 + gid`` of the end: of a minimum, or of the first voxel beyond the block.
    """
    out = np.empty(basins.core.shape, np.uint64)
    _paint(basins.end, _first_name(basins.core), out)
    return out


def _first_name(core: Box) -> int:
    """Return what the name of the first voxel of the arrays would be; it may lie before 0."""
    z, y, x = _before(core)
    return z * (1 << 2 * AXIS_BITS) + y * (1 << AXIS_BITS) + x + 1


def _before(core: Box) -> Index:
    z, y, x = (n - 1 for n in core.start)
    return z, y, x


def flat_steps(connectivity: Connectivity, shape: Index) -> NDArray[np.int64]:
    """Return the steps to later neighbours as differences of flat positions, ascending."""
    steps: NDArray[np.int64] = LATER[connectivity] @ np.array([shape[1] * shape[2], shape[2], 1])
    return steps


@compiled
def _descend(relief: Relief, shape: Index, steps: NDArray[np.int64], to: NDArray[np.int32]) -> None:
    """Write the least neighbour of each voxel; those of the outer layer stay where they are."""
    depth, height, width = shape
    for z in range(depth):
        for y in range(height):
            row = (z * height + y) * width
            outer = z == 0 or z == depth - 1 or y == 0 or y == height - 1
            for p in range(row, row + width):
                if relief[p] == OUTSIDE:
                    continue
                if outer or p == row or p == row + width - 1:
                    to[p] = p
                    continue
                least, best = np.uint16(OUTSIDE), p
                # Steps are in raster order: of equal voxels the first has the least global id.
                for s in range(steps.size):
                    value = relief[p + steps[s]]
                    if value < least:
                        least, best = value, p + steps[s]
                to[p] = best


@compiled
def _follow(shape: Index, to: NDArray[np.int32]) -> None:
    """Replace each next voxel by the end of the path."""
    for p in range(shape[0] * shape[1] * shape[2]):
        end = to[p]
        if end < 0:
            continue
        while to[end] != end:
            end = to[end]
        # Everything on the path now knows its end: each voxel is walked over twice at most.
        q = p
        while to[q] != end:
            after = to[q]
            to[q] = end
            q = after


@compiled
def _paint(end: NDArray[np.int32], first_name: int, out: Ids) -> None:
    height, width = end.shape[1:]
    last, name = np.int32(-1), np.uint64(0)
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                here = end[z + 1, y + 1, x + 1]
                if here != last:
                    last, name = here, np.uint64(0)
                    if here >= 0:
                        row = here // width
                        place = np.int64(row // height) << 2 * AXIS_BITS
                        place += np.int64(row % height) << AXIS_BITS
                        name = np.uint64(place + here % width + first_name)
                out[z, y, x] = name

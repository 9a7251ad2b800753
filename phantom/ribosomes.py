"""Ribosomes: too many to place one by one, so they follow from a spatial rule.

Each cell of a lattice proposes one, at a place and with a rank that depend on the cell alone.  A
proposal near the reticulum moves to its surface; one without enough space is rejected; of two that
overlap the lower rank is removed, even if the other is itself removed (Matern's second hard-core
process).  So a few cells around a ribosome decide whether it exists, in any box.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Halo
from fibstream.kernels.compiled import compiled, inlined

from . import sizes
from .hashing import bits, noise, unit
from .materials import MATERIAL
from .near import FAR, Near, gather, new_near
from .raster import envelope, nearest, reticulum
from .scene import World
from .shapes import DISC, Floats, ellipsoid_distance

PITCH = 40.0  # nm: one proposal for each 40 nm cube, 15,600 in a cubic micrometre
SLIDE = 24.0  # nm that a proposal may move to the reticulum
RIVAL_CELLS = 2  # away: an overlapping one is at most 2 slides and 2 radii off, 73 nm < 2 cells
FREE, BOUND, BOUND_TUBE = 0.19, 0.75, 0.30  # of possible ones; HeLa cells have about 3000
# in a cubic micrometre (Duncan and Hershey, J. Biol. Chem. 258 (1983): 4 million a cell)
MIN_FREE_DISTANCE = sizes.RIBOSOME + 16.0  # nm, free ones to the reticulum: no contact at 10 nm
MIN_CLEARANCE = sizes.RIBOSOME + 2.0  # to any other organelle
CYTOSOLIC, NUCLEAR, SHEET, TUBE = range(4)  # classes of Heinrich et al. 2021
REJECTED = 255
BITS = 11  # of a lattice coordinate in an id: 2048 cells are 80 um
OFFSET = 16  # cells before the volume's first voxel


class Ribosomes(NamedTuple):
    """Ribosomes of a box.

    ``centre`` is (n, 3) nm ``(z, y, x)``, ``category`` (n,) uint8 one of CYTOSOLIC, NUCLEAR,
    SHEET and TUBE, ``number`` (n,) uint64 the id.
    """

    centre: Floats
    category: NDArray[np.uint8]
    number: NDArray[np.uint64]


@inlined
def _reticulum_at(
    world: World, near: Near, z: float, y: float, x: float
) -> tuple[float, float, int]:
    """Return the distance to ER and envelope, that to the envelope, and the nearest primitive."""
    d_n = FAR
    if world.has_nucleus:
        d_n = ellipsoid_distance(world.bodies[0], world.keys[0], z, y, x)
    shell, pore, _ = envelope(near, d_n, z, y, x)
    e, _, prim = reticulum(near, shell, z, y, x)
    if d_n < -0.5 * sizes.ENVELOPE or pore < 75.0:
        e = -FAR  # no ribosome inside the nucleus, nor on a pore
    return e, shell, prim


@compiled
def _propose(  # noqa: PLR0911
    world: World, near: Near, iz: int, iy: int, ix: int, place: Floats
) -> tuple[int, np.uint64]:
    """Write the place of a cell's ribosome, nm; return its class, or REJECTED, and its rank."""
    key = world.keys[5]
    rank = bits(key, iz, iy, ix)
    word = bits(key + np.uint64(1), iz, iy, ix)
    z = (iz + unit(rank)) * PITCH
    y = (iy + unit(word)) * PITCH
    x = (ix + unit(bits(key + np.uint64(2), iz, iy, ix))) * PITCH
    chance = unit(bits(key + np.uint64(3), iz, iy, ix))
    if chance > BOUND:
        return REJECTED, rank
    d_p = ellipsoid_distance(world.bodies[1], world.keys[1], z, y, x)
    if d_p > -(MIN_CLEARANCE + sizes.MEMBRANE):
        return REJECTED, rank
    gather(world, near, z, y, x, 2.0 * SLIDE + sizes.RIBOSOME + 30.0)
    e, shell, prim = _reticulum_at(world, near, z, y, x)
    category = CYTOSOLIC
    if e < MIN_FREE_DISTANCE:
        if not -6.0 < e < sizes.RIBOSOME + SLIDE:
            return REJECTED, rank
        start_z, start_y, start_x = z, y, x
        for _ in range(3):  # Newton steps to the surface at one radius
            gz = _reticulum_at(world, near, z + 1.0, y, x)[0] - e
            gy = _reticulum_at(world, near, z, y + 1.0, x)[0] - e
            gx = _reticulum_at(world, near, z, y, x + 1.0)[0] - e
            size = max(gz * gz + gy * gy + gx * gx, 0.25)
            step = (sizes.RIBOSOME - e) / size
            z, y, x = z + step * gz, y + step * gy, x + step * gx
            slid = (z - start_z) ** 2 + (y - start_y) ** 2 + (x - start_x) ** 2
            if slid > SLIDE * SLIDE:
                return REJECTED, rank
            e, shell, prim = _reticulum_at(world, near, z, y, x)
        if abs(e - sizes.RIBOSOME) > 0.5:
            return REJECTED, rank
        category = NUCLEAR
        if prim >= 0 and e < shell - 0.5:
            category = SHEET if near.shape[prim] == DISC else TUBE
        if category == TUBE and chance > BOUND_TUBE:
            return REJECTED, rank
    else:
        crowd = max(0.1, 1.0 + 1.7 * noise(key, z / 140.0, y / 140.0, x / 140.0))
        if chance > FREE * crowd:
            return REJECTED, rank
    if nearest(near, z, y, x)[0] < MIN_CLEARANCE:
        return REJECTED, rank
    place[0], place[1], place[2] = z, y, x
    return category, rank


@compiled
def find(world: World, low: Floats, high: Floats) -> Ribosomes:
    """Return the ribosomes that reach into a box, by ascending ids; ``low``, ``high``: (3,) nm."""
    first = np.empty(3, np.int64)
    count = np.empty(3, np.int64)
    reach = sizes.RIBOSOME + SLIDE
    for k in range(3):
        first[k] = math.floor((low[k] - reach) / PITCH) - RIVAL_CELLS
        count[k] = math.floor((high[k] + reach) / PITCH) + RIVAL_CELLS + 1 - first[k]
    total = count[0] * count[1] * count[2]
    category, rank = np.full(total, REJECTED, np.uint8), np.empty(total, np.uint64)
    place = np.empty((total, 3))
    near = new_near(world)
    for n in range(total):
        iz, iy, ix = n // (count[1] * count[2]), n // count[2] % count[1], n % count[2]
        category[n], rank[n] = _propose(
            world, near, first[0] + iz, first[1] + iy, first[2] + ix, place[n]
        )
    keep = np.zeros(total, np.bool_)
    for n in range(total):
        if category[n] != REJECTED:
            inside = True
            for k in range(3):
                inside &= low[k] - sizes.RIBOSOME < place[n, k] < high[k] + sizes.RIBOSOME
            keep[n] = inside and _survives(n, count, category, rank, place)
    chosen = np.nonzero(keep)[0]
    number = np.empty(len(chosen), np.uint64)
    for i in range(len(chosen)):
        n = chosen[i]
        iz, iy, ix = n // (count[1] * count[2]), n // count[2] % count[1], n % count[2]
        word = ((first[0] + iz + OFFSET) << BITS) + first[1] + iy + OFFSET
        number[i] = np.uint64((word << BITS) + first[2] + ix + OFFSET)
    return Ribosomes(place[chosen], category[chosen], number)


@inlined
def _survives(
    n: int, count: NDArray[np.int64], category: NDArray[np.uint8], rank: NDArray[np.uint64],
    place: Floats,
) -> bool:  # fmt: skip
    """Whether no overlapping proposal has a higher rank."""
    iz, iy, ix = n // (count[1] * count[2]), n // count[2] % count[1], n % count[2]
    apart = (2.0 * sizes.RIBOSOME + 1.0) ** 2
    for z in range(max(iz - RIVAL_CELLS, 0), min(iz + RIVAL_CELLS + 1, count[0])):
        for y in range(max(iy - RIVAL_CELLS, 0), min(iy + RIVAL_CELLS + 1, count[1])):
            for x in range(max(ix - RIVAL_CELLS, 0), min(ix + RIVAL_CELLS + 1, count[2])):
                m = (z * count[1] + y) * count[2] + x
                if m == n or category[m] == REJECTED or rank[m] < rank[n]:
                    continue
                far = 0.0
                for k in range(3):
                    far += (place[m, k] - place[n, k]) ** 2
                if far < apart:
                    return False
    return True


SHADING_HALO = Halo.of(2)  # voxels beyond its sphere that a ribosome may shade, see `draw`


@compiled
def draw(
    found: Ribosomes, origin: NDArray[np.int64], voxel: Floats,
    material: NDArray[np.uint8], thing: NDArray[np.int32], tone: NDArray[np.uint8], dark: float,
) -> None:  # fmt: skip
    """Draw ribosomes over cytosol; ribosome ``i`` becomes thing ``-2 - i``.

    ``material`` (uint8), ``thing`` (int32) and ``tone`` (uint8) are ``(z, y, x)`` from voxel
    ``origin`` on; ``voxel`` is (3,) nm; ``dark`` is the tone of a ribosome.
    """
    r = sizes.RIBOSOME
    soft = max(voxel[0], voxel[1], voxel[2])
    for i in range(len(found.centre)):
        contrast = 0.45 + 0.55 * unit(bits(found.number[i], 0, 0, 0))  # no two stain alike
        lo, hi = np.empty(3, np.int64), np.empty(3, np.int64)
        for k in range(3):
            lo[k] = max(math.floor((found.centre[i, k] - r) / voxel[k] - 1.0), origin[k])
            hi[k] = min(
                math.ceil((found.centre[i, k] + r) / voxel[k] + 1.0), origin[k] + material.shape[k]
            )
        for iz in range(lo[0], hi[0]):
            dz = (iz + 0.5) * voxel[0] - found.centre[i, 0]
            for iy in range(lo[1], hi[1]):
                dy = (iy + 0.5) * voxel[1] - found.centre[i, 1]
                for ix in range(lo[2], hi[2]):
                    dx = (ix + 0.5) * voxel[2] - found.centre[i, 2]
                    a, b, c = iz - origin[0], iy - origin[1], ix - origin[2]
                    before = material[a, b, c]
                    if before not in (MATERIAL.CYTOSOL, MATERIAL.RIBOSOME):
                        continue
                    d = math.sqrt(dz * dz + dy * dy + dx * dx) - r
                    share = contrast * min(max(0.5 - (d + 2.0) / (soft + 8.0), 0.0), 1.0)
                    tone[a, b, c] = np.uint8(tone[a, b, c] + (dark - tone[a, b, c]) * share)
                    if d < 0.0:
                        material[a, b, c] = MATERIAL.RIBOSOME
                        thing[a, b, c] = -2 - i

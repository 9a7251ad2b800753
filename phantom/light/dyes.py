"""Dyes on a membrane: places on the surface of an organelle, evenly, by a rule of space.

Each cell of a lattice proposes some places; one that lies near the surface slides onto it.  So
the dyes of a scene follow from its seed, whatever the organelle's shape, and a flat piece of
membrane has as many as a bent one (a layer of equal depth on both sides has, to second order, the
area times its depth).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import LimitExceeded, WrongUse
from fibstream.kernels.compiled import compiled
from fibstream.phantom import sizes
from fibstream.phantom.fields import kind_distance
from fibstream.phantom.hashing import bits, scramble, unit
from fibstream.phantom.materials import Kind
from fibstream.phantom.near import Near, gather, nothing_near
from fibstream.phantom.scene import Scene, World
from fibstream.phantom.shapes import Floats, ellipsoid_distance

EDGE = 64.0  # nm of a cell of the lattice: what is near it is looked up once
PROPOSED = 8  # places a cell
REACH = 12.0  # nm from the surface at which a place slides to it
PER_UM2 = PROPOSED * 2.0 * REACH / EDGE**3 * 1e6  # dyes: 732 on a square micrometre
MAX_DYES = 60_000_000  # dyes of one channel: 1 GiB
SLOPE = 2.0  # nm of the differences that give the way to the surface
# Where the stained membrane lies: half its width below the surface of the organelle.
MEMBRANES = {
    "mito": (Kind.MITO, -0.5 * sizes.MITO_OUTER),
    "er": (Kind.ER, -0.5 * sizes.MEMBRANE),
}


class Dyes(NamedTuple):
    """Dyes: ``place`` (n, 3) float32 nm ``(z, y, x)``, ``thing`` (n,) int32, ``luck`` (n,) uint64.

    ``thing`` is the place of the instance in the scene's list, ``luck`` 64 bits of each dye's own.
    """

    place: NDArray[np.float32]
    thing: NDArray[np.int32]
    luck: NDArray[np.uint64]


def dyes_on(scene: Scene, organelle: str, low: Floats, high: Floats) -> Dyes:
    """Return the dyes on the outer membrane of mitochondria, or on those of the reticulum.

    ``low`` and ``high`` (nm) bound what is looked at: a dye lies in ``[low, high)``.

    Raises
    ------
    WrongUse
        For an organelle that is not stained.
    TooMuch
        For more than 60 million dyes.
    """
    if organelle not in MEMBRANES:
        raise WrongUse(f"channel {organelle!r}: expected {' or '.join(MEMBRANES)}")
    kind, level = MEMBRANES[organelle]
    first = np.floor((low - REACH) / EDGE).astype(np.int64)
    last = np.ceil((high + REACH) / EDGE).astype(np.int64)
    room = int(np.prod(last[1:] - first[1:])) * PROPOSED
    place, thing = np.empty((room, 3), np.float32), np.empty(room, np.int32)
    luck = np.empty(room, np.uint64)
    layers, total = [], 0
    for layer in range(int(first[0]), int(last[0])):
        count = _layer(
            scene.world, int(kind), level, layer, first, last, low, high, place, thing, luck
        )
        layers.append(Dyes(place[:count].copy(), thing[:count].copy(), luck[:count].copy()))
        if (total := total + count) > MAX_DYES:
            raise LimitExceeded(
                f"channel {organelle}: more than {MAX_DYES} dyes; expected a smaller phantom"
            )
    return Dyes(*(np.concatenate(columns) for columns in zip(*layers, strict=True)))


@compiled
def _layer(
    world: World, kind: int, level: float, layer: int, first: NDArray[np.int64],
    last: NDArray[np.int64], low: Floats, high: Floats, place: NDArray[np.float32],
    thing: NDArray[np.int32], luck: NDArray[np.uint64],
) -> int:  # fmt: skip
    """Write the dyes of one layer of cells; return how many."""
    near = nothing_near(world)
    half = 0.5 * EDGE * math.sqrt(3.0)
    key = world.keys[6] + np.uint64(97 + kind)
    count = 0
    at = np.empty(3)
    for iy in range(first[1], last[1]):
        for ix in range(first[2], last[2]):
            z, y, x = (layer + 0.5) * EDGE, (iy + 0.5) * EDGE, (ix + 0.5) * EDGE
            if _barren(world, half + REACH, z, y, x):
                continue
            gather(world, near, z, y, x, half + REACH)
            if kind != Kind.ER and near.group[kind] == near.group[kind + 1]:
                continue
            # A wobble makes distances grow by up to a quarter more than the way.
            if abs(kind_distance(world, near, kind, z, y, x)[0] - level) > 1.25 * half + REACH:
                continue
            for n in range(PROPOSED):
                word = scramble(bits(key, layer, iy, ix) + np.uint64(n))
                at[0] = (layer + unit(word)) * EDGE
                at[1] = (iy + unit(scramble(word + np.uint64(1)))) * EDGE
                at[2] = (ix + unit(scramble(word + np.uint64(2)))) * EDGE
                owner = _slid(world, near, kind, level, at)
                for k in range(3):  # where it is, not where it came from
                    if not low[k] <= at[k] < high[k]:
                        owner = -1
                if owner >= 0:
                    for k in range(3):
                        place[count, k] = np.float32(at[k])
                    thing[count], luck[count] = owner, scramble(word + np.uint64(3))
                    count += 1
    return count


@compiled
def _barren(world: World, reach: float, z: float, y: float, x: float) -> bool:
    """Whether all within ``reach`` is outside of the cell, or deep in its nucleus."""
    if ellipsoid_distance(world.bodies[1], world.keys[1], z, y, x) > 2.0 * reach:
        return True
    if not world.has_nucleus:
        return False
    depth = ellipsoid_distance(world.bodies[0], world.keys[0], z, y, x)
    return bool(depth < -(sizes.ENVELOPE + 2.0 * reach))


@compiled
def _slid(world: World, near: Near, kind: int, level: float, at: Floats) -> int:
    """Move a place onto the surface; return the thing it is on, or -1 if it is too far off."""
    found = kind_distance(world, near, kind, at[0], at[1], at[2])
    d, owner = found[0] - level, found[1]
    if abs(d) > REACH:
        return -1
    for _ in range(2):
        gz = kind_distance(world, near, kind, at[0] + SLOPE, at[1], at[2])[0] - level - d
        gy = kind_distance(world, near, kind, at[0], at[1] + SLOPE, at[2])[0] - level - d
        gx = kind_distance(world, near, kind, at[0], at[1], at[2] + SLOPE)[0] - level - d
        size = max(gz * gz + gy * gy + gx * gx, 0.25 * SLOPE * SLOPE)
        go = -d * SLOPE / size
        at[0], at[1], at[2] = at[0] + go * gz, at[1] + go * gy, at[2] + go * gx
        found = kind_distance(world, near, kind, at[0], at[1], at[2])
        d, owner = found[0] - level, found[1]
    # A window may cut a nucleus that would stand out of its cell: there is no envelope there.
    outside = ellipsoid_distance(world.bodies[1], world.keys[1], at[0], at[1], at[2]) > 0.0
    return owner if abs(d) < 1.0 and not outside else -1

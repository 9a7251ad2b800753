"""Dyes on a membrane: places evenly distributed on the surface of an organelle.

Each cell of a lattice proposes some places; one near the surface is moved onto it.  So
the dyes of a scene follow from its seed, whatever the organelle's shape, and a flat piece of
membrane has as many as a bent one (a layer of equal depth on both sides has, to second order, the
area times its depth).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.echo import echo
from fibstream.core.errors import LimitExceeded, WrongUse
from fibstream.kernels.compiled import compiled
from fibstream.phantom import sizes
from fibstream.phantom.fields import kind_distance
from fibstream.phantom.hashing import bits, scramble, unit
from fibstream.phantom.materials import Kind
from fibstream.phantom.near import Near, gather, new_near
from fibstream.phantom.scene import Scene, World
from fibstream.phantom.shapes import Floats, ellipsoid_distance

EDGE = 64.0  # nm of a cell of the lattice: primitives near it are looked up once
PROPOSED = 8  # places a cell
REACH = 12.0  # nm from the surface within which a place moves onto it
PER_UM2 = PROPOSED * 2.0 * REACH / EDGE**3 * 1e6  # dyes: 732 on a square micrometre
MAX_DYES = 60_000_000  # dyes of one channel: 1 GiB
SLOPE = 2.0  # nm: step of the differences that give the gradient
# Where the stained membrane lies: half its width below the surface of the organelle.
MEMBRANES = {
    "mito": (Kind.MITO, -0.5 * sizes.MITO_OUTER),
    "er": (Kind.ER, -0.5 * sizes.MEMBRANE),
}


class Dyes(NamedTuple):
    """Dyes of one channel.

    ``place`` is (n, 3) float32 nm ``(z, y, x)``, ``thing`` (n,) int32 the index of the instance in
    the scene's list, ``random`` (n,) uint64 random bits of each dye.
    """

    place: NDArray[np.float32]
    thing: NDArray[np.int32]
    random: NDArray[np.uint64]


def dyes_on(scene: Scene, organelle: str, low: Floats, high: Floats) -> Dyes:
    """Return the dyes on the outer membrane of mitochondria, or on those of the reticulum.

    ``low`` and ``high``, (3,) nm ``(z, y, x)``, bound the dyes: each lies in ``[low, high)``.

    Raises
    ------
    WrongUse
        For an organelle other than ``mito`` and ``er``.
    LimitExceeded
        For more than 60 million dyes.
    """
    if organelle not in MEMBRANES:
        raise WrongUse(f"channel {echo(organelle)}: expected {' or '.join(MEMBRANES)}")
    kind, level = MEMBRANES[organelle]
    first = np.floor((low - REACH) / EDGE).astype(np.int64)
    last = np.ceil((high + REACH) / EDGE).astype(np.int64)
    capacity = int(np.prod(last[1:] - first[1:])) * PROPOSED
    place, thing = np.empty((capacity, 3), np.float32), np.empty(capacity, np.int32)
    random = np.empty(capacity, np.uint64)
    layers, total = [], 0
    for layer in range(int(first[0]), int(last[0])):
        count = _layer(
            scene.world, int(kind), level, layer, first, last, low, high, place, thing, random
        )
        layers.append(Dyes(place[:count].copy(), thing[:count].copy(), random[:count].copy()))
        if (total := total + count) > MAX_DYES:
            raise LimitExceeded(
                f"channel {organelle}: more than {MAX_DYES} dyes; expected a smaller phantom"
            )
    return Dyes(*(np.concatenate(columns) for columns in zip(*layers, strict=True)))


@compiled
def _layer(
    world: World, kind: int, level: float, layer: int, first: NDArray[np.int64],
    last: NDArray[np.int64], low: Floats, high: Floats, place: NDArray[np.float32],
    thing: NDArray[np.int32], random: NDArray[np.uint64],
) -> int:  # fmt: skip
    """Write the dyes of one layer of cells; return how many."""
    near = new_near(world)
    half = 0.5 * EDGE * math.sqrt(3.0)
    key = world.keys[6] + np.uint64(97 + kind)
    count = 0
    at = np.empty(3)
    for iy in range(first[1], last[1]):
        for ix in range(first[2], last[2]):
            z, y, x = (layer + 0.5) * EDGE, (iy + 0.5) * EDGE, (ix + 0.5) * EDGE
            if _has_no_membrane(world, half + REACH, z, y, x):
                continue
            gather(world, near, z, y, x, half + REACH)
            if kind != Kind.ER and near.group[kind] == near.group[kind + 1]:
                continue
            # With a wobble a distance changes by up to 1.25 nm for each nm.
            if abs(kind_distance(world, near, kind, z, y, x)[0] - level) > 1.25 * half + REACH:
                continue
            for n in range(PROPOSED):
                word = scramble(bits(key, layer, iy, ix) + np.uint64(n))
                at[0] = (layer + unit(word)) * EDGE
                at[1] = (iy + unit(scramble(word + np.uint64(1)))) * EDGE
                at[2] = (ix + unit(scramble(word + np.uint64(2)))) * EDGE
                owner = _moved_to_surface(world, near, kind, level, at)
                for k in range(3):  # its final place decides
                    if not low[k] <= at[k] < high[k]:
                        owner = -1
                if owner >= 0:
                    for k in range(3):
                        place[count, k] = np.float32(at[k])
                    thing[count], random[count] = owner, scramble(word + np.uint64(3))
                    count += 1
    return count


@compiled
def _has_no_membrane(world: World, reach: float, z: float, y: float, x: float) -> bool:
    """Whether everything within ``reach`` is outside of the cell, or deep in its nucleus."""
    if ellipsoid_distance(world.bodies[1], world.keys[1], z, y, x) > 2.0 * reach:
        return True
    if not world.has_nucleus:
        return False
    depth = ellipsoid_distance(world.bodies[0], world.keys[0], z, y, x)
    return bool(depth < -(sizes.ENVELOPE + 2.0 * reach))


@compiled
def _moved_to_surface(world: World, near: Near, kind: int, level: float, at: Floats) -> int:
    """Move a place onto the surface; return the thing there, or -1 if the surface is too far."""
    found = kind_distance(world, near, kind, at[0], at[1], at[2])
    d, owner = found[0] - level, found[1]
    if abs(d) > REACH:
        return -1
    for _ in range(2):
        gz = kind_distance(world, near, kind, at[0] + SLOPE, at[1], at[2])[0] - level - d
        gy = kind_distance(world, near, kind, at[0], at[1] + SLOPE, at[2])[0] - level - d
        gx = kind_distance(world, near, kind, at[0], at[1], at[2] + SLOPE)[0] - level - d
        size = max(gz * gz + gy * gy + gx * gx, 0.25 * SLOPE * SLOPE)
        step = -d * SLOPE / size
        at[0], at[1], at[2] = at[0] + step * gz, at[1] + step * gy, at[2] + step * gx
        found = kind_distance(world, near, kind, at[0], at[1], at[2])
        d, owner = found[0] - level, found[1]
    # In a window the nucleus may reach beyond the cell: there is no envelope there.
    outside = ellipsoid_distance(world.bodies[1], world.keys[1], at[0], at[1], at[2]) > 0.0
    return owner if abs(d) < 1.0 and not outside else -1

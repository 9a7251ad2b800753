"""Signed distances from formulas, not from voxels: to one organelle, and to which instance."""

import math

import numpy as np
from numpy.typing import NDArray

from fibstream.errors import WrongUse
from fibstream.grid import Box

from .compiled import compiled
from .materials import Kind
from .near import FAR, Near, gather, nothing_near
from .raster import envelope, outer, reticulum
from .scene import BRICK, INFLUENCE, Scene, World
from .shapes import ellipsoid_distance, prim_distance

KINDS = {
    "mito": Kind.MITO, "golgi": Kind.GOLGI, "vesicle": Kind.VESICLE, "MVB": Kind.MVB,
    "lysosome": Kind.LYSOSOME, "LD": Kind.LD, "microtubules": Kind.TUBULE, "er": Kind.ER,
    "plasma_membrane": Kind.PM,
}  # fmt: skip
BODIES = {"nucleus": 0}


def distance_field(
    scene: Scene, organelle: str, box: Box
) -> tuple[NDArray[np.float32], NDArray[np.uint64]]:
    """Return the signed distance of a box to an organelle, and the nearest instance.

    Distances are to within a quarter near a wobbling surface, exact for tubes and balls, clipped
    to 64 nm either way; where nothing is that near the instance is 0.  The envelope belongs to
    the reticulum, as in the super classes.
    """
    distance = np.empty(box.shape, np.float32)
    thing = np.empty(box.shape, np.int32)
    origin = np.array(box.start, np.int64)
    if organelle in BODIES:
        _body_field(scene.world, BODIES[organelle], origin, distance)
        return distance, (distance < INFLUENCE).astype(np.uint64)
    if organelle not in KINDS:
        names = ", ".join([*KINDS, *BODIES])
        raise WrongUse(f"organelle {organelle!r}: distances exist for {names}")
    kind = KINDS[organelle]
    _kind_field(scene.world, int(kind), origin, distance, thing)
    numbers = np.array([t.number for t in scene.things] + [0], np.uint64)
    if kind in (Kind.ER, Kind.PM):
        return distance, (distance < INFLUENCE).astype(np.uint64)
    return distance, np.where(thing < 0, np.uint64(0), numbers[thing])


@compiled
def _body_field(
    world: World, body: int, origin: NDArray[np.int64], distance: NDArray[np.float32]
) -> None:
    v = world.voxel
    for a in range(distance.shape[0]):
        for b in range(distance.shape[1]):
            for c in range(distance.shape[2]):
                d = ellipsoid_distance(
                    world.bodies[body], world.keys[body], (origin[0] + a + 0.5) * v[0],
                    (origin[1] + b + 0.5) * v[1], (origin[2] + c + 0.5) * v[2],
                )  # fmt: skip
                distance[a, b, c] = min(max(d, -INFLUENCE), INFLUENCE)


@compiled
def _kind_field(
    world: World, kind: int, origin: NDArray[np.int64],
    distance: NDArray[np.float32], thing: NDArray[np.int32],
) -> None:  # fmt: skip
    """Fill a box brick by brick; the lattice of bricks is that of the rasteriser."""
    v = world.voxel
    near = nothing_near(world)
    half = 0.5 * BRICK * math.sqrt(v[0] ** 2 + v[1] ** 2 + v[2] ** 2)
    stop = origin + np.array(distance.shape)
    for bz in range(origin[0] // BRICK, (stop[0] - 1) // BRICK + 1):
        for by in range(origin[1] // BRICK, (stop[1] - 1) // BRICK + 1):
            for bx in range(origin[2] // BRICK, (stop[2] - 1) // BRICK + 1):
                gather(
                    world, near, (bz + 0.5) * BRICK * v[0], (by + 0.5) * BRICK * v[1],
                    (bx + 0.5) * BRICK * v[2], half + INFLUENCE,
                )  # fmt: skip
                for iz in range(max(bz * BRICK, origin[0]), min((bz + 1) * BRICK, stop[0])):
                    for iy in range(max(by * BRICK, origin[1]), min((by + 1) * BRICK, stop[1])):
                        for ix in range(max(bx * BRICK, origin[2]), min((bx + 1) * BRICK, stop[2])):
                            d, t = _kind_distance(
                                world, near, kind, (iz + 0.5) * v[0], (iy + 0.5) * v[1],
                                (ix + 0.5) * v[2],
                            )  # fmt: skip
                            a, b, c = iz - origin[0], iy - origin[1], ix - origin[2]
                            distance[a, b, c] = min(max(d, -INFLUENCE), INFLUENCE)
                            thing[a, b, c] = t if d < INFLUENCE else -1


@compiled
def _kind_distance(
    world: World, near: Near, kind: int, z: float, y: float, x: float
) -> tuple[float, int]:
    """Return the distance to the nearest primitive of a kind, and its thing."""
    if kind == Kind.ER:
        shell = FAR
        if world.has_nucleus:
            d_n = ellipsoid_distance(world.bodies[0], world.keys[0], z, y, x)
            shell = envelope(near, d_n, z, y, x)[0]
        return reticulum(near, shell, z, y, x)[0], 0
    if kind == Kind.PM:
        d_p = ellipsoid_distance(world.bodies[1], world.keys[1], z, y, x)
        return outer(near, d_p, z, y, x), 0
    best, thing = FAR, -1
    for i in range(near.group[kind], near.group[kind + 1]):
        d = prim_distance(near.shape[i], near.rows, i, near.keys[2], z, y, x)
        if d < best:
            best, thing = d, near.thing[i]
    return best, thing

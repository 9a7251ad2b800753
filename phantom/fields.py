"""Signed distances to organelles, from formulas and not from voxels, with the nearest instance.

For organelles with many instances the second nearest is computed too: contacts among instances
need it.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fibstream.core.echo import echo
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.kernels.compiled import compiled, inlined, lean

from . import sizes
from .materials import Kind
from .near import FAR, Near, gather, new_near
from .raster import cell_surface, envelope, reticulum
from .scene import BRICK, INFLUENCE, Scene, World
from .shapes import ellipsoid_distance, prim_distance

KINDS = {
    "mito": Kind.MITO, "golgi": Kind.GOLGI, "vesicle": Kind.VESICLE, "MVB": Kind.MVB,
    "lysosome": Kind.LYSOSOME, "LD": Kind.LD, "microtubules": Kind.TUBULE, "er": Kind.ER,
    "plasma_membrane": Kind.PM,
}  # fmt: skip
BODIES = {"nucleus": 0}
MAX_SLOPE = 2.0  # no distance changes faster than this per nm; wobbles stay below 1.5
SINGLE_INSTANCES = ("er", "plasma_membrane", "nucleus")  # each is one instance
Field = tuple[NDArray[np.float32], NDArray[np.uint64]]  # distances, and the instances they are to


def distance_field(scene: Scene, organelle: str, box: Box) -> Field:
    """Return the signed distance of a box to an organelle, and the nearest instance.

    Both are ``(z, y, x)``: nm as float32, negative inside, and instance ids as uint64.
    Distances are exact for tubes and balls, to within a quarter near an uneven surface, and clipped
    to 64 nm either way; where nothing is that near the instance is 0.  The envelope belongs to
    the reticulum, as in the super classes.
    """
    if organelle in BODIES:
        distance = np.empty(box.shape, np.float32)
        origin = np.array(box.start, np.int64)
        _body_field(scene.world, BODIES[organelle], origin, distance)
        return distance, (distance < INFLUENCE).astype(np.uint64)
    distance, thing = _nearest_fields(scene, organelle, box, 1)
    if organelle in SINGLE_INSTANCES:
        return distance[0], (distance[0] < INFLUENCE).astype(np.uint64)
    return distance[0], _instance_ids(scene)[thing[0]]


def nearest_two(scene: Scene, organelle: str, box: Box) -> tuple[Field, Field]:
    """Return :func:`distance_field` to the nearest instance, and to the second nearest one.

    Raises
    ------
    WrongUse
        For an organelle that is one instance, or to which there are no distances.
    """
    if organelle in SINGLE_INSTANCES:
        raise WrongUse(f"{organelle} with itself: expected one with instances; it is a single one")
    distance, thing = _nearest_fields(scene, organelle, box, 2)
    ids = _instance_ids(scene)[thing]
    return (distance[0], ids[0]), (distance[1], ids[1])


def membrane_field(scene: Scene, box: Box) -> Field:
    """Return the distance of a box inside the cell to the inner face of the plasma membrane.

    :func:`distance_field` is negative everywhere inside the cell; this one is negative only within
    the membrane.  Outside the cell the instance is 0.
    """
    both = _nearest_fields(scene, "plasma_membrane", box, 2)[0]
    distance = both.max(axis=0)
    return distance, ((both[0] <= 0.0) & (distance < INFLUENCE)).astype(np.uint64)


def _nearest_fields(
    scene: Scene, organelle: str, box: Box, ranks: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return distances and things, ``(ranks, z, y, x)``, nearest first; -1 is no thing."""
    if organelle not in KINDS:
        names = ", ".join([*KINDS, *BODIES])
        raise WrongUse(f"organelle {echo(organelle)}: distances exist for {names}")
    distance = np.empty((ranks, *box.shape), np.float32)
    thing = np.empty((ranks, *box.shape), np.int32)
    origin = np.array(box.start, np.int64)
    _kind_field(scene.world, int(KINDS[organelle]), origin, distance, thing)
    return distance, thing


def _instance_ids(scene: Scene) -> NDArray[np.uint64]:
    """Return the number of each thing in its organelle; the last, also of thing -1, is 0."""
    return np.array([thing.number for thing in scene.things] + [0], np.uint64)


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
    """Fill a box brick by brick; the lattice of bricks is that of the rasteriser.

    The first axis of the outputs is one or two long: the nearest thing, and the second nearest.
    """
    near = new_near(world)
    stop = origin + np.array(distance.shape[1:])
    for bz in range(origin[0] // BRICK, (stop[0] - 1) // BRICK + 1):
        for by in range(origin[1] // BRICK, (stop[1] - 1) // BRICK + 1):
            for bx in range(origin[2] // BRICK, (stop[2] - 1) // BRICK + 1):
                _brick(world, near, kind, origin, distance, thing, bz, by, bx)


@lean
def _brick(
    world: World, near: Near, kind: int, origin: NDArray[np.int64],
    distance: NDArray[np.float32], thing: NDArray[np.int32], bz: int, by: int, bx: int,
) -> None:  # fmt: skip
    """Fill the part of the box that lies in one brick."""
    v = world.voxel
    half = 0.5 * BRICK * math.sqrt(v[0] ** 2 + v[1] ** 2 + v[2] ** 2)
    cz, cy, cx = (bz + 0.5) * BRICK * v[0], (by + 0.5) * BRICK * v[1], (bx + 0.5) * BRICK * v[2]
    gather(world, near, cz, cy, cx, half + INFLUENCE)
    empty = _is_far(world, near, kind, MAX_SLOPE * half + INFLUENCE, cz, cy, cx)
    far, other, t, u = FAR, FAR, -1, -1
    _, nz, ny, nx = distance.shape
    for iz in range(max(bz * BRICK, origin[0]), min((bz + 1) * BRICK, origin[0] + nz)):
        for iy in range(max(by * BRICK, origin[1]), min((by + 1) * BRICK, origin[1] + ny)):
            for ix in range(max(bx * BRICK, origin[2]), min((bx + 1) * BRICK, origin[2] + nx)):
                if not empty:
                    far, t, other, u = kind_distance(
                        world, near, kind, (iz + 0.5) * v[0], (iy + 0.5) * v[1], (ix + 0.5) * v[2]
                    )
                a, b, c = iz - origin[0], iy - origin[1], ix - origin[2]
                distance[0, a, b, c] = min(max(far, -INFLUENCE), INFLUENCE)
                thing[0, a, b, c] = t if far < INFLUENCE else -1
                if len(distance) > 1:
                    distance[1, a, b, c] = min(max(other, -INFLUENCE), INFLUENCE)
                    thing[1, a, b, c] = u if other < INFLUENCE else -1


@inlined
def _is_far(
    world: World, near: Near, kind: int, reach: float, z: float, y: float, x: float
) -> bool:
    """Whether nothing of a kind is within ``reach`` of a place; ``near`` holds its primitives."""
    if near.group[kind] < near.group[kind + 1]:
        return False
    if kind == Kind.PM:
        return bool(ellipsoid_distance(world.bodies[1], world.keys[1], z, y, x) > reach)
    if kind == Kind.ER and world.has_nucleus:
        d_n = ellipsoid_distance(world.bodies[0], world.keys[0], z, y, x)
        return bool(abs(d_n) > reach + sizes.ENVELOPE)
    return True


@inlined
def kind_distance(
    world: World, near: Near, kind: int, z: float, y: float, x: float
) -> tuple[float, int, float, int]:
    """Return the distance to the nearest primitive of a kind and its thing, then to another thing.

    The second of the plasma membrane is the distance to its inner face; the reticulum has none.
    """
    if kind == Kind.ER:
        shell = FAR
        if world.has_nucleus:
            d_n = ellipsoid_distance(world.bodies[0], world.keys[0], z, y, x)
            shell = envelope(near, d_n, z, y, x)[0]
        return reticulum(near, shell, z, y, x)[0], 0, FAR, -1
    if kind == Kind.PM:
        d_p = ellipsoid_distance(world.bodies[1], world.keys[1], z, y, x)
        d_p = cell_surface(near, d_p, z, y, x)
        return d_p, 0, -d_p - sizes.MEMBRANE, 0
    best, thing, second, other = FAR, -1, FAR, -1
    for i in range(near.group[kind], near.group[kind + 1]):
        d = prim_distance(near.shape[i], near.rows, i, near.keys[2], z, y, x)
        if d < best:
            if near.thing[i] != thing:
                second, other = best, thing
            best, thing = d, near.thing[i]
        elif d < second and near.thing[i] != thing:
            second, other = d, near.thing[i]
    return best, thing, second, other

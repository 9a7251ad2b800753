"""What is near a place: looked up in the index of the world and copied together."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.kernels.compiled import compiled, lean

from . import sizes
from .materials import Kind
from .scene import CELL_NM, World
from .shapes import WIDTH, Floats, prim_distance

NOTHING = -1
FAR = 1e6
ROOT_BLEND = 40.0  # nm: rounding where a microvillus leaves the membrane
NEAR = 16.0  # nm beyond a brick at which a primitive can still change a voxel: the blend
# Wobble and stretch make a distance larger than it is, by less than a quarter; what surrounds a
# primitive (appendages, chromatin round a nucleolus, a pore's rim) is found from further off.
SLACK = np.ones(len(Kind))
SLACK[[Kind.ER, Kind.NUCLEOLUS, Kind.GOLGI, Kind.MVB, Kind.LYSOSOME]] = 0.8
BEYOND = np.zeros(len(Kind))
BEYOND[[Kind.PORE, Kind.NUCLEOLUS, Kind.CENTROSOME]] = 130.0, 110.0, sizes.APPENDAGE + 30.0
BEYOND[Kind.PM] = ROOT_BLEND
MAX_NEAR = 512  # primitives near one brick; what is placed never comes close
GROUPS = len(Kind) + 1
Bytes = NDArray[np.uint8]
Ints = NDArray[np.int32]


@lean
def cell_of(world: World, z: float, y: float, x: float) -> int:
    """Return the cell of the index that a place is in; places outside go to the nearest."""
    iz = min(max(int((z - world.origin[0]) / CELL_NM), 0), world.cells[0] - 1)
    iy = min(max(int((y - world.origin[1]) / CELL_NM), 0), world.cells[1] - 1)
    ix = min(max(int((x - world.origin[2]) / CELL_NM), 0), world.cells[2] - 1)
    return int((iz * world.cells[1] + iy) * world.cells[2] + ix)


class Near(NamedTuple):
    """What is near a brick, copied together: fields of :class:`World`, then its own.

    Primitives of kind k are ``group[k]`` to ``group[k + 1]``.  ``texture`` (2, 8) is the coarse
    and middle texture of chromatin at the corners of the brick, ``frame`` its first corner and
    the inverse of its edges, nm.
    """

    shape: Bytes
    kind: Bytes
    thing: Ints
    branch: Ints
    rows: Floats
    keys: NDArray[np.uint64]
    group: Ints
    texture: Floats
    frame: Floats
    tissue: bool


@compiled
def nothing_near(world: World) -> Near:
    """Return room for what is near a brick."""
    return Near(
        np.empty(MAX_NEAR, np.uint8), np.empty(MAX_NEAR, np.uint8), np.empty(MAX_NEAR, np.int32),
        np.empty(MAX_NEAR, np.int32), np.empty((MAX_NEAR, WIDTH)),
        world.keys, np.zeros(GROUPS, np.int32),
        np.zeros((2, 8)), np.zeros(6), world.tissue,
    )  # fmt: skip


@lean
def gather(world: World, near: Near, z: float, y: float, x: float, reach: float) -> None:
    """Copy into ``near`` the primitives within ``reach`` of a place."""
    cell = cell_of(world, z, y, x)
    found, kind = 0, 0
    for i in range(world.start[cell], world.start[cell + 1]):
        p = world.items[i]
        d = prim_distance(world.shape[p], world.rows, p, world.keys[2], z, y, x)
        if d * SLACK[world.kind[p]] - BEYOND[world.kind[p]] < reach and found < MAX_NEAR:
            while kind < world.kind[p]:
                kind += 1
                near.group[kind] = found
            near.shape[found], near.kind[found] = world.shape[p], world.kind[p]
            near.thing[found], near.branch[found] = world.thing[p], world.branch[p]
            for k in range(WIDTH):
                near.rows[found, k] = world.rows[p, k]
            found += 1
    while kind < GROUPS - 1:
        kind += 1
        near.group[kind] = found

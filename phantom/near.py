"""The primitives near a place, found in the index of the world and copied into one array."""

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
# Wobble and stretch make a distance too large, by less than a quarter.  Structures around a
# primitive (appendages, chromatin at a nucleolus, the rim of a pore) need a longer reach.
DISTANCE_SCALE = np.ones(len(Kind))
DISTANCE_SCALE[[Kind.ER, Kind.NUCLEOLUS, Kind.GOLGI, Kind.MVB, Kind.LYSOSOME]] = 0.8
EXTRA_REACH = np.zeros(len(Kind))
EXTRA_REACH[[Kind.PORE, Kind.NUCLEOLUS, Kind.CENTROSOME]] = 130.0, 110.0, sizes.APPENDAGE + 30.0
EXTRA_REACH[Kind.PM] = ROOT_BLEND
MAX_NEAR = 512  # primitives near one brick; no placed cell comes close
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
    """The primitives near a brick, copied from :class:`World`, sorted by kind.

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
def new_near(world: World) -> Near:
    """Return buffers for the primitives near a brick."""
    return Near(
        np.empty(MAX_NEAR, np.uint8), np.empty(MAX_NEAR, np.uint8), np.empty(MAX_NEAR, np.int32),
        np.empty(MAX_NEAR, np.int32), np.empty((MAX_NEAR, WIDTH)),
        world.keys, np.zeros(GROUPS, np.int32),
        np.zeros((2, 8)), np.zeros(6), world.tissue,
    )  # fmt: skip


@lean
def gather(world: World, near: Near, z: float, y: float, x: float, reach: float) -> None:
    """Copy into ``near`` the primitives within ``reach`` nm of a place, nm."""
    cell = cell_of(world, z, y, x)
    found, kind = 0, 0
    for i in range(world.start[cell], world.start[cell + 1]):
        p = world.items[i]
        d = prim_distance(world.shape[p], world.rows, p, world.keys[2], z, y, x)
        d = d * DISTANCE_SCALE[world.kind[p]] - EXTRA_REACH[world.kind[p]]
        if d < reach and found < MAX_NEAR:
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

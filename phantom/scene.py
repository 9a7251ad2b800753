"""Placing the cell of a specification, and packing it into arrays for compiled code."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.kernels.compiled import compiled

from . import microtubules, mitochondria, nucleus, organelles, protrusions, reticulum
from .scaffold import Line, Scaffold, Thing, new_scaffold
from .shapes import DISC, HOLE, WIDTH, Floats, prim_distance
from .spec import PhantomSpec

BRICK = 8  # voxels an edge: what is near a brick is looked up once for 512 voxels
CELL_NM = 256.0  # edge of a cell of the index
INFLUENCE = 64.0  # nm: how far beyond its surface a primitive is found; the reach of distances


class World(NamedTuple):
    """The scene as arrays, for compiled code.

    Primitives are sorted by kind: ``shape``, ``kind`` (uint8), ``thing`` and ``branch`` (int32),
    ``rows`` (n, WIDTH).  Primitives near cell ``c`` of the index are
    ``items[start[c]:start[c + 1]]``, ascending.  ``bodies`` are nucleus and plasma membrane,
    ``keys`` the keys of noises, ``tissue`` whether other cells surround this one; ``voxel`` is (3,)
    nm.
    """

    shape: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    thing: NDArray[np.int32]
    branch: NDArray[np.int32]
    rows: Floats
    start: NDArray[np.int32]
    items: NDArray[np.int32]
    origin: Floats
    cells: NDArray[np.int64]
    bodies: Floats
    keys: NDArray[np.uint64]
    has_nucleus: bool
    tissue: bool
    voxel: Floats


@dataclass(frozen=True)
class Scene:
    """A placed cell: ``world`` for compiled code, things and centre lines for the truth."""

    world: World
    things: tuple[Thing, ...]
    lines: tuple[Line, ...]
    bodies: Floats


def build(spec: PhantomSpec) -> Scene:
    """Place the cell of ``spec``; the same every time."""
    wanted = frozenset(spec.organelles)
    scene = new_scaffold(spec.extent_nm, spec.seed, spec.tissue)
    if "nucleus" in wanted:
        nucleus.place(scene)
    else:  # cytoplasm instead
        scene.bodies[0, 3:6] = 1.0
        scene.bodies[0, 6] = 0.0
        scene.bodies[0, :3] = -1e6
    centre = organelles.place_centrosome(scene) if "centrosome" in wanted else None
    if not spec.tissue:
        protrusions.place(scene)
    if "golgi" in wanted:
        organelles.place_golgi(scene, centre)
    if "mito" in wanted:
        mitochondria.place(scene)
    organelles.place_balls(scene, wanted)
    if "er" in wanted:
        reticulum.place(scene)
    if "microtubules" in wanted:
        microtubules.place(scene, centre)
    if "vesicle" in wanted:
        organelles.place_vesicles(scene)
    world = _pack(scene, np.array(spec.voxel_size_nm), wanted, spec.tissue)
    return Scene(world, tuple(scene.things), tuple(scene.lines), scene.bodies)


def _pack(scene: Scaffold, voxel: Floats, wanted: frozenset[str], tissue: bool) -> World:
    """Sort the primitives by kind and index them by where they are."""
    count = len(scene.prims)
    kinds = np.array(scene.kinds, np.uint8)
    branches = np.array(scene.branches, np.int32)
    order = np.lexsort((np.arange(count), branches, kinds))
    shapes = np.array([p.shape for p in scene.prims], np.uint8)[order]
    rows = np.array([p.row for p in scene.prims]).reshape(count, WIDTH)[order]
    # The box of a sheet is too large; the index tests the distance as well.
    low = np.array([p.low for p in scene.prims]).reshape(count, 3)[order]
    high = np.array([p.high for p in scene.prims]).reshape(count, 3)[order]
    half = BRICK * float(np.linalg.norm(voxel)) / 2
    origin = np.full(3, -half)
    cells = np.ceil((scene.extent + 2 * half) / CELL_NM).astype(np.int64) + 1
    reach = INFLUENCE + half
    args = (shapes, rows, low - reach, high + reach, origin, cells, reach)
    tally = _index(*args, np.zeros(0, np.int64), np.zeros(0, np.int32))[0]
    start = np.concatenate([[0], np.cumsum(tally)])
    _, items = _index(*args, start[:-1].copy(), np.empty(start[-1], np.int32))
    return World(
        shapes, kinds[order], np.array(scene.owners, np.int32)[order], branches[order],
        np.ascontiguousarray(rows), start.astype(np.int32), items, origin, cells,
        scene.bodies, scene.keys, "nucleus" in wanted, tissue, voxel,
    )  # fmt: skip


@compiled
def _index(
    shapes: NDArray[np.uint8], rows: Floats, low: Floats, high: Floats, origin: Floats,
    cells: NDArray[np.int64], reach: float, fill: NDArray[np.int64], items: NDArray[np.int32],
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:  # fmt: skip
    """Count the primitives of each cell; with ``fill`` also write them to ``items``, ascending."""
    tally = np.zeros(cells[0] * cells[1] * cells[2], np.int64)
    half = CELL_NM * math.sqrt(3.0) / 2
    for p in range(len(shapes)):
        lo = np.maximum(np.floor((low[p] - origin) / CELL_NM), 0.0)
        hi = np.minimum(np.floor((high[p] - origin) / CELL_NM), cells - 1.0)
        for z in range(int(lo[0]), int(hi[0]) + 1):
            for y in range(int(lo[1]), int(hi[1]) + 1):
                for x in range(int(lo[2]), int(hi[2]) + 1):
                    if shapes[p] in (DISC, HOLE):
                        d = prim_distance(
                            shapes[p], rows, p, np.uint64(0),
                            origin[0] + (z + 0.5) * CELL_NM, origin[1] + (y + 0.5) * CELL_NM,
                            origin[2] + (x + 0.5) * CELL_NM,
                        )  # fmt: skip
                        if d > half + reach + 80.0:  # a wobble, or the width of a pore
                            continue
                    cell = (z * cells[1] + y) * cells[2] + x
                    tally[cell] += 1
                    if len(fill):
                        items[fill[cell]] = p
                        fill[cell] += 1
    return tally, items

"""Objects of an organelle put elsewhere at random: where they would lie by chance alone.

An object keeps its shape and its orientation: it is moved by whole voxels, neither turned nor
mirrored, since organelles of a cell are often aligned. Objects are placed one after another, the
largest first, and of two equally large ones that with the smaller id; every place in which an
object fits among those placed before is equally likely (random sequential addition, by rejection).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Index

from .compiled import compiled
from .surface import Ids

# Places of one object that are tried: where one in ten thousand is free, it is missed once in 700.
MAX_TRIES = 1 << 16
MAX_STARTS = 8  # those placed before may have left no room: then all are placed anew
BATCH = 256  # places that are drawn at a time
Free = NDArray[np.bool_]


class Shape(NamedTuple):
    """An object: ``voxels`` int32 ``(n, 3)``, zyx, from the corner of its ``box`` on."""

    id: int
    box: Box
    voxels: NDArray[np.int32]

    def at(self, corner: Index) -> Box:
        """Return its box where that begins at ``corner``."""
        return Box((0, 0, 0), self.box.shape).relative((-corner[0], -corner[1], -corner[2]))


def shapes_of(labels: Ids) -> list[Shape]:
    """Return the objects of labels ``(z, y, x)``, 0 for none, in the order that they are placed."""
    flat = np.flatnonzero(labels)
    ids = labels.ravel()[flat]
    order = np.argsort(ids, kind="stable")
    found, starts = np.unique(ids[order], return_index=True)
    parts = np.split(flat[order], starts[1:]) if found.size else []
    shapes = [_shape(i, part, labels.shape) for i, part in zip(found.tolist(), parts, strict=True)]
    return sorted(shapes, key=lambda shape: (-len(shape.voxels), shape.id))


def _shape(id_: int, flat: NDArray[np.int64], volume: tuple[int, ...]) -> Shape:
    at = np.stack(np.unravel_index(flat, volume), axis=1)
    low, high = at.min(axis=0), at.max(axis=0) + 1
    box = Box(tuple(low.tolist()), tuple(high.tolist()))
    # In an order of chance, always the same: a place that is taken shows after a few voxels.
    mixed = np.random.default_rng(0).permutation(len(at))
    return Shape(id_, box, (at - low).astype(np.int32)[mixed])


def place(shapes: Sequence[Shape], free: Free, seed: Sequence[int]) -> list[Index]:
    """Return where the boxes of objects begin once these are placed at random.

    Parameters
    ----------
    shapes
        The objects, in the order in which they are placed.
    free
        bool ``(z, y, x)``: the voxels that objects may have. It is as before afterwards.
    seed
        The same seed, shapes and free voxels give the same places.

    Raises
    ------
    WrongUse
        An object found no place in `MAX_TRIES` draws, each time of `MAX_STARTS`.
    """
    chance = np.random.default_rng(list(seed))
    for _ in range(MAX_STARTS):
        corners = list[Index]()
        for shape in shapes:
            corner = _free_corner(shape, free, chance)
            if corner is None:
                break
            _fill(shape.voxels, np.array(corner), free, False)
            corners.append(corner)
        for shape, corner in zip(shapes, corners, strict=False):
            _fill(shape.voxels, np.array(corner), free, True)
        if len(corners) == len(shapes):
            return corners
    failed = shapes[len(corners)]
    raise WrongUse(
        f"object {failed.id} of {len(failed.voxels)} voxels found no free place among "
        f"{len(corners)} others in {MAX_TRIES} tries, {MAX_STARTS} times"
    )


def _free_corner(shape: Shape, free: Free, chance: np.random.Generator) -> Index | None:
    rooms = [n - edge + 1 for n, edge in zip(free.shape, shape.box.shape, strict=True)]
    for _ in range(MAX_TRIES // BATCH):
        corners = chance.integers(0, rooms, (BATCH, 3))
        first = _first_fit(shape.voxels, corners, free)
        if first >= 0:
            z, y, x = corners[first].tolist()
            return z, y, x
    return None


@compiled
def _first_fit(voxels: NDArray[np.int32], corners: NDArray[np.int64], free: Free) -> int:
    for n in range(corners.shape[0]):
        z, y, x = corners[n]
        fits = True
        for v in range(voxels.shape[0]):
            if not free[z + voxels[v, 0], y + voxels[v, 1], x + voxels[v, 2]]:
                fits = False
                break
        if fits:
            return n
    return -1


@compiled
def _fill(voxels: NDArray[np.int32], corner: NDArray[np.int64], free: Free, value: bool) -> None:
    z, y, x = corner
    for v in range(voxels.shape[0]):
        free[z + voxels[v, 0], y + voxels[v, 1], x + voxels[v, 2]] = value


def paint(labels: Ids, shapes: Sequence[Shape], corners: Sequence[Index], *, erase: bool) -> None:
    """Write the ids of placed objects into labels ``(z, y, x)``, or 0 to ``erase`` them."""
    for shape, corner in zip(shapes, corners, strict=True):
        z, y, x = (shape.voxels + np.array(corner, np.int32)).T
        labels[z, y, x] = 0 if erase else shape.id

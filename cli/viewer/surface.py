"""The surface of one object as triangles, for looking at: nothing is measured on it. Pure.

Surface nets (Gibson, MERL TR99-24, 1999): each cell of eight voxel centres that the surface
crosses holds one vertex, the mean of the crossings on its edges; each crossed edge is a quad.
"""

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

BLUR = 0.7  # voxels: takes the steps off the surface, and leaves sheets of one voxel standing
LEVEL = 0.5
# What is one voxel thick falls below the level when it is blurred; it keeps what a flat side has.
FLOOR = 0.75

Field = NDArray[np.float32]


def surface(inside: NDArray[np.bool_]) -> tuple[Field, NDArray[np.uint32]]:
    """Return the closed surface of a mask.

    Parameters
    ----------
    inside : (z, y, x) ndarray of bool

    Returns
    -------
    vertices : (n, 3) ndarray of float32
        (z, y, x) in voxels, a voxel's centre being at its index.
    triangles : (m, 3) ndarray of uint32
        Vertices, counter-clockwise seen from outside in right-handed (x, y, z).
    """
    padded = np.pad(inside, 2)
    field = gaussian_filter(padded.astype(np.float32), BLUR, mode="constant")
    field = np.where(padded, np.maximum(field, FLOOR), field)
    within = field > LEVEL
    total, count = _crossings(field, within)
    active = count > 0
    number = np.full(active.shape, -1, np.int64)
    number[active] = np.arange(np.count_nonzero(active))
    cells = np.argwhere(active).astype(np.float32)
    vertices = cells + total[active] / count[active][:, None] - 2  # of the padding
    quads = [_quads(within, number, axis) for axis in range(3)]
    found = np.concatenate(quads)
    triangles = np.concatenate([found[:, [0, 1, 2]], found[:, [0, 2, 3]]])
    return vertices.astype(np.float32), triangles.astype(np.uint32)


def _crossings(field: Field, within: NDArray[np.bool_]) -> tuple[Field, NDArray[np.uint8]]:
    """Return per cell the sum of the crossings on its edges, relative to it, and their number."""
    shape = tuple(n - 1 for n in field.shape)
    total, count = np.zeros((*shape, 3), np.float32), np.zeros(shape, np.uint8)
    for axis in range(3):
        others = [n for n in range(3) if n != axis]
        for corner in product((0, 1), repeat=2):
            near = [0, 0, 0]
            for n, step in zip(others, corner, strict=True):
                near[n] = step
            far = list(near)
            far[axis] = 1
            a, b = _shifted(field, near), _shifted(field, far)
            crossed = _shifted(within, near) != _shifted(within, far)
            count += crossed
            place = np.divide(LEVEL - a, b - a, where=crossed, out=np.zeros(shape, np.float32))
            total[..., axis] += place
            for n, step in zip(others, corner, strict=True):
                total[..., n] += step * crossed
    return total, count


def _shifted(array: NDArray[Any], corner: list[int]) -> NDArray[Any]:
    """Return the values at one corner of every cell."""
    return array[tuple(slice(c, n - 1 + c) for c, n in zip(corner, array.shape, strict=True))]


def _quads(within: NDArray[np.bool_], number: NDArray[np.int64], axis: int) -> NDArray[np.int64]:
    """Return the quads (k, 4) across the crossed edges along one axis."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    low, high = np.moveaxis(within, axis, 0)[:-1], np.moveaxis(within, axis, 0)[1:]
    where = np.moveaxis(low != high, 0, axis)
    edges = np.argwhere(where)
    outward = np.moveaxis(low, 0, axis)[tuple(edges.T)]  # from inside along the axis to outside
    around = []
    for a, b in ((0, 0), (0, 1), (1, 1), (1, 0)):  # (x, y, z) turns the other way than (z, y, x)
        cell = edges.copy()
        cell[:, first] -= a
        cell[:, second] -= b
        around.append(number[tuple(cell.T)])
    quads = np.stack(around, axis=1)
    return np.where(outward[:, None], quads, quads[:, ::-1])

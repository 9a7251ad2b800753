"""A light image on the specimen's grid, block by block, and maps of what the transform does.

A voxel's value follows from its index in the whole grid, so blocks are equal to the whole to the
bit, with the whole light image at hand or only the part that a block needs.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box, Index

from .port import Image, Triple
from .sampling import Floats, resample
from .transform import Spline, Transform, apply

NO_SPLINE = Spline(np.empty((0, 0, 0, 3)), np.zeros(3), np.ones(3))


def pulled(
    transform: Transform, light: Image, onto: Image, box: Box | None = None
) -> NDArray[np.float32]:
    """Return a light image on the voxels of another, or on a box of them, float32.

    The box may reach beyond the other image.  0 where the light image or the transform ends.
    """
    box = box or Box((0, 0, 0), triple(onto.voxels.shape))
    shape = triple(light.voxels.shape)
    held = Image(light.grey, light.voxel_nm, light.corner_nm)
    return warped(transform, held, (0, 0, 0), shape, (onto.voxel_nm, onto.corner_nm), box)


def warped(
    transform: Transform, light: Image, first: Index, shape: Index,
    grid: tuple[Triple, Triple], box: Box,
) -> NDArray[np.float32]:  # fmt: skip
    """Return a block of a warped light image, ``box.shape`` float32.

    Parameters
    ----------
    transform
        From the specimen into the light image.
    light
        The part of the light image that begins at voxel ``first``; its ``corner_nm`` is that of
        the whole.
    shape
        Voxels of the whole light image.
    grid
        Voxel size and corner of the specimen's grid, nm.
    box
        The block, in voxels of that grid.
    """
    out = np.empty(box.shape, np.float32)
    matrix, offset = to_index(transform, light.voxel_nm, light.corner_nm)
    spline = transform.spline or NO_SPLINE
    missing = resample(
        light.grey, np.array(first, np.int64), np.array(shape, np.int64),
        np.array(box.start, np.int64), np.array(grid[0], np.float64),
        np.array(grid[1], np.float64), spline.coefficients, spline.origin, spline.spacing,
        matrix, offset, out,
    )  # fmt: skip
    assert not missing, f"{missing} voxels of {box} need light outside of the part given"
    return out


def warped_block(
    transform: Transform, light: Image, grid: tuple[Triple, Triple], box: Box
) -> NDArray[Any]:
    """Return a block of the light image on another grid, in its own dtype, rounded half up."""
    a, b, c = light.voxels.shape
    held = (light.voxel_nm, light.corner_nm)
    part = needed(transform, held, (a, b, c), grid, box)
    if part is None:
        return np.zeros(box.shape, light.voxels.dtype)
    cut = Image(light.voxels[part.slices()], light.voxel_nm, light.corner_nm)
    found = warped(transform, cut, part.start, (a, b, c), grid, box)
    if light.voxels.dtype.kind == "f":
        return found
    return np.asarray(np.floor(found + np.float32(0.5)), light.voxels.dtype)


def needed(
    transform: Transform, light: tuple[Triple, Triple], shape: Index,
    grid: tuple[Triple, Triple], box: Box,
) -> Box | None:  # fmt: skip
    """Return the part of a light image that a block may look at, in its voxels; None: nothing.

    ``light`` and ``grid`` are voxel size and corner (nm) of both.  A spline's values lie between
    its smallest and largest coefficient nearby, so the part is always enough.
    """
    corner, step = np.array(grid[1]), np.array(grid[0])
    low = corner + (np.array(box.start) + 0.5) * step
    high = corner + (np.array(box.stop) - 0.5) * step
    if transform.spline is not None:
        near = _nodes_near(transform.spline, low, high)
        low, high = low + near.min(axis=0), high + near.max(axis=0)
    signs = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T
    matrix, offset = to_index(transform, *light)
    seen = apply(matrix, low + signs * (high - low)) + offset
    first = np.maximum(np.floor(seen.min(axis=0)).astype(np.int64) - 1, 0)
    last = np.minimum(np.ceil(seen.max(axis=0)).astype(np.int64) + 2, shape)
    return Box(triple(first), triple(last)) if (first < last).all() else None


def _nodes_near(spline: Spline, low: Floats, high: Floats) -> Floats:
    """Return the coefficients, (n, 3), that move places between two corners."""
    most = np.array(spline.coefficients.shape[:3])
    first = np.floor((low - spline.origin) / spline.spacing).astype(np.int64) - 1
    last = np.floor((high - spline.origin) / spline.spacing).astype(np.int64) + 3
    first, last = first.clip(0, most - 4), last.clip(4, most)
    part = spline.coefficients[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    return part.reshape(-1, 3)


def to_index(transform: Transform, voxel_nm: Triple, corner_nm: Triple) -> tuple[Floats, Floats]:
    """Return matrix and offset of a transform that ends in voxel indices of a light image."""
    voxel = np.array(voxel_nm, np.float64)
    matrix = np.ascontiguousarray(transform.matrix / voxel[:, None])
    return matrix, (transform.offset - np.array(corner_nm)) / voxel - 0.5


def centres(grid: tuple[Triple, Triple], box: Box) -> Floats:
    """Return the centres of a block's voxels, (*box.shape, 3) nm."""
    axes = [
        corner + (np.arange(a, b) + 0.5) * step
        for corner, step, a, b in zip(grid[1], grid[0], *box, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def stretch_map(transform: Transform, grid: tuple[Triple, Triple], box: Box) -> NDArray[np.float32]:
    """Return det J over det A at a block's voxels, ``box.shape`` float32; folds are <= 0."""
    points = centres(grid, box).reshape(-1, 3)
    return np.asarray(transform.stretch(points).reshape(box.shape), np.float32)


def displacements(
    transform: Transform, grid: tuple[Triple, Triple], box: Box
) -> NDArray[np.float32]:
    """Return u at a block's voxels, (*box.shape, 3) float32 nm, to be followed by the affine map.

    NaN beyond the domain.  Linear interpolation of 512 nm steps errs by less than 10 nm.
    """
    points = centres(grid, box).reshape(-1, 3)
    if transform.spline is None:
        return np.zeros((*box.shape, 3), np.float32)
    u, _, inside = transform.spline.at(points)
    u[~inside] = np.nan
    return np.asarray(u.reshape(*box.shape, 3), np.float32)


def difference(a: Transform, b: Transform, points: Floats) -> Floats:
    """Return how far apart two transforms into the same image send points, (n,) nm."""
    miss = a.to_light(points) - b.to_light(points)
    return np.asarray(np.sqrt((miss * miss).sum(axis=1)))


def triple(values: NDArray[np.int64] | tuple[int, ...]) -> Index:
    """Return three whole numbers as a tuple."""
    z, y, x = (int(v) for v in values)
    return z, y, x

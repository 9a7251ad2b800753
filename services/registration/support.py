"""Where an answer is supported: the specimen is known there, patches are near, the light holds it.

Elsewhere the fit only goes on: beyond the patches of a slab it was off by 0.5 to 1 um.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fibstream.core.grid import Box

from .port import Image, Registration
from .sampling import Floats

REACH_NM = 1000.0  # of a patch that found a place: within it docs/registration.md measures errors
STEP_NM = 256.0  # edge of a place at most: a quarter of the reach


def support(
    found: Registration, em: Image, light: Image, landed: NDArray[np.bool_] | None = None
) -> Image:
    """Return where a registration is supported, bool in places of whole voxels of a specimen.

    A place is supported if all of its voxels have landed, a patch that found a place lies within
    1 um of its middle, and the transform sends its middle into the light image.

    Parameters
    ----------
    found
        The registration.
    em, light
        The images that it was made of.
    landed
        Which voxels of the specimen are known, of its shape; by default all.
    """
    factors = [max(1, int(STEP_NM / size * (1 + 1e-9))) for size in em.voxel_nm]
    z, y, x = (f * v for f, v in zip(factors, em.voxel_nm, strict=True))
    firsts = [np.arange(0, n, f) for n, f in zip(em.voxels.shape, factors, strict=True)]
    axes = list(_middles(em, factors, firsts))
    kept = found.points_nm[np.isfinite(found.error_nm)]
    near = cKDTree(kept) if len(kept) else None
    out = np.zeros([len(a) for a in axes], np.bool_)
    for n, depth in enumerate(axes[0]):  # by planes: points of a large volume take 100 bytes each
        flat = np.stack(np.meshgrid(depth, axes[1], axes[2], indexing="ij"), -1).reshape(-1, 3)
        if near is not None:
            gap, _ = near.query(flat)
            held = (gap <= REACH_NM) & holds(light, found.transform.to_light(flat))
            out[n] = held.reshape(out.shape[1:])
    if landed is not None:
        for axis, first in enumerate(firsts):
            landed = np.logical_and.reduceat(landed, first, axis=axis)
        out &= landed
    return Image(out, (z, y, x), em.corner_nm)


def _middles(
    em: Image, factors: list[int], firsts: list[NDArray[np.int64]]
) -> Iterator[Floats]:  # fmt: skip
    """Yield where the middles of places lie along each axis, nm; the last place may be cut."""
    for axis, (factor, first) in enumerate(zip(factors, firsts, strict=True)):
        last = np.minimum(first + factor, em.voxels.shape[axis])
        yield em.corner_nm[axis] + (first + last) / 2 * em.voxel_nm[axis]


def holds(image: Image, points: Floats) -> NDArray[np.bool_]:
    """Return which points (n, 3) nm lie in an image, (n,); NaN does not."""
    at = points - np.array(image.corner_nm)
    return np.asarray(((at >= 0) & (at <= image.extent_nm)).all(axis=1))


def block(valid: Image, em: Image, box: Box) -> NDArray[np.uint8]:
    """Return a block of the specimen's voxels, ``box.shape``: 1 where an answer is supported.

    The specimen may have grown since the answer: beyond its places nothing is supported.
    """
    out = np.zeros(box.shape, np.uint8)
    index = [
        places[places < most]
        for a, b, step, size, most in zip(
            *box, valid.voxel_nm, em.voxel_nm, valid.voxels.shape, strict=True
        )
        for places in [np.arange(a, b) // round(step / size)]
    ]
    out[tuple(slice(len(places)) for places in index)] = valid.voxels[np.ix_(*index)]
    return out

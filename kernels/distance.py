"""Labels as a prediction: bytes of the signed distance to the boundary, exact for any block.

A byte is ``clip(round(128 tanh(d / squash) + 127), 0, 255)`` (Heinrich et al. 2021), with d as in
the targets of training: the distance between the centres of a voxel and the nearest one of the
other side, less half a voxel, positive inside. Where edges differ, half of the shortest is taken.
Beyond the volume there is no boundary. Squares of distances are integers, in picometres.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box, Halo, Index

from .edt import MAX_DIAGONAL_PM, across_planes, plane_squares
from .near import Voxel

SATURATED = 3.2  # squash lengths: 128 tanh(3.2) = 127.6, so that the bytes are 0 and 255


def byte_halo(voxel_size_nm: Voxel, squash_nm: float) -> Halo:
    """Return the voxels beyond a block that its bytes depend on: up to where they saturate."""
    edges = _picometres(voxel_size_nm)
    z, y, x = (_cap(edges, squash_nm) // edge for edge in edges)
    return Halo((z, y, x), (z, y, x))


def distance_bytes(
    mask: NDArray[np.bool_], box: Box, core: Box, voxel_size_nm: Voxel, squash_nm: float
) -> NDArray[np.uint8]:
    """Return the bytes of signed distances to the boundary of a mask.

    Parameters
    ----------
    mask
        What is inside, ``(z, y, x)``, the voxels of ``box``.
    box
        ``core`` grown by at least `byte_halo`, cut at the volume.
    core
        Voxels whose bytes are returned.
    voxel_size_nm
        Edges of a voxel, (z, y, x) in nm; picometres count.
    squash_nm
        Length that distances are divided by before the tanh, in nm.

    Returns
    -------
    ndarray of uint8
        ``(z, y, x)``, the voxels of ``core``: 127 is the boundary, 255 far inside, 0 far outside.
    """
    return quantised(near_distances(mask, box, core, voxel_size_nm, squash_nm), squash_nm)


def near_distances(
    mask: NDArray[np.bool_], box: Box, core: Box, voxel_size_nm: Voxel, squash_nm: float
) -> NDArray[np.float64]:
    """Return the signed distances of `distance_bytes`, in nm; far ones end where bytes saturate."""
    edges = _picometres(voxel_size_nm)
    cap = _cap(edges, squash_nm)
    inside = np.ascontiguousarray(mask)
    if inside.all() or not inside.any():  # nothing is near; most organelles are in few blocks
        squares = np.full(core.shape, cap * cap, np.int64)
    else:
        halo = byte_halo(voxel_size_nm, squash_nm)
        squares = np.minimum(_squares(inside, box, core, edges, halo), cap * cap)
    distance = (np.sqrt(squares) - min(edges) / 2) / 1000
    return np.where(inside[core.slices(box.start)], distance, -distance)


def quantised(distance_nm: NDArray[np.float64], squash_nm: float) -> NDArray[np.uint8]:
    """Return the bytes of signed distances in nm, of any shape."""
    t = np.tanh(distance_nm / squash_nm)
    grey: NDArray[np.float64] = np.clip(np.rint(128 * t + 127), 0, 255)
    return grey.astype(np.uint8)


def _picometres(voxel_size_nm: Voxel) -> tuple[int, int, int]:
    z, y, x = (max(round(1000 * edge), 1) for edge in voxel_size_nm)
    return z, y, x


def _cap(edges: tuple[int, int, int], squash_nm: float) -> int:
    """Return the distance between centres, in pm, from which on a byte is saturated."""
    return math.ceil(1000 * SATURATED * squash_nm + min(edges) / 2)


def _squares(
    inside: NDArray[np.bool_], box: Box, core: Box, edges: Index, halo: Halo
) -> NDArray[np.int64]:
    """Return squared distances to the other side in a core, exact where they are near."""
    lengths = [n * edge for n, edge in zip(box.shape, edges, strict=True)]
    if math.hypot(*lengths) <= MAX_DIAGONAL_PM:
        to_either = (across_planes(plane_squares(m, edges), edges) for m in (inside, ~inside))
        squares: NDArray[np.int64] = np.maximum(*to_either)  # of each voxel one of them is 0
        return squares[core.slices(box.start)]
    # 64 bits do not hold squares across the block; what is near is known in a part of it, too.
    axis = int(np.argmax([n * edge for n, edge in zip(core.shape, edges, strict=True)]))
    first, last = core.start[axis], core.stop[axis]
    middle = (first + last) // 2
    found = []
    for part in (_between(core, axis, first, middle), _between(core, axis, middle, last)):
        around = part.grow(halo).meet(box)
        found.append(_squares(inside[around.slices(box.start)], around, part, edges, halo))
    return np.concatenate(found, axis)


def _between(box: Box, axis: int, first: int, last: int) -> Box:
    """Return the part of a box from ``first`` to before ``last`` along an axis."""
    (az, ay, ax), (bz, by, bx) = (
        [*corner[:axis], at, *corner[axis + 1 :]]
        for corner, at in zip(box, (first, last), strict=True)
    )
    return Box((az, ay, ax), (bz, by, bx))

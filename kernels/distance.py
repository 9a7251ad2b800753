"""Labels as a prediction: bytes of the signed distance to the boundary, exact for any block.

A byte is ``clip(round(128 tanh(d / squash) + 127), 0, 255)`` (Heinrich et al. 2021), with d as in
the targets of training: the distance between the centres of a voxel and the nearest one of the
other side, less half a voxel, positive inside. Where edges differ, half of the shortest is taken.
Beyond the volume there is no boundary. Squares of distances are integers, in picometres.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box, Halo

from .compiled import compiled
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
    within = core.slices(box.start)
    if inside.all() or not inside.any():  # nothing is near; most organelles are in few blocks
        squares = np.full(core.shape, cap * cap, np.int64)
    else:
        squares = np.full(mask.shape, cap * cap, np.int64)
        for axis in (2, 1, 0):
            _along(np.moveaxis(inside, axis, 2), np.moveaxis(squares, axis, 2), edges[axis])
        squares = squares[within]
    distance = (np.sqrt(squares) - min(edges) / 2) / 1000
    return np.where(inside[within], distance, -distance)


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


@compiled
def _along(inside: NDArray[np.bool_], squares: NDArray[np.int64], edge: int) -> None:
    """Take one more axis, the last one, into the squared distances to the other side, in place.

    Of a voxel of the other side the distance is 0, of one of the same side what is known so far:
    the way to the other side leads along that axis first.
    """
    nz, ny, nx = squares.shape
    before = np.empty(nx, np.int64)
    for z in range(nz):
        for y in range(ny):
            before[:] = squares[z, y]
            for x in range(nx):
                best = before[x]
                own = inside[z, y, x]
                step = 1
                while step * step * edge * edge < best:
                    square = step * step * edge * edge
                    for at in (x - step, x + step):
                        if 0 <= at < nx:
                            known = before[at] if inside[z, y, at] == own else 0
                            best = min(best, known + square)
                    if x - step < 0 and x + step >= nx:
                        break
                    step += 1
                squares[z, y, x] = best

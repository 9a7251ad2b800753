"""Global voxel ids, which name objects and their fragments. Pure.

``gid = z << 42 | y << 21 | x``: its order is raster order in any block and does not depend on the
volume's extent, which is unknown while an acquisition runs.
"""

import numpy as np
from numpy.typing import NDArray

from .grid import Index

AXIS_BITS = 21
AXIS_MASK = (1 << AXIS_BITS) - 1
BACKGROUND_BIT = 1 << 63  # set in the id of a fragment of background, which may be a hole


def gid(index: Index) -> int:
    """Return the global id of the voxel at ``index`` (z, y, x), each below 2**21."""
    z, y, x = index
    return z << 2 * AXIS_BITS | y << AXIS_BITS | x


def voxel(gid: int) -> Index:
    """Return the voxel (z, y, x) that a global id names."""
    return gid >> 2 * AXIS_BITS, gid >> AXIS_BITS & AXIS_MASK, gid & AXIS_MASK


def gids(flat: NDArray[np.integer], origin: Index, shape: Index) -> NDArray[np.uint64]:
    """Return the global ids of voxels given by their flat positions in a box.

    Parameters
    ----------
    flat : (n,) ndarray of int
        Positions in the box in C order; ValueError is raised for one outside of it.
    origin, shape : (int, int, int)
        First voxel of the box in the volume, and its edges, (z, y, x) in voxels.

    Returns
    -------
    (n,) ndarray of uint64
    """
    z, y, x = (axis.astype(np.uint64) for axis in np.unravel_index(flat, shape))
    shift = np.uint64(AXIS_BITS)
    # Adding the origin cannot carry from one packed axis into the next: each stays below 2**21.
    return (z << shift << shift) + (y << shift) + x + np.uint64(gid(origin))

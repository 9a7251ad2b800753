"""Which voxels of objects are on their surface."""

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled

Ids = NDArray[np.uint64]


def surface_of(labels: Ids) -> NDArray[np.bool_]:
    """Return which voxels are on the surface of their object.

    Parameters
    ----------
    labels
        Ids of objects, ``(z, y, x)``, 0 for none. Beyond the array there is nothing.

    Returns
    -------
    NDArray[np.bool_]
        Shaped as ``labels``: True where a voxel of an object has another id, or none, in one of its
        26 neighbours or beyond the array.
    """
    surface = np.zeros(labels.shape, np.bool_)
    _mark_surface(np.pad(labels, 1), surface)
    return surface


@compiled
def _mark_surface(padded: Ids, surface: NDArray[np.bool_]) -> None:
    """Mark the surface voxels; ``padded`` has a rim of 0 around."""
    for z in range(surface.shape[0]):
        for y in range(surface.shape[1]):
            for x in range(surface.shape[2]):
                own = padded[z + 1, y + 1, x + 1]
                if own != 0:
                    surface[z, y, x] = _differs(padded, z, y, x, own)


@compiled
def _differs(padded: Ids, z: int, y: int, x: int, own: int) -> bool:
    for dz in range(3):
        for dy in range(3):
            for dx in range(3):
                if padded[z + dz, y + dy, x + dx] != own:
                    return True
    return False

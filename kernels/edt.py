"""Exact distances to a mask, whole or slab by slab: squares are integers, in picometres.

The squared Euclidean distance is taken in axis by axis, each as the lower envelope of parabolas
(Meijster, Roerdink and Hesselink 2000). A volume of any size passes in slabs: `plane_squares` of
slabs of planes, then `across_planes` of slabs that hold all planes of some rows. Integers make
the result the same for any slabs.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Index

from .compiled import compiled
from .near import Voxel

FAR = np.iinfo(np.int64).max  # there is no voxel of the mask
# Twice the square of the diagonal stays below 2^63: 2.1 mm, far above what is compared.
MAX_DIAGONAL_PM = math.isqrt(2**62 - 1)


def picometres(voxel_size_nm: Voxel, shape: Index) -> Index:
    """Return the edges of a voxel, (z, y, x) in pm.

    Raises WrongUse for a volume of a longer diagonal than squares of 64 bits hold, and for edges
    below a picometre.
    """
    z, y, x = (round(1000 * edge) for edge in voxel_size_nm)
    diagonal = math.dist((0, 0, 0), [n * e for n, e in zip(shape, (z, y, x), strict=True)])
    if min(z, y, x) < 1 or diagonal > MAX_DIAGONAL_PM:
        raise WrongUse(
            f"voxels of {voxel_size_nm} nm: expected edges of at least 0.001 nm, and a volume of "
            f"at most {MAX_DIAGONAL_PM / 1e9:.1f} mm from corner to corner"
        )
    return z, y, x


def plane_squares(mask: NDArray[np.bool_], edges_pm: Index) -> NDArray[np.int64]:
    """Return the squared distance of each voxel to the nearest of the mask in its own plane.

    Parameters
    ----------
    mask
        ``(z, y, x)``, any number of planes.
    edges_pm
        Edges of a voxel, (z, y, x), of `picometres`.

    Returns
    -------
    ndarray of int64
        Shaped like ``mask``, in pm^2; `FAR` in a plane without a voxel of the mask.
    """
    squares = np.where(mask, np.int64(0), FAR)
    _take_in(squares, edges_pm[2])
    _take_in(np.moveaxis(squares, 1, 2), edges_pm[1])
    return squares


def across_planes(squares: NDArray[np.int64], edges_pm: Index) -> NDArray[np.int64]:
    """Return the squared distance of each voxel to the nearest of the mask.

    Parameters
    ----------
    squares
        Of `plane_squares`, ``(z, y, x)``: all planes, of any rows.
    edges_pm
        Edges of a voxel, (z, y, x), of `picometres`.

    Returns
    -------
    ndarray of int64
        Shaped like ``squares``, in pm^2; `FAR` where no voxel is of the mask.
    """
    found = squares.copy()
    _take_in(np.moveaxis(found, 0, 2), edges_pm[0])
    return found


def within(mask: NDArray[np.bool_], edges_pm: Index, reach_pm: int) -> NDArray[np.bool_]:
    """Return which voxels lie within a distance of a mask, between centres.

    Of a mask drawn too thin by a length it is what is inside once the length is added to its
    signed distance, which is at least 0 in the mask (Heinrich et al. 2021, ``add_constant``).

    Parameters
    ----------
    mask
        ``(z, y, x)``.
    edges_pm
        Edges of a voxel, (z, y, x), of `picometres`.
    reach_pm
        The distance, below the diagonal that `picometres` takes.
    """
    if not mask.any():
        return mask
    near: NDArray[np.bool_] = across_planes(plane_squares(mask, edges_pm), edges_pm) <= reach_pm**2
    return near


@compiled
def _take_in(squares: NDArray[np.int64], edge: int) -> None:
    """Take the last axis into squared distances, in place: the lowest parabola at each voxel."""
    lines, rows, n = squares.shape
    before = np.empty(n, np.int64)
    tip = np.empty(n, np.int64)  # of the parabolas of the envelope
    start = np.empty(n, np.int64)  # from where on each is the lowest
    unit = edge * edge
    for line in range(lines):
        for row in range(rows):
            last = -1
            for u in range(n):
                before[u] = squares[line, row, u]
                if before[u] == FAR:
                    continue
                while last >= 0:
                    i, at = tip[last], start[last]
                    if unit * (at - i) ** 2 + before[i] <= unit * (at - u) ** 2 + before[u]:
                        break
                    last -= 1
                if last < 0:
                    last, tip[0], start[0] = 0, u, 0
                    continue
                i = tip[last]
                # Both are integers: from the voxel after the floor of where they meet.
                meet = (unit * (u * u - i * i) + before[u] - before[i]) // (2 * unit * (u - i))
                if meet + 1 < n:
                    last += 1
                    tip[last], start[last] = u, meet + 1
            if last < 0:
                continue
            for x in range(n - 1, -1, -1):
                if x < start[last]:
                    last -= 1
                squares[line, row, x] = unit * (x - tip[last]) ** 2 + before[tip[last]]

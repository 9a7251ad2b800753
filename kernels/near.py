"""Which voxels are near each other: exact footprints; importing it brings no compiler.

A voxel size is the decimal that the user wrote, and no float is compared.
"""

import math
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Halo, Index

Voxel = tuple[float, float, float]


class Footprint(NamedTuple):
    """The steps from a voxel to all that are near it, nearest first.

    ``steps`` int32 ``(n, 3)``, zyx; ``ranks`` int32 ``(n,)``, equal for equal distances.
    """

    steps: NDArray[np.int32]
    ranks: NDArray[np.int32]


def reach(distance_nm: float, voxel_size_nm: Voxel) -> Index:
    """Return how far a footprint goes along (z, y, x), in voxels."""
    distance = Fraction(str(distance_nm))
    z, y, x = (math.floor(distance / Fraction(str(edge))) + 1 for edge in voxel_size_nm)
    return z, y, x


def halo(distance_nm: float, voxel_size_nm: Voxel) -> Halo:
    """Return the voxels of labels that a block reads beyond its chunk.

    A block covers its chunk and one more voxel on each positive side. It reads all that is near a
    voxel of it, and one voxel more, which tells whether a near voxel is on a surface.
    """
    z, y, x = (edge + 1 for edge in reach(distance_nm, voxel_size_nm))
    return Halo((z, y, x), (z + 1, y + 1, x + 1))


@lru_cache(8)  # every block of a contact asks for the same one
def footprint(distance_nm: float, voxel_size_nm: Voxel) -> Footprint:
    """Return the steps that are no longer than a distance plus one voxel.

    With voxels of edges v that differ, a step s is near when the sum of (s v / (d + v))^2 over the
    axes is at most 1: along each axis that is d plus one voxel, and for cubes the published rule.
    """
    edges = [Fraction(str(edge)) for edge in voxel_size_nm]
    distance = Fraction(str(distance_nm))
    axes = [np.arange(-r, r + 1) for r in reach(distance_nm, voxel_size_nm)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.int64)
    squares = (grid**2).astype(object)
    near = squares @ [(edge / (distance + edge)) ** 2 for edge in edges] <= 1
    lengths = (squares @ [edge**2 for edge in edges])[near]
    order = np.argsort(lengths, kind="stable")
    ranks = np.unique(lengths, return_inverse=True)[1]
    return Footprint(grid[near][order].astype(np.int32), ranks[order].astype(np.int32))

"""Which voxels are near each other: exact footprints; importing it brings no compiler.

A voxel size is the decimal that the user wrote, and no float is compared.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Halo, Index

Voxel = tuple[float, float, float]


class Footprint(NamedTuple):
    """The steps from a voxel to all that are near it, nearest first.

    ``steps`` int32 ``(n, 3)``, zyx; ``ranks`` int32 ``(n,)``: of two steps that with the smaller
    rank leads to what is nearer. Ranks are equal for equal distances; with ``java`` no two are, and
    of equally far steps the one that a Java hash table has first is nearer. ``ball`` is the
    greatest squared length in voxels where voxels are cubes and lengths alone decide; else 0.
    """

    steps: NDArray[np.int32]
    ranks: NDArray[np.int32]
    java: bool = False
    ball: int = 0


def reach(distance_nm: float, voxel_size_nm: Voxel) -> Index:
    """Return how far a footprint goes along (z, y, x), in voxels."""
    distance = Fraction(str(distance_nm))
    z, y, x = (math.floor(distance / Fraction(str(edge))) + 1 for edge in voxel_size_nm)
    return z, y, x


def halo(distance_nm: float, voxel_size_nm: Voxel, kind: str = "naive") -> Halo:
    """Return the voxels of labels that a block reads beyond its chunk.

    A block covers its chunk and one more voxel on each positive side. It reads all that is near a
    voxel of it, and one voxel more, which tells whether a near voxel is on a surface. With
    ``refined``, a voxel is on lines from voxels near it, and whether these are there depends on all
    that is near those. What lies that far off is nearest only where it is on a surface.
    """
    far = 2 if kind == "refined" else 1
    z, y, x = (far * edge + (far == 1) for edge in reach(distance_nm, voxel_size_nm))
    return Halo((z, y, x), (z + 1, y + 1, x + 1))


def footprint(distance_nm: float, voxel_size_nm: Voxel, ties: str = "smallest") -> Footprint:
    """Return the steps that are no longer than a distance plus one voxel.

    With voxels of edges v that differ, a step s is near when the sum of (s v / (d + v))^2 over the
    axes is at most 1: along each axis that is d plus one voxel, and for cubes the published rule.
    Which of two near things is nearer, their distances tell. ``ties`` may be ``java``, for cubes.
    """
    return _footprint(distance_nm, voxel_size_nm, ties)


@lru_cache(8)  # every block of a contact asks for the same one
def _footprint(distance_nm: float, voxel_size_nm: Voxel, ties: str) -> Footprint:
    edges = [Fraction(str(edge)) for edge in voxel_size_nm]
    distance = Fraction(str(distance_nm))
    axes = [np.arange(-r, r + 1) for r in reach(distance_nm, voxel_size_nm)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.int64)
    sums, one = _weighted(grid**2, [(edge / (distance + edge)) ** 2 for edge in edges])
    near = sums <= one
    lengths = _weighted(grid[near] ** 2, [edge**2 for edge in edges])[0]
    order = np.argsort(lengths, kind="stable")
    steps = grid[near][order].astype(np.int32)
    ranks = np.unique(lengths, return_inverse=True)[1][order].astype(np.int32)
    if ties != "java":
        cubes = len(set(edges)) == 1
        return Footprint(steps, ranks, ball=int((grid[near] ** 2).sum(axis=1).max()) * cubes)
    assert len(set(edges)) == 1, voxel_size_nm
    steps = np.concatenate([_hashed(steps[ranks == rank]) for rank in range(ranks[-1] + 1)])
    return Footprint(steps, np.arange(len(steps), dtype=np.int32), java=True)


def _weighted(values: NDArray[np.int64], weights: Sequence[Fraction]) -> tuple[NDArray[Any], int]:
    """Return sums of values ``(n, 3)`` by exact weights, in whole parts, and how many are one."""
    one = math.lcm(*(weight.denominator for weight in weights))
    whole = [int(weight * one) for weight in weights]
    most = sum(n * w for n, w in zip(values.max(axis=0).tolist(), whole, strict=True))
    if most < 1 << 62 and one < 1 << 62:
        return values @ np.array(whole, np.int64), one
    return values.astype(object) @ whole, one


def lengths_nm(near: Footprint, voxel_size_nm: Voxel) -> list[float]:
    """Return the distance of each rank, between centres of voxels, in nm."""
    squares = [Fraction(str(edge)) ** 2 for edge in voxel_size_nm]
    first = np.unique(near.ranks, return_index=True)[1]
    steps = near.steps[first].tolist()
    return [
        math.sqrt(sum(n * n * square for n, square in zip(step, squares, strict=True)))
        for step in steps
    ]


def _hashed(steps: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return steps of one length in the order of a Java ``HashSet`` of lists (x, y, z).

    The published code puts them in by ascending sizes along x, y, z, the positive ones first.
    """
    x, y, z = steps.T[::-1].astype(np.int64)
    code = (((31 + x) * 31 + y) * 31 + z) & 0xFFFFFFFF
    slots = 16
    while len(steps) > 0.75 * slots:
        slots *= 2
    slot = (code ^ code >> 16) & slots - 1
    return steps[np.lexsort((z < 0, y < 0, x < 0, abs(z), abs(y), abs(x), slot))]


def between(steps: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the voxels strictly between the ends of lines in space (Bresenham 1965).

    A line goes a voxel along its longest axis at a time, x before y before z where they are equally
    long, and along the others where their error says so.

    Parameters
    ----------
    steps
        From the first to the last voxel of n lines, ``(n, 3)``, zyx.

    Returns
    -------
    voxels, counts
        int64 ``(n, m, 3)`` and ``(n,)``: of each line the steps from its first voxel to those
        between, of which it has ``counts``; beyond them 0.
    """
    ahead, sign = np.abs(steps).astype(np.int64), np.sign(steps).astype(np.int64)
    lines = np.arange(len(steps))
    drive = 2 - ahead[:, ::-1].argmax(axis=1)
    length = ahead[lines, drive]
    voxels = np.zeros((len(steps), max(int(length.max()) - 1, 0), 3), np.int64)
    here, error = np.zeros_like(ahead), 2 * ahead - length[:, None]
    for n in range(voxels.shape[1]):
        turns = error >= 0  # also along the longest axis, where the error stays what it is
        here += np.where(turns, sign, 0)
        error += 2 * ahead - np.where(turns, 2 * length[:, None], 0)
        voxels[n + 1 < length, n] = here[n + 1 < length]
    return voxels, np.maximum(length - 1, 0)

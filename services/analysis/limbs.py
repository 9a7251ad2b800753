"""Exact sums beyond 64 bits: two limbs, ``high * 2**32 + low`` with ``0 <= low < 2**32``.

An object may span a million chunks of 2**27 voxels: its voxels and crossings fit 64 bits, the sums
of indices (2**68) and of their products (2**89) do not.  No order of additions changes limbs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Index

BITS = 32
MASK = (1 << BITS) - 1

# Sums of a voxel's index: along each axis, and of the products of two of them.
INDICES = slice(0, 3)  # z, y, x
PRODUCTS = slice(3, 9)
PRODUCT_AXES: tuple[tuple[int, int], ...] = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


def limbs_of(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 64-bit integers as limbs, on a new last axis."""
    return np.stack([values >> BITS, values & MASK], axis=-1)


def carried(limbs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return limbs, of which the low ones may have outgrown 32 bits, as one may write them."""
    return np.stack([limbs[..., 0] + (limbs[..., 1] >> BITS), limbs[..., 1] & MASK], axis=-1)


def integers(limbs: NDArray[np.int64]) -> list[Any]:
    """Return limbs ``(..., 2)`` as nested lists of exact integers."""
    exact: list[Any] = ((limbs[..., 0].astype(object) << BITS) + limbs[..., 1]).tolist()
    return exact


def shifted(voxels: NDArray[np.int64], sums: NDArray[np.int64], start: Index) -> NDArray[np.int64]:
    """Return sums over voxels of a chunk as sums over the same voxels of the volume.

    Parameters
    ----------
    voxels
        Voxels of each object, ``(n,)``, at most 2**27.
    sums
        Of indices below 512 in the chunk and of their products, ``(n, 9)``.
    start
        The chunk's first voxel, below 2**21 along each axis.

    Returns
    -------
    NDArray[np.int64]
        Limbs, ``(n, 9, 2)``.
    """
    local = sums[:, INDICES]
    moved = local + voxels[:, None] * np.array(start, np.int64)  # below 2**48
    products = []
    for n, (a, b) in enumerate(PRODUCT_AXES, PRODUCTS.start):
        # sum (u + s) (v + t) = sum u v + s sum v + t sum (u + s); the last is below 2**69
        small = sums[:, n] + start[a] * local[:, b]
        products.append(limbs_of(moved[:, a]) * start[b] + np.stack([0 * small, small], axis=-1))
    return np.concatenate([limbs_of(moved), carried(np.stack(products, axis=1))], axis=1)


def grouped_sums(
    weights: NDArray[np.int64], values: NDArray[np.int64], groups: Sequence[int]
) -> list[int]:
    """Return the exact sum of ``weights * values`` of each group of consecutive entries.

    Parameters
    ----------
    weights
        Not negative, in sum below 2**47.
    values
        Any integers of 64 bits, as many.
    groups
        How many entries each group has; together all of them.
    """
    starts = np.cumsum([0, *groups])[:-1].astype(np.int64)
    filled = np.array([size > 0 for size in groups], bool)
    total = np.zeros(len(groups), object)
    if not filled.any():
        return [0] * len(groups)
    for shift in range(0, 64, PIECE_BITS):
        piece = values >> shift
        if shift + PIECE_BITS < 64:
            piece = piece & ((1 << PIECE_BITS) - 1)  # else the sign is in it
        sums = np.add.reduceat(weights * piece, starts[filled])
        total[filled] += sums.astype(object) << shift
    return [int(value) for value in total]


PIECE_BITS = 16  # of a value: times weights below 2**47, a piece stays below 2**63

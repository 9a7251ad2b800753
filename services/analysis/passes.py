"""The passes over the voxels of a chunk that measure its objects, as machine code.

Objects are ranks: 0 is the background, which is passed over.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Index
from fibstream.kernels.compiled import compiled, lean

COUNTED_BITS = 16  # of values: those further apart are sorted, the others counted


@compiled
def add_moments(
    ranks: NDArray[np.int32],
    voxels: NDArray[np.int64],
    sums: NDArray[np.int64],
    low: NDArray[np.int64],
    high: NDArray[np.int64],
) -> None:
    """Add voxels, indices of the array z, y, x and their products zz, yy, xx, zy, zx, yx."""
    for z in range(ranks.shape[0]):
        for y in range(ranks.shape[1]):
            row = ranks[z, y]
            begin = 0
            while begin < row.size:
                i = row[begin]
                end = begin + 1
                while end < row.size and row[end] == i:
                    end += 1
                if i:
                    _add_run(i, (z, y, begin, end), voxels, sums)
                    low[i, 0] = min(low[i, 0], z)
                    low[i, 1] = min(low[i, 1], y)
                    low[i, 2] = min(low[i, 2], begin)
                    high[i, 0] = max(high[i, 0], z)
                    high[i, 1] = max(high[i, 1], y)
                    high[i, 2] = max(high[i, 2], end - 1)
                begin = end


@lean
def _add_run(
    i: int, run: tuple[int, int, int, int], voxels: NDArray[np.int64], sums: NDArray[np.int64]
) -> None:
    """Add the voxels ``begin`` to ``end`` of a row, of which x is an arithmetic series."""
    z, y, begin, end = run
    length = end - begin
    x = length * (begin + end - 1) // 2
    voxels[i] += length
    of = sums[i]
    of[0] += length * z
    of[1] += length * y
    of[2] += x
    of[3] += length * z * z
    of[4] += length * y * y
    of[5] += (_squares(end) - _squares(begin)) // 6
    of[6] += length * z * y
    of[7] += z * x
    of[8] += y * x


@lean
def _squares(n: int) -> int:
    """Return six times the sum of the squares below ``n``."""
    return (n - 1) * n * (2 * n - 1)


@compiled
def add_cubes(
    ranks: NDArray[np.int32],
    low: Index,
    high: Index,
    table: NDArray[np.int8],
    sums: NDArray[np.int64],
) -> None:
    """Add what the cubes of an array give to each rank.

    Parameters
    ----------
    ranks
        Ranks: of the chunk, of a layer more above, and where ``low`` or ``high`` of an axis is 1
        of a layer of background before or behind the volume.
    table
        `cubes.cube_sums`.
    sums
        ``(ranks, cubes.SUMS)``, added to.
    """
    count_z, count_y, count_x = ranks.shape[0] - 1, ranks.shape[1] - 1, ranks.shape[2] - 1
    mixed = np.empty(count_x, np.int32)
    cube = np.empty(8, np.int32)
    for z in range(count_z):
        place_z = 1 if low[0] and z == 0 else (2 if high[0] and z == count_z - 1 else 0)
        for y in range(count_y):
            place_y = 1 if low[1] and y == 0 else (2 if high[1] and y == count_y - 1 else 0)
            rows = ranks[z, y], ranks[z, y + 1], ranks[z + 1, y], ranks[z + 1, y + 1]
            if not _mark_mixed(rows, mixed):
                continue
            for x in range(count_x):
                if mixed[x]:
                    place_x = 1 if low[2] and x == 0 else (2 if high[2] and x == count_x - 1 else 0)
                    for n in range(4):
                        cube[2 * n], cube[2 * n + 1] = rows[n][x], rows[n][x + 1]
                    _add_cube(cube, table[9 * place_z + 3 * place_y + place_x], sums)


@lean
def _mark_mixed(rows: tuple[NDArray[np.int32], ...], mixed: NDArray[np.int32]) -> bool:
    """Mark by other than 0 the cubes between four rows that hold more than one rank."""
    a, b, c, d = rows
    some = 0
    for x in range(mixed.size):
        first = a[x]
        mixed[x] = (
            (first ^ a[x + 1]) | (first ^ b[x]) | (first ^ b[x + 1])
            | (first ^ c[x]) | (first ^ c[x + 1]) | (first ^ d[x]) | (first ^ d[x + 1])
        )  # fmt: skip
        some |= mixed[x]
    return some != 0


@lean
def _add_cube(cube: NDArray[np.int32], table: NDArray[np.int8], sums: NDArray[np.int64]) -> None:
    """Add one cube to each of its ranks: a mixed cube is one of its own to every object in it."""
    done = 0
    for n in range(8):
        i = cube[n]
        if i == 0 or done >> n & 1:
            continue
        members = 0
        for m in range(8):
            members |= (cube[m] == i) << m
        done |= members
        for k in range(sums.shape[1]):
            sums[i, k] += table[members, k]


@compiled
def grey_levels(
    ranks: NDArray[np.int32],
    raw: NDArray[Any],
    voxels: NDArray[np.int64],
    order: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[np.int32]]:
    """Return how often each object has each value of ``raw``.

    Returns
    -------
    levels
        How many values each of the objects ``order`` has.
    level, level_voxels
        The values, ascending within an object, and the number of voxels that have them.
    """
    values, starts = _gathered(ranks, raw, voxels)
    levels = np.zeros(order.size, np.int64)
    level, level_voxels = np.empty_like(values), np.empty(values.size, np.int32)
    counts = np.zeros(1 << COUNTED_BITS, np.int32)
    filled = 0
    for n in range(order.size):
        i = order[n]
        own = values[starts[i] : starts[i] + voxels[i]]
        if own.size:
            found = _tally(own, counts, level[filled:], level_voxels[filled:])
            levels[n] = found
            filled += found
    return levels, level[:filled].copy(), level_voxels[:filled].copy()


@compiled
def _gathered(
    ranks: NDArray[np.int32], raw: NDArray[Any], voxels: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the values of all objects, object by object, and where each begins."""
    starts = np.zeros(voxels.size, np.int64)
    for i in range(1, voxels.size - 1):
        starts[i + 1] = starts[i] + voxels[i]
    values = np.empty(voxels[1:].sum(), raw.dtype)
    fill = starts.copy()
    for z in range(ranks.shape[0]):
        for y in range(ranks.shape[1]):
            row, grey = ranks[z, y], raw[z, y]
            for x in range(row.size):
                i = row[x]
                if i:
                    values[fill[i]] = grey[x]
                    fill[i] += 1
    return values, starts


@compiled
def _tally(
    own: NDArray[Any],
    counts: NDArray[np.int32],
    level: NDArray[Any],
    level_voxels: NDArray[np.int32],
) -> int:
    """Write the different values of ``own`` and how often each occurs; return how many.

    ``counts`` is zero before and after.
    """
    least, most = np.int64(own.min()), np.int64(own.max())
    found = 0
    if most - least < min(counts.size, max(256, 4 * own.size)):
        for value in own:
            counts[np.int64(value) - least] += 1
        for n in range(most - least + 1):
            if counts[n]:
                level[found], level_voxels[found] = n + least, counts[n]
                found += 1
                counts[n] = 0
        return found
    own.sort()
    begin = 0
    for n in range(1, own.size + 1):
        if n == own.size or own[n] != own[begin]:
            level[found], level_voxels[found] = own[begin], n - begin
            found += 1
            begin = n
    return found

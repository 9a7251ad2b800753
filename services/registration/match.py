"""Block matching: where the surroundings of a place in the specimen lie in the light image.

A patch lies at the centre of light of a cell of a fixed lattice.  Its result follows from the
images and the starting transform around it alone, so results of different boxes are computed apart,
kept, and put together by :func:`joined`; together they are those of the whole, to the bit.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box
from fibstream.kernels.compiled import compiled

from .port import Image, Triple
from .sampling import Floats
from .transform import Transform
from .warp import pulled, triple

LEAST_ZNCC = 0.2
LEAST_SIGNAL = 0.02  # mean of the prepared image in a cell: less holds no membrane
CERTAIN = 0.3  # how much higher than the second peak counts as certain


class Rule(NamedTuple):
    """Edges in nm of the cells, half edges of patches (one, or z, y, x) and of the search."""

    cell_nm: float
    half_nm: float | Triple
    reach_nm: float


class Matches(NamedTuple):
    """Patches: ``place`` (n, 3) nm in the specimen, ``move`` (n, 3) nm so that the light image,
    pulled back by the starting transform, shows the same at ``place + move``; ``peak`` (n,) the
    correlation there, ``weight`` (n, 3) by axis, 0 where no place was found.
    """  # noqa: D205

    place: Floats
    move: Floats
    peak: Floats
    weight: Floats


def joined(parts: list[Matches]) -> Matches:
    """Return the patches of several boxes as one, sorted by place."""
    place, move, peak, weight = (np.concatenate(c) for c in zip(*parts, strict=True))
    order = np.lexsort(place.T[::-1])
    return Matches(place[order], move[order], peak[order], weight[order])


def places(em: Image, cell_nm: float) -> Floats:
    """Return where patches lie, (n, 3) nm: centres of light of the lattice's cells with signal."""
    voxel, corner = np.array(em.voxel_nm), np.array(em.corner_nm)
    cells, axes = [], []
    for axis, n in enumerate(em.voxels.shape):
        centre = corner[axis] + (np.arange(n) + 0.5) * voxel[axis]
        axes.append(centre)
        cells.append(np.floor(centre / cell_nm).astype(np.int64))
    firsts = [np.flatnonzero(np.diff(c, prepend=c[0] - 1)) for c in cells]

    def summed(values: Floats) -> Floats:
        for axis, first in enumerate(firsts):
            values = np.add.reduceat(values, first, axis=axis)
        return values

    light = em.voxels.astype(np.float64)
    total = summed(light)
    moments = [
        summed(light * a.reshape([-1 if k == n else 1 for k in range(3)]))
        for n, a in enumerate(axes)
    ]
    counts = summed(np.ones_like(light))
    full = (total > LEAST_SIGNAL * counts) & (counts > 0.25 * cell_nm**3 / np.prod(voxel))
    return np.stack([(m[full] / total[full]) for m in moments], axis=1)


def match(em: Image, light: Image, start: Transform, where: Floats, rule: Rule) -> Matches:
    """Return where each patch lies.

    Parameters
    ----------
    em, light
        Prepared images, float32.
    start
        The transform from whose places the search begins.
    where
        Places in the specimen, (n, 3) nm.
    rule
        Sizes; patches are cut at the specimen's border.
    """
    voxel = np.array(em.voxel_nm)
    half = np.maximum(1, np.rint(np.array(rule.half_nm) / voxel)).astype(np.int64)
    reach = np.maximum(1, np.rint(rule.reach_nm / voxel)).astype(np.int64)
    margin = int(reach.max())
    index = (where - np.array(em.corner_nm)) / voxel - 0.5
    centre = np.rint(index).astype(np.int64)
    move, peak, weight = np.zeros((len(where), 3)), np.zeros(len(where)), np.zeros((len(where), 3))
    if len(where):  # only what the patches reach is looked at
        low = np.maximum(centre.min(axis=0) - half, 0)
        high = np.minimum(centre.max(axis=0) + half + 1, em.voxels.shape)
        part = em.grey[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        field = pulled(start, light, em, Box(triple(low - margin), triple(high + margin)))
        score = np.empty(tuple(2 * reach + 1))
        part = np.ascontiguousarray(part)
        _match(part, field, margin, centre - low, half, reach, score, move, peak, weight)
    return Matches(where, move * voxel, peak, weight)


@compiled
def _match(
    em: NDArray[np.float32], field: NDArray[np.float32], margin: int, centre: NDArray[np.int64],
    half: NDArray[np.int64], reach: NDArray[np.int64], score: Floats, move: Floats, peak: Floats,
    weight: Floats,
) -> None:  # fmt: skip
    """Write move (voxels), peak and weights of each patch."""
    at, low, high = np.empty(3, np.int64), np.empty(3, np.int64), np.empty(3, np.int64)
    for row in range(len(centre)):
        for a in range(3):
            low[a] = max(centre[row, a] - half[a], 0)
            high[a] = min(centre[row, a] + half[a] + 1, em.shape[a])
        best = _scores(em, field, margin, low, high, reach, score, at)
        peak[row] = best
        if best < LEAST_ZNCC:
            continue
        border = False
        for a in range(3):
            border |= at[a] == 0 or at[a] == score.shape[a] - 1
        if border:
            continue
        second = _second(score, at)
        sure = 1.0 if second <= 0.0 else (best / second - 1.0) / CERTAIN
        trust = (best - 0.15) ** 2 * min(max(sure, 0.05), 1.0)
        lateral = 0.0
        for a in range(3):
            before = _beside(score, at, a, -1)
            after = _beside(score, at, a, 1)
            bend = 2.0 * best - before - after
            move[row, a] = (
                at[a] - reach[a] + 0.5 * (after - before) / bend if bend > 0 else at[a] - reach[a]
            )
            if a == 0:
                weight[row, 0] = trust * bend
            else:
                lateral += 0.5 * bend
        weight[row, 1] = weight[row, 2] = trust * lateral


@compiled
def _beside(score: Floats, at: NDArray[np.int64], axis: int, step: int) -> float:
    """Return the score one step from a place along an axis."""
    z, y, x = at[0], at[1], at[2]
    if axis == 0:
        return float(score[z + step, y, x])
    return float(score[z, y + step, x]) if axis == 1 else float(score[z, y, x + step])


@compiled
def _second(score: Floats, at: NDArray[np.int64]) -> float:
    """Return the highest score more than two steps from the best, at most one axis counting."""
    best = -1.0
    for z in range(score.shape[0]):
        for y in range(score.shape[1]):
            for x in range(score.shape[2]):
                far = max(abs(z - at[0]), abs(y - at[1]), abs(x - at[2]))
                if far > 2 and score[z, y, x] > best:
                    best = score[z, y, x]
    return best


@compiled
def _scores(
    em: NDArray[np.float32], field: NDArray[np.float32], margin: int, low: NDArray[np.int64],
    high: NDArray[np.int64], reach: NDArray[np.int64], score: Floats, at: NDArray[np.int64],
) -> float:  # fmt: skip
    """Write the correlation of a box of the specimen at every shift; return the best, place it."""
    n, a, aa = 0, 0.0, 0.0
    for z in range(low[0], high[0]):
        for y in range(low[1], high[1]):
            for x in range(low[2], high[2]):
                value = float(em[z, y, x])
                n += 1
                a += value
                aa += value * value
    spread = aa - a * a / n
    best = -2.0
    for i in range(score.shape[0]):
        for j in range(score.shape[1]):
            for k in range(score.shape[2]):
                dz, dy, dx = i - reach[0] + margin, j - reach[1] + margin, k - reach[2] + margin
                b, bb, ab = 0.0, 0.0, 0.0
                for z in range(low[0], high[0]):
                    for y in range(low[1], high[1]):
                        for x in range(low[2], high[2]):
                            value = float(field[z + dz, y + dy, x + dx])
                            b += value
                            bb += value * value
                            ab += value * em[z, y, x]
                below = spread * (bb - b * b / n)
                found = (ab - a * b / n) / np.sqrt(below) if below > 1e-9 else 0.0
                score[i, j, k] = found
                if found > best:
                    best = found
                    at[0], at[1], at[2] = i, j, k
    return best

"""The affine map that maximises the correlation with a light image, in three dimensions.

Gauss-Newton steps on the enhanced correlation coefficient (Evangelidis and Psarakis 2008) over the
whole specimen; what the light image does not hold is 0, since a measure of the overlap alone would
reward leaving the field.  Sums run in a fixed order, so threads change no bit.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.kernels.compiled import compiled

from .port import Image
from .prepare import blurred, coarser
from .sampling import Floats
from .search import Pose
from .transform import Transform, apply
from .warp import pulled, to_index

COARSE_NM, MIDDLE_NM = 384.0, 256.0
STEPS = (14, 10, 8)  # of the coarse, middle and fine level
PARAMETERS = 12
SHRINK, GROW = 0.3, 10.0  # of the damping after a better and a worse step
Z_STEP_NM = 450.0  # less than the depth over which the coarse images stay alike


class Level(NamedTuple):
    """A pair of images of one coarseness."""

    em: Image
    light: Image


class Fitted(NamedTuple):
    """An affine transform and the correlation over the whole specimen that it reaches."""

    transform: Transform
    ncc: float


def levels(em: Image, light: Image) -> tuple[Level, Level, Level]:
    """Return prepared images at three levels, coarse to fine, both blurred alike."""
    made = []
    for edge, sigma in ((COARSE_NM, 350.0), (MIDDLE_NM, 220.0), (0.0, 120.0)):
        pair = []
        for image in (em, light):
            soft = blurred(image.grey, image.voxel_nm, (sigma,) * 3)
            pair.append(coarser(Image(soft, image.voxel_nm, image.corner_nm), edge))
        made.append(Level(*pair))
    return made[0], made[1], made[2]


def starts(pose: Pose, level: Level) -> list[Transform]:
    """Return a pose as affine maps, one for each direction of z, at the best shift along z."""
    found = []
    for flip in (1.0, -1.0):
        matrix = np.zeros((3, 3))
        matrix[0, 0] = flip * pose.scale
        matrix[1:, 1:] = pose.matrix
        best = None
        middle = level.light.middle_nm[0]
        reach = max(0.0, (level.light.extent_nm[0]) / 2)
        for shift in np.arange(-reach, reach + 1, Z_STEP_NM):
            place = np.array([middle + shift, *pose.place])
            start = Transform(matrix, place - apply(matrix, level.em.middle_nm))
            ncc = correlation(start, level)
            if best is None or ncc > best[0]:
                best = (ncc, start)
        assert best is not None
        found.append(best[1])
    return found


def refine(start: Transform, level: Level, steps: int) -> Fitted:
    """Return the affine transform after at most ``steps`` steps from ``start``."""
    em = level.em
    centre, radius = em.middle_nm, float(em.extent_nm.max()) / 2
    now, damping = start, 1e-3
    hessian, sums = np.empty((13, 13)), np.empty((2, 13))
    best, rest = _accumulated(now, level, radius, hessian, sums)
    for _ in range(steps):
        step = _step(hessian, sums, rest, damping)
        matrix = now.matrix + step[:9].reshape(3, 3) / radius
        offset = now.offset + step[9:] - apply(step[:9].reshape(3, 3) / radius, centre)
        tried = Transform(matrix, offset)
        trial, totals = np.empty((13, 13)), np.empty((2, 13))
        ncc, others = _accumulated(tried, level, radius, trial, totals)
        if ncc > best:
            done = ncc - best < 1e-5
            now, best, rest, hessian, sums = tried, ncc, others, trial, totals
            damping = max(damping * SHRINK, 1e-6)
            if done:
                break
        else:
            damping *= GROW
            if damping > 1e3:
                break
    return Fitted(now, best)


def correlation(transform: Transform, level: Level) -> float:
    """Return the correlation of a specimen with the light image at the transform's places."""
    a = level.em.voxels.astype(np.float64)
    b = pulled(transform, level.light, level.em).astype(np.float64)
    a, b = a - a.mean(), b - b.mean()
    below = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / below if below > 0 else 0.0


def _accumulated(
    transform: Transform, level: Level, radius: float, hessian: Floats, sums: Floats
) -> tuple[float, Floats]:
    """Write sums over all voxels; return the correlation and (a a, b b, a b), centred."""
    em, light = level
    matrix, offset = to_index(transform, light.voxel_nm, light.corner_nm)
    extra = np.empty(5)
    _sums(
        em.grey, light.grey, np.array(em.voxel_nm), np.array(em.corner_nm), em.middle_nm,
        radius, matrix, offset, np.array(light.voxel_nm), hessian, sums, extra,
    )  # fmt: skip
    n = float(em.voxels.size)
    total, (a, b, aa, bb, ab) = hessian[12].copy(), extra
    sums[0] -= total * a / n
    sums[1] -= total * b / n
    hessian -= np.outer(total, total) / n
    rest = np.array([aa - a * a / n, bb - b * b / n, ab - a * b / n])
    below = float(np.sqrt(max(rest[0], 0.0) * max(rest[1], 0.0)))
    return (float(rest[2]) / below if below > 0 else 0.0), rest


def _step(hessian: Floats, sums: Floats, rest: Floats, damping: float) -> Floats:
    """Return the step of the twelve parameters that raises the correlation."""
    h = hessian[:12, :12]
    h = h + np.diag(damping * h.diagonal() + 1e-9 * h.trace() + 1e-30)
    by_em, by_light = sums[0, :12], sums[1, :12]
    ha, hb = np.linalg.solve(h, np.stack([by_em, by_light], axis=1)).T
    above = rest[1] - float((by_light * hb).sum())
    below = rest[2] - float((by_em * hb).sum())
    gain = above / below if below > 0 else 1.0
    if not below > 0:  # away from a maximum: the gain that makes both agree best
        most = float((by_em * ha).sum())
        gain = float(np.sqrt(float((by_light * hb).sum()) / most)) if most > 0 else 0.0
    return np.asarray(gain * ha - hb)


@compiled
def _sums(
    em: NDArray[np.float32], light: NDArray[np.float32], step: Floats, corner: Floats,
    centre: Floats, radius: float, matrix: Floats, offset: Floats, voxel: Floats,
    hessian: Floats, sums: Floats, extra: Floats,
) -> None:  # fmt: skip
    """Write G'G (row 12: column sums), (G'a, G'b) and sums of a, b, a a, b b, a b.

    a is the specimen, b the light image at its place, G the derivatives of b by matrix (times
    ``radius``) and offset in nm.
    """
    hessian[:], sums[:], extra[:] = 0.0, 0.0, 0.0
    p, q, slope, g = np.empty(3), np.empty(3), np.empty(3), np.empty(12)
    n0, n1, n2 = light.shape
    for z in range(em.shape[0]):
        p[0] = corner[0] + (z + 0.5) * step[0]
        for y in range(em.shape[1]):
            p[1] = corner[1] + (y + 0.5) * step[1]
            for x in range(em.shape[2]):
                p[2] = corner[2] + (x + 0.5) * step[2]
                a = float(em[z, y, x])
                extra[0] += a
                extra[2] += a * a
                for k in range(3):
                    q[k] = matrix[k, 0] * p[0] + matrix[k, 1] * p[1] + matrix[k, 2] * p[2]
                    q[k] += offset[k]
                if not (0.0 <= q[0] < n0 - 1 and 0.0 <= q[1] < n1 - 1 and 0.0 <= q[2] < n2 - 1):
                    continue
                i, j, k = int(q[0]), int(q[1]), int(q[2])
                u, v, w = q[0] - i, q[1] - j, q[2] - k
                c00 = light[i, j, k] * (1 - w) + light[i, j, k + 1] * w
                c01 = light[i, j + 1, k] * (1 - w) + light[i, j + 1, k + 1] * w
                c10 = light[i + 1, j, k] * (1 - w) + light[i + 1, j, k + 1] * w
                c11 = light[i + 1, j + 1, k] * (1 - w) + light[i + 1, j + 1, k + 1] * w
                low, high = c00 * (1 - v) + c01 * v, c10 * (1 - v) + c11 * v
                b = low * (1 - u) + high * u
                slope[0] = (high - low) / voxel[0]
                slope[1] = ((c01 - c00) * (1 - u) + (c11 - c10) * u) / voxel[1]
                d00, d01 = (
                    light[i, j, k + 1] - light[i, j, k],
                    light[i, j + 1, k + 1] - light[i, j + 1, k],
                )
                d10 = light[i + 1, j, k + 1] - light[i + 1, j, k]
                d11 = light[i + 1, j + 1, k + 1] - light[i + 1, j + 1, k]
                slope[2] = (
                    (d00 * (1 - v) + d01 * v) * (1 - u) + (d10 * (1 - v) + d11 * v) * u
                ) / voxel[2]
                extra[1] += b
                extra[3] += b * b
                extra[4] += a * b
                if slope[0] == 0.0 and slope[1] == 0.0 and slope[2] == 0.0:
                    continue
                for r in range(3):
                    for c in range(3):
                        g[3 * r + c] = slope[r] * (p[c] - centre[c]) / radius
                    g[9 + r] = slope[r]
                for r in range(12):
                    sums[0, r] += g[r] * a
                    sums[1, r] += g[r] * b
                    hessian[12, r] += g[r]
                    for c in range(r + 1):
                        hessian[r, c] += g[r] * g[c]
    for r in range(12):
        for c in range(r):
            hessian[c, r] = hessian[r, c]

"""Compiled kernels: cubic B-splines at points, and an image at the places a transform sends to.

Every value follows from its own point alone, by sums in a fixed order: blocks equal the whole to
the bit, whatever the number of threads.
"""

import numpy as np
from numpy.typing import NDArray

from fibstream.kernels.compiled import compiled, inlined

Floats = NDArray[np.float64]


@inlined
def _weights(t: float, weight: Floats, slope: Floats) -> None:
    """Write a cubic B-spline's four weights at a fraction t of a cell, and their derivatives."""
    s = 1.0 - t
    weight[0] = s * s * s / 6.0
    weight[1] = (4.0 - 6.0 * t * t + 3.0 * t * t * t) / 6.0
    weight[2] = (4.0 - 6.0 * s * s + 3.0 * s * s * s) / 6.0
    weight[3] = t * t * t / 6.0
    slope[0] = -0.5 * s * s
    slope[1] = (-12.0 * t + 9.0 * t * t) / 6.0
    slope[2] = (12.0 * s - 9.0 * s * s) / 6.0
    slope[3] = 0.5 * t * t


@inlined
def _spline(
    p: Floats, coefficients: Floats, origin: Floats, spacing: Floats,
    first: NDArray[np.int64], weight: Floats, slope: Floats, u: Floats, jacobian: Floats,
) -> bool:  # fmt: skip
    """Write u and du/dp at a point; return whether the grid's domain holds it.

    Beyond the domain both are those of the nearest place in it.
    """
    inside = True
    for a in range(3):
        t, last = (p[a] - origin[a]) / spacing[a], coefficients.shape[a] - 3
        if not 1.0 <= t <= last + 1.0:  # also NaN
            inside = False
            t = 1.0 if t < 1.0 else (last + 1.0 if t > last + 1.0 else 1.0)
        cell = min(int(t), last)  # t is 1 or more
        first[a] = cell - 1
        _weights(t - cell, weight[a], slope[a])
    for k in range(3):
        u[k] = 0.0
        for a in range(3):
            jacobian[k, a] = 0.0
    for i in range(4):
        for j in range(4):
            yz = weight[0, i] * weight[1, j]
            dz, dy = slope[0, i] * weight[1, j], weight[0, i] * slope[1, j]
            for n in range(4):
                for k in range(3):
                    c = coefficients[first[0] + i, first[1] + j, first[2] + n, k]
                    u[k] += yz * weight[2, n] * c
                    jacobian[k, 0] += dz * weight[2, n] * c / spacing[0]
                    jacobian[k, 1] += dy * weight[2, n] * c / spacing[1]
                    jacobian[k, 2] += yz * slope[2, n] * c / spacing[2]
    return inside


@compiled
def spline_at(
    points: Floats, coefficients: Floats, origin: Floats, spacing: Floats,
    u: Floats, jacobian: Floats, inside: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Write displacement (n, 3), its Jacobian (n, 3, 3) and whether the domain holds each point."""
    first, weight, slope = np.empty(3, np.int64), np.empty((3, 4)), np.empty((3, 4))
    for row in range(len(points)):
        inside[row] = _spline(
            points[row], coefficients, origin, spacing, first, weight, slope, u[row], jacobian[row]
        )


@compiled
def node_weights(
    points: Floats, shape: NDArray[np.int64], origin: Floats, spacing: Floats,
    node: NDArray[np.int64], value: Floats,
) -> None:  # fmt: skip
    """Write the 64 nodes that move each point and their weights, (n, 64) each; raster numbers."""
    weight, slope, first = np.empty((3, 4)), np.empty(4), np.empty(3, np.int64)
    for row in range(len(points)):
        for a in range(3):
            t = (points[row, a] - origin[a]) / spacing[a]
            cell = max(1, min(int(t), shape[a] - 3))
            first[a] = cell - 1
            _weights(min(max(t - cell, 0.0), 1.0), weight[a], slope)
        at = 0
        for i in range(4):
            for j in range(4):
                for n in range(4):
                    line = (first[0] + i) * shape[1] + first[1] + j
                    node[row, at] = line * shape[2] + first[2] + n
                    value[row, at] = weight[0, i] * weight[1, j] * weight[2, n]
                    at += 1


@inlined
def _corners(
    q: Floats, shape: NDArray[np.int64], base: NDArray[np.int64], above: NDArray[np.int64],
    part: Floats,
) -> bool:  # fmt: skip
    """Write the two voxels on each axis around an index and the share of the upper one.

    Return whether the image of ``shape`` voxels holds the place; beyond the outermost centres the
    outermost voxel counts.
    """
    for a in range(3):
        if not -0.5 <= q[a] <= shape[a] - 0.5:
            return False
        c = min(max(q[a], 0.0), shape[a] - 1.0)
        base[a] = int(c)
        part[a] = c - base[a]
        above[a] = min(base[a] + 1, shape[a] - 1)
    return True


@compiled
def resample(
    light: NDArray[np.float32], held: NDArray[np.int64], shape: NDArray[np.int64],
    start: NDArray[np.int64], step: Floats, corner: Floats, coefficients: Floats, origin: Floats,
    spacing: Floats, matrix: Floats, offset: Floats, out: NDArray[np.float32],
) -> int:  # fmt: skip
    """Write a light image at the places of a block of voxels; return how many were not held.

    ``light`` is the part of an image of ``shape`` voxels that begins at ``held``; ``matrix`` and
    ``offset`` map nm to voxel indices of the whole.  ``start`` is the block's first voxel, ``step``
    and ``corner`` (nm) place the voxels.  Outside the image or the grid's domain is 0.
    """
    first, weight, slope = np.empty(3, np.int64), np.empty((3, 4)), np.empty((3, 4))
    p, u, jacobian, q = np.empty(3), np.empty(3), np.empty((3, 3)), np.empty(3)
    base, above, part = np.empty(3, np.int64), np.empty(3, np.int64), np.empty(3)
    missing = 0
    for z in range(out.shape[0]):
        p[0] = corner[0] + (start[0] + z + 0.5) * step[0]
        for y in range(out.shape[1]):
            p[1] = corner[1] + (start[1] + y + 0.5) * step[1]
            for x in range(out.shape[2]):
                p[2] = corner[2] + (start[2] + x + 0.5) * step[2]
                out[z, y, x] = np.float32(0.0)
                if coefficients.size:
                    if not _spline(
                        p, coefficients, origin, spacing, first, weight, slope, u, jacobian
                    ):
                        continue
                else:
                    u[0] = u[1] = u[2] = 0.0
                for k in range(3):
                    q[k] = (
                        matrix[k, 0] * (p[0] + u[0]) + matrix[k, 1] * (p[1] + u[1])
                        + matrix[k, 2] * (p[2] + u[2]) + offset[k]
                    )  # fmt: skip
                if not _corners(q, shape, base, above, part):
                    continue
                held_all = True
                for a in range(3):
                    base[a] -= held[a]
                    above[a] -= held[a]
                    if base[a] < 0 or above[a] >= light.shape[a]:
                        held_all = False
                if held_all:
                    out[z, y, x] = np.float32(_blend(light, base, above, part))
                else:
                    missing += 1
    return missing


@inlined
def _blend(
    image: NDArray[np.float32], base: NDArray[np.int64], above: NDArray[np.int64], part: Floats
) -> float:
    """Return the trilinear mean of the eight voxels around a place."""
    a, b, c = part[0], part[1], part[2]
    z, y, x, zz, yy, xx = base[0], base[1], base[2], above[0], above[1], above[2]
    low = (image[z, y, x] * (1 - c) + image[z, y, xx] * c) * (1 - b) + (
        image[z, yy, x] * (1 - c) + image[z, yy, xx] * c
    ) * b
    high = (image[zz, y, x] * (1 - c) + image[zz, y, xx] * c) * (1 - b) + (
        image[zz, yy, x] * (1 - c) + image[zz, yy, xx] * c
    ) * b
    return float(low * (1 - a) + high * a)

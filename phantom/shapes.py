"""Primitives of the scene: rows of parameters, and the signed distance to each (nm, negative in).

Every place is ``(z, y, x)`` in nanometres.  A row of the parameter table means, by shape:

========  ===========================================================================
CAPSULE   a(3), b-a(3), 1/(b-a)^2, radius at a, radius at b - at a, arc length at a
BALL      centre(3), axis(3), radius, stretch along the axis, wobble, its wavelength
DISC      centre of curvature(3), axis(3), radius of curvature, radius, half width,
          extra half width at the rim, wobble, its wavelength
BARREL    centre(3), axis(3), a direction across(3), half length, radius, 1 with appendages
HOLE      centre(3), axis(3)
========  ===========================================================================

A wobble moves the surface by smooth noise, in nm; its wavelength is at least eight times as long,
so that a distance stays one to within a quarter.  The distance to a stretched ball is the usual
first-order one, exact on the surface.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.kernels.compiled import inlined

from .hashing import noise

Floats = NDArray[np.float64]

WIDTH = 12  # parameters of a primitive
CAPSULE, BALL, DISC, BARREL, HOLE = range(5)
FAR = 1e9


class Prim(NamedTuple):
    """A primitive before it is packed: its shape, its parameters, its extent."""

    shape: int
    row: Floats
    low: Floats
    high: Floats


def _prim(shape: int, values: list[float], low: Floats, high: Floats) -> Prim:
    row = np.zeros(WIDTH)
    row[: len(values)] = values
    return Prim(shape, row, low, high)


def capsule(a: Floats, b: Floats, ra: float, rb: float, arc: float = 0.0) -> Prim:
    """Return a rounded cone from ``a`` to ``b``; ``arc`` is the arc length of its curve at a."""
    along = b - a
    square = float(along @ along)
    reach = max(ra, rb)
    values = [*a, *along, 1.0 / square if square else 0.0, ra, rb - ra, arc]
    return _prim(CAPSULE, values, np.minimum(a, b) - reach, np.maximum(a, b) + reach)


def ball(
    centre: Floats,
    radius: float,
    axis: Floats | None = None,
    stretch: float = 1.0,
    wobble: tuple[float, float] = (0.0, 1.0),
) -> Prim:
    """Return a sphere, or a spheroid ``stretch`` times as long along ``axis``."""
    reach = radius * max(stretch, 1.0) + wobble[0]
    n = np.array([1.0, 0.0, 0.0]) if axis is None else axis
    return _prim(BALL, [*centre, *n, radius, stretch, *wobble], centre - reach, centre + reach)


def disc(
    centre: Floats,
    axis: Floats,
    curvature_radius: float,
    radius: float,
    half: float,
    *,
    rim: float = 0.0,
    wobble: tuple[float, float] = (0.0, 1.0),
) -> Prim:
    """Return a sheet curved around ``centre - axis * curvature_radius``, with a rounded rim."""
    bend = centre - axis * curvature_radius
    reach = radius + half + rim + wobble[0]
    values = [*bend, *axis, curvature_radius, radius, half, rim, *wobble]
    return _prim(DISC, values, centre - reach, centre + reach)


def barrel(
    centre: Floats, axis: Floats, across: Floats, half: float, radius: float, mother: bool
) -> Prim:
    """Return a centriole; the mother has appendages at the end to which ``axis`` points."""
    reach = math.hypot(half, radius) + 140.0
    values = [*centre, *axis, *across, half, radius, float(mother)]
    return _prim(BARREL, values, centre - reach, centre + reach)


def hole(centre: Floats, axis: Floats) -> Prim:
    """Return a nuclear pore through the envelope whose middle surface holds ``centre``."""
    return _prim(HOLE, [*centre, *axis], centre - 75.0, centre + 75.0)


@inlined
def capsule_distance(rows: Floats, i: int, z: float, y: float, x: float) -> tuple[float, float]:
    """Return the distance to a capsule and the fraction of its axis at the nearest point."""
    dz, dy, dx = z - rows[i, 0], y - rows[i, 1], x - rows[i, 2]
    t = (dz * rows[i, 3] + dy * rows[i, 4] + dx * rows[i, 5]) * rows[i, 6]
    t = min(max(t, 0.0), 1.0)
    dz, dy, dx = dz - t * rows[i, 3], dy - t * rows[i, 4], dx - t * rows[i, 5]
    return math.sqrt(dz * dz + dy * dy + dx * dx) - (rows[i, 7] + t * rows[i, 8]), t


@inlined
def ball_distance(rows: Floats, i: int, key: np.uint64, z: float, y: float, x: float) -> float:
    """Return the distance to a (stretched, wobbling) ball."""
    dz, dy, dx = z - rows[i, 0], y - rows[i, 1], x - rows[i, 2]
    square = dz * dz + dy * dy + dx * dx
    if rows[i, 7] == 1.0:
        d = math.sqrt(square) - rows[i, 6]
    else:
        h = dz * rows[i, 3] + dy * rows[i, 4] + dx * rows[i, 5]
        flat = max(square - h * h, 0.0)
        h /= rows[i, 7]
        k = math.sqrt(flat + h * h)
        slope = math.sqrt(flat + (h / rows[i, 7]) ** 2)
        d = k * (k - rows[i, 6]) / slope if slope > 1e-6 else -rows[i, 6] * min(rows[i, 7], 1.0)
    if rows[i, 8] > 0.0 and abs(d) < 8.0 * rows[i, 8]:
        d += rows[i, 8] * noise(key, z / rows[i, 9], y / rows[i, 9], x / rows[i, 9])
    return float(d)


@inlined
def disc_distance(rows: Floats, i: int, key: np.uint64, z: float, y: float, x: float) -> float:
    """Return the distance to a bent sheet; its rim is a half torus."""
    dz, dy, dx = z - rows[i, 0], y - rows[i, 1], x - rows[i, 2]
    r = math.sqrt(dz * dz + dy * dy + dx * dx)
    off = r - rows[i, 6]
    cosine = (dz * rows[i, 3] + dy * rows[i, 4] + dx * rows[i, 5]) / max(r, 1e-6)
    chord = rows[i, 6] * math.sqrt(max(2.0 - 2.0 * cosine, 0.0))
    middle = rows[i, 7] - rows[i, 8]  # radius of the sheet's middle surface
    if rows[i, 10] > 0.0 and abs(off) < 120.0:
        off += rows[i, 10] * noise(key, z / rows[i, 11], y / rows[i, 11], x / rows[i, 11])
    out = chord - middle
    swell = min(max(1.0 + out / 80.0, 0.0), 1.0)
    half = rows[i, 8] + rows[i, 9] * swell * swell * (3.0 - 2.0 * swell)
    if out <= 0.0:
        return float(abs(off) - half)
    return float(math.sqrt(off * off + out * out) - half)


@inlined
def barrel_distance(rows: Floats, i: int, z: float, y: float, x: float) -> float:
    """Return the distance to the solid cylinder of a centriole."""
    dz, dy, dx = z - rows[i, 0], y - rows[i, 1], x - rows[i, 2]
    h = dz * rows[i, 3] + dy * rows[i, 4] + dx * rows[i, 5]
    r = math.sqrt(max(dz * dz + dy * dy + dx * dx - h * h, 0.0))
    a, b = abs(h) - rows[i, 9], r - rows[i, 10]
    outside = math.sqrt(max(a, 0.0) ** 2 + max(b, 0.0) ** 2)
    return float(outside + min(max(a, b), 0.0))


@inlined
def prim_distance(
    shape: int, rows: Floats, i: int, key: np.uint64, z: float, y: float, x: float
) -> float:
    """Return the distance to a primitive of any shape but HOLE, for which it is to its centre."""
    if shape == CAPSULE:
        return capsule_distance(rows, i, z, y, x)[0]
    if shape == BALL:
        return ball_distance(rows, i, key, z, y, x)
    if shape == DISC:
        return disc_distance(rows, i, key, z, y, x)
    if shape == BARREL:
        return barrel_distance(rows, i, z, y, x)
    dz, dy, dx = z - rows[i, 0], y - rows[i, 1], x - rows[i, 2]
    return math.sqrt(dz * dz + dy * dy + dx * dx)


@inlined
def ellipsoid_distance(body: Floats, key: np.uint64, z: float, y: float, x: float) -> float:
    """Return the distance to a large body: centre(3), half axes(3), wobble, wavelength.

    First order, exact on the surface of the smooth ellipsoid; far from it only the sign is.
    """
    dz, dy, dx = z - body[0], y - body[1], x - body[2]
    qz, qy, qx = dz / body[3], dy / body[4], dx / body[5]
    k = math.sqrt(qz * qz + qy * qy + qx * qx)
    qz, qy, qx = qz / body[3], qy / body[4], qx / body[5]
    slope = math.sqrt(qz * qz + qy * qy + qx * qx)
    d = k * (k - 1.0) / slope if slope > 1e-12 else -body[3]
    if abs(d) < 1000.0:
        w = body[7]
        d += body[6] * noise(key, z / w, y / w, x / w)
        w *= 0.31
        d += 0.2 * body[6] * noise(key, z / w + 7.5, y / w, x / w)
    return d

"""Rays through a block of parts: where they end, the normal there, the light it receives.

Orthographic rays walk from voxel to voxel (Amanatides and Woo, Eurographics 1987) and leap over
empty bricks.  The normal of a surface is that of its part's smoothed occupancy, so that voxels show
no steps.  How much of the sky and of the lamp a place sees follows from cones through a pyramid of
occupancies (Crassin et al., Computer Graphics Forum 30, 2011).  Places are in voxels, distances
and directions in nm, all ``(z, y, x)``.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.kernels.compiled import compiled, lean

from .shapes import Floats

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

OPENED, REMOVED = 254, 255  # voxels of parts that are not kept in the opened box; removed voxels
FINER = 2  # rays a pixel, along each axis
LEVELS = 5  # of the pyramid: bricks of 2 to 32 voxels an edge
SMOOTH = 2.8  # voxels (their longest edge): reach of the smoothing of surfaces
DEPTH = math.sqrt(2.0 * math.pi / 7.0)  # factor from the occupancy around a place to its depth
AMBIENT, DIFFUSE, GLOSS, SHARP = 0.52, 0.62, 0.16, 24
TILT = 0.5  # cosine between a surface's normal and the four cones around it
ACROSS = math.sqrt(1.0 - TILT * TILT)
# Cones: first sample (voxels), growth from one to the next, width by distance, samples.
SKY, SUN = (2.5, 2.0, 0.4, 4), (3.0, 1.25, 0.12, 24)
NEUTRAL_GREY = 125.0  # the grey that shows a colour as it is
CUT_LIGHT = 0.55  # a cut face is a picture: light changes it less
FADE = 0.22  # share of the background in the colour of the far end of the block
ALONG, FAR = 1e-9, 1e30  # a ray along an axis' planes crosses them almost nowhere


class Block(NamedTuple):
    """The scene of the rays.

    ``whole`` and ``shown`` are part numbers before and after cutting, ``levels`` the pyramid of
    occupancies, ``grey`` the micrograph: all uint8 ``(z, y, x)``.  ``voxel`` is (3,) nm; of each
    part number, ``colours`` is (n, 3), ``opacities`` and ``kept`` (n,).
    """

    whole: Bytes
    shown: Bytes
    levels: tuple[Bytes, ...]
    grey: Bytes
    voxel: Floats
    colours: Floats
    opacities: Floats
    kept: NDArray[np.bool_]


class Ray(NamedTuple):
    """Buffers of one ray: its voxel; start and place in voxels; directions in nm; its colour."""

    at: Ints
    start: Floats
    place: Floats
    normal: Floats
    side: Floats
    direction: Floats
    colour: Floats
    weights: Floats


@lean
def _enter(start: Floats, ray: Floats, shape: Ints, at: Ints) -> tuple[float, int]:
    """Find the first voxel ``at``; return its distance (below 0: none) and the axis crossed."""
    first, last, axis = 0.0, FAR, 0
    for k in range(3):
        a, b = -start[k] / ray[k], (shape[k] - start[k]) / ray[k]
        if min(a, b) > first:
            first, axis = min(a, b), k
        last = min(last, max(a, b))
    if first >= last:
        return -1.0, 0
    for k in range(3):
        at[k] = min(max(math.floor(start[k] + first * ray[k]), 0), shape[k] - 1)
    return first, axis


@lean
def _walk(
    block: Block, start: Floats, ray: Floats, shape: Ints, at: Ints, distance: float, axis: int
) -> tuple[float, int]:
    """Walk from voxel ``at`` to the first of a part; return as :func:`_enter` does."""
    while True:
        z, y, x = at[0], at[1], at[2]
        if 0 < block.shown[z, y, x] < OPENED:
            return distance, axis
        edge = 1
        if block.levels[4][z >> 5, y >> 5, x >> 5] == 0:
            edge = 32
        elif block.levels[2][z >> 3, y >> 3, x >> 3] == 0:
            edge = 8
        elif block.levels[0][z >> 1, y >> 1, x >> 1] == 0:
            edge = 2
        distance = FAR
        for k in range(3):
            low = at[k] // edge * edge
            side = min(low + edge, shape[k]) if ray[k] > 0 else low
            if (side - start[k]) / ray[k] < distance:
                distance, axis = (side - start[k]) / ray[k], k
        for k in range(3):
            low = at[k] // edge * edge
            if k != axis:  # rounding must not carry a ray out of the brick it crosses
                there = math.floor(start[k] + distance * ray[k])
                at[k] = min(max(there, low), min(low + edge, shape[k]) - 1)
            elif ray[k] > 0:
                at[k] = low + edge
            else:
                at[k] = low - 1
        if not 0 <= at[axis] < shape[axis]:
            return -1.0, axis


@lean
def _is_cut(block: Block, ray: Floats, at: Ints, axis: int) -> bool:
    """Whether the face through which a ray entered voxel ``at`` was made by cutting."""
    own = block.shown[at[0], at[1], at[2]]
    at[axis] -= 1 if ray[axis] > 0 else -1
    outside = not 0 <= at[axis] < block.shown.shape[axis]
    before = 0 if outside else block.shown[at[0], at[1], at[2]]
    at[axis] += 1 if ray[axis] > 0 else -1
    return bool(outside or before == REMOVED or (before == OPENED and not block.kept[own]))


@lean
def _face(block: Block, own: int, place: Floats, weights: Floats, out: Floats) -> float:
    """Write the outward unit normal of a part's smoothed occupancy; return how deep a place is.

    The depth, nm, is that in a half space as full as what is around the place.
    """
    shape, voxel = block.whole.shape, block.voxel
    reach = SMOOTH * max(voxel[0], voxel[1], voxel[2])
    rz, ry, rx = int(reach / voxel[0]) + 1, int(reach / voxel[1]) + 1, int(reach / voxel[2]) + 1
    iz, iy, ix = int(place[0]), int(place[1]), int(place[2])
    every = 1.0
    for k, n in ((0, rz), (1, ry), (2, rx)):
        total = 0.0
        for a in range(-n, n + 1):
            off = (int(place[k]) + a + 0.5 - place[k]) * voxel[k] / reach
            weights[k, a + n] = max(1.0 - off * off, 0.0) ** 2
            total += weights[k, a + n]
        every *= total
    full = 0.0
    out[:] = 0.0
    for z in range(iz - rz, iz + rz + 1):
        for y in range(iy - ry, iy + ry + 1):
            w = weights[0, z - iz + rz] * weights[1, y - iy + ry]
            near = block.whole[min(max(z, 0), shape[0] - 1), min(max(y, 0), shape[1] - 1)]
            for x in range(ix - rx, ix + rx + 1):
                if near[min(max(x, 0), shape[2] - 1)] == own:
                    v = w * weights[2, x - ix + rx]
                    full += v
                    out[0] -= v * (z + 0.5 - place[0]) * voxel[0]
                    out[1] -= v * (y + 0.5 - place[1]) * voxel[1]
                    out[2] -= v * (x + 0.5 - place[2]) * voxel[2]
    length = max(math.sqrt(out[0] ** 2 + out[1] ** 2 + out[2] ** 2), 1e-12)
    for k in range(3):
        out[k] /= length
    return float((full / every - 0.5) * DEPTH * reach)


@lean
def _mixed(values: Bytes, z: float, y: float, x: float) -> float:
    """Return a linear mixture of the cells around a place; beyond the volume is nothing."""
    z, y, x = z - 0.5, y - 0.5, x - 0.5
    iz, iy, ix = math.floor(z), math.floor(y), math.floor(x)
    total = 0.0
    for a in range(max(iz, 0), min(iz + 2, values.shape[0])):
        for b in range(max(iy, 0), min(iy + 2, values.shape[1])):
            w = (1.0 - abs(z - a)) * (1.0 - abs(y - b))
            for c in range(max(ix, 0), min(ix + 2, values.shape[2])):
                total += w * (1.0 - abs(x - c)) * values[a, b, c]
    return total


@lean
def _passing(
    block: Block, place: Floats, direction: Floats, first: float, grow: float, wide: float,
    count: int,
) -> float:  # fmt: skip
    """Return how much light a cone lets through, from ``count`` samples ever farther (voxels)."""
    shape, voxel = block.shown.shape, block.voxel
    unit = min(voxel[0], voxel[1], voxel[2])
    light, far = 1.0, first
    for _ in range(count):
        z = place[0] + direction[0] * far * unit / voxel[0]
        y = place[1] + direction[1] * far * unit / voxel[1]
        x = place[2] + direction[2] * far * unit / voxel[2]
        if not (0 <= z < shape[0] and 0 <= y < shape[1] and 0 <= x < shape[2]) or light < 0.02:
            break
        level = min(int(math.log2(max(far * wide, 1.0))), LEVELS - 1)
        cell = 2.0 ** (level + 1)
        full = _mixed(block.levels[level], z / cell, y / cell, x / cell) / 255.0
        light *= 1.0 - min(1.0, far * (grow - 1.0) / cell) * full
        far *= grow
    return light


@lean
def _sky(block: Block, ray: Ray) -> float:
    """Return how much of the sky a place sees: one cone along its normal, four around it."""
    normal, side = ray.normal, ray.side
    least = 0
    for k in range(1, 3):
        if abs(normal[k]) < abs(normal[least]):
            least = k
    length = math.sqrt(1.0 - normal[least] ** 2)
    for k in range(3):
        side[0, k] = ((1.0 if k == least else 0.0) - normal[least] * normal[k]) / length
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        side[1, k] = normal[i] * side[0, j] - normal[j] * side[0, i]
    seen = 0.32 * _passing(block, ray.place, normal, *SKY)
    for n in range(4):
        for k in range(3):
            ray.direction[k] = TILT * normal[k] + (1 - n // 2 * 2) * ACROSS * side[n % 2, k]
        seen += 0.17 * _passing(block, ray.place, ray.direction, *SKY)
    return seen


@lean
def _shade(block: Block, ray: Ray, own: int, cut: bool, into: Floats, lamp: Floats) -> None:
    """Write the colour of a part at a place with its normal, from 0 up, 255 is white."""
    normal, place = ray.normal, ray.place
    for k in range(3):
        ray.colour[k] = block.colours[own, k]
    if cut and block.grey.size > 1:
        for k in range(3):  # the middle of the voxel behind the face, not beyond the volume
            middle = place[k] - normal[k] / 2
            ray.direction[k] = min(max(middle, 0.5), block.grey.shape[k] - 0.5)
        grey = _mixed(block.grey, ray.direction[0], ray.direction[1], ray.direction[2])
        for k in range(3):
            # Grey keeps its contrast below a colour.
            tint = block.colours[own, k] / NEUTRAL_GREY - 1.0
            ray.colour[k] = grey * (1.0 + block.opacities[own] * tint)
    unit = min(block.voxel[0], block.voxel[1], block.voxel[2])
    facing, half, size = 0.0, 0.0, 0.0
    for k in range(3):
        facing += normal[k] * lamp[k]
        half += normal[k] * (lamp[k] - into[k])
        size += (lamp[k] - into[k]) ** 2
        place[k] += normal[k] * unit / block.voxel[k]  # away from the surface's own voxels
    sun = facing * _passing(block, place, lamp, *SUN) if facing > 0.0 else 0.0
    light = AMBIENT * _sky(block, ray) + DIFFUSE * sun
    shine = 0.0
    if cut:
        light = CUT_LIGHT + (1.0 - CUT_LIGHT) * light
    elif sun > 0.0:
        shine = 255.0 * GLOSS * (sun / facing) * (max(half, 0.0) / math.sqrt(size)) ** SHARP
    for k in range(3):
        ray.colour[k] = min(ray.colour[k] * light + shine, 255.0)


@lean
def _smoothed(block: Block, ray: Ray, own: int, step: Floats, into: Floats) -> float:
    """Move a place along its ray to the smoothed surface; return normal times direction."""
    deep = _face(block, own, ray.place, ray.weights, ray.normal)
    against = ray.normal[0] * into[0] + ray.normal[1] * into[1] + ray.normal[2] * into[2]
    most = max(block.voxel[0], block.voxel[1], block.voxel[2])
    if abs(deep) < 0.5 * most and against < -0.1:  # a thin part has no inside to start from
        for k in range(3):
            there = ray.place[k] + min(max(deep / against, -most), most) * step[k]
            ray.place[k] = min(max(there, 1e-6), block.whole.shape[k] - 1e-6)
        _face(block, own, ray.place, ray.weights, ray.normal)
        against = ray.normal[0] * into[0] + ray.normal[1] * into[1] + ray.normal[2] * into[2]
    return float(against)


@lean
def _trace_ray(
    block: Block, ray: Ray, shape: Ints, step: Floats, into: Floats, lamp: Floats
) -> float:
    """Trace a ray of ``step`` voxels a nm; write its colour; return its distance, < 0: none."""
    distance, axis = _enter(ray.start, step, shape, ray.at)
    if distance >= 0.0:
        distance, axis = _walk(block, ray.start, step, shape, ray.at, distance, axis)
    if distance < 0.0:
        return distance
    own = block.shown[ray.at[0], ray.at[1], ray.at[2]]
    cut = _is_cut(block, step, ray.at, axis)
    against = 0.0
    for k in range(3):
        there = ray.start[k] + distance * step[k]
        ray.place[k] = min(max(there, ray.at[k] + 1e-6), ray.at[k] + 1.0 - 1e-6)
    if not cut:
        against = _smoothed(block, ray, own, step, into)
    if cut or against >= 0.0:  # a part thinner than a step may seem to face away
        for k in range(3):
            ray.normal[k] = 0.0
        ray.normal[axis] = -1.0 if step[axis] > 0 else 1.0
    _shade(block, ray, own, cut, into, lamp)
    return distance


@compiled
def trace(
    block: Block, corner: Floats, right: Floats, down: Floats, into: Floats, lamp: Floats,
    deep: float, background: Floats, image: Bytes,
) -> None:  # fmt: skip
    """Fill the image: FINER x FINER rays a pixel, paler with the distance."""
    shape = np.array(block.shown.shape)
    widest = 2 * int(SMOOTH * block.voxel.max() / block.voxel.min()) + 3
    ray = Ray(
        np.zeros(3, np.int64), np.zeros(3), np.zeros(3), np.zeros(3), np.zeros((2, 3)),
        np.zeros(3), np.zeros(3), np.zeros((3, widest)),
    )  # fmt: skip
    step, total = np.empty(3), np.empty(3)
    for k in range(3):
        step[k] = (into[k] if abs(into[k]) > ALONG else ALONG) / block.voxel[k]
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            total[:] = 0.5
            for n in range(FINER * FINER):
                i, j = row * FINER + n // FINER, column * FINER + n % FINER
                for k in range(3):
                    ray.start[k] = (corner[k] + i * down[k] + j * right[k]) / block.voxel[k]
                distance = _trace_ray(block, ray, shape, step, into, lamp)
                pale = 1.0 if distance < 0.0 else min(max(distance / deep - 0.5, 0.0), 1.0) * FADE
                for k in range(3):
                    seen = ray.colour[k] + pale * (background[k] - ray.colour[k])
                    total[k] += seen / (FINER * FINER)
            for k in range(3):
                image[row, column, k] = int(total[k])

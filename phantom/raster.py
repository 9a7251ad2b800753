"""From the world to voxels: materials, things and tones of a box.

Bricks of 8 voxels an edge form a lattice fixed to the volume, not to the box.  The primitives near
a brick are looked up once, so a voxel is resolved from the same list in every box.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fibstream.kernels.compiled import compiled, inlined, lean

from . import sizes
from .insides import (
    TONE,
    centriole_parts,
    chromatin_coarse,
    chromatin_fine,
    coverage,
    inside_lysosome,
    inside_mito,
    inside_mvb,
    inside_nucleus,
    interpolate,
    mix,
)  # fmt: skip
from .materials import MATERIAL as M
from .materials import Kind
from .near import FAR, GROUPS, NEAR, NOTHING, ROOT_BLEND, Near, gather, new_near
from .scene import BRICK, World
from .shapes import Floats, ball_distance, capsule_distance, ellipsoid_distance, prim_distance
from .tissue import CLEFT, CLEFT_TONE, process, tone_of

LINING_DEPTH = 260.0  # nm below the envelope: the lining of dense chromatin ends there
Bytes = NDArray[np.uint8]
Ints = NDArray[np.int32]
_MEMBRANE = np.zeros(len(Kind), np.uint8)  # membrane and lumen of the round organelles
_LUMEN = np.zeros(len(Kind), np.uint8)
for _kind, _outer, _inner in (
    (Kind.GOLGI, M.GOLGI_MEMBRANE, M.GOLGI_LUMEN),
    (Kind.VESICLE, M.VESICLE_MEMBRANE, M.VESICLE_LUMEN),
    (Kind.MVB, M.MVB_MEMBRANE, M.MVB_LUMEN),
    (Kind.LYSOSOME, M.LYSO_MEMBRANE, M.LYSO_LUMEN),
    (Kind.LD, M.LD_MEMBRANE, M.LD_LUMEN),
    (Kind.TUBULE, M.TUBULE_OUT, M.TUBULE_IN),
):
    _MEMBRANE[_kind], _LUMEN[_kind] = _outer, _inner


@inlined
def pore_near(near: Near, z: float, y: float, x: float) -> tuple[float, int]:
    """Return the distance to the axis of the nearest pore, and the pore."""
    best, which = FAR, NOTHING
    for i in range(near.group[Kind.PORE], near.group[Kind.PORE + 1]):
        p = i
        dz, dy, dx = z - near.rows[p, 0], y - near.rows[p, 1], x - near.rows[p, 2]
        h = dz * near.rows[p, 3] + dy * near.rows[p, 4] + dx * near.rows[p, 5]
        r = math.sqrt(max(dz * dz + dy * dy + dx * dx - h * h, 0.0))
        if r < best:
            best, which = r, i
    return best, which


@inlined
def cell_surface(near: Near, d_p: float, z: float, y: float, x: float) -> float:
    """Return the distance to the plasma membrane with its microvilli, blended at their roots."""
    best = FAR
    for i in range(near.group[Kind.PM], near.group[Kind.PM + 1]):
        best = min(best, prim_distance(near.shape[i], near.rows, i, near.keys[2], z, y, x))
    if best == FAR:
        return d_p
    low, high = min(best, d_p), max(best, d_p)
    h = max(ROOT_BLEND - (high - low), 0.0) / ROOT_BLEND
    return low - 0.25 * h * h * ROOT_BLEND


@inlined
def envelope(near: Near, d_n: float, z: float, y: float, x: float) -> tuple[float, float, int]:
    """Return the distance to the nuclear envelope, that to the nearest pore's axis, and the pore.

    The envelope is a shell with holes; at a hole its two membranes meet in a rounded rim.
    """
    half = 0.5 * sizes.ENVELOPE
    off = abs(d_n + half)
    if off > half + 80.0 or near.group[Kind.PORE] == near.group[Kind.PORE + 1]:
        return off - half, FAR, NOTHING
    pore, hole = pore_near(near, z, y, x)
    gone = max(sizes.PORE_HOLE + half - pore, 0.0)
    return math.sqrt(off * off + gone * gone) - half, pore, hole


@inlined
def blend(a: float, b: float) -> float:
    """Return the smooth union of two distances; it rounds within ER_BLEND where they cross."""
    low, high = min(a, b), max(a, b)
    h = max(sizes.ER_BLEND - (high - low), 0.0) / sizes.ER_BLEND
    return low - 0.25 * h * h * sizes.ER_BLEND


@inlined
def reticulum(near: Near, shell: float, z: float, y: float, x: float) -> tuple[float, float, int]:
    """Return the distance to ER and envelope, that to ER alone, and the nearest ER primitive.

    Primitives of one tubule join sharply; different tubules, sheets and the envelope blend.
    """
    first, second = shell, FAR  # the two nearest branches
    alone, which, branch, own = FAR, NOTHING, -1, FAR
    for i in range(near.group[Kind.ER], near.group[Kind.ER + 1]):
        p = i
        d = prim_distance(near.shape[p], near.rows, p, near.keys[2], z, y, x)
        if d < alone:
            alone, which = d, p
        if near.branch[p] == branch:
            own = min(own, d)
            continue
        if own < first:
            first, second = own, first
        else:
            second = min(second, own)
        branch, own = near.branch[p], d
    if own < first:
        first, second = own, first
    else:
        second = min(second, own)
    return blend(first, second), alone, which


@inlined
def nearest(near: Near, z: float, y: float, x: float) -> tuple[float, int]:
    """Return the distance to the nearest organelle other than the reticulum, and its primitive."""
    best, which = FAR, NOTHING
    for i in range(near.group[Kind.MITO], near.group[Kind.CENTROSOME]):
        p = i
        d = prim_distance(near.shape[p], near.rows, p, near.keys[2], z, y, x)
        if d < best:
            best, which = d, p
    for i in range(near.group[Kind.CENTROSOME], near.group[Kind.CENTROSOME + 1]):
        _, distal, subdistal = centriole_parts(near.rows, i, z, y, x)
        d = prim_distance(near.shape[i], near.rows, i, near.keys[2], z, y, x)
        d = min(d, distal, subdistal)
        if d < best:
            best, which = d, i
    return best, which


@inlined
def inside_organelle(
    near: Near, p: int, d: float, thick: float, soft: float, z: float, y: float, x: float
) -> tuple[int, float]:
    """Return material and tone of a place ``-d`` nm below the surface of primitive ``p``."""
    kind, rows = near.kind[p], near.rows
    if kind == Kind.MITO:
        t = capsule_distance(rows, p, z, y, x)[1]
        return inside_mito(near.keys, rows, p, t, -d, near.thing[p], soft, z, y, x)
    if kind == Kind.CENTROSOME:
        triplet, distal, subdistal = centriole_parts(rows, p, z, y, x)
        if distal < 0.0:
            return M.DISTAL, TONE[M.DISTAL]
        if subdistal < 0.0:
            return M.SUBDISTAL, TONE[M.SUBDISTAL]
        dark = min(max(0.5 - triplet / 8.0, 0.0), 1.0)
        return M.CENTROSOME, mix(0.6, 0.2, dark)
    wall = thick
    real = sizes.MEMBRANE
    if kind == Kind.TUBULE:
        real = sizes.TUBULE_OUT - sizes.TUBULE_IN
        wall = real if thick <= sizes.MEMBRANE else min(thick, sizes.TUBULE_OUT)
    elif kind == Kind.LD:
        real = sizes.DROPLET_SHELL
    material, tone = int(_LUMEN[kind]), TONE[_LUMEN[kind]]
    if kind == Kind.MVB:
        material, tone = inside_mvb(near.keys, rows, p, soft, z, y, x)
    elif kind == Kind.LYSOSOME:
        material, tone = inside_lysosome(near.keys, z, y, x)
    if d > -wall:
        material = int(_MEMBRANE[kind])
    return material, mix(tone, TONE[_MEMBRANE[kind]], coverage(d, real, soft))


@inlined
def in_nucleus(
    near: Near, depth: float, soft: float, z: float, y: float, x: float
) -> tuple[int, int, float]:
    """Resolve a place below the inner nuclear membrane."""
    nucleolus, which = FAR, NOTHING
    for i in range(near.group[Kind.NUCLEOLUS], near.group[Kind.NUCLEOLUS + 1]):
        d = ball_distance(near.rows, i, near.keys[2], z, y, x)
        if d < nucleolus:
            nucleolus, which = d, i
    pore = pore_near(near, z, y, x)[0] if depth < 150.0 else FAR
    f = near.frame
    tz, ty, tx = (z - f[0]) * f[3], (y - f[1]) * f[4], (x - f[2]) * f[5]
    coarse = interpolate(near.texture[0], tz, ty, tx)
    middle = interpolate(near.texture[1], tz, ty, tx)
    fine = chromatin_fine(near.keys[3], z, y, x)
    material, tone = inside_nucleus(coarse, middle, fine, depth, nucleolus, pore)
    edge = min(max(0.5 - depth / soft, 0.0), 1.0)  # a part of the membrane lies in the voxel
    thing = near.thing[which] if material == M.NUCLEOLUS else NOTHING
    return material, thing, mix(tone, TONE[M.NE_MEMBRANE], edge)


@inlined
def outside_cell(
    key: np.uint64, d_p: float, thick: float, soft: float, z: float, y: float, x: float
) -> tuple[int, int, float]:
    """Resolve a place outside the cell in a tissue."""
    depth, word = process(key, z, y, x)
    d = max(-depth, CLEFT - d_p)
    dark = max(coverage(d, sizes.MEMBRANE, soft), coverage(d_p, sizes.MEMBRANE, soft))
    if d > 0.0:
        return M.ECS, NOTHING, mix(CLEFT_TONE, TONE[M.PM], dark)
    tone = mix(tone_of(word, TONE[M.CYTOSOL]), TONE[M.PM], dark)
    return (M.PM if d > -thick else M.CYTOSOL), NOTHING, tone


@inlined
def sample(  # noqa: PLR0911
    near: Near, d_n: float, d_p: float, thick: float, soft: float,
    z: float, y: float, x: float,
) -> tuple[int, int, float]:  # fmt: skip
    """Return material, thing and tone of a place.

    ``d_n`` and ``d_p`` are the distances to nucleus and plasma membrane, ``thick`` is the width
    of a membrane in labels, ``soft`` the edge of a voxel, all in nm.
    """
    d_p = cell_surface(near, d_p, z, y, x)
    if near.tissue and d_p > 0.0:
        return outside_cell(near.keys[6], d_p, thick, soft, z, y, x)
    if d_p > -thick:
        dark = coverage(d_p, sizes.MEMBRANE, soft)
        material = M.ECS if d_p > 0.0 else M.PM
        return material, NOTHING, mix(TONE[M.ECS if d_p > -3.5 else M.CYTOSOL], TONE[M.PM], dark)
    if d_n < -sizes.ENVELOPE:
        return in_nucleus(near, -d_n - sizes.ENVELOPE, soft, z, y, x)
    shell, pore, hole = envelope(near, d_n, z, y, x)
    e, alone, prim = shell, FAR, NOTHING
    if near.group[Kind.ER] < near.group[Kind.ER + 1]:
        e, alone, prim = reticulum(near, shell, z, y, x)
    o, which = nearest(near, z, y, x)
    if o < 0.0 and o <= e:
        material, tone = inside_organelle(near, which, o, thick, soft, z, y, x)
        return material, near.thing[which], tone
    if e < 0.0:
        tone = mix(TONE[M.ER_LUMEN], TONE[M.ER_MEMBRANE], coverage(e, sizes.MEMBRANE, soft))
        if shell <= alone:
            return (M.NE_MEMBRANE if e > -thick else M.NE_LUMEN), NOTHING, tone
        thing = near.thing[prim]
        for i in range(near.group[Kind.ERES], near.group[Kind.ERES + 1]):
            if ball_distance(near.rows, i, near.keys[2], z, y, x) < 0.0:
                material = M.ERES_MEMBRANE if e > -thick else M.ERES_LUMEN
                return material, near.thing[i], mix(tone, 0.3, 0.25)
        return (M.ER_MEMBRANE if e > -thick else M.ER_LUMEN), thing, tone
    if pore < sizes.PORE_RIM and abs(d_n + 0.5 * sizes.ENVELOPE) < 0.5 * sizes.ENVELOPE + 8.0:
        material = M.PORE_IN if pore < sizes.PORE_IN else M.PORE_OUT
        return material, near.thing[hole], TONE[material]
    dark = coverage(e, sizes.MEMBRANE, soft)
    if which >= 0 and near.kind[which] != Kind.CENTROSOME:
        dark = max(dark, coverage(o, sizes.MEMBRANE, soft))
    dark = max(dark, coverage(d_p, sizes.MEMBRANE, soft))
    return M.CYTOSOL, NOTHING, mix(TONE[M.CYTOSOL], TONE[M.ER_MEMBRANE], dark)


@compiled
def rasterize(
    world: World, origin: NDArray[np.int64], material: Bytes, thing: Ints, tone: Bytes
) -> None:
    """Write materials, things and tones of a box.

    Parameters
    ----------
    world : World
        The placed cell.
    origin : (3,) int64
        First voxel of the box, which may lie outside of the volume.
    material : (z, y, x) uint8
        Output: see :mod:`.materials`.
    thing : (z, y, x) int32
        Output: index of the thing, -1 for none.
    tone : (z, y, x) uint8
        Output: brightness from 0 (darkest stain) to 255 (empty resin).
    """
    v = world.voxel
    near = new_near(world)
    half = 0.5 * BRICK * math.sqrt(v[0] ** 2 + v[1] ** 2 + v[2] ** 2)
    nz, ny, nx = material.shape
    for bz in range(origin[0] // BRICK, (origin[0] + nz - 1) // BRICK + 1):
        for by in range(origin[1] // BRICK, (origin[1] + ny - 1) // BRICK + 1):
            for bx in range(origin[2] // BRICK, (origin[2] + nx - 1) // BRICK + 1):
                _brick(world, origin, material, thing, tone, bz, by, bx, half, near)


@lean
def _set_texture(near: Near, z: float, y: float, x: float, voxel: Floats) -> None:
    """Compute the slow textures of chromatin at the corners of the brick that begins at a place.

    They change little within a brick, so voxels interpolate between the corners; neighbouring
    bricks share corners, so there is no seam.
    """
    near.frame[0], near.frame[1], near.frame[2] = z, y, x
    for k in range(3):
        near.frame[3 + k] = 1.0 / (BRICK * voxel[k])
    for n in range(8):
        near.texture[0, n], near.texture[1, n] = chromatin_coarse(
            near.keys[3], z + (n >> 2) * BRICK * voxel[0], y + (n >> 1 & 1) * BRICK * voxel[1],
            x + (n & 1) * BRICK * voxel[2],
        )  # fmt: skip


@lean
def _brick(
    world: World, origin: NDArray[np.int64], material: Bytes, thing: Ints, tone: Bytes,
    bz: int, by: int, bx: int, half: float, near: Near,
) -> None:  # fmt: skip
    """Fill the part of the box that lies in one brick."""
    v = world.voxel
    cz, cy, cx = (bz + 0.5) * BRICK * v[0], (by + 0.5) * BRICK * v[1], (bx + 0.5) * BRICK * v[2]
    c_n, c_p = FAR, ellipsoid_distance(world.bodies[1], world.keys[1], cz, cy, cx)
    if world.has_nucleus:
        c_n = ellipsoid_distance(world.bodies[0], world.keys[0], cz, cy, cx)
    soft = max(v[0], v[1], v[2])
    gather(world, near, cz, cy, cx, half + NEAR + 0.5 * soft)
    thick = max(sizes.MEMBRANE, sizes.MIN_DRAWN_VOXELS * soft)
    near_p = near.group[Kind.PM] < near.group[Kind.PM + 1] or abs(c_p) < 1.3 * half + thick + soft
    near_n = -LINING_DEPTH - 1.3 * half < c_n < 1.3 * half + NEAR + soft
    if c_n < 0.0 or near_n:
        _set_texture(near, bz * BRICK * v[0], by * BRICK * v[1], bx * BRICK * v[2], v)
    z0, z1 = max(bz * BRICK, origin[0]), min((bz + 1) * BRICK, origin[0] + material.shape[0])
    y0, y1 = max(by * BRICK, origin[1]), min((by + 1) * BRICK, origin[1] + material.shape[1])
    x0, x1 = max(bx * BRICK, origin[2]), min((bx + 1) * BRICK, origin[2] + material.shape[2])
    empty = near.group[GROUPS - 1] == 0 and not near_p and c_n > 0.0 and not near_n
    empty = empty and not (world.tissue and c_p > 0.0)
    for iz in range(z0, z1):
        z = (iz + 0.5) * v[0]
        for iy in range(y0, y1):
            y = (iy + 0.5) * v[1]
            for ix in range(x0, x1):
                x = (ix + 0.5) * v[2]
                d_n, d_p = c_n, c_p
                if near_p:
                    d_p = ellipsoid_distance(world.bodies[1], world.keys[1], z, y, x)
                if near_n:
                    d_n = ellipsoid_distance(world.bodies[0], world.keys[0], z, y, x)
                if empty:
                    m = M.ECS if d_p > 0.0 else M.CYTOSOL
                    t, g = NOTHING, TONE[m]
                else:
                    m, t, g = sample(near, d_n, d_p, thick, soft, z, y, x)
                a, b, c = iz - origin[0], iy - origin[1], ix - origin[2]
                material[a, b, c] = m
                thing[a, b, c] = t
                tone[a, b, c] = np.uint8(min(max(g, 0.0), 1.0) * 255.0 + 0.5)

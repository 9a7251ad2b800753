"""The inside of organelles: cristae, nucleoids, small vesicles, triplets, chromatin.

Every function takes a place, ``z, y, x`` in nm, and returns a material and a tone: the brightness
from 0 (darkest stain) to 1 (empty resin) that the micrograph shows there.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fibstream.kernels.compiled import inlined, lean

from . import sizes
from .hashing import bits, noise, unit
from .materials import MATERIAL as M
from .shapes import Floats, ball_distance

Keys = NDArray[np.uint64]
_TURN = 2.0 * math.pi * np.arange(9) / 9.0  # nine-fold, as every centriole
COS9, SIN9 = np.cos(_TURN), np.sin(_TURN)

# Tones by material: how a membrane-stained block looks (osmium, uranyl, lead), by eye from
# public FIB-SEM volumes; the look of a specification maps them to grey levels.
TONE = np.full(len(M), 0.72)
for _material, _tone in {
    M.ECS: 0.97, M.CYTOSOL: 0.74, M.MITO_SPACE: 0.45, M.MATRIX: 0.40, M.CRISTA_SPACE: 0.50,
    M.NUCLEOID: 0.52, M.GOLGI_LUMEN: 0.70, M.VESICLE_LUMEN: 0.80, M.MVB_LUMEN: 0.80,
    M.ILV_LUMEN: 0.62, M.LYSO_LUMEN: 0.30, M.LD_LUMEN: 0.44, M.ER_LUMEN: 0.80, M.ERES_LUMEN: 0.70,
    M.NE_LUMEN: 0.82, M.PORE_OUT: 0.36, M.PORE_IN: 0.50, M.HCHROM: 0.38, M.NHCHROM: 0.36,
    M.ECHROM: 0.60, M.NECHROM: 0.58, M.NUCLEOPLASM: 0.72, M.NUCLEOLUS: 0.32, M.TUBULE_IN: 0.62,
    M.TUBULE_OUT: 0.30, M.CENTROSOME: 0.45, M.DISTAL: 0.38, M.SUBDISTAL: 0.40, M.RIBOSOME: 0.26,
}.items():  # fmt: skip
    TONE[_material] = _tone
for _name, _material in M._asdict().items():
    if "MEMBRANE" in _name or _name in ("PM", "MITO_OUTER", "MITO_INNER"):
        TONE[_material] = 0.05
TONE[M.CRISTA_MEMBRANE] = 0.12
TONE.setflags(write=False)


@inlined
def mix(a: float, b: float, share: float) -> float:
    """Return ``a`` and ``b`` mixed, ``share`` of the latter."""
    return a + (b - a) * share


@inlined
def coverage(d: float, thick: float, soft: float) -> float:
    """Return how much of a voxel a layer from ``d = -thick`` to 0 covers; ``soft`` is its edge."""
    full = min(1.0, thick / soft)
    return min(max((0.5 * (thick + soft) - abs(d + 0.5 * thick)) / soft, 0.0), full)


@inlined
def inside_mito(
    keys: Keys, rows: Floats, i: int, t: float, depth: float, thing: int, soft: float,
    z: float, y: float, x: float,
) -> tuple[int, float]:  # fmt: skip
    """Resolve a place ``depth`` nm below the surface of a mitochondrion.

    Cristae are sheets across the tube, tilted alike within one mitochondrion, each attached on
    one side and reaching a random part of the way to the other; ``i`` and ``t`` are the nearest
    capsule and the fraction of its axis.
    """
    wall = sizes.MITO_OUTER + sizes.MITO_SPACE
    if depth < wall + sizes.MITO_INNER:
        dark = coverage(-depth, sizes.MITO_OUTER, soft)
        dark += coverage(wall - depth, sizes.MITO_INNER, soft)
        tone = mix(TONE[M.MITO_SPACE], TONE[M.MITO_OUTER], min(dark, 1.0))
        if depth < sizes.MITO_OUTER:
            return M.MITO_OUTER, tone
        return (M.MITO_SPACE if depth < wall else M.MITO_INNER), tone
    length = math.sqrt(rows[i, 3] ** 2 + rows[i, 4] ** 2 + rows[i, 5] ** 2)
    arc = rows[i, 9] + t * length
    wz, wy, wx = (
        z - rows[i, 0] - t * rows[i, 3],
        y - rows[i, 1] - t * rows[i, 4],
        x - rows[i, 2] - t * rows[i, 5],
    )
    radius = rows[i, 7] + t * rows[i, 8]
    d = nucleoid(keys[4], thing, arc, wz, wy, wx, radius)
    if d < 0.0:
        return M.NUCLEOID, TONE[M.NUCLEOID]
    d = min(d, 30.0)
    c = crista(keys[4], thing, arc, radius, wz, wy, wx, z, y, x)
    if d < 8.0:
        c = max(c, 8.0 - d)
    tone = mix(TONE[M.MATRIX], TONE[M.CRISTA_SPACE], min(max(0.5 - c / soft, 0.0), 1.0))
    tone = mix(tone, TONE[M.CRISTA_MEMBRANE], coverage(c, sizes.CRISTA_MEMBRANE, soft))
    tone = mix(tone, TONE[M.MITO_INNER], coverage(wall - depth, sizes.MITO_INNER, soft))
    if c > 0.0:
        return M.MATRIX, tone
    return (M.CRISTA_MEMBRANE if c > -sizes.CRISTA_MEMBRANE else M.CRISTA_SPACE), tone


@inlined
def crista(
    key: np.uint64, thing: int, arc: float, radius: float,
    wz: float, wy: float, wx: float, z: float, y: float, x: float,
) -> float:  # fmt: skip
    """Return the signed distance to the nearest crista."""
    h = bits(key, thing, 0, 0)
    step = sizes.CRISTA_STEP * (0.8 + 0.5 * unit(h))
    h = bits(key, thing, 0, 1)
    tz, ty = float(h & np.uint64(1023)) / 512.0 - 1.0, float(h >> np.uint64(54)) / 512.0 - 1.0
    u = arc + 0.6 * (wz * tz + wy * ty + wx * (tz - ty) * 0.7)
    u += 34.0 * noise(key, z / 150.0, y / 150.0, x / 150.0)
    k = math.floor(u / step)
    off = u - (k + 0.5) * step
    h = bits(key, thing, 1, int(k))
    sz = float(h & np.uint64(1023)) / 512.0 - 1.0
    sy = float((h >> np.uint64(20)) & np.uint64(1023)) / 512.0 - 1.0
    sx = float((h >> np.uint64(40)) & np.uint64(1023)) / 512.0 - 1.0
    size = math.sqrt(sz * sz + sy * sy + sx * sx) + 1e-9
    side = (wz * sz + wy * sy + wx * sx) / size
    reach = -0.95 + 0.95 * float(h >> np.uint64(54)) / 1024.0
    short = max(reach * radius - side, 0.0)
    return math.sqrt(off * off + short * short) - 0.5 * sizes.CRISTA


@inlined
def nucleoid(
    key: np.uint64, thing: int, arc: float, wz: float, wy: float, wx: float, radius: float
) -> float:
    """Return the signed distance to the nearest nucleoid of the tube."""
    step = sizes.NUCLEOID_STEP
    k = math.floor(arc / step)
    h = bits(key, thing, 2, int(k))
    centre = (k + 0.2 + 0.6 * unit(h)) * step
    free_radius = max(radius - 85.0, 0.0) * 0.5
    oz = free_radius * (float(h & np.uint64(1023)) / 512.0 - 1.0)
    oy = free_radius * (float((h >> np.uint64(10)) & np.uint64(1023)) / 512.0 - 1.0)
    along = 0.75 * (arc - centre)
    flat = (wz - oz) ** 2 + (wy - oy) ** 2 + wx * wx
    return math.sqrt(along * along + flat) - min(sizes.NUCLEOID, 0.36 * radius)


@inlined
def inside_mvb(
    keys: Keys, rows: Floats, i: int, soft: float, z: float, y: float, x: float
) -> tuple[int, float]:
    """Resolve a place in the lumen of an endosome: small vesicles on a jittered lattice."""
    pitch = 2.0 * sizes.ILV + 18.0
    cz, cy, cx = math.floor(z / pitch), math.floor(y / pitch), math.floor(x / pitch)
    h = bits(keys[4], int(cz), int(cy), int(cx))
    tone = TONE[M.MVB_LUMEN]
    if h & np.uint64(255) > np.uint64(170):
        return M.MVB_LUMEN, tone
    r = sizes.ILV * (0.7 + 0.3 * unit(h))
    slack = pitch - 2.0 * r
    pz = (cz + 0.5) * pitch + slack * (float((h >> np.uint64(8)) & np.uint64(255)) / 256.0 - 0.5)
    py = (cy + 0.5) * pitch + slack * (float((h >> np.uint64(16)) & np.uint64(255)) / 256.0 - 0.5)
    px = (cx + 0.5) * pitch + slack * (float((h >> np.uint64(24)) & np.uint64(255)) / 256.0 - 0.5)
    if ball_distance(rows, i, keys[2], pz, py, px) > -(r + sizes.MEMBRANE + 2.0):
        return M.MVB_LUMEN, tone
    d = math.sqrt((z - pz) ** 2 + (y - py) ** 2 + (x - px) ** 2) - r
    dark = coverage(d, sizes.MEMBRANE, soft)
    if d > 0.0:
        return M.MVB_LUMEN, mix(tone, TONE[M.ILV_MEMBRANE], dark)
    tone = mix(TONE[M.ILV_LUMEN], TONE[M.ILV_MEMBRANE], dark)
    return (M.ILV_MEMBRANE if d > -sizes.MEMBRANE else M.ILV_LUMEN), tone


@inlined
def inside_lysosome(keys: Keys, z: float, y: float, x: float) -> tuple[int, float]:
    """Resolve a place in the lumen of a lysosome: dense, uneven, with whorls of membrane."""
    lump = noise(keys[4], z / 55.0, y / 55.0, x / 55.0)
    whorl = noise(keys[4], z / 90.0 + 40.0, y / 90.0, x / 90.0) * 9.0
    stripe = abs(whorl - math.floor(whorl) - 0.5)
    tone = TONE[M.LYSO_LUMEN] + 0.16 * lump - (0.1 if stripe < 0.14 else 0.0)
    return M.LYSO_LUMEN, min(max(tone, 0.05), 0.9)


@inlined
def centriole_parts(
    rows: Floats, i: int, z: float, y: float, x: float
) -> tuple[float, float, float]:
    """Return how far a place is from the nearest triplet, distal and subdistal appendage.

    A triplet is a column in the wall; appendages are nine blades near the distal end, subdistal
    ones nine shorter cones 110 nm below (Winey and O'Toole 2014).  Only a mother has them.
    """
    dz, dy, dx = z - rows[i, 0], y - rows[i, 1], x - rows[i, 2]
    h = dz * rows[i, 3] + dy * rows[i, 4] + dx * rows[i, 5]
    u = dz * rows[i, 6] + dy * rows[i, 7] + dx * rows[i, 8]
    v = dz * (rows[i, 4] * rows[i, 8] - rows[i, 5] * rows[i, 7])
    v += dy * (rows[i, 5] * rows[i, 6] - rows[i, 3] * rows[i, 8]) + dx * (
        rows[i, 3] * rows[i, 7] - rows[i, 4] * rows[i, 6]
    )
    triplet, distal, subdistal = 1e9, 1e9, 1e9
    for k in range(9):
        far = u * COS9[k] + v * SIN9[k]
        side = abs(
            v * COS9[k] - u * SIN9[k] + 0.35 * (far - rows[i, 10])
        )  # the blades of a turbine
        wall = max(abs(far - (rows[i, 10] - 22.0)) - 22.0, side - 13.0)
        triplet = min(triplet, max(wall, abs(h) - rows[i, 9]))
        if rows[i, 11] > 0.0:
            out = far - rows[i, 10]
            reach = max(-out, out - sizes.APPENDAGE)
            up = abs(h - (rows[i, 9] - 45.0) - 0.35 * out) - 14.0
            distal = min(distal, max(reach, up, side - 11.0))
            reach = max(-out, out - 0.75 * sizes.APPENDAGE)
            up = abs(h - (rows[i, 9] - 155.0)) - (22.0 - 0.12 * out)
            subdistal = min(subdistal, max(reach, up, side - (20.0 - 0.15 * out)))
    return triplet, distal, subdistal


@inlined
def _rotated(z: float, y: float, x: float) -> tuple[float, float, float]:
    """Rotate a place: noise on a lattice parallel to the voxels would show the lattice."""
    return (
        0.60 * z + 0.64 * y + 0.48 * x,
        -0.80 * z + 0.48 * y + 0.36 * x,
        -0.60 * y + 0.80 * x,
    )


@lean
def chromatin_coarse(key: np.uint64, z: float, y: float, x: float) -> tuple[float, float]:
    """Return the coarse and the middle texture of chromatin at a place."""
    a, b, c = _rotated(z, y, x)
    coarse = noise(key, a / 310.0 + 9.0, b / 310.0, c / 310.0)
    return coarse, noise(key, b / 120.0 + 5.0, c / 120.0, a / 120.0)


@inlined
def chromatin_fine(key: np.uint64, z: float, y: float, x: float) -> float:
    """Return the fine texture of chromatin at a place."""
    a, b, c = _rotated(z, y, x)
    return noise(key, a / 36.0, b / 36.0, c / 36.0)


@inlined
def interpolate(corner: Floats, tz: float, ty: float, tx: float) -> float:
    """Interpolate linearly between the eight corners (z slowest) of a cube, each axis 0 to 1."""
    a = corner[0] + tx * (corner[1] - corner[0])
    b = corner[2] + tx * (corner[3] - corner[2])
    c = corner[4] + tx * (corner[5] - corner[4])
    d = corner[6] + tx * (corner[7] - corner[6])
    a += ty * (b - a)
    c += ty * (d - c)
    return float(a + tz * (c - a))


@inlined
def inside_nucleus(
    coarse: float, middle: float, fine: float, depth: float, nucleolus: float, pore: float
) -> tuple[int, float]:
    """Resolve the nucleoplasm ``depth`` nm below the inner membrane.

    The first three are the textures of chromatin, ``nucleolus`` is the distance to the
    nearest nucleolus, ``pore`` to the axis of the nearest pore.  Dense chromatin lines the
    envelope but for the pores, and the nucleolus.
    """
    if nucleolus < 0.0:
        tone = TONE[M.NUCLEOLUS] + 0.07 * fine
        return M.NUCLEOLUS, tone
    dense = 0.62 * coarse + 0.42 * middle + 0.26 * fine
    lining = max(0.0, 1.0 - depth / (sizes.HETEROCHROMATIN * (1.2 + 0.9 * coarse)))
    if pore < 75.0:
        lining *= max(0.0, (pore - 40.0) / 35.0)
    lining = max(lining, 0.8 * max(0.0, 1.0 - nucleolus / 70.0))
    dense += 0.85 * lining
    tone = mix(TONE[M.NUCLEOPLASM], TONE[M.HCHROM], min(max(0.35 + 1.3 * dense, 0.0), 1.0))
    at_nucleolus = nucleolus < 110.0
    if dense > 0.42:
        return (M.NHCHROM if at_nucleolus else M.HCHROM), tone
    if dense > 0.02:
        return (M.NECHROM if at_nucleolus else M.ECHROM), tone
    return M.NUCLEOPLASM, tone

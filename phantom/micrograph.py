"""From tones to grey levels: texture, point spread, and what a FIB-SEM adds.

All sums between the tone and the grey level are sums of integers, so that the result depends
neither on the order of summing nor on the box.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.kernels.compiled import compiled, inlined

from .hashing import NORMAL_DEVIATION, bits, noise, noise_normal
from .materials import MATERIAL as M
from .spec import Look

Bytes = NDArray[np.uint8]
Shorts = NDArray[np.int16]
UNIT = 16  # parts of a tone: texture and blur are computed with four more bits
TAPS = 256  # weights of a kernel add up to this
SHIFT = 8  # log2 of TAPS
SPREAD = 2.5  # standard deviations to which the point spread is followed; beyond lies 1 %
COARSE_NM = 120.0  # length of the slow changes of the cytoplasm
# How strong the texture is in each material, in 64ths.
TEXTURE = np.full(len(M), 40, np.int64)
TEXTURE[[M.CYTOSOL, M.NUCLEOPLASM, M.ECHROM, M.NECHROM, M.HCHROM, M.NHCHROM, M.NUCLEOLUS]] = 64
TEXTURE[[M.ECS, M.LD_LUMEN, M.ER_LUMEN, M.NE_LUMEN, M.VESICLE_LUMEN]] = 12, 14, 26, 26, 26
TEXTURE.setflags(write=False)


class Optics(NamedTuple):
    """A look, ready for kernels: kernels of the point spread, tables of grey and noise."""

    taps_z: NDArray[np.int64]
    taps_y: NDArray[np.int64]
    taps_x: NDArray[np.int64]
    grey: NDArray[np.int32]  # 16 * grey level of each of 4096 tones
    shot: NDArray[np.int32]  # 16 * standard deviation of the noise at each grey level
    grain: float  # standard deviation of the lumps, in UNIT parts of a tone
    grain_nm: float
    cloud: float  # that of slow changes
    curtain: float
    charging: float
    drift: float
    jitter: float


def optics(look: Look, voxel_size_nm: tuple[float, float, float]) -> Optics:
    """Return the tables of a look at a voxel size."""
    taps = [_kernel(s / v) for s, v in zip(look.blur_nm, voxel_size_nm, strict=True)]
    tone = np.arange(256 * UNIT) / (255.0 * UNIT)
    grey = look.dark + (look.bright - look.dark) * tone.clip(0, 1) ** look.gamma
    levels = np.arange(256.0)
    shot = look.shot * np.sqrt(levels.clip(16.0) / max(look.bright, 1.0))
    per_grey = UNIT * 255.0 / (look.bright - look.dark)
    return Optics(
        taps[0], taps[1], taps[2], np.rint(grey * UNIT).astype(np.int32),
        np.rint(shot * UNIT).astype(np.int32), per_grey * look.grain, look.grain_nm,
        per_grey * look.cloud, look.curtain, look.charging, look.drift, look.jitter,
    )  # fmt: skip


def _kernel(sigma: float) -> NDArray[np.int64]:
    """Return an odd, symmetric Gaussian of whole weights that add up to TAPS."""
    reach = math.ceil(SPREAD * sigma) if sigma > 0.2 else 0
    at = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (at / max(sigma, 1e-9)) ** 2)
    whole = np.rint(weights / weights.sum() * TAPS).astype(np.int64)
    whole[reach] += TAPS - whole.sum()
    return np.asarray(whole)


def halo(optics: Optics) -> tuple[int, int, int]:
    """Return the voxels that a micrograph reads beyond its box, on each side of ``(z, y, x)``."""
    shift = math.ceil(optics.jitter) + 1 if optics.jitter > 0 else 0
    return (
        len(optics.taps_z) // 2,
        len(optics.taps_y) // 2 + shift,
        len(optics.taps_x) // 2 + shift,
    )


@inlined
def _node(key: np.uint64, iz: int, iy: int, ix: int, tz: float, ty: float) -> float:
    """Return lattice noise at ``x = ix``, mixed in y and z."""
    low = (1.0 - ty) * float(bits(key, iz, iy, ix) >> np.uint64(40))
    low += ty * float(bits(key, iz, iy + 1, ix) >> np.uint64(40))
    high = (1.0 - ty) * float(bits(key, iz + 1, iy, ix) >> np.uint64(40))
    high += ty * float(bits(key, iz + 1, iy + 1, ix) >> np.uint64(40))
    return ((1.0 - tz) * low + tz * high) * (2.0 / 16777216.0) - 1.0


@compiled
def _row(
    key: np.uint64, z: float, y: float, first: int, step: float, weight: float,
    out: NDArray[np.float64],
) -> None:  # fmt: skip
    """Add smooth noise to a row whose voxel ``i`` lies at ``x = (first + i + 0.5) * step``."""
    iz, iy = math.floor(z), math.floor(y)
    tz, ty = z - iz, y - iy
    tz, ty = tz * tz * (3.0 - 2.0 * tz), ty * ty * (3.0 - 2.0 * ty)
    have = -(2**40)
    left = right = 0.0
    for i in range(len(out)):
        x = (first + i + 0.5) * step
        ix = math.floor(x)
        if ix != have:
            left = right if ix == have + 1 else _node(key, iz, iy, ix, tz, ty)
            right = _node(key, iz, iy, ix + 1, tz, ty)
            have = ix
        t = x - ix
        out[i] += weight * (left + (right - left) * t * t * (3.0 - 2.0 * t))


@compiled
def textured(
    key: np.uint64, material: Bytes, tone: Bytes, origin: NDArray[np.int64],
    voxel: NDArray[np.float64], grain: float, grain_nm: float, cloud: float,
) -> Shorts:  # fmt: skip
    """Return tones with the texture of the cytoplasm added, ``(z, y, x)`` int16, in UNIT parts.

    ``material`` and ``tone`` are ``(z, y, x)`` uint8 from voxel ``origin`` on; ``voxel`` is (3,)
    nm.
    """
    nz, ny, nx = tone.shape
    out = np.empty((nz, ny, nx), np.int16)
    smooth = np.empty(nx)
    speck = math.floor(grain)  # as strong from voxel to voxel, before the point spread
    for a in range(nz):
        z = (origin[0] + a + 0.5) * voxel[0]
        for b in range(ny):
            y = (origin[1] + b + 0.5) * voxel[1]
            smooth[:] = 0.0
            step = voxel[2] / grain_nm
            # The mean over a cell of the squared noise is 0.137: its deviation is 0.37.
            _row(key, z / grain_nm, y / grain_nm, origin[2], step, 2.4 * grain, smooth)
            step = voxel[2] / COARSE_NM
            _row(
                key + np.uint64(1), z / COARSE_NM, y / COARSE_NM, origin[2], step, 2.4 * cloud,
                smooth,
            )  # fmt: skip
            for c in range(nx):
                white = noise_normal(bits(key, origin[0] + a, origin[1] + b, origin[2] + c))
                rough = (white * speck) // NORMAL_DEVIATION + math.floor(smooth[c])
                rough = (rough * TEXTURE[material[a, b, c]]) >> 6
                level = UNIT * int(tone[a, b, c]) + rough
                out[a, b, c] = min(max(level, 0), 255 * UNIT)
    return out


@compiled
def blurred(  # noqa: PLR0912  (three axes, three loops each)
    source: Shorts, taps_z: NDArray[np.int64], taps_y: NDArray[np.int64],
    taps_x: NDArray[np.int64],
) -> Shorts:  # fmt: skip
    """Convolve ``(z, y, x)`` int16 along x, y and z; each side gets shorter by half a kernel."""
    rz, ry, rx = len(taps_z) // 2, len(taps_y) // 2, len(taps_x) // 2
    nz, ny, nx = source.shape[0] - 2 * rz, source.shape[1] - 2 * ry, source.shape[2] - 2 * rx
    across = np.empty((source.shape[0], source.shape[1], nx), np.int16)
    total = np.empty(nx, np.int32)
    for a in range(source.shape[0]):
        for b in range(source.shape[1]):
            total[:] = TAPS // 2
            for k in range(len(taps_x)):
                w = np.int32(taps_x[k])
                for c in range(nx):
                    total[c] += w * np.int32(source[a, b, c + k])
            for c in range(nx):
                across[a, b, c] = total[c] >> SHIFT
    down = np.empty((source.shape[0], ny, nx), np.int16)
    for a in range(source.shape[0]):
        for b in range(ny):
            total[:] = TAPS // 2
            for k in range(len(taps_y)):
                w = np.int32(taps_y[k])
                for c in range(nx):
                    total[c] += w * np.int32(across[a, b + k, c])
            for c in range(nx):
                down[a, b, c] = total[c] >> SHIFT
    out = np.empty((nz, ny, nx), np.int16)
    for a in range(nz):
        for b in range(ny):
            total[:] = TAPS // 2
            for k in range(len(taps_z)):
                w = np.int32(taps_z[k])
                for c in range(nx):
                    total[c] += w * np.int32(down[a + k, b, c])
            for c in range(nx):
                out[a, b, c] = total[c] >> SHIFT
    return out


@compiled
def slice_shift(key: np.uint64, z: int, jitter: float) -> tuple[int, int]:
    """Return the displacement ``(y, x)`` of a slice in 16ths of a voxel."""
    word = bits(key + np.uint64(7), z, 0, 0)
    most = jitter * 16.0
    dy = math.floor((float(word & np.uint64(0xFFFF)) / 32767.5 - 1.0) * most + 0.5)
    dx = math.floor(
        (float((word >> np.uint64(16)) & np.uint64(0xFFFF)) / 32767.5 - 1.0) * most + 0.5
    )
    return int(dy), int(dx)


@compiled
def detected(
    key: np.uint64, tones: Shorts, origin: NDArray[np.int64], margin: int, optics: Optics,
    missing: NDArray[np.int64], out: Bytes,
) -> None:  # fmt: skip
    """Write grey levels into ``out``, ``(z, y, x)`` uint8, from blurred tones.

    ``tones`` (int16) is wider than ``out`` by ``margin`` on each side in y and x; ``origin`` is the
    first voxel of ``out``.  Each slice is displaced; then drift, charging, curtaining and noise are
    added.  Slices in ``missing`` read 0.
    """
    nz, ny, nx = out.shape
    column, line = np.empty(nx, np.int32), np.empty(ny, np.int32)
    for a in range(nz):
        z = origin[0] + a
        lost = False
        for k in range(len(missing)):
            lost |= missing[k] == z
        if lost:
            out[a] = 0
            continue
        dy, dx = slice_shift(key, z, optics.jitter)
        offset, gain = _slice_levels(key, z, optics.drift)
        for c in range(nx):
            x = origin[2] + c
            stripe = 0.7 * noise(key, z / 21.0, 3.5, x / 7.0)
            stripe += 0.8 * noise(key, z / 60.0, 7.5, x / 33.0)
            column[c] = math.floor(16.0 * optics.curtain * stripe)
        for b in range(ny):
            band = noise(key, z / 2.2, (origin[1] + b) / 28.0, 11.5) - 0.3
            band = 2.5 * max(band, 0.0)
            line[b] = math.floor(16.0 * optics.charging * band) + offset
        for b in range(ny):
            for c in range(nx):
                tone = _displaced(tones, a, b + margin, c + margin, dy, dx)
                level = int(optics.grey[min(max(tone, 0), len(optics.grey) - 1)])
                level = ((level * gain) >> 10) + column[c] + line[b]
                spread = optics.shot[min(max(level >> 4, 0), 255)]
                white = noise_normal(bits(key + np.uint64(3), z, origin[1] + b, origin[2] + c))
                level += (white * spread) // NORMAL_DEVIATION
                out[a, b, c] = np.uint8(min(max((level + 8) >> 4, 0), 255))


@inlined
def _slice_levels(key: np.uint64, z: int, drift: float) -> tuple[int, int]:
    """Return what a slice adds (16ths of a grey level) and multiplies (1024ths)."""
    slow = noise(key, z / 90.0, 21.5, 0.5) + 0.25 * noise(key, z / 1.3, 25.5, 0.5)
    return math.floor(16.0 * drift * slow), 1024 + math.floor(
        4.0 * drift * noise(key, z / 120.0, 31.5, 0.5)
    )


@inlined
def _displaced(tones: Shorts, a: int, b: int, c: int, dy: int, dx: int) -> int:
    """Return the tone at a place moved by 16ths of a voxel, mixed from its four neighbours."""
    if dy == 0 and dx == 0:
        return int(tones[a, b, c])
    iy, ix = b + (dy >> 4), c + (dx >> 4)
    fy, fx = dy & 15, dx & 15
    low = (16 - fx) * int(tones[a, iy, ix]) + fx * int(tones[a, iy, ix + 1])
    high = (16 - fx) * int(tones[a, iy + 1, ix]) + fx * int(tones[a, iy + 1, ix + 1])
    return ((16 - fy) * low + fy * high) >> 8

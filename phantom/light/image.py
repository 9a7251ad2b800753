"""From places of dyes to counts of a detector.

Light is added in whole 65536ths of a photon, so the sum does not depend on the order of dyes, and
noise is a hash of the voxel: any box of an image equals that part of the whole.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from fibstream.kernels.compiled import compiled, inlined
from fibstream.phantom.hashing import NORMAL_DEVIATION, bits, noise_normal, scramble, unit
from fibstream.phantom.shapes import Floats

from .modality import HAZE_NM, OFFSET, READ_NOISE, STRAY_PER_UM3, Modality

PART = 65536.0  # of a photon
TO_SIGMA = 1.0 / math.sqrt(8.0 * math.log(2.0))  # of a full width at half maximum
SPREAD = 3.0  # standard deviations to which a point spread is followed
LOCALISED_SPREAD = 3.5  # standard deviations: noise_normal never exceeds them
HAZE_CELL_NM = 500.0  # haze changes over micrometres
NORMAL_FROM = 40.0  # expected counts from which a Poisson number is drawn as a rounded normal one
MAX_BLINKS = 16
MAX_COUNT = 65535
Places = NDArray[np.float32]
Words = NDArray[np.uint64]
Longs = NDArray[np.int64]


def sigma_nm(modality: Modality) -> Floats:
    """Return the standard deviation of a point spread, ``(z, y, x)`` nm."""
    axial, lateral = (width * TO_SIGMA for width in modality.psf_nm)
    return np.array([axial, lateral, lateral])


def reach_nm(modality: Modality) -> float:
    """Return how far along z from a box a dye can be and still change it, nm."""
    return (LOCALISED_SPREAD if modality.localised else SPREAD) * float(sigma_nm(modality)[0])


@compiled
def add_light(
    place: Places, bright: NDArray[np.float32], first: Longs, voxel: Floats, sigma: Floats,
    out: Longs,
) -> None:  # fmt: skip
    """Add the light of dyes to a box; a voxel takes the integral of the point spread over it.

    Parameters
    ----------
    place : (n, 3) float32
        Dyes, nm, ``(z, y, x)``.
    bright : (n,) float32
        Photons of each dye.
    first : (3,) int64
        First voxel of the box.
    voxel, sigma : (3,) float64
        Voxel size and standard deviation of the point spread, nm.
    out : (z, y, x) int64
        Light of the box, in 65536ths of a photon.
    """
    lo, hi = np.empty(3, np.int64), np.empty(3, np.int64)
    widest = int(np.max(np.ceil(2.0 * SPREAD * sigma / voxel))) + 3
    share = np.empty((3, widest))
    for n in range(len(place)):
        seen = True
        for k in range(3):
            at, wide = float(place[n, k]), SPREAD * sigma[k]
            lo[k] = max(math.floor((at - wide) / voxel[k]), first[k])
            hi[k] = min(math.floor((at + wide) / voxel[k]) + 1, first[k] + out.shape[k])
            seen &= lo[k] < hi[k]
        if not seen:
            continue
        for k in range(3):
            scale = 1.0 / (sigma[k] * math.sqrt(2.0))
            before = math.erf((lo[k] * voxel[k] - place[n, k]) * scale)
            for i in range(hi[k] - lo[k]):
                after = math.erf(((lo[k] + i + 1) * voxel[k] - place[n, k]) * scale)
                share[k, i] = 0.5 * (after - before)
                before = after
        for a in range(hi[0] - lo[0]):
            for b in range(hi[1] - lo[1]):
                light = PART * bright[n] * share[0, a] * share[1, b]
                za, yb, x0 = lo[0] + a - first[0], lo[1] + b - first[1], lo[2] - first[2]
                for c in range(hi[2] - lo[2]):
                    out[za, yb, x0 + c] += int(light * share[2, c] + 0.5)


@compiled
def localise(
    place: Places, bright: NDArray[np.float32], random: Words, first: Longs, voxel: Floats,
    sigma: Floats, out: Longs,
) -> None:  # fmt: skip
    """Add the localisations of dyes to a box; a dye is found ``bright`` times on average.

    How often a dye blinks is geometric (Annibale et al., Nature Methods 8 (2011)).
    """
    at = np.empty(3, np.int64)
    for n in range(len(place)):
        word = random[n]
        again = bright[n] / (1.0 + bright[n])
        for _ in range(MAX_BLINKS):
            word = scramble(word + np.uint64(11))
            if unit(word) >= again:
                break
            inside = True
            for k in range(3):
                word = scramble(word + np.uint64(13))
                at[k] = (
                    math.floor(
                        (place[n, k] + sigma[k] * noise_normal(word) / NORMAL_DEVIATION) / voxel[k]
                    )
                    - first[k]
                )
                inside &= 0 <= at[k] < out.shape[k]
            if inside:
                out[at[0], at[1], at[2]] += 1


def haze_of(
    place: Places, bright: NDArray[np.float32], size_nm: tuple[float, float, float]
) -> Floats:
    """Return out-of-focus light on a coarse lattice of the whole field, photons a cell.

    The lattice has HAZE_CELL_NM and one cell more than the field on every side.
    """
    count = [math.ceil(s / HAZE_CELL_NM) + 2 for s in size_nm]
    cell = np.floor(place / HAZE_CELL_NM).astype(np.int64) + 1
    inside = ((cell >= 0) & (cell < count)).all(axis=1)
    flat = np.ravel_multi_index(tuple(cell[inside].T), count)
    whole = np.rint(bright[inside] * PART).astype(np.int64)
    total = np.zeros(int(np.prod(count)), np.int64)
    np.add.at(total, flat, whole)
    spread = np.array([HAZE_NM[0], HAZE_NM[1], HAZE_NM[1]]) / HAZE_CELL_NM
    return np.asarray(
        gaussian_filter(total.reshape(count) / PART, spread, mode="constant", truncate=3.0)
    )


@compiled
def expose(
    key: np.uint64, light: Longs, first: Longs, voxel: Floats, haze: Floats, haze_share: float,
    fade: Floats, out: NDArray[np.uint16],
) -> None:  # fmt: skip
    """Write what a camera counts: light and haze, faded along z, with noise and offset.

    ``fade`` is the share of brightness that is left in each slice of the box.
    """
    per_cell = voxel[0] * voxel[1] * voxel[2] / HAZE_CELL_NM**3
    for a in range(out.shape[0]):
        z = (first[0] + a + 0.5) * voxel[0] / HAZE_CELL_NM + 0.5
        for b in range(out.shape[1]):
            y = (first[1] + b + 0.5) * voxel[1] / HAZE_CELL_NM + 0.5
            for c in range(out.shape[2]):
                x = (first[2] + c + 0.5) * voxel[2] / HAZE_CELL_NM + 0.5
                mean = light[a, b, c] / PART + haze_share * per_cell * _between(haze, z, y, x)
                word = bits(key, first[0] + a, first[1] + b, first[2] + c)
                count = _poisson(mean * fade[a], word)
                read = READ_NOISE * noise_normal(scramble(word + np.uint64(5))) / NORMAL_DEVIATION
                level = math.floor(count + OFFSET + read + 0.5)
                out[a, b, c] = np.uint16(min(max(level, 0), MAX_COUNT))


@inlined
def _between(haze: Floats, z: float, y: float, x: float) -> float:
    """Interpolate linearly on the lattice; places are in cells."""
    iz = min(max(int(z), 0), haze.shape[0] - 2)
    iy = min(max(int(y), 0), haze.shape[1] - 2)
    ix = min(max(int(x), 0), haze.shape[2] - 2)
    total = 0.0
    for corner in range(8):
        a, b, c = corner >> 2, (corner >> 1) & 1, corner & 1
        w = (z - iz if a else 1.0 - z + iz) * (y - iy if b else 1.0 - y + iy)
        w *= x - ix if c else 1.0 - x + ix
        total += w * haze[iz + a, iy + b, ix + c]
    return total


@inlined
def _poisson(mean: float, word: np.uint64) -> float:
    """Return a Poisson number; large means as a rounded normal number."""
    if mean <= 0.0:
        return 0.0
    if mean > NORMAL_FROM:
        return max(
            math.floor(mean + math.sqrt(mean) * noise_normal(word) / NORMAL_DEVIATION + 0.5), 0.0
        )
    left, share, count = unit(word), math.exp(-mean), 0.0
    while left > share and count < 4.0 * NORMAL_FROM:
        left -= share
        count += 1.0
        share *= mean / count
    return count


@compiled
def add_stray(key: np.uint64, first: Longs, voxel: Floats, out: Longs) -> None:
    """Add stray localisations, evenly distributed."""
    share = STRAY_PER_UM3 * voxel[0] * voxel[1] * voxel[2] * 1e-9
    for a in range(out.shape[0]):
        for b in range(out.shape[1]):
            for c in range(out.shape[2]):
                word = bits(key, first[0] + a, first[1] + b, first[2] + c)
                out[a, b, c] += unit(word) < share

"""What a network would predict of each class: exact distances to its voxels, with smooth noise.

The noise of a class is a function of seed and place alone. Values on a lattice with edges of the
noise's length, nearly normal, are interpolated by cubic B-splines, and divided by the deviation
that the sum of them has at a place: the deviation is the same everywhere. Of two places along an
axis the correlation is about one half at that length, and none beyond four of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import SQUASH_NM
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Halo
from fibstream.kernels.compiled import compiled
from fibstream.kernels.distance import byte_halo, near_distances, quantised
from fibstream.kernels.near import Voxel
from fibstream.kernels.schema.classes import COMBINED, PREDICTED, SUPER, members

from .hashing import NORMAL_DEVIATION, bits, key_of, noise_normal

MAX_NOISE_NM = 200.0  # bytes end at 160 nm: more says nothing of a surface
MAX_LENGTH_NM = 10_000.0
_PART = 45  # of a seed: no other part of a phantom has this number


@dataclass(frozen=True, slots=True)
class Noise:
    """Errors of a distance: their standard deviation, and the length over which they agree."""

    deviation_nm: float = 0.0
    length_nm: float = 60.0

    def __post_init__(self) -> None:
        if not 0 <= self.deviation_nm <= MAX_NOISE_NM:
            raise WrongUse(f"noise {self.deviation_nm:g} nm: expected 0 to {MAX_NOISE_NM:g}")
        if not 1 <= self.length_nm <= MAX_LENGTH_NM:
            raise WrongUse(f"noise length {self.length_nm:g} nm: expected 1 to {MAX_LENGTH_NM:g}")


def prediction_halo(voxel_size_nm: Voxel) -> Halo:
    """Return the voxels around a box whose labels its predictions depend on."""
    return byte_halo(voxel_size_nm, SQUASH_NM)


def class_of_labels(labels: NDArray[np.uint8], name: str) -> NDArray[np.bool_]:
    """Return where fine ids (z, y, x) are of a class as networks are trained, with its parts."""
    parts = [members(labels, part) for part in COMBINED.get(name, (name,))]
    inside: NDArray[np.bool_] = np.logical_or.reduce(parts)
    return inside


def predicted(
    name: str, labels: NDArray[np.uint8], around: Box, box: Box, voxel_size_nm: Voxel,
    noise: Noise, seed: int,
) -> NDArray[np.uint8]:  # fmt: skip
    """Return the prediction of a class in a box, ``(z, y, x)`` uint8, 127 at its surface.

    Parameters
    ----------
    name
        One of the 35 classes of networks.
    labels
        Fine ids, ``(z, y, x)``, of ``around``: ``box`` grown by `prediction_halo`, cut at the
        volume.
    voxel_size_nm
        Edges of a voxel, (z, y, x) in nm.
    noise, seed
        Added to distances, in nm, before the tanh; none changes nothing.
    """
    if name not in PREDICTED:
        raise WrongUse(f"class {name}: expected one of {', '.join(PREDICTED)}")
    inside = class_of_labels(labels, name)
    distance = near_distances(inside, around, box, voxel_size_nm, SQUASH_NM)
    if noise.deviation_nm:
        key = key_of(seed, _PART, tuple(SUPER).index(name))
        distance += noise.deviation_nm * smooth_noise(key, box, voxel_size_nm, noise.length_nm)
    return quantised(distance, SQUASH_NM)


def smooth_noise(
    key: int, box: Box, voxel_size_nm: Voxel, length_nm: float
) -> NDArray[np.float64]:  # fmt: skip
    """Return noise of mean 0 and deviation 1 at the voxels of a box, ``(z, y, x)``."""
    axes = [
        _spline(start, stop, edge / length_nm)
        for start, stop, edge in zip(box.start, box.stop, voxel_size_nm, strict=True)
    ]
    low = np.array([first[0] for first, _ in axes], np.int64)
    count = tuple(int(first[-1] - first[0]) + 4 for first, _ in axes)
    values = _lattice(np.uint64(key), low, np.empty(count))
    (z, wz), (y, wy), (x, wx) = axes
    planes = _along_first(_along_first(values.transpose(1, 0, 2), y, wy).transpose(1, 0, 2), z, wz)
    found = np.empty(box.shape)
    for plane, own in zip(planes, found, strict=True):  # a plane at a time: four of them in memory
        own[:] = _along_first(plane.T, x, wx).T
    return found


def _spline(start: int, stop: int, step: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return of each voxel of an axis its first lattice place, and the weights of four of them."""
    at = (np.arange(start, stop) + 0.5) * step
    first = np.floor(at)
    t = at - first
    weights = np.stack(
        [
            (1 - t) * (1 - t) * (1 - t),
            3 * t * t * t - 6 * t * t + 4,
            -3 * t * t * t + 3 * t * t + 3 * t + 1,
            t * t * t,
        ]
    )
    deviation = np.sqrt(weights[0] ** 2 + weights[1] ** 2 + weights[2] ** 2 + weights[3] ** 2)
    return first.astype(np.int64) - 1, weights / deviation


def _along_first(
    values: NDArray[np.float64], first: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return values interpolated along their first axis, always summed in one order."""
    at = first - first[0]
    shaped = weights.reshape(4, -1, *[1] * (values.ndim - 1))
    total: NDArray[np.float64] = shaped[0] * values[at]
    for k in (1, 2, 3):
        total += shaped[k] * values[at + k]
    return total


@compiled
def _lattice(
    key: np.uint64, low: NDArray[np.int64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fill values of the lattice from ``low`` on: nearly normal, mean 0, deviation 1."""
    nz, ny, nx = values.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                word = bits(key, low[0] + z, low[1] + y, low[2] + x)
                values[z, y, x] = noise_normal(word) / NORMAL_DEVIATION
    return values

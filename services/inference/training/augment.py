"""What is done to a patch so that a network does not depend on it. Pure and seeded.

Raw is float32 in [0, 1], (z, y, x). No grey value ever overtakes another one that was brighter,
but by noise: membranes that are dark stay dark. Whoever trains on both says ``invert`` of a data
set, or of the augmentation, in the configuration.
"""

from typing import Annotated, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator
from scipy import ndimage

SPACING, SUBSAMPLE = 100, 8  # voxels: between control points; between places that are interpolated
Floats = NDArray[np.float32]
Kind = TypeVar("Kind", bound=np.generic)
Chance = Annotated[float, Field(strict=True, ge=0, le=1)]
Factor = Annotated[float, Field(strict=True, ge=0.05, le=4)]
Shift = Annotated[float, Field(strict=True, ge=-1, le=1)]
Gamma = Annotated[float, Field(strict=True, ge=0.1, le=10)]
Half = Annotated[float, Field(strict=True, ge=0, le=0.5)]  # of the range of grey values


class Augmentation(BaseModel):
    """How far a patch is varied. Ranges are uniform; those of the first part are the paper's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mirror: StrictBool = True  # and exchange axes
    elastic: Chance = 0.25  # of patches that are deformed and turned by up to 90 degrees
    elastic_sigma: Annotated[float, Field(strict=True, ge=0, le=30)] = (
        10.0  # voxels, of the control points
    )
    contrast: tuple[Factor, Factor] = (0.25, 1.75)  # factor around the mean
    brightness: tuple[Shift, Shift] = (-0.5, 0.35)
    gamma: tuple[Gamma, Gamma] = (0.5, 2.0)

    noise: Half = 0.08  # largest standard deviation
    blur: Annotated[float, Field(strict=True, ge=0, le=4)] = (
        1.0  # largest standard deviation, voxels
    )
    jitter: Annotated[float, Field(strict=True, ge=0, le=8)] = (
        1.0  # largest shift of a slice, voxels
    )
    drift: Half = 0.05  # of brightness from slice to slice
    inversion: Chance = 0.0  # of patches whose grey values are inverted: never unless asked for

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for name in ("contrast", "gamma", "brightness"):
            first, last = getattr(self, name)
            if first > last:
                raise ValueError(f"{name} {first:g},{last:g}: expected LOW,HIGH")
        return self


def vary(raw: Floats, rng: np.random.Generator, how: Augmentation) -> Floats:
    """Return a patch with other contrast, sharpness, noise and shifted slices."""
    raw = raw ** np.float32(_log_uniform(rng, how.gamma))
    if how.jitter and rng.random() < 0.5:
        raw = shifted(raw, rng.uniform(-how.jitter, how.jitter, (raw.shape[0], 2)))
    if how.blur and rng.random() < 0.5:
        raw = ndimage.gaussian_filter(raw, rng.uniform(0, how.blur))
    mean = np.float32(raw.mean(dtype=np.float64))
    raw = (raw - mean) * np.float32(rng.uniform(*how.contrast)) + mean
    raw = raw + np.float32(rng.uniform(*how.brightness))
    if how.drift:
        raw = raw + rng.uniform(-how.drift, how.drift, (len(raw), 1, 1)).astype(np.float32)
    if how.noise and rng.random() < 0.5:
        deviation = np.float32(rng.uniform(0, how.noise))
        raw = raw + deviation * rng.standard_normal(raw.shape, np.float32)
    if rng.random() < how.inversion:
        raw = 1 - raw
    return np.clip(raw, 0, 1).astype(np.float32)


def shifted(raw: Floats, by: NDArray[np.float64]) -> Floats:
    """Return a volume whose slices are shifted by (y, x) voxels each, linearly interpolated."""
    return np.stack([
        ndimage.shift(plane, step, order=1, mode="nearest")
        for plane, step in zip(raw, by, strict=True)
    ])  # fmt: skip


def turn(
    array: NDArray[Kind], axes: tuple[int, int, int], flips: tuple[int, int, int]
) -> NDArray[Kind]:
    """Return ``(.., z, y, x)`` with its last axes exchanged and mirrored (-1), 1 for neither."""
    before = array.ndim - 3
    order = (*range(before), *(before + a for a in axes))
    return np.ascontiguousarray(array.transpose(order)[..., :: flips[0], :: flips[1], :: flips[2]])


class Deformation:
    """A smooth deformation and a rotation about a place, as a function of places.

    Control points every 100 voxels are displaced by a normal deviation, as in the paper's elastic
    augmentation; the angle is up to 90 degrees about any axis.
    """

    def __init__(self, rng: np.random.Generator, reach: float, sigma: float) -> None:
        count = int(2 * reach / SPACING) + 4
        self._first = -SPACING * (count - 1) / 2
        self._control = rng.normal(0, sigma, (3, count, count, count))
        axis = rng.normal(size=3)
        self._rotation = _rotation(axis / np.linalg.norm(axis), rng.uniform(0, np.pi / 2))

    def places(self, start: NDArray[np.float64], step: float, count: int) -> NDArray[np.float32]:
        """Return where the voxels of a cube come from, ``(3, count, count, count)``.

        Voxel k lies at ``start + k step``, in voxels from the centre of the deformation.
        """
        coarse = -(-count // SUBSAMPLE) + 1
        lattice = np.indices((coarse,) * 3).reshape(3, -1) * SUBSAMPLE * step + start[:, None]
        at = (lattice - self._first) / SPACING
        moved = np.stack([
            ndimage.map_coordinates(part, at, order=3, mode="nearest") for part in self._control
        ])  # fmt: skip
        moved = (self._rotation @ lattice + moved).reshape(3, coarse, coarse, coarse)
        return _between(moved.astype(np.float32), count)


def _between(coarse: Floats, count: int) -> Floats:
    """Interpolate linearly, axis by axis, `SUBSAMPLE` places to one; ``(.., count, count, count)``.

    The last axis comes first: the long rows of the others are then added as they lie.
    """
    place = np.arange(count)
    low, share = place // SUBSAMPLE, np.float32(place % SUBSAMPLE / SUBSAMPLE)
    for axis in (-1, -2, -3):
        along = share.reshape(-1, *(1,) * (-1 - axis))
        one, other = (coarse.take(low + step, axis) for step in (0, 1))
        coarse = one + (other - one) * along
    return coarse


def _rotation(axis: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """Return the matrix of a rotation about a unit vector (Rodrigues)."""
    z, y, x = axis
    cross = np.array([[0, -x, y], [x, 0, -z], [-y, z, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def _log_uniform(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(limits))))

"""What registration takes and gives: images in nanometres, microscopes, settings, a judged result.

Axes are ``(z, y, x)``.  Lengths are nanometres from an origin that both images' ``corner_nm`` refer
to: the centre of voxel i lies at ``corner + (i + 0.5) * voxel``.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fibstream.core.echo import echo
from fibstream.core.errors import LimitExceeded, WrongUse

from .sampling import Floats
from .transform import Transform, apply, lengths

Triple = tuple[float, float, float]
Status = Literal["registered", "check", "unregistered"]

MAX_VOXELS = 1 << 31  # of an image: a pyramid level is chosen far below this
MIN_EDGE = 4  # voxels: thinner has no place for a patch
VOXEL_NM = (1.0, 5000.0)
MAX_NM = 1e9  # a corner further away than a metre is no position


@dataclass(frozen=True, slots=True)
class Image:
    """A volume and where it lies: ``voxels`` (z, y, x) real, ``corner_nm`` of the first voxel."""

    voxels: NDArray[np.generic]
    voxel_nm: Triple
    corner_nm: Triple = (0.0, 0.0, 0.0)

    @property
    def grey(self) -> NDArray[np.float32]:
        """Its voxels as float32."""
        return np.asarray(self.voxels, np.float32)

    @property
    def extent_nm(self) -> Floats:
        """Edges in nm, (3,)."""
        return np.array(self.voxels.shape) * np.array(self.voxel_nm, np.float64)

    @property
    def middle_nm(self) -> Floats:
        """The middle, (3,) nm."""
        return np.asarray(np.array(self.corner_nm) + self.extent_nm / 2)


@dataclass(frozen=True, slots=True)
class Judgement:
    """How far a transform can be trusted, from the data it was made of.

    ``ncc`` correlates the prepared images over the whole specimen, what lies outside the light
    image counting as 0; ``gap`` is how much less the best other orientation reached; ``kept`` the
    share of patches that found a place; ``error_nm`` the median distance, in the light image,
    between patches and a fit that did not see their neighbourhood; ``folds`` the share of places
    where space is turned over.
    """

    status: Status
    reasons: tuple[str, ...]  # why it is not "registered"
    ncc: float
    gap: float
    kept: float
    patches: int
    error_nm: float
    folds: float


@dataclass(frozen=True, slots=True)
class Registration:
    """A transform from the specimen into the light image, and what is known of its error."""

    transform: Transform
    judgement: Judgement
    affine: Transform = field(repr=False)  # before the deformation was fitted
    points_nm: Floats = field(repr=False)  # (n, 3) where patches lie in the specimen
    miss_nm: Floats = field(repr=False)  # (n, 3) of each patch by cross-validation, specimen
    error_map: Image | None = field(default=None, repr=False)  # nm, all over the specimen

    @property
    def error_nm(self) -> Floats:
        """How far off each patch is by cross-validation, (n,) nm of the light image.

        There people mark where a place ought to be.  NaN: the patch found no place.
        """
        return lengths(apply(self.affine.matrix, self.miss_nm))


def check_image(image: Image, name: str) -> None:
    """Refuse an image that cannot be registered.

    Raises
    ------
    WrongUse
        Not three axes, too thin, no real numbers, NaN, one value only, no physical size.
    LimitExceeded
        Too many voxels.
    """
    voxels = image.voxels
    if voxels.ndim != 3:
        raise WrongUse(f"{name}: {voxels.ndim} axes; expected a stack of 3 (z, y, x)")
    if voxels.size == 0:
        raise WrongUse(f"{name}: empty, {voxels.shape} voxels")
    if min(voxels.shape) < MIN_EDGE:
        raise WrongUse(f"{name}: {voxels.shape} voxels; expected at least {MIN_EDGE} an axis")
    if voxels.size > MAX_VOXELS:
        raise LimitExceeded(f"{name}: {voxels.shape} voxels; at most {MAX_VOXELS} in all")
    if voxels.dtype.kind not in "uifb":
        raise WrongUse(f"{name}: values of type {voxels.dtype}; expected real numbers")
    _check_place(image, name)
    low, high = float(voxels.min()), float(voxels.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise WrongUse(f"{name}: has values that are not finite (NaN or infinite)")
    if low == high:
        raise WrongUse(f"{name}: flat, every voxel is {low:g}")


def _check_place(image: Image, name: str) -> None:
    least, most = VOXEL_NM
    if len(image.voxel_nm) != 3 or not all(least <= v <= most for v in image.voxel_nm):
        raise WrongUse(
            f"{name}: voxel size {echo(image.voxel_nm)} nm; expected Z,Y,X of {least:g} to {most:g}"
        )
    if len(image.corner_nm) != 3 or not all(abs(v) <= MAX_NM for v in image.corner_nm):
        raise WrongUse(f"{name}: corner {echo(image.corner_nm)}; expected Z,Y,X within a metre")

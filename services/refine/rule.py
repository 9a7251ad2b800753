"""The rule by which a prediction becomes objects, in voxels and grey levels."""

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Halo
from fibstream.kernels.conventions import LEVEL_BITS, Connectivity, Triple, radius
from fibstream.kernels.objects import ObjectFold

FillHoles = Literal["none", "one", "all"]
MinRule = Literal["below", "ceil"]
Voxel = tuple[float, float, float]  # edge lengths in nm, (z, y, x)
# Of a Gaussian, in voxels: the kernel's 15 bits are then within 0.3 grey levels, at 64 voxels 0.6,
# and a block reads 128 voxels beyond its chunk.
MAX_SIGMA = 32.0
# Grey levels from which on a byte is saturated: beyond them no threshold divides anything.
SATURATED = (0.5, 254.5)


@dataclass(frozen=True)
class ObjectRule:
    """Smoothing and threshold make a mask, its connected components are objects, holes are filled.

    ``sigma`` is the Gaussian's standard deviation in voxels (z, y, x), ``level`` the least smoothed
    value that is foreground in units of 2**-7 grey levels. Last, objects of fewer than ``least``
    or more than ``most`` voxels go, and those whose ids are not among ``only``, where there are
    any, or are in ``without``.
    """

    sigma: Triple
    level: int
    connectivity: Connectivity
    fill_holes: FillHoles
    least: int = 1
    most: float = math.inf
    only: frozenset[int] = frozenset()
    without: frozenset[int] = frozenset()

    def chosen(self, only: frozenset[int], without: frozenset[int]) -> "ObjectRule":
        """Return the rule that also chooses objects by their ids."""
        return replace(self, only=only, without=without)

    @property
    def halo(self) -> Halo:
        """The voxels of the prediction that a block reads beyond its chunk."""
        z, y, x = radius(self.sigma)
        return Halo((z, y, x), (z + 1, y + 1, x + 1))


def object_fold(rule: ObjectRule) -> ObjectFold:
    """Return the fold that makes objects of fragments by a rule."""
    return ObjectFold(
        merging=rule.fill_holes == "all", least=rule.least, most=rule.most, only=rule.only,
        without=rule.without,
    )  # fmt: skip


def sigma_voxels(smooth_nm: float, voxel_size_nm: Voxel) -> Triple:
    """Return a standard deviation in voxels, ``(z, y, x)``.

    Raises WrongUse above ``MAX_SIGMA``.
    """
    z, y, x = (smooth_nm / edge for edge in voxel_size_nm)
    if max(z, y, x) > MAX_SIGMA:
        most = MAX_SIGMA * min(voxel_size_nm)
        raise WrongUse(
            f"smooth_nm {smooth_nm:g}: expected at most {most:g}, {MAX_SIGMA:g} of the smallest "
            "edge of a voxel"
        )
    return z, y, x


def threshold_level(threshold_nm: float, squash_nm: float) -> int:
    """Return the least value at a distance of ``threshold_nm``, in units of 2**-7 grey levels.

    A prediction holds ``128 tanh(distance / squash_nm) + 127``; 0 nm is grey level 127. Raises
    WrongUse where its bytes are saturated: they hold no such distance.
    """
    grey = 128 * math.tanh(threshold_nm / squash_nm) + 127
    if not SATURATED[0] < grey < SATURATED[1]:
        low, high = (squash_nm * math.atanh((end - 127) / 128) for end in SATURATED)
        raise WrongUse(
            f"threshold_nm {threshold_nm:g}: expected {math.ceil(low)} to {math.floor(high)}; a "
            f"prediction of squash length {squash_nm:g} nm is saturated beyond"
        )
    return math.ceil(grey * (1 << LEVEL_BITS))


def voxel_limits(
    min_volume_nm3: float, max_volume_nm3: float | None, min_rule: MinRule, voxel_size_nm: Voxel
) -> tuple[int, float]:
    """Return the least and the largest number of voxels that an object may have.

    Exact for sizes and volumes read as decimals.  ``below``: an object goes when its volume is
    less than the minimum; ``ceil``: when its voxels are at most the minimum rounded up to voxels.
    """
    voxel = math.prod(Fraction(str(edge)) for edge in voxel_size_nm)
    least = math.ceil(Fraction(str(min_volume_nm3)) / voxel) + (min_rule == "ceil")
    if max_volume_nm3 is None:
        return max(least, 1), math.inf
    return max(least, 1), math.floor(Fraction(str(max_volume_nm3)) / voxel)

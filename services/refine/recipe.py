"""Parameters of a refinement: recipes as data, and their nanometres turned into voxels.

The rules and the numbers of ``mito`` are those of Heinrich et al., Nature 2021 (methods:
refinements), with the size limit in exact integers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fibstream.core.errors import WrongUse
from fibstream.kernels.conventions import LEVEL_BITS, Connectivity

FillHoles = Literal["none", "one", "all"]
MinRule = Literal["below", "ceil"]
Voxel = tuple[float, float, float]  # edge lengths in nm, (z, y, x)

SQUASH_NM = 50.0  # predictions are tanh(distance / 50 nm)


class RecipeSettings(BaseModel):
    """How a prediction becomes objects.

    Smoothing and threshold make a mask; connected components of the mask are objects; holes are
    filled; last, objects outside the volume limits go.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    smooth_nm: float = Field(default=0, ge=0)
    threshold_nm: float = 0
    connectivity: Connectivity = 6
    fill_holes: FillHoles = "one"
    min_volume_nm3: float = Field(default=0, ge=0)
    max_volume_nm3: float | None = Field(default=None, gt=0)
    min_rule: MinRule = "below"

    @model_validator(mode="after")
    def _limits_are_in_order(self) -> Self:
        if self.max_volume_nm3 is not None and self.max_volume_nm3 < self.min_volume_nm3:
            raise ValueError("max_volume_nm3 is less than min_volume_nm3")
        return self


@dataclass(frozen=True)
class Recipe:
    """Settings with a name, and the predicted class they are made for (``None``: any)."""

    settings: RecipeSettings
    predicted: str | None = None


RECIPES: Mapping[str, Recipe] = {
    "generic": Recipe(RecipeSettings()),
    "mito": Recipe(RecipeSettings(smooth_nm=12, min_volume_nm3=1e6), predicted="mito"),
}

_EXPECTED = {
    "smooth_nm": "a number of nm, 0 or more",
    "threshold_nm": "a number of nm",
    "connectivity": "one of " + ", ".join(map(str, get_args(Connectivity))),
    "fill_holes": "one of " + ", ".join(get_args(FillHoles)),
    "min_volume_nm3": "a number of nm3, 0 or more",
    "max_volume_nm3": "a number of nm3 above 0 and not below min_volume_nm3, or null",
    "min_rule": "one of " + ", ".join(get_args(MinRule)),
}


def resolve(name: str, overrides: Mapping[str, object]) -> RecipeSettings:
    """Return the settings of the recipe ``name`` with ``overrides`` put in.

    Raises
    ------
    WrongUse
        For an unknown recipe or setting, or a value that a setting does not take.
    """
    if name not in RECIPES:
        raise WrongUse(f"no recipe {name!r}: expected one of {', '.join(RECIPES)}")
    for key in overrides:
        if key not in _EXPECTED:
            raise WrongUse(f"recipe {name}: no setting {key!r}: one of {', '.join(_EXPECTED)}")
    try:
        return RecipeSettings.model_validate(RECIPES[name].settings.model_dump() | dict(overrides))
    except ValidationError as error:
        place = error.errors()[0]["loc"]
        key = str(place[0]) if place else "max_volume_nm3"  # no place: the limits as a pair
        value = overrides.get(key, getattr(RECIPES[name].settings, key))
        raise WrongUse(f"recipe {name}: {key} is {value!r}: expected {_EXPECTED[key]}") from None


def sigma_voxels(settings: RecipeSettings, voxel_size_nm: Voxel) -> Voxel:
    """Return the Gaussian's standard deviation in voxels, ``(z, y, x)``."""
    z, y, x = (settings.smooth_nm / edge for edge in voxel_size_nm)
    return z, y, x


def threshold_level(settings: RecipeSettings) -> int:
    """Return the least smoothed value that is foreground, in units of 2**-7 grey levels.

    A prediction holds ``128 tanh(distance / 50 nm) + 127``; 0 nm is grey level 127.
    """
    grey = 128 * math.tanh(settings.threshold_nm / SQUASH_NM) + 127
    return math.ceil(grey * (1 << LEVEL_BITS))


def voxel_limits(settings: RecipeSettings, voxel_size_nm: Voxel) -> tuple[int, float]:
    """Return the least and the largest number of voxels that an object may have.

    Exact for sizes and volumes read as decimals.  ``below``: an object goes when its volume is
    less than the minimum; ``ceil``: when its voxels are at most the minimum rounded up to voxels.
    """
    voxel = math.prod(Fraction(str(edge)) for edge in voxel_size_nm)
    least = math.ceil(Fraction(str(settings.min_volume_nm3)) / voxel)
    if settings.min_rule == "ceil":
        least += 1
    if settings.max_volume_nm3 is None:
        return max(least, 1), math.inf
    return max(least, 1), math.floor(Fraction(str(settings.max_volume_nm3)) / voxel)

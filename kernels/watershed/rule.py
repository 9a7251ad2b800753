"""What decides which basins become one object; importing it brings no compiler."""

import math
from dataclasses import dataclass
from fractions import Fraction

from ..conventions import LEVEL_BITS


@dataclass(frozen=True, slots=True)
class Agglomeration:
    """What decides which basins become one object.

    Attributes
    ----------
    quantile
        Of the affinities between two basins, in percent, 0 to 100.
    threshold
        Basins merge while their score is below it, 0 to 1.
    background
        Grey level of affinity 0, below 255.
    least_dynamics
        Shallower minima are merged first, in grey levels times ``2**7``; 1 for plateaus alone.
    merging
        Whether a hole joins all objects around it; if not, only one inside one object is filled.
    """

    quantile: int
    threshold: Fraction
    background: int = 126
    least_dynamics: int = 1
    merging: bool = False

    def __post_init__(self) -> None:
        assert 0 <= self.quantile <= 100 and 0 <= self.threshold <= 1
        assert 0 <= self.background < 255 and self.least_dynamics >= 1

    @property
    def limit(self) -> int:
        """The least quantile of the relief at which two basins do not merge."""
        return math.ceil(self.threshold * ((255 - self.background) << LEVEL_BITS))

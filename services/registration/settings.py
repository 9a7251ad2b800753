"""What a registration depends on besides its images: the point spread, the search, the fit.

Nothing here brings a compiler, so that what is declared of a pipeline may check its words.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fibstream.core.echo import echo
from fibstream.core.errors import WrongUse


@dataclass(frozen=True, slots=True)
class Microscope:
    """Point spread of a light microscope: full widths at half maximum, nm, (axial, lateral).

    ``smooth_nm`` is the standard deviation of a blur that both images get: a histogram of
    localisations is too sparse to be compared as it is.
    """

    psf_nm: tuple[float, float]
    smooth_nm: float = 0.0

    def __post_init__(self) -> None:
        if not all(math.isfinite(v) and 1 <= v <= 5000 for v in self.psf_nm):
            raise WrongUse(f"psf_nm {echo(self.psf_nm)}: expected axial,lateral of 1 to 5000 nm")
        if not (math.isfinite(self.smooth_nm) and 0 <= self.smooth_nm <= 2000):
            raise WrongUse(f"smooth_nm {echo(self.smooth_nm)}: expected 0 to 2000 nm")

    @property
    def sigma_nm(self) -> NDArray[np.float64]:
        """Standard deviation of the point spread with the blur, (3,) nm."""
        axial, lateral = (width / math.sqrt(8 * math.log(2)) for width in self.psf_nm)
        return np.asarray(np.hypot([axial, lateral, lateral], self.smooth_nm), np.float64)


MICROSCOPES = {
    "palm": Microscope((60.0, 30.0), smooth_nm=80.0),
    "sim": Microscope((300.0, 120.0)),
    "confocal": Microscope((700.0, 250.0)),
}


def microscope_of(text: str, what: str) -> Microscope:
    """Return a point spread by name, or ``AXIAL,LATERAL`` widths in nm; ``what`` names the word."""
    if text in MICROSCOPES:
        return MICROSCOPES[text]
    expected = f"expected {', '.join(MICROSCOPES)} or AXIAL,LATERAL widths at half maximum, nm"
    try:
        axial, lateral = (float(part) for part in text.split(","))
    except ValueError:
        raise WrongUse(f"{what} {echo(text)}: {expected}") from None
    if not (math.isfinite(axial) and math.isfinite(lateral)):
        raise WrongUse(f"{what} {echo(text)}: {expected}")
    return Microscope((axial, lateral))


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a result depends on besides the images; lengths in nm."""

    window: tuple[float, float] = (64.0, 134.0)  # of a prediction of 64 nm voxels: becomes 0 to 1
    angle_deg: float = 5.0
    scales: tuple[float, ...] = (0.78, 0.86, 0.94, 1.0, 1.08, 1.18, 1.28)
    candidates: int = 32
    knots_nm: float = 2000.0
    bending: float = 3e-3

    def __post_init__(self) -> None:
        low, high = self.window
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise WrongUse(f"window {echo(self.window)}: expected LOW,HIGH with LOW < HIGH")
        if not 1 <= self.angle_deg <= 30:
            raise WrongUse(f"angle_deg {echo(self.angle_deg)}: expected 1 to 30")
        if not 1 <= self.candidates <= 256:
            raise WrongUse(f"candidates {echo(self.candidates)}: expected 1 to 256")
        if not self.scales or not all(0.1 <= s <= 10 for s in self.scales):
            raise WrongUse(f"scales {echo(self.scales)}: expected some of 0.1 to 10")
        if not 200 <= self.knots_nm <= 100_000:
            raise WrongUse(f"knots_nm {echo(self.knots_nm)}: expected 200 to 100000")
        if not 1e-6 <= self.bending <= 1e6:
            raise WrongUse(f"bending {echo(self.bending)}: expected 1e-6 to 1e6")

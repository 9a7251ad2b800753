"""The deformation of a real cell: COS-7 between FIB-SEM and PALM or SIM (Heinrich et al. 2021).

The only module of the phantom that reads files: the transforms in ``samples/``, with their licence.
"""

import zipfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from fibstream.core.echo import echo
from fibstream.core.errors import WrongUse
from fibstream.phantom.shapes import Floats

from . import elastix
from .deformations import Spline
from .warp import Affine, Warp

# Beside the packages, in a checkout as in a wheel.
ARCHIVE = Path(__file__).resolve().parents[2] / "samples" / "cos7_transforms.zip"
PUBLISHED = ("cos7-palm", "cos7-sim")


@dataclass(frozen=True, slots=True)
class Published:
    """An affine map from light to specimen, the displacement after it, and the image's middle."""

    affine: Affine
    spline: Spline
    middle: Floats

    def warp(self) -> Warp:
        """Return the transform as it was published; its specimen is the registered EM volume."""
        inverse = np.asarray(np.linalg.inv(self.affine.matrix), np.float64)
        return Warp(Affine(inverse, -inverse @ self.affine.offset), self.spline, pull=True)

    def centred(self, place: Floats) -> Spline:
        """Return the displacement alone, its middle moved to a place (nm) of another specimen."""
        return replace(self.spline, origin=self.spline.origin - self.middle + place)


@cache
def published(name: str) -> Published:
    """Return a published transform; raise WrongUse for a name that is not one of PUBLISHED."""
    if name not in PUBLISHED:
        raise WrongUse(f"transform {echo(name)}: expected {' or '.join(PUBLISHED)}")
    channel = name.removeprefix("cos7-")
    with zipfile.ZipFile(ARCHIVE) as archive:
        flat, bent = (
            archive.read(f"{channel}_{part}_TransformParameters.txt").decode()
            for part in ("affine", "def")
        )
    affine = elastix.affine(flat)
    entries = elastix.parse(bent)
    size, spacing = (np.array(entries[k].split(), float)[::-1] for k in ("Size", "Spacing"))
    middle = affine.forward((size * spacing * elastix.NM / 2)[None])[0]
    return Published(affine, elastix.spline(bent), middle)

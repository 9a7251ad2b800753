"""Transforms as elastix writes them: text of ``(Name value ..)`` lines, x first, micrometres.

Klein et al., IEEE TMI 29 (2010).  A transform maps a point of the fixed image to one of the moving
image; composed with an initial one, it comes second.
"""

import re

import numpy as np

from fibstream.core.echo import echo
from fibstream.core.errors import WrongUse
from fibstream.phantom.shapes import Floats

from .deformations import Spline
from .warp import Affine

NM = 1000.0  # in the files' micrometre
_LINE = re.compile(r"^\((\w+)\s+(.*)\)\s*$")


def parse(text: str) -> dict[str, str]:
    """Return the entries of a parameter file."""
    return {m[1]: m[2] for line in text.splitlines() if (m := _LINE.match(line.strip()))}


def _numbers(entries: dict[str, str], name: str, count: int) -> Floats:
    try:
        found = np.array(entries[name].split(), float)
    except (KeyError, ValueError):
        raise WrongUse(f"elastix parameters: no numbers under {name}") from None
    if len(found) != count:
        raise WrongUse(f"elastix parameters: {name} has {len(found)} numbers; expected {count}")
    return found


def _kind(entries: dict[str, str], wanted: str) -> None:
    if (found := entries.get("Transform", "").strip('"')) != wanted:
        raise WrongUse(f"elastix parameters: transform {echo(found)}; expected {wanted}")


def affine(text: str) -> Affine:
    """Return an ``AffineTransform`` (``(z, y, x)``, nm); raise WrongUse if it is none."""
    entries = parse(text)
    _kind(entries, "AffineTransform")
    values = _numbers(entries, "TransformParameters", 12)
    matrix, shift = values[:9].reshape(3, 3), values[9:]
    centre = _numbers(entries, "CenterOfRotationPoint", 3)
    offset = centre + shift - matrix @ centre
    return Affine(np.ascontiguousarray(matrix[::-1, ::-1]), offset[::-1] * NM)


def spline(text: str) -> Spline:
    """Return a ``BSplineTransform`` of order 3 as a displacement; raise WrongUse if it is none."""
    entries = parse(text)
    _kind(entries, "BSplineTransform")
    if entries.get("BSplineTransformSplineOrder", "3").strip() != "3":
        raise WrongUse("elastix parameters: expected a B-spline of order 3")
    nx, ny, nz = _numbers(entries, "GridSize", 3).astype(int).tolist()
    values = _numbers(entries, "TransformParameters", 3 * nx * ny * nz)
    lattice = values.reshape(3, nz, ny, nx)[::-1]  # x, y, z one after another
    return Spline(
        np.ascontiguousarray(np.moveaxis(lattice, 0, -1)) * NM,
        _numbers(entries, "GridOrigin", 3)[::-1] * NM,
        _numbers(entries, "GridSpacing", 3)[::-1] * NM,
    )

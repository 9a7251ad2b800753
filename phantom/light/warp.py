"""Transforms between a specimen in the electron microscope and its image in the light microscope.

Points are ``(n, 3)`` float64, ``(z, y, x)`` in nanometres.  A warp is an affine map after a smooth
or jumping displacement in the frame of the electron microscope; one of its two directions is a
formula, the other is solved point by point.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fibstream.phantom.shapes import Floats

TOLERANCE_NM = 1e-6  # largest error of a solved point; rounding is about 1e-11
MAX_STEPS = 200
STEP_NM = 10.0  # of the differences that give a Jacobian


class Deformation(Protocol):
    """A displacement field in the frame of the specimen."""

    def displacement(self, points: Floats) -> Floats:
        """Return the displacement (nm) at points, the same shape."""

    def record(self) -> dict[str, Any]:
        """Return every parameter, for JSON."""


@dataclass(frozen=True, slots=True)
class Affine:
    """``light = matrix @ point + offset``; matrix (3, 3), offset (3,) nm, axes ``(z, y, x)``."""

    matrix: Floats
    offset: Floats

    def forward(self, points: Floats) -> Floats:
        """Map points of the specimen into the light image."""
        return np.asarray(points @ self.matrix.T + self.offset)

    def backward(self, points: Floats) -> Floats:
        """Map points of the light image into the specimen."""
        return np.asarray(np.linalg.solve(self.matrix, (points - self.offset).T).T)

    def record(self) -> dict[str, Any]:
        """Return the parameters, for JSON."""
        return {"matrix": self.matrix.tolist(), "offset_nm": self.offset.tolist()}


@dataclass(frozen=True, slots=True)
class Warp:
    """An affine map with a deformation u.

    With ``pull`` false, ``light = affine(p + u(p))``.  With ``pull`` true the formula runs the
    other way, as registration programs store it: ``p = y + u(y)`` with ``y = affine^-1(light)``.
    """

    affine: Affine
    deformation: Deformation | None = None
    pull: bool = False

    def to_light(self, points: Floats) -> Floats:
        """Map points of the specimen into the light image.

        Raises
        ------
        ArithmeticError
            Where the warp folds, or changes too fast to be inverted.
        """
        if self.deformation is None:
            return self.affine.forward(points)
        if self.pull:
            return self.affine.forward(_solve(self.deformation, points))
        return self.affine.forward(points + self.deformation.displacement(points))

    def to_specimen(self, points: Floats) -> Floats:
        """Map points of the light image into the specimen; raises as :meth:`to_light` does."""
        flat = self.affine.backward(points)
        if self.deformation is None:
            return flat
        if self.pull:
            return flat + self.deformation.displacement(flat)
        return _solve(self.deformation, flat)

    def stretch(self, points: Floats) -> Floats:
        """Return det J over det A at points of the specimen, (n,): 1 where nothing is deformed.

        J is the Jacobian of :meth:`to_light`, by central differences over 10 nm; A the affine map.
        A negative value is a fold.
        """
        if self.deformation is None:
            return np.ones(len(points))
        base = _solve(self.deformation, points) if self.pull else points
        steps = STEP_NM * np.eye(3)
        u = self.deformation.displacement
        columns = [(u(base + step) - u(base - step)) / (2 * STEP_NM) for step in steps]
        jacobian = np.eye(3) + np.stack(columns, axis=-1)
        found = np.asarray(np.linalg.det(jacobian))
        return 1.0 / found if self.pull else found

    def record(self) -> dict[str, Any]:
        """Return every parameter, for JSON."""
        return {
            "formula": (
                "specimen = y + u(y), y = affine^-1(light)" if self.pull
                else "light = affine(specimen + u(specimen))"
            ),
            "affine": self.affine.record(),
            "deformation": None if self.deformation is None else self.deformation.record(),
        }  # fmt: skip


def _solve(deformation: Deformation, target: Floats) -> Floats:
    """Return p with ``p + u(p) = target``, by fixed-point steps: u changes slower than p."""
    found = target - deformation.displacement(target)
    unsolved = np.arange(len(target))
    for _ in range(MAX_STEPS):
        miss = target[unsolved] - found[unsolved] - deformation.displacement(found[unsolved])
        unsolved, miss = _remaining(unsolved, miss)
        if not len(unsolved):
            return found
        found[unsolved] += miss
    raise ArithmeticError(f"{len(unsolved)} points have no inverse: the deformation is too steep")


def _remaining(unsolved: Any, miss: Floats) -> tuple[Any, Floats]:
    """Return the points that are not yet solved, and their remaining errors."""
    far = np.abs(miss).max(axis=1) > TOLERANCE_NM
    return unsolved[far], miss[far]

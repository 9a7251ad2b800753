"""Displacement fields of warps: splines on a lattice, thin plates, slabs."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from fibstream.kernels.compiled import compiled
from fibstream.phantom.shapes import Floats

BATCH = 1 << 16  # points at a time: a thin plate needs a distance to each control point


@dataclass(frozen=True, slots=True)
class Spline:
    """A cubic B-spline on a lattice (Rueckert et al., IEEE TMI 18 (1999)); 0 far outside it.

    ``coefficients`` is (nz, ny, nx, 3), the displacement (z, y, x) in nm that each knot adds;
    knot (0, 0, 0) lies at ``origin`` and knots are ``spacing`` apart, both nm.
    """

    coefficients: Floats
    origin: Floats
    spacing: Floats

    def displacement(self, points: Floats) -> Floats:
        """Return the displacement, (n, 3) nm, at points (n, 3), nm."""
        return np.asarray(_splines(self.coefficients, (points - self.origin) / self.spacing))

    def record(self) -> dict[str, Any]:
        """Return every parameter, for JSON."""
        return {
            "kind": "cubic B-spline", "origin_nm": self.origin.tolist(),
            "spacing_nm": self.spacing.tolist(), "coefficients_nm": self.coefficients.tolist(),
        }  # fmt: skip


@compiled
def _weights(t: float, out: Floats) -> None:
    """Write the four weights of a uniform cubic B-spline at a fraction t of an interval."""
    u = 1.0 - t
    out[0] = u * u * u / 6.0
    out[1] = (3.0 * t * t * t - 6.0 * t * t + 4.0) / 6.0
    out[2] = (3.0 * u * u * u - 6.0 * u * u + 4.0) / 6.0
    out[3] = t * t * t / 6.0


@compiled
def _splines(coefficients: Floats, at: Floats) -> Floats:
    """Return the displacement, (n, 3) nm, at points (n, 3) in units of knots."""
    nz, ny, nx = coefficients.shape[:3]
    out = np.zeros((len(at), 3))
    wz, wy, wx = np.empty(4), np.empty(4), np.empty(4)
    for n in range(len(at)):
        kz, ky, kx = int(np.floor(at[n, 0])), int(np.floor(at[n, 1])), int(np.floor(at[n, 2]))
        _weights(at[n, 0] - kz, wz)
        _weights(at[n, 1] - ky, wy)
        _weights(at[n, 2] - kx, wx)
        for a in range(max(1 - kz, 0), min(nz + 1 - kz, 4)):
            for b in range(max(1 - ky, 0), min(ny + 1 - ky, 4)):
                w = wz[a] * wy[b]
                for c in range(max(1 - kx, 0), min(nx + 1 - kx, 4)):
                    for k in range(3):
                        out[n, k] += w * wx[c] * coefficients[kz + a - 1, ky + b - 1, kx + c - 1, k]
    return out


@dataclass(frozen=True)
class ThinPlate:
    """The field of least bending through given displacements (Bookstein, IEEE PAMI 11 (1989)).

    ``control_points`` is (n, 3) nm, ``moves`` (n, 3) their displacements, nm.  In three dimensions
    the kernel is the distance itself; far from the control points the field becomes affine.
    """

    control_points: Floats
    moves: Floats

    @cached_property
    def _plate(self) -> Any:
        return RBFInterpolator(self.control_points, self.moves, kernel="linear", degree=1)

    def displacement(self, points: Floats) -> Floats:
        """Return the displacement, (n, 3) nm, at points (n, 3), nm."""
        if not len(points):
            return np.zeros((0, 3))
        parts = [self._plate(points[i : i + BATCH]) for i in range(0, len(points), BATCH)]
        return np.concatenate(parts)

    def record(self) -> dict[str, Any]:
        """Return every parameter, for JSON."""
        return {
            "kind": "thin plate, kernel r, affine polynomial",
            "nails_nm": self.control_points.tolist(), "moves_nm": self.moves.tolist(),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Slabs:
    """Jumps along z: after an interruption of milling everything that follows is displaced.

    ``borders`` is (n,) nm ascending, ``moves`` (n + 1, 2) the displacement ``(y, x)`` of each slab
    in nm.
    """

    borders: Floats
    moves: Floats

    def displacement(self, points: Floats) -> Floats:
        """Return the displacement at points (n, 3), nm; none of it along z."""
        slab: NDArray[np.intp] = np.searchsorted(self.borders, points[:, 0], side="right")
        return np.concatenate([np.zeros((len(points), 1)), self.moves[slab]], axis=1)

    def record(self) -> dict[str, Any]:
        """Return every parameter, for JSON."""
        return {
            "kind": "slabs along z", "borders_nm": self.borders.tolist(),
            "moves_yx_nm": self.moves.tolist(),
        }  # fmt: skip

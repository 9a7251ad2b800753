"""The transform: an affine map after a displacement on a grid of cubic B-splines.

``light = matrix @ (p + u(p)) + offset`` maps points of the specimen to points of the light image.
Points are (n, 3) float64 nm ``(z, y, x)``.  Beyond the grid's domain nothing is known: NaN.
"""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the name its documentation uses
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse

from .sampling import Floats, spline_at

TOLERANCE_NM = 1e-6  # of an inverted point
MAX_STEPS = 200


@dataclass(frozen=True, slots=True)
class Spline:
    """Displacement u in nm: ``coefficients`` (nz, ny, nx, 3), node i at ``origin + i * spacing``.

    Its domain ends one node before the outermost, as that of ITK's B-spline transform does.
    """

    coefficients: Floats
    origin: Floats
    spacing: Floats

    def at(self, points: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Return u (n, 3), du/dp (n, 3, 3) and which points (n,) the domain holds.

        For others u and du/dp are those of the nearest place in the domain.
        """
        points = np.ascontiguousarray(points, np.float64)
        u, jacobian = np.empty((len(points), 3)), np.empty((len(points), 3, 3))
        inside = np.empty(len(points), np.bool_)
        spline_at(points, self.coefficients, self.origin, self.spacing, u, jacobian, inside)
        return u, jacobian, inside


@dataclass(frozen=True, slots=True)
class Transform:
    """``matrix`` (3, 3) and ``offset`` (3,) nm after a displacement; without one it is affine."""

    matrix: Floats
    offset: Floats
    spline: Spline | None = None

    def to_light(self, points: Floats) -> Floats:
        """Map points of the specimen into the light image; NaN beyond the grid's domain."""
        moved = np.array(points, np.float64)
        if self.spline is not None:
            u, _, inside = self.spline.at(moved)
            moved += u
            moved[~inside] = np.nan
        return np.asarray(apply(self.matrix, moved) + self.offset)

    def to_specimen(self, points: Floats) -> Floats:
        """Map points of the light image into the specimen: the exact inverse, point by point.

        NaN where the inverse lies beyond the grid's domain, or where the transform folds so that
        there is none within 1e-6 nm.
        """
        back = np.asarray(np.linalg.inv(self.matrix), np.float64)
        flat = apply(back, np.asarray(points, np.float64) - self.offset)
        if self.spline is None:
            return flat
        found = flat.copy()
        left = np.arange(len(flat))
        for _ in range(MAX_STEPS):
            u, _, _ = self.spline.at(found[left])
            miss = flat[left] - found[left] - u
            found[left] += miss
            left = left[(np.abs(miss) > TOLERANCE_NM).any(axis=1)]
            if not len(left):
                break
        found[left] = np.nan
        found[~self.spline.at(found)[2]] = np.nan
        return found

    def stretch(self, points: Floats) -> Floats:
        """Return det J over det A at points of the specimen, (n,); a fold where it is <= 0.

        From the spline's own derivatives, so that no border layer is wrong; NaN beyond the domain.
        """
        if self.spline is None:
            return np.ones(len(points))
        _, jacobian, inside = self.spline.at(points)
        found = np.asarray(det3(np.eye(3) + jacobian))
        found[~inside] = np.nan
        return found


def apply(matrix: Floats, points: Floats) -> Floats:
    """Return ``matrix @ p`` of each row p, by sums in a fixed order (no threads of a library)."""
    return np.stack([(points * row).sum(axis=-1) for row in matrix], axis=-1)


def lengths(vectors: Floats) -> Floats:
    """Return the lengths of vectors (n, 3), (n,)."""
    return np.asarray(np.sqrt((vectors * vectors).sum(axis=1)))


def det3(m: Floats) -> Floats:
    """Return the determinants of (..., 3, 3) matrices."""
    a, b, c = m[..., 0, :], m[..., 1, :], m[..., 2, :]
    return np.asarray((a * np.cross(b, c)).sum(axis=-1))


def to_itk(transform: Transform) -> sitk.Transform:
    """Return an ITK composite transform, nanometres ``(x, y, z)``: affine, then B-spline.

    ITK applies what was added last first.  Beyond the grid's domain ITK's displacement is 0.
    """
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(transform.matrix[::-1, ::-1].ravel().tolist())
    affine.SetTranslation(transform.offset[::-1].tolist())
    parts = [affine]
    if transform.spline is not None:
        images = []
        for axis in (2, 1, 0):
            image = sitk.GetImageFromArray(
                np.ascontiguousarray(transform.spline.coefficients[..., axis])
            )
            image.SetOrigin(transform.spline.origin[::-1].tolist())
            image.SetSpacing(transform.spline.spacing[::-1].tolist())
            images.append(image)
        parts.append(sitk.BSplineTransform(images, 3))
    return sitk.CompositeTransform(parts)


def from_itk(transform: sitk.Transform) -> Transform:
    """Return the transform of an ITK composite of an affine map and at most one cubic B-spline.

    Raises
    ------
    WrongUse
        For anything else.
    """
    parts = _parts(transform)
    kinds = [part.GetName() for part in parts]
    if kinds not in (["AffineTransform"], ["AffineTransform", "BSplineTransform"]):
        raise WrongUse(f"transform of {kinds}: expected an affine map, and a B-spline or none")
    affine = sitk.AffineTransform(parts[0])
    if affine.GetDimension() != 3:
        raise WrongUse(f"transform of {affine.GetDimension()} axes: expected 3")
    matrix = np.array(affine.GetMatrix()).reshape(3, 3)
    centre, moved = np.array(affine.GetCenter()), np.array(affine.GetTranslation())
    offset = centre + moved - matrix @ centre
    spline = None if len(parts) == 1 else _spline(sitk.BSplineTransform(parts[1]))
    values = [matrix, offset, *([] if spline is None else [spline.coefficients])]
    if not all(np.isfinite(each).all() for each in values):
        raise WrongUse("transform of numbers that are not finite: expected finite ones")
    if np.linalg.matrix_rank(matrix) < 3:
        raise WrongUse("transform on to a plane: expected an affine map that has an inverse")
    return Transform(matrix[::-1, ::-1].copy(), offset[::-1].copy(), spline)


def _parts(transform: sitk.Transform) -> list[sitk.Transform]:
    if transform.GetName() != "CompositeTransform":
        return [transform.Downcast()]
    composite = sitk.CompositeTransform(transform)
    return [
        composite.GetNthTransform(n).Downcast() for n in range(composite.GetNumberOfTransforms())
    ]


def _spline(transform: sitk.BSplineTransform) -> Spline:
    if transform.GetOrder() != 3:
        raise WrongUse(f"B-spline of order {transform.GetOrder()}: expected 3")
    images = transform.GetCoefficientImages()
    if not np.array_equal(np.array(images[0].GetDirection()).reshape(3, 3), np.eye(3)):
        raise WrongUse("B-spline with turned axes: expected axes along those of the image")
    fields = [sitk.GetArrayFromImage(image) for image in reversed(images)]
    origin, spacing = (
        np.array(v)[::-1].copy() for v in (images[0].GetOrigin(), images[0].GetSpacing())
    )
    return Spline(np.ascontiguousarray(np.stack(fields, axis=-1)), origin, spacing)

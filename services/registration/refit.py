"""A transform from landmarks that a person corrected, or from nothing but a person's landmarks."""

import numpy as np
from numpy.typing import NDArray

from fibstream.core.echo import echo
from fibstream.core.errors import LimitExceeded, WrongUse

from .exchange import MAX_LANDMARKS, Landmarks
from .fit import HARDER, LEAST_STRETCH, MAX_HARDER, Grid, domain, grid_over, solved, stretch_of
from .port import Image
from .sampling import Floats
from .settings import Settings
from .transform import Spline, Transform, apply

MOVED_NM = 0.5  # a row nearer to where the transform sends it was not touched: files round
TRUST = 5.0  # weight of a moved row: patches err by 30 nm an axis, people by 13 (31.6 apart)
LEAST_ROWS = 4  # fix an affine map, if they do not lie in a plane
FLAT = 1e-3  # of the largest extent of landmarks: thinner is a plane


def refit(
    found: Transform, landmarks: Landmarks, em: Image, settings: Settings | None = None,
    weight: Floats | None = None,
) -> Transform:  # fmt: skip
    """Return a transform that goes through rows that a person moved and stays where none was.

    What is fitted is the change of the displacement: nothing moved, nothing changes, to the bit.
    Rows that were left out say nothing.

    Parameters
    ----------
    found
        The transform that the rows were exported from.
    landmarks
        Corrected, nm: ``moving`` in the light image, ``target`` in the specimen.
    em
        The specimen, for its grid where ``found`` has no deformation.
    weight
        (n,) of each row; by default 1, and 5 of one that was moved.

    Raises
    ------
    WrongUse
        A row outside of the specimen or moved by more than its size, a weight that is none, or
        rows that no transform without folds can follow.
    """
    settings = settings or Settings()
    grid = _grid(found, em, settings)
    _check(landmarks, grid, found)
    before = np.zeros((*grid.shape, 3)) if found.spline is None else found.spline.coefficients
    start = Spline(before, grid.origin, grid.spacing)
    target = _unmapped(found, landmarks.moving) - landmarks.target - start.at(landmarks.target)[0]
    miss = apply(found.matrix, target)
    moved = np.asarray(np.sqrt((miss * miss).sum(axis=1)) >= MOVED_NM)
    if not moved.any():
        return found
    trust = _weights(weight, moved)
    bending = settings.bending
    for _ in range(MAX_HARDER):
        change, _ = solved(
            grid, landmarks.target, target * moved[:, None], trust[:, None].repeat(3, axis=1),
            bending, rounds=1,
        )  # fmt: skip
        spline = Spline(before + change.coefficients, grid.origin, grid.spacing)
        if float(stretch_of(spline, grid).min()) >= LEAST_STRETCH:
            return Transform(found.matrix, found.offset, spline)
        bending *= HARDER
    raise WrongUse("landmarks: following them turns space over; expected smaller corrections")


def from_landmarks(landmarks: Landmarks, em: Image, settings: Settings | None = None) -> Transform:
    """Return the transform through landmarks alone (nm): the best affine map, then a deformation.

    Raises
    ------
    WrongUse
        Fewer than four rows, or rows in a plane; else as :func:`refit`.
    """
    count = len(landmarks.target)
    if count < LEAST_ROWS:
        raise WrongUse(f"landmarks: {count} rows; expected at least {LEAST_ROWS}")
    middle = landmarks.target.mean(axis=0)
    extent = np.linalg.svd(landmarks.target - middle, compute_uv=False)
    if not extent[2] > FLAT * extent[0]:
        raise WrongUse("landmarks: all in a plane; expected some above and below it")
    rows = np.c_[landmarks.target - middle, np.ones(count)]
    solution = np.linalg.lstsq(rows, landmarks.moving, rcond=None)[0]
    matrix = np.ascontiguousarray(solution[:3].T)
    if not abs(float(np.linalg.det(matrix))) > 0:
        raise WrongUse("landmarks: all in a plane of the light image; expected some beside it")
    return refit(Transform(matrix, solution[3] - apply(matrix, middle)), landmarks, em, settings)


def _grid(found: Transform, em: Image, settings: Settings) -> Grid:
    """Return the grid of a transform's own deformation, or a new one over the specimen."""
    if found.spline is None:
        return grid_over(em, settings.knots_nm)
    own = grid_over(em, float(found.spline.spacing[0]))
    same = own.shape == found.spline.coefficients.shape[:3]
    if not (same and np.allclose(own.origin, found.spline.origin)):
        raise WrongUse("transform: its grid is not that of this specimen; expected its own volume")
    return own


def _check(landmarks: Landmarks, grid: Grid, found: Transform) -> None:
    if len(landmarks.names) > MAX_LANDMARKS:
        raise LimitExceeded(f"landmarks: {len(landmarks.names)} rows; at most {MAX_LANDMARKS}")
    low, high = domain(grid)
    inside = ((landmarks.target >= low) & (landmarks.target <= high)).all(axis=1)
    near = np.abs(_unmapped(found, landmarks.moving) - landmarks.target) <= high - low
    for rule, text in ((inside, "outside of the specimen"), (near.all(axis=1), "moved too far")):
        if not rule.all():  # also NaN
            name = landmarks.names[int(np.flatnonzero(~rule)[0])]
            raise WrongUse(f"landmark {echo(name)}: {text}; expected nm, light first")


def _unmapped(found: Transform, light: Floats) -> Floats:
    """Return places of the light image before the affine part."""
    back = np.asarray(np.linalg.inv(found.matrix), np.float64)
    return apply(back, light - found.offset)


def _weights(weight: Floats | None, moved: NDArray[np.bool_]) -> Floats:
    if weight is None:
        return np.where(moved, TRUST, 1.0)
    if weight.shape != moved.shape or not (np.isfinite(weight) & (weight >= 0)).all():
        raise WrongUse(f"weights of {weight.shape}: expected one of 0 or more for each row")
    if not (weight * moved).any():
        raise WrongUse("weights: those of all rows that were moved are 0")
    return weight

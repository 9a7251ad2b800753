"""What a registration's own data say of it: is it right, and how far off is it."""

import math

import numpy as np
from numpy.typing import NDArray

from .fit import Grid, solved
from .match import Matches
from .port import Judgement, Status
from .sampling import Floats

FOLDS_OF_DATA = 5
LAYER_NM, LEAST_IN_LAYER = 256.0, 10
REGION_NM = 1400.0  # more than an edge of a patch: those left out together share voxels
# Bounds: right results of the phantoms used for tuning lie above, wrong ones below.
NCC, GAP, KEPT, ERROR_NM, LEAST_PATCHES = 0.4, 0.08, 0.5, 200.0, 40
SURELY_WRONG = (0.25, 0.02, 0.3, 300.0)  # the same four: any of these is no registration


def cross_validated(
    grid: Grid, points: Floats, target: Floats, weight: Floats, bending: float
) -> Floats:
    """Return how each patch misses a spline that saw no patch of its region, (n, 3) nm.

    From where the spline says to where the patch is; NaN where a patch has no weight.
    """
    part = regions(points)
    miss = np.full(points.shape, np.nan)
    for n in range(FOLDS_OF_DATA):
        out = part == n
        if not out.any() or out.all():
            continue
        spline, _ = solved(grid, points[~out], target[~out], weight[~out], bending)
        miss[out] = target[out] - spline.at(points[out])[0]
    miss[~(weight > 0).all(axis=1)] = np.nan
    return miss


def regions(points: Floats) -> NDArray[np.int64]:
    """Return the number, 0 to 4, of the part of the data that each place belongs to, (n,).

    Columns a little wider than a patch; neighbours along y and x differ.  Still wider ones measure
    how well a gap is bridged that no fit to all patches has.
    """
    cell = np.floor(points / REGION_NM).astype(np.int64)
    return np.asarray((cell[:, 1] + 2 * cell[:, 2]) % FOLDS_OF_DATA)


def jumps(matches: Matches) -> Floats:
    """Return how far each patch's layer lies aside of where a transform has it, (n, 3) nm.

    Where milling was interrupted, all that follows is displaced along y and x.  Patches of the fit
    are thicker than many a layer and its knots still further apart: neither sees it.  Thin patches
    do, and the median of a layer of a quarter of a micrometre has next to none of their noise.

    Parameters
    ----------
    matches
        Of thin patches, from the transform.
    """
    found = (matches.weight > 0).all(axis=1)
    layer = np.floor(matches.place[:, 0] / LAYER_NM).astype(np.int64)
    aside = np.zeros(matches.place.shape)
    for number in np.unique(layer):
        inside = layer == number
        if int((inside & found).sum()) >= LEAST_IN_LAYER:
            aside[inside, 1:] = np.median(matches.move[inside & found, 1:], axis=0)
    return aside


def judged(
    ncc: float, gap: float, weight: Floats, error: Floats, stretch: Floats,
    by: str = "by cross-validation",
) -> Judgement:  # fmt: skip
    """Return the judgement on a transform; ``by`` says how its error was found.

    Any measure that is surely wrong, or two beyond their bounds: unregistered.  One beyond: check.
    """
    used = np.asarray((weight > 0).all(axis=1))
    kept = float(used.mean()) if len(used) else 0.0
    known = error[np.isfinite(error)]
    middle = float(np.median(known)) if len(known) else math.inf
    folds = float((stretch <= 0).mean())
    texts = [
        (not ncc >= NCC, f"correlation {ncc:.2f}, expected {NCC}"),
        (not gap >= GAP, f"another orientation is as good within {gap:.2f}, expected {GAP}"),
        (kept < KEPT, f"{kept:.0%} of the patches found a place, expected {KEPT:.0%}"),
        (
            not middle <= ERROR_NM,
            f"error {middle:.0f} nm {by}, expected {ERROR_NM:.0f}",
        ),
        (folds > 0, f"folds at {folds:.1%} of the places"),
        (int(used.sum()) < LEAST_PATCHES, f"{used.sum()} patches, expected {LEAST_PATCHES}"),
    ]
    reasons = tuple(text for beyond, text in texts if beyond)
    low, narrow, few, far = SURELY_WRONG
    surely = not (ncc >= low and gap >= narrow and kept >= few and middle <= far)  # also NaN
    status: Status = "registered"
    if reasons:
        status = "unregistered" if surely or len(reasons) > 1 else "check"
    return Judgement(status, reasons, ncc, gap, kept, int(used.sum()), middle, folds)

"""Registration from two images: search, affine, match and fit, judge.

Pure and cold: nothing earlier is read, so equal images and settings give equal bits.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .affine import STEPS, Fitted, Level, correlation, levels, refine, starts
from .fit import Fit, Grid, fit, grid_over, stretch_of, targets
from .judge import cross_validated, judged, jumps
from .light.pseudo import pseudo_light
from .match import Matches, Rule, match, places
from .port import Image, Registration, check_image
from .prepare import coarser, prepare_light, prepare_pseudo
from .sampling import Floats
from .search import search
from .settings import Microscope, Settings
from .transform import Transform, apply, lengths
from .uncertainty import error_map

FINE = 4  # of the candidates are refined at the middle level
DIFFERENT_NM = 1500.0  # root mean square over the specimen: nearer transforms are one answer
COARSE_PASSES = (Rule(1100.0, 1400.0, 1000.0), Rule(1100.0, 1400.0, 600.0))
COARSE_NM, COARSE_KNOTS_NM = 256.0, 2500.0
PASSES = (
    Rule(900.0, 900.0, 400.0), Rule(900.0, 800.0, 300.0), Rule(900.0, 700.0, 250.0),
    Rule(600.0, 500.0, 250.0), Rule(600.0, 500.0, 250.0),  # a patch averages what bends within it
)  # fmt: skip
THIN = Rule(600.0, (128.0, 500.0, 500.0), 400.0)  # sees what jumps along z


class Pair(NamedTuple):
    """A pseudo-light image and a light image, prepared: float32 of 0 to 1, at most 128 nm."""

    em: Image
    light: Image


def prepare(
    prediction: Image, light: Image, microscope: Microscope, settings: Settings,
    mask: NDArray[np.bool_] | None = None,
) -> Pair:  # fmt: skip
    """Return both images made comparable; raise WrongUse for one that cannot be registered."""
    check_image(light, "light")
    pseudo = pseudo_light(prediction, settings.window, microscope, mask)
    return Pair(prepare_pseudo(pseudo), prepare_light(light, microscope.smooth_nm))


def register(
    prediction: Image, light: Image, microscope: Microscope, settings: Settings | None = None,
    mask: NDArray[np.bool_] | None = None,
) -> Registration:  # fmt: skip
    """Return the transform from a specimen into a light image, with a judgement.

    Parameters
    ----------
    prediction
        Of the stained membrane, about 64 nm a voxel.
    light
        The light image; its optical axis is z, as the specimen's.
    microscope
        The light microscope's point spread.
    settings
        By default those that docs/registration.md measures.
    mask
        Where the cell is, of the prediction's shape.

    Raises
    ------
    WrongUse
        For an image that cannot be registered; the message says why.
    """
    settings = settings or Settings()
    pair = prepare(prediction, light, microscope, settings, mask)
    coarse, middle, fine = levels(*pair)
    best, gap = oriented(pair, (coarse, middle), settings)
    affine = refine(best.transform, fine, STEPS[2]).transform
    return deformed(pair, affine, gap, settings)


class Start(NamedTuple):
    """An affine map found from any orientation, and how much less the next one reaches."""

    affine: Transform
    gap: float


def start_of(
    prediction: Image, light: Image, microscope: Microscope, settings: Settings
) -> Start:  # fmt: skip
    """Return where `register_from` may begin, for a specimen that grows; raise as `register`."""
    pair = prepare(prediction, light, microscope, settings)
    best, gap = oriented(pair, levels(*pair)[:2], settings)
    return Start(best.transform, gap)


def register_from(
    start: Start, prediction: Image, light: Image, microscope: Microscope, settings: Settings
) -> Registration:
    """Return the transform from a specimen into a light image, from that of a part of it.

    No other orientation is looked at: the gap is that of the part. Raises as `register` does.
    """
    pair = prepare(prediction, light, microscope, settings)
    now = start.affine
    for level, steps in zip(levels(*pair), STEPS, strict=True):
        now = refine(now, level, steps).transform
    return deformed(pair, now, start.gap, settings)


def oriented(pair: Pair, level: tuple[Level, Level], settings: Settings) -> tuple[Fitted, float]:
    """Return the best affine map from any orientation, and how much less the next one reaches."""
    coarse, middle = level
    found = [
        refine(start, coarse, STEPS[0])
        for pose in search(*pair, settings) for start in starts(pose, coarse)
    ]  # fmt: skip
    found.sort(key=lambda one: -one.ncc)
    distinct: list[Fitted] = []
    for one in found:
        if all(_apart_nm(one, other, pair.em) > DIFFERENT_NM for other in distinct):
            distinct.append(one)
    finer = [refine(one.transform, middle, STEPS[1]) for one in distinct[:FINE]]
    order = sorted(finer, key=lambda one: -one.ncc)
    rivals = [one for one in order[1:] if _apart_nm(one, order[0], pair.em) > DIFFERENT_NM]
    return order[0], order[0].ncc - (rivals[0].ncc if rivals else 0.0)


def _apart_nm(a: Fitted, b: Fitted, em: Image) -> float:
    """Return the root mean square distance of two affine maps at the specimen's corners."""
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
    corners = em.middle_nm + signs * em.extent_nm / 2
    miss = a.transform.to_light(corners) - b.transform.to_light(corners)
    return float(np.sqrt((miss * miss).sum(axis=1).mean()))


def deformed(pair: Pair, affine: Transform, gap: float, settings: Settings) -> Registration:
    """Return the transform with a deformation by block matching, from an affine map, judged."""
    now = affine
    small = Pair(coarser(pair.em, COARSE_NM), coarser(pair.light, COARSE_NM))
    for rule in COARSE_PASSES:
        grid = grid_over(pair.em, max(COARSE_KNOTS_NM, settings.knots_nm))
        now = _passed(small, now, rule, grid, settings).transform
    grid = grid_over(pair.em, settings.knots_nm)
    for rule in PASSES:
        done = _passed(pair, now, rule, grid, settings)
        now = done.transform
    miss = cross_validated(
        grid, done.matches.place, done.target, done.matches.weight, done.fit.bending
    )
    miss += jumps(match(*pair, now, done.matches.place, THIN))
    error = lengths(apply(affine.matrix, miss))
    judgement = judged(
        correlation(now, Level(*pair)), gap, done.matches.weight, error,
        stretch_of(done.fit.spline, grid),
    )  # fmt: skip
    spread = error_map(pair.em, grid, done.matches.place, done.fit, judgement.error_nm)
    return Registration(now, judgement, affine, done.matches.place, miss, spread)


class Pass(NamedTuple):
    """One pass of matching and fitting."""

    transform: Transform
    matches: Matches
    target: Floats
    fit: Fit


def _passed(pair: Pair, start: Transform, rule: Rule, grid: Grid, settings: Settings) -> Pass:
    """Match patches from a transform, fit a spline to them; the affine part stays."""
    matches = match(*pair, start, places(pair.em, rule.cell_nm), rule)
    target = targets(matches, start)
    fitted = fit(grid, matches.place, target, matches.weight, settings.bending)
    return Pass(Transform(start.matrix, start.offset, fitted.spline), matches, target, fitted)

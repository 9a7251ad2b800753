"""A registration from landmarks: an earlier one that a person corrected, or a person's alone.

The images are not fitted again; they judge what the landmarks say.
"""

import numpy as np

from .affine import Level, correlation
from .exchange import Landmarks
from .fit import grid_over, stretch_of
from .judge import judged
from .match import Rule, match, places
from .port import Image, Registration
from .refit import from_landmarks, refit
from .register import Pair, prepare
from .settings import Microscope, Settings
from .transform import Transform, apply, lengths

BY = "of patches"  # from where the transform sends them to where they look best
RULE = Rule(900.0, 700.0, 600.0)  # twice as far as is surely wrong: what is far off is seen as such
GIVEN = 1.0  # the gap to another orientation where a person's landmarks say which is right


def corrected(
    prediction: Image, light: Image, landmarks: Landmarks, microscope: Microscope,
    settings: Settings | None = None, earlier: tuple[Transform, float] | None = None,
) -> Registration:  # fmt: skip
    """Return the transform through landmarks, judged by the images.

    Its error is the distance of patches from where the transform sends them: landmarks are not
    among them, and no patch was fitted.

    Parameters
    ----------
    prediction, light
        As `register` takes them.
    landmarks
        nm; ``moving`` in the light image, ``target`` in the specimen.
    earlier
        The transform whose landmarks a person corrected, and its gap to the next orientation. None:
        landmarks alone decide.

    Raises
    ------
    WrongUse
        For an image that cannot be registered, and landmarks that no transform can follow.
    """
    settings = settings or Settings()
    pair = prepare(prediction, light, microscope, settings)
    if earlier is None:
        return looked_at(pair, from_landmarks(landmarks, pair.em, settings), GIVEN, settings)
    transform = refit(earlier[0], landmarks, pair.em, settings)
    return looked_at(pair, transform, earlier[1], settings)


def looked_at(pair: Pair, transform: Transform, gap: float, settings: Settings) -> Registration:
    """Return a transform with the judgement of two prepared images, which it was not made of."""
    matches = match(*pair, transform, places(pair.em, RULE.cell_nm), RULE)
    miss = matches.move.copy()
    miss[~(matches.weight > 0).all(axis=1)] = np.nan
    spline = transform.spline
    stretch = stretch_of(spline, grid_over(pair.em, settings.knots_nm)) if spline else np.ones(1)
    judgement = judged(
        correlation(transform, Level(*pair)), gap, matches.weight,
        lengths(apply(transform.matrix, miss)), stretch, by=BY,
    )  # fmt: skip
    affine = Transform(transform.matrix, transform.offset)
    return Registration(transform, judgement, affine, matches.place, miss)

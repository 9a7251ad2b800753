"""The error at a channel that registration never saw, such as the reticulum (Heinrich et al. 2021).

They picked landmarks in it by hand; here each patch looks for itself around where the transform
sends it.
"""

from typing import NamedTuple

import numpy as np

from .match import Rule, match, places
from .port import Image
from .register import prepare
from .sampling import Floats
from .settings import Microscope, Settings
from .transform import Transform, apply, lengths

RULE = Rule(900.0, 700.0, 400.0)  # an error of more than 400 nm finds no place: it counts as lost


class HeldOut(NamedTuple):
    """Patches of a held-out channel that found a place, (n, 3) nm; error (n,) nm in the light."""

    points_nm: Floats
    error_nm: Floats
    patches: int  # those without a place, too


class Score(NamedTuple):
    """What a report says of a held-out channel: nm, patches that found a place, and those lost.

    None where it is not known; ``reason`` says why where nothing was measured.
    """

    median_nm: float | None = None
    p95_nm: float | None = None
    patches: int = 0
    lost: int = 0
    reason: str | None = None


def scored(found: HeldOut) -> Score:
    """Return what a report says of patches of a held-out channel."""
    known = len(found.error_nm)
    median = p95 = None
    if known:
        median, p95 = np.percentile(found.error_nm, [50, 95]).tolist()
    return Score(median, p95, known, found.patches - known)


def held_out(
    transform: Transform, prediction: Image, light: Image, microscope: Microscope,
    settings: Settings | None = None,
) -> HeldOut:  # fmt: skip
    """Return how far patches of a prediction lie from their places in a light image, by channel.

    Parameters
    ----------
    transform
        From the specimen into the light image, made of other channels.
    prediction, light
        Of the channel that was held out, in the frames of the others.

    Raises
    ------
    WrongUse
        For an image that cannot be registered.
    """
    pair = prepare(prediction, light, microscope, settings or Settings())
    matches = match(*pair, transform, places(pair.em, RULE.cell_nm), RULE)
    found = np.asarray((matches.weight > 0).any(axis=1))
    error = lengths(apply(transform.matrix, matches.move[found]))
    return HeldOut(matches.place[found], error, len(found))

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

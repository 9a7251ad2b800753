"""Predictions stored as bytes: signed distances, converted to the scale of fibstream if needed.

COSEM's inference writes t = tanh(distance / 50 nm) as ``clip(round(a t + b), 0, 255)``, with a and
b stated by ``safe_scale`` in the attributes of the array (Heinrich et al. 2021,
``clip_float_to_uint8`` of simpleference).  False: a = 128 and b = 127, so that 127 is the surface;
that is the scale of fibstream, and the lowest distance is cut off.  True: a = 127 and b = 128, so
that 128 is the surface.  fibstream's own predictions state ``squash_nm``, the length that is 50 nm
there; those of a probability state the meaning ``probability`` instead.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import MAX_SQUASH_NM, MIN_SQUASH_NM
from fibstream.core.echo import echo
from fibstream.core.errors import WrongUse

MEANINGS = ("distance", "probability")
RANGE = (-1.0, 1.0)  # of a tanh; other ranges are probabilities, which have no surface


def table_of(attributes: Mapping[str, Any], name: str) -> NDArray[np.uint8] | None:
    """Return the byte that replaces each byte of a prediction, or None if all stay.

    Parameters
    ----------
    attributes
        Of the array. Without ``float_range`` and ``safe_scale`` the bytes stay.
    name
        The array's name in messages.

    Returns
    -------
    ndarray of uint8, shape (256,)
        Indexed by the stored byte.

    Raises
    ------
    WrongUse
        If the attributes state that the bytes are no signed distances.
    """
    span = attributes.get("float_range", list(RANGE))
    if not isinstance(span, list | tuple) or tuple(span) != RANGE:
        raise WrongUse(
            f"{name} holds values of the float_range {span}; expected a signed tanh distance, "
            "float_range [-1, 1]"
        )
    safe = attributes.get("safe_scale", False)
    if not isinstance(safe, bool | int):
        raise WrongUse(f"{name} has the safe_scale {echo(safe)}; expected true or false")
    if not safe:
        return None
    # Halves never occur: 128/127 (v - 128) is a whole number only at v = 1, 128 and 255.
    grey = [math.floor(128 * (byte - 128) / 127 + 127.5) for byte in range(256)]
    return np.clip(grey, 0, 255).astype(np.uint8)


def squash_of(attributes: Mapping[str, Any], name: str) -> float | None:
    """Return the length in nm that distances are divided by before the tanh; None if not stated.

    Raises WrongUse where ``squash_nm`` is no length.
    """
    given = attributes.get("squash_nm")
    if given is None:
        return None
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if not is_number or not MIN_SQUASH_NM <= given <= MAX_SQUASH_NM:
        raise WrongUse(
            f"{name} has the squash_nm {echo(given)}; expected a length from {MIN_SQUASH_NM:g} to"
            f" {MAX_SQUASH_NM:g} nm"
        )
    return float(given)


def holds_distances(attributes: Mapping[str, Any], name: str) -> bool:
    """Whether bytes are those of distances; False for ``meaning`` probability.

    Raises WrongUse for any other meaning.
    """
    meaning = attributes.get("meaning", "distance")
    if meaning not in MEANINGS:
        raise WrongUse(f"{name} has the meaning {echo(meaning)}; expected {' or '.join(MEANINGS)}")
    return bool(meaning == "distance")

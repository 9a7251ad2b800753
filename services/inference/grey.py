"""Grey values: raw ones as the network reads them, and predicted ones as they are stored."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import MAX_GREY
from fibstream.core.errors import WrongUse

from .port import Meaning

SLACK = 1e-5  # runtimes approximate tanh and softmax, at times beyond the range in the last place
MIN_WINDOW = 1e-300  # 255 over it is still a number


def check_window(low: float, high: float, what: str) -> tuple[float, float]:
    """Return a window that `contrast` can map grey values by; raise WrongUse for any other."""
    wide = -MAX_GREY <= low < high <= MAX_GREY
    if not (wide and high - low >= MIN_WINDOW):
        raise WrongUse(f"{what}: expected finite LOW below HIGH, both from -2**52 to 2**52")
    return low, high


def contrast(
    raw: NDArray[np.integer[Any]] | NDArray[np.floating[Any]],
    low: float,
    high: float,
    *,
    invert: bool = False,
) -> NDArray[np.uint8]:
    """Map grey values linearly so that ``low`` becomes 0 and ``high`` 255.

    Parameters
    ----------
    raw
        Array of integers or floats, any shape. Not a number counts as raw 0, as absent voxels do.
    low, high
        The window, ``low < high``, in the units of ``raw``.
    invert
        Return 255 minus the value.

    Returns
    -------
    NDArray[np.uint8]
        Shaped as ``raw``: ``255 (v - low) / (high - low)``, halves up, clipped to [0, 255]. Exact
        for integers with a window of integers; uint8 with 0, 255 is unchanged.
    """
    assert -MAX_GREY <= low < high <= MAX_GREY, (low, high)
    whole = float(low).is_integer() and float(high).is_integer()
    if np.issubdtype(raw.dtype, np.integer) and whole:
        grey = _integers(raw, int(low), int(high))
    else:
        grey = _floats(raw, low, high)
    return 255 - grey if invert else grey


def _integers(raw: NDArray[Any], low: int, high: int) -> NDArray[np.uint8]:
    info = np.iinfo(raw.dtype)
    # Clipping in the raw type first lets every type, uint64 too, go on as int64.
    first, last = (min(max(edge, info.min), info.max) for edge in (low, high))
    grey: NDArray[np.int64] = np.clip(raw, first, last).astype(np.int64)
    grey -= low
    grey *= 2 * 255
    grey += high - low
    grey //= 2 * (high - low)
    return np.clip(grey, 0, 255).astype(np.uint8)


def _floats(raw: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    grey = np.nan_to_num(raw.astype(np.float64), copy=False, nan=0.0, posinf=high, neginf=low)
    np.clip(grey, low, high, out=grey)
    grey -= low
    grey *= 255 / (high - low)
    grey += 0.5
    return np.floor(grey, out=grey).astype(np.uint8)


def quantise(output: NDArray[np.floating[Any]], meaning: Meaning = "distance") -> NDArray[np.uint8]:
    """Return a network's output as it is stored: ``clip(round(128 t + 127), 0, 255)``.

    Any shape; 127 is the surface, halves go to the even neighbour (Heinrich et al. 2021). A
    distance is t itself, ``tanh(distance / scale)``. A probability p is t = 2 p - 1. A logit x has
    the probability ``1 / (1 + exp(-x))``, so that t is ``tanh(x / 2)``.

    Raises
    ------
    ValueError
        A value is not finite, or outside the declared range: [-1, 1] of a distance, [0, 1] of a
        probability, any of a logit.
    """
    if meaning == "logit":
        check_range(output, (-np.inf, np.inf), meaning)
        output = np.tanh(output.astype(np.float64) / 2)
    elif meaning == "probability":
        check_range(output, (0, 1), meaning)
        output = 2 * output.astype(np.float64) - 1
    else:
        check_range(output, (-1, 1), meaning)
    grey: NDArray[Any] = np.clip(np.round(128 * output + 127), 0, 255)
    return grey.astype(np.uint8)


def check_range(output: NDArray[Any], limits: tuple[float, float], meaning: str) -> None:
    """Raise ValueError for a value that is not finite, or beyond limits by more than rounding."""
    least, most = float(output.min()), float(output.max())  # NaN, if there is one
    if not np.isfinite([least, most]).all():
        raise ValueError("values that are not finite")
    low, high = limits
    if least < low - SLACK or most > high + SLACK:
        worst = least if low - least > most - high else most
        raise ValueError(
            f"the value {worst:g}; its metadata declare a {meaning}, from {low:g} to {high:g}"
        )

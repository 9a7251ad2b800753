"""Colours of objects: one per id, the same in every picture and viewer, safe for colour-blind eyes.

The hues are those of Okabe and Ito (Color Universal Design, 2008) without black: they stay apart
for all common kinds of colour vision. Each comes in three lightnesses, which all eyes distinguish.
"""

import numpy as np
from numpy.typing import NDArray

HUES = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66),
    (0, 114, 178), (213, 94, 0), (204, 121, 167),
)  # fmt: skip
SHADES = (1.0, 0.8, 1.4)  # of each hue; above 1 it is mixed with white
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: neighbouring ids fall far apart


def _shaded(hue: tuple[int, int, int], shade: float) -> list[float]:
    white = max(shade - 1, 0.0)
    return [min(shade, 1.0) * c * (1 - white) + 255 * white for c in hue]


PALETTE = np.array([_shaded(h, s) for s in SHADES for h in HUES]).round().astype(np.uint8)


def colours(ids: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return a colour (n, 3) for each of n ids: it follows from the id alone."""
    mixed = np.asarray(ids, np.uint64) * _MIX  # wraps around, as it should
    hue = (mixed >> np.uint64(40)) % np.uint64(len(HUES))
    shade = (mixed >> np.uint64(20)) % np.uint64(len(SHADES))
    return PALETTE[shade * np.uint64(len(HUES)) + hue]


def css(number: int) -> str:
    """Return an id's colour as ``#rrggbb``."""
    red, green, blue = colours(np.array([number], np.uint64))[0]
    return f"#{red:02x}{green:02x}{blue:02x}"

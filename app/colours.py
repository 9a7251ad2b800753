"""Colours of objects: the same in every picture and viewer, and apart where objects are near.

The palette steps through the hues of OKLCH (Ottosson 2020) by the golden ratio, so that any run of
it is spread over all hues, and through four lightnesses, which all eyes distinguish. An object has
the colour of its id, unless a larger object near it has one that some eyes may take for it.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

SIZE = 64  # colours
LIGHTNESS = (0.62, 0.86, 0.74, 0.5)
CHROMA = 0.17  # or as much as a screen can show
GOLDEN = (5**0.5 - 1) / 2  # of a turn, from one hue to the next
APART = 0.1  # in OKLAB, for the worst of all eyes; 0.02 is just noticeable
NEAREST = 6  # larger objects from which an object differs; the palette has room for no more
MAX_APART = 4_000  # objects, the largest, that are compared with their neighbours: one second
HALVINGS = 24  # of the interval in which the largest chroma lies
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: neighbouring ids fall far apart

# Linear sRGB to the responses of cones, and their cube roots to OKLAB.
_CONES = np.array([
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
])  # fmt: skip
_OKLAB = np.array([
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
])  # fmt: skip
# Linear sRGB as eyes see it: all cones; without green ones (deuteranopia), without red ones
# (protanopia). Machado et al., IEEE TVCG 15 (2009), severity 1.
EYES = np.array([
    np.eye(3),
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
     [-0.011820, 0.042940, 0.968881]],
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
     [-0.003882, -0.048116, 1.051998]],
])  # fmt: skip

Floats = NDArray[np.float64]
Places = Callable[[NDArray[np.uint64]], NDArray[np.int64]]


def seen(rgb: NDArray[np.uint8]) -> Floats:
    """Return (n, 3) colours as (3, n, 3) OKLAB: for all cones, without green, without red ones."""
    value = np.asarray(rgb, np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    by_eye = np.clip(linear @ EYES.transpose(0, 2, 1), 0, 1)
    return np.asarray(np.cbrt(by_eye @ _CONES.T) @ _OKLAB.T)


def distances(rgb: NDArray[np.uint8]) -> Floats:
    """Return (n, n) distances of (n, 3) colours in OKLAB, for the eyes that see the least of it."""
    lab = seen(rgb)
    gaps: Floats = np.linalg.norm(lab[:, :, None] - lab[:, None], axis=-1)
    return np.asarray(gaps.min(0))


def _linear(lightness: float, chroma: float, turn: float) -> Floats:
    """Return a colour of OKLCH as linear sRGB, outside 0 to 1 where no screen shows it."""
    angle = 2 * np.pi * turn
    lab = np.array([lightness, chroma * np.cos(angle), chroma * np.sin(angle)])
    return np.asarray(np.linalg.solve(_CONES, np.linalg.solve(_OKLAB, lab) ** 3))


def _shown(lightness: float, turn: float) -> list[float]:
    """Return red, green and blue, 0 to 255, of a hue in turns: as much chroma as is possible."""
    low, high = 0.0, CHROMA
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        linear = _linear(lightness, middle, turn)
        inside = bool(((linear >= 0) & (linear <= 1)).all())
        low, high = (middle, high) if inside else (low, middle)
    value = np.clip(_linear(lightness, low, turn), 0, 1)
    srgb = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)
    return [float(part) for part in srgb * 255]


PALETTE: NDArray[np.uint8] = np.array(
    [_shown(LIGHTNESS[n % len(LIGHTNESS)], n * GOLDEN % 1) for n in range(SIZE)]
).round().astype(np.uint8)  # fmt: skip
_FAR = distances(PALETTE)


def places(ids: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the place in PALETTE of each of n ids: it follows from the id alone."""
    mixed = np.asarray(ids, np.uint64) * _MIX  # wraps around, as it should
    return np.asarray((mixed >> np.uint64(40)) % np.uint64(SIZE), np.int64)


def colours(ids: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return a colour (n, 3) for each of n ids: it follows from the id alone."""
    return PALETTE[places(ids)]


class Colouring:
    """The colours of the objects of one array; of ids that it does not know, those of the id alone.

    Parameters
    ----------
    ids : (n,) ndarray of uint64
        The objects, the largest first.
    low, high : (n, 3) ndarray of int
        First and last voxel of each along (z, y, x).
    voxel_size_nm : sequence of float
        Edges of a voxel (z, y, x).
    known : int, optional
        So many of them, the first ones, have the colours of ``own``; others differ from these.
    own : callable, optional
        The place in PALETTE of each of n ids.
    """

    def __init__(
        self, ids: NDArray[np.uint64], low: NDArray[np.int64], high: NDArray[np.int64],
        voxel_size_nm: Sequence[float], *, known: int = 1, own: Places | None = None,
    ) -> None:  # fmt: skip
        size = np.asarray(voxel_size_nm, np.float64)
        ids = ids[:MAX_APART]
        corners = low[: len(ids)] * size, (high[: len(ids)] + 1) * size
        chosen = _chosen((own or places)(ids), *corners, known)
        order = np.argsort(ids)
        self._ids, self._places = ids[order], chosen[order]

    def places(self, ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the place in PALETTE of each of n ids."""
        ids = np.asarray(ids, np.uint64)
        if not len(self._ids):
            return places(ids)
        at = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        return np.where(self._ids[at] == ids, self._places[at], places(ids))

    def __call__(self, ids: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """Return a colour (n, 3) for each of n ids."""
        return PALETTE[self.places(ids)]


def _chosen(own: NDArray[np.int64], low: Floats, high: Floats, known: int) -> NDArray[np.int64]:
    """Return the places of objects: their own, or the next that differs from those near them.

    ``low`` and ``high`` (n, 3) are the corners of boxes around them, the largest object first. Of
    an object, only larger ones are asked: where it is added, their colours stay. The ``known``
    first ones have their own.
    """
    chosen = own.copy()
    for n in range(max(known, 1), len(own)):
        gaps = np.maximum(np.maximum(low[:n] - high[n], low[n] - high[:n]), 0)
        between = (gaps**2).sum(1)
        near = np.argpartition(between, NEAREST)[:NEAREST] if n > NEAREST else slice(None)
        least = np.roll(_FAR[:, chosen[:n][near]].min(1), -own[n])  # from its own place on
        step = int(np.argmax(least >= APART)) if (least >= APART).any() else int(np.argmax(least))
        chosen[n] = (own[n] + step) % SIZE
    return chosen


_NONE = np.zeros((0, 3), np.int64)
UNKNOWN = Colouring(np.zeros(0, np.uint64), _NONE, _NONE, (1, 1, 1))  # of which no object is known


def css(colour: NDArray[np.uint8]) -> str:
    """Return a colour (3,) as ``#rrggbb``."""
    return "#" + bytes(colour.tolist()).hex()

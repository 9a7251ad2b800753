"""What all pictures share: fonts with a µ, scale bars, panels, and colours laid over grey."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .colours import colours

GAP = 6  # pixels between panels
TITLE = 22
PANEL = 400  # pixels: the edge of the longest panel, from which the level to read follows
VEIL = 128  # of 255: how opaque colours of labels are over the grey
DARK, LIGHT, MARK = (24, 24, 24), (235, 235, 235), (255, 255, 0)
BARS_NM = (
    100_000, 50_000, 20_000, 10_000, 5_000, 2_000, 1_000, 500, 200, 100, 50, 20, 10, 5, 2, 1,
)  # fmt: skip
BAR_SHARE = 1 / 3  # of PANEL, at most
OUTLINE = 1  # pixels around letters on a micrograph

Rgb = NDArray[np.uint8]
Rgba = NDArray[np.uint8]
Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Panel(NamedTuple):
    """An image with square pixels, and how many of its pixels one nanometre is."""

    image: Image.Image
    per_nm: float


def font(size: int) -> Font:
    """Return the font of all pictures."""
    return ImageFont.load_default(size)


def write(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, *, size: int = 14,
    fill: Colour = LIGHT, outlined: bool = False,
) -> None:  # fmt: skip
    """Write a text; ``place`` is its upper left corner (x, y).

    Pillow's font has no µ: it is drawn as a u whose left stem goes on below the line.
    """
    face, stroke = font(size), OUTLINE if outlined else 0
    plain, stem = text.replace("µ", "u"), max(size / 10, 1.0)
    base = draw.textbbox(place, "u", face)[3]
    stems = []
    for at in (n for n, letter in enumerate(text) if letter == "µ"):
        left = draw.textbbox((place[0] + draw.textlength(plain[:at], face), place[1]), "u", face)[0]
        stems.append((left, base - stem, left + stem, base + size * 0.22))
    for a, b, c, d in stems if outlined else ():  # the outline of all lies below all letters
        draw.rectangle((a - stroke, b, c + stroke, d + stroke), fill=DARK)
    draw.text(place, plain, fill=fill, font=face, stroke_width=stroke, stroke_fill=DARK)
    for where in stems:
        draw.rectangle(where, fill=fill)


def length_text(length_nm: float) -> str:
    """Return a length with its unit: nanometres below one micrometre."""
    return f"{length_nm:g} nm" if abs(length_nm) < 1000 else f"{length_nm / 1000:g} µm"


def bar(draw: ImageDraw.ImageDraw, left: int, top: int, panel: Panel) -> None:
    """Draw a scale bar into the lower left corner of a panel."""
    length = next((b for b in BARS_NM if b * panel.per_nm <= PANEL * BAR_SHARE), BARS_NM[-1])
    bottom = top + panel.image.height - 8
    right = left + 8 + round(length * panel.per_nm)
    draw.rectangle((left + 8, bottom - 3, right, bottom), fill=MARK)
    # Outlined: raw below it may be as bright.
    text = length_text(length)
    write(draw, (left + 8, bottom - 22), text, size=13, fill=MARK, outlined=True)


def rgb(grey: NDArray[np.uint8]) -> Rgb:
    """Return grey (rows, columns) as an image (rows, columns, 3)."""
    return np.repeat(grey[..., None], 3, axis=-1)


def fit(values: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Return a plane at another size by the nearest pixel: ids must not be mixed."""
    rows, columns = (nearest(n, old) for n, old in zip(shape, values.shape, strict=True))
    return values[np.ix_(rows, columns)]


def nearest(count: int, old: int) -> NDArray[np.int64]:
    """Return for each of ``count`` pixels the one of ``old`` pixels in which its middle lies."""
    return (2 * np.arange(count, dtype=np.int64) + 1) * old // (2 * count)


def veil(labels: NDArray[Any], colours_of: Callable[[NDArray[Any]], Rgb] = colours) -> Rgba:
    """Return the colours of labels (rows, columns) as (rows, columns, 4), opaque at edges."""
    ids, where = np.unique(labels, return_inverse=True)
    image = np.zeros((*labels.shape, 4), np.uint8)
    image[..., :3] = colours_of(ids)[where.reshape(labels.shape)]
    image[..., 3] = np.where(edges(labels), 255, VEIL)
    image[labels == 0] = 0
    return image


def laid(grey: Rgb, upper: Rgba) -> Rgb:
    """Lay an image with transparency (rows, columns, 4) over one without."""
    alpha = upper[..., 3:] / 255
    return np.asarray(np.round(grey + alpha * (upper[..., :3] - grey.astype(float))), np.uint8)


def over(
    grey: Rgb, labels: NDArray[Any], colours_of: Callable[[NDArray[Any]], Rgb] = colours
) -> Rgb:
    """Lay the colours of labels (rows, columns) over an image (rows, columns, 3), edges full."""
    return laid(grey, veil(labels, colours_of))


def edges(labels: NDArray[Any], *, touching: bool = False) -> NDArray[np.bool_]:
    """Return where a label (rows, columns) differs from one beside, above or below it.

    With ``touching``, only where both are of objects.
    """
    edge = np.zeros(labels.shape, bool)
    for here, there in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        apart = labels[here] != labels[there]
        if touching:
            apart &= (labels[here] > 0) & (labels[there] > 0)
        edge[here] |= apart
        edge[there] |= apart
    return edge

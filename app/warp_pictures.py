"""Pictures of a deformation: checkerboard, residuals of patches, change of volume, expected error.

Volumes are (z, y, x); cuts go through the middle.  Points are nm from the volume's first corner.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .drawing import DARK, GAP, LIGHT, MARK, TITLE, Panel, Rgb, bar, length_text, write
from .registration import (
    CUTS,
    LIGHT_COLOUR,
    SPECIMEN_COLOUR,
    Overlay,
    Size,
    cut_panel,
    panel_of,
    stretched,
)

Floats = NDArray[np.float64]
WIDE = 600  # pixels: the longer edge of a cut
TILES = 8  # along the longest edge of a checkerboard
DIM = 0.35  # how bright a specimen under arrows is, of 1
UNHELD = 0.2  # how bright nothing is where nothing supports it, so that its edge is seen
MAGNIFIED = (100, 50, 20, 10, 5, 2, 1)
ARROW = 20.0  # pixels: the median arrow is at most that long
REFERENCE_NM = 100.0
BINS, BARS_HIGH, RAMP_HIGH = 60, 70, 14
LIMITS_NM = (50.0, 100.0, 200.0, 300.0, 500.0, 1000.0, 2000.0)  # where the scale of an error ends
LIMITS = (1.1, 1.25, 1.5, 2.0, 3.0)  # and that of a volume's change
LEAST = 1e-9  # of a ratio: a fold has no logarithm
COVERED = 98.0  # per cent of the values lie below the end
UNKNOWN, FAINT = (150, 150, 150), (90, 90, 90)
# Colours that people with any colour vision can tell apart (Okabe and Ito 2008; ColorBrewer RdBu).
RISING = ((86, 180, 233), (240, 228, 66), (213, 94, 0))
BLUE_TO_RED = ((33, 102, 172), (146, 197, 222), (247, 247, 247), (244, 165, 130), (178, 24, 43))


class Scale(NamedTuple):
    """Colours of values: where on the ramp, 0 to 1, each lies, and which are written below it."""

    ramp: Sequence[tuple[int, int, int]]
    place: Callable[[Floats], Floats]
    ticks: Sequence[float]
    unit: str

    def colours(self, values: NDArray[np.floating]) -> Rgb:
        """Return the colours (..., 3) of values; grey where nothing is known."""
        values = np.asarray(values, np.float64)
        known = np.isfinite(values)
        at = self.place(np.where(known, values, self.ticks[0])).clip(0, 1)
        stops = np.linspace(0, 1, len(self.ramp))
        parts = [np.interp(at, stops, channel) for channel in np.array(self.ramp, float).T]
        rgb = np.round(np.stack(parts, axis=-1)).astype(np.uint8)
        rgb[~known] = UNKNOWN
        return rgb


def error_scale(values: NDArray[np.floating]) -> Scale:
    """Return a scale of errors from 0 to a round number of nm."""
    top = _limit(np.asarray(values, np.float64), LIMITS_NM)
    return Scale(RISING, lambda v: v / top, (0.0, top / 2, top), " nm")


def stretch_scale(values: NDArray[np.floating]) -> Scale:
    """Return a scale of ratios, as far below 1 as above it: half is as far from 1 as twice."""
    values = np.asarray(values, np.float64)
    top = _limit(np.exp(np.abs(np.log(values[values > 0]))), LIMITS)  # folds have their own colour
    span = float(np.log(top))
    return Scale(
        BLUE_TO_RED, lambda v: 0.5 + np.log(np.maximum(v, LEAST)) / (2 * span),
        (1 / top, 1.0, top), "",
    )  # fmt: skip


def _limit(values: Floats, limits: Sequence[float]) -> float:
    known = values[np.isfinite(values)]
    most = float(np.percentile(known, COVERED)) if known.size else 0.0
    return next((limit for limit in limits if limit >= most), limits[-1])


def draw_checkerboard(both: Overlay) -> Image.Image:
    """Draw cuts whose tiles are of the specimen and of the warped light by turns, in grey."""
    a, b = (stretched(v) for v in (both.specimen, both.light))
    tile = max(n * nm for n, nm in zip(a.shape, both.voxel_nm, strict=True)) / TILES
    index = [
        np.floor((np.arange(n) + 0.5) * nm / tile).astype(np.int64)
        for n, nm in zip(a.shape, both.voxel_nm, strict=True)
    ]
    sheets = []
    for _, axis in CUTS:
        rows, columns = (index[k] for k in range(3) if k != axis)
        odd = (rows[:, None] + columns) % 2 == 1
        middle = a.shape[axis] // 2
        plane = np.where(odd, np.take(b, middle, axis), np.take(a, middle, axis))
        panel = panel_of(np.repeat(plane[..., None], 3, -1), axis, both.voxel_nm, WIDE)
        _mark_corners(panel, tile * panel.per_nm)
        sheets.append(panel)
    return _sheet(sheets, f"tiles of {length_text(round(tile))}")


def draw_valid(both: Overlay, valid: NDArray[np.bool_], valid_nm: Size) -> Image.Image:
    """Draw cuts of both where ``valid``, places of ``valid_nm``, holds; elsewhere dim grey.

    Beyond its places it does not hold: the volume may have grown since.
    """
    a, b = (stretched(v) for v in (both.specimen, both.light))
    index = [
        np.minimum(((np.arange(n) + 0.5) * nm / step).astype(np.int64), most)
        for n, nm, step, most in zip(a.shape, both.voxel_nm, valid_nm, valid.shape, strict=True)
    ]
    held = np.pad(valid, [(0, 1)] * 3)[np.ix_(*index)][..., None]
    seen = a[..., None] * np.array(SPECIMEN_COLOUR) + b[..., None] * np.array(LIGHT_COLOUR)
    shown = np.asarray(np.where(held, seen, UNHELD + DIM * a[..., None]), np.float32)
    said = f"{float(valid.mean()):.0%} of the places are supported"
    return _sheet([cut_panel(shown, axis, both.voxel_nm, WIDE) for _, axis in CUTS], said)


def _mark_corners(panel: Panel, side: float) -> None:
    """Draw small crosses where tiles meet; lines all along would hide what goes on across them."""
    draw = ImageDraw.Draw(panel.image)
    for y in np.arange(side, panel.image.height, side):
        for x in np.arange(side, panel.image.width, side):
            draw.line((x - 4, y, x + 4, y), fill=FAINT)
            draw.line((x, y - 4, x, y + 4), fill=FAINT)


def draw_residuals(
    specimen: NDArray[np.float32], voxel_nm: Size, points: Floats, miss: Floats
) -> Image.Image:
    """Draw arrows (n, 3) nm at points (n, 3) nm over the brightest of a specimen along each axis.

    A cross where a row of ``miss`` is NaN.  Colours say lengths in 3-D, arrows show two axes.
    """
    length = np.sqrt((miss * miss).sum(axis=1))
    scale, times = error_scale(length), magnification(specimen.shape, voxel_nm, length)
    grey = stretched(specimen) * DIM
    edges = [n * nm for n, nm in zip(specimen.shape, voxel_nm, strict=True)]
    sheets = []
    for _, axis in CUTS:
        seen = np.repeat(grey.max(axis=axis)[..., None], 3, -1)
        most = max(edge for k, edge in enumerate(edges) if k != axis)
        # All cuts at one scale: the legend has one arrow for them.
        panel = panel_of(seen, axis, voxel_nm, round(WIDE * most / max(edges)))
        draw = ImageDraw.Draw(panel.image)
        kept = [k for k in (2, 1, 0) if k != axis]  # across, then down
        for point, arrow, colour in zip(points, miss, scale.colours(length), strict=True):
            x, y = (float(v) for v in point[kept] * panel.per_nm)
            dx, dy = (float(v) for v in arrow[kept] * panel.per_nm * times)
            _arrow(draw, (x, y), (dx, dy), tuple(int(v) for v in colour))
        sheets.append(panel)
    said = f"arrows {times} times as long as the error"
    return _sheet(sheets, said, _legend(length, scale, REFERENCE_NM * times * sheets[0].per_nm))


def magnification(shape: Sequence[int], voxel_nm: Size, length: Floats) -> int:
    """Return how many times longer arrows are drawn, so that the median one is not too long."""
    per_nm = WIDE / max(n * nm for n, nm in zip(shape, voxel_nm, strict=True))
    known = length[np.isfinite(length)]
    middle = float(np.median(known)) if known.size else 0.0
    return next((n for n in MAGNIFIED if middle * per_nm * n <= ARROW), MAGNIFIED[-1])


def _arrow(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], by: tuple[float, float],
    colour: tuple[int, ...],
) -> None:  # fmt: skip
    x, y = at
    if not np.isfinite(by).all():
        for sign in (-1, 1):
            draw.line((x - 3, y - 3 * sign, x + 3, y + 3 * sign), fill=UNKNOWN, width=1)
        return
    end, size = (x + by[0], y + by[1]), float(np.hypot(*by))
    draw.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=colour)
    draw.line((x, y, *end), fill=colour, width=2)
    if size > 5:
        along = np.array(by) / size * min(5.0, size / 2)
        for side in (-0.6, 0.6):
            back = -along + side * np.array([-along[1], along[0]])
            draw.line((*end, end[0] + back[0], end[1] + back[1]), fill=colour, width=2)


def draw_stretch(stretch: NDArray[np.floating], voxel_nm: Size) -> Image.Image:
    """Draw cuts of det J over det A: blue below 1, white at 1, red above; folds yellow."""
    scale = stretch_scale(stretch)
    coloured = scale.colours(stretch)
    with np.errstate(invalid="ignore"):
        folds = stretch <= 0
    coloured[folds] = MARK
    shown = np.asarray(coloured / 255, np.float32)
    known = int(np.isfinite(stretch).sum())
    said = f"{int(folds.sum())} of {known} places fold"
    return _sheet(
        [cut_panel(shown, axis, voxel_nm, WIDE) for _, axis in CUTS], said, _legend(stretch, scale)
    )


def draw_error(
    error: NDArray[np.floating], voxel_nm: Size, points: Floats
) -> Image.Image:  # fmt: skip
    """Draw cuts of the error to expect; dots are points (n, 3) nm in the layer that is cut."""
    scale = error_scale(error)
    shown = np.asarray(scale.colours(error) / 255, np.float32)
    sheets = []
    for _, axis in CUTS:
        middle = error.shape[axis] // 2
        panel = cut_panel(shown, axis, voxel_nm, WIDE)
        draw = ImageDraw.Draw(panel.image)
        near = np.floor(points[:, axis] / voxel_nm[axis]).astype(np.int64) == middle
        for x, y in points[near][:, [k for k in (2, 1, 0) if k != axis]] * panel.per_nm:
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=DARK)
        sheets.append(panel)
    return _sheet(sheets, "dots: patches in this layer", _legend(error, scale))


def _legend(
    values: NDArray[np.floating], scale: Scale, arrow: float = 0.0
) -> Image.Image:  # fmt: skip
    """Draw how often each value occurs, its colour below, and an arrow of 100 nm, pixels long."""
    image = Image.new("RGB", (WIDE, BARS_HIGH + RAMP_HIGH + 2 * TITLE), DARK)
    draw = ImageDraw.Draw(image)
    left, right = 20, WIDE - 60
    counts = bin_counts(values, scale)
    ramp = np.linspace(0, 1, BINS)
    colours = Scale(scale.ramp, lambda v: v, (0.0,), "").colours(ramp)
    wide = (right - left) / BINS
    for n, (count, colour) in enumerate(zip(counts, colours, strict=True)):
        at, fill = left + n * wide, tuple(int(v) for v in colour)
        top = BARS_HIGH - round(BARS_HIGH * count / max(int(counts.max()), 1))
        draw.rectangle((at, top, at + wide - 2, BARS_HIGH), fill=fill)
        draw.rectangle((at, BARS_HIGH + 2, at + wide, BARS_HIGH + RAMP_HIGH), fill=fill)
    places = scale.place(np.array(scale.ticks))
    for tick, place in zip(scale.ticks, places, strict=True):
        text = f"{tick:.3g}{scale.unit}"
        write(draw, (left + place * (right - left) - 8, BARS_HIGH + RAMP_HIGH), text)
    if arrow:
        top = BARS_HIGH + RAMP_HIGH + TITLE + 8
        _arrow(draw, (left, top), (arrow, 0.0), LIGHT)
        write(draw, (left + arrow + 10, top - 9), f"{REFERENCE_NM:g} nm")
    return image


def bin_counts(values: NDArray[np.floating], scale: Scale) -> NDArray[np.int64]:
    """Return how many known values lie in each part of a scale; the ends hold those beyond."""
    flat = np.asarray(values, np.float64).ravel()
    at = scale.place(flat[np.isfinite(flat)]).clip(0, 1)
    return np.bincount(np.minimum((at * BINS).astype(np.int64), BINS - 1), minlength=BINS)


def _sheet(
    panels: Sequence[Panel], said: str, legend: Image.Image | None = None
) -> Image.Image:  # fmt: skip
    """Put the cut along xy to the left, the others and a legend to the right."""
    first, others = panels[0].image, [panel.image for panel in panels[1:]]
    high = sum(image.height + TITLE + GAP for image in others) + (legend.height if legend else 0)
    image = Image.new("RGB", (2 * (WIDE + GAP) + GAP, max(first.height + TITLE, high) + 2 * GAP),
                      DARK)  # fmt: skip
    draw = ImageDraw.Draw(image)
    left, top = GAP, GAP
    for (name, _), panel in zip(CUTS, panels, strict=True):
        write(draw, (left, top), f"{name}  {said}" if panel is panels[0] else name)
        image.paste(panel.image, (left, top + TITLE))
        bar(draw, left, top + TITLE, panel)
        top = GAP if panel is panels[0] else top + TITLE + panel.image.height + GAP
        left = GAP + WIDE + GAP
    if legend:
        image.paste(legend, (left, top))
    return image

"""A picture of a dataset: raw, prediction and labels, cut along three axes through one point."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fibstream.core.dataset import Dataset
from fibstream.core.grid import Box, Index
from fibstream.volumes.sources import open_volume

from .catalogue import Segmentation
from .colours import colours

GAP = 6  # pixels between panels
TITLE = 22
PANEL = 400  # pixels: the width of a panel, from which the level to read follows
LABEL_ALPHA = 0.5  # of the colours of labels over the grey
DARK, LIGHT, MARK = (24, 24, 24), (235, 235, 235), (255, 255, 0)
CUTS = (("xy", 0), ("xz", 1), ("yz", 2))  # what a cut shows, and the axis (z, y, x) that it fixes
BARS_NM = (20_000, 10_000, 5_000, 2_000, 1_000, 500, 200, 100, 50)

Rgb = NDArray[np.uint8]


class Section(NamedTuple):
    """One plane of one array, and the size of its pixels (row, column) in nm."""

    values: NDArray[Any]
    pixel_nm: tuple[float, float]


def paint(
    out: Path, dataset: Dataset, chosen: Segmentation, point_nm: tuple[float, float, float]
) -> Any:
    """Return an image: columns raw, prediction if there is one, labels over raw; rows xy, xz, yz.

    ``point_nm`` (z, y, x) lies in all cuts. Where there is no data yet, it is dark.
    """
    predicted = _predicted(dataset, chosen.name)
    titles = ["raw", *([f"prediction: {predicted}"] if predicted else []), f"labels: {chosen.name}"]
    rows = []
    for _, axis in CUTS:
        raw = section(out / "raw", "raw", dataset, axis, point_nm)
        labels = section(out / chosen.group, "labels", dataset, axis, point_nm)
        grey = rgb(_window(raw, dataset))
        panels = [grey, over(grey, _fit(labels.values, grey.shape[:2])) if labels else grey]
        if predicted:
            shown = section(out / f"predictions/{predicted}", "prediction", dataset, axis, point_nm)
            seen = _fit(shown.values, grey.shape[:2]) if shown else np.zeros(grey.shape[:2])
            panels.insert(1, rgb(seen.astype(np.uint8)))
        pixel = raw.pixel_nm if raw else (1.0, 1.0)
        rows.append([_square(panel, pixel) for panel in panels])
    return _mosaic(rows, titles)


def _predicted(dataset: Dataset, name: str) -> str:
    """Return the first prediction that an organelle is made of, empty if of labels alone."""
    names = {prediction.name for prediction in dataset.predictions}
    inputs = [n for o in dataset.organelles if o.name == name for n in o.inputs.values()]
    return next((name for name in inputs if name in names), "")


def section(
    group: Path, kind: Any, dataset: Dataset, axis: int, point_nm: tuple[float, float, float]
) -> Section | None:
    """Read one plane from the coarsest level that fills a panel; None where there is no array."""
    level = _level(group)
    if level is None:
        return None
    z, y, x = (edge * 2.0**level for edge in dataset.voxel_size_nm)
    source = open_volume(f"{group}/s{level}", kind=kind, voxel_size_nm=(z, y, x), growing=True)
    wanted = int(point_nm[axis] / (z, y, x)[axis])
    at = min(max(wanted, 0), source.shape[axis] - 1)
    start = [at if n == axis else 0 for n in range(3)]
    stop = [at + 1 if n == axis else edge for n, edge in enumerate(source.shape)]
    values = source.read(Box(_index(start), _index(stop))).squeeze(axis)
    source.close()
    row, column = (edge for n, edge in enumerate((z, y, x)) if n != axis)
    return Section(values, (row, column))


def _index(values: list[int]) -> Index:
    z, y, x = values
    return z, y, x


def _level(group: Path) -> int | None:
    """Return the coarsest level of a group that is still as wide as a panel."""
    widths: list[int] = []
    while (path := group / f"s{len(widths)}" / "zarr.json").is_file():
        widths.append(max(json.loads(path.read_text())["shape"]))
    wide = [level for level, width in enumerate(widths) if width >= PANEL]
    return max(wide, default=0) if widths else None


def _window(raw: Section | None, dataset: Dataset) -> Rgb:
    """Return raw as the networks see it: contrast stretched, dark membranes."""
    if raw is None:
        return np.zeros((1, 1), np.uint8)
    low, high = dataset.contrast
    grey = np.clip((raw.values.astype(np.float64) - low) * 255 / (high - low), 0, 255)
    return (255 - grey if dataset.invert else grey).astype(np.uint8)


def rgb(grey: NDArray[np.uint8]) -> Rgb:
    """Return grey (rows, columns) as an image (rows, columns, 3)."""
    return np.repeat(grey[..., None], 3, axis=-1)


def _fit(values: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Return a plane at another size by the nearest pixel: ids must not be mixed."""
    rows, columns = (
        np.minimum(np.arange(n) * old // n, old - 1)
        for n, old in zip(shape, values.shape, strict=True)
    )
    return values[np.ix_(rows, columns)]


def over(
    grey: Rgb, labels: NDArray[Any], colours_of: Callable[[NDArray[Any]], Rgb] = colours
) -> Rgb:
    """Lay the colours of labels (rows, columns) over an image (rows, columns, 3), edges full."""
    ids, where = np.unique(labels, return_inverse=True)
    colour = colours_of(ids)[where.reshape(labels.shape)].astype(np.float64)
    edge = np.zeros(labels.shape, bool)
    edge[1:] |= labels[1:] != labels[:-1]
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    alpha = np.where(edge, 1.0, LABEL_ALPHA)[..., None]
    mixed = np.where(labels[..., None] > 0, (1 - alpha) * grey + alpha * colour, grey)
    return np.asarray(mixed, np.uint8)


# -- laying out ------------------------------------------------------------------------------------


class Panel(NamedTuple):
    """An image with square pixels, and how many of its pixels one nanometre is."""

    image: Image.Image
    per_nm: float


def _square(values: Rgb, pixel_nm: tuple[float, float]) -> Panel:
    """Scale a plane so that it is PANEL pixels wide and its pixels are square."""
    rows, columns = values.shape[:2]
    per_nm = PANEL / (columns * pixel_nm[1])
    height = max(round(rows * pixel_nm[0] * per_nm), 1)
    image = Image.fromarray(values)
    return Panel(image.resize((PANEL, height), Image.Resampling.NEAREST), per_nm)


def _mosaic(rows: list[list[Panel]], titles: list[str]) -> Image.Image:
    heights = [row[0].image.height for row in rows]
    width = GAP + (PANEL + GAP) * len(titles)
    image = Image.new("RGB", (width, TITLE + sum(heights) + GAP * len(rows)), DARK)
    draw = ImageDraw.Draw(image)
    for column, title in enumerate(titles):
        draw.text((GAP + (PANEL + GAP) * column, 3), title, fill=LIGHT, font=font(14))
    top = TITLE
    for row, (name, _) in zip(rows, CUTS, strict=True):
        for column, panel in enumerate(row):
            left = GAP + (PANEL + GAP) * column
            image.paste(panel.image, (left, top))
            draw.text((left + 5, top + 3), name, fill=MARK, font=font(14))
        bar(draw, GAP, top, row[0])
        top += row[0].image.height + GAP
    return image


def bar(draw: ImageDraw.ImageDraw, left: int, top: int, panel: Panel) -> None:
    """Draw a scale bar into the lower left corner of a panel."""
    length = next((b for b in BARS_NM if b * panel.per_nm <= PANEL / 3), BARS_NM[-1])
    bottom = top + panel.image.height - 8
    right = left + 8 + round(length * panel.per_nm)
    draw.rectangle((left + 8, bottom - 3, right, bottom), fill=MARK)
    text = f"{length} nm" if length < 1000 else f"{length // 1000} um"
    # Outlined: raw below it may be as bright.
    draw.text(
        (left + 8, bottom - 21), text, fill=MARK, font=font(13), stroke_width=2, stroke_fill=DARK
    )


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font of all pictures."""
    return ImageFont.load_default(size)

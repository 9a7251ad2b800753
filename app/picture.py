"""A picture of a dataset: raw, prediction and labels, cut along three axes through one point."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from fibstream.core.dataset import Dataset
from fibstream.core.grid import Box
from fibstream.volumes.sources import Source

from .catalogue import Segmentation
from .colours import UNKNOWN, Colouring
from .drawing import (
    DARK,
    GAP,
    MARK,
    PANEL,
    TITLE,
    Panel,
    Rgb,
    Rgba,
    bar,
    edges,
    fit,
    laid,
    length_text,
    over,
    rgb,
    veil,
    write,
)
from .grey import network_grey
from .planes import CUTS, Point, Section, index_of, section, shapes, thinned, voxel_of

FULL = 1536  # voxels: the edge of a part that is shown at full resolution
MARKED = 7.0  # pixels from its border an object must be thick to have its number on it
TICK = 9  # pixels: what shows at the border of a panel where the other cuts lie
# Of labels compared with the truth: what only the labels have, what only the truth has, and both.
EXTRA, MISSED, BOTH = (230, 110, 0, 178), (60, 160, 255, 178), (255, 255, 255, 90)

Area = tuple[int, int]


@dataclass(frozen=True)
class Subject:
    """What a picture shows: an array of labels, its colours and numbers, and the truth if known."""

    out: Path
    dataset: Dataset
    chosen: Segmentation
    point_nm: Point  # (z, y, x): it lies in all cuts
    colours_of: Colouring = UNKNOWN
    ranks: Mapping[int, int] = field(default_factory=dict)  # numbers of objects, by id
    truth: Source | None = None

    def section(self, group: str, kind: Any, axis: int, edge: int = 0) -> Section | None:
        """Return a plane of one of its arrays."""
        return section(self.out / group, kind, self.dataset, axis, self.point_nm, edge=edge)

    @property
    def extent_nm(self) -> Point:
        """Edges of the volume (z, y, x); of an open one, of what has landed."""
        landed = shapes(self.out / "raw") or shapes(self.out / self.chosen.group)
        shape = landed[0] if landed else [edge or 1 for edge in self.dataset.shape]
        z, y, x = (n * s for n, s in zip(shape, self.dataset.voxel_size_nm, strict=True))
        return z, y, x

    @property
    def predicted(self) -> str:
        """The first prediction that an organelle is made of, empty if of labels alone."""
        names = {prediction.name for prediction in self.dataset.predictions}
        own = (o for o in self.dataset.organelles if o.name == self.chosen.name)
        inputs = [name for o in own for name in o.inputs.values()]
        return next((name for name in inputs if name in names), "")

    def position(self, axis: int) -> str:
        """Return which plane a cut is, such as ``xy at z = 52 (0.52 µm)``: its voxel, its place."""
        number = voxel_of(self.dataset, self.point_nm)[axis]
        size, offset = self.dataset.voxel_size_nm[axis], self.dataset.offset_nm[axis]
        place = length_text(round(offset + number * size, 1))
        return f"{CUTS[axis][0]} at {'zyx'[axis]} = {number} ({place})"


def paint(subject: Subject) -> Image.Image:
    """Return an image: columns raw, prediction if there is one, labels over raw; rows xy, xz, yz.

    All panels have one scale. Where there is no data yet, it is dark. With a truth a last column
    compares the labels with it.
    """
    titles = ["raw", f"prediction: {subject.predicted}" if subject.predicted else ""]
    titles += [f"labels: {subject.chosen.name}", _LEGEND if subject.truth else ""]
    per_nm = PANEL / max(subject.extent_nm)
    rows = [_row(subject, axis, per_nm) for _, axis in CUTS]
    return _mosaic(subject, rows, [title for title in titles if title], per_nm)


_LEGEND = "labels and truth: extra orange, missed blue, both pale"


def _row(subject: Subject, axis: int, per_nm: float) -> list[Panel]:
    """Return the panels of one cut."""
    rest = [n for n in range(3) if n != axis]
    height, width = (max(round(subject.extent_nm[n] * per_nm), 1) for n in rest)
    raw = subject.section("raw", "raw", axis)
    values = network_grey(raw.values, subject.dataset) if raw else np.zeros((1, 1), np.uint8)
    grey = rgb(_resized(values, (height, width)))
    labels = subject.section(subject.chosen.group, "labels", axis)
    found = fit(labels.values, (height, width)) if labels else np.zeros((height, width), np.uint64)
    panels = [grey]
    if subject.predicted:
        shown = subject.section(f"predictions/{subject.predicted}", "prediction", axis)
        seen = _resized(shown.values, (height, width)) if shown else np.zeros_like(grey[..., 0])
        panels.append(rgb(seen))
    panels.append(numbered(over(grey, found, subject.colours_of), found, subject.ranks))
    if subject.truth is not None:
        at = voxel_of(subject.dataset, subject.point_nm)[axis]
        truth = thinned(subject.truth, axis, at, (height, width))
        panels.append(laid(grey, compared(found, truth)))
    return [Panel(Image.fromarray(panel), per_nm) for panel in panels]


def _resized(grey: NDArray[np.uint8], shape: Area) -> NDArray[np.uint8]:
    """Return grey at another size: a mean where it is smaller, voxels where it is larger."""
    smaller = shape[0] < grey.shape[0] or shape[1] < grey.shape[1]
    method = Image.Resampling.BOX if smaller else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(grey).resize(shape[::-1], method))


def compared(labels: NDArray[Any], truth: NDArray[Any]) -> Rgba:
    """Return labels against the truth, both (rows, columns), as colours (rows, columns, 4).

    What both have is paler; EXTRA is what only the labels have, MISSED what only the truth has.
    Lines are where objects of the truth touch.
    """
    found, wanted = labels > 0, truth > 0
    image = np.zeros((*labels.shape, 4), np.uint8)
    image[found & wanted] = BOTH
    image[found & ~wanted] = EXTRA
    image[wanted & ~found] = MISSED
    image[edges(truth, touching=True)] = (*MARK, 255)
    return image


def numbered(image: Rgb, labels: NDArray[Any], ranks: Mapping[int, int]) -> Rgb:
    """Return an image with the number of each object that is large enough in it."""
    ids = np.unique(labels[labels > 0])
    ids = np.array([number for number in ids.tolist() if number in ranks], labels.dtype)
    if not ids.size:
        return image
    inside = (labels > 0) & ~edges(labels)
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    places = np.searchsorted(ids, labels)
    numbers = np.where(ids[np.minimum(places, len(ids) - 1)] == labels, places + 1, 0)
    spots = ndimage.maximum_position(depth, numbers, np.arange(1, len(ids) + 1))
    for number, (row, column) in zip(ids.tolist(), spots, strict=True):
        if depth[row, column] >= MARKED:
            text = str(ranks[number])
            width = draw.textlength(text, font_size=13)
            write(draw, (column - width / 2, row - 8), text, size=13, fill=BOTH[:3], outlined=True)
    return np.asarray(picture)


# -- full resolution -------------------------------------------------------------------------------


class Detail(NamedTuple):
    """A part of a cut, one pixel a voxel: raw, and what lies over it. ``size`` is (rows, columns).

    ``aspect`` is how many times as high as wide a voxel is.
    """

    title: str
    size: Area
    aspect: float
    raw: Image.Image
    layers: dict[str, Image.Image]


def details(subject: Subject) -> list[Detail]:
    """Return the middle of each cut at full resolution, around the point; those that have raw."""
    return [found for _, axis in CUTS if (found := _detail(subject, axis))]


def _detail(subject: Subject, axis: int) -> Detail | None:
    raw = subject.section("raw", "raw", axis, FULL)
    if raw is None:
        return None
    labels = subject.section(subject.chosen.group, "labels", axis, FULL)
    layers = {"labels": veil(labels.values, subject.colours_of)} if labels else {}
    rest = [n for n in range(3) if n != axis]
    (top, left), (height, width) = raw.start, raw.values.shape
    if subject.truth is not None and labels is not None:
        start, stop = [0, 0, 0], [0, 0, 0]
        start[axis] = voxel_of(subject.dataset, subject.point_nm)[axis]
        start[rest[0]], start[rest[1]] = top, left
        stop[axis], stop[rest[0]], stop[rest[1]] = start[axis] + 1, top + height, left + width
        truth = subject.truth.read(Box(index_of(start), index_of(stop))).squeeze(axis)
        layers["labels and truth"] = compared(labels.values, truth)
    row, column = ("zyx"[n] for n in rest)
    ranges = f"{column} {left} to {left + width - 1}, {row} {top} to {top + height - 1}"
    part = "the whole plane" if (height, width) == raw.whole else "part of the plane"
    return Detail(
        f"{subject.position(axis)}: {ranges}, {part}", (height, width),
        raw.pixel_nm[0] / raw.pixel_nm[1],
        Image.fromarray(network_grey(raw.values, subject.dataset)),
        {name: Image.fromarray(layer) for name, layer in layers.items()},
    )  # fmt: skip


# -- laying out ------------------------------------------------------------------------------------


def _mosaic(
    subject: Subject, rows: list[list[Panel]], titles: list[str], per_nm: float
) -> Image.Image:
    """Lay out the panels; each column is as wide as its widest, which begin at one line."""
    heights = [row[0].image.height for row in rows]
    column = max(PANEL, *(row[0].image.width for row in rows))
    width = GAP + (column + GAP) * len(titles)
    bottom = TITLE + sum(heights) + GAP * len(rows)
    image = Image.new("RGB", (width, bottom + TITLE), DARK)
    draw = ImageDraw.Draw(image)
    for number, title in enumerate(titles):
        write(draw, (GAP + (column + GAP) * number, 3), title)
    top = TITLE
    for row, (name, axis) in zip(rows, CUTS, strict=True):
        for number, panel in enumerate(row):
            left = GAP + (column + GAP) * number
            image.paste(panel.image, (left, top))
            _ticks(draw, (left, top), panel, axis, subject.point_nm)
            text = name if number else subject.position(axis)
            write(draw, (left + 5, top + 3), text, size=13, fill=MARK, outlined=True)
        bar(draw, GAP, top, row[0])
        top += row[0].image.height + GAP
    size = " x ".join(f"{edge:g}" for edge in subject.dataset.voxel_size_nm)
    note = f"all panels at one scale, {1 / per_nm:.3g} nm a pixel; voxels are {size} nm (z, y, x)"
    write(draw, (GAP, bottom), note, size=13)
    return image


def _ticks(
    draw: ImageDraw.ImageDraw, corner: Area, panel: Panel, axis: int, point_nm: Point
) -> None:
    """Show at the borders of a panel where the other two cuts lie."""
    left, top = corner
    right, bottom = left + panel.image.width - 1, top + panel.image.height - 1
    row, column = (point_nm[n] * panel.per_nm for n in range(3) if n != axis)
    y, x = min(round(top + row), bottom), min(round(left + column), right)
    for line in (
        (x, top, x, top + TICK), (x, bottom - TICK, x, bottom),
        (left, y, left + TICK, y), (right - TICK, y, right, y),
    ):  # fmt: skip
        draw.line(line, fill=MARK)

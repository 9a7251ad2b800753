"""A picture of labels from outside: objects in a box, on whose far walls the micrograph is.

It is drawn from the finest level of the pyramid that is small enough, or from every n-th voxel
where there is none: memory and time are bounded whatever the volume.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fibstream.core.dataset import Dataset
from fibstream.core.grid import Box, Grid, Index
from fibstream.phantom.rendering import MARGIN, Cuts, Part, View, outline_nm, render
from fibstream.volumes.positions import check_same_grid, offset_nm
from fibstream.volumes.sources import Source, open_volume
from fibstream.volumes.zarr_n5.selection import Kind

from .colours import PALETTE, Colouring
from .colours import places as by_id
from .drawing import DARK, GAP, LIGHT, TITLE, Panel, bar, write
from .grey import middle, network_grey, window
from .hashes import Track, untracked
from .planes import shapes

MAX_VOXELS = 16_000_000  # that are drawn: a quarter of a minute of one core, 100 MB
BLOCK = 128  # voxels an edge that are read at a time
EDGE = 640  # pixels: the picture of a report is at most so wide and high; 2.5 s of one core
ELEVATION, AZIMUTH = 30.0, 40.0  # degrees, of the eye: the corner of largest y and x is in front
WALL = 0.02  # of the longest edge: how thick floor and walls are
EMPTY = len(PALETTE) + 1  # the number of what is no object, as it is drawn on floor and walls
GROUND = Part((EMPTY,), (150, 150, 150), kept=False, opacity=0.0)
ARROW = 46  # pixels that show the direction of an axis

Bytes = NDArray[np.uint8]
Size = tuple[float, float, float]


class Sample(NamedTuple):
    """Voxels that are drawn: 0 is background, n the colour n - 1 of the palette; and grey."""

    numbers: Bytes
    grey: Bytes | None
    voxel_size_nm: Size


def thinning(shape: Index, voxel_size_nm: Size, most: int = MAX_VOXELS) -> Index:
    """Return of which step (z, y, x) voxels are drawn, so that they are at most ``most``.

    The step is doubled along the axis on which it is shortest, so that what is drawn nears cubes.
    """
    step = [1, 1, 1]
    while math.prod(-(-n // s) for n, s in zip(shape, step, strict=True)) > most:
        lengths = [s * e if s < n else math.inf
                   for s, e, n in zip(step, voxel_size_nm, shape, strict=True)]  # fmt: skip
        step[lengths.index(min(lengths))] *= 2
    z, y, x = step
    return z, y, x


def sample(
    labels: Source, places: Callable[[NDArray[Any]], NDArray[np.int64]], *,
    raw: Source | None = None, grey_of: Callable[[NDArray[Any]], Bytes] | None = None,
    most: int = MAX_VOXELS, track: Track = untracked,
) -> Sample:  # fmt: skip
    """Read the voxels that are drawn, block by block.

    Parameters
    ----------
    labels, raw : Source
        Of one shape; raw only where it is known.
    places : callable
        The place in PALETTE of each of n ids.
    grey_of : callable, optional
        Grey values as they are shown; raw as it is where none is given.
    """
    step = thinning(labels.shape, labels.voxel_size_nm, most)
    taken = [_taken(n, s) for n, s in zip(labels.shape, step, strict=True)]
    numbers = np.zeros([len(t) for t in taken], np.uint8)
    grey = None if raw is None else np.zeros(numbers.shape, np.uint8)
    edges = (min(max(BLOCK // s, 1) * s, n) for s, n in zip(step, labels.shape, strict=True))
    z, y, x = edges
    grid = Grid(labels.shape, (z, y, x))
    for index in track(list(grid.indices()), "drawn"):
        box = grid.box(index)
        spans = [slice(a // s, -(-b // s)) for a, b, s in zip(*box, step, strict=True)]
        here = np.ix_(*(t[span] - a for t, span, a in zip(taken, spans, box.start, strict=True)))
        where = spans[0], spans[1], spans[2]
        ids, inverse = np.unique(labels.read(box)[here], return_inverse=True)
        table = np.where(ids > 0, places(ids.astype(np.uint64)) + 1, 0).astype(np.uint8)
        numbers[where] = table[inverse.reshape(numbers[where].shape)]
        if raw is not None and grey is not None:
            values = raw.read(box)[here]
            grey[where] = values if grey_of is None else grey_of(values)
    z_nm, y_nm, x_nm = (e * s for e, s in zip(labels.voxel_size_nm, step, strict=True))
    return Sample(numbers, grey, (z_nm, y_nm, x_nm))


def of_dataset(
    out: Path, dataset: Dataset, group: str, colouring: Colouring, track: Track = untracked,
    most: int = MAX_VOXELS, edge: int = EDGE,
) -> Image.Image | None:  # fmt: skip
    """Return the picture of an array of labels of a dataset; None where there is none yet."""
    levels = shapes(out / group)
    if not levels:
        return None
    level = _small(levels, most)
    z, y, x = (edge * 2.0**level for edge in dataset.voxel_size_nm)
    with ExitStack() as stack:

        def opened(name: str, kind: Kind) -> Source:
            path = f"{out / name}/s{level}"
            source = open_volume(path, kind=kind, voxel_size_nm=(z, y, x), growing=True)
            return stack.enter_context(closing(source))

        labels = opened(group, "labels")
        # While a dataset grows, one service may have described its arrays and another not yet.
        there = shapes(out / "raw")[level : level + 1] == [labels.shape]
        drawn = sample(
            labels, colouring.places, raw=opened("raw", "raw") if there else None,
            grey_of=lambda values: network_grey(values, dataset), most=most, track=track,
        )  # fmt: skip
    return draw(drawn, f"{group.removeprefix('labels/')}, ", edge, dataset.offset_nm)


def of_volume(
    path: str, raw: str | None, voxel_size_nm: Size | None, track: Track = untracked,
    edge: int = EDGE,
) -> Image.Image:  # fmt: skip
    """Return the picture of any volume of labels, with ``raw`` of the same shape behind it.

    Raises WrongUse where either cannot be read, or raw has another shape.
    """
    with ExitStack() as stack:

        def opened(name: str, kind: Kind, size: Size | None) -> Source:
            return stack.enter_context(closing(open_volume(name, kind=kind, voxel_size_nm=size)))

        labels = opened(path, "labels", voxel_size_nm)
        behind = None if raw is None else opened(raw, "raw", labels.voxel_size_nm)
        if behind is not None:
            check_same_grid(labels, behind)
        begins_nm = offset_nm(labels)
        if level := _level(labels, behind):
            z, y, x = (edge * 2.0**level for edge in labels.voxel_size_nm)
            labels = opened(f"{_group(labels)}/s{level}", "labels", (z, y, x))
            if behind is not None:
                behind = opened(f"{_group(behind)}/s{level}", "raw", (z, y, x))
        grey_of = None if behind is None else stretched(*window(behind, middle(behind)))
        drawn = sample(labels, by_id, raw=behind, grey_of=grey_of, track=track)
    return draw(drawn, f"{Path(path.partition('#')[0]).name}, ", edge, begins_nm)


def _group(source: Source) -> Path | None:
    """Return the folder of an array's levels; None where its name is not that of a full level."""
    group, mark, _ = source.name.replace("#", "/").rpartition("/s0")
    return Path(group) if mark and source.name.endswith("/s0") else None


def _level(labels: Source, raw: Source | None, most: int = MAX_VOXELS) -> int:
    """Return the finest level that is small enough and that all arrays have, else the coarsest."""
    common: list[Index] = []
    groups = [_group(source) for source in (labels, raw) if source is not None]
    if None not in groups:
        per_array = [shapes(group) for group in groups if group]
        for same in zip(*per_array, strict=False):
            if len(set(same)) > 1:
                break
            common.append(same[0])
    return _small(common, most)


def _small(levels: Sequence[Index], most: int) -> int:
    """Return the finest level of at most ``most`` voxels, else the coarsest; 0 where none is."""
    small = (n for n, shape in enumerate(levels) if math.prod(shape) <= most)
    return next(small, max(len(levels) - 1, 0))


def stretched(black: float, white: float) -> Callable[[NDArray[Any]], Bytes]:
    """Return the function that shows grey values from ``black`` to ``white``."""

    def shown(values: NDArray[Any]) -> Bytes:
        grey = (values.astype(np.float64) - black) * 255 / (white - black)
        return np.clip(grey, 0, 255).astype(np.uint8)

    return shown


def _taken(count: int, step: int) -> NDArray[np.int64]:
    """Return the voxels of an axis that are drawn: the middle one of each step."""
    return np.minimum(np.arange(-(-count // step)) * step + step // 2, count - 1)


def draw(
    drawn: Sample, title: str, edge: int = EDGE, begins_nm: Size = (0.0, 0.0, 0.0)
) -> Image.Image:
    """Return the picture, with a scale bar, the directions of the axes and the size of the box.

    The box is at most ``edge`` pixels wide and high; ``begins_nm`` is where its first voxel lies.
    """
    shape, voxel = drawn.numbers.shape, drawn.voxel_size_nm
    z, y, x = (n * e for n, e in zip(shape, voxel, strict=True))
    view = View.turned(ELEVATION, AZIMUTH)
    pixel = max(outline_nm((z, y, x), view)) * MARGIN / edge
    labels = np.where(drawn.numbers == 0, np.uint8(EMPTY), drawn.numbers)
    colours = [tuple(int(c) for c in colour) for colour in PALETTE]
    parts = [GROUND, *(Part((n,), (c[0], c[1], c[2])) for n, c in enumerate(colours, 1))]
    image = render(
        labels, voxel, parts, view, pixel, grey=drawn.grey, cuts=Cuts(opened=_inside(drawn)),
        background=DARK,
    )  # fmt: skip
    return _framed(
        Panel(Image.fromarray(image), 1.0 / pixel),
        view,
        f"{title}{_size((z, y, x), begins_nm)}",
        edge,
    )


def _inside(drawn: Sample) -> Box:
    """Return the box without its floor and the two walls that are far from the eye."""
    thick = WALL * max(n * e for n, e in zip(drawn.numbers.shape, drawn.voxel_size_nm, strict=True))
    walls = [
        min(max(round(thick / e), 1), n - 1)
        for n, e in zip(drawn.numbers.shape, drawn.voxel_size_nm, strict=True)
    ]
    z, y, x = drawn.numbers.shape
    return Box((0, walls[1], walls[2]), (z - walls[0], y, x))


def _size(extent_nm: Size, begins_nm: Size) -> str:
    edges = " x ".join(f"{edge / 1000:.3g}" for edge in extent_nm)
    place = ", ".join(f"{nm / 1000:.7g}" for nm in begins_nm)
    return f"{edges} µm (z, y, x)" + (f" from {place} µm on" if any(begins_nm) else "")


def _framed(panel: Panel, view: View, caption: str, edge: int) -> Image.Image:
    """Lay out the picture with its caption above, and below it a scale bar and the axes."""
    width, height = panel.image.size
    size = (max(width, edge) + 2 * GAP, height + TITLE + ARROW * 2 + GAP)
    image = Image.new("RGB", size, DARK)
    pencil = ImageDraw.Draw(image)
    write(pencil, (GAP, 3), caption)
    image.paste(panel.image, ((size[0] - width) // 2, TITLE))
    bar(pencil, GAP, size[1] - panel.image.height - GAP, panel)
    right, down, _ = view.axes()
    foot = (size[0] - 2 * ARROW, size[1] - ARROW - 2 * GAP)
    for axis, name in enumerate("zyx"):
        tip = (foot[0] + ARROW * right[axis], foot[1] + ARROW * down[axis])
        pencil.line((*foot, *tip), fill=LIGHT, width=2)
        write(pencil, (tip[0] + 5, tip[1] - 8), name)
    return image

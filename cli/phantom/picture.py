"""A picture of a phantom: the cell in three dimensions, its sections, and a legend."""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fibstream.app.drawing import DARK, GAP, MARK, PANEL, TITLE, Panel, bar, over, rgb, write
from fibstream.app.planes import CUTS, index_of
from fibstream.core.grid import Box
from fibstream.phantom import Phantom, PhantomSpec
from fibstream.phantom.materials import MATERIAL as M
from fibstream.phantom.rendering import MARGIN, Cuts, Part, Rgb, View, outline_nm, render
from fibstream.phantom.spec import VOXEL_NM

MAX_VOXELS = 64_000_000  # of the drawn part: half a minute of one core
ROUNDED = 1.1  # times as many, because whole voxels fill the extent
MAX_SECTION = 4_000_000  # voxels of a section that is rendered for itself
CELL_ACROSS = 27_000.0  # nm: no cell of a phantom is wider
SLAB = 64  # slices rendered at once
SOLID = 1000  # pixels: the picture in three dimensions is at most so wide and high
ELEVATION = 30.0  # degrees
TURNS = (40.0, 130.0, 220.0, 310.0)  # degrees; a corner points to the front
OPENED_SHARE, REMOVED_SHARE = 0.62, 0.45  # of the block's height; of its edges, see _share
COLUMNS, ROW, SWATCH = 4, 24, 15  # of the legend: columns; pixels
# Okabe and Ito (Color Universal Design, 2008) without black, each in three lightnesses: a legend
# has few entries, and each must be told from all others.
HUES = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66),
    (0, 114, 178), (213, 94, 0), (204, 121, 167),
)  # fmt: skip
SHADES = (1.0, 0.8, 1.4)  # of each hue; above 1 it is mixed with white
ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PINK = range(len(HUES))
PLAIN, DARKER, PALER = range(3)

Bytes = NDArray[np.uint8]


def _shaded(hue: tuple[int, int, int], shade: float) -> Rgb:
    white = max(shade - 1, 0.0)
    red, green, blue = (round(min(shade, 1.0) * c * (1 - white) + 255 * white) for c in hue)
    return red, green, blue


def _entry(materials: tuple[int, ...], hue: int, shade: int = PLAIN, *, kept: bool = True) -> Part:
    return Part(materials, _shaded(HUES[hue], SHADES[shade]), kept)


# Entries of the legend, and how they are drawn.  Parts that are not kept where the block is opened
# show what is inside the others: cristae, the vesicles of an endosome.
LEGEND: tuple[tuple[str, Part], ...] = (
    ("plasma membrane", _entry((M.PM,), SKY, PALER, kept=False)),
    ("chromatin", _entry(
        (M.HCHROM, M.NHCHROM, M.ECHROM, M.NECHROM, M.NUCLEOPLASM), BLUE, PALER)),
    ("nucleoli", _entry((M.NUCLEOLUS,), BLUE, DARKER)),
    ("nuclear envelope", _entry((M.NE_MEMBRANE, M.NE_LUMEN), BLUE)),
    ("nuclear pores", _entry((M.PORE_OUT, M.PORE_IN), YELLOW, PALER)),
    ("reticulum", _entry((M.ER_MEMBRANE, M.ER_LUMEN), GREEN)),
    ("exit sites", _entry((M.ERES_MEMBRANE, M.ERES_LUMEN), GREEN, PALER)),
    ("mitochondria", _entry((M.MITO_OUTER, M.MITO_SPACE, M.MITO_INNER), VERMILION)),
    ("mitochondria", _entry((M.MATRIX,), VERMILION, kept=False)),
    ("cristae", _entry((M.CRISTA_MEMBRANE, M.CRISTA_SPACE), VERMILION, PALER)),
    ("nucleoids", _entry((M.NUCLEOID,), SKY, DARKER)),
    ("Golgi", _entry((M.GOLGI_MEMBRANE, M.GOLGI_LUMEN), YELLOW)),
    ("vesicles", _entry(
        (M.VESICLE_MEMBRANE, M.VESICLE_LUMEN, M.ILV_MEMBRANE, M.ILV_LUMEN), PINK, PALER)),
    ("endosomes", _entry((M.MVB_MEMBRANE,), PINK)),
    ("endosomes", _entry((M.MVB_LUMEN,), PINK, kept=False)),
    ("lysosomes", _entry((M.LYSO_MEMBRANE, M.LYSO_LUMEN), PINK, DARKER)),
    ("lipid droplets", _entry((M.LD_MEMBRANE, M.LD_LUMEN), ORANGE)),
    ("microtubules", _entry((M.TUBULE_OUT, M.TUBULE_IN), SKY)),
    ("centrosome", _entry((M.CENTROSOME, M.DISTAL, M.SUBDISTAL), ORANGE, PALER)),
)  # fmt: skip
# Cytosol with its ribosomes shows the micrograph without a colour; resin is invisible.
GROUND = Part((M.CYTOSOL, M.RIBOSOME), (150, 150, 150), kept=False, opacity=0.0)

# Of each material: 1 + its place in LEGEND, and the colours of these places.
TABLE = np.zeros(256, np.int64)
for _number, (_, _part) in enumerate(LEGEND, 1):
    TABLE[list(_part.labels)] = _number
COLOURS = np.array([(0, 0, 0), *(part.colour for _, part in LEGEND)], np.uint8)


class Sample(NamedTuple):
    """A part of the cell: materials and grey, ``(z, y, x)`` uint8 each, and its voxel size, nm."""

    materials: Bytes
    grey: Bytes
    voxel_size_nm: tuple[float, float, float]


def paint(phantom: Phantom, max_voxels: int = MAX_VOXELS) -> Image.Image:
    """Return an image: left the cell opened, with a legend; right its middle sections.

    A phantom of more than ``max_voxels`` is drawn from the same cell in coarser voxels, and the
    middle of it where even the coarsest are too many.
    """
    spec, box = sampled(phantom.spec, max_voxels)
    coarse = phantom if spec == phantom.spec else Phantom(spec)
    sample = _sample(coarse, box)
    solid = _solid(sample, coarse)
    fine = phantom if box == coarse.box() else coarse
    rows = [_section(fine, sample, axis) for _, axis in CUTS]
    return _page(solid, rows, _found(sample.materials), _caption(spec, sample))


def sampled(spec: PhantomSpec, max_voxels: int) -> tuple[PhantomSpec, Box]:
    """Return the same cell in at most ``max_voxels``, and the box of it that is drawn.

    Where a cell's organelles are follows from its extent, not from its voxels: the extent is kept
    to the last bit where numbers allow it.
    """
    if np.prod(spec.shape, dtype=np.int64) <= max_voxels:
        return spec, Box((0, 0, 0), spec.shape)
    extent = spec.extent_nm
    edge = min(float(np.prod(extent) / max_voxels) ** (1 / 3), VOXEL_NM[1])
    cuts = [_divided(e, max(edge, v)) for e, v in zip(extent, spec.voxel_size_nm, strict=True)]
    (nz, z), (ny, y), (nx, x) = cuts
    coarse = replace(
        spec, shape=(nz, ny, nx), voxel_size_nm=(z, y, x),
        look=replace(spec.look, jitter=0.0, missing=()),
    )  # fmt: skip
    wide, deep = (min(n, int(CELL_ACROSS / v)) for n, v in ((nx, x), (ny, y)))
    if nz * ny * nx <= max_voxels * ROUNDED:
        wide, deep, high = nx, ny, nz
    else:
        high = min(nz, max(max_voxels // (wide * deep), 1))
    az, ay, ax = ((n - part) // 2 for n, part in ((nz, high), (ny, deep), (nx, wide)))
    return coarse, Box((az, ay, ax), (az + high, ay + deep, ax + wide))


def _divided(extent: float, edge: float) -> tuple[int, float]:
    """Return a number of voxels and their edge, at most ``edge``, whose product is the extent."""
    least = math.ceil(extent / edge)
    for count in range(least, least + 8):
        for voxel in (extent / count, math.nextafter(extent / count, 0.0)):
            if count * voxel == extent:
                return count, voxel
    return least, extent / least


def _sample(phantom: Phantom, box: Box) -> Sample:
    """Return materials and grey of a box, rendered a few slices at a time."""
    materials, grey = np.empty(box.shape, np.uint8), np.empty(box.shape, np.uint8)
    for z in range(box.start[0], box.stop[0], SLAB):
        slab = Box((z, *box.start[1:]), (min(z + SLAB, box.stop[0]), *box.stop[1:]))
        image, voxels = phantom.image_and_voxels(slab)
        where = slab.slices(box.start)
        grey[where], materials[where] = image, voxels.material
    return Sample(materials, grey, phantom.spec.voxel_size_nm)


# -- in three dimensions ---------------------------------------------------------------------------


def _solid(sample: Sample, phantom: Phantom) -> Panel:
    """Return the cell with its upper part opened and the corner in front of that removed."""
    shape, voxel = sample.materials.shape, sample.voxel_size_nm
    z, y, x = (n * v for n, v in zip(shape, voxel, strict=True))
    turn = _turn(phantom)
    view = View.turned(ELEVATION, turn)
    pixel = max(outline_nm((z, y, x), view)) * MARGIN / SOLID
    near = (math.sin(math.radians(turn)), math.cos(math.radians(turn)))
    spans = [_share(n, way) for n, way in zip(shape[1:], near, strict=True)]
    floor = max(int(shape[0] * OPENED_SHARE), 1)
    cuts = Cuts(
        opened=Box((0, 0, 0), (floor, shape[1], shape[2])),
        removed=Box((0, spans[0][0], spans[1][0]), (floor, spans[0][1], spans[1][1])),
    )
    parts = [GROUND, *(part for _, part in LEGEND)]
    image = render(
        sample.materials, voxel, parts, view, pixel, grey=sample.grey, cuts=cuts, background=DARK
    )
    return Panel(Image.fromarray(image), 1.0 / pixel)


def _turn(phantom: Phantom) -> float:
    """Return the direction from which the nucleus is to the left and at the back."""
    middle = np.array(phantom.spec.extent_nm) / 2
    way = (phantom.scene.bodies[0, :3] - middle)[1:]
    way = way / max(float(np.linalg.norm(way)), 1.0)

    def seen(turn: float) -> float:
        right, _, into = View.turned(ELEVATION, turn).axes()
        return float(way @ (into[1:] - right[1:]))

    return max(TURNS, key=seen)


def _share(count: int, way: float) -> tuple[int, int]:
    """Return the part of an axis that is opened: the end towards ``way``."""
    kept = round(count * (1.0 - REMOVED_SHARE))
    return (kept, count) if way > 0 else (0, count - kept)


# -- sections and page -----------------------------------------------------------------------------


def _plane(phantom: Phantom, sample: Sample, axis: int) -> tuple[Bytes, Bytes, NDArray[Any]]:
    """Return materials and grey of the middle section, and its voxel (rows, columns) in nm.

    It is finer than what is drawn where ``phantom`` is, and is no longer than a moment's work.
    """
    rest = [n for n in range(3) if n != axis]
    spec = phantom.spec
    if spec.voxel_size_nm == sample.voxel_size_nm or spec.shape[rest[0]] * spec.shape[rest[1]] > (
        MAX_SECTION
    ):
        at = sample.grey.shape[axis] // 2
        planes = (sample.materials.take(at, axis), sample.grey.take(at, axis))
        return *planes, np.array(sample.voxel_size_nm)[rest]
    start, stop = [0, 0, 0], list(spec.shape)
    start[axis] = spec.shape[axis] // 2
    stop[axis] = start[axis] + 1
    image, voxels = phantom.image_and_voxels(Box(index_of(start), index_of(stop)))
    planes = (voxels.material.squeeze(axis), image.squeeze(axis))
    return *planes, np.array(spec.voxel_size_nm)[rest]


def _section(phantom: Phantom, sample: Sample, axis: int) -> list[Panel]:
    """Return the middle section across an axis: grey, and with the colours of organelles over it.

    All sections have one scale.
    """
    materials, grey, voxel = _plane(phantom, sample, axis)
    longest = max(n * v for n, v in zip(sample.grey.shape, sample.voxel_size_nm, strict=True))
    per_nm = PANEL / longest
    height, width = (max(round(n * v * per_nm), 1) for n, v in zip(grey.shape, voxel, strict=True))
    coloured = over(rgb(grey), TABLE[materials], lambda numbers: COLOURS[numbers])
    return [
        Panel(Image.fromarray(p).resize((width, height), Image.Resampling.BICUBIC), per_nm)
        for p in (rgb(grey), coloured)
    ]


def _page(
    solid: Panel, rows: list[list[Panel]], entries: dict[str, Rgb], caption: str
) -> Image.Image:
    """Lay out the cell with caption and legend, and to its right the sections."""
    legend = -(-len(entries) // COLUMNS) * ROW
    left = TITLE + solid.image.height + GAP + legend
    right = TITLE + sum(row[0].image.height + GAP for row in rows)
    size = (SOLID + 2 * PANEL + 4 * GAP, max(left, right) + GAP)
    image = Image.new("RGB", size, DARK)
    draw = ImageDraw.Draw(image)
    write(draw, (GAP, 3), caption, size=14)
    image.paste(solid.image, (GAP + (SOLID - solid.image.width) // 2, TITLE))
    bar(draw, GAP, TITLE, solid)
    _legend(draw, entries, size[1] - GAP - legend)
    top = TITLE
    for title, x in (("micrograph", SOLID + 2 * GAP), ("truth", SOLID + PANEL + 3 * GAP)):
        write(draw, (x, 3), title, size=14)
    for row, (name, _) in zip(rows, CUTS, strict=True):
        for column, panel in enumerate(row):
            x = SOLID + 2 * GAP + column * (PANEL + GAP)
            image.paste(panel.image, (x, top))
            write(draw, (x + 5, top + 3), name, size=14, fill=MARK, outlined=True)
        bar(draw, SOLID + 2 * GAP, top, row[0])
        top += row[0].image.height + GAP
    return image


def _legend(draw: ImageDraw.ImageDraw, entries: dict[str, Rgb], top: int) -> None:
    """Draw a patch of colour and a name for each organelle in the picture."""
    for place, (name, colour) in enumerate(entries.items()):
        x = GAP + place % COLUMNS * (SOLID // COLUMNS)
        y = top + place // COLUMNS * ROW
        draw.rectangle((x, y, x + SWATCH, y + SWATCH), fill=colour)
        write(draw, (x + SWATCH + 8, y - 2), name, size=15)


def _found(materials: Bytes) -> dict[str, Rgb]:
    """Return the names of the organelles in the picture, each with its colour."""
    there = np.bincount(materials.reshape(-1), minlength=256) > 0
    found: dict[str, Rgb] = {}
    for name, part in LEGEND:
        if there[list(part.labels)].any():
            found.setdefault(name, part.colour)
    return found


def _caption(spec: PhantomSpec, sample: Sample) -> str:
    """Return the size of the picture (z, y, x) in µm and the seed of the cell."""
    edges = zip(sample.grey.shape, sample.voxel_size_nm, strict=True)
    size = " x ".join(f"{n * v / 1000:.1f}" for n, v in edges)
    return f"{size} µm (z, y, x), seed {spec.seed}"

"""A picture of a labelled volume from outside: surfaces with light and shadow, and cuts.

A volume consists of parts, each with a colour.  In the opened box only parts that are kept are
shown, in the removed box nothing; faces of cuts show the micrograph.  The rays themselves are in
:mod:`.rays`.  The result is deterministic.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import LimitExceeded, WrongUse
from fibstream.core.grid import Box

from .rays import FINER, LEVELS, OPENED, REMOVED, Block, Bytes, trace
from .shapes import Floats

Vector = tuple[float, float, float]
Rgb = tuple[int, int, int]

MAX_PARTS = OPENED - 1  # a part is a byte, and two values mark what was cut
MAX_PIXELS = 4000  # an edge of a picture
MARGIN = 1.03  # edge of the picture over that of the block's outline
LAMP = (-0.46, -0.62, -0.64)  # direction to the light: left, above, in front of the picture
NO_BOX = Box((0, 0, 0), (0, 0, 0))
NO_GREY = np.zeros((1, 1, 1), np.uint8)


@dataclass(frozen=True, slots=True)
class Part:
    """Labels that are drawn in one colour; labels of no part are invisible.

    ``kept`` parts are also drawn in the opened box.  ``opacity`` is the share of the colour over
    the grey of a cut face, 0 to 1.
    """

    labels: tuple[int, ...]
    colour: Rgb
    kept: bool = True
    opacity: float = 0.5


@dataclass(frozen=True, slots=True)
class View:
    """Directions ``(z, y, x)`` into the picture and, roughly, down in it."""

    into: Vector
    down: Vector = (1.0, 0.0, 0.0)

    @classmethod
    def turned(cls, elevation: float, azimuth: float) -> "View":
        """Return the view from ``elevation`` degrees above, ``azimuth`` from +x towards +y.

        z points down, as milling goes.
        """
        e, a = math.radians(elevation), math.radians(azimuth)
        return cls((math.sin(e), -math.cos(e) * math.sin(a), -math.cos(e) * math.cos(a)))

    def axes(self) -> tuple[Floats, Floats, Floats]:
        """Return unit vectors ``(z, y, x)``: to the right, down, into the picture."""
        into, down = np.array(self.into, float), np.array(self.down, float)
        if not (np.linalg.norm(into) > 0 and np.linalg.norm(np.cross(into, down)) > 0):
            raise WrongUse(f"view {self.into}, {self.down}: expected two different directions")
        into /= np.linalg.norm(into)
        down -= into * (down @ into)
        down /= np.linalg.norm(down)
        return np.cross(into, down), down, into


@dataclass(frozen=True, slots=True)
class Cuts:
    """Boxes of voxels: ``opened``, where only kept parts are drawn, and ``removed``."""

    opened: Box = NO_BOX
    removed: Box = NO_BOX


def outline_nm(extent_nm: Vector, view: View) -> tuple[float, float]:
    """Return height and width, nm, of a block of ``extent_nm`` ``(z, y, x)`` as it is seen."""
    right, down, _ = view.axes()
    height, width = (float(np.abs(axis) @ np.array(extent_nm)) for axis in (down, right))
    return height, width


def render(
    labels: NDArray[np.unsignedinteger[Any]], voxel_size_nm: Vector, parts: Sequence[Part],
    view: View, pixel_nm: float, *, grey: Bytes | None = None, cuts: Cuts | None = None,
    background: Rgb = (255, 255, 255),
) -> Bytes:  # fmt: skip
    """Return a picture of a labelled volume.

    Parameters
    ----------
    labels : (z, y, x) uint8 or uint16
        What each voxel is.
    voxel_size_nm : tuple of float
        Edges of a voxel, nm, ``(z, y, x)``; they may differ.
    parts : sequence of Part
        What is seen; of a label in several parts the last one counts.
    view : View
        Where one looks to.
    pixel_nm : float
        Edge of a pixel, nm; the same everywhere, for the view is orthographic.
    grey : (z, y, x) uint8, optional
        What faces of the volume and of its cuts show; without it they are flat.
    cuts : Cuts, optional
        What is taken away.
    background : tuple of int
        Red, green, blue where nothing is.

    Returns
    -------
    (height, width, 3) uint8
        Owned by the caller; the middle of the volume is the middle of the picture.

    Raises
    ------
    WrongUse
        If an array has another shape or dtype, a part no colour, the view no direction, or a
        pixel no size.
    LimitExceeded
        If there are more than 253 parts or an edge of the picture has more than 4000 pixels.
    """
    _check(labels, voxel_size_nm, parts, grey, pixel_nm)
    whole = _numbered(labels, parts)
    shown = _cut(whole, parts, cuts or Cuts())
    voxel = np.array(voxel_size_nm, float)
    extent = voxel * labels.shape
    right, down, into = view.axes()
    size = [math.ceil(edge * MARGIN / pixel_nm) for edge in outline_nm(tuple(extent), view)]
    if max(size) > MAX_PIXELS:
        raise LimitExceeded(f"a picture of {size} pixels: an edge has at most {MAX_PIXELS}")
    step = pixel_nm / FINER
    deep = float(np.abs(into) @ extent)
    middle = (right * (size[1] * FINER - 1) + down * (size[0] * FINER - 1)) * step / 2
    corner = extent / 2 - middle - into * deep
    block = Block(
        whole, shown, _pyramid(shown), np.ascontiguousarray(NO_GREY if grey is None else grey),
        voxel, np.array([(0, 0, 0), *(part.colour for part in parts)], float),
        np.array([0.0, *(part.opacity for part in parts)]),
        np.array([False, *(part.kept for part in parts)]),
    )  # fmt: skip
    lamp = LAMP[0] * right + LAMP[1] * down + LAMP[2] * into
    image = np.empty((*size, 3), np.uint8)
    trace(
        block, corner, right * step, down * step, into, lamp / np.linalg.norm(lamp), deep,
        np.array(background, float), image,
    )  # fmt: skip
    return image


def _check(
    labels: NDArray[Any], voxel_size_nm: Vector, parts: Sequence[Part], grey: Bytes | None,
    pixel_nm: float,
) -> None:  # fmt: skip
    if labels.ndim != 3 or not labels.size or labels.dtype not in (np.uint8, np.uint16):
        raise WrongUse(f"labels {labels.shape} {labels.dtype}: expected Z,Y,X of uint8 or uint16")
    if grey is not None and (grey.shape != labels.shape or grey.dtype != np.uint8):
        raise WrongUse(f"grey {grey.shape} {grey.dtype}: expected {labels.shape} uint8")
    if len(voxel_size_nm) != 3 or not all(edge > 0 for edge in (*voxel_size_nm, pixel_nm)):
        raise WrongUse(f"voxel {voxel_size_nm}, pixel {pixel_nm} nm: expected lengths above 0")
    if len(parts) > MAX_PARTS:
        raise LimitExceeded(f"{len(parts)} parts: at most {MAX_PARTS}")
    for part in parts:
        if not all(0 <= c <= 255 for c in part.colour) or not 0 <= part.opacity <= 1:
            raise WrongUse(f"{part}: expected colours of 0 to 255 and an opacity of 0 to 1")


def _numbered(labels: NDArray[Any], parts: Sequence[Part]) -> Bytes:
    """Return for each voxel 1 + the place of its part, 0 for none."""
    table = np.zeros(int(np.iinfo(labels.dtype).max) + 1, np.uint8)
    for number, part in enumerate(parts, 1):
        table[[label for label in part.labels if label < len(table)]] = number
    return np.ascontiguousarray(table[labels])


def _cut(whole: Bytes, parts: Sequence[Part], cuts: Cuts) -> Bytes:
    """Return the part numbers with voxels that were cut marked OPENED or REMOVED."""
    shown = whole.copy()
    volume = Box((0, 0, 0), (whole.shape[0], whole.shape[1], whole.shape[2]))
    dropped = np.array([False, *(not part.kept for part in parts)])
    opened, removed = (box.meet(volume) for box in (cuts.opened, cuts.removed))
    if not opened.empty:
        shown[opened.slices()][dropped[whole[opened.slices()]]] = OPENED
    if not removed.empty:
        shown[removed.slices()][whole[removed.slices()] > 0] = REMOVED
    return shown


def _pyramid(shown: Bytes) -> tuple[Bytes, ...]:
    """Return the occupancy (0 to 255) of bricks of 2, 4, .. 32 voxels; 0 only if empty."""
    level = ((shown > 0) & (shown < OPENED)).view(np.uint8) * np.uint8(255)
    levels = []
    for _ in range(LEVELS):
        level = np.pad(level, [(0, n % 2) for n in level.shape])
        total = np.full([n // 2 for n in level.shape], 7, np.uint16)  # rounds up
        for z, y, x in np.ndindex(2, 2, 2):
            total += level[z::2, y::2, x::2]
        level = (total // 8).astype(np.uint8)
        levels.append(level)
    return tuple(levels)

"""Warps drawn from a seed: an affine map of any orientation, and a deformation of a family."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from fibstream.core.echo import echo
from fibstream.core.errors import WrongUse
from fibstream.phantom.hashing import Draw
from fibstream.phantom.shapes import Floats

from .deformations import Slabs, Spline, ThinPlate
from .published import PUBLISHED, published
from .warp import Affine, Deformation, Warp

FAMILIES = ("affine", "bspline", "tps", "slabs", *PUBLISHED)
STREAM = 40  # of the seed; placing uses lower ones
TILT = math.radians(4.0)
SCALE, SCALE_Z = (0.8, 1.2), (0.85, 1.2)
SHIFT = 0.3  # of an edge
RMS_NM = (130.0, 300.0, 330.0)  # of a deformation, (z, y, x)
KNOTS_NM = (2000.0, 4000.0, 4000.0)
# Mean square, over an interval, of the sum of a cubic B-spline's weights with random signs.
SPLINE_RMS = math.sqrt((151.0 / 315.0) ** 3)
CONTROL_NM = (2500.0, 4500.0, 4500.0)
SLAB_NM, JUMP_NM = (500.0, 1600.0), 120.0
GRID_NM = 400.0  # spacing of the points at which folds are searched
VOLUME_RATIO = (0.4, 2.2)  # bounds of det J over det A; a draw beyond them is weakened
WEAKER, MAX_TRIES = 0.85, 40
WIDER, THICKER = 1.83, 1.6  # a light field is larger than the specimen by this
RIM_NM = 500.0  # around the specimen in any case


@dataclass(frozen=True, slots=True)
class Frame:
    """A light image's size (nm, ``(z, y, x)``) and the warp from the specimen into it."""

    size_nm: tuple[float, float, float]
    warp: Warp


def draw_frame(family: str, seed: int, extent_nm: Floats, rim_nm: float) -> Frame:
    """Draw a warp of a family, and a light field that holds the whole specimen.

    Rotation about z is any, tilt at most 4 degrees, x and z are mirrored in every second draw,
    scale is 0.8 to 1.2 (z: 0.85 to 1.2 more), the shift up to 0.3 of an edge.  ``rim_nm`` is how
    far beyond ``extent_nm`` folds are searched.

    Raises
    ------
    WrongUse
        For a family that is not one of FAMILIES.
    """
    if family not in FAMILIES:
        raise WrongUse(f"warp {echo(family)}: expected one of {', '.join(FAMILIES)}")
    draw = Draw(seed, STREAM)
    matrix = _linear(draw)
    warp = _deformed(family, seed, Affine(matrix, np.zeros(3)), extent_nm, rim_nm)
    seen = warp.to_light(_grid(np.zeros(3), extent_nm))
    low, high = seen.min(axis=0), seen.max(axis=0)
    larger = np.array([THICKER, WIDER, WIDER])
    size = np.maximum(larger * np.array([extent_nm[0], *[extent_nm[1:].max()] * 2]),
                      high - low + 2 * RIM_NM)  # fmt: skip
    slack = np.minimum((size - (high - low)) / 2 - RIM_NM / 2, SHIFT * extent_nm)
    shift = np.array([draw.uniform(-s, s) for s in slack])
    # The deformation lies in the frame of the specimen: moving the image does not change it.
    placed = replace(warp, affine=Affine(matrix, size / 2 + shift - (low + high) / 2))
    z, y, x = (float(v) for v in size)
    return Frame((z, y, x), placed)


def _linear(draw: Draw) -> Floats:
    """Return scale, rotation, tilt and mirrors of a draw as one matrix."""
    turn, tilt = draw.uniform(-math.pi, math.pi), draw.uniform(-TILT, TILT)
    towards = draw.uniform(0.0, 2.0 * math.pi)
    mirror = np.diag([draw.integer(0, 2) * 2.0 - 1.0, 1.0, draw.integer(0, 2) * 2.0 - 1.0])
    scale, scale_z = draw.uniform(*SCALE), draw.uniform(*SCALE_Z)
    stretch = np.diag([scale * scale_z, scale, scale])
    about = _about_z(towards) @ _about_y(tilt) @ _about_z(-towards)
    return np.asarray(stretch @ about @ _about_z(turn) @ mirror)


def _about_z(angle: float) -> Floats:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def _about_y(angle: float) -> Floats:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])


def _deformed(family: str, seed: int, affine: Affine, extent: Floats, rim: float) -> Warp:
    """Return the affine map with a deformation that can be inverted everywhere."""
    if family == "affine":
        return Warp(affine)
    if family in PUBLISHED:
        return Warp(affine, published(family).centred(extent / 2), pull=True)
    low, high = np.array([0.0, -rim, -rim]), extent + np.array([0.0, rim, rim])
    draw = Draw(seed, STREAM + 1)
    warp = Warp(affine, MAKERS[family](draw, low, high))
    points = _grid(low, high)
    for _ in range(MAX_TRIES):
        if _is_gentle(warp, points):
            return warp
        warp = replace(warp, deformation=_weaker(warp.deformation))
    raise AssertionError("a deformation of no strength folds")


def _grid(low: Floats, high: Floats) -> Floats:
    axes = [
        np.linspace(a, b, max(2, int((b - a) / GRID_NM) + 1))
        for a, b in zip(low, high, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def _is_gentle(warp: Warp, points: Floats) -> bool:
    stretch = warp.stretch(points)
    if not VOLUME_RATIO[0] < float(stretch.min()) <= float(stretch.max()) < VOLUME_RATIO[1]:
        return False
    try:
        back = warp.to_specimen(warp.to_light(points))
    except ArithmeticError:
        return False
    return bool(np.abs(back - points).max() < 1e-3)


def _weaker(deformation: Deformation | None) -> Deformation:
    if isinstance(deformation, Spline):
        return replace(deformation, coefficients=WEAKER * deformation.coefficients)
    if isinstance(deformation, ThinPlate):
        return ThinPlate(deformation.control_points, WEAKER * deformation.moves)
    assert isinstance(deformation, Slabs)
    return replace(deformation, moves=WEAKER * deformation.moves)


def _spline(draw: Draw, low: Floats, high: Floats) -> Spline:
    spacing = np.array(KNOTS_NM)
    count = np.ceil((high - low) / spacing).astype(int) + 4
    origin = (low + high) / 2 - spacing * (count - 1) / 2
    noise = np.array([draw.normal() for _ in range(3 * int(np.prod(count)))])
    return Spline(noise.reshape(*count, 3) * (np.array(RMS_NM) / SPLINE_RMS), origin, spacing)


def _plate(draw: Draw, low: Floats, high: Floats) -> ThinPlate:
    count = np.maximum(2, np.ceil((high - low) / np.array(CONTROL_NM)).astype(int))
    cell = (high - low) / count
    points = [
        low + (np.array(index) + [draw.uniform(0.1, 0.9) for _ in range(3)]) * cell
        for index in np.ndindex(*count.tolist())
    ]
    moves = [[draw.normal() * rms for rms in RMS_NM] for _ in points]
    return ThinPlate(np.array(points), np.array(moves))


def _slabs(draw: Draw, low: Floats, high: Floats) -> Slabs:
    borders = []
    at = low[0] + draw.uniform(*SLAB_NM)
    while at < high[0]:
        borders.append(at)
        at += draw.uniform(*SLAB_NM)
    moves = np.array([[draw.normal() * JUMP_NM for _ in range(2)] for _ in range(len(borders) + 1)])
    assert all(a < b for a, b in pairwise(borders))
    return Slabs(np.array(borders), moves)


MAKERS: dict[str, Callable[[Draw, Floats, Floats], Deformation]] = {
    "bspline": _spline, "tps": _plate, "slabs": _slabs,
}  # fmt: skip

"""Where volumes lie: their places compared by position, and the voxels that two have in common.

A volume covers what its voxels cover, from the corner of its first voxel on. Its file states where
the first voxel lies, or nothing; what it does not state is never taken from array indices.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import MAX_OFFSET_NM
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Index

from .lengths import TOLERANCE, Size, agree, as_size, size_text

ALIGNED = 0.02  # of a voxel: rounding of metadata, far below what moves a voxel
MAX_FACTOR = 64  # finer voxels along one that is coarser: 1 and 64 nm are as far as anyone compares


@dataclass(frozen=True)
class Position:
    """Where a volume's first voxel lies, (z, y, x) in voxels of its own.

    That is its centre, as in OME-NGFF and OpenOrganelle; with ``corner`` its corner, which is what
    ``offset`` states in N5 (daisy, gunpowder).
    """

    voxels: Size = (0.0, 0.0, 0.0)
    corner: bool = False


NOWHERE = Position((math.nan, math.nan, math.nan))  # the file states a place that cannot be read


@dataclass(frozen=True)
class Place:
    """Something that lies at a place and is no open file, as a dataset; see ``Placed``."""

    name: str
    shape: Index
    voxel_size_nm: Size
    position: Position | None


def position_at(offset: Size, voxel_size_nm: Size) -> Position:
    """Return the position of a volume whose first voxel has its centre at ``offset``, in nm."""
    return Position(as_size(o / edge for o, edge in zip(offset, voxel_size_nm, strict=True)))


class Placed(Protocol):
    """What is compared of a volume; a ``Source`` is one."""

    @property
    def name(self) -> str:
        """As messages call it."""

    @property
    def shape(self) -> Index:
        """(z, y, x) in voxels."""

    @property
    def voxel_size_nm(self) -> Size:
        """Edges of a voxel, (z, y, x)."""

    @property
    def position(self) -> Position | None:
        """Where it lies; None where the file does not state it."""


@dataclass(frozen=True)
class Part:
    """The part of one volume that another one meets, counted in the finer voxels of the two."""

    start: Index  # of the common box, from the volume's corner
    factors: Index  # finer voxels along one of its own

    def read(self, fetch: Callable[[Box], NDArray[Any]], box: Box) -> NDArray[Any]:
        """Return the voxels of ``box`` of the common grid; a coarser voxel is repeated.

        Parameters
        ----------
        fetch : callable
            Reads a box of the volume, in its own voxels, as (z, y, x).
        box : Box
            In finer voxels, from the corner of the common box.
        """
        low = [a + s for a, s in zip(box.start, self.start, strict=True)]
        high = [b + s for b, s in zip(box.stop, self.start, strict=True)]
        az, ay, ax = (a // f for a, f in zip(low, self.factors, strict=True))
        bz, by, bx = (-(-b // f) for b, f in zip(high, self.factors, strict=True))
        voxels = fetch(Box((az, ay, ax), (bz, by, bx)))
        for axis, factor in enumerate(self.factors):
            if factor > 1:
                voxels = np.repeat(voxels, factor, axis)
        within = zip(low, high, (az, ay, ax), self.factors, strict=True)
        return voxels[tuple(slice(a - s * f, b - s * f) for a, b, s, f in within)]


@dataclass(frozen=True)
class Common:
    """The voxels that two volumes have in common, on the grid of the finer one along each axis."""

    shape: Index
    voxel_size_nm: Size
    parts: tuple[Part, Part]


def common(one: Placed, two: Placed, *, begins_nm: Size | None = None) -> Common:
    """Return what two volumes have in common, by position.

    Parameters
    ----------
    one, two : Placed
        Volumes whose voxel sizes are equal, or one a multiple of the other, along each axis.
    begins_nm : tuple of float, optional
        From the corner of ``two`` to that of ``one``, (z, y, x) in nm; it wins over what the files
        state. Needed where they do not: unless both begin at the origin and cover the same extent.

    Raises
    ------
    WrongUse
        If nothing states where one of them lies, the voxels of the finer one do not lie within
        single voxels of the other, or the two have no voxel in common.
    """
    factors = _factors(one, two)
    finer = as_size(min(pair) for pair in zip(one.voxel_size_nm, two.voxel_size_nm, strict=True))
    if begins_nm is None:
        begins_nm = _begins_nm(one, two, finer)
    shifts = [nm / edge for nm, edge in zip(begins_nm, finer, strict=True)]
    if not _whole(shifts):
        raise WrongUse(
            f"{one.name} begins {size_text(begins_nm)} nm from {two.name}, which is no whole "
            f"number of voxels of {size_text(finer)} nm: resample one of them"
        )
    return _met(one, two, factors, [round(shift) for shift in shifts], finer)


def check_same_grid(one: Placed, two: Placed) -> None:
    """Raise WrongUse unless two volumes have one shape, voxel size and place.

    A file that states no place is taken to lie where the other one does, and places that differ by
    at most half a voxel are the same: writers state the corner of a voxel, or its centre.
    """
    if one.shape != two.shape:
        raise WrongUse(f"{two.name} is {two.shape}; {one.name} is {one.shape}: expected the same")
    if not agree(one.voxel_size_nm, two.voxel_size_nm):
        raise WrongUse(
            f"{two.name} has voxels of {size_text(two.voxel_size_nm)} nm; {one.name} of "
            f"{size_text(one.voxel_size_nm)} nm: expected the same"
        )
    check_same_place(one, two)


def check_same_place(one: Placed, two: Placed) -> None:
    """Raise WrongUse unless two volumes of one voxel size begin at one place, if both state it."""
    if one.position is None or two.position is None:
        return
    apart = _apart_nm(one, two)
    limit = 0.5 + ALIGNED
    if not all(abs(nm) <= limit * edge for nm, edge in zip(apart, one.voxel_size_nm, strict=True)):
        raise WrongUse(
            f"{two.name} begins at {place_text(two)}; {one.name} at {place_text(one)}: "
            "expected the same place"
        )


def offset_nm(volume: Placed) -> Size:
    """Return where the centre of the first voxel lies; the origin where that is not known.

    Raises WrongUse where it lies further from the origin than a volume may.
    """
    position = volume.position
    if position is None or position is NOWHERE:
        return (0.0, 0.0, 0.0)
    half = 0.5 if position.corner else 0.0
    pairs = zip(position.voxels, volume.voxel_size_nm, strict=True)
    return check_offset(as_size((v + half) * edge for v, edge in pairs), f"{volume.name} begins at")


def check_offset(offset: Size, what: str) -> Size:
    """Return where a volume begins, in nm; raise WrongUse beyond ``MAX_OFFSET_NM``."""
    if not all(abs(nm) <= MAX_OFFSET_NM for nm in offset):  # false of what is not a number
        raise WrongUse(
            f"{what} {size_text(offset)} nm: expected at most {MAX_OFFSET_NM:g} nm an axis"
        )
    return offset


def place_text(volume: Placed) -> str:
    """Return where a volume begins, as messages show it."""
    if volume.position is None:
        return "a place that it does not state"
    if volume.position is NOWHERE:
        return "a place that is not known: its offset has no resolution beside it"
    pairs = zip(volume.position.voxels, volume.voxel_size_nm, strict=True)
    return f"{size_text(round(v * edge, 3) for v, edge in pairs)} nm"


def _factors(one: Placed, two: Placed) -> tuple[Index, Index]:
    """Return the finer voxels along one of each volume's own."""
    found = []
    for a, b in zip(one.voxel_size_nm, two.voxel_size_nm, strict=True):
        ratio = max(a, b) / min(a, b)
        factor = round(ratio)
        if factor > MAX_FACTOR or not math.isclose(ratio, factor, rel_tol=TOLERANCE):
            raise WrongUse(
                f"{one.name} has voxels of {size_text(one.voxel_size_nm)} nm, {two.name} of "
                f"{size_text(two.voxel_size_nm)} nm: expected the same, or whole multiples up to "
                f"{MAX_FACTOR}"
            )
        found.append((factor, 1) if a > b else (1, factor))
    (az, bz), (ay, by), (ax, bx) = found
    return (az, ay, ax), (bz, by, bx)


def _begins_nm(one: Placed, two: Placed, finer: Size) -> Size:
    """Return the way from the corner of ``two`` to that of ``one``, as the files state it."""
    flag = f"give --truth-at-nm Z,Y,X, the way from the corner of {two.name} to that of {one.name}"
    if one.position is not None and two.position is not None:
        apart = _apart_nm(one, two)
        equal = agree(one.voxel_size_nm, two.voxel_size_nm)
        mixed = one.position.corner != two.position.corner and not equal
        aligned = _whole([nm / edge for nm, edge in zip(apart, finer, strict=True)])
        if aligned and not mixed:
            return apart
        if not equal and _alike(one, two):
            return (0.0, 0.0, 0.0)
        why = (
            "one states its corner, the other the centre of its first voxel"
            if mixed
            else f"that is no whole number of voxels of {size_text(finer)} nm"
        )
        raise WrongUse(
            f"{one.name} begins at {place_text(one)}, {two.name} at {place_text(two)}, and {why}: "
            f"{flag}"
        )
    if _alike(one, two):
        return (0.0, 0.0, 0.0)
    raise WrongUse(
        f"{one.name}, {_extent_text(one)}, begins at {place_text(one)}, {two.name}, "
        f"{_extent_text(two)}, at {place_text(two)}: expected the same extent from the origin "
        f"on, or {flag}"
    )


def _apart_nm(one: Placed, two: Placed) -> Size:
    """Return the way from the corner of ``two`` to that of ``one``, both places being stated.

    Where one states its corner and the other the centre of its first voxel, voxels of one size are
    compared as if both stated the same: half a voxel is the convention of a writer, not a place.
    """
    assert one.position is not None and two.position is not None
    centres = not (one.position.corner or two.position.corner)
    halves = 0.5 if centres else 0.0
    return as_size(
        (a - halves) * size_a - (b - halves) * size_b
        for a, size_a, b, size_b in zip(
            one.position.voxels, one.voxel_size_nm, two.position.voxels, two.voxel_size_nm,
            strict=True,
        )
    )  # fmt: skip


def _alike(one: Placed, two: Placed) -> bool:
    """Whether both begin at the origin, as far as they state it, and end at the same place.

    Centres of first voxels of two sizes differ, and many writers state 0 for both: up to half a
    voxel from the origin a volume begins there.
    """
    for volume in (one, two):
        if volume.position is not None and not all(
            -ALIGNED <= v <= 0.5 + ALIGNED for v in volume.position.voxels
        ):
            return False
    sizes = zip(one.voxel_size_nm, two.voxel_size_nm, strict=True)
    extents = zip(one.shape, two.shape, sizes, strict=True)
    return all(
        n == m if math.isclose(a, b, rel_tol=TOLERANCE)
        else abs(n * a - m * b) < max(a, b) * (1 - ALIGNED)  # the last coarse voxel may stand out
        for n, m, (a, b) in extents
    )  # fmt: skip


def _met(
    one: Placed, two: Placed, factors: tuple[Index, Index], shifts: Sequence[int], finer: Size
) -> Common:
    """Return the common box; ``shifts`` lead from the corner of ``two`` to that of ``one``."""
    starts, ends = [], []
    for axis, shift in enumerate(shifts):
        end = one.shape[axis] * factors[0][axis], two.shape[axis] * factors[1][axis]
        starts.append((max(0, -shift), max(0, shift)))
        ends.append(min(shift + end[0], end[1]) - starts[-1][1])
    if min(ends) <= 0:
        raise WrongUse(
            f"{one.name} and {two.name} have no voxel in common: {one.name}, {_extent_text(one)}, "
            f"begins {size_text(s * e for s, e in zip(shifts, finer, strict=True))} nm from "
            f"{two.name}, {_extent_text(two)}"
        )
    z, y, x = ends
    (az, bz), (ay, by), (ax, bx) = starts
    parts = Part((az, ay, ax), factors[0]), Part((bz, by, bx), factors[1])
    return Common((z, y, x), finer, parts)


def _extent_text(volume: Placed) -> str:
    return f"{' x '.join(map(str, volume.shape))} voxels of {size_text(volume.voxel_size_nm)} nm"


def _whole(numbers: Sequence[float]) -> bool:
    return all(math.isfinite(n) and abs(n - round(n)) <= ALIGNED for n in numbers)

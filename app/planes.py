"""Planes of a dataset's arrays: which level is read, how large it is, and where it lies."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import Dataset
from fibstream.core.grid import Box, Index
from fibstream.volumes.sources import Source, open_volume
from fibstream.volumes.zarr_n5.selection import Kind

from .drawing import PANEL, nearest

CUTS = (("xy", 0), ("xz", 1), ("yz", 2))  # what a cut shows, and the axis (z, y, x) that it fixes

BAND = 16_000_000  # voxels that are read at once of a plane without levels

Point = tuple[float, float, float]


class Section(NamedTuple):
    """One plane of one array, or a part of it.

    ``pixel_nm`` is the size of its pixels (row, column); ``start`` the voxel (row, column) of the
    whole plane at which it begins, ``whole`` the size of that plane.
    """

    values: NDArray[Any]
    pixel_nm: tuple[float, float]
    start: tuple[int, int] = (0, 0)
    whole: tuple[int, int] = (0, 0)


def section(
    group: Path, kind: Kind, dataset: Dataset, axis: int, point_nm: Point, *, edge: int = 0
) -> Section | None:
    """Read one plane; None where there is no array.

    Parameters
    ----------
    group : Path
        Of a multiscale array of the dataset.
    axis : int
        Of (z, y, x): the one along which the plane lies at ``point_nm``.
    edge : int, optional
        Voxels. With it, the part around the point with edges of so many voxels is read at full
        resolution; else the whole plane from the coarsest level that fills a panel.
    """
    level = 0 if edge and shapes(group) else _level(group)
    if level is None:
        return None
    z, y, x = (size * 2.0**level for size in dataset.voxel_size_nm)
    source = open_volume(f"{group}/s{level}", kind=kind, voxel_size_nm=(z, y, x), growing=True)
    start, stop = [0, 0, 0], list(source.shape)
    for n, (at, size, length) in enumerate(zip(point_nm, (z, y, x), source.shape, strict=True)):
        place = min(max(int(at / size), 0), length - 1)
        if n == axis:
            start[n], stop[n] = place, place + 1
        elif edge:
            start[n] = min(max(place - edge // 2, 0), max(length - edge, 0))
            stop[n] = min(start[n] + edge, length)
    values = source.read(Box(index_of(start), index_of(stop))).squeeze(axis)
    whole = source.shape
    source.close()
    row, column = (n for n in range(3) if n != axis)
    pixel = (z, y, x)[row], (z, y, x)[column]
    return Section(values, pixel, (start[row], start[column]), (whole[row], whole[column]))


def index_of(values: list[int]) -> Index:
    """Return a list of three as an index (z, y, x)."""
    z, y, x = values
    return z, y, x


def shapes(group: Path) -> list[Index]:
    """Return the shape of each level of a group, the full one first; none without an array."""
    found: list[Index] = []
    while (path := group / f"s{len(found)}" / "zarr.json").is_file():
        shape = json.loads(path.read_text()).get("shape", [])
        if len(shape) != 3:
            break
        found.append(index_of(shape))
    return found


def _level(group: Path) -> int | None:
    """Return the coarsest level of a group that is still as wide as a panel."""
    widths = [max(shape) for shape in shapes(group)]
    wide = [level for level, width in enumerate(widths) if width >= PANEL]
    return max(wide, default=0) if widths else None


def thinned(
    source: Source, axis: int, at: int, shape: tuple[int, int], *, band: int = BAND
) -> NDArray[Any]:
    """Return the plane at index ``at`` of an axis as ``shape`` pixels, each its nearest voxel.

    It is read ``band`` voxels at a time: a volume without levels may be much wider than a picture.
    """
    rest = [n for n in range(3) if n != axis]
    edges = [source.shape[n] for n in rest]
    rows, columns = (nearest(n, edge) for n, edge in zip(shape, edges, strict=True))
    found = np.zeros(shape, source.dtype)
    height = max(band // edges[1], 1)
    for top in range(0, edges[0], height):
        here = (rows >= top) & (rows < top + height)
        if here.any():
            start, stop = [0, 0, 0], list(source.shape)
            start[axis], stop[axis] = at, at + 1
            start[rest[0]], stop[rest[0]] = top, min(top + height, edges[0])
            part = source.read(Box(index_of(start), index_of(stop))).squeeze(axis)
            found[here] = part[np.ix_(rows[here] - top, columns)]
    return found


def voxel_of(dataset: Dataset, point_nm: Point) -> Index:
    """Return the voxel (z, y, x) of the full resolution in which a point lies."""
    last = [(edge or 1 << 30) - 1 for edge in dataset.shape]
    places = zip(point_nm, dataset.voxel_size_nm, last, strict=True)
    return index_of([min(max(int(at / size), 0), end) for at, size, end in places])

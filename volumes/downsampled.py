"""A volume with coarser voxels, each made of a window of the finer ones.

A window is a fixed set of voxels of the source, so a voxel is the same whatever box is read. The
rules are those of the pyramid (`fibstream.core.pyramid`): means, of integers half up; of labels the
most frequent, of equally frequent ones the smallest; at the end of an axis a window may have fewer
voxels.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Index
from fibstream.core.pyramid import windows_mean

from .lengths import Size, as_size
from .positions import NOWHERE, Position
from .sources import Source

MAX_FACTOR = 16  # along an axis: a box of 512 voxels reads 8,192
Fetch = Callable[[Box], NDArray[Any]]
PIECE = (2**27, 2**24)  # voxels of the source read at a time; of labels, which are sorted, fewer


def downsampled(source: Source, factors: Index, absent_value: float | None = None) -> Source:
    """Return a volume whose voxels are means of windows of ``factors`` (z, y, x) of the source's.

    Voxels of ``absent_value``, and those that the mask of the source says were never imaged, are no
    data: they count in no mean, and a window that has no others has that value, or 0. Its mask says
    imaged where any voxel of the window was. The voxel size is the source's times the factors, the
    place that of the same material: the centre of the first voxel moves by half a voxel less half
    of one of the source's.

    Raises
    ------
    WrongUse
        If a factor is not 1 to ``MAX_FACTOR``, or the source has fewer voxels along its axis.
    """
    shown = ",".join(map(str, factors))
    check_factors(factors, f"--downsample {shown}")
    if not all(f <= n for f, n in zip(factors, source.shape, strict=True)):
        raise WrongUse(
            f"--downsample {shown}: expected not more voxels an axis than {source.name} has "
            f"({source.shape})"
        )
    if factors == (1, 1, 1):
        return source
    whole = Box((0, 0, 0), source.shape)

    def reduced(finer: Box) -> NDArray[Any]:
        if source.kind == "labels":
            return windows_mode(source.read(finer), factors)
        imaged = None if source.mask is None else source.mask.read(finer)
        return windows_mean(source.read(finer), factors, absent_value, imaged)

    def any_imaged(finer: Box) -> NDArray[Any]:
        assert source.mask is not None
        return windows_most(source.mask.read(finer), factors)

    def by(reduce: Callable[[Box], NDArray[Any]], dtype: np.dtype[Any]) -> Fetch:
        def fetch(box: Box) -> NDArray[Any]:
            out = np.empty(box.shape, dtype)
            for part in _pieces(box, factors, PIECE[source.kind == "labels"]):
                finer = Box(_times(part.start, factors), _times(part.stop, factors)).meet(whole)
                out[part.slices(box.start)] = reduce(finer)
            return out

        return fetch

    z, y, x = (-(-n // f) for n, f in zip(source.shape, factors, strict=True))
    dz, dy, dx = (s * f for s, f in zip(source.voxel_size_nm, factors, strict=True))
    coarse = replace(
        source, name=f"{source.name} by {shown}", shape=(z, y, x),
        fetch=by(reduced, source.dtype), voxel_size_nm=(dz, dy, dx),
        position=moved(source.position, factors),
    )  # fmt: skip
    if source.mask is None:
        return coarse
    mask = replace(
        coarse, name=f"{source.mask.name} by {shown}", dtype=source.mask.dtype,
        fetch=by(any_imaged, source.mask.dtype), kind="labels", mask=None,
    )  # fmt: skip
    return replace(coarse, mask=mask)


def averaged(
    shape: tuple[int | None, int, int], voxel_size_nm: Size, offset_nm: Size, factors: Index
) -> tuple[tuple[int | None, int, int], Size, Size]:
    """Return shape, voxel size and offset of a volume once it is averaged.

    Parameters
    ----------
    shape : tuple
        (z, y, x) in voxels; z is None while it is not known.
    voxel_size_nm, offset_nm : tuple of float
        Of the volume as it is; the offset is that of the first voxel's centre.
    factors : tuple of int
        Voxels (z, y, x) along one of those that are averaged.
    """
    depth, rows, columns = shape
    fz, fy, fx = factors
    size = as_size(edge * f for edge, f in zip(voxel_size_nm, factors, strict=True))
    halves = zip(offset_nm, voxel_size_nm, factors, strict=True)
    offset = as_size(at + edge * (f - 1) / 2 for at, edge, f in halves)
    return (depth and -(-depth // fz), -(-rows // fy), -(-columns // fx)), size, offset


def check_factors(factors: Index, what: str) -> None:
    """Raise WrongUse unless each of the factors (z, y, x) is 1 to ``MAX_FACTOR``."""
    if not all(1 <= factor <= MAX_FACTOR for factor in factors):
        raise WrongUse(f"{what}: expected 1 to {MAX_FACTOR} voxels an axis")


def windows_most(array: NDArray[Any], factors: Index) -> NDArray[Any]:
    """Return the largest value of each window of ``factors`` (z, y, x) voxels, of the same dtype.

    ``array`` (z, y, x) begins with the first voxel of a window; the last may be incomplete.
    """
    for axis, factor in enumerate(factors):
        starts = np.arange(0, array.shape[axis], factor)
        array = np.maximum.reduceat(array, starts, axis)
    return array


def windows_mode(labels: NDArray[Any], factors: Index) -> NDArray[Any]:
    """Return the most frequent label of each window, of equally frequent ones the smallest.

    Parameters
    ----------
    labels : (z, y, x) ndarray of bool or int
        From the first voxel of a window on; none is negative, and none 2**64 - 1.
    factors : tuple of int
        Edges (z, y, x) of a window in voxels.

    Returns
    -------
    (ceil(z / factors[0]), ...) ndarray of the same dtype
    """
    beyond = np.iinfo(np.uint64).max  # sorts last, and is not counted
    starts = list(product(*(range(f) for f in factors)))
    shape = tuple(-(-n // f) for n, f in zip(labels.shape, factors, strict=True))
    windows = np.full((len(starts), *shape), beyond, np.uint64)
    for row, start in zip(windows, starts, strict=True):
        part = labels[tuple(slice(a, None, f) for a, f in zip(start, factors, strict=True))]
        row[tuple(slice(n) for n in part.shape)] = part
    windows.sort(axis=0)
    best, run = windows[0].copy(), np.ones(shape, np.int64)
    votes = run.copy()
    for before, after in pairwise(windows):
        run = np.where(after == before, run + 1, 1)
        better = (run > votes) & (after != beyond)
        best[better], votes[better] = after[better], run[better]
    found: NDArray[Any] = best.astype(labels.dtype)
    return found


def moved(position: Position | None, factors: Index) -> Position:
    """Return where the first window lies, in voxels of the coarser size; no place is the origin."""
    if position is NOWHERE:
        return NOWHERE
    stated = position or Position()
    half = 0.0 if stated.corner else 0.5
    z, y, x = ((v - half) / f + half for v, f in zip(stated.voxels, factors, strict=True))
    return Position((z, y, x), stated.corner)


def _times(index: Index, factors: Index) -> Index:
    z, y, x = (i * f for i, f in zip(index, factors, strict=True))
    return z, y, x


def _pieces(box: Box, factors: Index, most: int) -> list[Box]:
    """Return a box cut in halves until each piece reads at most ``most`` voxels of the source."""
    edges = _times(box.shape, factors)
    axis = edges.index(max(edges))
    if math.prod(edges) <= most or box.shape[axis] == 1:
        return [box]
    middle = (box.start[axis] + box.stop[axis]) // 2
    low, high = (
        Box(box.start, _put(box.stop, axis, middle)), Box(_put(box.start, axis, middle), box.stop)
    )  # fmt: skip
    return [*_pieces(low, factors, most), *_pieces(high, factors, most)]


def _put(index: Index, axis: int, value: int) -> Index:
    z, y, x = (value if a == axis else i for a, i in enumerate(index))
    return z, y, x

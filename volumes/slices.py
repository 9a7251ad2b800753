"""A folder of slices, one TIFF or MRC file for each z, read as one volume (z, y, x)."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box

from .formats import PlaneReader, Voxels, named_errors, of_planes, without_leading
from .lengths import Lengths
from .mrc import open_mrc, read_mrc
from .slice_names import natural, number_of
from .tiff import open_page, plane_reader, read_page, refuse_cut_short

TIFF_SUFFIXES = (".tif", ".tiff")
SLICE_SUFFIXES = (*TIFF_SUFFIXES, ".mrc")
PAGES = 1024  # parsed TIFF headers kept: twice the planes of the largest chunk

Header = tuple[tuple[int, ...], np.dtype[Any]]  # shape (y, x) and dtype


def slices_in(folder: Path) -> list[Path]:
    """Return the slices in a folder in natural order: s2 before s10."""
    visible = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(
        (p for p in visible if p.suffix.lower() in SLICE_SUFFIXES), key=lambda p: natural(p.name)
    )


def open_slices(paths: list[Path]) -> Voxels:
    """Return the stack of slices (z, y, x), in the order given; it has no voxel size.

    Parameters
    ----------
    paths : list of Path
        All TIFF or all MRC, one plane each, of one shape and dtype.

    Raises
    ------
    WrongUse
        If a slice, which the message names, cannot be read, or differs from the first.
    """
    tiffs = [path for path in paths if path.suffix.lower() in TIFF_SUFFIXES]
    if tiffs and len(tiffs) != len(paths):
        raise WrongUse(f"{paths[0].parent} mixes TIFF and MRC slices; expected one of the two")
    header = _tiff_header if tiffs else _mrc_header
    (shape, dtype), *others = (header(path) for path in paths)
    for path, found in zip(paths[1:], others, strict=True):
        if found != (shape, dtype):
            raise WrongUse(
                f"{path} has shape {found[0]} and dtype {found[1]}; "
                f"expected {shape} and {dtype} as in {paths[0].name}"
            )
    read = (
        plane_reader(lru_cache(PAGES)(lambda z: open_page(paths[z])))
        if tiffs
        else _mrc_plane_reader(paths)
    )

    def read_plane(z: int, rows: slice, columns: slice) -> NDArray[Any]:
        with named_errors(str(paths[z])):
            return read(z, rows, columns)

    return of_planes((len(paths), *shape), dtype, Lengths(), read_plane, _gaps(paths))


def _gaps(paths: list[Path]) -> tuple[str, ...]:
    """Return a note where otherwise consecutive numbers leave some out."""
    found = [number_of(path.name) for path in paths]
    numbers = [n for n in found if n is not None]
    steps = np.diff(numbers) if len(numbers) == len(paths) else np.zeros(0, int)
    if not len(steps) or int(np.median(steps)) != 1 or int(steps.min()) < 1:
        return ()
    (places,) = np.nonzero(steps > 1)
    if not len(places):
        return ()
    missing = int((steps - 1).sum())
    first = int(places[0])
    return (
        f"{missing} of {numbers[-1] - numbers[0] + 1} slices are missing, the first between "
        f"{paths[first].name} and {paths[first + 1].name}: what follows moves up; put a copy of a "
        "neighbour where one is missing",
    )


def whole_header(path: Path) -> Header:
    """Return shape (y, x) and dtype of one slice, without reading its voxels.

    Raises
    ------
    WrongUse
        If it is not one slice, or the file is shorter than its header states.
    """
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return _mrc_header(path)  # mapping it fails unless every byte is there
    with named_errors(str(path)):
        page = open_page(path)
        refuse_cut_short(page, path.stat().st_size)
        return page.shape, page.dtype


def read_slice(path: Path) -> tuple[NDArray[Any], os.stat_result]:
    """Return the voxels (y, x) of one slice, and the state of the file they were read from.

    The file is read, not mapped: a process that reads a map is killed when the file is truncated
    by its writer, or its network share is disconnected.

    Raises
    ------
    WrongUse
        If it is not one whole slice.
    OSError
        If the file cannot be read.
    """
    with path.open("rb") as file:
        data, state = file.read(), os.fstat(file.fileno())
    with named_errors(str(path)):
        if path.suffix.lower() in TIFF_SUFFIXES:
            return read_page(data, path), state
        volume = without_leading(read_mrc(data, str(path)))
        _refuse_depth(path, volume.shape)
        plane: NDArray[Any] = volume[0].astype(volume.dtype.newbyteorder("="), copy=False)
        return plane, state


def _tiff_header(path: Path) -> Header:
    with named_errors(str(path)):
        page = open_page(path)
        return page.shape, page.dtype


def _mrc_header(path: Path) -> Header:
    with named_errors(str(path)):
        found = open_mrc(path)
    _refuse_depth(path, found.shape)
    return found.shape[1:], found.dtype.newbyteorder("=")


def _refuse_depth(path: Path, shape: tuple[int, ...]) -> None:
    if len(shape) != 3 or shape[0] != 1:
        raise WrongUse(f"{path} has shape {shape}; expected one slice with axes (y, x)")


def _mrc_plane_reader(paths: list[Path]) -> PlaneReader:
    def read_plane(z: int, rows: slice, columns: slice) -> NDArray[Any]:
        box = Box((0, rows.start, columns.start), (1, rows.stop, columns.stop))
        plane: NDArray[Any] = open_mrc(paths[z]).fetch(box)[0]
        return plane

    return read_plane

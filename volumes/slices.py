"""A folder of slices, one TIFF or MRC file for each z, read as one volume (z, y, x)."""

import os
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.echo import echo
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.store.gate import FREE, Gate

from .display import Display
from .formats import PlaneReader, Voxels, named_errors, of_planes, without_leading
from .lengths import Lengths
from .mrc import open_mrc, read_mrc
from .slice_names import is_slice_name, natural
from .slice_numbers import number_names
from .tiff import display_of_page, open_page, plane_reader, read_page, refuse_cut_short

TIFF_SUFFIXES = (".tif", ".tiff")
SLICE_SUFFIXES = (*TIFF_SUFFIXES, ".mrc")
PAGES = 1024  # parsed TIFF headers kept: twice the planes of the largest chunk

Header = tuple[tuple[int, ...], np.dtype[Any]]  # shape (y, x) and dtype
FullHeader = tuple[tuple[int, ...], np.dtype[Any], Display]


def slices_in(folder: Path) -> list[Path]:
    """Return the slices in a folder, in natural order of their names."""
    names = (path.name for path in folder.iterdir())
    slices = (name for name in names if is_slice_name(name, SLICE_SUFFIXES))
    return [folder / name for name in sorted(slices, key=natural)]


def open_slices(paths: list[Path], pattern: str | None = None, gate: Gate = FREE) -> Voxels:
    """Return the stack of slices (z, y, x), in the order of their numbers; it has no voxel size.

    Parameters
    ----------
    paths : list of Path
        All TIFF or all MRC, one plane each, of one shape and dtype, in one folder.
    pattern : str, optional
        A regular expression whose group is the number; files that it does not fit are left out.

    Raises
    ------
    WrongUse
        If a slice, which the message names, cannot be read, or differs from the first; if two have
        one number, or there are several series.
    """
    folder = paths[0].parent
    numbering = number_names([path.name for path in paths], pattern)
    paths = [folder / name for name in numbering.order]
    if not paths:
        raise WrongUse(f"{folder}: no slice fits --pattern {echo(pattern)}")
    tiffs = [path for path in paths if path.suffix.lower() in TIFF_SUFFIXES]
    if tiffs and len(tiffs) != len(paths):
        raise WrongUse(f"{folder} mixes TIFF and MRC slices; expected one of the two")
    if why := numbering.fault():
        raise WrongUse(f"{folder}: {why}")
    header = partial(_tiff_header if tiffs else _mrc_header, gate=gate)
    shape, dtype, display = _same_headers(paths, header)
    read = (
        plane_reader(lru_cache(PAGES)(lambda z: open_page(paths[z], gate)), gate)
        if tiffs
        else _mrc_plane_reader(paths, gate)
    )

    def read_plane(z: int, rows: slice, columns: slice) -> NDArray[Any]:
        with named_errors(str(paths[z])):
            return read(z, rows, columns)

    notes = numbering.notes()
    return of_planes((len(paths), *shape), dtype, Lengths(), read_plane, notes, display)


def _same_headers(paths: list[Path], header: Callable[[Path], FullHeader]) -> FullHeader:
    """Return the header of the first slice; raise WrongUse where another has a different one."""
    (shape, dtype, display), *others = (header(path) for path in paths)
    for path, found in zip(paths[1:], others, strict=True):
        if found[:2] != (shape, dtype):
            raise WrongUse(
                f"{path} has shape {found[0]} and dtype {found[1]}; "
                f"expected {shape} and {dtype} as in {paths[0].name}"
            )
        if found[2] != display:
            raise WrongUse(f"{path} is stored with {_shown(found[2])}, {paths[0].name} is not")
    return shape, dtype, display


def _shown(display: Display) -> str:
    return "colours" if display.coloured else f"{'white' if display.inverted else 'black'} as 0"


def whole_header(path: Path) -> FullHeader:
    """Return shape (y, x), dtype and display of one slice, without reading its voxels.

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
        display = display_of_page(page)
        if display.coloured:
            raise WrongUse(f"{path} has a table of colours; expected grey values")
        return page.shape, page.dtype, display


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
    with FREE.open(path) as file:
        data, state = file.read(), os.fstat(file.fileno())
    with named_errors(str(path)):
        if path.suffix.lower() in TIFF_SUFFIXES:
            return read_page(data, path), state
        volume = without_leading(read_mrc(data, str(path)))
        _refuse_depth(path, volume.shape)
        plane: NDArray[Any] = volume[0].astype(volume.dtype.newbyteorder("="), copy=False)
        return plane, state


def _tiff_header(path: Path, gate: Gate = FREE) -> FullHeader:
    with named_errors(str(path), "TIFF file"):
        page = open_page(path, gate)
        return page.shape, page.dtype, display_of_page(page)


def _mrc_header(path: Path, gate: Gate = FREE) -> FullHeader:
    with named_errors(str(path), "MRC file"):
        found = open_mrc(path, gate)
    _refuse_depth(path, found.shape)
    return found.shape[1:], found.dtype.newbyteorder("="), found.display


def _refuse_depth(path: Path, shape: tuple[int, ...]) -> None:
    if len(shape) != 3 or shape[0] != 1:
        raise WrongUse(f"{path} has shape {shape}; expected one slice with axes (y, x)")


def _mrc_plane_reader(paths: list[Path], gate: Gate) -> PlaneReader:
    def read_plane(z: int, rows: slice, columns: slice) -> NDArray[Any]:
        box = Box((0, rows.start, columns.start), (1, rows.stop, columns.stop))
        plane: NDArray[Any] = open_mrc(paths[z], gate).fetch(box)[0]
        return plane

    return read_plane

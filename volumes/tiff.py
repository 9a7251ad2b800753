"""TIFF stacks and slices: mapped where uncompressed and contiguous, else read by strip or tile.

The format is TIFF 6.0 with BigTIFF; metadata are those of OME-TIFF (OME-XML) and ImageJ.
"""

import logging
import math
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.store.gate import FREE, Gate

from .display import Display, display_between, display_of_palette
from .formats import (
    CACHE_BYTES,
    Decoded,
    PlaneReader,
    Unreadable,
    Voxels,
    check_memory,
    of_array,
    of_planes,
)
from .lengths import Lengths, Stated, combine, statement
from .ome import check_ome, ome_statement

MIN_IS_WHITE, PALETTE = 0, 3  # of the tag PhotometricInterpretation


def open_tiff(path: Path, gate: Gate = FREE) -> Voxels:
    """Return the stack in a TIFF file.

    Parameters
    ----------
    path : Path
        Pages of one shape and dtype, an ImageJ stack, or one page with a depth (SGI's ImageDepth);
        BigTIFF and any compression.

    Returns
    -------
    Voxels
        (z, y, x), of the dtype in the file; the voxel size is that of OME-XML, else of ImageJ.
        Dots per inch are not taken for one.

    Raises
    ------
    WrongUse
        If it is not one stack of grey images.
    """
    with _open(path, gate) as tiff:
        check_ome(path, tiff.ome_metadata, len(tiff.pages), gate)
        series, shape = tiff.series[0], _stack_shape(path, tiff)
        _refuse_unknown_samples(series)
        own, display = _lengths(tiff), _display(tiff)
        if series.dataoffset is not None:
            dtype = np.dtype(tiff.byteorder + series.dtype.char)
            end, size = series.dataoffset + math.prod(shape) * dtype.itemsize, tiff.filehandle.size
            if end > size:
                raise Unreadable(f"it is cut short: {size} of {end} bytes are there")
            with gate.open(path) as file:
                stack = np.memmap(file, dtype, "r", series.dataoffset, shape)
            return of_array(stack, own, display=display)
        pages = list(series.pages)
    if None in pages:
        raise Unreadable(f"plane {pages.index(None)} of {shape[0]} is not in it")
    if len(pages) * pages[0].keyframe.imagedepth != shape[0]:
        raise Unreadable(f"its {len(pages)} pages do not make a stack of shape {shape}")
    read_plane = plane_reader(pages.__getitem__, gate)
    return of_planes(shape, series.dtype, own, read_plane, display=display)


def open_page(path: Path, gate: Gate = FREE) -> Any:
    """Return the only page of a TIFF file, of shape (y, x), for ``plane_reader``.

    Raises
    ------
    WrongUse
        If there are more pages, or the page is in colour.
    """
    with _open(path, gate) as tiff:
        page = _only_page(tiff, path)
        display_of_page(page)  # reads the palette while the file is open
        return page


def read_page(data: bytes, path: Path) -> NDArray[Any]:
    """Return the grey values (y, x) from all bytes of a TIFF file with one page.

    Raises
    ------
    WrongUse
        As ``open_page``.
    Unreadable
        If bytes are missing.
    """
    with _open(BytesIO(data)) as tiff:
        page = _only_page(tiff, path)
        refuse_cut_short(page, len(data))
        array: NDArray[Any] = page.asarray(maxworkers=1)
        return array


def refuse_cut_short(page: Any, size: int) -> None:
    """Raise Unreadable unless a file of ``size`` bytes holds every strip and tile of its page.

    An empty one counts as missing: some programs write the table first and fill it in at the end.
    """
    places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    held = sum(count for _, count in places)
    plain = page.nbytes if page.compression == 1 else 0
    if any(count == 0 or offset + count > size for offset, count in places) or held < plain:
        raise Unreadable(f"of {len(places)} strips and tiles not all are there yet")


def _only_page(tiff: Any, path: Path) -> Any:
    page = tiff.pages[0]
    if len(tiff.pages) != 1 or page.axes != "YX":
        raise WrongUse(
            f"{path} holds {len(tiff.pages)} pages of shape {page.shape}; "
            "expected one slice with axes (y, x)"
        )
    _refuse_unknown_samples(page)
    return page


def _refuse_unknown_samples(page: Any) -> None:
    """Raise Unreadable unless the samples of a page or series are numbers."""
    if page.dtype is None:
        raise Unreadable("its samples are in no known format of numbers")


@contextmanager
def _open(source: Path | BytesIO, gate: Gate = FREE) -> Iterator[Any]:
    """Open a TIFF file; faults are raised here, so tifffile's own log is switched off."""
    import tifffile

    logging.getLogger("tifffile").disabled = True
    opened = source if isinstance(source, BytesIO) else gate.open(source)
    with opened as file, tifffile.TiffFile(file) as tiff:
        _refuse_lost_pages(tiff)
        yield tiff


def _refuse_lost_pages(tiff: Any) -> None:
    """Raise Unreadable if the chain of pages breaks off: tifffile takes the rest for the whole."""
    file, form, last = tiff.filehandle, tiff.tiff, tiff.pages[len(tiff.pages) - 1]
    file.seek(last.offset)
    (tags,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
    file.seek(last.offset + form.tagnosize + tags * form.tagsize)
    (following,) = struct.unpack(form.offsetformat, file.read(form.offsetsize))
    if following != 0:
        raise Unreadable(
            f"after page {len(tiff.pages)} it names one more that is not in it: is it cut short?"
        )


def _stack_shape(path: Path, tiff: Any) -> tuple[int, ...]:
    """Return the shape (z, y, x); z is the axis before y with more than one image."""
    if len(tiff.series) != 1:
        raise WrongUse(f"{path} holds {len(tiff.series)} images that differ; expected one stack")
    shape, axes = tiff.series[0].get_shape(squeeze=False), tiff.series[0].get_axes(squeeze=False)
    if axes.endswith("S") and shape[-1] == 1:  # one sample per pixel is grey
        shape, axes = shape[:-1], axes[:-1]
    depth = [n for n in shape[:-2] if n != 1]
    if not axes.endswith("YX") or len(shape) < 3 or len(depth) > 1:
        raise WrongUse(f"{path} has shape {shape} with axes {axes}; expected (z, y, x)")
    return (*(depth or [1]), *shape[-2:])


def _lengths(tiff: Any) -> Lengths:
    """Return the voxel size; OME-XML is trusted first, since it names the unit of each axis."""
    stated = (ome_statement(tiff.ome_metadata), _imagej_statement(tiff))
    return combine([s for s in stated if s])


def _imagej_statement(tiff: Any) -> Stated | None:
    stated, where = tiff.imagej_metadata, "ImageJ's description"
    if not stated:
        return None
    tags = tiff.pages[0].tags
    pixels = [tags[name].value for name in ("YResolution", "XResolution") if name in tags]
    # One pixel in a unit is written when no scale is set.
    if len(pixels) != 2 or any(0 in pair or pair[0] == pair[1] for pair in pixels):
        return Stated(where, None, "no scale is set")
    if "spacing" not in stated:  # left out where it is 1, which is also the value when unset
        return Stated(where, None, "no distance of slices is set")
    unit = stated.get("unit")
    units = [stated.get("zunit", unit), stated.get("yunit", unit), unit]
    return statement(where, [stated["spacing"], *(n / count for count, n in pixels)], units)


def _display(tiff: Any) -> Display:
    """Return ImageJ's window of grey values, and whether the smallest is white."""
    stated = tiff.imagej_metadata or {}
    shown = display_of_page(tiff.pages[0])
    return replace(shown, window=display_between(stated.get("min"), stated.get("max")).window)


def display_of_page(page: Any) -> Display:
    """Return how the grey values of a page are to be shown; a palette may invert or colour them."""
    if int(page.photometric) == PALETTE:
        return display_of_palette(page.colormap)
    return Display(inverted=int(page.photometric) == MIN_IS_WHITE)


def plane_reader(page_of: Callable[[int], Any], gate: Gate = FREE) -> PlaneReader:
    """Return the reader of parts of planes, (y, x); it decodes the strips and tiles they touch.

    Parameters
    ----------
    page_of : callable
        Returns a page by its number; all have the shape, depth and dtype of page 0.
    """
    first = page_of(0).keyframe
    decoded = Decoded(gate)
    segment_bytes = max(1, math.prod(first.chunks) * first.dtype.itemsize)
    segment = lru_cache(max(1, CACHE_BYTES // segment_bytes))(
        lambda page, number: _segment(page_of(page), number, gate, decoded)
    )

    def read_plane(z: int, rows: slice, columns: slice) -> NDArray[Any]:
        number, z = divmod(z, first.imagedepth)
        page = page_of(number)
        form = page.keyframe
        if page.is_final and _is_contiguous(page) and form.imagedepth == 1:
            return _mapped(page, gate)[rows, columns]
        height, width = form.chunks[-2:]
        deep = form.tiledepth if form.is_tiled else 1
        down, across = -(-form.imagelength // height), -(-form.imagewidth // width)
        touched = (
            range(rows.start // height, -(-rows.stop // height)),
            range(columns.start // width, -(-columns.stop // width)),
        )
        y, x = touched[0].start * height, touched[1].start * width
        size = Path(page.parent.filehandle.path).stat().st_size
        check_memory(deep * height * width * page.dtype.itemsize, size, "a strip or tile", gate)
        out = np.zeros((len(touched[0]) * height, len(touched[1]) * width), page.dtype)
        for row, column in product(*touched):
            part = segment(number, (z // deep * down + row) * across + column)[z % deep]
            corner = out[row * height - y :, column * width - x :]
            corner[: part.shape[0], : part.shape[1]] = part
        return out[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]

    return read_plane


def _mapped(page: Any, gate: Gate) -> NDArray[Any]:
    """Return an uncompressed page in one piece, (y, x), mapped."""
    dtype = np.dtype(page.parent.byteorder + page.dtype.char)
    begin = page.dataoffsets[0]
    with gate.open(Path(page.parent.filehandle.path)) as file:
        if begin + math.prod(page.shape) * dtype.itemsize > os.fstat(file.fileno()).st_size:
            raise Unreadable(f"page {page.index} is cut short")
        return np.memmap(file, dtype, "r", begin, page.shape)


def _is_contiguous(page: Any) -> bool:
    """Whether the strips of a page follow one another without a gap."""
    ends = [a + n for a, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
    return ends[:-1] == list(page.dataoffsets[1:])


def _segment(page: Any, number: int, gate: Gate, decoded: Decoded) -> NDArray[Any]:
    """Return one strip or tile, decoded, (z, y, x); an empty one is 0."""
    count = page.databytecounts[number]
    path = page.parent.filehandle.path
    with gate.open(Path(path)) as file:
        cost = math.prod(page.keyframe.chunks) * page.dtype.itemsize
        decoded.add(path, os.fstat(file.fileno()).st_size, cost)
        file.seek(page.dataoffsets[number])
        data = file.read(count)
    if len(data) != count:
        raise Unreadable(f"page {page.index} is cut short")
    voxels, _, shape = page.keyframe.decode(data or None, number, jpegtables=page.jpegtables)
    if voxels is None:
        return np.zeros(shape[:3], page.dtype)
    array: NDArray[Any] = voxels[: shape[0], : shape[1], : shape[2], 0]
    return array

"""TIFF stacks and slices: mapped where uncompressed and contiguous, else read by strip or tile.

The format is TIFF 6.0 with BigTIFF; metadata are those of OME-TIFF (OME-XML) and ImageJ.
"""

import logging
import math
import struct
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse

from .display import Display, display_between
from .formats import CACHE_BYTES, PlaneReader, Voxels, of_array, of_planes
from .lengths import Lengths, Stated, combine, statement

MIN_IS_WHITE = 0  # of the tag PhotometricInterpretation


def open_tiff(path: Path) -> Voxels:
    """Return the stack in a TIFF file.

    Parameters
    ----------
    path : Path
        Pages of one shape and dtype, or an ImageJ stack; BigTIFF and any compression.

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
    with _open(path) as tiff:
        series, shape = tiff.series[0], _stack_shape(path, tiff)
        own, display = _lengths(tiff), _display(tiff)
        if series.dataoffset is not None:
            dtype = np.dtype(tiff.byteorder + series.dtype.char)
            stack = np.memmap(path, dtype, "r", series.dataoffset, shape)
            return of_array(stack, own, display=display)
        pages = list(series.pages)
    if len(pages) != shape[0] or None in pages:
        raise ValueError(f"its {len(pages)} pages do not make a stack of shape {shape}")
    return of_planes(shape, series.dtype, own, plane_reader(pages.__getitem__), display=display)


def open_page(path: Path) -> Any:
    """Return the only page of a TIFF file, of shape (y, x), for ``plane_reader``.

    Raises
    ------
    WrongUse
        If there are more pages, or the page is in colour.
    """
    with _open(path) as tiff:
        return _only_page(tiff, path)


def read_page(data: bytes, path: Path) -> NDArray[Any]:
    """Return the grey values (y, x) from all bytes of a TIFF file with one page.

    Raises
    ------
    WrongUse
        As ``open_page``.
    ValueError
        If bytes are missing.
    """
    with _open(BytesIO(data)) as tiff:
        page = _only_page(tiff, path)
        refuse_cut_short(page, len(data))
        array: NDArray[Any] = page.asarray(maxworkers=1)
        return array


def refuse_cut_short(page: Any, size: int) -> None:
    """Raise ValueError unless a file of ``size`` bytes holds every strip and tile of its page.

    An empty one counts as missing: some programs write the table first and fill it in at the end.
    """
    places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    held = sum(count for _, count in places)
    plain = page.nbytes if page.compression == 1 else 0
    if any(count == 0 or offset + count > size for offset, count in places) or held < plain:
        raise ValueError(f"of {len(places)} strips and tiles not all are there yet")


def _only_page(tiff: Any, path: Path) -> Any:
    page = tiff.pages[0]
    if len(tiff.pages) != 1 or page.axes != "YX":
        raise WrongUse(
            f"{path} holds {len(tiff.pages)} pages of shape {page.shape}; "
            "expected one slice with axes (y, x)"
        )
    return page


def _open(path: Path | BytesIO) -> Any:
    """Open a TIFF file; faults are raised here, so tifffile's own log is switched off."""
    import tifffile

    logging.getLogger("tifffile").disabled = True
    tiff = tifffile.TiffFile(path)
    try:
        _refuse_lost_pages(tiff)
    except BaseException:
        tiff.close()
        raise
    return tiff


def _refuse_lost_pages(tiff: Any) -> None:
    """Raise ValueError if the chain of pages breaks off: tifffile takes the rest for the whole."""
    file, form, last = tiff.filehandle, tiff.tiff, tiff.pages[len(tiff.pages) - 1]
    file.seek(last.offset)
    (tags,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
    file.seek(last.offset + form.tagnosize + tags * form.tagsize)
    (following,) = struct.unpack(form.offsetformat, file.read(form.offsetsize))
    if following != 0:
        raise ValueError(f"it breaks off after page {len(tiff.pages)}")


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
    return combine([s for s in (_ome_statement(tiff), _imagej_statement(tiff)) if s])


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


def _ome_statement(tiff: Any) -> Stated | None:
    if not tiff.ome_metadata:
        return None
    pixels = ElementTree.fromstring(tiff.ome_metadata).find(".//{*}Pixels")
    stated = {} if pixels is None else pixels.attrib
    sizes = [stated.get(f"PhysicalSize{axis}") for axis in "ZYX"]
    if None in sizes:
        missing = ", ".join(f"PhysicalSize{a}" for a, s in zip("ZYX", sizes, strict=True) if not s)
        return Stated("OME-XML", None, f"it has no {missing}")
    # Micrometres are the default of the schema.
    units = [stated.get(f"PhysicalSize{axis}Unit", "um") for axis in "ZYX"]
    return statement("OME-XML", sizes, units)


def _display(tiff: Any) -> Display:
    """Return ImageJ's window of grey values, and whether the smallest is white."""
    stated = tiff.imagej_metadata or {}
    window = display_between(stated.get("min"), stated.get("max")).window
    return Display(window, inverted=int(tiff.pages[0].photometric) == MIN_IS_WHITE)


def plane_reader(page_of: Callable[[int], Any]) -> PlaneReader:
    """Return the reader of parts of pages, (y, x); it decodes the strips and tiles they touch.

    Parameters
    ----------
    page_of : callable
        Returns the page of a plane z; all have the shape, dtype and segments of page 0.
    """
    first = page_of(0)
    segment_bytes = max(1, math.prod(first.chunks) * first.dtype.itemsize)
    segment = lru_cache(max(1, CACHE_BYTES // segment_bytes))(
        lambda z, number: _segment(page_of(z), number)
    )

    def read_plane(z: int, rows: slice, columns: slice) -> NDArray[Any]:
        page = page_of(z)
        if page.is_final and _is_contiguous(page):
            dtype = np.dtype(page.parent.byteorder + page.dtype.char)
            path = page.parent.filehandle.path
            return np.memmap(path, dtype, "r", page.dataoffsets[0], page.shape)[rows, columns]
        (height, width), across = page.chunks, page.chunked[1]
        touched = (
            range(rows.start // height, -(-rows.stop // height)),
            range(columns.start // width, -(-columns.stop // width)),
        )
        y, x = touched[0].start * height, touched[1].start * width
        out = np.zeros((len(touched[0]) * height, len(touched[1]) * width), page.dtype)
        for row, column in product(*touched):
            part = segment(z, row * across + column)
            corner = out[row * height - y :, column * width - x :]
            corner[: part.shape[0], : part.shape[1]] = part
        return out[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]

    return read_plane


def _is_contiguous(page: Any) -> bool:
    """Whether the strips of a page follow one another without a gap."""
    ends = [a + n for a, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
    return ends[:-1] == list(page.dataoffsets[1:])


def _segment(page: Any, number: int) -> NDArray[Any]:
    """Return one strip or tile, decoded, (y, x); an empty one is 0."""
    count = page.databytecounts[number]
    with Path(page.parent.filehandle.path).open("rb") as file:
        file.seek(page.dataoffsets[number])
        data = file.read(count)
    if len(data) != count:
        raise ValueError(f"page {page.index} is cut short")
    decoded, _, shape = page.keyframe.decode(data or None, number, jpegtables=page.jpegtables)
    if decoded is None:
        return np.zeros(shape[1:3], page.dtype)
    array: NDArray[Any] = decoded[0, : shape[1], : shape[2], 0]
    return array

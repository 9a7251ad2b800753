"""MRC files: the volume, its dtype and axes, and the voxel size, which the header has in angstrom.

The format is MRC2014 (Cheng et al. 2015, doi 10.1016/j.jsb.2015.04.002).
"""

import math
import os
import struct
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.store.gate import FREE, Gate

from .formats import Unreadable, Voxels, of_array
from .lengths import Lengths, Stated, combine, statement

HEADER_BYTES = 1024
BIG_ENDIAN = 0x11  # the first byte of the machine stamp
MODES = MappingProxyType({0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"})  # dtypes of the bytes
IMOD_STAMP = 1146047817  # marks a header written by IMOD, whose flags state if bytes are signed
VOLUME_STACKS = range(401, 631)  # space groups of several volumes in one file
BYTES = (
    "its bytes (mode 0) are read as {}: its header has neither IMOD's flags nor the least and the "
    "largest value"
)


def open_mrc(path: Path, gate: Gate = FREE) -> Voxels:
    """Return the volume of an MRC file, mapped into memory.

    Parameters
    ----------
    path : Path
        Modes 0 (int8 or uint8, see ``_unsigned``), 1 (int16), 2 (float32) and 6 (uint16); either
        byte order; any extended header; axes in any order (MAPC, MAPR, MAPS).

    Returns
    -------
    Voxels
        (z, y, x); the voxel size is the header's CELLA over MX, MY, MZ, from angstrom.

    Raises
    ------
    WrongUse
        If the header does not assign x, y and z to its axes.
    Unreadable
        If it has no such header, or is shorter than its header states.
    """
    with gate.open(path) as file:
        header = _header(file.read(HEADER_BYTES), os.fstat(file.fileno()).st_size)
        stored = _stored(header, np.memmap(file, np.uint8, "r"))
    volume = _volume(header, stored, str(path))
    return of_array(volume, _lengths(header), notes=_notes(header, stored))


def read_mrc(data: bytes, name: str) -> NDArray[Any]:
    """Return the volume (z, y, x) from all bytes of an MRC file; raises as ``open_mrc``."""
    header = _header(data[:HEADER_BYTES], len(data))
    return _volume(header, _stored(header, np.frombuffer(data, np.uint8)), name)


def _header(data: bytes, size: int) -> Any:
    """Return the header of a file of ``size`` bytes as a record, in its own byte order.

    SerialEM, IMOD and Amira leave the machine stamp or the word MAP away, or write others: the
    order is the one in which the sizes in the header are those of the file. The stamp decides
    which of the two is described where none fits.
    """
    if len(data) < HEADER_BYTES:
        raise Unreadable(f"it has {size} bytes; an MRC header has {HEADER_BYTES}")
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    first, second = orders[::-1] if data[212] == BIG_ENDIAN else orders
    header = _in_order(data, first)
    fault = _fault(header, size)
    if fault and not _fault(other := _in_order(data, second), size):
        return other
    if fault:
        raise Unreadable(fault)
    return header


def _in_order(data: bytes, order: Literal["<", ">"]) -> Any:
    from mrcfile.dtypes import HEADER_DTYPE

    return np.frombuffer(data, HEADER_DTYPE.newbyteorder(order))[0]


def _shape(header: Any) -> tuple[int, ...]:
    """Return the sizes (section, row, column), before them the number of volumes in a stack."""
    x, y, z, deep = (int(header[name]) for name in ("nx", "ny", "nz", "mz"))
    if int(header["ispg"]) in VOLUME_STACKS and deep > 0 and z % deep == 0:
        return z // deep, deep, y, x
    return z, y, x


def _fault(header: Any, size: int) -> str:
    """Return why a header cannot be that of a file of ``size`` bytes; empty if it can."""
    shape, mode, extended = _shape(header), int(header["mode"]), int(header["nsymbt"])
    if min(shape) < 1:
        return f"it is no MRC file: its header states the shape {shape}"
    if mode not in MODES:
        return f"its header states the mode {mode}; expected 0, 1, 2 or 6"
    if not 0 <= extended <= size - HEADER_BYTES:
        return f"its extended header has {extended} bytes; the file has {size}"
    end = HEADER_BYTES + extended + math.prod(shape) * np.dtype(MODES[mode]).itemsize
    if end > size:
        return f"it is no MRC file or cut short: {size} of {end} bytes are there"
    if bytes(header["map"]).rstrip(b" \0") != b"MAP" and end != size:
        return f"it has no mark MAP, and {size} bytes where its header states {end}"
    return ""


def _stored(header: Any, data: NDArray[np.uint8]) -> NDArray[Any]:
    """Return the array in the bytes of a file, (section, row, column); nothing is copied."""
    dtype = np.dtype(MODES[int(header["mode"])]).newbyteorder(header.dtype["mode"].byteorder)
    shape, begin = _shape(header), HEADER_BYTES + int(header["nsymbt"])
    return data[begin : begin + math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)


def _volume(header: Any, stored: NDArray[Any], name: str) -> NDArray[Any]:
    """Return the stored array, (section, row, column), as (z, y, x), with bytes signed or not."""
    order = (int(header["mapc"]), int(header["mapr"]), int(header["maps"]))
    if order == (0, 0, 0):  # left empty by older programs, which have no other order
        order = (1, 2, 3)
    if sorted(order) != [1, 2, 3]:
        raise WrongUse(f"{name} has its axes in the order {order}; expected 1, 2, 3 for x, y, z")
    array = stored
    if array.dtype == np.int8 and _unsigned(header):
        array = array.view(np.uint8)
    names = ["xyz"[axis - 1] for axis in order[::-1]]  # of sections, rows, columns
    lead = array.ndim - 3
    return array.transpose(*range(lead), *(lead + names.index(axis) for axis in "zyx"))


def _unsigned(header: Any) -> bool:
    """Whether mode 0 is uint8, as it was before MRC2014 made it int8.

    IMOD states it in its flags. In other files the header's least value decides: where it is not
    negative the bytes are unsigned, or the same numbers in both readings. Taking uint8 there reads
    all slices of a stack alike, whatever the range of each.
    """
    flags = _imod_flags(header)
    if flags is not None:
        return not flags & 1
    low, high = float(header["dmin"]), float(header["dmax"])
    return 0 <= low <= high < 256  # a maximum below the minimum: not determined (MRC2014)


def _imod_flags(header: Any) -> int | None:
    """Return IMOD's flags, or None if IMOD did not write the file.

    ``extra2`` begins at byte 112 of the header; the stamp is at byte 152, the flags at 156.
    """
    extra = bytes(header["extra2"])
    for order in "<>":
        stamp, flags = struct.unpack(f"{order}2i", extra[40:48])
        if stamp == IMOD_STAMP:
            return int(flags)
    return None


def _notes(header: Any, stored: NDArray[Any]) -> tuple[str, ...]:
    low, high = float(header["dmin"]), float(header["dmax"])
    if stored.dtype != np.int8 or _imod_flags(header) is not None or low < high:
        return ()
    return (BYTES.format("unsigned" if _unsigned(header) else "signed"),)


def _lengths(header: Any) -> Lengths:
    """Return the edges of a voxel: CELLA over MX, MY, MZ, which are x, y, z in any axis order."""
    cell = [float(header["cella"][axis]) for axis in "zyx"]
    samples = [int(header[f"m{axis}"]) for axis in "zyx"]
    where = "the MRC header"
    if not all(count > 0 for count in samples):
        return combine([Stated(where, None, f"its cell has {tuple(samples)} samples")])
    edges = [edge / count for edge, count in zip(cell, samples, strict=True)]
    # Programs that do not know the size write 1 angstrom; 0 means unknown.
    if any(math.isclose(edge, 1, rel_tol=1e-6) for edge in edges):
        shown = ", ".join(f"{edge:g}" for edge in edges)
        return combine([Stated(where, None, f"{shown} angstrom stand for an unset size")])
    if int(header["ispg"]) == 0 and samples[0] == 1 and int(header["nz"]) > 1:
        return combine([Stated(where, None, "it is a stack of images, without a depth")])
    return combine([statement(where, edges, ["angstrom"] * 3)])

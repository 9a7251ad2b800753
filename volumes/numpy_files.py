"""Plain NumPy files: ``.npy`` (one array, mapped) and ``.npz`` (several, chosen by key).

The formats are those of ``numpy.lib.format``.  An ``.npy`` file has no voxel size; in an ``.npz``
file it is the array ``voxel_size_nm_zyx``: three numbers (z, y, x) in nanometres.
"""

import io
import logging
import math
import os
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.store.gate import FREE, Gate

from .formats import Unreadable, Voxels, check_memory, of_array
from .lengths import Lengths, combine, statement

log = logging.getLogger(__name__)

NPZ_SIZE = "voxel_size_nm_zyx"
HEADER_BYTES = 12 + 2**16  # of numpy's formats 1 and 2, which are much shorter in fact
MEMBERS = 1000  # arrays in an npz file
KEPT_BYTES = 2**29  # unpacked arrays, beside the last: several files may be read in turn


@dataclass(frozen=True)
class Header:
    """What the header of an array states, and where its bytes begin."""

    shape: tuple[int, ...]
    fortran: bool  # order of the bytes
    dtype: np.dtype[Any]
    begin: int

    @property
    def end(self) -> int:
        """Bytes of header and voxels."""
        return self.begin + math.prod(self.shape) * self.dtype.itemsize

    def array(self, flat: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the array in bytes that begin with the header; nothing is copied."""
        voxels = flat[self.begin : self.end].view(self.dtype)
        return voxels.reshape(self.shape, order="F" if self.fortran else "C")


def read_header(data: bytes) -> Header:
    """Return the header in the first bytes of an npy file; raises Unreadable if there is none."""
    file = io.BytesIO(data)
    readers = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    try:
        major, _ = np.lib.format.read_magic(file)
        shape, fortran, dtype = readers[major](file)
    # numpy evaluates the header as a Python literal, which may fail in any way.
    except Exception as error:
        raise Unreadable("it does not begin with the header of a NumPy array") from error
    if dtype.hasobject or dtype.itemsize == 0 or dtype.subdtype or dtype.names:
        raise Unreadable("it holds Python objects or records; expected numbers")
    if min(shape, default=0) < 0:
        raise Unreadable(f"its header states the shape {shape}")
    return Header(tuple(map(int, shape)), fortran, dtype, file.tell())


def open_npy(path: Path, gate: Gate = FREE) -> Voxels:
    """Return the array (..., z, y, x) of an npy file, mapped into memory; any dtype."""
    with gate.open(path) as file:
        header = read_header(file.read(HEADER_BYTES))
        if header.end > (size := os.fstat(file.fileno()).st_size):
            raise Unreadable(f"it is cut short: {size} of {header.end} bytes are there")
        if header.begin == header.end:
            return of_array(np.zeros(header.shape, header.dtype), Lengths())
        return of_array(header.array(np.memmap(file, np.uint8, "r")), Lengths())


def open_npz(path: Path, key: str | None, prefer: str | None, gate: Gate = FREE) -> Voxels:
    """Return one array (..., z, y, x) of an npz file, held in memory.

    Parameters
    ----------
    path : Path
        The file; the array ``voxel_size_nm_zyx`` in it is the voxel size.
    key : str or None
        The name of the array. None: the one called ``prefer``, else the only one with three axes.
    prefer : str or None
        The name to be preferred where several arrays have three axes.
    gate : Gate
        Opens the file; through that of a service less may be unpacked.

    Raises
    ------
    WrongUse
        If there is no array of that name, or without a name none or more than one volume.
    Unreadable
        If it would unpack to much more than the file's size.
    """
    with gate.open(path) as file, zipfile.ZipFile(file) as members:
        headers = _headers(members)
        chosen = "" if key else _only_key(path, headers, prefer)
        key = key or chosen
        if key not in headers:
            raise WrongUse(f"{path} has no array {key}; it has {', '.join(headers)}")
        lengths = _lengths(members, headers)
        state = os.fstat(file.fileno())
        check_memory(headers[key].end, state.st_size, f"{key} of the npz file", gate)
        # Two writes may fall within one tick of the file system's clock.
        version = (state.st_size, state.st_mtime_ns, members.getinfo(f"{key}.npy").CRC)
        array = _KEPT.get((path, key, version), lambda: _unpacked(members, key, headers[key]))
    return of_array(array, lengths, chosen)


class KeptArrays:
    """The arrays that were unpacked last, up to ``limit`` bytes; one is unpacked at a time.

    A server opens its source anew for each chunk, and for several at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._arrays: OrderedDict[object, NDArray[Any]] = OrderedDict()

    def get(self, name: object, unpack: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return the array of that name, unpacked now unless it is kept; the last always is."""
        with self._lock:
            if name not in self._arrays:
                log.debug("unpacking %s", name)
                self._arrays[name] = unpack()
            self._arrays.move_to_end(name)
            while len(self._arrays) > 1 and self._size() > self._limit:
                self._arrays.popitem(last=False)
            return self._arrays[name]

    def _size(self) -> int:
        return sum(array.nbytes for array in self._arrays.values())


_KEPT = KeptArrays(KEPT_BYTES)


def _unpacked(members: zipfile.ZipFile, key: str, header: Header) -> NDArray[Any]:
    with members.open(f"{key}.npy") as file:
        data = file.read(header.end)
    if len(data) != header.end:
        raise Unreadable(f"its array {key} is cut short: {len(data)} of {header.end} bytes")
    return header.array(np.frombuffer(data, np.uint8))


def _headers(members: zipfile.ZipFile) -> dict[str, Header]:
    """Return the headers of the arrays by their names, without reading their voxels."""
    arrays = [member for member in members.infolist() if member.filename.endswith(".npy")]
    if len(arrays) > MEMBERS:
        raise Unreadable(f"it holds {len(arrays)} arrays; expected at most {MEMBERS}")
    found = {}
    for member in arrays:
        with members.open(member) as file:
            found[member.filename.removesuffix(".npy")] = read_header(file.read(HEADER_BYTES))
    return found


def _lengths(members: zipfile.ZipFile, headers: dict[str, Header]) -> Lengths:
    header = headers.get(NPZ_SIZE)
    if header is None:
        return Lengths()
    if math.prod(header.shape) != 3:
        raise Unreadable(f"{NPZ_SIZE} has shape {header.shape}; expected three numbers, (z, y, x)")
    if header.dtype.kind not in "iuf":  # before it is read: three strings may have gigabytes
        raise Unreadable(f"{NPZ_SIZE} has dtype {header.dtype}; expected three numbers, (z, y, x)")
    with members.open(f"{NPZ_SIZE}.npy") as file:
        array = header.array(np.frombuffer(file.read(header.end), np.uint8))
    return combine([statement(NPZ_SIZE, array.astype(float).ravel().tolist(), ["nm"] * 3)])


def _only_key(path: Path, headers: dict[str, Header], prefer: str | None) -> str:
    """Return the name of the volume among the arrays of an npz file."""
    volumes = [name for name, header in headers.items() if len(header.shape) >= 3]
    if prefer in volumes:
        volumes = [prefer]
    if not volumes:
        raise WrongUse(f"{path} has no array with axes (z, y, x)")
    if len(volumes) > 1:
        choices = ", ".join(volumes)
        raise WrongUse(f"{path} has several volumes; give {path}#KEY with one of {choices}")
    return volumes[0]

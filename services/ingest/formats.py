"""What every format has in common, and the plain ones: npy, npz and MRC.

A function that opens something returns it as it was found; ``sources`` decides whether it will do.
"""

import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.errors import WrongUse
from fibstream.grid import Box

CACHE_BYTES = 2**30  # decoded chunks, strips and tiles: the next box along x needs them again
REASON_LENGTH = 240  # characters of a library's message: the rest is its address, not ours
IMOD_STAMP = 1146047817  # marks a header written by IMOD, whose flags say if bytes are signed

UNITS_NM = MappingProxyType(
    {"m": 1e9, "cm": 1e7, "mm": 1e6, "um": 1e3, "nm": 1.0, "pm": 1e-3, "å": 0.1}
    | {"meter": 1e9, "centimeter": 1e7, "millimeter": 1e6, "micrometer": 1e3, "micron": 1e3}
    | {"nanometer": 1.0, "picometer": 1e-3, "angstrom": 0.1}
)

Window = Callable[[int, slice, slice], NDArray[Any]]  # reads of plane z these rows and columns


@dataclass(frozen=True)
class Voxels:
    """What was found at a path: unchecked, but leading axes of one voxel are gone.

    ``fetch`` returns the voxels of a box, in an array that belongs to the caller. Files are mapped
    or opened anew for each box, so none stays open.
    """

    shape: tuple[int, ...]  # (z, y, x) if it is a volume
    dtype: np.dtype[Any]
    voxel_size_nm: tuple[float, ...] | None  # (z, y, x); None: the file does not say
    fetch: Callable[[Box], NDArray[Any]]
    inside: str = ""  # the array that was chosen inside a file or hierarchy


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Turn whatever a library raises into one line of wrong use that names ``what``."""
    try:
        yield
    except WrongUse:
        raise
    # Libraries raise anything at all on bytes that they did not expect.
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        reason = text.partition(" [source locations=")[0][:REASON_LENGTH]
        raise WrongUse(f"{what} cannot be read: {reason}") from error


def unit_nm(unit: str | None) -> float | None:
    """Return the length of ``unit`` in nanometres, or None if it is not a length."""
    # ImageJ writes the micro sign as an escape; Unicode has two of them.
    plain = re.sub(r"\\u00b5|\u00b5|\u03bc", "u", (unit or "").strip().lower())
    plain = plain.replace("ångström", "angstrom").replace("metre", "meter")
    return UNITS_NM.get(plain) or UNITS_NM.get(plain.removesuffix("s"))


def without_leading(array: Any) -> Any:
    """Return the array without the axes of one element (t and c) before (z, y, x)."""
    while array.ndim > 3 and array.shape[0] == 1:
        array = array[0]
    return array


def of_array(
    array: NDArray[Any],
    voxel_size_nm: tuple[float, ...] | None = None,
    inside: str = "",
) -> Voxels:
    """Return an array (in memory or mapped) as voxels; a box is copied out of it."""
    volume = without_leading(array)

    def fetch(box: Box) -> NDArray[Any]:
        return np.array(volume[box.slices()], order="C", subok=False)

    return Voxels(volume.shape, volume.dtype, voxel_size_nm, fetch, inside)


def of_windows(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    voxel_size_nm: tuple[float, ...] | None,
    window: Window,
) -> Voxels:
    """Return a stack that is read plane by plane as voxels."""

    def fetch(box: Box) -> NDArray[Any]:
        zs, ys, xs = box.slices()
        return np.stack([window(z, ys, xs) for z in range(zs.start, zs.stop)])

    return Voxels(shape, dtype, voxel_size_nm, fetch)


def open_npy(path: Path) -> Voxels:
    """Return the array of an npy file, mapped into memory."""
    return of_array(np.load(path, mmap_mode="r", allow_pickle=False))


def open_npz(path: Path, key: str | None, prefer: str | None) -> Voxels:
    """Return one array of an npz file, held in memory.

    Without a key it is the array ``prefer`` if there is one, else the only array with three axes.
    The voxel size is the array ``voxel_size_nm_zyx``.
    """
    chosen = "" if key else _only_key(path, prefer)
    key = key or chosen
    # Opened here, because np.load leaves a broken file open.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        if key not in arrays.files:
            raise WrongUse(f"{path} has no array {key}; it has {', '.join(arrays.files)}")
        named = "voxel_size_nm_zyx" in arrays.files
        own = tuple(arrays["voxel_size_nm_zyx"].astype(float).ravel().tolist()) if named else None
        return of_array(arrays[key], own, chosen)


def _only_key(path: Path, prefer: str | None) -> str:
    """Return the name of the volume in an npz file; only headers are read."""
    headers = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    axes = {}
    with zipfile.ZipFile(path) as members:
        for member in members.namelist():
            with members.open(member) as file:
                major, _ = np.lib.format.read_magic(file)
                axes[member.removesuffix(".npy")] = len(headers[major](file)[0])
    volumes = [name for name, count in axes.items() if count >= 3]
    if prefer in volumes:
        volumes = [prefer]
    if not volumes:
        raise WrongUse(f"{path} has no array with axes (z, y, x)")
    if len(volumes) > 1:
        choices = ", ".join(volumes)
        raise WrongUse(f"{path} has several volumes; give {path}#KEY with one of {choices}")
    return volumes[0]


def open_mrc(path: Path) -> Voxels:
    """Return the volume of an MRC file, mapped into memory; its voxel size is in angstrom."""
    import mrcfile

    with warnings.catch_warnings():  # a few bytes too many are no reason to stop
        warnings.simplefilter("ignore")
        with mrcfile.mmap(path, mode="r") as file:
            header, array, size = file.header, file.data, file.voxel_size  # the map outlives it
    if (order := (int(header.mapc), int(header.mapr), int(header.maps))) != (1, 2, 3):
        raise WrongUse(f"{path} has its axes in the order {order}; expected (1, 2, 3) for x, y, z")
    if array.dtype == np.int8 and _bytes_are_unsigned(bytes(header.extra2)):
        array = array.view(np.uint8)
    angstrom = [float(size[axis]) for axis in "zyx"]
    # 0 means unknown, and 1 is what programs write that do not know it.
    known = any(size not in (0, 1) for size in angstrom)
    own = tuple(0.1 * size for size in angstrom) if known else None
    return of_array(array if array.ndim > 2 else array[None], own)


def _bytes_are_unsigned(extra: bytes) -> bool:
    """Whether IMOD wrote mode 0 as uint8, as it did before MRC2014 made it int8.

    ``extra`` begins at byte 112 of the header; IMOD's stamp is at byte 152, its flags at 156.
    """
    stamps = (struct.unpack(f"{order}2i", extra[40:48]) for order in "<>")
    return any(stamp == IMOD_STAMP and not flags & 1 for stamp, flags in stamps)

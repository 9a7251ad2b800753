"""A volume that the user names by a path, whatever its format, checked and read box by box."""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import MAX_AXIS, Box, Index

from . import lengths
from .display import Display
from .formats import Voxels, naming, open_npy, open_npz
from .hierarchy import METADATA, open_hierarchy
from .lengths import Lengths, agree, text
from .mrc import open_mrc
from .selection import Kind
from .slices import open_slices, slices_in
from .tiff import open_tiff

log = logging.getLogger(__name__)

SCHEMES = ("s3://", "gs://", "file://")
TOLERANCE = lengths.TOLERANCE  # between the voxel size given and the file's own, on each axis

_RAW = ("uint8", "int8", "uint16", "int16", "float32")
_LABELS = ("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
DTYPES: Mapping[Kind, tuple[str, ...]] = MappingProxyType(
    {
        "raw": _RAW,
        "prediction": ("uint8",),
        "labels": _LABELS,
        "any": tuple(dict.fromkeys((*_RAW, *_LABELS))),
    }
)
FORMS: Mapping[Kind, str] = MappingProxyType(
    {
        "raw": " for raw",
        "prediction": " for a prediction: signed tanh distance, 127 at 0 nm",
        "labels": " for labels",
        "any": "",
    }
)

OPENERS: Mapping[str, Callable[[Path], Voxels]] = MappingProxyType(
    {
        ".npy": open_npy,
        ".tif": open_tiff,
        ".tiff": open_tiff,
        ".mrc": open_mrc,
        ".rec": open_mrc,
    }
)

PLUG_INS = "fibstream.volumes"  # entry points: a suffix, and what opens such files

TOLD = 1000  # notes that are remembered, so as not to be told again

VoxelSize = tuple[float, float, float]


@dataclass(eq=False)
class Source:
    """A volume on disk or in a bucket; axes are (z, y, x)."""

    name: str  # as the user wrote it, with what was chosen inside
    shape: Index
    dtype: np.dtype[Any]  # in the byte order of the machine
    voxel_size_nm: VoxelSize
    kind: Kind
    fetch: Callable[[Box], NDArray[Any]]
    display: Display  # how the file wants its grey values to be shown
    notes: tuple[str, ...] = ()  # what the user should know of how it is read; logged once

    def read(self, box: Box) -> NDArray[Any]:
        """Return the voxels of ``box``, which lies inside the volume.

        Returns
        -------
        (z, y, x) ndarray of ``dtype``
            In C order; it belongs to the caller.

        Raises
        ------
        WrongUse
            If the voxels cannot be read, labels are negative, or a float is not finite.
        """
        assert box.meet(Box((0, 0, 0), self.shape)) == box and not box.empty, box
        where = f"{self.name} at {list(box.start)} to {list(box.stop)}"
        with naming(where):
            found = self.fetch(box)
        array = np.ascontiguousarray(found, self.dtype)
        assert array.shape == box.shape
        if self.kind == "labels" and self.dtype.kind == "i" and array.min() < 0:
            raise WrongUse(f"{where} holds the label {array.min()}; expected labels from 0 up")
        # A cast of NaN to an integer differs between machines: the results would too.
        if self.dtype.kind == "f" and not np.isfinite(array).all():
            raise WrongUse(f"{where} holds NaN or infinity; expected finite values")
        return array

    def close(self) -> None:
        """Let go of maps and of arrays in memory; nothing can be read any more."""
        self.fetch = _closed


def _closed(box: Box) -> NDArray[Any]:
    raise ValueError(f"the source was closed before {box}")


def open_volume(path: str, *, kind: Kind = "any", voxel_size_nm: VoxelSize | None = None) -> Source:
    """Return the volume at a path, without reading its voxels (npz: all of them).

    Parameters
    ----------
    path : str
        A file (.npy, .npz, .tif, .tiff, .mrc, .rec), a folder of TIFF or MRC slices, or a Zarr or
        N5 array, multiscale group or dataset; ``file.npz#key``, ``store#group/inside``.
    kind : {"raw", "prediction", "labels", "any"}
        What it is to be: decides what is taken out of a dataset, and the dtypes allowed.
    voxel_size_nm : tuple of float, optional
        Edge lengths (z, y, x) in nanometres; needed where the file has none of its own.

    Raises
    ------
    WrongUse
        If there is no such volume, or it is not what ``kind`` expects.
    """
    if voxel_size_nm is not None and not _usable(voxel_size_nm):
        raise WrongUse(f"voxel size {voxel_size_nm}: expected three positive lengths (z, y, x), nm")
    place, inside = _split(path)
    with naming(path):
        found = _find(path, place, inside, kind)
    chosen = "/".join(filter(None, (inside, found.inside)))
    return _checked(f"{place}#{chosen}" if chosen else path, found, kind, voxel_size_nm)


def _split(path: str) -> tuple[str, str]:
    """Return the place and what is named inside it; a # may also belong to a file's own name."""
    place, mark, inside = path.rpartition("#")
    if not mark or Path(path).exists():
        return path, ""
    return place, inside.strip("/")


def _find(path: str, place: str, inside: str, kind: Kind) -> Voxels:
    """Return what is at a path; the format follows from the name, in folders from metadata."""
    if place.startswith(SCHEMES):
        found = open_hierarchy(f"{place.rstrip('/')}/{inside}", path, kind, turn=True)
        if found is None:
            raise WrongUse(f"{path}: there is no Zarr or N5 array or group")
        return found
    file = Path(place)
    if file.is_dir():
        return _find_in_folder(path, file, inside, kind)
    if not file.exists():
        raise WrongUse(f"{place}: no such file or folder")
    suffix = file.suffix.lower()
    if suffix == ".npz":
        return open_npz(file, inside or None, prefer="raw" if kind == "raw" else None)
    if (plug_in := _plug_in(suffix)) is not None:
        return plug_in(file, inside)
    if suffix not in OPENERS:
        raise WrongUse(f"{place}: unknown format; expected .npz, {', '.join(OPENERS)} or a folder")
    if inside:
        raise WrongUse(f"{path}: only .npz files and Zarr or N5 hierarchies take #")
    return OPENERS[suffix](file)


@lru_cache
def _plug_in(suffix: str) -> Callable[[Path, str], Voxels] | None:
    """Return what an installed package offers for files of a suffix; it gets what # names too."""
    for point in entry_points(group=PLUG_INS, name=suffix):
        return cast("Callable[[Path, str], Voxels]", point.load())
    return None


def _find_in_folder(path: str, folder: Path, inside: str, kind: Kind) -> Voxels:
    bare = not inside and not any((folder / name).exists() for name in METADATA)
    if bare and (slices := slices_in(folder)):
        return open_slices(slices)
    found = open_hierarchy(f"file://{folder.resolve()}/{inside}", path, kind, turn=True)
    if found is None and inside:
        raise WrongUse(f"{folder} has no array or group {inside}")
    if found is None:
        raise WrongUse(f"{folder} holds neither slices (.tif, .tiff, .mrc) nor a Zarr or N5 array")
    return found


def _checked(name: str, found: Voxels, kind: Kind, given: VoxelSize | None) -> Source:
    """Return what was found as a source; raise if it is not a volume that ``kind`` takes."""
    if len(found.shape) != 3:
        raise WrongUse(f"{name} has shape {found.shape}; expected three axes (z, y, x)")
    z, y, x = found.shape
    if not all(0 < edge <= MAX_AXIS for edge in found.shape):
        raise WrongUse(f"{name} has shape {found.shape}; expected edges of 1 to {MAX_AXIS} voxels")
    if found.dtype.name not in DTYPES[kind]:
        expected = ", ".join(DTYPES[kind]) + FORMS[kind]
        raise WrongUse(f"{name} has dtype {found.dtype.name}; expected {expected}")
    size = _voxel_size(name, found.lengths, voxel_size_nm=given)
    notes = _notes(found, kind, chosen=given is not None)
    for note in notes:
        _tell(name, note)
    return Source(
        name, (z, y, x), found.dtype.newbyteorder("="), size, kind, found.fetch, found.display,
        notes,
    )  # fmt: skip


def _notes(found: Voxels, kind: Kind, *, chosen: bool) -> tuple[str, ...]:
    """Return what the user should know; who gave a voxel size has chosen among the file's."""
    notes = found.notes if chosen else (*found.notes, *found.lengths.warnings)
    if kind == "raw" and found.display.inverted:
        notes = (*notes, "it is to be shown inverted: give --invert if its membranes are bright")
    return notes


@lru_cache(TOLD)
def _tell(name: str, note: str) -> None:
    """Log what the user should know, once: commands open a source more than once."""
    log.warning("%s: %s", name, note)


def _voxel_size(name: str, own: Lengths, *, voxel_size_nm: VoxelSize | None) -> VoxelSize:
    """Return the file's size, or the one given, which must be one of those that the file states."""
    if own.size_nm is None:
        if voxel_size_nm is None:
            why = f" ({own.why})" if own.why else ""
            raise WrongUse(f"{name} has no voxel size; give --voxel-size-nm Z,Y,X{why}")
        return _floats(voxel_size_nm)
    if voxel_size_nm is None:
        return own.size_nm
    if not any(agree(voxel_size_nm, size) for size in (own.size_nm, *own.others)):
        raise WrongUse(
            f"{name} has the voxel size {text(own.size_nm)} nm, "
            f"but {text(voxel_size_nm)} nm was given"
        )
    return _floats(voxel_size_nm)


def _floats(size: VoxelSize) -> VoxelSize:
    z, y, x = size
    return float(z), float(y), float(x)


def _usable(size: tuple[float, ...]) -> bool:
    return len(size) == 3 and all(0 < edge < math.inf for edge in size)

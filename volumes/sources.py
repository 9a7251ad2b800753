"""A volume that the user names by a path, whatever its format, checked and read box by box."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import MAX_VOXEL_NM, MIN_VOXEL_NM
from fibstream.core.errors import WrongUse
from fibstream.core.grid import MAX_AXIS, Box, Index
from fibstream.store.gate import FREE, Gate

from .display import Display
from .formats import Unreadable, Voxels, named_errors
from .lengths import Lengths, Size, agree, as_size, size_text
from .positions import Position
from .registry import FORMS, find_volume, split_path
from .zarr_n5.selection import Kind

log = logging.getLogger(__name__)

VOXELS = f"edges from {MIN_VOXEL_NM:g} to {MAX_VOXEL_NM:g} nm"

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
_EXPLAINED: Mapping[Kind, str] = MappingProxyType(
    {
        "raw": " for raw",
        "prediction": " for a prediction: signed tanh distance, 127 at 0 nm",
        "labels": " for labels",
        "any": "",
    }
)

NOTES_REMEMBERED = 1000  # notes that are remembered, so as not to be logged again
SIZE_FLAG = "--voxel-size-nm"


@dataclass(eq=False)
class Source:
    """A volume on disk or in a bucket, checked; its voxels are read box by box.

    Attributes
    ----------
    name : str
        The path as the user wrote it, with what was chosen inside.
    shape : tuple of int
        (z, y, x) in voxels.
    dtype : dtype
        One of ``DTYPES[kind]``, in the byte order of the machine.
    voxel_size_nm : tuple of float
        The edges of a voxel, (z, y, x) in nanometres.
    kind : {"raw", "prediction", "labels", "any"}
        What the volume was opened as.
    fetch : callable
        The reader's function of a ``Box``.
    display : Display
        How the file wants its grey values to be shown.
    notes : tuple of str
        What the user should know of how the file is read; logged once.
    squash_nm : float, optional
        Of a prediction: it holds ``128 tanh(distance / squash_nm) + 127``; None where not stated.
    position : Position, optional
        Where the volume lies; None where the file does not state it.
    is_distance : bool
        False for a prediction that states that it is of a probability, which has no length.
    declared : {"", "labels", "prediction"}
        What the file's metadata declare it to be; empty where they do not.
    mask : Source, optional
        Beside raw: 1 where a voxel was imaged, 0 where it never was (`masks.with_mask`).
    """

    name: str
    shape: Index
    dtype: np.dtype[Any]
    voxel_size_nm: Size
    kind: Kind
    fetch: Callable[[Box], NDArray[Any]]
    display: Display
    notes: tuple[str, ...] = ()
    squash_nm: float | None = None
    position: Position | None = None
    is_distance: bool = True
    declared: Literal["", "labels", "prediction"] = ""
    mask: "Source | None" = None

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
        with named_errors(where):
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
        """Release mapped files; ``read`` raises from then on. The last npz array is kept."""
        self.fetch = _closed
        if self.mask is not None:
            self.mask.close()


def _closed(box: Box) -> NDArray[Any]:
    raise Unreadable(f"the source was closed before {box}")


def open_volume(
    path: str, *, kind: Kind = "any", voxel_size_nm: Size | None = None, growing: bool = False,
    gate: Gate = FREE, size_flag: str = SIZE_FLAG, strict: bool = False,
) -> Source:  # fmt: skip
    """Return the volume at a path, without reading its voxels (npz: all of them).

    Parameters
    ----------
    path : str
        A file (.npy, .npz, .tif, .mrc, .rec, .nrrd), a folder of TIFF or MRC slices, or a Zarr or
        N5 array, multiscale group or dataset; ``file.npz#key``, ``store#group/inside``.
    kind : {"raw", "prediction", "labels", "any"}
        What the volume is used as: selects the array of a dataset and the allowed dtypes.
    voxel_size_nm : tuple of float, optional
        Edge lengths (z, y, x) in nanometres; needed where the file states none. Where it states
        some with their unit, one of them, to 1 % on each axis.
    growing : bool
        Whether the volume is being written, so that chunks may be absent without a word.
    gate : Gate
        What may be read: for a client of a service, what lies below its source roots.
    size_flag : str
        As messages call ``voxel_size_nm``.
    strict : bool
        Refuse a voxel size without a unit, and one of several that differ, unless one is given.

    Returns
    -------
    Source
        Axes (z, y, x); the caller closes it.

    Raises
    ------
    WrongUse
        If there is no such volume, its shape or dtype is not what ``kind`` expects, or its voxel
        size is unknown or another than the one given; or the gate does not admit it.
    """
    if voxel_size_nm is not None and not _usable(voxel_size_nm):
        raise WrongUse(f"voxel size {voxel_size_nm}: expected three lengths (z, y, x), {VOXELS}")
    place, inside = split_path(path) if gate.free else gate.admit(path)
    with named_errors(path, FORMS.get(PurePath(place).suffix.lower(), "")):
        found = find_volume(path, place, inside, kind, growing=growing, gate=gate)
    chosen = "/".join(filter(None, (inside, found.inside)))
    if strict and voxel_size_nm is None:
        _refuse_unclear(path, found.lengths, size_flag)
    name = f"{place}#{chosen}" if chosen else path
    return _checked(name, found, kind, voxel_size_nm, size_flag)


def _refuse_unclear(name: str, own: Lengths, flag: str) -> None:
    """Raise WrongUse for a size whose unit is a convention, or that others contradict."""
    if own.size_nm is not None and own.unitless:
        raise WrongUse(f"{name}: its {own.unitless} has no unit; give {flag} Z,Y,X")
    if own.size_nm is not None and own.others:
        sizes = " and ".join(size_text(size) for size in (own.size_nm, *own.others))
        raise WrongUse(f"{name} states several voxel sizes, {sizes} nm; give {flag} Z,Y,X")


def _checked(
    name: str, found: Voxels, kind: Kind, given: Size | None, size_flag: str = SIZE_FLAG
) -> Source:
    """Return what was found as a source; raise WrongUse unless ``kind`` takes it."""
    if len(found.shape) != 3:
        raise WrongUse(f"{name} has shape {found.shape}; expected three axes (z, y, x)")
    z, y, x = found.shape
    if not all(0 < edge <= MAX_AXIS for edge in found.shape):
        raise WrongUse(f"{name} has shape {found.shape}; expected edges of 1 to {MAX_AXIS} voxels")
    if found.dtype.name not in DTYPES[kind]:
        expected = ", ".join(DTYPES[kind]) + _EXPLAINED[kind]
        raise WrongUse(f"{name} has dtype {found.dtype.name}; expected {expected}")
    if kind == "raw" and found.display.coloured:
        raise WrongUse(
            f"{name} has a table of colours: its values are numbers of colours, not grey values; "
            "save it as 8-bit or 16-bit grey"
        )
    size = _voxel_size(name, found.lengths, voxel_size_nm=given, flag=size_flag)
    notes = (*_notes(found, kind, chosen=given is not None), *_size_notes(found.lengths, given))
    for note in notes:
        _log_once(name, note)
    return Source(
        name, (z, y, x), found.dtype.newbyteorder("="), size, kind, found.fetch, found.display,
        notes, found.squash_nm, found.position, found.is_distance, found.declared,
    )  # fmt: skip


def _notes(found: Voxels, kind: Kind, *, chosen: bool) -> tuple[str, ...]:
    """Return what the user should know; a given voxel size settles which of the file's holds."""
    notes = found.notes if chosen else (*found.notes, *found.lengths.warnings)
    if kind == "raw" and found.display.inverted:
        notes = (*notes, "it is to be shown inverted: give --invert if its membranes are bright")
    return notes


def _size_notes(own: Lengths, given: Size | None) -> tuple[str, ...]:
    """Return a word about metadata without a unit, over which a given size wins."""
    if not own.unitless:
        return ()
    if given is None:
        return (
            f"its {own.unitless} has no unit; nanometres are taken, as programs mean that write it "
            "so: --voxel-size-nm takes another size",
        )
    if own.size_nm is None:
        return (f"its {own.unitless} has no unit, and is not used",)
    if agree(own.size_nm, given):
        return ()
    return (f"its {own.unitless} has no unit; the given {size_text(given)} nm are taken",)


@lru_cache(NOTES_REMEMBERED)
def _log_once(name: str, note: str) -> None:
    """Log a note once for each source, which commands open more than once."""
    log.warning("%s: %s", name, note)


def _voxel_size(name: str, own: Lengths, *, voxel_size_nm: Size | None, flag: str) -> Size:
    """Return the file's size, or the one given, which must be one of those that the file states."""
    if own.size_nm is None:
        if voxel_size_nm is None:
            why = f" ({own.why})" if own.why else ""
            raise WrongUse(f"{name} has no voxel size; give {flag} Z,Y,X{why}")
        return as_size(voxel_size_nm)
    if not _usable(own.size_nm):
        raise WrongUse(f"{name} has the voxel size {size_text(own.size_nm)} nm; expected {VOXELS}")
    if voxel_size_nm is None:
        return own.size_nm
    if not own.unitless and not any(
        agree(voxel_size_nm, size) for size in (own.size_nm, *own.others)
    ):
        raise WrongUse(
            f"{name} has the voxel size {size_text(own.size_nm)} nm, "
            f"but {size_text(voxel_size_nm)} nm was given"
        )
    return as_size(voxel_size_nm)


def _usable(size: tuple[float, ...]) -> bool:
    return len(size) == 3 and all(MIN_VOXEL_NM <= edge <= MAX_VOXEL_NM for edge in size)

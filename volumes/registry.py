"""Which reader opens which path: by its suffix, in a folder by its metadata.

A further format enters by an entry point of the group ``fibstream.volumes``, declared by any
installed package: its name is the suffix, such as ``.raw``; it loads a function of the path
(``Path``) and of what follows the # in the user's path (``str``), which returns ``formats.Voxels``.
"""

import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import cast

from fibstream.core.echo import echo
from fibstream.core.errors import WrongUse
from fibstream.store.gate import FREE, Gate

from .formats import Voxels
from .mrc import open_mrc
from .nrrd import open_nrrd
from .numpy_files import open_npy, open_npz
from .slice_names import check_pattern
from .slices import open_slices, slices_in
from .tiff import open_tiff
from .zarr_n5.arrays import METADATA, open_hierarchy
from .zarr_n5.selection import Kind

SCHEMES = ("s3://", "gs://", "file://")

FORMS = MappingProxyType(  # of files, as messages call them
    {".npy": "NumPy file", ".npz": "file of NumPy arrays", ".mrc": "MRC file", ".rec": "MRC file"}
    | {".tif": "TIFF file", ".tiff": "TIFF file", ".nrrd": "NRRD file"}
)

OPENERS: Mapping[str, Callable[[Path, Gate], Voxels]] = MappingProxyType(
    {
        ".npy": open_npy,
        ".tif": open_tiff,
        ".tiff": open_tiff,
        ".mrc": open_mrc,
        ".rec": open_mrc,
        ".nrrd": open_nrrd,
    }
)

PLUG_INS = "fibstream.volumes"  # a group of entry points; their names are suffixes


def split_path(path: str) -> tuple[str, str]:
    """Return file, folder or URL, and what follows the #, which may be part of a file's name."""
    place, mark, inside = path.rpartition("#")
    if not mark or os.path.exists(path):  # noqa: PTH110  Path.exists raises for a long name
        return path, ""
    return place, inside.strip("/")


def with_pattern(path: str, pattern: str | None) -> str:
    """Return the path of a folder of slices together with the pattern that finds their numbers."""
    if pattern is None:
        return path
    check_pattern(pattern)
    if "#" in pattern or not Path(path).is_dir():
        raise WrongUse(
            f"--pattern {echo(pattern)}: expected the path of a folder of slices, and \\x23 for a #"
        )
    return f"{path}#{pattern}"


def find_volume(
    path: str, place: str, inside: str, kind: Kind, *, growing: bool = False, gate: Gate = FREE
) -> Voxels:
    """Return the array at a path, unchecked.

    Parameters
    ----------
    path : str
        As the user wrote it, for messages.
    place, inside : str
        The parts of it: see ``split_path``.
    kind : {"raw", "prediction", "labels", "any"}
        Which array is selected where there are several.
    growing : bool
        Whether chunks of Zarr and N5 may be absent without a word.
    gate : Gate
        Opens every file; that of a service, which has admitted the path, refuses links that leave
        what may be read.

    Raises
    ------
    WrongUse
        If nothing is there, the format is unknown, or no array of that kind is selected.
    """
    if "\0" in path:
        raise WrongUse(f"{echo(path)} is no path: it holds a zero byte")
    if ".." in inside.split("/"):
        raise WrongUse(f"{path}: expected a group or array inside {place}, not above it")
    if place.startswith(SCHEMES):
        url = f"{place.rstrip('/')}/{inside}"
        found = open_hierarchy(url, path, kind, growing=growing, gate=gate)
        if found is None:
            raise WrongUse(f"{path}: there is no Zarr or N5 array or group")
        return found
    file = Path(place)
    if file.is_dir():
        return _find_in_folder(path, file, inside, kind, growing=growing, gate=gate)
    if not file.exists():
        raise WrongUse(f"{place}: no such file or folder")
    if not file.is_file():  # a pipe or device may never end
        raise WrongUse(f"{place} is no regular file")
    suffix = file.suffix.lower()
    if suffix == ".npz":
        return open_npz(file, inside or None, "raw" if kind == "raw" else None, gate)
    gate.check(file)
    if (reader := _plug_in_reader(suffix)) is not None:
        return reader(file, inside)
    if suffix not in OPENERS:
        raise WrongUse(f"{place}: unknown format; expected .npz, {', '.join(OPENERS)} or a folder")
    if inside:
        raise WrongUse(f"{path}: only .npz files and Zarr or N5 hierarchies take #")
    return OPENERS[suffix](file, gate)


@lru_cache
def _plug_in_reader(suffix: str) -> Callable[[Path, str], Voxels] | None:
    """Return the reader of an installed package for files of a suffix, if there is one."""
    for point in entry_points(group=PLUG_INS, name=suffix):
        return cast("Callable[[Path, str], Voxels]", point.load())
    return None


def _find_in_folder(
    path: str, folder: Path, inside: str, kind: Kind, *, growing: bool, gate: Gate
) -> Voxels:
    bare = not any((folder / name).exists() for name in METADATA)
    if bare and not (inside and (folder / inside).exists()) and (slices := slices_in(folder)):
        pattern = check_pattern(inside, f"{folder}#") if inside else None
        return open_slices(slices, pattern, gate)
    url = f"file://{folder.resolve()}/{inside}"
    found = open_hierarchy(url, path, kind, growing=growing, gate=gate)
    if found is None and inside:
        raise WrongUse(f"{folder} has no array or group {inside}")
    if found is None:
        raise WrongUse(f"{folder} holds neither slices (.tif, .tiff, .mrc) nor a Zarr or N5 array")
    return found

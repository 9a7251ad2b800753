"""Whether a path that is watched means a Zarr store, or a folder of slices."""

from pathlib import Path

from fibstream.core.errors import WrongUse
from fibstream.volumes.registry import split_path
from fibstream.volumes.zarr_n5.arrays import METADATA


def is_zarr(path: str) -> bool:
    """Whether a path means a Zarr store, which may still be empty, and not a folder of slices."""
    place, inside = split_path(path)
    root = Path(place)
    has_metadata = any((root / name).exists() for name in METADATA)
    return bool(inside) or root.suffix.lower() == ".zarr" or has_metadata


def watched_folder(path: str) -> Path:
    """Return the folder to watch: a Zarr store, or one of slices; raises WrongUse without it."""
    folder = Path(split_path(path)[0]) if is_zarr(path) else Path(path)
    if not folder.is_dir():
        raise WrongUse(f"{folder}: no such folder")
    return folder

"""How a Zarr array (v2 or v3) lies in files: one for each storage chunk, or shard."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class ChunkFiles:
    """The names of the files of an array.

    Attributes
    ----------
    shape, chunk : tuple of int
        Of the array and of a storage chunk or shard, in voxels; the last axes are (z, y, x).
    prefix : tuple of str
        Comes before the indices in a name.
    separator : str
        Between the parts of a name.
    """

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    prefix: tuple[str, ...]
    separator: str

    def names(self, start: int, stop: int) -> Iterator[str]:
        """Yield the names of the files that hold planes ``[start, stop)`` in z."""
        *leading, chunk_z, _, _ = self.chunk
        counts = [-(-n // c) for n, c in zip(self.shape, self.chunk, strict=True)]
        spans = [range(1) for _ in leading]
        spans += [range(start // chunk_z, -(-stop // chunk_z)), *map(range, counts[-2:])]
        for index in product(*spans):
            yield self.separator.join((*self.prefix, *map(str, index)))


def chunk_files(metadata: Mapping[str, Any]) -> ChunkFiles:
    """Return the files of an array from its ``zarr.json`` (v3) or ``.zarray`` (v2)."""
    shape = tuple(metadata["shape"])
    if metadata["zarr_format"] == 2:
        separator = metadata.get("dimension_separator", ".")
        return ChunkFiles(shape, tuple(metadata["chunks"]), (), separator)
    chunk = tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"])
    encoding = metadata["chunk_key_encoding"]
    default = encoding["name"] == "default"
    separator = encoding.get("configuration", {}).get("separator", "/" if default else ".")
    return ChunkFiles(shape, chunk, ("c",) if default else (), separator)

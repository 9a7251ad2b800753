"""How an array of Zarr (v2, v3) or N5 lies in files: one for each chunk, shard or block."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from fibstream.core.echo import echo
from fibstream.volumes.formats import Unreadable

MAX_DIMENSIONS = 32
MAX_CHUNK_EDGE = 2**31
CHUNK_BYTES = 2**31  # of one chunk, decoded: beyond it codecs and N5's own writers fail
WIDE, BEYOND = 4096, 64  # voxels; times the array: a wider edge is no chunk's, and all is allocated
SEPARATORS = (".", "/")


@dataclass(frozen=True)
class ChunkFiles:
    """The names of the files of an array.

    Attributes
    ----------
    shape, chunk : tuple of int
        Of the array and of a storage chunk or shard, in voxels, in the order of the metadata: in
        Zarr the last axes are (z, y, x), in N5 the first are (x, y, z).
    prefix : tuple of str
        Comes before the indices in a name.
    separator : str
        Between the parts of a name.
    """

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    prefix: tuple[str, ...] = ()
    separator: str = "/"

    @property
    def counts(self) -> tuple[int, ...]:
        """Chunks along each axis."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.chunk, strict=True))

    def name(self, index: Sequence[int]) -> str:
        """Return the name of a chunk."""
        return self.separator.join((*self.prefix, *map(str, index)))

    def names(self, start: int, stop: int) -> Iterator[str]:
        """Yield the names of the files that hold planes ``[start, stop)`` in z, of a Zarr array."""
        *leading, chunk_z, _, _ = self.chunk
        spans = [range(1) for _ in leading]
        spans += [range(start // chunk_z, -(-stop // chunk_z)), *map(range, self.counts[-2:])]
        for index in product(*spans):
            yield self.name(index)

    def touched(self, spans: Sequence[range]) -> Iterator[str]:
        """Yield the names of the files that hold voxels in ``spans``, one for each axis."""
        cells = (
            range(span.start // edge, -(-span.stop // edge))
            for span, edge in zip(spans, self.chunk, strict=True)
        )
        for index in product(*cells):
            yield self.name(index)

    def count_touched(self, spans: Sequence[range]) -> int:
        """Return how many those are."""
        return math.prod(
            -(-span.stop // edge) - span.start // edge
            for span, edge in zip(spans, self.chunk, strict=True)
        )

    def index(self, name: str) -> tuple[int, ...] | None:
        """Return the index of the chunk of that name, or None if no chunk has it."""
        parts = name.split(self.separator)
        lead, numbers = tuple(parts[: len(self.prefix)]), parts[len(self.prefix) :]
        if lead != self.prefix or not all(n.isascii() and n.isdecimal() for n in numbers):
            return None
        index = tuple(int(n) for n in numbers)
        within = len(index) == len(self.shape) and all(map(int.__lt__, index, self.counts))
        return index if within and self.name(index) == name else None


def zarr_files(metadata: Mapping[str, Any]) -> ChunkFiles:
    """Return the files of an array from its ``zarr.json`` (v3) or ``.zarray`` (v2).

    Raises Unreadable where the metadata are not those of an array.
    """
    shape = edges(metadata, "shape", least=0)
    if metadata.get("zarr_format") == 2:
        chunk = edges(metadata, "chunks", like=shape)
        return ChunkFiles(shape, chunk, (), _separator(metadata, "dimension_separator", "."))
    if metadata.get("zarr_format") != 3:
        raise Unreadable(
            f"its zarr_format is {echo(metadata.get('zarr_format'), 40)}; expected 2 or 3"
        )
    grid = _object(metadata, "chunk_grid")
    if grid.get("name") != "regular":
        raise Unreadable(f"its chunk_grid is {echo(grid.get('name'), 40)}; expected regular")
    chunk = edges(_object(grid, "configuration"), "chunk_shape", like=shape)
    encoding = _object(metadata, "chunk_key_encoding")
    if (name := encoding.get("name")) not in ("default", "v2"):
        raise Unreadable(f"its chunk_key_encoding is {echo(name, 40)}; expected default or v2")
    stated = encoding.get("configuration")
    separator = _separator(
        stated if isinstance(stated, Mapping) else {},
        "separator",
        "/" if name == "default" else ".",
    )
    return ChunkFiles(shape, chunk, ("c",) if name == "default" else (), separator)


def n5_files(attributes: Mapping[str, Any]) -> ChunkFiles:
    """Return the files of an N5 array from its ``attributes.json``; raises as ``zarr_files``."""
    shape = edges(attributes, "dimensions", least=0)
    return ChunkFiles(shape, edges(attributes, "blockSize", like=shape))


def _object(holder: Mapping[str, Any], word: str) -> Mapping[str, Any]:
    found = holder.get(word)
    if not isinstance(found, Mapping):
        raise Unreadable(f"its metadata have no {word}")
    return found


def _separator(holder: Mapping[str, Any], word: str, default: str) -> str:
    found = holder.get(word, default)
    if found not in SEPARATORS:
        raise Unreadable(f"its {word} is {echo(found, 40)}; expected . or /")
    return str(found)


def edges(
    holder: Mapping[str, Any], word: str, *, least: int = 1, like: tuple[int, ...] = ()
) -> tuple[int, ...]:
    """Return the whole numbers that metadata hold for each axis."""
    found = holder.get(word)
    most = MAX_CHUNK_EDGE if like else 2**53
    usable = isinstance(found, list) and all(
        isinstance(n, int) and not isinstance(n, bool) and least <= n <= most for n in found
    )
    if not usable or not 1 <= len(found or ()) <= MAX_DIMENSIONS:
        raise Unreadable(f"its {word} is {echo(found)}; expected a whole number for each axis")
    if like and len(found or ()) != len(like):
        raise Unreadable(f"its {word} has {len(found or ())} numbers for {len(like)} axes")
    return tuple(found or ())


def check_chunk(chunk: Sequence[int], itemsize: int, shape: Sequence[int]) -> None:
    """Raise Unreadable where a chunk is larger than any writer makes: its memory is allocated."""
    if (size := math.prod(chunk) * itemsize) > CHUNK_BYTES:
        raise Unreadable(
            f"its chunks hold {size / 1e9:,.0f} GB each; expected at most {CHUNK_BYTES / 1e9:.0f}"
        )
    for edge, extent in zip(chunk, shape, strict=True):
        if edge > max(WIDE, BEYOND * extent):
            raise Unreadable(f"its chunks have an edge of {edge} voxels where it has {extent}")

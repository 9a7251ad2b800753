"""The Zarr store of one dataset: stamped objects, written whole and read verified (P1 and P2)."""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box, Grid, Index
from fibstream.core.keys import ABSENT, content_hash, digest
from fibstream.core.ports import Files, Generation, Moved
from fibstream.core.pyramid import level_count, levels
from fibstream.core.stage import Arrays, Input, Output, Patch

from .shard import (
    Corrupt,
    Layout,
    Shard,
    Stamp,
    decode_arrays,
    decode_object,
    encode_arrays,
    encode_blob,
    encode_shard,
    source_stamp,
)

SUMMARIES = "summaries"
OPENINGS = 4  # of one object in one read: whoever replaces it needs a task's time for each

P = ParamSpec("P")
T = TypeVar("T")


class Changed(Exception):
    """An input is not there as the task names it: the task ends, nothing is wrong."""

    def __init__(self, stage: str, index: Index) -> None:
        super().__init__(f"{stage} {index}")
        self.stage = stage
        self.index = index


@dataclass(frozen=True)
class Blob:
    """One stored object of a chunk: an array at a level; with no ``dtype`` a summary or table."""

    name: str
    index: Index
    dtype: str = ""
    level: int = 0

    @property
    def label(self) -> str:
        """The object's name in a record."""
        return f"{self.name}@{self.level}" if self.level else self.name

    @property
    def path(self) -> str:
        """The object's path in the dataset."""
        z, y, x = self.index
        if not self.dtype:
            # A result that belongs to no chunk, such as a table, is named by its file alone.
            return self.name if "." in self.name else f"{self.name}/{z}.{y}.{x}"
        return f"{self.name}/s{self.level}/c/{z}/{y}/{x}"


def _own(item: Blob, stamp: Stamp | None) -> Stamp | None:
    """Return a stamp if it names the chunk that it lies at: a file moved here is not ours."""
    return stamp if stamp is not None and stamp.index == item.index else None


def blobs(output: Output, index: Index, chunk: Index) -> list[Blob]:
    """Return the fixed list of objects that one output of one chunk consists of."""
    if not output.dtype:
        return [Blob(output.name, index)]
    count = level_count(chunk) if output.pyramid else 1
    return [Blob(output.name, index, output.dtype, n) for n in range(output.first, count)]


def _anew(read: Callable[P, T]) -> Callable[P, T]:
    """Have a read begin again when its object was replaced meanwhile; the last Moved is raised."""

    @functools.wraps(read)
    def again(*args: P.args, **named: P.kwargs) -> T:
        for _ in range(OPENINGS - 1):
            with suppress(Moved):
                return read(*args, **named)
        return read(*args, **named)

    return again


class Store:
    """Objects of one dataset below ``files``; ``grid`` follows the dataset record."""

    def __init__(self, files: Files, grid: Grid) -> None:
        self.files = files
        self.grid = grid

    def layout(self, dtype: str, level: int = 0) -> Layout:
        """Return how chunks of a level become shards."""
        z, y, x = (c >> level for c in self.grid.chunk)
        return Layout((z, y, x), dtype)

    # -- writing ---------------------------------------------------------------------------------

    def encode(
        self, output: Output, value: NDArray[Any] | Arrays, stamp: Stamp, *, absent: bool = False
    ) -> list[tuple[Blob, bytes, str]]:
        """Encode one output of one chunk: each object with its bytes and content hash."""
        items = blobs(output, stamp.index, self.grid.chunk)
        if isinstance(value, dict):
            body = encode_arrays(value)
            named = replace(stamp, hash=digest(body))
            return [(items[0], encode_blob(body, named), named.hash)]
        count = items[-1].level + 1 if items else 1
        arrays = levels(value, output.pyramid or "mean", count)
        made = []
        for item in items:
            array = arrays[item.level]
            layout = self.layout(item.dtype, item.level)
            assert all(n <= c for n, c in zip(array.shape, layout.chunk, strict=True)), item
            assert not (absent and array.any()), item
            content = ABSENT if absent else content_hash(array)
            named = replace(stamp, hash=content, shape=array.shape)
            made.append((item, encode_shard(array, layout, named), named.hash))
        return made

    # -- reading ---------------------------------------------------------------------------------

    def stamp(self, item: Blob) -> Stamp | None:
        """Read an object's stamp alone; None when there is no object or no whole stamp."""
        return self.look(item)[0]

    @_anew
    def look(self, item: Blob) -> tuple[Stamp | None, Generation]:
        """Read a stamp with the generation that carries it."""
        handle = self.files.open(item.path)
        if handle is None:
            return None, ()
        with closing(handle):
            if not item.dtype:
                return _own(item, source_stamp(handle)), handle.generation
            try:
                layout = self.layout(item.dtype, item.level)
                return _own(item, Shard.of(handle, layout).stamp), handle.generation
            except Corrupt:
                return None, handle.generation

    @_anew
    def intact(self, item: Blob) -> Stamp | None:
        """Read an object completely; its stamp if every byte is true to it, else None."""
        handle = self.files.open(item.path)
        if handle is None:
            return None
        with closing(handle):
            if not item.dtype:
                found = decode_object(handle.read(0, handle.size))
                return _own(item, found[1]) if found else None
            try:
                layout = self.layout(item.dtype, item.level)
                shard = Shard.of(handle, layout)
                return _own(item, shard.stamp) if shard.intact() else None
            except Corrupt:
                return None

    def read(self, source: Input, box: Box, expected: Mapping[Index, str]) -> Patch:
        """Read an input's voxels in ``box``; raise Changed where a chunk is not as expected."""
        out = np.zeros(box.shape, np.dtype(source.dtype))
        absent = []
        for index, wanted in expected.items():
            chunk = self.grid.box(index)
            common = chunk.meet(box)
            part = self._verified(source, index, wanted, common, chunk.start)
            if part is None:
                absent.append(common)
            else:
                out[common.slices(box.start)] = part
        return Patch(out, box, tuple(absent))

    @_anew
    def _verified(
        self, source: Input, index: Index, wanted: str, box: Box, origin: Index
    ) -> NDArray[Any] | None:
        item = Blob(source.name, index, source.dtype)
        handle = self.files.open(item.path)
        if handle is None:
            raise Changed(source.stage, index)
        with closing(handle):  # stamp and voxels from one handle: one generation
            try:
                shard = Shard.of(handle, self.layout(source.dtype))
                if shard.stamp is None or shard.stamp.hash != wanted:
                    raise Changed(source.stage, index)
                if shard.stamp.absent:
                    return None
                inside = Box(box.start, box.stop)
                return shard.voxels(_relative(inside, origin))
            except Corrupt as error:
                raise Changed(source.stage, index) from error

    @_anew
    def read_summary(self, source: Input, index: Index, expected: str) -> Arrays:
        """Read a summary; raise Changed when it is not as expected."""
        handle = self.files.open(Blob(source.name, index).path)
        if handle is None:
            raise Changed(source.stage, index)
        with closing(handle):
            found = decode_object(handle.read(0, handle.size))
        if found is None or found[1].hash != expected:
            raise Changed(source.stage, index)
        return decode_arrays(found[0])

    def chunks(self, name: str) -> Iterator[Index]:
        """Yield the chunks of an array's full level that have a file."""
        for path in self.files.list(f"{name}/s0/c"):
            z, y, x = (int(part) for part in path.split("/")[-3:])
            yield z, y, x


def _relative(box: Box, origin: Index) -> Box:
    az, ay, ax = (a - o for a, o in zip(box.start, origin, strict=True))
    bz, by, bx = (b - o for b, o in zip(box.stop, origin, strict=True))
    return Box((az, ay, ax), (bz, by, bx))

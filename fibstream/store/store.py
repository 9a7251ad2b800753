"""The Zarr store of one dataset: stamped blobs, written whole and read verified (P1 and P2)."""

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from fibstream.core.arrays import Corrupt, decode_arrays, encode_arrays
from fibstream.core.grid import Box, Grid, Index
from fibstream.core.keys import ABSENT, content_hash, digest
from fibstream.core.ports import Files, Generation, Replaced
from fibstream.core.pyramid import level_box, levels
from fibstream.core.stage import Arrays, Input, Made, Output, Patch
from fibstream.core.subject import CHUNKS, WHOLE, Lattice, ObjectId, Subject, Subjects, text

from .decoded import NOTHING, Decoded
from .shard import Layout, Shard, Stamp, decode_blob, encode_blob, encode_shard, source_stamp

SUMMARIES = "summaries"
MAX_OPENINGS = 4  # of one blob in one read: each replacement takes a worker a whole task

_CHUNK = re.compile("/".join(["(0|[1-9][0-9]{0,8})"] * 3))

P = ParamSpec("P")
T = TypeVar("T")


class Changed(Exception):
    """An input is not as the task names it: the task ends, which is no error."""

    def __init__(self, stage: str, subject: Subject) -> None:
        super().__init__(f"{stage} {text(subject)}")
        self.stage = stage
        self.subject = subject


@dataclass(frozen=True)
class Blob:
    """One stored file of a subject: an array at one level; without ``dtype`` a summary or file."""

    name: str
    subject: Subject
    dtype: str = ""
    level: int = 0
    lattice: Lattice = CHUNKS

    @property
    def label(self) -> str:
        """The blob's name in a record."""
        return f"{self.name}@{self.level}" if self.level else self.name

    @property
    def path(self) -> str:
        """The blob's path in the dataset."""
        if self.subject is WHOLE:
            return self.name  # what belongs to the whole dataset is a file of that name
        if isinstance(self.subject, ObjectId) or not self.dtype:
            return f"{self.name}/{text(self.subject)}"
        z, y, x = self.subject
        return f"{self.name}/s{self.level}/c/{z}/{y}/{x}"


def _stamp_here(blob: Blob, stamp: Stamp | None) -> Stamp | None:
    """Return the stamp if it names the blob's subject, else None: the file was moved here."""
    return stamp if stamp is not None and stamp.subject == blob.subject else None


def blobs(output: Output, subject: Subject, subjects: Subjects, chunk: Index) -> list[Blob]:
    """Return the blobs of one output of one subject: one per level that its stage writes.

    ``subjects`` are those of the stage, ``chunk`` is the edges (z, y, x) of the dataset's chunks.
    """
    if not output.dtype or not isinstance(subjects, Lattice):
        return [Blob(output.name, subject)]
    return [
        Blob(output.name, subject, output.dtype, level, subjects)
        for level in output.levels(subjects.edges or chunk)
    ]


def _reopening(read: Callable[P, T]) -> Callable[P, T]:
    """Repeat a read whose blob was replaced meanwhile; raise the last Replaced."""

    @functools.wraps(read)
    def again(*args: P.args, **named: P.kwargs) -> T:
        for _ in range(MAX_OPENINGS - 1):
            with suppress(Replaced):
                return read(*args, **named)
        return read(*args, **named)

    return again


class Store:
    """The blobs of one dataset in ``files``; ``grid`` is that of the dataset record.

    Reads of voxels take from ``decoded``, and leave there, what they share with others.
    """

    def __init__(self, files: Files, grid: Grid, decoded: Decoded = NOTHING) -> None:
        self.files = files
        self.grid = grid
        self._decoded = decoded

    def layout(self, dtype: str, level: int = 0, lattice: Lattice = CHUNKS) -> Layout:
        """Return the layout of shards of a level, 0 being the full one."""
        z, y, x = (c >> level for c in lattice.edges or self.grid.chunk)
        return Layout((z, y, x), dtype)

    # -- writing ---------------------------------------------------------------------------------

    def encode(
        self, output: Output, value: Made, stamp: Stamp, *, absent: bool = False,
        subjects: Subjects = CHUNKS,
    ) -> list[tuple[Blob, bytes, str]]:  # fmt: skip
        """Return the blobs of one output of one subject, each with its bytes and content hash.

        ``value`` is an array (z, y, x) of the output's dtype and at most the cell's shape, of zeros
        if ``absent``; or the arrays of a summary; or the bytes of a file. Each blob gets ``stamp``
        with its own hash.
        """
        targets = blobs(output, stamp.subject, subjects, self.grid.chunk)
        if isinstance(value, dict | bytes):
            body = value if isinstance(value, bytes) else encode_arrays(value)
            named = replace(stamp, hash=digest(body))
            return [(targets[0], encode_blob(body, named), named.hash)]
        count = targets[-1].level + 1 if targets else 1
        arrays = levels(value, output.pyramid or "mean", count)
        made = []
        for blob in targets:
            array = arrays[blob.level]
            layout = self.layout(blob.dtype, blob.level, blob.lattice)
            assert all(n <= c for n, c in zip(array.shape, layout.chunk, strict=True)), blob
            assert not (absent and array.any()), blob
            content = ABSENT if absent else content_hash(array)
            named = replace(stamp, hash=content, shape=array.shape)
            made.append((blob, encode_shard(array, layout, named), named.hash))
        return made

    # -- reading ---------------------------------------------------------------------------------

    def stamp(self, blob: Blob) -> Stamp | None:
        """Read a blob's stamp alone; None without a blob or an intact stamp of its chunk."""
        return self.stamp_and_generation(blob)[0]

    @_reopening
    def stamp_and_generation(self, blob: Blob) -> tuple[Stamp | None, Generation]:
        """Read a blob's stamp, as ``stamp`` does, and the generation of the file it is in."""
        handle = self.files.open(blob.path)
        if handle is None:
            return None, ()
        with closing(handle):
            if not blob.dtype:
                return _stamp_here(blob, source_stamp(handle)), handle.generation
            try:
                layout = self.layout(blob.dtype, blob.level, blob.lattice)
                return _stamp_here(blob, Shard(handle, layout).stamp), handle.generation
            except Corrupt:
                return None, handle.generation

    @_reopening
    def intact(self, blob: Blob) -> Stamp | None:
        """Read a whole blob; return its stamp if the content has the stamp's hash, else None."""
        handle = self.files.open(blob.path)
        if handle is None:
            return None
        with closing(handle):
            if not blob.dtype:
                found = decode_blob(handle.read(0, handle.size))
                return _stamp_here(blob, found[1]) if found else None
            try:
                layout = self.layout(blob.dtype, blob.level, blob.lattice)
                shard = Shard(handle, layout)
                return _stamp_here(blob, shard.stamp) if shard.intact() else None
            except Corrupt:
                return None

    def read(self, source: Input, box: Box, expected: Mapping[Index, str]) -> Patch:
        """Read an input's voxels in ``box``: an array (z, y, x) of the input's dtype.

        ``box`` is in voxels of the input's level. ``expected`` maps each cell that it reaches to
        its content hash. Raises Changed when a cell is missing, damaged, or has another hash.
        """
        out = np.zeros(box.shape, np.dtype(source.dtype))
        absent = []
        cells = source.cells.grid(self.grid)
        for index, wanted in expected.items():
            chunk = level_box(cells.box(index), source.level)
            common = chunk.meet(box)
            part = self._verified(source, index, wanted, common, chunk.start)
            if part is None:
                absent.append(common)
            else:
                out[common.slices(box.start)] = part
        return Patch(out, box, tuple(absent))

    @_reopening
    def _verified(
        self, source: Input, index: Index, wanted: str, box: Box, origin: Index
    ) -> NDArray[Any] | None:
        blob = Blob(source.name, index, source.dtype, source.level, source.cells)
        handle = self.files.open(blob.path)
        if handle is None:
            raise Changed(source.stage, index)
        with closing(handle):  # stamp and voxels from one handle: one generation
            try:
                shard = Shard(handle, self.layout(source.dtype, source.level, source.cells))
                if shard.stamp is None or shard.stamp.hash != wanted:
                    raise Changed(source.stage, index)
                if shard.stamp.absent:
                    return None
                return shard.voxels(box.relative(origin), self._decoded)
            except Corrupt as error:
                raise Changed(source.stage, index) from error

    @_reopening
    def read_summary(self, source: Input, subject: Subject, expected: str) -> Arrays:
        """Read a summary; raise Changed when it is missing, damaged, or has another hash."""
        handle = self.files.open(Blob(source.name, subject).path)
        if handle is None:
            raise Changed(source.stage, subject)
        with closing(handle):
            found = decode_blob(handle.read(0, handle.size))
        if found is None or found[1].hash != expected:
            raise Changed(source.stage, subject)
        try:
            return decode_arrays(found[0])
        except Corrupt as error:  # under a right stamp, which would be announced again and again
            self.files.delete(Blob(source.name, subject).path)
            raise Changed(source.stage, subject) from error

    def chunks(self, name: str, level: int = 0) -> Iterator[Index]:
        """Yield the chunks of which a level of the array ``name``, the full one, has a file."""
        start = f"{name}/s{level}/c/"
        for path in self.files.list(start.removesuffix("/")):
            # A file of another name, such as .DS_Store, is no chunk.
            if found := _CHUNK.fullmatch(path.removeprefix(start)):
                yield int(found[1]), int(found[2]), int(found[3])

"""Bytes of blobs: Zarr shards, summaries and tables that carry their own stamp. Pure.

A shard follows the Zarr v3 ``sharding_indexed`` codec (inner chunks: little-endian bytes, zstd,
crc32c; index with crc32c at the end). The codec allows gaps, so the stamp lies between the last
inner chunk and the index: one read of the file's end brings both, and readers that know nothing of
it read the array as usual. A partial write by another program drops the stamp, and the blob is made
again.
"""

import json
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, NamedTuple, Protocol

import google_crc32c
import numpy as np
from numcodecs.zstd import Zstd
from numpy.typing import NDArray

from fibstream.core.arrays import ZSTD_LEVEL, Corrupt
from fibstream.core.grid import Box, Index, inner_edge
from fibstream.core.keys import ABSENT, canonical, content_hash, digest
from fibstream.core.subject import Subject, parse, text

from .decoded import NOTHING, Decoded

MISSING = 2**64 - 1  # in a shard's index: this inner chunk is all zero and not stored
_MAGIC = b"FIBSTAMP"
_TRAILER = struct.Struct("<II8s")  # length and crc32c of the stamp, magic
_GUESS = 4096  # bytes of stamp read along with the index; longer stamps take a second read
# Bytes of inner chunks read together: enough to fill a line to a remote store, and small beside
# the block that the voxels are for.
_MAX_GROUP = 64 << 20
_MAX_FILE = 1 << 33  # a size that no footer exceeds, where the true one is not known


@dataclass(frozen=True)
class Stamp:
    """The only name that a blob has, stored inside it (protocol rule P1)."""

    stage: str
    subject: Subject
    key: str
    hash: str
    inputs: tuple[tuple[str, str, Index, str], ...] = ()  # none when a manifest names them
    manifest: str = ""  # the content hash of the manifest that names the inputs
    version: str = ""
    parameters: str = ""
    revision: int = 0  # raw only: larger is newer, chosen by whoever acquires
    shape: tuple[int, ...] = ()  # of an array: a last chunk is short, which an open z cannot know

    @property
    def absent(self) -> bool:
        """Whether the blob stands for a chunk declared absent."""
        return self.hash == ABSENT


def encode_stamp(stamp: Stamp) -> bytes:
    """Encode a stamp with its trailer; it ends with a checksum of itself."""
    body = canonical({**asdict(stamp), "subject": text(stamp.subject)})
    return body + _TRAILER.pack(len(body), google_crc32c.value(body), _MAGIC)


def find_stamp(end: bytes) -> tuple[Stamp | None, int]:
    """Return the stamp that ends ``end``, and its length in bytes with the trailer.

    The stamp is None when its checksum is wrong, when there is none (the length is then 0), and
    when it is longer than ``end`` (call again with at least that many bytes).
    """
    if len(end) < _TRAILER.size:
        return None, 0
    length, crc, magic = _TRAILER.unpack(end[-_TRAILER.size :])
    if magic != _MAGIC:
        return None, 0
    total = length + _TRAILER.size
    body = end[-total : -_TRAILER.size]
    if total > len(end) or google_crc32c.value(body) != crc:
        return None, total
    try:
        return _stamp_of(json.loads(body)), total
    except (ValueError, TypeError, KeyError, RecursionError):  # forged: its checksum is right
        return None, total


def _stamp_of(fields: Any) -> Stamp:
    """Return the stamp with these fields; raise what Python raises where they are not its own."""
    fields["subject"] = parse(fields["subject"])
    fields["shape"] = tuple(map(int, fields["shape"]))
    fields["inputs"] = tuple((s, n, tuple(i), h) for s, n, i, h in fields["inputs"])
    texts = (fields[name] for name in ("stage", "key", "hash", "manifest"))
    if not all(isinstance(text, str) for text in texts) or type(fields["revision"]) is not int:
        raise TypeError("not the fields of a stamp")
    return Stamp(**fields)


@dataclass(frozen=True)
class Layout:
    """How chunks of one array level become shards: ``chunk`` is the shard's shape."""

    chunk: Index
    dtype: str

    @property
    def inner(self) -> Index:
        """Shape of the inner chunks."""
        z, y, x = (inner_edge(c) for c in self.chunk)
        return z, y, x

    @property
    def counts(self) -> Index:
        """Inner chunks per axis."""
        z, y, x = (c // i for c, i in zip(self.chunk, self.inner, strict=True))
        return z, y, x

    @property
    def index_size(self) -> int:
        """Bytes of the shard's index with its checksum."""
        z, y, x = self.counts
        return 16 * z * y * x + 4


def encode_shard(array: NDArray[Any], layout: Layout, stamp: Stamp) -> bytes:
    """Return the bytes of a shard that holds one chunk.

    ``array`` has axes (z, y, x), the dtype of ``layout``, and at most its shape: the last chunk of
    an axis may be short and is padded with 0. Inner chunks of zeros are left out.
    """
    voxels = np.ascontiguousarray(array, np.dtype(layout.dtype).newbyteorder("<"))
    encoded: list[bytes] = []
    index = np.full((np.prod(layout.counts), 2), MISSING, "<u8")
    offset = 0
    for number, inner in enumerate(_inner_boxes(layout)):
        part = np.ascontiguousarray(voxels[inner.slices()])
        if part.view(np.uint8).any():  # by bytes: -0.0 is not the fill value
            piece = _encode_inner(part, layout)
            index[number] = offset, len(piece)
            encoded.append(piece)
            offset += len(piece)
    table = index.tobytes()
    return b"".join([*encoded, encode_stamp(stamp), table, _crc(table)])


def _inner_boxes(layout: Layout) -> Iterator[Box]:
    for place in product(*(range(n) for n in layout.counts)):
        z, y, x = (p * i for p, i in zip(place, layout.inner, strict=True))
        iz, iy, ix = layout.inner
        yield Box((z, y, x), (z + iz, y + iy, x + ix))


def _encode_inner(part: NDArray[Any], layout: Layout) -> bytes:
    if part.shape != layout.inner:  # at the volume's end Zarr stores inner chunks padded
        padded = np.zeros(layout.inner, part.dtype)
        padded[tuple(slice(n) for n in part.shape)] = part
        part = padded
    piece = bytes(Zstd(ZSTD_LEVEL).encode(np.ascontiguousarray(part)))
    return piece + _crc(piece)


def _crc(data: bytes) -> bytes:
    return struct.pack("<I", google_crc32c.value(data))


class Source(Protocol):
    """Bytes that can be read by range: an open file."""

    def end(self, count: int) -> bytes:
        """Return the last ``count`` bytes, all of them when there are fewer."""

    def parts(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return several ranges ``[start, stop)``."""


@dataclass(frozen=True)
class Sized:
    """A source made of a function that reads one range, and the number of bytes."""

    read: Callable[[int, int], bytes]
    size: int

    def end(self, count: int) -> bytes:
        """Return the last ``count`` bytes."""
        return self.read(max(self.size - count, 0), self.size)

    def parts(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return several ranges."""
        return [self.read(start, stop) for start, stop in ranges]


class _Piece(NamedTuple):
    """An inner chunk to be read: its box, where its bytes lie, and the key of its content."""

    box: Box
    offset: int
    length: int
    key: tuple[str, Layout, int]


class Shard:
    """An open shard: its stamp, and its voxels, each inner chunk checked when it is read."""

    def __init__(self, source: Source, layout: Layout) -> None:
        self._source = source
        self._layout = layout
        end = source.end(layout.index_size + _GUESS)
        table = end[-layout.index_size :]
        if len(table) < layout.index_size or _crc(table[:-4]) != table[-4:]:
            raise Corrupt("shard index")
        self._index = np.frombuffer(table[:-4], "<u8").reshape(-1, 2)
        before = end[: -layout.index_size]
        self.stamp, needed = find_stamp(before)
        if self.stamp is None and needed > len(before):
            longer = source.end(layout.index_size + needed)
            self.stamp, _ = find_stamp(longer[: -layout.index_size])

    def voxels(self, box: Box, decoded: Decoded = NOTHING) -> NDArray[Any]:
        """Return the voxels of ``box``, which is relative to the chunk's first voxel.

        The array is (z, y, x), of the layout's dtype; voxels beyond a short chunk are 0. What
        ``decoded`` has of the content that the stamp names is not read again. Raises Corrupt where
        an inner chunk does not have its checksum.
        """
        out = np.zeros(box.shape, np.dtype(self._layout.dtype))
        for inner, part in self._parts(box, decoded if self.stamp else NOTHING):
            common = inner.meet(box)
            out[common.slices(box.start)] = part[common.slices(inner.start)]
        return out

    def _parts(self, box: Box, decoded: Decoded) -> Iterator[tuple[Box, NDArray[Any]]]:
        """Yield the inner chunks that meet a box and are not all zero, each with its box."""
        content = self.stamp.hash if self.stamp else ""
        wanted = []
        for number, inner in enumerate(_inner_boxes(self._layout)):
            if inner.meet(box).empty or self._index[number, 0] == MISSING:
                continue
            key = content, self._layout, number
            part = decoded.find(key)
            if part is not None:
                yield inner, part
                continue
            offset, length = (int(v) for v in self._index[number])
            wanted.append(_Piece(inner, offset, length, key))
        for group in _groups(wanted):
            ranges = [(piece.offset, piece.offset + piece.length) for piece in group]
            for piece, data in zip(group, self._source.parts(ranges), strict=True):
                part = self._inner(data, piece.length)
                decoded.keep(piece.key, part)
                yield piece.box, part

    def _inner(self, piece: bytes, length: int) -> NDArray[Any]:
        if len(piece) != length or length < 4 or _crc(piece[:-4]) != piece[-4:]:
            raise Corrupt("inner chunk")
        raw = np.frombuffer(Zstd().decode(piece[:-4]), np.uint8)
        if raw.nbytes != math.prod(self._layout.inner) * np.dtype(self._layout.dtype).itemsize:
            raise Corrupt("inner chunk of another grid")  # of a dataset that had this name
        return raw.view(self._layout.dtype).reshape(self._layout.inner)

    def intact(self) -> bool:
        """Whether all voxels are those of the stamp."""
        if self.stamp is None:
            return False
        z, y, x = self.stamp.shape
        try:
            voxels = self.voxels(Box((0, 0, 0), (z, y, x)))
        except Corrupt:
            return False
        return not voxels.any() if self.stamp.absent else content_hash(voxels) == self.stamp.hash


def _groups(pieces: Sequence[_Piece]) -> Iterator[Sequence[_Piece]]:
    """Yield groups of pieces to be read at once, each of a bounded number of bytes."""
    first = total = 0
    for number, piece in enumerate(pieces):
        if total + piece.length > _MAX_GROUP and number > first:
            yield pieces[first:number]
            first, total = number, 0
        total += piece.length
    if pieces:
        yield pieces[first:]


def _footer(size: int, end: bytes) -> int:
    """Return the length of what must stay last in a file: a Parquet file's footer, else nothing.

    Parquet is read from its end and its offsets are absolute, so a stamp between the last row group
    and the footer is a gap that readers pass over.
    """
    if len(end) < 8 or end[-4:] != b"PAR1":
        return 0
    length = struct.unpack("<I", end[-8:-4])[0] + 8
    return int(length) if length <= size else 0


def encode_blob(body: bytes, stamp: Stamp) -> bytes:
    """Return the bytes of a summary or table: ``body`` with the stamp at its end."""
    cut = len(body) - _footer(len(body), body)
    return body[:cut] + encode_stamp(stamp) + body[cut:]


def read_stamp(read: Callable[[int, int], bytes], size: int) -> Stamp | None:
    """Return the stamp of a summary or table of ``size`` bytes without reading its body."""
    return source_stamp(Sized(read, size))


def source_stamp(source: Source) -> Stamp | None:
    """Return the stamp of a summary or table: one read unless the stamp is long."""
    end = source.end(_GUESS)
    footer = _footer(_MAX_FILE, end)
    if footer:
        end = source.end(footer + _GUESS)
        footer = _footer(len(end), end)
    before = end[: len(end) - footer]
    stamp, needed = find_stamp(before)
    if stamp is None and needed > len(before):
        longer = source.end(footer + needed)
        stamp, _ = find_stamp(longer[: len(longer) - footer])
    return stamp


def decode_blob(data: bytes) -> tuple[bytes, Stamp] | None:
    """Return body and stamp; None unless the stamp is whole and all other bytes have its hash."""
    stop = len(data) - _footer(len(data), data)
    stamp, length = find_stamp(data[:stop])
    if stamp is None:
        return None
    body = data[: stop - length] + data[stop:]
    return (body, stamp) if digest(body) == stamp.hash else None

"""Arrays in N5: opened by tensorstore, or block by block where it cannot decompress them.

N5 lists axes with the fastest first, in ``dimensions``, in ``blockSize`` and in each block; its
numbers are big-endian.  Members of ``attributes.json`` that tensorstore refuses (``units`` of one
word, ``nthreads`` of blosc) are kept from it.
The format: the README of saalfeldlab/n5, "File-system specification".
"""

import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from fibstream.core.echo import echo
from fibstream.core.errors import WrongUse
from fibstream.volumes.formats import Unreadable

from .blocks import by_block
from .caching import source_context
from .chunk_files import ChunkFiles, check_chunk
from .overlay import open_with

# Parameters of compression are not needed to decompress, and differ between writers.
_BLOSC = {"type": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}
_PLAIN = ("raw", "bzip2", "xz", "zstd")
_ZLIB = {"type": "gzip", "useZlib": True}
COMPRESSIONS = (*_PLAIN, "gzip", "zlib", "blosc", "lz4")
INTEGERS = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
DTYPES = (*INTEGERS, "float32", "float64")

# Of lz4-java, LZ4BlockOutputStream: magic, token, length compressed, length, checksum; then bytes.
LZ4_HEADER = struct.Struct("<8sBiii")
LZ4_MAGIC, LZ4_RAW, LZ4_PACKED = b"LZ4Block", 0x10, 0x20  # the token's other bits: the level
LZ4_SEED, LZ4_MASK = 0x9747B28C, 0x0FFFFFFF  # of xxh32; lz4-java drops four bits of it


def open_n5(store: Any, attributes: Mapping[str, Any], files: ChunkFiles, name: str) -> Any:
    """Return an N5 array as a tensorstore, axes as N5 lists them (the fastest first).

    Parameters
    ----------
    store
        tensorstore.KvStore of the array, whose path ends with /.
    attributes
        What is in its ``attributes.json``.
    files
        The names of its blocks.
    name
        The array's name in messages.

    Raises
    ------
    WrongUse
        If the type, the compression or the kind of array cannot be read.
    """
    if attributes.get("isLabelMultiset"):
        raise WrongUse(f"{name} is a label multiset (Paintera); expected plain labels")
    if (dtype := attributes.get("dataType")) not in DTYPES:
        raise WrongUse(
            f"{name} has the dataType {echo(dtype, 40)}; expected one of {', '.join(DTYPES)}"
        )
    check_chunk(files.chunk, np.dtype(dtype).itemsize, files.shape)
    compression = _compression(attributes, name)
    context = source_context()
    needed = {"dataType": dtype, "dimensions": files.shape, "blockSize": files.chunk}
    if compression["type"] == "lz4":
        stored = np.dtype(dtype).newbyteorder(">")
        return by_block(
            store, files, stored, lambda data: decode_block(data, stored, files.chunk), 0, context
        )
    needed["compression"] = compression
    return open_with(store, "n5", "attributes.json", needed, context)


def _compression(attributes: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return tensorstore's name for the compression; the oldest N5 files hold a bare word."""
    stated = attributes.get("compression", attributes.get("compressionType"))
    stated = stated if isinstance(stated, dict) else {"type": stated}
    kind = stated.get("type")
    if kind not in COMPRESSIONS:
        known = ", ".join(COMPRESSIONS)
        raise WrongUse(f"{name} has the compression {echo(kind, 40)}; expected one of {known}")
    if kind == "gzip":
        return {"type": "gzip", "useZlib": bool(stated.get("useZlib", False))}
    return {"zlib": _ZLIB, "blosc": _BLOSC}.get(kind, {"type": kind})


def decode_block(data: bytes, dtype: np.dtype[Any], block: tuple[int, ...]) -> NDArray[Any]:
    """Return one lz4 block of an N5 array.

    Parameters
    ----------
    data
        The whole file: N5's header, then the stream of lz4-java.
    dtype
        Of the voxels, big-endian.
    block
        The largest edges of a block in voxels, the fastest axis first.

    Returns
    -------
    ndarray
        Axes as in ``block``; at the end of the volume it may be smaller.

    Raises
    ------
    Unreadable, RuntimeError, struct.error
        If it is not such a block, or damaged.
    """
    mode, axes = struct.unpack_from(">HH", data)
    if mode != 0 or axes != len(block):
        raise Unreadable(f"mode {mode} with {axes} axes; expected mode 0 with {len(block)}")
    shape = struct.unpack_from(f">{axes}I", data, 4)
    if not all(0 < edge <= most for edge, most in zip(shape, block, strict=True)):
        raise Unreadable(f"shape {shape}; expected at most {block}")
    length = math.prod(shape) * dtype.itemsize
    voxels = _unpack_lz4(memoryview(data)[4 + 4 * axes :], length)
    return np.frombuffer(voxels, dtype).reshape(shape, order="F")


def _unpack_lz4(data: memoryview, length: int) -> bytes:
    """Return the ``length`` bytes in a stream of lz4-java."""
    from numcodecs import lz4

    out, at = bytearray(), 0
    while len(out) < length:
        magic, token, packed, plain, checksum = LZ4_HEADER.unpack_from(data, at)
        at += LZ4_HEADER.size
        if magic != LZ4_MAGIC or not 0 < plain <= length - len(out) or packed < 0:
            raise Unreadable(f"lz4 breaks off after {len(out)} of {length} bytes")
        part, kind = bytes(data[at : at + packed]), token & 0xF0
        if kind not in (LZ4_RAW, LZ4_PACKED):
            raise Unreadable(f"lz4 token {token}; expected {LZ4_RAW} or {LZ4_PACKED}")
        # numcodecs wants the length before the bytes.
        part = lz4.decompress(struct.pack("<i", plain) + part) if kind == LZ4_PACKED else part
        if len(part) != plain or xxhash.xxh32_intdigest(part, LZ4_SEED) & LZ4_MASK != checksum:
            raise Unreadable(f"lz4 has another checksum after {len(out)} bytes")
        out += part
        at += packed
    return bytes(out)

"""Files byte by byte from the published layouts, as other programs write them.

Nothing here goes through the packages that fibstream reads with, except compressors.
"""

import bz2
import gzip
import json
import lzma
import struct
import zlib
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

import imagecodecs
import numcodecs
import numpy as np
import xxhash
from numpy.typing import NDArray

from fibstream.core.grid import Box
from fibstream.volumes.sources import Source, open_volume

from ..support.geometry import triple

SHAPE = (5, 6, 7)
SIZE = (8.0, 4.0, 5.0)
VOLUME = np.random.default_rng(11).integers(0, 60_000, SHAPE).astype(np.uint16)


def assert_holds(
    source: Source, volume: NDArray[Any] = VOLUME, size: Sequence[float] = SIZE
) -> None:
    """The whole volume, and a box at its far corner, in the machine's byte order."""
    assert source.shape == volume.shape
    assert source.dtype == volume.dtype.newbyteorder("=")
    assert np.allclose(source.voxel_size_nm, size, rtol=1e-5)
    corner = Box(triple(edge // 2 for edge in volume.shape), volume.shape)
    for box in (Box((0, 0, 0), volume.shape), corner):
        np.testing.assert_array_equal(source.read(box), volume[box.slices()])


def opened(path: Path | str, **options: Any) -> Source:
    return open_volume(str(path), **options)


Order = Literal["<", ">"]  # of bytes
XYZ = list(SIZE[::-1])
PIXELS: dict[str, Any] = {"pixelResolution": {"dimensions": XYZ, "unit": "nm"}}
NM = ["nm"] * 3

# -- NRRD: lines of text, an empty one, and the array, the last axis of (z, y, x) fastest ----------

NRRD_PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "gz": gzip.compress, "bzip2": bz2.compress, "bz2": bz2.compress,
}  # fmt: skip


def nrrd_file(
    path: Path, volume: NDArray[Any] = VOLUME, *, encoding: str = "raw",
    endian: str | None = "little", name: str = "", skipped: int = 0, line: str = "",
    **fields: str | None,
) -> Path:  # fmt: skip
    """Write a NRRD file; fields of None are left away, others replace or follow the usual ones."""
    data = volume.astype(volume.dtype.newbyteorder(">" if endian == "big" else "<")).tobytes()
    usual = {
        "type": name or str(volume.dtype), "dimension": str(volume.ndim),
        "sizes": " ".join(map(str, volume.shape[::-1])), "encoding": encoding, "endian": endian,
    }  # fmt: skip
    lines = [f"{key}: {value}" for key, value in (usual | fields).items() if value is not None]
    header = "\n".join(
        ["NRRD0004", "# written by a test", *lines, *([line] if line else []), "my:=key"]
    )
    packed = NRRD_PACK.get(encoding, bytes)(data)
    path.write_bytes(header.encode() + b"\n\n" + bytes(skipped) + packed)
    return path


# -- N5: attributes.json, and blocks of big-endian numbers, the first axis fastest -----------------


def lz4_stream(data: bytes, block: int = 64) -> bytes:
    """lz4-java's LZ4BlockOutputStream: blocks of at most ``block`` bytes, then an empty one."""
    out = b""
    for at in [*range(0, len(data), block), len(data)]:
        part = data[at : at + block]
        packed = imagecodecs.lz4_encode(part) if part else b""
        token = 0x20 if len(packed) < len(part) else 0x10  # kept raw where it did not shrink
        packed = packed if token == 0x20 else part
        checksum = xxhash.xxh32(part, seed=0x9747B28C).intdigest() & 0xFFFFFFF if part else 0
        out += b"LZ4Block" + struct.pack("<Biii", token | 5, len(packed), len(part), checksum)
        out += packed
    return out


PACK: dict[str, Callable[[bytes], bytes]] = {
    "raw": bytes,
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: bytes(numcodecs.Zstd(3).encode(data)),
    "blosc": lambda data: bytes(
        numcodecs.Blosc("zstd", 6, numcodecs.Blosc.BITSHUFFLE).encode(data)
    ),
    "lz4": lz4_stream,
}


def n5_array(
    path: Path,
    volume: NDArray[Any] = VOLUME,
    compression: dict[str, Any] | str | None = None,
    block: tuple[int, ...] = (4, 3, 2),
    attributes: dict[str, Any] | None = None,
    pack: Callable[[bytes], bytes] | None = None,
) -> Path:
    """``volume`` is in C order; N5 lists its axes from the last to the first."""
    compression = {"type": "raw"} if compression is None else compression
    kind = compression["type"] if isinstance(compression, dict) else compression
    pack = pack or PACK[kind]
    path.mkdir(parents=True, exist_ok=True)
    stated = {
        "dataType": volume.dtype.name,
        "dimensions": list(volume.shape[::-1]),
        "blockSize": list(block),
        **({"compression": compression} if isinstance(compression, dict) else {}),
        **(attributes or {}),
    }
    (path / "attributes.json").write_text(json.dumps(stated))
    turned = volume.T
    counts = [-(-n // edge) for n, edge in zip(turned.shape, block, strict=True)]
    for index in product(*map(range, counts)):
        corner = [slice(i * e, (i + 1) * e) for i, e in zip(index, block, strict=True)]
        part = turned[tuple(corner)]
        header = struct.pack(f">HH{part.ndim}I", 0, part.ndim, *part.shape)
        file = path.joinpath(*map(str, index))
        file.parent.mkdir(parents=True, exist_ok=True)
        data = part.astype(part.dtype.newbyteorder(">")).tobytes(order="F")
        file.write_bytes(header + pack(data))
    return path


def n5_transform(
    axes: str = "zyx",
    scale: Sequence[float] | None = None,
    order: str | None = None,
    units: Sequence[str] = NM,
) -> dict[str, Any]:
    """Return a ``transform`` of OpenOrganelle."""
    edges = dict(zip("zyx", SIZE, strict=True))
    scale = scale or [edges[axis] for axis in axes]
    stated = {"axes": list(axes), "units": list(units), "scale": scale, "translate": [3.0, 0, 9.0]}
    return stated | ({"order": order} if order else {})


def n5_group(path: Path, attributes: dict) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "attributes.json").write_text(json.dumps(attributes))
    return path


# -- MRC2014 ---------------------------------------------------------------------------------------

MODES = {"int8": 0, "uint8": 0, "int16": 1, "float32": 2, "uint16": 6}


def mrc_file(
    path: Path,
    volume: NDArray[Any] = VOLUME,
    size: Sequence[float] = SIZE,
    *,
    order: Order = "<",
    axes: tuple[int, int, int] = (1, 2, 3),
    extended: bytes = b"",
    imod: int | None = None,
    stats: tuple[float, float, float] = (0.0, -1.0, -2.0),
    cell: Sequence[float] | None = None,
    samples: tuple[int, int, int] | None = None,
    ispg: int = 1,
) -> Path:
    """``volume`` is (z, y, x); ``axes`` states which of x, y, z lies along column, row, section."""
    names = ["xyz"[axis - 1] if axis else "xyz"[n] for n, axis in enumerate(axes)][::-1]
    stored = volume.transpose(["zyx".index(name) for name in names])
    nz, ny, nx = stored.shape
    mz, my, mx = samples or volume.shape
    edges = cell or [10 * s * n for s, n in zip(size, (mz, my, mx), strict=True)]
    header = struct.pack(f"{order}4i", nx, ny, nz, MODES[volume.dtype.name])
    header += struct.pack(f"{order}3i3i", 0, 0, 0, mx, my, mz)
    header += struct.pack(f"{order}3f3f", *edges[::-1], 90, 90, 90)
    header += struct.pack(f"{order}3i3f2i", *axes, *stats, ispg, len(extended))
    extra = bytearray(100)
    extra[8:12] = b"SERI"
    if imod is not None:
        extra[56:64] = struct.pack(f"{order}2i", 1146047817, imod)
    header += bytes(extra) + struct.pack(f"{order}3f", 0, 0, 0) + b"MAP "
    header += b"\x44\x44\0\0" if order == "<" else b"\x11\x11\0\0"
    header += struct.pack(f"{order}fi", -1.0, 0) + bytes(800)
    assert len(header) == 1024
    data = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    path.write_bytes(header + extended + data)
    return path


# -- TIFF 6 ----------------------------------------------------------------------------------------


def tiff_file(
    path: Path,
    volume: NDArray[Any] = VOLUME,
    description: str = "",
    *,
    order: Order = ">",
    pixels: Sequence[tuple[int, int]] | None = None,
    unit: int = 1,
    photometric: int = 1,
    directories: int = 1,
    big: bool = False,
    second: str = "",
) -> Path:
    """Planes one after the other; with one directory as ImageJ writes large stacks.

    ``pixels`` are X and YResolution as (number, number), ``second`` another description.
    """
    planes = volume.astype(volume.dtype.newbyteorder(order))
    step, offset_at = (20, 8) if big else (12, 4)
    text = description.encode("latin-1") + b"\0"
    rationals = [struct.pack(f"{order}2I", *pair) for pair in pixels or ((1, 1), (1, 1))]
    more = second.encode() + b"\0"
    count = 14 if second else 13
    size = (8 + count * step + 8) if big else (2 + count * step + 4)
    begin = 16 if big else 8
    extra = begin + directories * size
    places = [extra, extra + len(text), extra + len(text) + 8]
    data = extra + len(text) + 16 + len(more)
    sample = {"u": 1, "i": 2, "f": 3}[volume.dtype.kind]
    out = (b"II" if order == "<" else b"MM") + (
        struct.pack(f"{order}HHHQ", 43, 8, 0, begin)
        if big
        else struct.pack(f"{order}HI", 42, begin)
    )
    height, width = volume.shape[1:]
    for n in range(directories):
        entries = [
            (254, 4, 1, 0), (256, 4, 1, width), (257, 4, 1, height),
            (258, 3, 1, 8 * volume.dtype.itemsize), (259, 3, 1, 1), (262, 3, 1, photometric),
            (270, 2, len(text), places[0]), (273, 16 if big else 4, 1, data + n * planes[0].nbytes),
            (278, 4, 1, height), (279, 4, 1, planes[0].nbytes), (282, 5, 1, places[1]),
            (283, 5, 1, places[2]), (296, 3, 1, unit),
        ]  # fmt: skip
        entries = [e if e[0] != 296 else (339, 3, 1, sample) for e in entries]
        if second:
            entries.insert(7, (270, 2, len(more), extra + len(text) + 16))
        assert len(entries) == count
        table = struct.pack(f"{order}Q" if big else f"{order}H", count)
        for tag, kind, number, value in entries:
            short = {3: "H2x", 4: "I", 2: "I", 5: "I", 16: "Q"}[kind]
            field = struct.pack(f"{order}{short}", value)
            if big and kind == 2:
                field = struct.pack(f"{order}Q", value)
            elif big and kind == 5:  # eight bytes have room in the entry
                field = rationals[tag - 282]
            table += struct.pack(f"{order}HH{'Q' if big else 'I'}", tag, kind, number)
            table += field.ljust(offset_at, b"\0")
        last = n + 1 == directories
        following = 0 if last else begin + (n + 1) * size
        out += table + struct.pack(f"{order}{'Q' if big else 'I'}", following)
    path.write_bytes(out + text + b"".join(rationals) + more + planes.tobytes())
    return path

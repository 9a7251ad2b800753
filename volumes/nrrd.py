"""NRRD files: one array, and the size and place of its voxels.

The format is that of teem (teem.sourceforge.net/nrrd/format.html), versions 1 to 5. The header
lists axes with the fastest first; an array of it is ``(z, y, x)`` here, as stored: never turned.
"""

import bz2
import math
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.echo import echo
from fibstream.store.gate import FREE, Gate

from .formats import Unreadable, Voxels, check_memory, of_array
from .lengths import Stated, combine, statement
from .numpy_files import KeptArrays
from .positions import NOWHERE, Position

MAGIC = re.compile(r"NRRD000[1-5]")
HEADER_BYTES = 2**16  # real headers have some hundred
MAX_AXES = 16  # of teem
PIECE = 2**20  # bytes unpacked at a time
ALIGNED = 1e-6  # of a direction: rounding of decimals

_NAMES = MappingProxyType({
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, "
          "int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
})  # fmt: skip
TYPES: Mapping[str, str] = MappingProxyType(
    {name: code for code, names in _NAMES.items() for name in names.split(", ")}
)
ENCODINGS = MappingProxyType(
    {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
)
Fields = Mapping[str, str]
_UNPACKED = KeptArrays(2**29)


def open_nrrd(path: Path, gate: Gate = FREE) -> Voxels:
    """Return the array of a NRRD file, mapped if it is stored raw, else held in memory.

    Parameters
    ----------
    path : Path
        Header and data in one file; encodings raw, gzip and bzip2; integers and floats.

    Returns
    -------
    Voxels
        (z, y, x), the reverse of the header's order. The voxel size is that of ``space
        directions`` in ``space units``, or ``spacings`` in ``units``; the place ``space origin``.

    Raises
    ------
    Unreadable
        If it has no such header, its data are elsewhere, or less than its header states.
    """
    with gate.open(path) as file:
        state = os.fstat(file.fileno())
        fields, begin = _header(file.read(HEADER_BYTES))
        dtype, shape = _dtype(fields), _sizes(fields)[::-1]
        encoding = _word(fields, "encoding", ENCODINGS)
        size = math.prod(shape) * dtype.itemsize
        if encoding == "raw":
            begin = _raw_begin(fields, begin, state.st_size, size)
            data = np.memmap(file, np.uint8, "r") if size else np.zeros(0, np.uint8)
            array = data[begin : begin + size].view(dtype).reshape(shape)
        else:
            if any(_number(fields, name, "0") for name in ("byte skip", "line skip")):
                raise Unreadable("it skips bytes before data that are packed")
            check_memory(size, state.st_size, "the data of the NRRD file", gate)
            version = (path, state.st_size, state.st_mtime_ns)
            file.seek(begin)
            array = _UNPACKED.get(version, _Packed(file, encoding, dtype, shape).unpack)
    found = of_array(array, combine(_statements(fields, len(shape))))
    return found if len(shape) != 3 else _placed(found, fields)


# -- the header ------------------------------------------------------------------------------------


def _header(data: bytes) -> tuple[Fields, int]:
    """Return the fields of a header, and the byte at which the data begin."""
    lines = re.split(rb"\r?\n", data[:HEADER_BYTES])
    if not MAGIC.fullmatch(lines[0].decode("latin-1")):
        raise Unreadable("it does not begin with NRRD0001 to NRRD0005")
    end = re.search(rb"\r?\n\r?\n", data)
    if end is None:
        raise Unreadable(
            f"its header does not end within {HEADER_BYTES} bytes; expected data in the same file"
        )
    fields: dict[str, str] = {}
    for line in data[: end.start()].decode("utf-8", "replace").splitlines()[1:]:
        if line.startswith("#") or ":=" in line or not line.strip():
            continue  # a comment, or a key of somebody's own
        name, mark, value = line.partition(": ")
        name = name.strip().lower()
        if not mark:
            raise Unreadable(f"its header has the line {echo(line)}; expected FIELD: VALUE")
        if name in fields:
            raise Unreadable(f"its header states {echo(name)} twice")
        fields[name] = value.strip()
    if found := {"data file", "datafile"} & fields.keys():
        raise Unreadable(f"its data are elsewhere ({found.pop()}); expected header and data in one")
    return fields, end.end()


def _field(fields: Fields, name: str) -> str:
    if name not in fields:
        raise Unreadable(f"its header lacks {name}")
    return fields[name]


def _word(fields: Fields, name: str, known: Mapping[str, str]) -> str:
    found = _field(fields, name).lower()
    if found not in known:
        raise Unreadable(f"its {name} is {echo(found)}; expected {', '.join(sorted(set(known)))}")
    return known[found]


def _number(fields: Fields, name: str, missing: str | None = None) -> int:
    text = _field(fields, name) if missing is None else fields.get(name, missing)
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise Unreadable(f"its {name} is {echo(text)}; expected a whole number")
    return int(text)


def _sizes(fields: Fields) -> tuple[int, ...]:
    """Return the sizes of the axes, the fastest first."""
    count, words = _number(fields, "dimension"), _field(fields, "sizes").split()
    if not 1 <= count <= MAX_AXES:
        raise Unreadable(f"its dimension is {count}; expected 1 to {MAX_AXES}")
    if len(words) != count or not all(re.fullmatch(r"[0-9]{1,18}", word) for word in words):
        raise Unreadable(f"its sizes are {echo(fields['sizes'])}; expected {count} whole numbers")
    return tuple(map(int, words))


def _dtype(fields: Fields) -> np.dtype[Any]:
    name = " ".join(_field(fields, "type").lower().split())
    if name not in TYPES:
        raise Unreadable(
            f"its type is {echo(name)}; expected an integer of 8 to 64 bits or a float"
        )
    dtype = np.dtype(TYPES[name])
    if dtype.itemsize == 1:
        return dtype
    return dtype.newbyteorder(_word(fields, "endian", {"little": "<", "big": ">"}))  # type: ignore[arg-type]


# -- the data --------------------------------------------------------------------------------------


def _raw_begin(fields: Fields, begin: int, held: int, size: int) -> int:
    """Return the byte at which raw data begin; ``byte skip: -1`` counts from the end."""
    if _number(fields, "line skip", "0"):
        raise Unreadable("it skips lines before raw data")
    skip = _number(fields, "byte skip", "0")
    if skip < -1:
        raise Unreadable(f"its byte skip is {skip}; expected -1 or more")
    first = held - size if skip == -1 else begin + skip
    if first < begin or first + size > held:
        raise Unreadable(f"it is cut short: {max(held - begin, 0)} of {size} bytes are there")
    return first


@dataclass(frozen=True)
class _Packed:
    """Data of a file, from where it is read next."""

    file: Any
    encoding: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def unpack(self) -> NDArray[Any]:
        """Return the array; raise Unreadable for more or fewer bytes than it has."""
        size = math.prod(self.shape) * self.dtype.itemsize
        out, at = np.empty(size, np.uint8), 0
        try:
            for piece in self._pieces():
                if at + len(piece) > size:
                    raise Unreadable(f"its data unpack to more than the {size} bytes it states")
                out[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
                at += len(piece)
        except (zlib.error, OSError) as error:
            raise Unreadable(f"its data are no {self.encoding}, or damaged") from error
        if at < size:
            raise Unreadable(f"it is cut short: {at} of {size} bytes are there")
        return out.view(self.dtype).reshape(self.shape)

    def _pieces(self) -> Iterator[bytes]:
        """Yield what is unpacked, so much at a time."""
        if self.encoding == "bzip2":
            bzip2 = bz2.BZ2Decompressor()
            while not bzip2.eof:
                given = self.file.read(PIECE) if bzip2.needs_input else b""
                if not given and bzip2.needs_input:
                    return
                yield bzip2.decompress(given, PIECE)
            return
        gzip = zlib.decompressobj(wbits=31)
        while not gzip.eof:
            given = gzip.unconsumed_tail or self.file.read(PIECE)
            piece = gzip.decompress(given, PIECE)
            if not given and not piece:
                return
            yield piece


# -- sizes and places ------------------------------------------------------------------------------


def _vectors(fields: Fields) -> list[list[float]] | None:
    """Return the directions of the axes, the fastest first; None where an axis has none."""
    found = re.findall(r"\(([^()]*)\)|(none)", fields.get("space directions", ""), re.IGNORECASE)
    vectors = [_floats(inside) for inside, none in found if not none]
    if not vectors or any(v is None for v in vectors) or len(vectors) != len(found):
        return None
    return [v for v in vectors if v is not None]


def _floats(text: str) -> list[float] | None:
    try:
        found = [float(word) for word in text.split(",")]
    except ValueError:
        return None
    return found if all(map(math.isfinite, found)) else None


def _quoted(text: str) -> list[str]:
    return re.findall(r'"([^"]*)"', text)


def _statements(fields: Fields, axes: int) -> list[Stated]:
    """Return what the header states of the edges of a voxel, (z, y, x)."""
    found = []
    vectors = _vectors(fields)
    if vectors is not None and len(vectors) == axes == 3:
        edges = [math.hypot(*v) for v in vectors]
        units = _quoted(fields.get("space units", ""))
        same = units[0] if len(set(units)) == 1 else None
        if _axes(vectors) is None and same is None and units:
            found.append(Stated("space directions", None, "axes are turned, and units differ"))
        else:
            each = [same] * 3 if same or not units else _in_order(vectors, units)
            found.append(statement("space directions", edges[::-1], each[::-1]))
    if len(words := fields.get("spacings", "").split()) == axes == 3:
        units = _quoted(fields.get("units", "")) or [""] * 3
        if len(units) == 3:
            found.append(statement("spacings", words[::-1], units[::-1]))
    return found


def _axes(vectors: Sequence[Sequence[float]]) -> list[int] | None:
    """Return which axis of space each axis runs along; None where one runs across."""
    chosen = []
    for v in vectors:
        length = math.hypot(*v)
        along = [n for n, part in enumerate(v) if abs(part) > ALIGNED * length]
        if len(along) != 1:
            return None
        chosen.append(along[0])
    return chosen if len(set(chosen)) == len(vectors) else None


def _in_order(vectors: Sequence[Sequence[float]], units: Sequence[str]) -> list[str | None]:
    axes = _axes(vectors) or []
    return [units[axis] if axis < len(units) else None for axis in axes]


def _placed(found: Voxels, fields: Fields) -> Voxels:
    """Return a volume with its place: that of the centre of its first voxel, in its space."""
    vectors, text = _vectors(fields), fields.get("space origin", "")
    if vectors is None or not text:
        return found
    origin = _floats(text.strip("()"))
    edges = [v[n] for n, v in enumerate(vectors) if n < len(v)]
    if origin is None or len(origin) != 3 or _axes(vectors) != [0, 1, 2] or min(edges) <= 0:
        note = "its axes are turned in its space: it is read as stored, and its place is not known"
        return replace(found, position=NOWHERE, notes=(*found.notes, note))
    x, y, z = (at / edge for at, edge in zip(origin, edges, strict=True))
    return replace(found, position=Position((z, y, x)))

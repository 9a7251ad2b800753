"""Damaged files of every format, and the law that readers keep on them.

A reader returns voxels or raises WrongUse, with a line of its own that names the file; it takes
neither long nor much memory.
"""

import json
import re
import signal
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from hypothesis import strategies as st

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.volumes.formats import SPARE_BYTES, TIMES_SIZE, Unreadable
from fibstream.volumes.sources import open_volume

from ..support.geometry import triple
from . import writers
from .layouts import NM, SIZE, XYZ, mrc_file, n5_array, n5_group, n5_transform, nrrd_file

SECONDS = 2.0
VOLUME = np.random.default_rng(3).integers(1, 250, (5, 6, 7)).astype(np.uint16)
PEAK = Path("/proc/self/clear_refs")
BOX = 16  # edge of what is read at either end of a volume
LINE = 900  # characters of a message

NUMBERS = (-1, 0, 1, 2, 3, 4, 5, 7, 8, 12, 32, 255, 2**15, 2**16, 2**20, 2**21, 2**30, 2**31 - 1,
           2**31, 2**32 - 1, 2**53, 2**62, 2**63 - 1, 2**64, 10**30)  # fmt: skip
WORDS = ("", "x", ".", "..", "/", "../..", "nan", "NaN", "-1", "0", "1e400", "|O", "<u2", ">f4",
         "|V8", "<M8[ns]", "uint16", "float32", "object", "lz4", "pickle", "zstd", "numcodecs.lz4",
         "nm", "µm", "z", "c", "multiscales", "\0")  # fmt: skip


@dataclass(frozen=True)
class Format:
    """A file or folder of one format; ``files`` are damaged, the metadata most of all."""

    path: str  # that is opened, from the folder
    files: Sequence[str]
    named: str  # in every message


# -- what is damaged -------------------------------------------------------------------------------


def npy(folder: Path) -> Format:
    np.save(folder / "v.npy", VOLUME)
    return Format("v.npy", ["v.npy"], "v.npy")


def npz(folder: Path) -> Format:
    np.savez_compressed(folder / "v.npz", raw=VOLUME, voxel_size_nm_zyx=np.array(SIZE))
    return Format("v.npz", ["v.npz"], "v.npz")


def tiff(folder: Path) -> Format:
    """OME-TIFF, in strips that are compressed."""
    metadata = {"axes": "ZYX"} | {
        f"PhysicalSize{axis}": size / 1000 for axis, size in zip("ZYX", SIZE, strict=True)
    }
    tifffile.imwrite(folder / "v.ome.tif", VOLUME, compression="zlib", metadata=metadata)
    return Format("v.ome.tif", ["v.ome.tif"], "v.ome.tif")


def imagej(folder: Path) -> Format:
    metadata = {"axes": "ZYX", "spacing": 8.0, "unit": "nm"}
    tifffile.imwrite(folder / "v.tif", VOLUME, imagej=True, metadata=metadata, resolution=(1, 1))
    return Format("v.tif", ["v.tif"], "v.tif")


def mrc(folder: Path) -> Format:
    mrc_file(folder / "v.mrc", VOLUME, extended=bytes(40))
    return Format("v.mrc", ["v.mrc"], "v.mrc")


def nrrd(folder: Path) -> Format:
    fields: dict[str, Any] = {
        "space directions": "(5,0,0) (0,4,0) (0,0,8)",
        "space units": '"nm" "nm" "nm"',
    }
    nrrd_file(folder / "v.nrrd", VOLUME, encoding="gzip", **fields)
    return Format("v.nrrd", ["v.nrrd"], "v.nrrd")


def slices(folder: Path) -> Format:
    (folder / "s").mkdir()
    for z, plane in enumerate(VOLUME):
        tifffile.imwrite(folder / "s" / f"s{z}.tif", plane, tile=(16, 16), compression="lzw")
    return Format("s", ["s/s0.tif", "s/s3.tif"], "s")


def zarr_v2(folder: Path) -> Format:
    writers.multiscale(folder / "v.zarr", 2)
    files = ["v.zarr/.zattrs", "v.zarr/s0/.zarray", "v.zarr/.zgroup", "v.zarr/s0/0.0.0"]
    return Format("v.zarr", files, "v.zarr")


def zarr_v3(folder: Path) -> Format:
    writers.multiscale(folder / "v.zarr", 3, shards=(8, 8, 8))
    files = ["v.zarr/zarr.json", "v.zarr/s0/zarr.json", "v.zarr/s0/c/0/0/0"]
    return Format("v.zarr", files, "v.zarr")


def n5(folder: Path) -> Format:
    stated = {"transform": n5_transform(), "pixelResolution": {"dimensions": XYZ, "unit": "nm"}}
    group = {"axes": ["z", "y", "x"], "units": NM, "scales": [[1, 1, 1]], "multiscales": [
        {"datasets": [{"path": "s0", "transform": n5_transform()}]}]}  # fmt: skip
    n5_group(folder / "v.n5", {"n5": "2.0.0"} | group)
    n5_array(folder / "v.n5" / "s0", VOLUME, {"type": "lz4", "blockSize": 64}, attributes=stated)
    files = ["v.n5/attributes.json", "v.n5/s0/attributes.json", "v.n5/s0/0/0/0"]
    return Format("v.n5", files, "v.n5")


def bdv(folder: Path) -> Format:
    root = folder / "d.n5"
    n5_group(root, {"n5": "2.0.0"})
    n5_group(root / "setup0", {"downsamplingFactors": [[1, 1, 1]], "dataType": "uint16"})
    n5_group(root / "setup0" / "timepoint0", {"multiScale": True, "resolution": [5, 4, 8]})
    stated = {"downsamplingFactors": [1, 1, 1]}
    n5_array(root / "setup0" / "timepoint0" / "s0", VOLUME, {"type": "gzip"}, attributes=stated)
    inside = "setup0/timepoint0"
    names = ["attributes.json", "setup0/attributes.json", f"{inside}/attributes.json"]
    names += [f"{inside}/s0/attributes.json", f"{inside}/s0/0/0/0"]
    return Format("d.n5", [f"d.n5/{name}" for name in names], "d.n5")


FORMATS: dict[str, Callable[[Path], Format]] = {
    "npy": npy, "npz": npz, "tiff": tiff, "imagej": imagej, "mrc": mrc, "slices": slices,
    "nrrd": nrrd, "zarr v2": zarr_v2, "zarr v3": zarr_v3, "n5": n5, "bdv": bdv,
}  # fmt: skip

# -- how it is damaged -----------------------------------------------------------------------------

Damage = tuple[str, int, int, int]  # what is done; where, out of 2^16; with what; how wide

damages = st.lists(
    st.tuples(
        st.sampled_from(("set", "number", "flip", "cut", "remove", "repeat", "json", "json")),
        st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1), st.sampled_from((1, 2, 4, 8)),
    ),
    min_size=1, max_size=4,
)  # fmt: skip


def damaged(data: bytes, damage: Sequence[Damage]) -> bytes:
    """Return the bytes of a file, damaged: at any place, the first 2,000 most of all."""
    for what, where, value, width in damage:
        # Any damage of bytes makes metadata no JSON, so most of them is damaged as a tree.
        if what == "json" or (data[:1] == b"{" and where % 8):
            data = _damaged_json(data, where, value)
            continue
        length = len(data) if where % 3 == 0 else min(len(data), 2000 if where % 3 == 1 else 64)
        at = where % max(1, length)
        if what == "set":
            data = data[:at] + struct.pack("<Q", value * 0x9E3779B97F4A7C15 % 2**64)[:width] \
                + data[at + width :]  # fmt: skip
        elif what == "number":
            number = NUMBERS[value % len(NUMBERS)] % 2 ** (8 * width)
            order = "<>"[value % 2]
            packed = struct.pack(f"{order}Q", number)
            packed = packed[:width] if order == "<" else packed[8 - width :]
            data = data[:at] + packed + data[at + width :]
        elif what == "flip":
            data = (
                data[:at] + bytes(b ^ (1 << value % 8) for b in data[at : at + 1]) + data[at + 1 :]
            )
        elif what == "cut":
            data = data[:at]
        elif what == "remove":
            data = data[:at] + data[at + value % 64 :]
        else:
            data = data[:at] + data[at : at + value % 64] * width + data[at:]
    return data


def _damaged_json(data: bytes, where: int, value: int) -> bytes:
    """Return metadata of which one value is another; other bytes as they are."""
    try:
        tree = json.loads(data)
    except ValueError:
        return data
    places = list(_places(tree))
    if not places:
        return data
    holder, key = places[where % len(places)]
    others: list[Any] = [
        *NUMBERS,
        *WORDS,
        None,
        True,
        0.008,
        1e300,
        [],
        {},
        [[]],
        [1] * 40,
        [0, 0, 0],
    ]
    kind = value // len(others) % 8
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[WORDS[value % len(WORDS)]] = holder[key]
    elif kind == 2:
        holder[key] = [holder[key]] * 3
    else:
        holder[key] = others[value % len(others)]
    return json.dumps(tree).encode()


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(tree, dict | list):
        for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
            yield tree, key
            yield from _places(tree[key])


# -- the law ---------------------------------------------------------------------------------------


class Slow(BaseException):
    """A reader hangs; no reader catches it."""


def _stop(number: int, frame: object) -> None:
    raise Slow


@contextmanager
def limited() -> Iterator[None]:
    """Raise Slow where the body takes ten times as long as it may."""
    before = signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, 10 * SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _memory(word: str) -> int:
    if not PEAK.exists():  # only Linux tells
        return 0
    found = re.search(rf"{word}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def read(path: str) -> str:
    """Read both ends of a volume; return the message where it is refused, else nothing."""
    try:
        source = open_volume(path, kind="raw", voxel_size_nm=SIZE)
        ends = triple(min(edge, BOX) for edge in source.shape)
        starts = triple(edge - end for edge, end in zip(source.shape, ends, strict=True))
        for box in (Box((0, 0, 0), ends), Box(starts, source.shape)):
            source.read(box)
        source.close()
    except WrongUse as error:
        _check_own_words(error)
        return str(error)
    return ""


def _check_own_words(error: WrongUse) -> None:
    """A message is one line, and holds no text of a library."""
    assert "\n" not in str(error)
    assert len(str(error)) < LINE
    cause = error.__cause__
    if cause is not None and not isinstance(cause, OSError | Unreadable):
        assert len(str(cause)) < 6 or str(cause) not in str(error), str(error)


def check_law(folder: Path, form: Format, number: int, damage: Sequence[Damage]) -> str:
    """Damage a file, read it and mend it; return the message, and raise where the law is broken."""
    file = folder / form.files[number % len(form.files)]
    whole = file.read_bytes()
    file.write_bytes(damaged(whole, damage))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if PEAK.exists():
        PEAK.write_text("5")  # the peak begins anew
    before, start = _memory("VmRSS"), time.process_time()  # others may use the machine
    try:
        with limited():
            line = read(f"{folder}/{form.path}")
    finally:
        file.write_bytes(whole)
    took, need = time.process_time() - start, _memory("VmHWM") - before
    assert took < SECONDS, f"{took:.1f} s: {line}"
    assert need <= SPARE_BYTES + TIMES_SIZE * size, f"{need / 1e6:.0f} MB: {line}"
    assert not line or form.named in line, line
    return line

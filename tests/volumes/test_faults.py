"""Every fault of a file is one line that names it."""

import shutil
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest

from fibstream.core.errors import WrongUse
from fibstream.core.grid import MAX_AXIS, Box
from fibstream.volumes.sources import open_volume

from .writers import (
    AXES,
    SHAPE,
    SIZE,
    VOLUME,
    array,
    dataset,
    fault,
    folder,
    imagej,
    mrc,
    multiscale,
    n5,
    npy,
    npz,
    ome,
    pages,
    tiff,
)


def cut(path: str, part: float = 0.5) -> str:
    file = Path(path)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * part)])
    return path


def flipped(path: str, pattern: str) -> str:
    (file, *_) = sorted(p for p in Path(path).rglob(pattern) if p.is_file())
    content = bytearray(file.read_bytes())
    content[-6] ^= 0xFF  # in the checksum or the index at the end
    file.write_bytes(content)
    return path


def replaced(path: str, file: str, text: str) -> str:
    (Path(path) / file).write_text(text)
    return path


def without(path: str, folder: str) -> str:
    shutil.rmtree(Path(path) / folder)
    return path


def odd_slice(path: str, **options: Any) -> str:
    tiff(Path(path), name="s10.tif", **{"volume": VOLUME[2], **options})
    return path


def empty(path: Path) -> str:
    (path / "nothing").mkdir()
    return str(path / "nothing")


def mixed(path: str) -> str:
    mrc(Path(path), VOLUME[0], name="s1.mrc")
    return path


def renamed(path: str, name: str) -> str:
    return str(Path(path).rename(Path(path).with_name(name)))


def mrc_axes(path: str) -> str:
    with mrcfile.open(path, "r+") as file:
        file.header.mapc = 3
    return path


ONE_PLANE = [VOLUME[0], VOLUME[1], VOLUME[2, :5]]


TWO = ("raw", "labels/mito", "labels/er")


FAULTS = {  # how to make it, what is wanted of it, what the line must name
    "missing": (lambda p: str(p / "none.tif"), {}, ["none.tif", "no such file"]),
    "missing inside": (lambda p: multiscale(p / "v") + "#s7", {}, ["no array or group s7"]),
    "missing url": (lambda p: f"file://{p}/none", {}, ["none", "no Zarr or N5"]),
    "unknown suffix": (lambda p: renamed(npy(p), "v.dat"), {}, ["v.dat", ".npy"]),
    "key of a tiff": (lambda p: tiff(p) + "#a", {}, ["v.tif#a", ".npz"]),
    "no slices": (empty, {}, ["nothing", "slices"]),
    "no key": (lambda p: npz(p, a=VOLUME, b=VOLUME), {}, ["#KEY", "a, b"]),
    "two keys, labels": (lambda p: npz(p, raw=VOLUME, m=VOLUME), {"kind": "labels"}, ["raw, m"]),
    "wrong key": (lambda p: npz(p) + "#b", {}, ["no array b", "a, voxel_size_nm_zyx"]),
    "npz of nothing 3-D": (lambda p: npz(p, a=VOLUME[0]), {}, ["v.npz", "(z, y, x)"]),
    "npz cut": (lambda p: cut(npz(p)), {}, ["v.npz"]),
    "npz cut, key": (lambda p: cut(npz(p)) + "#a", {}, ["v.npz"]),
    "npy cut": (lambda p: cut(npy(p)), {}, ["v.npy"]),
    "npy is text": (lambda p: replaced(str(p), "v.npy", "no") + "/v.npy", {}, ["v.npy"]),
    "npy object": (lambda p: npy(p, np.array([[[None]]])), {}, ["v.npy"]),
    "npy 2-D": (lambda p: npy(p, VOLUME[0]), {}, ["(6, 7)", "(z, y, x)"]),
    "npy two channels": (lambda p: npy(p, np.stack([VOLUME] * 2)), {}, ["(2, 5, 6, 7)"]),
    "npy empty axis": (lambda p: npy(p, VOLUME[:, :0]), {}, ["v.npy"]),
    "npy too long": (
        lambda p: npy(p, np.zeros((MAX_AXIS + 1, 1, 1), np.uint8)), {}, ["v.npy", str(MAX_AXIS)],
    ),
    "float64": (lambda p: npy(p, VOLUME * 1.0), {"kind": "raw"}, ["float64", "float32 for raw"]),
    "complex": (lambda p: npy(p, VOLUME * 1j), {}, ["complex128"]),
    "bool raw": (lambda p: npy(p, VOLUME > 9), {"kind": "raw"}, ["bool"]),
    "uint32 raw": (lambda p: npy(p, VOLUME.astype("u4")), {"kind": "raw"}, ["uint32"]),
    "float prediction": (
        lambda p: npy(p, VOLUME.astype("f4")), {"kind": "prediction"}, ["float32", "uint8", "127"],
    ),
    "float labels": (lambda p: npy(p, VOLUME.astype("f4")), {"kind": "labels"}, ["float32"]),
    "negative labels": (
        lambda p: npy(p, VOLUME.astype("i4") - 300), {"kind": "labels"}, ["v.npy", "label -"],
    ),
    "not a number": (
        lambda p: npy(p, np.full(SHAPE, np.nan, "f4")), {"kind": "raw"}, ["v.npy", "NaN"],
    ),
    "tiff cut": (lambda p: cut(tiff(p)), {}, ["v.tif"]),
    "tiff cut, zlib": (lambda p: cut(tiff(p, compression="zlib")), {}, ["v.tif"]),
    "tiff cut late": (lambda p: cut(tiff(p, compression="zlib"), 0.95), {}, ["v.tif"]),
    "imagej cut": (lambda p: cut(imagej(p)), {}, ["v.tif"]),
    "pages cut": (lambda p: cut(pages(p)), {}, ["v.tif"]),
    "pages cut late": (lambda p: cut(pages(p), 0.99), {}, ["v.tif"]),
    "pages cut early": (lambda p: cut(pages(p), 0.25), {}, ["v.tif"]),
    "pages cut in a tile": (
        lambda p: cut(pages(p, tile=(16, 16)), 0.98), {}, ["v.tif", "page 4 is cut short"],
    ),
    "ome cut": (lambda p: cut(ome(p)), {}, ["v.ome.tif"]),
    "tiff is text": (lambda p: replaced(str(p), "v.tif", "no") + "/v.tif", {}, ["v.tif"]),
    "tiff one image": (lambda p: tiff(p, VOLUME[0]), {}, ["(6, 7)", "(z, y, x)"]),
    "tiff colours": (
        lambda p: tiff(p, np.zeros((5, 6, 3), "u1"), photometric="rgb"), {}, ["(5, 6, 3)"],
    ),
    "tiff two channels": (
        lambda p: tiff(p, np.stack([VOLUME] * 2, 1), imagej=True, metadata={"axes": "ZCYX"}), {},
        ["v.tif", "(1, 5, 2, 6, 7) with axes TZCYX"],
    ),
    "pages differ": (lambda p: pages(p, ONE_PLANE), {}, ["v.tif", "one stack"]),
    "mrc cut": (lambda p: cut(mrc(p)), {}, ["v.mrc"]),
    "mrc header cut": (lambda p: cut(mrc(p), 0.1), {}, ["v.mrc"]),
    "mrc axes": (lambda p: mrc_axes(mrc(p)), {}, ["v.mrc", "(3, 2, 3)"]),
    "slice of another shape": (
        lambda p: odd_slice(folder(p), volume=VOLUME[2, :5]), {}, ["s10.tif", "(5, 7)"],
    ),
    "slice of another dtype": (
        lambda p: odd_slice(folder(p), volume=VOLUME[2].astype("u1")), {}, ["s10.tif", "uint8"],
    ),
    "slice of two pages": (lambda p: odd_slice(folder(p), volume=VOLUME[:2]), {}, ["s10.tif"]),
    "slice cut": (lambda p: cut(folder(p) + "/s10.tif").removesuffix("/s10.tif"), {}, ["s10.tif"]),
    "slices mixed": (lambda p: mixed(folder(p)), {}, ["stack", "TIFF and MRC"]),
    "mrc slice of two planes": (
        lambda p: str(Path(mrc(Path(folder(p, ".mrc")), VOLUME[:2], name="s1.mrc")).parent), {},
        ["s1.mrc", "(2, 6, 7)"],
    ),
    "zarr.json broken": (
        lambda p: replaced(array(p / "v.zarr"), "zarr.json", '{"zarr_fo'), {}, ["v.zarr"],
    ),
    "zarr.json of another kind": (
        lambda p: replaced(array(p / "v.zarr"), "zarr.json", "[]"), {}, ["v.zarr", "zarr.json"],
    ),
    ".zarray broken": (
        lambda p: replaced(array(p / "v.zarr", zarr_format=2), ".zarray", "{}"), {}, ["v.zarr"],
    ),
    "shard flipped": (
        lambda p: flipped(array(p / "v.zarr", shards=(8, 8, 8)), "c/*/*/*"), {}, ["v.zarr"],
    ),
    "n5 chunk cut": (
        lambda p: str(Path(cut(n5(p) + "/0/0/0")).parents[2]), {}, ["s0", "[0, 0, 0]"],
    ),
    "level missing": (
        lambda p: without(multiscale(p / "v.zarr"), "s0"), {}, ["v.zarr", "s0"],
    ),
    "axes of no volume": (
        lambda p: multiscale(p / "v.zarr", axes=[*AXES[:2], {"name": "c"}]), {}, ["(z, y, c)"],
    ),
    "axes mixed": (
        lambda p: multiscale(p / "v.zarr", axes=AXES[:2]) + "/s0", {}, ["3 dimensions", "(z, y)"],
    ),
    "zarr two channels": (
        lambda p: array(p / "v.zarr", np.stack([VOLUME] * 2), chunks=(1, 4, 4, 4)), {},
        ["v.zarr", "(2, 5, 6, 7)"],
    ),
    "two labels": (
        lambda p: dataset(p / "d.zarr", TWO), {"kind": "labels"},
        ["d.zarr#labels/er", "d.zarr#labels/mito"],
    ),
    "any of many": (
        lambda p: dataset(p / "d.zarr", TWO), {}, ["d.zarr#raw", "d.zarr#labels/mito"],
    ),
    "no prediction": (
        lambda p: dataset(p / "d.zarr", TWO), {"kind": "prediction"}, ["d.zarr", "prediction"],
    ),
    "empty group": (lambda p: dataset(p / "d.zarr", ()), {}, ["d.zarr", "STORE#GROUP/ARRAY"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_one_line_that_names_it(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    make, options, named = FAULTS[name]
    line = fault(make(tmp_path), voxel_size_nm=options.get("voxel_size_nm", SIZE), **options)
    for word in named:
        assert word in line
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_a_box_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = array(tmp_path / "v.zarr", chunks=(5, 6, 4), attributes={"resolution": SIZE})
    (tmp_path / "v.zarr" / "c" / "0" / "0" / "1").write_bytes(b"broken")
    source = open_volume(path)
    left = Box((0, 0, 0), (5, 6, 4))
    np.testing.assert_array_equal(source.read(left), VOLUME[left.slices()])
    with pytest.raises(WrongUse, match=r"v\.zarr at \[0, 0, 3\] to \[5, 6, 5\] cannot be read: "):
        source.read(Box((0, 0, 3), (5, 6, 5)))

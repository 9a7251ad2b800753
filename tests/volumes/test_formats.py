"""Every format gives back the voxels and the voxel size that were written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.volumes.sources import open_volume

from .writers import (
    AXES,
    BOXES,
    SIZE,
    VOLUME,
    array,
    assert_equal,
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

X_FIRST = {"axes": ["x", "y", "z"], "units": ["nm"] * 3, "scale": SIZE[::-1]}


Z_FIRST = {"axes": ["z", "y", "x"], "units": ["nm"] * 3, "scale": SIZE}


IN_UM = {"dimensions": [size / 1000 for size in SIZE[::-1]], "unit": "um"}


CT = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]


UM = [axis | {"unit": "micrometer"} for axis in AXES]


OWN: dict[str, Callable[[Path], str]] = {  # formats that carry the voxel size
    "npz": npz,
    "npz, key": lambda p: npz(p, a=VOLUME, b=VOLUME + 1, voxel_size_nm_zyx=SIZE) + "#a",
    "imagej": imagej,
    "imagej big-endian": lambda p: imagej(p, byteorder=">"),
    "imagej um": lambda p: imagej(p, "\\u00B5m", 1000),
    "imagej zlib": lambda p: imagej(p, compression="zlib"),
    "ome": ome,
    "ome tiles": lambda p: ome(p, tile=(16, 16), compression="zstd"),
    "mrc": mrc,
    "zarr v2 multiscale": lambda p: multiscale(p / "v.zarr", 2),
    "zarr v3 multiscale": lambda p: multiscale(p / "v.zarr"),
    "zarr sharded": lambda p: multiscale(p / "v.zarr", shards=(4, 4, 8)),
    "zarr micrometres": lambda p: multiscale(
        p / "v.zarr", axes=UM, size=(1e-3, 1e-3, 1e-3), scale=SIZE
    ),
    "zarr tczyx": lambda p: multiscale(p / "v.zarr", axes=CT + AXES),
    "zarr with a picture": lambda p: str(Path(tiff(Path(multiscale(p / "v.zarr")))).parent),
    "zarr level": lambda p: multiscale(p / "v.zarr") + "/s0",
    "zarr level inside": lambda p: multiscale(p / "v.zarr") + "#s0",
    "zarr url": lambda p: f"file://{multiscale(p / 'v.zarr')}#s0",
    "zarr in odd folder": lambda p: multiscale(p / "a b#c%.zarr"),
    "zarr inside odd folder": lambda p: multiscale(p / "a b#c%.zarr") + "#s0",
    "zarr attributes": lambda p: array(p / "v", attributes={"transform": Z_FIRST}),
    "n5 pixelResolution": lambda p: n5(p, {"pixelResolution": IN_UM}),
    "n5 resolution": lambda p: n5(p, {"resolution": SIZE[::-1]}),
    "n5 transform x first": lambda p: n5(p, {"transform": X_FIRST}),
    "n5 transform z first": lambda p: n5(p, {"transform": Z_FIRST}),
    "n5 5-D": lambda p: n5(p, {"transform": Z_FIRST}, volume=VOLUME[None, None]),
    "n5 5-D resolution": lambda p: n5(
        p, {"resolution": (*SIZE[::-1], 1, 1)}, volume=VOLUME[None, None]
    ),
    "n5 factors": lambda p: n5(
        p,
        {
            "pixelResolution": {"dimensions": [n / 2 for n in SIZE[::-1]], "unit": "nm"},
            "downsamplingFactors": [2, 2, 2],
        },
    ),
    "n5 group": lambda p: n5(
        p, group={"multiscales": [{"datasets": [{"path": "s0", "transform": Z_FIRST}]}]}
    )[:-3],
    "n5 resolution of the group": lambda p: n5(p, group={"resolution": SIZE[::-1]}),
    "n5 bare group": lambda p: n5(p, {"resolution": SIZE[::-1]})[:-3],
    "n5 store": lambda p: n5(p / "v.n5", {"resolution": SIZE[::-1]})[:-6] + "#em",
}


BARE: dict[str, Callable[[Path], str]] = {  # formats and files that do not
    "npy": npy,
    "npy fortran big-endian": lambda p: npy(p, np.asfortranarray(VOLUME.astype(">u2"))),
    "npy 5-D": lambda p: npy(p, VOLUME[None, None]),
    "npz raw among others": lambda p: npz(p, raw=VOLUME, mito=VOLUME + 1),
    "tiff": tiff,
    "tiff big-endian": lambda p: tiff(p, byteorder=">"),
    "tiff big-endian strips": lambda p: tiff(
        p, byteorder=">", compression="zlib", predictor=True, rowsperstrip=4
    ),
    "tiff bigtiff tiles": lambda p: tiff(p, bigtiff=True, tile=(16, 16), compression="lzw"),
    "tiff 5-D": lambda p: tiff(p, VOLUME[None, None]),
    "tiff dots per inch": lambda p: tiff(p, resolution=(1, 1), resolutionunit="inch"),
    "imagej uncalibrated": lambda p: tiff(p, imagej=True, metadata={"unit": "um", "spacing": 1}),
    "imagej no depth": lambda p: tiff(p, imagej=True, resolution=(0.2, 0.2)),
    "pages": pages,
    "pages big-endian": lambda p: pages(p, byteorder=">"),
    "pages plain strips": lambda p: pages(p, rowsperstrip=2),
    "pages strips": lambda p: pages(p, compression="zstd", rowsperstrip=2),
    "mrc unset": lambda p: mrc(p, size=(0, 0, 0)),
    "mrc default": lambda p: mrc(p, size=(0.1, 0.1, 0.1)),
    "folder": folder,
    "folder upper case": lambda p: folder(p, ".TIFF"),
    "folder big-endian": lambda p: folder(p, byteorder=">"),
    "folder strips": lambda p: folder(p, compression="zlib", rowsperstrip=4, byteorder=">"),
    "folder mrc": lambda p: folder(p, ".mrc"),
    "zarr v2": lambda p: array(p / "v.zarr", zarr_format=2),
    "zarr v2 big-endian": lambda p: array(p / "v", VOLUME.astype(">u2"), 2, order="F"),
    "zarr v3": lambda p: array(p / "v.zarr"),
    "zarr no units": lambda p: multiscale(p / "v", axes=[{"name": n} for n in "zyx"]),
    "n5": n5,
}


@pytest.mark.parametrize("form", OWN)
def test_formats_with_a_voxel_size(form: str, tmp_path: Path) -> None:
    source = open_volume(OWN[form](tmp_path), kind="raw")
    assert source.voxel_size_nm == pytest.approx(SIZE, rel=1e-6)
    assert_equal(source)
    source.close()
    with pytest.raises(WrongUse, match="closed"):
        source.read(BOXES[0])


@pytest.mark.parametrize("form", BARE)
def test_formats_without_a_voxel_size(form: str, tmp_path: Path) -> None:
    path = BARE[form](tmp_path)
    with pytest.raises(WrongUse, match="has no voxel size; give --voxel-size-nm Z,Y,X"):
        open_volume(path, kind="raw")
    source = open_volume(path, kind="raw", voxel_size_nm=SIZE)
    assert source.voxel_size_nm == SIZE
    assert_equal(source)


def zarr_v3(path: Path, volume: NDArray[Any]) -> str:
    return array(path / "v.zarr", volume)


ANY_DTYPE = (npy, tiff, zarr_v3)


@pytest.mark.parametrize(
    ("dtype", "save"),
    [(d, s) for d in ("uint8", "int8", "uint16", "int16", "float32") for s in ANY_DTYPE]
    + [(dtype, mrc) for dtype in ("int8", "uint16", "int16", "float32")],
)
def test_every_dtype_of_raw(dtype: str, save: Callable[..., str], tmp_path: Path) -> None:
    volume = VOLUME.astype(dtype)
    assert_equal(open_volume(save(tmp_path, volume), kind="raw", voxel_size_nm=SIZE), volume)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint32", "uint64", "int64"])
@pytest.mark.parametrize("save", ANY_DTYPE)
def test_every_dtype_of_labels(dtype: str, save: Callable[..., str], tmp_path: Path) -> None:
    volume = (VOLUME % 2 if dtype == "bool" else VOLUME).astype(dtype)
    assert_equal(open_volume(save(tmp_path, volume), kind="labels", voxel_size_nm=SIZE), volume)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_of_single_bits_is_a_mask(compression: str | None, tmp_path: Path) -> None:
    mask = VOLUME % 2 == 1
    path = tiff(tmp_path, mask, compression=compression)
    assert_equal(open_volume(path, kind="labels", voxel_size_nm=SIZE), mask)


def test_mrc_bytes_written_by_imod_are_unsigned(tmp_path: Path) -> None:
    path = mrc(tmp_path, VOLUME.astype(np.uint8).view(np.int8))
    with Path(path).open("r+b") as file:
        file.seek(152)
        file.write(np.array([1146047817, 0], "<i4").tobytes())
    assert_equal(open_volume(path, kind="raw"), VOLUME.astype(np.uint8))


@pytest.mark.parametrize("save", [pages, ome])
def test_strips_of_a_page_may_lie_in_any_order(save: Callable[..., str], tmp_path: Path) -> None:
    path = save(tmp_path, rowsperstrip=2)
    with tifffile.TiffFile(path, mode="r+") as file:
        tag = file.pages[3].tags["StripOffsets"]
        tag.overwrite(tag.value[::-1])
    turned = VOLUME.copy()
    turned[3] = VOLUME[3].reshape(3, 2, 7)[::-1].reshape(6, 7)
    assert_equal(open_volume(path, voxel_size_nm=SIZE), turned)


def test_slices_may_differ_in_how_they_are_stored(tmp_path: Path) -> None:
    path = folder(tmp_path)
    tiff(Path(path), VOLUME[0], name="s8.tif", compression="zlib", byteorder=">")
    tiff(Path(path), VOLUME[1], name="s9.tif", tile=(16, 16))
    assert_equal(open_volume(path, voxel_size_nm=SIZE))

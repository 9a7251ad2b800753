"""Volumes in every format, written by the usual libraries, and how a test reads one."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import mrcfile
import numpy as np
import pytest
import tensorstore
import tifffile
import zarr
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.volumes.sources import Source, open_volume

ZarrFormat = Literal[2, 3]
SHAPE = (5, 6, 7)


SIZE = (8.0, 4.0, 5.0)


VOLUME = np.random.default_rng(7).integers(0, 250, SHAPE).astype(np.uint16)


BOXES = [
    Box((0, 0, 0), SHAPE),
    Box((1, 2, 3), (4, 6, 5)),
    Box((4, 5, 6), (5, 6, 7)),
    Box((0, 3, 0), (2, 5, 7)),
]


AXES = [{"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"]


def npy(path: Path, volume: NDArray[Any] = VOLUME) -> str:
    np.save(path / "v.npy", volume)
    return str(path / "v.npy")


def npz(path: Path, **arrays: Any) -> str:
    np.savez_compressed(path / "v.npz", **(arrays or {"a": VOLUME, "voxel_size_nm_zyx": SIZE}))
    return str(path / "v.npz")


def tiff(path: Path, volume: NDArray[Any] = VOLUME, name: str = "v.tif", **options: Any) -> str:
    tifffile.imwrite(path / name, volume, **options)
    return str(path / name)


def pages(
    path: Path,
    volumes: NDArray[Any] | list[NDArray[Any]] = VOLUME,
    byteorder: str = "<",
    **options: Any,
) -> str:
    with tifffile.TiffWriter(path / "v.tif", byteorder=byteorder) as file:
        for page in volumes:
            file.write(page, contiguous=False, metadata=None, **options)
    return str(path / "v.tif")


def imagej(path: Path, unit: str = "nm", scale: float = 1.0, **options: Any) -> str:
    z, y, x = (size / scale for size in SIZE)
    metadata = {"axes": "ZYX", "spacing": z, "unit": unit}
    return tiff(path, imagej=True, metadata=metadata, resolution=(1 / x, 1 / y), **options)


def ome(path: Path, **options: Any) -> str:
    z, y, x = SIZE
    metadata = {"axes": "ZYX", "PhysicalSizeZ": z / 1000}  # micrometres unless it says otherwise
    metadata |= {"PhysicalSizeY": y, "PhysicalSizeYUnit": "nm"}
    metadata |= {"PhysicalSizeX": x * 10, "PhysicalSizeXUnit": "Å"}
    return tiff(path, name="v.ome.tif", metadata=metadata, **options)


def mrc(
    path: Path, volume: NDArray[Any] = VOLUME, size: Sequence[float] = SIZE, name: str = "v.mrc"
) -> str:
    with mrcfile.new(path / name, volume) as file:
        file.voxel_size = tuple(10 * edge for edge in size[::-1])
    return str(path / name)


def folder(path: Path, suffix: str = ".tif", **options: Any) -> str:
    (path / "stack").mkdir()
    (path / "stack" / "notes.txt").write_text("not a slice")
    for z, plane in enumerate(VOLUME):  # s8, s9, s10: natural order is not that of letters
        if suffix == ".mrc":
            mrc(path / "stack", plane, name=f"s{z + 8}.mrc")
        else:
            tiff(path / "stack", plane, name=f"s{z + 8}{suffix}", **options)
    return str(path / "stack")


def array(
    path: Path, volume: NDArray[Any] = VOLUME, zarr_format: ZarrFormat = 3, **options: Any
) -> str:
    options = {"chunks": (4, 4, 4)[-volume.ndim :], **options}
    store = zarr.create_array(
        path, shape=volume.shape, dtype=volume.dtype, zarr_format=zarr_format, **options
    )
    store[...] = volume
    return str(path)


def multiscale(
    path: Path,
    zarr_format: ZarrFormat = 3,
    axes: list[dict[str, str]] = AXES,
    size: Sequence[float] = SIZE,
    scale: Sequence[float] | None = None,
    **options: Any,
) -> str:
    lead = len(axes) - 3
    scales = [{"type": "scale", "scale": [1.0] * lead + list(size)}]
    levels = [
        {"path": "s0", "coordinateTransformations": scales},
        {"path": "s1", "coordinateTransformations": scales},
    ]
    entry = {"axes": axes, "datasets": levels, "version": "0.4"}
    if scale:
        entry["coordinateTransformations"] = [{"type": "scale", "scale": scale}]
    stated = {"multiscales": [entry]}
    attributes = {"ome": stated} if zarr_format == 3 else stated
    zarr.create_group(path, zarr_format=zarr_format, attributes=attributes)
    volume = VOLUME.reshape((1,) * lead + SHAPE)
    array(path / "s0", volume, zarr_format, chunks=(1,) * lead + (4, 4, 4), **options)
    array(path / "s1", volume[..., ::2, ::2, ::2], zarr_format, chunks=volume.shape)
    return str(path)


def n5(
    path: Path,
    attributes: dict[str, Any] | None = None,
    group: dict[str, Any] | None = None,
    volume: NDArray[Any] = VOLUME,
) -> str:
    axes = volume.ndim
    spec = {
        "driver": "n5",
        "kvstore": {"driver": "file", "path": f"{path}/em/s0/"},
        "metadata": {
            "dataType": str(volume.dtype),
            "dimensions": volume.shape[::-1],
            "blockSize": [4, 3, 2] + [1] * (axes - 3),
            "compression": {"type": "gzip"},
        },
    }
    tensorstore.open(spec, create=True).result().T[...] = volume
    edit(path / "em" / "s0" / "attributes.json", attributes or {})
    if group is not None:
        (path / "em" / "attributes.json").write_text(json.dumps(group))
    return str(path / "em" / "s0")


def edit(path: Path, values: dict) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def dataset(path: Path, things: tuple[str, ...]) -> str:
    if "" not in things:
        zarr.create_group(path)
    for thing in things:
        multiscale(path / thing)
    for group in {str(Path(thing).parent) for thing in things} - {"."}:
        zarr.create_group(path / group)
    return str(path)


def assert_equal(source: Source, volume: NDArray[Any] = VOLUME) -> None:
    assert source.shape == volume.shape
    assert source.dtype == volume.dtype.newbyteorder("=")
    for box in BOXES:
        voxels = source.read(box)
        assert voxels.dtype == volume.dtype.newbyteorder("=")
        assert voxels.dtype.isnative
        assert voxels.flags.c_contiguous
        np.testing.assert_array_equal(voxels, volume[box.slices()])
        voxels[...] = 0  # the caller owns it: what is read next must not change


def fault(path: str, **options: Any) -> str:
    """Return the line that opening the path and reading all of it gives."""
    with pytest.raises(WrongUse) as raised:
        source = open_volume(path, **options)
        source.read(Box((0, 0, 0), source.shape))
    line = str(raised.value)
    assert "\n" not in line
    assert len(line) < 600
    return line

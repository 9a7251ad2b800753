"""Volumes that a client names: read through the gate, whatever lies in them."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import tifffile
from numpy.typing import NDArray

from fibstream.core.dataset import Dataset
from fibstream.core.errors import LimitExceeded, WrongUse
from fibstream.core.grid import Box
from fibstream.core.stage import RAW, Input
from fibstream.services.ingest.edges import announced
from fibstream.services.ingest.edges.announced import AnnouncedVolumes
from fibstream.volumes.numpy_files import KeptArrays
from fibstream.volumes.sources import open_volume

SHAPE = (8, 8, 8)
VOXELS = np.random.default_rng(1).integers(1, 255, SHAPE).astype(np.uint8)
SECRET = np.full(SHAPE, 77, np.uint8)
CELL = Dataset(
    name="cell", shape=SHAPE, chunk=(8, 8, 8), dtype="uint8", voxel_size_nm=(8, 8, 8),
    contrast=(0, 255),
)  # fmt: skip
Read = Callable[[str], NDArray[Any]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "secret").mkdir()
    return tmp_path / "root"


@pytest.fixture
def secret(root: Path) -> Path:
    return root.parent / "secret"


@pytest.fixture
def read(root: Path) -> Read:
    volumes = AnnouncedVolumes([root])
    return lambda source: volumes.read(source, CELL, Input(RAW, RAW, "uint8"), (0, 0, 0))


def zarr(path: Path, voxels: NDArray[np.uint8], driver: str = "zarr3") -> None:
    chunks: dict[str, dict[str, Any]] = {
        "zarr3": {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 8, 8]}},
                  "data_type": "uint8"},
        "zarr": {"chunks": [4, 8, 8], "dtype": "|u1"},
        "n5": {"blockSize": [8, 8, 4], "dataType": "uint8", "compression": {"type": "raw"}},
    }  # fmt: skip
    axes = "dimensions" if driver == "n5" else "shape"
    spec = {
        "driver": driver,
        "kvstore": f"file://{path}/",
        "metadata": {axes: SHAPE, **chunks[driver]},
    }
    array = tensorstore.open(spec, create=True).result()
    array[...] = voxels.T if driver == "n5" else voxels


def slices(folder: Path, voxels: NDArray[np.uint8]) -> None:
    folder.mkdir()
    for z, plane in enumerate(voxels):
        tifffile.imwrite(folder / f"s{z}.tif", plane)


def test_every_format_below_a_root_is_read(root: Path, read: Read) -> None:
    np.save(root / "a.npy", VOXELS)
    np.savez_compressed(root / "a.npz", raw=VOXELS)
    tifffile.imwrite(root / "a.tif", VOXELS, photometric="minisblack")
    tifffile.imwrite(root / "c.tif", VOXELS, photometric="minisblack", compression="zlib")
    slices(root / "slices", VOXELS)
    for driver in ("zarr3", "zarr", "n5"):
        zarr(root / driver, VOXELS, driver)
    for name in ("a.npy", "a.npz", "a.npz#raw", "a.tif", "c.tif", "slices", "zarr3", "zarr", "n5"):
        assert np.array_equal(read(f"{root}/{name}"), VOXELS), name


def test_a_link_inside_a_volume_does_not_lead_out_of_the_roots(
    root: Path, secret: Path, read: Read
) -> None:
    slices(root / "slices", VOXELS)
    slices(secret / "slices", SECRET)
    (root / "slices" / "s3.tif").unlink()
    (root / "slices" / "s3.tif").symlink_to(secret / "slices" / "s3.tif")
    zarr(root / "chunk", VOXELS)
    zarr(root / "folder", VOXELS)
    zarr(secret / "zarr", SECRET)
    (root / "chunk/c/1/0/0").unlink()
    (root / "chunk/c/1/0/0").symlink_to(secret / "zarr/c/1/0/0")
    (root / "folder/c").rename(root / "kept")
    (root / "folder/c").symlink_to(secret / "zarr/c")
    group = {"zarr_format": 3, "node_type": "group"}
    (root / "group").mkdir()
    (root / "group/zarr.json").write_text(json.dumps(group))
    (root / "group/raw").symlink_to(secret / "zarr")
    for name in ("slices", "chunk", "folder", "group", "group#raw"):
        with pytest.raises(WrongUse, match="source roots"):
            read(f"{root}/{name}")


@pytest.mark.parametrize("leads", ["../../secret/zarr", "SECRET/zarr", "x/../../../secret/zarr"])
def test_metadata_do_not_lead_out_of_the_roots(
    root: Path, secret: Path, read: Read, leads: str
) -> None:
    zarr(secret / "zarr", SECRET)
    image = {
        "version": "0.5", "axes": [{"name": n, "type": "space"} for n in "zyx"],
        "datasets": [{"path": leads.replace("SECRET", str(secret)), "coordinateTransformations":
                      [{"type": "scale", "scale": [8, 8, 8]}]}],
    }  # fmt: skip
    group = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {"ome": {"multiscales": [image]}},
    }
    (root / "image").mkdir()
    (root / "image/zarr.json").write_text(json.dumps(group))
    with pytest.raises(WrongUse, match=r"expected a path inside its group|no array is there"):
        read(f"{root}/image")


def test_groups_above_a_root_are_not_read(root: Path, secret: Path) -> None:
    """A root inside a hierarchy: what describes it from above is another's."""
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"resolution": [1, 1, 1]}}
    (root / "zarr.json").write_text(json.dumps(group))
    (root / "inner").mkdir()
    zarr(root / "inner/raw", VOXELS)
    volumes = AnnouncedVolumes([root / "inner"])
    raw = Input(RAW, RAW, "uint8")
    assert np.array_equal(volumes.read(f"{root}/inner/raw", CELL, raw, (0, 0, 0)), VOXELS)


def test_ome_xml_does_not_lead_out_of_the_roots(root: Path, secret: Path, read: Read) -> None:
    tifffile.imwrite(secret / "s.tif", SECRET[:4], photometric="minisblack")
    (root / "s.tif").symlink_to(secret / "s.tif")
    for name in ("s.tif", "../secret/s.tif", f"{secret}/s.tif"):
        xml = (
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:0">'
            '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZTC" Type="uint8" '
            'SizeX="8" SizeY="8" SizeZ="8" SizeC="1" SizeT="1"><Channel ID="Channel:0:0"/>'
            '<TiffData FirstZ="0" IFD="0" PlaneCount="4"><UUID FileName="a.tif">urn:uuid:0</UUID>'
            f'</TiffData><TiffData FirstZ="4" IFD="0" PlaneCount="4"><UUID FileName="{name}">'
            "urn:uuid:1</UUID></TiffData></Pixels></Image></OME>"
        )
        tifffile.imwrite(
            root / "a.tif", VOXELS[:4], photometric="minisblack", description=xml, metadata=None
        )
        with pytest.raises(WrongUse, match=r"not in its folder|source roots"):
            read(f"{root}/a.tif")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.tif", "a.mrc", "s/s1.tif", "s/s1.mrc",
                                  "z/zarr.json", "z/.zarray", "z/.zattrs", "z/attributes.json",
                                  "full/c/0/0/0"])  # fmt: skip
def test_a_pipe_is_never_waited_for(root: Path, read: Read, name: str) -> None:
    zarr(root / "full", VOXELS)
    path = root / name
    path.parent.mkdir(exist_ok=True)
    if name == "z/.zattrs":
        (path.parent / ".zarray").write_text("{}")
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    given = root / Path(name).parts[0]
    with pytest.raises(WrongUse, match="no regular file"):
        read(str(given))


def test_metadata_of_a_line_cannot_name_a_million_chunks(root: Path, read: Read) -> None:
    zarr(root / "a", VOXELS)
    stored = json.loads((root / "a/zarr.json").read_text())
    stored["chunk_grid"]["configuration"]["chunk_shape"] = [1, 1, 1]
    stored["shape"] = [512, 512, 512]
    (root / "a/zarr.json").write_text(json.dumps(stored))
    big = CELL.model_copy(update={"shape": (512, 512, 512), "chunk": (512, 512, 512)})
    with pytest.raises(WrongUse, match="134217728 of its chunks are touched at a time"):
        AnnouncedVolumes([root]).read(f"{root}/a", big, Input(RAW, RAW, "uint8"), (0, 0, 0))


def test_a_packed_file_is_unpacked_once_for_all_its_chunks(
    root: Path, read: Read, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where two are announced in turn, and by several calls at a time."""
    caplog.set_level("DEBUG", logger="fibstream.volumes.numpy_files")
    for name in ("a", "b"):
        np.savez_compressed(root / f"{name}.npz", raw=VOXELS)
    calls = [
        threading.Thread(target=read, args=(f"{root}/{name}.npz",)) for name in "abababab"
    ]  # fmt: skip
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    unpacked = [r for r in caplog.records if r.getMessage().startswith("unpacking")]
    assert len(unpacked) == 2


def test_kept_arrays_have_a_limit() -> None:
    kept, made = KeptArrays(limit=16), []

    def of(name: str, size: int) -> NDArray[Any]:
        def unpack() -> NDArray[Any]:
            made.append(name)
            return np.zeros(size, np.uint8)

        return kept.get(name, unpack)

    for name in "abab":
        of(name, 8)
    assert made == ["a", "b"]
    of("c", 8)  # a, the longest unused, goes
    of("b", 8)
    of("a", 8)
    assert made == ["a", "b", "c", "a"]
    assert of("large", 100).size == 100  # more than the limit alone, and kept while it is the last
    of("large", 100)
    of("a", 8)
    assert made == ["a", "b", "c", "a", "large", "a"]


def test_a_service_unpacks_less_than_a_user(
    root: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fibstream.volumes.formats.MAX_UNPACKED", 500)
    np.savez_compressed(root / "a.npz", raw=VOXELS)
    tifffile.imwrite(
        root / "a.tif", np.zeros((8, 32, 32), np.uint8), photometric="minisblack",
        compression="zlib", rowsperstrip=32,
    )  # fmt: skip
    with pytest.raises(WrongUse, match=r"unpacks to 0 MB .* save it as"):
        read(f"{root}/a.npz")
    wide = CELL.model_copy(update={"shape": (8, 32, 32)})
    with pytest.raises(WrongUse, match="a strip or tile unpacks"):
        AnnouncedVolumes([root]).read(f"{root}/a.tif", wide, Input(RAW, RAW, "uint8"), (0, 0, 0))


def test_a_few_bytes_do_not_unpack_to_gigabytes_for_each_chunk(
    root: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each strip alone is small enough; a user may wait for it, a service may not."""
    monkeypatch.setattr("fibstream.volumes.formats.SPARE_BYTES", 10_000)
    shape = (8, 200, 200)
    tifffile.imwrite(
        root / "a.tif", np.zeros(shape, np.uint8), photometric="minisblack", compression="zlib",
        rowsperstrip=40,
    )  # fmt: skip
    wide = CELL.model_copy(update={"shape": shape, "chunk": (8, 200, 200)})
    volumes, raw = AnnouncedVolumes([root]), Input(RAW, RAW, "uint8")
    with pytest.raises(WrongUse, match="MB unpack from"):
        volumes.read(f"{root}/a.tif", wide, raw, (0, 0, 0))
    source = open_volume(f"{root}/a.tif", kind="raw", voxel_size_nm=(8, 8, 8))
    assert source.read(Box((0, 0, 0), shape)).sum() == 0


def test_the_size_of_a_voxel_is_three_numbers_before_it_is_read(root: Path, read: Read) -> None:
    np.savez_compressed(root / "a.npz", raw=VOXELS, voxel_size_nm_zyx=np.array(["8" * 9999] * 3))
    with pytest.raises(WrongUse, match="expected three numbers"):
        read(f"{root}/a.npz")


def test_few_volumes_are_read_at_a_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announced, "WAIT_S", 0.01)
    np.save(root / "a.npy", VOXELS)
    volumes, raw = AnnouncedVolumes([root], reads=1), Input(RAW, RAW, "uint8")
    with volumes._turn(), pytest.raises(LimitExceeded, match="announce it again later"):
        volumes.read(f"{root}/a.npy", CELL, raw, (0, 0, 0))
    assert np.array_equal(volumes.read(f"{root}/a.npy", CELL, raw, (0, 0, 0)), VOXELS)

"""`fibstream land`: the voxel size and the place of a volume against those of its dataset."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from fibstream.bus import wire
from fibstream.client import Client
from fibstream.core.stage import RAW
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset
from fibstream.store.store import Blob, Store
from fibstream.v1 import ingest_pb2

from ..support.command import Answer, inside
from ..support.wrong import is_one_line

VOXELS = np.zeros((8, 8, 8), np.uint8)


def test_a_volume_lands_with_the_voxel_size_of_its_dataset(server: str, tmp_path: Path) -> None:
    sized, plain = tmp_path / "v.npz", tmp_path / "v.npy"
    np.savez(sized, raw=VOXELS, voxel_size_nm_zyx=[9.0] * 3)
    np.save(plain, VOXELS)
    line = ["land", "cell", "--server", server, "--raw", sized]
    is_one_line(inside(*line), "voxel size 9,9,9 nm, but 8,8,8 nm")
    is_one_line(inside(*line, "--voxel-size-nm", "8"), "voxel size 9,9,9 nm, but 8,8,8 nm")
    is_one_line(inside(*line, "--voxel-size-nm", "9"), "dataset cell has voxels of 8,8,8 nm")
    line = [*line[:-1], plain, "--voxel-size-nm"]
    is_one_line(inside(*line, "9"), "dataset cell has voxels of 8,8,8 nm")
    is_one_line(inside(*line, "0"), "--voxel-size-nm '0': expected")
    answer = inside(*line, "8.01")
    assert answer.code == 0 and answer.out == "cell: 1 written\n" and "origin" not in answer.err
    assert "there, create the dataset with --absent-value 0, or" in answer.err


def test_a_corner_at_the_origin_is_the_origin(server: str, tmp_path: Path) -> None:
    array: Any = zarr.create_array(tmp_path / "c.zarr", data=VOXELS + 1)
    for offset, refused in (([0, 0, 0], False), ([0, 0, 16], True)):
        array.attrs.update(resolution=[8, 8, 8], units="nm", offset=offset)
        answer = inside("land", "cell", "--raw", tmp_path / "c.zarr", "--server", server)
        assert answer.code == (2 if refused else 0)
        assert ("begins at 0,0,16 nm; dataset cell at 0,0,0 nm" in answer.err) == refused


def placed(path: Path, voxels: NDArray[Any], at: Sequence[float], size: float = 8) -> Path:
    """Write an OME-NGFF image whose first voxel has its centre at ``at``, in nm."""
    zarr.create_array(path / "s0", data=voxels)
    kinds = {"scale": [size] * 3, "translation": list(at)}
    steps = [{"type": kind, kind: numbers} for kind, numbers in kinds.items()]
    image: Any = {
        "axes": [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"],
        "datasets": [{"path": "s0", "coordinateTransformations": steps}],
    }
    zarr.open_group(path, attributes={"ome": {"multiscales": [image]}})
    return path


def create(server: str, name: str, *flags: object) -> Answer:
    pipeline = "predictions: [{name: er, squash_nm: 50}]"
    return inside("create", name, "--pipeline", pipeline, "--server", server, *flags)


@pytest.mark.parametrize(
    ("offset", "code"),
    [("80,0,-40", 0), ("83.9,0,-40", 0), ("0,0,0", 2), ("80,0,-49", 2), ("80,0,40", 2)],
)
def test_a_volume_lands_only_where_its_dataset_lies(
    server: str, tmp_path: Path, offset: str, code: int
) -> None:
    raw = placed(tmp_path / "m.zarr", VOXELS + 1, (80, 0, -40))
    name = f"at{offset}".replace(",", "_")
    flags = ("--shape", "8,8,8", "--voxel-size-nm", 8, "--offset-nm", offset)
    assert create(server, name, *flags).code == 0
    answer = inside("land", name, "--raw", raw, "--server", server)
    assert answer.code == code, answer.err
    if code:
        is_one_line(answer, f"begins at 80,0,-40 nm; dataset {name} at {offset} nm: .*--offset-nm")
    with Client(server) as client:
        info = client.info(name)
        assert info.offset_nm == tuple(map(float, offset.split(",")))
        assert bool(info.landed) == (code == 0)
    again = create(server, name, *flags[:-1], "7,7,7")
    is_one_line(again, r"its offset_nm is .*, not \(7.0, 7.0, 7.0\)")


@pytest.mark.parametrize("offset", ["1,2", "nan,0,0", "inf,0,0", "0,0,1.1e12", "-2e12,0,0", "x"])
def test_an_offset_that_is_none_is_refused(server: str, offset: str) -> None:
    flags = ("--shape", "8,8,8", "--voxel-size-nm", 8, "--offset-nm", offset)
    is_one_line(create(server, "far", *flags), "--offset-nm .*: expected|--offset-nm .*: at most")


@pytest.mark.parametrize("shape", ["17,16,15", "?,16,15"])
def test_what_lands_is_averaged_as_run_does(server: str, tmp_path: Path, shape: str) -> None:
    fine = np.random.default_rng(5).integers(0, 255, (17, 16, 15), np.uint8)
    fine[:5, :7] = 7  # not imaged
    raw = placed(tmp_path / "m.zarr", fine, (100, 0, 20), 4)
    name = "closed" if shape[0] == "1" else "open"
    given = ("--shape", shape, "--voxel-size-nm", 4, "--offset-nm", "100,0,20", "--chunk", 4,
             "--downsample", "2", "--absent-value", 7)  # fmt: skip
    assert create(server, name, *given).code == 0
    line = ("land", name, "--raw", raw, "--server", server)
    is_one_line(inside(*line, "--downsample", "3"), "was made with --downsample 2,2,2")
    is_one_line(inside(*line, "--voxel-size-nm", "8"), "voxel size 4,4,4 nm, but 8,8,8 nm")
    answer = inside(*line, "--downsample", "2", "--seal")
    assert answer.code == 0, answer.err
    out = tmp_path / "run.zarr"
    np.savez(tmp_path / "er.npz", raw=np.zeros((9, 8, 8), np.uint8), voxel_size_nm_zyx=[8.0] * 3)
    stored = tmp_path / "er.npz"
    (tmp_path / "p.yaml").write_text(f"predictions: [{{name: er, from: {stored}}}]")
    answer = inside("run", "--raw", raw, "--downsample", 2, "--absent-value", 7, "--out", out,
                    "--pipeline", tmp_path / "p.yaml", "--chunk", 4,
                    "--bus", "memory:")  # fmt: skip
    assert answer.code == 0, answer.err
    there = read_dataset(LocalFiles(out))
    with Client(server) as client:
        info = client.info(name)
        for field in ("shape", "voxel_size_nm", "offset_nm", "downsample", "absent_value"):
            assert getattr(info, field) == getattr(there, field), field
        for index in there.grid.indices():
            stamp = Store(LocalFiles(out), there.grid).stamp(Blob(RAW, index, "uint8"))
            assert stamp is not None
            request = ingest_pb2.GetChunkRequest(dataset=name, index=wire.index3(index))
            assert client._ingest.GetChunk(request).hash == stamp.hash


def test_an_end_is_given_in_slices_of_the_data(server: str) -> None:
    given = ("--shape", "?,8,8", "--voxel-size-nm", 4, "--downsample", "2,1,1")
    assert create(server, "halved", *given).code == 0
    seal = ("seal", "halved", "--server", server, "--extent-z")
    for slices in (13, 14):
        answer = inside(*seal, slices)
        assert answer.out == "halved: sealed at 7 slices, each the mean of 2 of the data\n", answer
    is_one_line(inside(*seal, 15), "sealed at 7 slices, each the mean of 2 of the data, not 8")


def test_the_shape_of_a_volume_that_is_averaged_is_not_called_that_of_its_file(
    server: str, tmp_path: Path
) -> None:
    raw = placed(tmp_path / "m.zarr", np.ones((6, 8, 8), np.uint8), (0, 0, 0), 4)
    given = ("--shape", "6,8,10", "--voxel-size-nm", 4, "--downsample", "1,2,2")
    assert create(server, "wider", *given).code == 0
    answer = inside("land", "wider", "--raw", raw, "--server", server)
    is_one_line(answer, r"is \(6, 4, 4\) once averaged by 1,2,2; the dataset is \(6, 4, 5\)")


@pytest.mark.parametrize(
    "depth, of", [(1, "11 slices"), (2, "11 slices, each the mean of 2 of the data,")]
)
def test_slices_that_do_not_land_yet_are_told(
    server: str, tmp_path: Path, depth: int, of: str
) -> None:
    name = f"growing-{depth}"
    np.save(tmp_path / "v.npy", np.ones((11 * depth, 8, 8), np.uint8))
    given = ("--shape", "?,8,8", "--voxel-size-nm", 4, "--downsample", f"{depth},1,1", "--chunk", 4)
    assert create(server, name, *given).code == 0
    land = ("land", name, "--raw", tmp_path / "v.npy", "--server", server)
    told = f"the last 3 of {of} do not land: while dataset {name} is open, layers of 4 do"
    assert told in inside(*land).err
    early = inside("seal", name, "--server", server, "--extent-z", 2 * depth)
    assert "chunks have landed up to slice 8" in early.err
    assert ("extent of 2 slices, each the mean of 2 of the data:" in early.err) == (depth == 2)
    answer = inside(*land, "--seal")
    assert (answer.code, "do not land" in answer.err) == (0, False)

"""`fibstream land`: the voxel size and the place of a volume against those of its dataset."""

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from ..support.command import inside
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
    for offset, told in (([0, 0, 0], False), ([0, 0, 16], True)):
        array.attrs.update(resolution=[8, 8, 8], units="nm", offset=offset)
        answer = inside("land", "cell", "--raw", tmp_path / "c.zarr", "--server", server)
        assert answer.code == 0
        assert ("dataset cell will state the origin" in answer.err) == told


def test_a_volume_that_lies_elsewhere_is_named(server: str, tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "m.zarr/s0", data=VOXELS + 1)
    kinds = {"scale": [8, 8, 8], "translation": [80, 0, 0]}
    steps = [{"type": kind, kind: numbers} for kind, numbers in kinds.items()]
    image: Any = {
        "axes": [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"],
        "datasets": [{"path": "s0", "coordinateTransformations": steps}],
    }
    zarr.open_group(tmp_path / "m.zarr", attributes={"ome": {"multiscales": [image]}})
    answer = inside("land", "cell", "--raw", tmp_path / "m.zarr", "--server", server)
    assert answer.code == 0
    assert "begins at 80,0,0 nm; dataset cell will state the origin" in answer.err

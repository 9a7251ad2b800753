"""Raw of a dataset that is averaged: its place, its mask and its end count on the data."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Index
from fibstream.services.ingest.edges.sources import open_raw


@dataclass(frozen=True)
class Acquired:
    """A dataset whose voxels are means of 8 x 8 x 8 of 4 nm; its data begin at 8000 nm."""

    name: str = "cell"
    voxel_size_nm: tuple[float, float, float] = (32.0, 32.0, 32.0)
    offset_nm: tuple[float, float, float] = (8014.0, 8014.0, 8014.0)
    downsample: Index = (8, 8, 8)
    absent_value: float | None = None
    absent_mask: bool = False


def image(path: Path, at: float, shape: Index = (16, 16, 16)) -> str:
    """Write an image of ones whose first voxel has its centre at ``at`` nm along each axis."""
    zarr.create_array(path / "s0", data=np.ones(shape, np.uint8))
    steps = [
        {"type": "scale", "scale": [4.0] * 3},
        {"type": "translation", "translation": [at] * 3},
    ]
    entry: Any = {
        "axes": [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"],
        "datasets": [{"path": "s0", "coordinateTransformations": steps}],
    }
    zarr.open_group(path, attributes={"ome": {"multiscales": [entry]}})
    return str(path)


@pytest.mark.parametrize(("at", "fits"), [(8000, True), (8002, True), (8004, False), (8028, False)])
def test_the_place_is_that_of_the_data_before_they_are_averaged(
    tmp_path: Path, at: float, fits: bool
) -> None:
    path = image(tmp_path / "raw.zarr", at)
    if fits:
        open_raw(path, Acquired()).close()
    else:
        with pytest.raises(WrongUse, match="expected the same place"):
            open_raw(path, Acquired())


def test_a_mask_lies_where_the_dataset_does(tmp_path: Path) -> None:
    raw = tmp_path / "raw.npy"
    np.save(raw, np.ones((16, 16, 16), np.uint8))
    masked = replace(Acquired(), absent_mask=True)
    open_raw(str(raw), masked, mask=image(tmp_path / "here.zarr", 8000)).close()
    with pytest.raises(WrongUse, match=r"absent mask must fit raw: .*far\.zarr.* begins at"):
        open_raw(str(raw), masked, mask=image(tmp_path / "far.zarr", 0))


def test_what_is_averaged_beside_a_mask_needs_the_mask(tmp_path: Path) -> None:
    path = image(tmp_path / "raw.zarr", 8000)
    with pytest.raises(WrongUse, match="expected raw and mask together"):
        open_raw(path, replace(Acquired(), absent_mask=True))


def test_while_a_volume_may_go_on_its_slices_fill_windows(tmp_path: Path) -> None:
    path = image(tmp_path / "raw.zarr", 8000, (15, 16, 16))
    open_raw(path, Acquired()).close()
    with pytest.raises(WrongUse, match="has 15 slices; expected a multiple of 8"):
        open_raw(path, Acquired(), ended=False)

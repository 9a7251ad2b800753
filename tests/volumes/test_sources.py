"""What a path selects, how a source is named, which voxel size holds, and gaps in slices."""

from pathlib import Path

import numpy as np
import pytest

from fibstream.core.errors import WrongUse
from fibstream.volumes.lengths import unit_nm
from fibstream.volumes.sources import open_volume
from fibstream.volumes.zarr_n5.selection import Kind

from .writers import SIZE, VOLUME, assert_equal, dataset, fault, multiscale, npz, tiff


@pytest.mark.parametrize(
    ("kind", "things", "name"),
    [
        ("raw", ("raw", "labels/mito"), "raw/s0"),
        ("labels", ("raw", "labels/mito"), "labels/mito/s0"),
        ("prediction", ("predictions/mito",), "predictions/mito/s0"),
        ("any", ("labels/er",), "labels/er/s0"),
        ("any", ("", "labels/er"), "s0"),
        ("labels", ("", "labels/er"), "labels/er/s0"),
        ("any", ("whatever",), "whatever/s0"),
    ],
)
def test_a_dataset_selects_its_only_volume_of_a_kind(
    kind: Kind, things: tuple[str, ...], name: str, tmp_path: Path
) -> None:
    path = dataset(tmp_path / "d.zarr", things)
    if kind == "prediction":
        with pytest.raises(WrongUse, match=r"predictions/mito/s0 has dtype uint16; expected uint8"):
            open_volume(path, kind=kind)
        return
    source = open_volume(path, kind=kind)
    assert source.name == f"{path}#{name}"
    assert source.voxel_size_nm == SIZE
    assert_equal(source)


def test_a_source_has_the_name_that_the_user_wrote(tmp_path: Path) -> None:
    assert open_volume(npz(tmp_path)).name == str(tmp_path / "v.npz#a")
    assert open_volume(npz(tmp_path) + "#a").name == str(tmp_path / "v.npz#a")
    path = multiscale(tmp_path / "a#b.zarr")
    assert open_volume(path).name == f"{path}#s0"
    assert open_volume(path + "/s0").name == f"{path}/s0"
    assert open_volume(path + "#s0").name == f"{path}#s0"


@pytest.mark.parametrize(
    ("given", "ok"),
    [(SIZE, True), ((8.07, 3.97, 5.0), True), ((8, 4, 5.1), False), ((5, 4, 8), False)],
)
def test_a_given_voxel_size_may_differ_by_one_per_cent(
    given: tuple[float, float, float], ok: bool, tmp_path: Path
) -> None:
    path = npz(tmp_path)
    if ok:
        assert open_volume(path, voxel_size_nm=given).voxel_size_nm == given
    else:
        line = fault(path, voxel_size_nm=given)
        assert "8,4,5 nm" in line
        assert ",".join(f"{edge:g}" for edge in given) in line


@pytest.mark.parametrize("bad", [0, -1, np.nan, np.inf])
def test_an_impossible_voxel_size_is_refused(bad: float, tmp_path: Path) -> None:
    own = npz(tmp_path, a=VOLUME, voxel_size_nm_zyx=(8, bad, 5))
    assert "give --voxel-size-nm" in fault(own)
    assert open_volume(own, voxel_size_nm=SIZE).voxel_size_nm == SIZE
    assert "expected three lengths" in fault(own, voxel_size_nm=(8, bad, 5))


@pytest.mark.parametrize(
    ("unit", "length"),
    [
        ("nm", 1), ("Nanometers", 1), ("µm", 1e3), ("μm", 1e3), ("\\u00B5m", 1e3),
        ("micron", 1e3), ("microns", 1e3), ("micrometre", 1e3), ("Å", 0.1), ("angstrom", 0.1),
        ("mm", 1e6), ("meter", 1e9), ("pixel", None), ("inch", None), ("", None), (None, None),
    ],
)  # fmt: skip
def test_units_of_length(unit: str | None, length: float | None) -> None:
    assert unit_nm(unit) == length


@pytest.mark.parametrize(
    ("numbers", "missing"),
    [
        ((1, 2, 3, 5, 6), "1 of 6 slices is missing, between s3.tif and s5.tif: "),
        ((0, 1, 2, 3), None),
        ((0, 2, 4, 6), "slices are numbered in steps of 2: "),
        ((7, 8, 9, 20), "10 of 14 slices are missing, the first between s9.tif and s20.tif: "),
    ],
)
def test_a_gap_in_the_numbers_of_slices_is_noted(
    numbers: tuple[int, ...], missing: str | None, tmp_path: Path
) -> None:
    for number in numbers:
        tiff(tmp_path, VOLUME[0], name=f"s{number}.tif")
    notes = open_volume(str(tmp_path), kind="raw", voxel_size_nm=SIZE).notes
    if missing is None:
        assert notes == ()
    else:
        (note,) = notes
        assert note.startswith(missing)

"""Light images and predictions from files: size and place as stated, or one line that says why."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from fibstream.core.errors import WrongUse
from fibstream.core.pyramid import windows_mean
from fibstream.services.registration.edges.images import read_light, read_prediction

from ..volumes.writers import array, npy, tiff

RNG = np.random.default_rng(3)
STACK = RNG.integers(90, 400, (8, 20, 24)).astype(np.uint16)
SIZE = (125.0, 40.0, 42.0)
FLAG = "give --light-voxel-nm Z,Y,X"


def ngff(
    path: Path, voxels: np.ndarray = STACK, unit: str | None = "nanometer", **more: Any
) -> str:
    size, place = more.get("size", SIZE), more.get("place", (0.0, 0.0, 0.0))
    axes = [{"name": n, "type": "space"} | ({"unit": unit} if unit else {}) for n in "zyx"]
    levels = []
    for level in range(more.get("levels", 1)):
        scale = [s * 2**level for s in size]
        moves = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": place}]
        levels.append({"path": f"s{level}", "coordinateTransformations": moves})
    ome = {"version": "0.5", "multiscales": [{"name": "l", "axes": axes, "datasets": levels}]}
    zarr.create_group(path, zarr_format=3, attributes={"ome": ome})
    for level in range(len(levels)):
        factor = 2**level
        array(path / f"s{level}", windows_mean(voxels, (factor,) * 3), chunks=(8, 8, 8))
    return str(path)


def nrrd(path: Path, voxels: np.ndarray = STACK, unit: str = '"nm" "nm" "nm"') -> str:
    z, y, x = SIZE
    lines = [
        "NRRD0005", "type: uint16", "dimension: 3", "encoding: raw", "endian: little",
        f"sizes: {' '.join(map(str, voxels.shape[::-1]))}", f"spacings: {x} {y} {z}",
        *([f"units: {unit}"] if unit else []),
    ]  # fmt: skip
    path.write_bytes(("\n".join(lines) + "\n\n").encode() + voxels.tobytes())
    return str(path)


def ome_tiff(path: Path, voxels: np.ndarray = STACK, **units: str) -> str:
    z, y, x = SIZE
    named = {f"PhysicalSize{a}Unit": units.get("unit", "nm") for a in "XYZ"}
    meta = {"axes": "ZYX", "PhysicalSizeX": x, "PhysicalSizeY": y, "PhysicalSizeZ": z, **named}
    tifffile.imwrite(path, voxels, ome=True, metadata=meta)
    return str(path)


FORMS: dict[str, tuple[Any, str]] = {
    "ngff": (ngff, "l.zarr"),
    "nrrd": (nrrd, "l.nrrd"),
    "ome": (ome_tiff, "l.ome.tif"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_light_image_has_the_units_that_its_file_states(form: str, tmp_path: Path) -> None:
    write, name = FORMS[form]
    found = read_light(write(tmp_path / name)).image
    assert np.array_equal(found.voxels, STACK)
    assert found.voxel_nm == pytest.approx(SIZE)
    assert found.corner_nm == pytest.approx([-s / 2 for s in SIZE])


def test_other_formats_take_the_units_of_the_flag(tmp_path: Path) -> None:
    for path in (tiff(tmp_path, STACK), npy(tmp_path, STACK)):
        assert read_light(path, SIZE).image.voxel_nm == SIZE
        with pytest.raises(WrongUse, match=f"has no voxel size; {FLAG}"):
            read_light(path)


def test_the_place_is_that_of_the_first_centre(tmp_path: Path) -> None:
    path = ngff(tmp_path / "l.zarr", place=(1000.0, -300.0, 62.0))
    assert read_light(path).image.corner_nm == pytest.approx((937.5, -320.0, 41.0))


def test_a_size_without_a_unit_is_refused_unless_the_flag_states_it(tmp_path: Path) -> None:
    bare = array(tmp_path / "bare.zarr", STACK, attributes={"resolution": list(SIZE)})
    for path, why in ((ngff(tmp_path / "l.zarr", unit=None), "no voxel size"), (bare, "no unit")):
        with pytest.raises(WrongUse, match=f"has {why}; {FLAG}"):
            read_light(path)
        assert read_light(path, (250.0, 80.0, 84.0)).image.voxel_nm == (250.0, 80.0, 84.0)


def test_two_sizes_that_differ_are_refused_and_another_than_the_stated_one(tmp_path: Path) -> None:
    import zarr

    path = ngff(tmp_path / "l.zarr")
    zarr.open_group(path, mode="r+")["s0"].attrs.update(
        {"transform": {"axes": ["z", "y", "x"], "scale": [100, 40, 40], "units": ["nm"] * 3}}
    )
    with pytest.raises(WrongUse, match=f"several voxel sizes, .*100,40,40 nm; {FLAG}"):
        read_light(path)
    assert read_light(path, (100.0, 40.0, 40.0)).image.voxel_nm == (100.0, 40.0, 40.0)
    with pytest.raises(WrongUse, match="but 90,40,40 nm was given"):
        read_light(path, (90.0, 40.0, 40.0))


def floats(change: Any) -> np.ndarray:
    voxels = STACK.astype(np.float32)
    voxels[2, 3, 4] = change
    return voxels


WRONG: dict[str, tuple[np.ndarray, str]] = {
    "flat": (np.full((8, 9, 9), 7, np.uint16), "flat, every voxel is 7"),
    "empty": (np.zeros((8, 9, 9), np.uint16), "flat, every voxel is 0"),
    "nan": (floats(np.nan), "holds NaN or infinity"),
    "infinite": (floats(np.inf), "holds NaN or infinity"),
    "plane": (STACK[:1], "a single plane; expected a stack"),
    "two axes": (STACK[0], "expected three axes"),
    "thin": (STACK[:3], "expected at least 4 an axis"),
    "double": (STACK.astype(np.float64), "float64; expected"),
    "labels": (STACK.astype(np.uint64), "expected uint8, int8"),
    "complex": (STACK.astype(np.complex64), "complex64; expected"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_cannot_be_registered_is_refused_in_one_line(fault: str, tmp_path: Path) -> None:
    voxels, why = WRONG[fault]
    with pytest.raises(WrongUse, match=why) as raised:
        read_light(npy(tmp_path, voxels), SIZE)
    assert "\n" not in str(raised.value)
    assert str(tmp_path) in str(raised.value)


@pytest.mark.parametrize("size", [(125.0, 0.5, 40.0), (9000.0, 40.0, 40.0)])
def test_units_that_no_light_microscope_has_are_refused(size: Any, tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="1 to 5000"):
        read_light(npy(tmp_path, STACK), size)


def test_several_channels_in_one_array_are_refused(tmp_path: Path) -> None:
    import zarr

    z, y, x = SIZE
    two = np.stack([STACK, STACK[::-1]])
    meta = {"axes": "CZYX", "PhysicalSizeX": x, "PhysicalSizeY": y, "PhysicalSizeZ": z}
    tifffile.imwrite(tmp_path / "two.ome.tif", two, ome=True, metadata=meta)
    axes = [
        {"name": n, "type": t} for n, t in zip("czyx", ["channel"] + ["space"] * 3, strict=True)
    ]
    scale = [{"type": "scale", "scale": [1.0, *SIZE]}]
    image = {"axes": axes, "datasets": [{"path": "s0", "coordinateTransformations": scale}]}
    ome = {"version": "0.5", "multiscales": [image]}
    zarr.create_group(tmp_path / "two.zarr", zarr_format=3, attributes={"ome": ome})
    array(tmp_path / "two.zarr/s0", two, chunks=(1, 8, 8, 8))
    for name in ("two.ome.tif", "two.zarr"):
        with pytest.raises(WrongUse, match=r"expected \(z, y, x\)") as raised:
            read_light(str(tmp_path / name), SIZE)
        assert "\n" not in str(raised.value)


BYTES = RNG.integers(60, 200, (64, 96, 128)).astype(np.uint8)


@pytest.mark.parametrize("levels", [1, 2, 3, 5])
def test_a_prediction_is_read_at_64_nm_wherever_its_pyramid_ends(
    levels: int, tmp_path: Path
) -> None:
    path = ngff(tmp_path / "p.zarr", BYTES, size=(8.0, 8.0, 8.0), levels=levels, place=(4.0,) * 3)
    found = read_prediction(path).image
    assert found.voxel_nm == (64.0, 64.0, 64.0)
    assert found.corner_nm == (0.0, 0.0, 0.0)  # though all levels state the place of the finest
    assert found.voxels.shape == (8, 12, 16)
    truth = windows_mean(BYTES, (8, 8, 8)).astype(int)
    assert np.abs(found.voxels.astype(int) - truth).max() <= 1  # means of rounded means


def test_uneven_voxels_are_averaged_along_the_finer_axes(tmp_path: Path) -> None:
    path = ngff(tmp_path / "p.zarr", BYTES, size=(40.0, 16.0, 30.0), levels=1)
    found = read_prediction(path).image
    assert found.voxel_nm == (40.0, 64.0, 60.0)
    assert np.array_equal(found.voxels, windows_mean(BYTES, (1, 4, 2)))


def test_a_coarser_prediction_is_taken_as_it_is_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = ngff(tmp_path / "p.zarr", BYTES, size=(100.0, 100.0, 100.0), levels=2)
    assert read_prediction(path).image.voxel_nm == (100.0, 100.0, 100.0)
    assert "coarser than 64 nm" in caplog.text


@pytest.mark.parametrize("length", [50.0, 20.0])
def test_a_window_meant_for_other_distances_has_its_word(
    length: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = ngff(tmp_path / "p.zarr", BYTES, size=(64.0, 64.0, 64.0), levels=1)
    group = zarr.open_group(path.partition("#")[0], mode="a")
    for node in (group, group["s0"]):
        node.attrs["squash_nm"] = length
    read_prediction(path)
    assert ("divided by 20 nm; the window is meant for 50 nm" in caplog.text) == (length == 20.0)


def test_what_is_no_prediction_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="expected uint8 for a prediction"):
        read_prediction(ngff(tmp_path / "p.zarr"))

"""Plain Zarr arrays: attributes for axes and voxel size; the display and labels of images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from .layouts import SIZE, VOLUME, assert_holds, opened
from .ngff import EDGES, VERSIONS, along, group, image, put

TRANSFORM = {"axes": ["z", "y", "x"], "units": ["nm"] * 3, "scale": list(SIZE)}


@pytest.mark.parametrize("names", ["zyx", "xyz", "xzy"])
def test_arrays_that_name_their_dimensions(names: str, tmp_path: Path) -> None:
    attributes = {"resolution": [EDGES[name] for name in names]}
    put(tmp_path / "a", along(names), attributes=attributes, dimension_names=list(names))
    assert_holds(opened(tmp_path / "a"))
    put(tmp_path / "b", along(names), 2, attributes=attributes | {"_ARRAY_DIMENSIONS": list(names)})
    assert_holds(opened(tmp_path / "b"))


def test_names_that_are_no_axes_are_ignored(tmp_path: Path) -> None:
    put(tmp_path / "a", VOLUME, attributes={"resolution": SIZE}, dimension_names=["a", None, "x"])
    assert_holds(opened(tmp_path / "a"))


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_transform_names_axes_in_its_order(order: str, tmp_path: Path) -> None:
    names = "xyz"
    turned = names if order == "C" else names[::-1]
    stated = {"axes": list(names), "scale": list(SIZE[::-1]), "units": ["nm"] * 3, "order": order}
    put(tmp_path / "a", along(turned), attributes={"transform": stated})
    assert_holds(opened(tmp_path / "a"))


@pytest.mark.parametrize("version", VERSIONS)
def test_pixels_are_x_first_in_zarr_too(version: int, tmp_path: Path) -> None:
    pixels = {"pixelResolution": {"dimensions": list(SIZE[::-1]), "unit": "nm"}}
    assert_holds(opened(put(tmp_path / "a", VOLUME, version, attributes=pixels)))
    both = pixels | {"transform": TRANSFORM}
    source = opened(put(tmp_path / "b", VOLUME, version, attributes=both))
    assert_holds(source)
    assert not source.notes


@pytest.mark.parametrize("word", ["pixelResolution", "resolution"])
def test_factors_are_in_the_order_of_the_store(word: str, tmp_path: Path) -> None:
    sizes = [2, 4, 5] if word == "resolution" else [5, 4, 2]
    stated = {word: {"dimensions": sizes, "unit": "nm"}, "downsamplingFactors": [4, 1, 1]}
    assert_holds(opened(put(tmp_path / "a", VOLUME, attributes=stated)))


def test_multiscales_are_trusted_before_the_array_and_a_difference_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = image(tmp_path / "v")
    zarr.open_array(str(path / "0")).attrs["resolution"] = [4, 4, 4]
    assert_holds(opened(path))
    (record,) = caplog.records
    assert "multiscales says 8,4,5 nm, but resolution 4,4,4 nm; the first" in record.getMessage()
    assert_holds(opened(path, voxel_size_nm=(4, 4, 4)), size=(4, 4, 4))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("inverted", [False, True])
def test_omero_states_the_window(
    version: int, inverted: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    window = {"start": 120.0, "end": 900.0, "min": 0, "max": 65535}
    channels = [{"color": "FFFFFF", "window": window, "inverted": inverted, "active": True}]
    source = opened(image(tmp_path / "v", version, omero={"channels": channels}), kind="raw")
    assert_holds(source)  # voxels are what they are
    assert source.display.window == (120, 900)
    assert source.display.inverted == inverted
    assert ("--invert" in caplog.text) == inverted


def test_contrast_adjustment_states_the_window(tmp_path: Path) -> None:
    for name, low, high in (("a", 100, 900), ("b", 900, 100)):
        stated = {"resolution": SIZE, "contrastAdjustment": {"min": low, "max": high}}
        source = opened(put(tmp_path / name, VOLUME, attributes=stated), kind="raw")
        assert source.display.window == (100, 900)
        assert source.display.inverted == (name == "b")


@pytest.mark.parametrize("omero", [None, {}, {"channels": []}, {"channels": [{"window": 3}]}, "x"])
def test_omero_without_a_window(omero: object, tmp_path: Path) -> None:
    source = opened(image(tmp_path / "v", omero=omero), kind="raw")
    assert source.display.window is None
    assert not source.display.inverted


@pytest.mark.parametrize("version", VERSIONS)
def test_labels_of_an_image(version: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = image(tmp_path / "v", version)
    group(path / "labels", version, labels=["mito"])
    marked: dict[str, Any] = {"image-label": {}}
    image(path / "labels" / "mito", version, volume=VOLUME.astype(np.uint32), **marked)
    assert_holds(opened(path, kind="raw"))
    labels = opened(path, kind="labels")
    assert labels.name == f"{path}#labels/mito/0"
    assert_holds(labels, VOLUME.astype(np.uint32))
    assert not caplog.records


def test_labels_read_as_raw_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    marked: dict[str, Any] = {"image-label": {"version": "0.5"}}
    path = image(tmp_path / "v", **marked)
    assert_holds(opened(path, kind="raw"))
    assert "marked as labels" in caplog.text

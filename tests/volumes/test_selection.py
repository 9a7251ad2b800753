"""Which array of nested groups is selected."""

from contextlib import nullcontext
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import zarr

from fibstream.core.errors import WrongUse
from fibstream.volumes.zarr_n5.hierarchy import Hierarchy
from fibstream.volumes.zarr_n5.selection import Kind, select_array

from .layouts import SIZE, VOLUME, assert_holds, opened
from .ngff import VERSIONS, group, image, put


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["raw", "any"])
def test_any_nesting_is_searched(kind: Kind, version: int, tmp_path: Path) -> None:
    path = tmp_path / "d.zarr"
    for inner in ("", "recon-1", "recon-1/em"):
        group(path / inner, version, bare=True)
    image(path / "recon-1/em/fibsem-uint16", version)
    source = opened(path, kind=kind)
    assert source.name == f"{path}#recon-1/em/fibsem-uint16/0"
    assert_holds(source)


def test_an_image_of_bioformats2raw(tmp_path: Path) -> None:
    path = group(tmp_path / "d.zarr", 2, bare=True, **{"bioformats2raw.layout": 3})
    group(path / "OME", 2, bare=True, series=["0"])
    image(path / "0", 2)
    assert_holds(opened(path))
    image(path / "1", 2)
    with pytest.raises(WrongUse, match=r"more than one array; give one of .*#0, .*#1$"):
        opened(path)


def test_choices_are_named_by_paths_that_the_user_can_give(tmp_path: Path) -> None:
    path = group(tmp_path / "d.zarr", bare=True)
    group(path / "a", bare=True)
    for name in "bc":
        image(path / "a" / name)
    with pytest.raises(WrongUse, match=r"d\.zarr#a/b, .*d\.zarr#a/c$"):
        opened(path)
    with pytest.raises(WrongUse, match=r"d\.zarr#a/b, .*d\.zarr#a/c$"):
        opened(f"{path}#a")


def test_nesting_has_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "d.zarr"
    inner = "/".join("abcdefghij")
    for depth in range(11):
        group(path / inner[: 2 * depth].rstrip("/"), bare=True)
    put(path / inner / "s0", VOLUME)
    with pytest.raises(WrongUse, match=r"holds no array|nests more than"):
        opened(path, voxel_size_nm=SIZE)
    assert_holds(opened(f"{path}#{inner}", voxel_size_nm=SIZE))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("form", ["labels", "consolidated", "bioformats2raw"])
def test_where_nothing_is_listed_metadata_name_what_a_group_holds(
    form: str, version: int, tmp_path: Path
) -> None:
    """A bucket is not listed; a hierarchy whose root is a folder is not either."""
    path = tmp_path / "d.zarr"
    more = {"bioformats2raw.layout": 3} if form == "bioformats2raw" else {}
    group(path, version, bare=version == 2, **more)
    inner = {"labels": "labels/mito", "consolidated": "deep/em", "bioformats2raw": "0"}[form]
    if form != "bioformats2raw":
        named: dict[str, Any] = {"labels": ["mito"]} if form == "labels" else {}
        group(path / Path(inner).parent, version, **named)
    image(path / inner, version)
    if form == "consolidated":
        with pytest.warns(UserWarning) if version == 3 else nullcontext():
            zarr.consolidate_metadata(str(path))
            zarr.consolidate_metadata(str(path / "deep"))
    hierarchy = Hierarchy(f"file://{tmp_path}/")
    assert not hierarchy.local
    root = hierarchy.node(PurePosixPath("d.zarr"))
    assert root is not None
    found = select_array(hierarchy, root, "d", "labels" if form == "labels" else "any")
    assert found.key == PurePosixPath("d.zarr", inner, "0")


@pytest.mark.parametrize("kind", ["raw", "prediction", "labels", "any"])
def test_the_image_of_a_dataset_is_no_choice_for_what_else_it_holds(
    kind: Kind, tmp_path: Path
) -> None:
    """The root shows the levels of raw: whoever asks for labels or a prediction must not get raw.

    A choice of several arrays stays one, as it is where the root shows nothing.
    """
    path = group(tmp_path / "d.zarr", bare=True)
    for inner, names in (("labels", ["mito"]), ("predictions", ["mito", "er"])):
        group(path / inner, bare=True)
        for name in names:
            image(path / inner / name)
    own: Any = zarr.open_group(image(path / "raw"), mode="r").attrs["ome"]
    levels = [{**d, "path": f"raw/{d['path']}"} for d in own["multiscales"][0]["datasets"]]
    shown = {**own, "multiscales": [{**own["multiscales"][0], "datasets": levels}]}
    zarr.open_group(path, mode="r+").attrs["ome"] = shown
    if kind in ("prediction", "any"):
        wanted = "array" if kind == "any" else kind
        with pytest.raises(WrongUse, match=f"holds more than one {wanted}"):
            opened(path, kind=kind)
        return
    found = opened(path, kind=kind)
    assert found.name == f"{path}#{'raw' if kind == 'raw' else 'labels/mito'}/0"
    assert found.voxel_size_nm == SIZE

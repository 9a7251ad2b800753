"""OME-NGFF: axes in any order, units, scales, levels, and malformed metadata."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr.codecs import BytesCodec

from fibstream.core.errors import WrongUse
from fibstream.volumes.zarr_n5.arrays import open_hierarchy

from .layouts import SIZE, VOLUME, assert_holds, opened
from .ngff import DOUBLED, UNITS, VERSIONS, along, axes, group, image, put, scale, shift

NUMBER = itertools.count()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "names", ["zyx", "xyz", "yxz", "zxy", "tzyx", "czyx", "tczyx", "zyxc", "xyzct", "zcyx"]
)
def test_axes_in_any_order(names: str, version: int, tmp_path: Path) -> None:
    path = image(tmp_path / "v.zarr", version, names)
    assert_holds(opened(path))
    assert_holds(opened(path / "0"))
    assert_holds(opened(f"{path}#1"), VOLUME[::2, ::2, ::2], DOUBLED)


@pytest.mark.parametrize("names", ["xyz", "zyxc"])
def test_a_watched_array_has_to_have_z_first(names: str, tmp_path: Path) -> None:
    path = image(tmp_path / "v.zarr", 3, names)
    with pytest.raises(WrongUse, match=rf"v has axes \({', '.join(names)}\); expected \(z, y, x\)"):
        open_hierarchy(f"file://{path}", "v", "raw", growing=True)
    found = open_hierarchy(
        f"file://{image(tmp_path / 'w.zarr', 3, 'tczyx')}", "w", "raw", growing=True
    )
    assert found is not None
    assert found.shape == VOLUME.shape
    assert found.voxel_size_nm == SIZE


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("unit", "length"), UNITS.items())
def test_units(unit: str, length: float, version: int, tmp_path: Path) -> None:
    steps = [scale(*(edge / length for edge in SIZE))]
    assert_holds(opened(image(tmp_path / "v", version, unit=unit, steps=steps)))


def test_units_of_each_axis(tmp_path: Path) -> None:
    path = image(tmp_path / "v", 2, steps=[scale(8, 0.004, 50)])
    store = zarr.open_group(str(path))
    stated: Any = store.attrs["multiscales"]
    for axis, unit in zip(stated[0]["axes"], ["nanometer", "micrometer", "angstrom"], strict=True):
        axis["unit"] = unit
    store.attrs["multiscales"] = stated
    assert_holds(opened(path))


@pytest.mark.parametrize(
    ("steps", "outer"),
    [
        ([scale(2, 2, 2)], [scale(4, 2, 2.5)]),
        ([scale(2, 2, 2), scale(4, 2, 2.5)], None),
        ([scale(8, 4, 5), shift(-9, 0, 70)], [{"type": "identity"}, shift(1, 2, 3)]),
        ([{"type": "identity"}], [scale(8, 4, 5)]),
    ],
)
def test_all_scales_count_and_translations_do_not(
    steps: list[dict[str, Any]] | None, outer: list[dict[str, Any]] | None, tmp_path: Path
) -> None:
    assert_holds(opened(image(tmp_path / "v", steps=steps, outer=outer)))


UNKNOWN: dict[str, tuple[dict[str, Any], str]] = {
    "no unit": ({"unit": None}, "along z is without a unit"),
    "pixel": ({"unit": "pixel"}, "along z is in the unit 'pixel'"),
    "inch": ({"unit": "inch"}, "along z is in the unit 'inch'"),
    "no scale": ({"steps": [shift(1, 2, 3)]}, "it has no scale"),
    "short scale": ({"steps": [scale(4)]}, "not one number for each of 3 axes"),
    "scale in a file": ({"steps": [{"type": "scale", "path": "s"}]}, "not one number"),
    "zero": ({"steps": [scale(8, 0, 5)]}, "its scale holds 0"),
    "negative": ({"steps": [scale(8, 4, -5)]}, "its scale holds -5"),
    "two negatives": ({"steps": [scale(8, 4, -5)], "outer": [scale(1, 1, -1)]}, "holds -5"),
    "text": ({"steps": [scale(8, "4", 5)]}, "its scale holds '4'"),  # type: ignore[arg-type]
    "not a number": ({"steps": [scale(8, 4, float("nan"))]}, "along x is nan"),
    "infinite": ({"steps": [scale(8, 4, float("inf"))]}, "along x is inf"),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unusable_size_is_reported_with_its_reason(
    name: str, version: int, tmp_path: Path
) -> None:
    options, why = UNKNOWN[name]
    path = image(tmp_path / "v.zarr", version, **options)
    with pytest.raises(WrongUse, match="no voxel size; give --voxel-size-nm Z,Y,X") as raised:
        opened(path)
    assert "(multiscales: " in str(raised.value)
    assert why in str(raised.value)
    assert_holds(opened(path, voxel_size_nm=SIZE))


MALFORMED = {
    "no list": {"datasets": []}, "no datasets": [{"axes": []}], "no path": [{"datasets": [{}]}],
    "text": "em", "of text": ["em"],
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_multiscales_are_one_line(name: str, tmp_path: Path) -> None:
    path = group(tmp_path / "v.zarr", multiscales=MALFORMED[name])
    put(path / "0", VOLUME)
    with pytest.raises(WrongUse, match=r"v\.zarr.* cannot be read: multiscales.*: expected"):
        opened(path)


def test_a_channel_axis_of_two_is_refused_by_name(tmp_path: Path) -> None:
    path = group(tmp_path / "v", multiscales=[{"axes": axes("czyx"), "datasets": [{"path": "0"}]}])
    put(path / "0", np.stack([VOLUME] * 2))
    with pytest.raises(WrongUse, match=r"shape \(2, 5, 6, 7\) with axes \(c, z, y, x\).*1 along c"):
        opened(path, voxel_size_nm=SIZE)


@pytest.mark.parametrize(
    "stated",
    [
        ["z", "y", "x"],  # 0.3
        None,  # 0.1 and 0.2 have no axes: t, c, z, y, x
    ],
)
def test_older_versions_have_no_units(stated: list[str] | None, tmp_path: Path) -> None:
    entry = {"version": "0.3", "datasets": [{"path": "0"}]} | ({"axes": stated} if stated else {})
    path = group(tmp_path / "v", 2, multiscales=[entry])
    put(path / "0", VOLUME if stated else VOLUME[None, None], 2)
    with pytest.raises(WrongUse, match="no voxel size"):
        opened(path)
    assert_holds(opened(path, voxel_size_nm=SIZE))


@pytest.mark.parametrize("place", ["/0", "./0", "0/"])
def test_paths_of_levels_are_below_the_group(place: str, tmp_path: Path) -> None:
    entry = {
        "axes": axes(),
        "datasets": [{"path": place, "coordinateTransformations": [scale(*SIZE)]}],
    }
    path = group(tmp_path / "v", multiscales=[entry])
    put(path / "0", VOLUME)
    assert_holds(opened(path))


def test_the_second_image_of_a_group_has_a_size_too(tmp_path: Path) -> None:
    def entry(name: str) -> dict[str, Any]:
        steps = [scale(*(SIZE if name == "b" else DOUBLED))]
        return {"axes": axes(), "datasets": [{"path": name, "coordinateTransformations": steps}]}

    path = group(tmp_path / "v", multiscales=[entry("a"), entry("b")])
    put(path / "a", VOLUME[::2])
    put(path / "b", VOLUME)
    assert_holds(opened(path), VOLUME[::2], DOUBLED)
    assert_holds(opened(path / "b"))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=st.data(),
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    dtype=st.sampled_from(["u1", "i1", "<u2", ">u2", "<i2", ">i2", "<f4", ">f4"]),
    names=st.permutations("zyx").flatmap(
        lambda inner: st.sampled_from(["", "t", "c", "tc"]).map(lambda lead: lead + "".join(inner))
    ),
    unit=st.sampled_from(sorted(UNITS)),
    version=st.sampled_from(VERSIONS),
)
def test_what_is_written_is_read(
    data: st.DataObject,
    seed: int,
    shape: tuple[int, int, int],
    dtype: str,
    names: str,
    unit: str,
    version: int,
    tmp_path: Path,
) -> None:
    volume = np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)
    stored = along(names, volume)
    size = data.draw(st.tuples(*[st.floats(0.5, 500)] * 3))
    factor = data.draw(st.sampled_from([1.0, 0.5, 4.0]))
    sizes = dict(zip("zyx", size, strict=True))
    inner = [sizes[n] / UNITS[unit] / factor if n in sizes else 1.0 for n in names]
    outer = [factor if n in sizes else 1.0 for n in names]
    entry = {
        "axes": axes(names, unit), "coordinateTransformations": [scale(*outer)],
        "datasets": [{"path": "s", "coordinateTransformations": [scale(*inner)]}],
    }  # fmt: skip
    path = group(tmp_path / f"{next(NUMBER)}", version, multiscales=[entry])
    options: dict[str, Any] = {"order": data.draw(st.sampled_from("CF"))} if version == 2 else {}
    if version == 3 and dtype.startswith(">"):
        options["serializer"] = BytesCodec(endian="big")
    chunks = tuple(data.draw(st.integers(1, edge)) for edge in stored.shape)
    put(path / "s", stored, version, chunks=chunks, **options)
    assert_holds(opened(path, kind="raw"), volume, size)

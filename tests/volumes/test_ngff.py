"""OME-NGFF and plain Zarr: axes in any order, units, scales, labels, nesting, what disagrees."""

import itertools
from contextlib import nullcontext
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fibstream.core.errors import WrongUse
from fibstream.volumes.zarr_n5.arrays import open_hierarchy
from fibstream.volumes.zarr_n5.hierarchy import Hierarchy
from fibstream.volumes.zarr_n5.selection import select_array

from .fields import SIZE, VOLUME, assert_holds, opened

EDGES = dict(zip("zyx", SIZE, strict=True))
DOUBLED = tuple(2 * edge for edge in SIZE)
UNITS = {"nanometer": 1.0, "micrometer": 1e3, "angstrom": 0.1, "millimeter": 1e6, "picometer": 1e-3}
NUMBER = itertools.count()
VERSIONS = [2, 3]  # of Zarr: OME-NGFF 0.4 and 0.5


def axes(names="zyx", unit="nanometer") -> list[dict]:
    kinds = {"t": {"type": "time", "unit": "second"}, "c": {"type": "channel"}}
    space = {"type": "space"} | ({"unit": unit} if unit else {})
    return [{"name": name} | kinds.get(name, space) for name in names]


def scale(*sizes: float) -> dict:
    return {"type": "scale", "scale": list(sizes)}


def shift(*lengths: float) -> dict:
    return {"type": "translation", "translation": list(lengths)}


def along(names: str, volume=VOLUME):
    """The volume with its axes in another order; what is not z, y or x has length one."""
    inner = [name for name in names if name in "zyx"]
    turned = volume.transpose(["zyx".index(name) for name in inner])
    return np.expand_dims(turned, [n for n, name in enumerate(names) if name not in "zyx"])


def put(path, volume, version=3, **options) -> Path:
    options = {"chunks": tuple(max(1, n // 2) for n in volume.shape)} | options
    made = zarr.create_array(
        str(path), shape=volume.shape, dtype=volume.dtype, zarr_format=version, **options
    )
    made[...] = volume
    return Path(path)


def group(path, version=3, bare=False, **attributes) -> Path:
    stated = {"ome": {"version": "0.5"} | attributes} if version == 3 and not bare else attributes
    zarr.create_group(str(path), zarr_format=version, attributes=stated)
    return Path(path)


def image(
    path, version=3, names="zyx", unit="nanometer", volume=VOLUME, steps=None, outer=None, **more
):
    """A multiscale image of two levels, with translations as means have them."""
    one = [EDGES.get(name, 1.0) for name in names]
    levels = []
    for number in range(2):
        factors = [2**number if name in "zyx" else 1 for name in names]
        size = [edge * factor for edge, factor in zip(one, factors, strict=True)]
        moved = [edge * (factor - 1) / 2 for edge, factor in zip(one, factors, strict=True)]
        levels.append(
            {
                "path": str(number),
                "coordinateTransformations": steps or [scale(*size), shift(*moved)],
            }
        )
    stated = {"axes": axes(names, unit), "datasets": levels, "name": "em", "version": "0.4"}
    stated |= {"coordinateTransformations": outer} if outer else {}
    group(path, version, multiscales=[stated], **more)
    separator = {"chunk_key_encoding": {"name": "v2", "separator": "/"}} if version == 2 else {}
    put(path / "0", along(names, volume), version, **separator)
    put(path / "1", along(names, volume[::2, ::2, ::2]), version)
    return path


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "names", ["zyx", "xyz", "yxz", "zxy", "tzyx", "czyx", "tczyx", "zyxc", "xyzct", "zcyx"]
)
def test_axes_in_any_order(names, version, tmp_path):
    path = image(tmp_path / "v.zarr", version, names)
    assert_holds(opened(path))
    assert_holds(opened(path / "0"))
    assert_holds(opened(f"{path}#1"), VOLUME[::2, ::2, ::2], DOUBLED)


@pytest.mark.parametrize("names", ["xyz", "zyxc"])
def test_who_watches_an_array_grow_refuses_other_orders(names, tmp_path):
    path = image(tmp_path / "v.zarr", 3, names)
    with pytest.raises(WrongUse, match=rf"v has axes \({', '.join(names)}\); expected \(z, y, x\)"):
        open_hierarchy(f"file://{path}", "v", "raw")
    found = open_hierarchy(f"file://{image(tmp_path / 'w.zarr', 3, 'tczyx')}", "w", "raw")
    assert found.shape == VOLUME.shape
    assert found.voxel_size_nm == SIZE


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("unit", "length"), UNITS.items())
def test_units(unit, length, version, tmp_path):
    steps = [scale(*(edge / length for edge in SIZE))]
    assert_holds(opened(image(tmp_path / "v", version, unit=unit, steps=steps)))


def test_units_of_each_axis(tmp_path):
    path = image(tmp_path / "v", 2, steps=[scale(8, 0.004, 50)])
    store = zarr.open_group(str(path))
    stated = store.attrs["multiscales"]
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
def test_all_scales_count_and_translations_do_not(steps, outer, tmp_path):
    assert_holds(opened(image(tmp_path / "v", steps=steps, outer=outer)))


UNKNOWN = {
    "no unit": ({"unit": None}, "along z is without a unit"),
    "pixel": ({"unit": "pixel"}, "along z is in the unit 'pixel'"),
    "inch": ({"unit": "inch"}, "along z is in the unit 'inch'"),
    "no scale": ({"steps": [shift(1, 2, 3)]}, "it has no scale"),
    "short scale": ({"steps": [scale(4)]}, "not one number for each of 3 axes"),
    "scale in a file": ({"steps": [{"type": "scale", "path": "s"}]}, "not one number"),
    "zero": ({"steps": [scale(8, 0, 5)]}, "its scale holds 0"),
    "negative": ({"steps": [scale(8, 4, -5)]}, "its scale holds -5"),
    "two negatives": ({"steps": [scale(8, 4, -5)], "outer": [scale(1, 1, -1)]}, "holds -5"),
    "text": ({"steps": [scale(8, "4", 5)]}, "its scale holds '4'"),
    "not a number": ({"steps": [scale(8, 4, float("nan"))]}, "along x is nan"),
    "infinite": ({"steps": [scale(8, 4, float("inf"))]}, "along x is inf"),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", UNKNOWN)
def test_a_size_that_does_not_serve_says_what_to_give(name, version, tmp_path):
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
def test_malformed_multiscales_are_one_line(name, tmp_path):
    path = group(tmp_path / "v.zarr", multiscales=MALFORMED[name])
    put(path / "0", VOLUME)
    with pytest.raises(WrongUse, match=r"v\.zarr.* cannot be read: multiscales.*: expected"):
        opened(path)


def test_a_channel_axis_of_two_is_refused_by_name(tmp_path):
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
def test_older_versions_have_no_units(stated, tmp_path):
    entry = {"version": "0.3", "datasets": [{"path": "0"}]} | ({"axes": stated} if stated else {})
    path = group(tmp_path / "v", 2, multiscales=[entry])
    put(path / "0", VOLUME if stated else VOLUME[None, None], 2)
    with pytest.raises(WrongUse, match="no voxel size"):
        opened(path)
    assert_holds(opened(path, voxel_size_nm=SIZE))


@pytest.mark.parametrize("place", ["/0", "./0", "0/"])
def test_paths_of_levels_are_below_the_group(place, tmp_path):
    entry = {
        "axes": axes(),
        "datasets": [{"path": place, "coordinateTransformations": [scale(*SIZE)]}],
    }
    path = group(tmp_path / "v", multiscales=[entry])
    put(path / "0", VOLUME)
    assert_holds(opened(path))


def test_the_second_image_of_a_group_has_a_size_too(tmp_path):
    def entry(name):
        steps = [scale(*(SIZE if name == "b" else DOUBLED))]
        return {"axes": axes(), "datasets": [{"path": name, "coordinateTransformations": steps}]}

    path = group(tmp_path / "v", multiscales=[entry("a"), entry("b")])
    put(path / "a", VOLUME[::2])
    put(path / "b", VOLUME)
    assert_holds(opened(path), VOLUME[::2], DOUBLED)
    assert_holds(opened(path / "b"))


# -- plain arrays ----------------------------------------------------------------------------------


TRANSFORM = {"axes": ["z", "y", "x"], "units": ["nm"] * 3, "scale": list(SIZE)}


@pytest.mark.parametrize("names", ["zyx", "xyz", "xzy"])
def test_arrays_that_name_their_dimensions(names, tmp_path):
    attributes = {"resolution": [EDGES[name] for name in names]}
    put(tmp_path / "a", along(names), attributes=attributes, dimension_names=list(names))
    assert_holds(opened(tmp_path / "a"))
    put(tmp_path / "b", along(names), 2, attributes=attributes | {"_ARRAY_DIMENSIONS": list(names)})
    assert_holds(opened(tmp_path / "b"))


def test_names_that_are_no_axes_are_passed_over(tmp_path):
    put(tmp_path / "a", VOLUME, attributes={"resolution": SIZE}, dimension_names=["a", None, "x"])
    assert_holds(opened(tmp_path / "a"))


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_transform_names_axes_in_its_order(order, tmp_path):
    names = "xyz"
    turned = names if order == "C" else names[::-1]
    stated = {"axes": list(names), "scale": list(SIZE[::-1]), "units": ["nm"] * 3, "order": order}
    put(tmp_path / "a", along(turned), attributes={"transform": stated})
    assert_holds(opened(tmp_path / "a"))


@pytest.mark.parametrize("version", VERSIONS)
def test_pixels_are_x_first_in_zarr_too(version, tmp_path):
    pixels = {"pixelResolution": {"dimensions": list(SIZE[::-1]), "unit": "nm"}}
    assert_holds(opened(put(tmp_path / "a", VOLUME, version, attributes=pixels)))
    both = pixels | {"transform": TRANSFORM}
    source = opened(put(tmp_path / "b", VOLUME, version, attributes=both))
    assert_holds(source)
    assert not source.notes


@pytest.mark.parametrize("word", ["pixelResolution", "resolution"])
def test_factors_are_in_the_order_of_the_store(word, tmp_path):
    sizes = [2, 4, 5] if word == "resolution" else [5, 4, 2]
    stated = {word: {"dimensions": sizes, "unit": "nm"}, "downsamplingFactors": [4, 1, 1]}
    assert_holds(opened(put(tmp_path / "a", VOLUME, attributes=stated)))


def test_multiscales_go_before_the_array_and_a_difference_is_told(tmp_path, caplog):
    path = image(tmp_path / "v")
    zarr.open_array(str(path / "0")).attrs["resolution"] = [4, 4, 4]
    assert_holds(opened(path))
    (record,) = caplog.records
    assert "multiscales says 8,4,5 nm, but resolution 4,4,4 nm; the first" in record.getMessage()
    assert_holds(opened(path, voxel_size_nm=(4, 4, 4)), size=(4, 4, 4))


# -- what is shown, and labels ---------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("inverted", [False, True])
def test_omero_tells_the_window(version, inverted, tmp_path, caplog):
    window = {"start": 120.0, "end": 900.0, "min": 0, "max": 65535}
    channels = [{"color": "FFFFFF", "window": window, "inverted": inverted, "active": True}]
    source = opened(image(tmp_path / "v", version, omero={"channels": channels}), kind="raw")
    assert_holds(source)  # voxels are what they are
    assert source.display.window == (120, 900)
    assert source.display.inverted == inverted
    assert ("--invert" in caplog.text) == inverted


def test_contrast_adjustment_tells_the_window(tmp_path):
    for name, low, high in (("a", 100, 900), ("b", 900, 100)):
        stated = {"resolution": SIZE, "contrastAdjustment": {"min": low, "max": high}}
        source = opened(put(tmp_path / name, VOLUME, attributes=stated), kind="raw")
        assert source.display.window == (100, 900)
        assert source.display.inverted == (name == "b")


@pytest.mark.parametrize("omero", [None, {}, {"channels": []}, {"channels": [{"window": 3}]}, "x"])
def test_omero_that_tells_nothing(omero, tmp_path):
    source = opened(image(tmp_path / "v", omero=omero), kind="raw")
    assert source.display.window is None
    assert not source.display.inverted


@pytest.mark.parametrize("version", VERSIONS)
def test_labels_of_an_image(version, tmp_path, caplog):
    path = image(tmp_path / "v", version)
    group(path / "labels", version, labels=["mito"])
    image(path / "labels" / "mito", version, volume=VOLUME.astype(np.uint32), **{"image-label": {}})
    assert_holds(opened(path, kind="raw"))
    labels = opened(path, kind="labels")
    assert labels.name == f"{path}#labels/mito/0"
    assert_holds(labels, VOLUME.astype(np.uint32))
    assert not caplog.records


def test_labels_taken_for_raw_are_told(tmp_path, caplog):
    path = image(tmp_path / "v", **{"image-label": {"version": "0.5"}})
    assert_holds(opened(path, kind="raw"))
    assert "marked as labels" in caplog.text


# -- nesting ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["raw", "any"])
def test_any_nesting_is_gone_through(kind, version, tmp_path):
    path = tmp_path / "d.zarr"
    for inner in ("", "recon-1", "recon-1/em"):
        group(path / inner, version, bare=True)
    image(path / "recon-1/em/fibsem-uint16", version)
    source = opened(path, kind=kind)
    assert source.name == f"{path}#recon-1/em/fibsem-uint16/0"
    assert_holds(source)


def test_an_image_of_bioformats2raw(tmp_path):
    path = group(tmp_path / "d.zarr", 2, bare=True, **{"bioformats2raw.layout": 3})
    group(path / "OME", 2, bare=True, series=["0"])
    image(path / "0", 2)
    assert_holds(opened(path))
    image(path / "1", 2)
    with pytest.raises(WrongUse, match=r"more than one array; give one of .*#0, .*#1$"):
        opened(path)


def test_a_choice_is_named_from_where_the_user_stands(tmp_path):
    path = group(tmp_path / "d.zarr", bare=True)
    group(path / "a", bare=True)
    for name in "bc":
        image(path / "a" / name)
    with pytest.raises(WrongUse, match=r"d\.zarr#a/b, .*d\.zarr#a/c$"):
        opened(path)
    with pytest.raises(WrongUse, match=r"d\.zarr#a/b, .*d\.zarr#a/c$"):
        opened(f"{path}#a")


def test_nesting_has_an_end(tmp_path):
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
def test_where_nothing_is_listed_metadata_name_what_a_group_holds(form, version, tmp_path):
    """A bucket is not listed; a hierarchy whose root is a folder is not either."""
    path = tmp_path / "d.zarr"
    more = {"bioformats2raw.layout": 3} if form == "bioformats2raw" else {}
    group(path, version, bare=version == 2, **more)
    inner = {"labels": "labels/mito", "consolidated": "deep/em", "bioformats2raw": "0"}[form]
    if form != "bioformats2raw":
        named = {"labels": ["mito"]} if form == "labels" else {}
        group(path / Path(inner).parent, version, **named)
    image(path / inner, version)
    if form == "consolidated":
        with pytest.warns(UserWarning) if version == 3 else nullcontext():
            zarr.consolidate_metadata(str(path))
            zarr.consolidate_metadata(str(path / "deep"))
    hierarchy = Hierarchy(f"file://{tmp_path}/")
    assert not hierarchy.local
    root = hierarchy.node(PurePosixPath("d.zarr"))
    found = select_array(hierarchy, root, "d", "labels" if form == "labels" else "any")
    assert found.key == PurePosixPath("d.zarr", inner, "0")


# -- the law ---------------------------------------------------------------------------------------


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
def test_what_is_written_is_read(data, seed, shape, dtype, names, unit, version, tmp_path):
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
    options = {"order": data.draw(st.sampled_from("CF"))} if version == 2 else {}
    if version == 3 and dtype.startswith(">"):
        options["serializer"] = zarr.codecs.BytesCodec(endian="big")
    chunks = tuple(data.draw(st.integers(1, edge)) for edge in stored.shape)
    put(path / "s", stored, version, chunks=chunks, **options)
    assert_holds(opened(path, kind="raw"), volume, size)

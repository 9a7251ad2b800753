"""N5 as Janelia's programs write it: compressions, attributes, groups, and what is damaged."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.volumes.sources import Source, open_volume

from .layouts import (
    NM,
    PACK,
    PIXELS,
    SHAPE,
    SIZE,
    VOLUME,
    XYZ,
    assert_holds,
    n5_array,
    n5_transform,
    opened,
)

# As they are found in files: members differ between writers and versions.
COMPRESSIONS: dict[str, dict[str, Any]] = {
    "raw": {"type": "raw"},
    "gzip": {"type": "gzip", "level": -1},
    "gzip, no zlib": {"type": "gzip", "level": 6, "useZlib": False},
    "bzip2": {"type": "bzip2", "blockSize": 9},
    "xz": {"type": "xz", "preset": 6},
    "lz4": {"type": "lz4", "blockSize": 65536},
    "zstd": {"type": "zstd", "level": 3},
    "zstd, workers": {"type": "zstd", "level": 3, "nbWorkers": 0, "useChecksums": False},
    "blosc": {
        "type": "blosc", "cname": "zstd", "clevel": 6, "shuffle": 2, "blocksize": 0, "nthreads": 1,
    },
    "blosc, numcodecs": {"type": "blosc", "cname": "lz4", "clevel": 5, "shuffle": -1},
}  # fmt: skip


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_every_compression_that_occurs(name: str, tmp_path: Path) -> None:
    path = n5_array(tmp_path / "s0", compression=COMPRESSIONS[name], attributes=PIXELS)
    assert_holds(opened(path))


@pytest.mark.parametrize("kind", ["raw", "gzip", "bzip2", "xz", "lz4"])
def test_the_oldest_files_name_the_compression_with_a_bare_word(kind: str, tmp_path: Path) -> None:
    path = n5_array(
        tmp_path / "s0", compression=kind, attributes=PIXELS | {"compressionType": kind}
    )
    assert_holds(opened(path))


def test_gzip_may_be_zlib(tmp_path: Path) -> None:
    stated = {"type": "gzip", "level": 6, "useZlib": True}
    path = n5_array(tmp_path / "s0", compression=stated, attributes=PIXELS, pack=PACK["zlib"])
    assert_holds(opened(path))


@pytest.mark.parametrize("kind", ["raw", "lz4"])
def test_a_block_that_was_never_written_is_zero(kind: str, tmp_path: Path) -> None:
    path = n5_array(tmp_path / "s0", compression={"type": kind}, attributes=PIXELS)
    (path / "1" / "0" / "0").unlink()
    expected = VOLUME.copy()
    expected[:2, :3, 4:] = 0
    assert_holds(opened(path), expected)


def lz4(path: Path) -> Path:
    return n5_array(path / "s0", compression={"type": "lz4"}, attributes=PIXELS)


@pytest.mark.parametrize("at", [1, 5, 17, 18, 25, 30, 34, 37, 45, -30])
def test_a_damaged_lz4_block_is_named(at: int, tmp_path: Path) -> None:
    path = lz4(tmp_path)
    block = path / "0" / "1" / "1"
    content = bytearray(block.read_bytes())
    content[at] ^= 0x5A
    block.write_bytes(content)
    source = opened(path)
    with pytest.raises(WrongUse, match=r"chunk 0/1/1"):
        source.read(whole(source))


@pytest.mark.parametrize("left", [0, 3, 15, 20, 36, 60, 80])
def test_a_cut_lz4_block_is_named(left: int, tmp_path: Path) -> None:
    path = lz4(tmp_path)
    block = path / "0" / "1" / "1"
    block.write_bytes(block.read_bytes()[:left])
    source = opened(path)
    with pytest.raises(WrongUse, match=r"chunk 0/1/1"):
        source.read(whole(source))


def whole(source: Source) -> Box:
    return Box((0, 0, 0), source.shape)


# -- attributes ------------------------------------------------------------------------------------


SIZES = {  # attributes of an array that give SIZE
    "cosem": PIXELS | {"transform": n5_transform(order="C")},
    "cosem, F": PIXELS | {"transform": n5_transform("xyz", order="F")},
    "transform, no order": {"transform": n5_transform()},
    "transform in micrometres": {
        "transform": n5_transform(
            scale=[0.008, 0.004, 0.005], units=["um", "micrometer", "\u00b5m"]
        )
    },
    "transform without a unit, but pixels": PIXELS
    | {"transform": n5_transform(units=["", "", ""])},
    "pixels in um": {"pixelResolution": {"dimensions": [n / 1000 for n in XYZ], "unit": "um"}},
    "pixels, unit beside": {"pixelResolution": XYZ, "units": "nm"},
    "pixels, units beside": {"pixelResolution": XYZ, "units": NM},
    "pixels and factors": {
        "pixelResolution": {"dimensions": [n / 2 for n in XYZ], "unit": "nm"},
        "downsamplingFactors": [2, 2, 2],
    },
    "resolution": {"resolution": XYZ, "offset": [0, 0, 0]},
    "resolution and units": {"resolution": XYZ, "units": NM, "axes": ["x", "y", "z"]},
    "resolution in um": {"resolution": [n / 1000 for n in XYZ], "units": "um"},
    "resolution, one unit an axis": {"resolution": [5, 0.004, 8], "units": ["nm", "um", "nm"]},
}


@pytest.mark.parametrize("name", SIZES)
def test_attributes_of_an_array(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert_holds(opened(n5_array(tmp_path / "s0", attributes=SIZES[name])))
    assert [r.getMessage().partition("its ")[2] for r in caplog.records] == [
        "resolution has no unit; nanometres are taken, as programs mean that write it so: "
        "--voxel-size-nm takes another size"
    ] * (name == "resolution")


UNKNOWN: dict[str, tuple[dict[str, Any], str]] = {  # attributes that give no size, and the reason
    "nothing": ({}, "no voxel size; give --voxel-size-nm Z,Y,X"),
    "pixels without a unit": ({"pixelResolution": XYZ}, "along z is without a unit"),
    "pixels in pixels": (
        {"pixelResolution": {"dimensions": XYZ, "unit": "pixel"}}, "in the unit 'pixel'",
    ),
    "zero": ({"resolution": [5, 4, 0]}, "along z is 0"),
    "negative": ({"resolution": [-5, 4, 8]}, "along x is -5"),
    "not a number": ({"resolution": [5, float("nan"), 8]}, "along y is nan"),
    "text": ({"resolution": ["wide", 4, 8]}, "along x is 'wide'"),
    "one number": ({"resolution": 4}, "one number for each dimension"),
    "two numbers": ({"resolution": [4, 4]}, "one number for each dimension"),
    "two units": ({"resolution": XYZ, "units": ["nm", "nm"]}, "2 units for 3 dimensions"),
    "transform of two": ({"transform": n5_transform("yx", [4, 4], units=NM[:2])}, "axes are y, x"),
    "transform uneven": ({"transform": n5_transform(scale=[4, 4])}, "of one length"),
    "transform is text": ({"transform": "wide"}, "of one length"),
    "both": (
        {"resolution": [5, 4, 0], "transform": n5_transform(units=["nm", "nm", "s"])},
        "transform: its size along x is in the unit 's'; resolution: its size along z is 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_unusable_attributes(name: str, tmp_path: Path) -> None:
    attributes, why = UNKNOWN[name]
    path = n5_array(tmp_path / "s0", attributes=attributes)
    with pytest.raises(WrongUse) as raised:
        opened(path)
    assert "has no voxel size; give --voxel-size-nm Z,Y,X" in str(raised.value)
    assert why in str(raised.value)
    assert_holds(opened(path, voxel_size_nm=SIZE))


def test_sizes_that_disagree_are_warned_of_and_either_can_be_chosen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = {"pixelResolution": {"dimensions": [4, 4, 4], "unit": "nm"}}
    path = n5_array(tmp_path / "s0", attributes=other | {"transform": n5_transform()})
    assert_holds(opened(path))
    opened(path)
    (record,) = caplog.records  # told once
    said = record.getMessage()
    assert str(path) in said
    assert "transform says 8,4,5 nm, but pixelResolution 4,4,4 nm; the first is taken" in said
    assert_holds(opened(path, voxel_size_nm=(4, 4, 4)), size=(4, 4, 4))
    assert not opened(path, voxel_size_nm=SIZE).notes
    with pytest.raises(WrongUse, match="8,4,5 nm, but 5,4,8 nm was given"):
        opened(path, voxel_size_nm=SIZE[::-1])


def test_a_transform_in_the_wrong_order_is_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = n5_array(tmp_path / "s0", attributes={"transform": n5_transform("xyz", order="C")})
    assert_holds(opened(path))
    assert "axes x, y, z in the order C" in caplog.text


def test_axes_name_the_dimensions_of_the_file(tmp_path: Path) -> None:
    attributes = {"axes": ["z", "x", "y"], "resolution": [8, 5, 4], "units": NM}
    path = n5_array(tmp_path / "s0", VOLUME.transpose(1, 2, 0), attributes=attributes)
    assert_holds(opened(path))


REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "jpeg": ({"compression": {"type": "jpeg", "quality": 90}}, ["'jpeg'", "lz4", "blosc"]),
    "no compression": ({"compression": None}, ["compression None", "gzip"]),
    "strings": ({"dataType": "string"}, ["'string'", "uint8"]),
    "label multiset": ({"isLabelMultiset": True}, ["label multiset", "plain labels"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_array_that_cannot_be_read_is_reported_with_what_can(name: str, tmp_path: Path) -> None:
    attributes, words = REFUSED[name]
    path = n5_array(tmp_path / "s0", attributes=PIXELS | attributes)
    with pytest.raises(WrongUse) as raised:
        opened(path)
    assert str(path) in str(raised.value)
    for word in words:
        assert word in str(raised.value)


def test_an_lz4_block_may_have_many_parts(tmp_path: Path) -> None:
    stated = {"type": "lz4", "blockSize": 64}
    volume = VOLUME // 20_000  # shrinks, so that lengths before and after differ
    path = n5_array(tmp_path / "s0", volume, stated, (7, 6, 5), PIXELS)
    assert (path / "0" / "0" / "0").read_bytes().count(b"LZ4Block") == 8
    assert_holds(opened(path), volume)


# -- the law ---------------------------------------------------------------------------------------

UNITS = {"nm": 1.0, "um": 1e3, "\u00b5m": 1e3, "micrometer": 1e3, "angstrom": 0.1, "mm": 1e6}
DTYPES = ["uint8", "int8", "uint16", "int16", "float32"]
NUMBER = itertools.count()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=st.data(),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    block=st.tuples(*[st.integers(1, 6)] * 3),
    dtype=st.sampled_from(DTYPES),
    kind=st.sampled_from(sorted(COMPRESSIONS)),
    form=st.sampled_from(["axes", "transform", "pixelResolution"]),
    unit=st.sampled_from(sorted(UNITS)),
)
def test_what_is_written_is_read(
    data: st.DataObject,
    shape: tuple[int, int, int],
    block: tuple[int, int, int],
    dtype: str,
    kind: str,
    form: str,
    unit: str,
    tmp_path: Path,
) -> None:
    seed = data.draw(st.integers(0, 2**32 - 1))
    volume = np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)
    edges = dict(zip("zyx", data.draw(st.tuples(*[st.floats(0.5, 500)] * 3)), strict=True))
    inner = [edges[axis] / UNITS[unit] for axis in "xyz"]
    order, stored = "xyz", volume
    if form == "axes":
        order = "".join(data.draw(st.permutations("xyz")))
        inner = [edges[axis] / UNITS[unit] for axis in order]
        attributes: dict[str, Any] = {"axes": list(order), "resolution": inner, "units": [unit] * 3}
        stored = volume.transpose(["zyx".index(axis) for axis in order[::-1]])
    elif form == "transform":
        f_order = data.draw(st.booleans())
        axes, scale = ("xyz", inner) if f_order else ("zyx", inner[::-1])
        attributes = {"transform": n5_transform(axes, scale, "F" if f_order else "C", [unit] * 3)}
    else:
        attributes = {"pixelResolution": {"dimensions": inner, "unit": unit}}
    path = tmp_path / str(next(NUMBER))
    n5_array(path, stored, COMPRESSIONS[kind], block, attributes)
    assert_holds(open_volume(str(path), kind="raw"), volume, tuple(edges[axis] for axis in "zyx"))


def test_the_writer_of_these_tests_is_read_by_another_reader(tmp_path: Path) -> None:
    import tensorstore

    path = n5_array(tmp_path / "s0", compression={"type": "gzip"})
    spec = {"driver": "n5", "kvstore": f"file://{path}/"}
    found = tensorstore.open(spec, open=True).result().T.read().result()
    np.testing.assert_array_equal(found, VOLUME)
    assert json.loads((path / "attributes.json").read_text())["dimensions"] == list(SHAPE[::-1])


def test_a_place_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    stated = {"pixelResolution": {"dimensions": SIZE[::-1], "unit": "nm"}, "offset": [8, 8]}
    source = opened(n5_array(tmp_path / "s0", attributes=stated))
    assert source.notes == (
        "its offset has no usable resolution beside it: where it lies is not known",
    )

"""N5 as Janelia's programs write it: compressions, attributes, groups, and what is damaged."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.store.remote import open_files
from fibstream.volumes.sources import open_volume

from ..support.s3 import BUCKET, environment, moto
from .fields import PACK, SHAPE, SIZE, VOLUME, assert_holds, n5_array, n5_group, opened

XYZ = list(SIZE[::-1])
PIXELS = {"pixelResolution": {"dimensions": XYZ, "unit": "nm"}}
NM = ["nm"] * 3

# As they are found in files: members differ between writers and versions.
COMPRESSIONS = {
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
def test_every_compression_that_occurs(name, tmp_path):
    path = n5_array(tmp_path / "s0", compression=COMPRESSIONS[name], attributes=PIXELS)
    assert_holds(opened(path))


@pytest.mark.parametrize("kind", ["raw", "gzip", "bzip2", "xz", "lz4"])
def test_the_oldest_files_name_the_compression_with_a_bare_word(kind, tmp_path):
    path = n5_array(
        tmp_path / "s0", compression=kind, attributes=PIXELS | {"compressionType": kind}
    )
    assert_holds(opened(path))


def test_gzip_may_be_zlib(tmp_path):
    stated = {"type": "gzip", "level": 6, "useZlib": True}
    path = n5_array(tmp_path / "s0", compression=stated, attributes=PIXELS, pack=PACK["zlib"])
    assert_holds(opened(path))


@pytest.mark.parametrize("kind", ["raw", "lz4"])
def test_a_block_that_was_never_written_is_zero(kind, tmp_path):
    path = n5_array(tmp_path / "s0", compression={"type": kind}, attributes=PIXELS)
    (path / "1" / "0" / "0").unlink()
    expected = VOLUME.copy()
    expected[:2, :3, 4:] = 0
    assert_holds(opened(path), expected)


def lz4(path: Path) -> Path:
    return n5_array(path / "s0", compression={"type": "lz4"}, attributes=PIXELS)


@pytest.mark.parametrize("at", [1, 5, 17, 18, 25, 30, 34, 37, 45, -30])
def test_a_damaged_lz4_block_is_named(at, tmp_path):
    path = lz4(tmp_path)
    block = path / "0" / "1" / "1"
    content = bytearray(block.read_bytes())
    content[at] ^= 0x5A
    block.write_bytes(content)
    source = opened(path)
    with pytest.raises(WrongUse, match=r"block 0/1/1: "):
        source.read(whole(source))


@pytest.mark.parametrize("left", [0, 3, 15, 20, 36, 60, 80])
def test_a_cut_lz4_block_is_named(left, tmp_path):
    path = lz4(tmp_path)
    block = path / "0" / "1" / "1"
    block.write_bytes(block.read_bytes()[:left])
    source = opened(path)
    with pytest.raises(WrongUse, match=r"block 0/1/1: "):
        source.read(whole(source))


def whole(source):
    return Box((0, 0, 0), source.shape)


# -- what attributes say ---------------------------------------------------------------------------


def transform(axes="zyx", scale=None, order=None, units=NM) -> dict:
    edges = dict(zip("zyx", SIZE, strict=True))
    scale = scale or [edges[axis] for axis in axes]
    stated = {"axes": list(axes), "units": list(units), "scale": scale, "translate": [3.0, 0, 9.0]}
    return stated | ({"order": order} if order else {})


SIZES = {  # attributes of an array that give SIZE
    "cosem": PIXELS | {"transform": transform(order="C")},
    "cosem, F": PIXELS | {"transform": transform("xyz", order="F")},
    "transform, no order": {"transform": transform()},
    "transform in micrometres": {
        "transform": transform(scale=[0.008, 0.004, 0.005], units=["um", "micrometer", "\u00b5m"])
    },
    "transform without a unit, but pixels": PIXELS | {"transform": transform(units=["", "", ""])},
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
def test_attributes_of_an_array(name, tmp_path, caplog):
    assert_holds(opened(n5_array(tmp_path / "s0", attributes=SIZES[name])))
    assert not caplog.records


UNKNOWN = {  # attributes that give no size, and the reason
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
    "transform of two": ({"transform": transform("yx", [4, 4], units=NM[:2])}, "axes are y, x"),
    "transform uneven": ({"transform": transform(scale=[4, 4])}, "of one length"),
    "transform is text": ({"transform": "wide"}, "of one length"),
    "both": (
        {"resolution": [5, 4, 0], "transform": transform(units=["nm", "nm", "s"])},
        "transform: its size along x is in the unit 's'; resolution: its size along z is 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_attributes_that_do_not_serve(name, tmp_path):
    attributes, why = UNKNOWN[name]
    path = n5_array(tmp_path / "s0", attributes=attributes)
    with pytest.raises(WrongUse) as raised:
        opened(path)
    assert "has no voxel size; give --voxel-size-nm Z,Y,X" in str(raised.value)
    assert why in str(raised.value)
    assert_holds(opened(path, voxel_size_nm=SIZE))


def test_sizes_that_disagree_are_told_and_either_can_be_chosen(tmp_path, caplog):
    other = {"pixelResolution": {"dimensions": [4, 4, 4], "unit": "nm"}}
    path = n5_array(tmp_path / "s0", attributes=other | {"transform": transform()})
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


def test_a_transform_in_the_wrong_order_is_told(tmp_path, caplog):
    path = n5_array(tmp_path / "s0", attributes={"transform": transform("xyz", order="C")})
    assert_holds(opened(path))
    assert "axes x, y, z in the order C" in caplog.text


def test_axes_name_the_dimensions_of_the_file(tmp_path):
    attributes = {"axes": ["z", "x", "y"], "resolution": [8, 5, 4], "units": NM}
    path = n5_array(tmp_path / "s0", VOLUME.transpose(1, 2, 0), attributes=attributes)
    assert_holds(opened(path))


REFUSED = {
    "jpeg": ({"compression": {"type": "jpeg", "quality": 90}}, ["'jpeg'", "lz4", "blosc"]),
    "no compression": ({"compression": None}, ["compression None", "gzip"]),
    "strings": ({"dataType": "string"}, ["'string'", "uint8"]),
    "label multiset": ({"isLabelMultiset": True}, ["label multiset", "plain labels"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_says_what_can(name, tmp_path):
    attributes, words = REFUSED[name]
    path = n5_array(tmp_path / "s0", attributes=PIXELS | attributes)
    with pytest.raises(WrongUse) as raised:
        opened(path)
    assert str(path) in str(raised.value)
    for word in words:
        assert word in str(raised.value)


# -- groups ----------------------------------------------------------------------------------------

SCALES = [[1, 1, 1], [2, 2, 2]]


def open_organelle(root: Path, volume=VOLUME, *, bare=()) -> Path:
    """A dataset as OpenOrganelle publishes it; ``bare`` are groups without a file."""
    n5_group(root, {"n5": "2.0.0"})
    for place in ("em/fibsem-uint16", "labels/mito_pred", "labels/mito_seg", "lm/er_palm"):
        bytes_ = (volume % 251).astype(np.uint8)
        kind = {"em": volume, "lm": volume}.get(place[:2], bytes_)
        kind = kind.astype(np.uint64) if place.endswith("seg") else kind
        levels = []
        for number, data in enumerate((kind, kind[::2, ::2, ::2])):
            size = [edge * 2**number for edge in SIZE]
            said = transform(scale=size, order="C")
            pixels = {"pixelResolution": {"dimensions": size[::-1], "unit": "nm"}}
            attributes = pixels | {"transform": said}
            n5_array(root / place / f"s{number}", data, {"type": "gzip"}, attributes=attributes)
            levels.append({"path": f"s{number}", "transform": said})
        group = {
            "axes": ["x", "y", "z"], "units": NM, "scales": SCALES, **PIXELS,
            "multiscales": [{"name": "", "datasets": levels}],
        }  # fmt: skip
        n5_group(root / place, group)
        if place.partition("/")[0] not in bare:
            n5_group(root / place.partition("/")[0], {})
    return root


@pytest.mark.parametrize("bare", [(), ("em", "labels", "lm")])
def test_a_dataset_of_open_organelle(bare, tmp_path, caplog):
    root = open_organelle(tmp_path / "jrc.n5", bare=bare)
    bytes_ = (VOLUME % 251).astype(np.uint8)
    raw = opened(root, kind="raw")
    assert raw.name == f"{root}#em/fibsem-uint16/s0"
    assert_holds(raw)
    prediction = opened(root, kind="prediction")
    assert prediction.name == f"{root}#labels/mito_pred/s0"
    assert_holds(prediction, bytes_)
    labels = opened(root, kind="labels")
    assert labels.name == f"{root}#labels/mito_seg/s0"
    assert_holds(labels, bytes_.astype(np.uint64))
    doubled = tuple(2 * edge for edge in SIZE)
    assert_holds(opened(f"{root}/em/fibsem-uint16/s1"), VOLUME[::2, ::2, ::2], doubled)
    assert_holds(opened(f"{root}#em"))
    assert not caplog.records
    with pytest.raises(WrongUse, match=r"more than one array; give one of .*#em/fibsem-uint16, .*"):
        opened(root)


def test_a_root_without_a_file_is_a_group_too(tmp_path):
    root = open_organelle(tmp_path / "jrc.n5", bare=("em",))
    (root / "attributes.json").unlink()
    assert_holds(opened(root, kind="raw"))


def test_the_root_may_name_the_levels(tmp_path):
    path = n5_array(tmp_path / "v.n5" / "a" / "b" / "s0")
    levels = [{"path": "/a/b/s0", "transform": transform()}]
    n5_group(tmp_path / "v.n5", {"n5": "2.0.0", "multiscales": [{"datasets": levels}]})
    assert_holds(opened(tmp_path / "v.n5"))
    assert_holds(opened(path))


@pytest.mark.parametrize(
    "group",
    [
        PIXELS | {"scales": SCALES},
        PIXELS | {"downsamplingFactors": SCALES},
        {"resolution": XYZ, "scales": SCALES, "axes": ["x", "y", "z"], "units": NM},
    ],
)
def test_a_group_says_the_size_of_all_its_levels(group, tmp_path):
    n5_array(tmp_path / "em" / "s0")
    n5_array(tmp_path / "em" / "s1", VOLUME[::2, ::2, ::2])
    n5_group(tmp_path / "em", group)
    assert_holds(opened(tmp_path / "em"))
    doubled = tuple(2 * edge for edge in SIZE)
    assert_holds(opened(tmp_path / "em" / "s1"), VOLUME[::2, ::2, ::2], doubled)


@pytest.mark.parametrize("word", ["pixelResolution", "resolution"])
def test_factors_are_x_first_as_sizes_are(word, tmp_path):
    sizes = {"dimensions": [5, 4, 2], "unit": "nm"}
    group = {word: sizes, "downsamplingFactors": [[1, 1, 1], [1, 1, 4]]}
    n5_array(tmp_path / "em" / "s1")
    n5_group(tmp_path / "em", group)
    assert_holds(opened(tmp_path / "em" / "s1"))


def test_an_lz4_block_may_have_many_parts(tmp_path):
    stated = {"type": "lz4", "blockSize": 64}
    volume = VOLUME // 20_000  # shrinks, so that lengths before and after differ
    path = n5_array(tmp_path / "s0", volume, stated, (7, 6, 5), PIXELS)
    assert (path / "0" / "0" / "0").read_bytes().count(b"LZ4Block") == 8
    assert_holds(opened(path), volume)


def test_a_level_of_unknown_factors_has_no_size(tmp_path):
    n5_array(tmp_path / "em" / "s0")
    n5_array(tmp_path / "em" / "s1")
    n5_group(tmp_path / "em", PIXELS)
    with pytest.raises(WrongUse, match="no voxel size"):
        opened(tmp_path / "em" / "s1")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["gzip", "lz4"])
def test_a_dataset_in_a_bucket(kind, tmp_path, monkeypatch):
    n5_array(tmp_path / "em" / "s0", compression={"type": kind}, attributes={"units": "nm"})
    n5_group(tmp_path / "em", {"multiscales": [{"datasets": [{"path": "s0"}]}]} | PIXELS)
    with moto() as server:
        server.bucket(BUCKET)
        for name, value in environment(server.endpoint).items():
            monkeypatch.setenv(name, value)
        files = open_files(f"s3://{BUCKET}/v.n5")
        for path in (path for path in tmp_path.rglob("*") if path.is_file()):
            files.put(str(path.relative_to(tmp_path)), path.read_bytes())
        assert_holds(opened(f"s3://{BUCKET}/v.n5/em"))
        assert_holds(opened(f"s3://{BUCKET}/v.n5#em/s0"))


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
def test_what_is_written_is_read(data, shape, block, dtype, kind, form, unit, tmp_path):
    seed = data.draw(st.integers(0, 2**32 - 1))
    volume = np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)
    edges = dict(zip("zyx", data.draw(st.tuples(*[st.floats(0.5, 500)] * 3)), strict=True))
    inner = [edges[axis] / UNITS[unit] for axis in "xyz"]
    order, stored = "xyz", volume
    if form == "axes":
        order = "".join(data.draw(st.permutations("xyz")))
        inner = [edges[axis] / UNITS[unit] for axis in order]
        attributes = {"axes": list(order), "resolution": inner, "units": [unit] * 3}
        stored = volume.transpose(["zyx".index(axis) for axis in order[::-1]])
    elif form == "transform":
        f_order = data.draw(st.booleans())
        axes, scale = ("xyz", inner) if f_order else ("zyx", inner[::-1])
        attributes = {"transform": transform(axes, scale, "F" if f_order else "C", [unit] * 3)}
    else:
        attributes = {"pixelResolution": {"dimensions": inner, "unit": unit}}
    path = tmp_path / str(next(NUMBER))
    n5_array(path, stored, COMPRESSIONS[kind], block, attributes)
    assert_holds(open_volume(str(path), kind="raw"), volume, tuple(edges[axis] for axis in "zyx"))


def test_the_writer_of_these_tests_is_understood_by_another_reader(tmp_path):
    import tensorstore

    path = n5_array(tmp_path / "s0", compression={"type": "gzip"})
    spec = {"driver": "n5", "kvstore": f"file://{path}/"}
    found = tensorstore.open(spec, open=True).result().T.read().result()
    np.testing.assert_array_equal(found, VOLUME)
    assert json.loads((path / "attributes.json").read_text())["dimensions"] == list(SHAPE[::-1])

"""Every format gives back the voxels and the voxel size that went in; every fault is one line."""

import json
import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tensorstore
import tifffile
import zarr

from fibstream.core.errors import WrongUse
from fibstream.core.grid import MAX_AXIS, Box
from fibstream.volumes.lengths import unit_nm
from fibstream.volumes.sources import open_volume

SHAPE = (5, 6, 7)
SIZE = (8.0, 4.0, 5.0)
VOLUME = np.random.default_rng(7).integers(0, 250, SHAPE).astype(np.uint16)
BOXES = [
    Box((0, 0, 0), SHAPE),
    Box((1, 2, 3), (4, 6, 5)),
    Box((4, 5, 6), (5, 6, 7)),
    Box((0, 3, 0), (2, 5, 7)),
]
AXES = [{"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"]


def npy(path: Path, volume=VOLUME) -> str:
    np.save(path / "v.npy", volume)
    return str(path / "v.npy")


def npz(path: Path, **arrays) -> str:
    np.savez_compressed(path / "v.npz", **(arrays or {"a": VOLUME, "voxel_size_nm_zyx": SIZE}))
    return str(path / "v.npz")


def tiff(path: Path, volume=VOLUME, name="v.tif", **options) -> str:
    tifffile.imwrite(path / name, volume, **options)
    return str(path / name)


def pages(path: Path, volumes=VOLUME, byteorder="<", **options) -> str:
    with tifffile.TiffWriter(path / "v.tif", byteorder=byteorder) as file:
        for page in volumes:
            file.write(page, contiguous=False, metadata=None, **options)
    return str(path / "v.tif")


def imagej(path: Path, unit="nm", scale=1.0, **options) -> str:
    z, y, x = (size / scale for size in SIZE)
    metadata = {"axes": "ZYX", "spacing": z, "unit": unit}
    return tiff(path, imagej=True, metadata=metadata, resolution=(1 / x, 1 / y), **options)


def ome(path: Path, **options) -> str:
    z, y, x = SIZE
    metadata = {"axes": "ZYX", "PhysicalSizeZ": z / 1000}  # micrometres unless it says otherwise
    metadata |= {"PhysicalSizeY": y, "PhysicalSizeYUnit": "nm"}
    metadata |= {"PhysicalSizeX": x * 10, "PhysicalSizeXUnit": "Å"}
    return tiff(path, name="v.ome.tif", metadata=metadata, **options)


def mrc(path: Path, volume=VOLUME, size=SIZE, name="v.mrc") -> str:
    with mrcfile.new(path / name, volume) as file:
        file.voxel_size = tuple(10 * edge for edge in size[::-1])
    return str(path / name)


def folder(path: Path, suffix=".tif", **options) -> str:
    (path / "stack").mkdir()
    (path / "stack" / "notes.txt").write_text("not a slice")
    for z, plane in enumerate(VOLUME):  # s8, s9, s10: natural order is not that of letters
        if suffix == ".mrc":
            mrc(path / "stack", plane, name=f"s{z + 8}.mrc")
        else:
            tiff(path / "stack", plane, name=f"s{z + 8}{suffix}", **options)
    return str(path / "stack")


def array(path: Path, volume=VOLUME, zarr_format=3, **options) -> str:
    options = {"chunks": (4, 4, 4)[-volume.ndim :], **options}
    store = zarr.create_array(
        path, shape=volume.shape, dtype=volume.dtype, zarr_format=zarr_format, **options
    )
    store[...] = volume
    return str(path)


def multiscale(path: Path, zarr_format=3, axes=AXES, size=SIZE, scale=None, **options) -> str:
    lead = len(axes) - 3
    scales = [{"type": "scale", "scale": [1.0] * lead + list(size)}]
    levels = [
        {"path": "s0", "coordinateTransformations": scales},
        {"path": "s1", "coordinateTransformations": scales},
    ]
    entry = {"axes": axes, "datasets": levels, "version": "0.4"}
    if scale:
        entry["coordinateTransformations"] = [{"type": "scale", "scale": scale}]
    stated = {"multiscales": [entry]}
    attributes = {"ome": stated} if zarr_format == 3 else stated
    zarr.create_group(path, zarr_format=zarr_format, attributes=attributes)
    volume = VOLUME.reshape((1,) * lead + SHAPE)
    array(path / "s0", volume, zarr_format, chunks=(1,) * lead + (4, 4, 4), **options)
    array(path / "s1", volume[..., ::2, ::2, ::2], zarr_format, chunks=volume.shape)
    return str(path)


def n5(path: Path, attributes=None, group=None, volume=VOLUME) -> str:
    axes = volume.ndim
    spec = {
        "driver": "n5",
        "kvstore": {"driver": "file", "path": f"{path}/em/s0/"},
        "metadata": {
            "dataType": str(volume.dtype),
            "dimensions": volume.shape[::-1],
            "blockSize": [4, 3, 2] + [1] * (axes - 3),
            "compression": {"type": "gzip"},
        },
    }
    tensorstore.open(spec, create=True).result().T[...] = volume
    edit(path / "em" / "s0" / "attributes.json", attributes or {})
    if group is not None:
        (path / "em" / "attributes.json").write_text(json.dumps(group))
    return str(path / "em" / "s0")


def edit(path: Path, values: dict) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def dataset(path: Path, things: tuple[str, ...]) -> str:
    if "" not in things:
        zarr.create_group(path)
    for thing in things:
        multiscale(path / thing)
    for group in {str(Path(thing).parent) for thing in things} - {"."}:
        zarr.create_group(path / group)
    return str(path)


X_FIRST = {"axes": ["x", "y", "z"], "units": ["nm"] * 3, "scale": SIZE[::-1]}
Z_FIRST = {"axes": ["z", "y", "x"], "units": ["nm"] * 3, "scale": SIZE}
IN_UM = {"dimensions": [size / 1000 for size in SIZE[::-1]], "unit": "um"}
CT = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
UM = [axis | {"unit": "micrometer"} for axis in AXES]

OWN = {  # formats that carry the voxel size
    "npz": npz,
    "npz, key": lambda p: npz(p, a=VOLUME, b=VOLUME + 1, voxel_size_nm_zyx=SIZE) + "#a",
    "imagej": imagej,
    "imagej big-endian": lambda p: imagej(p, byteorder=">"),
    "imagej um": lambda p: imagej(p, "\\u00B5m", 1000),
    "imagej zlib": lambda p: imagej(p, compression="zlib"),
    "ome": ome,
    "ome tiles": lambda p: ome(p, tile=(16, 16), compression="zstd"),
    "mrc": mrc,
    "zarr v2 multiscale": lambda p: multiscale(p / "v.zarr", 2),
    "zarr v3 multiscale": lambda p: multiscale(p / "v.zarr"),
    "zarr sharded": lambda p: multiscale(p / "v.zarr", shards=(4, 4, 8)),
    "zarr micrometres": lambda p: multiscale(
        p / "v.zarr", axes=UM, size=(1e-3, 1e-3, 1e-3), scale=SIZE
    ),
    "zarr tczyx": lambda p: multiscale(p / "v.zarr", axes=CT + AXES),
    "zarr with a picture": lambda p: str(Path(tiff(Path(multiscale(p / "v.zarr")))).parent),
    "zarr level": lambda p: multiscale(p / "v.zarr") + "/s0",
    "zarr level inside": lambda p: multiscale(p / "v.zarr") + "#s0",
    "zarr url": lambda p: f"file://{multiscale(p / 'v.zarr')}#s0",
    "zarr in odd folder": lambda p: multiscale(p / "a b#c%.zarr"),
    "zarr inside odd folder": lambda p: multiscale(p / "a b#c%.zarr") + "#s0",
    "zarr attributes": lambda p: array(p / "v", attributes={"transform": Z_FIRST}),
    "n5 pixelResolution": lambda p: n5(p, {"pixelResolution": IN_UM}),
    "n5 resolution": lambda p: n5(p, {"resolution": SIZE[::-1]}),
    "n5 transform x first": lambda p: n5(p, {"transform": X_FIRST}),
    "n5 transform z first": lambda p: n5(p, {"transform": Z_FIRST}),
    "n5 5-D": lambda p: n5(p, {"transform": Z_FIRST}, volume=VOLUME[None, None]),
    "n5 5-D resolution": lambda p: n5(
        p, {"resolution": (*SIZE[::-1], 1, 1)}, volume=VOLUME[None, None]
    ),
    "n5 factors": lambda p: n5(
        p,
        {
            "pixelResolution": {"dimensions": [n / 2 for n in SIZE[::-1]], "unit": "nm"},
            "downsamplingFactors": [2, 2, 2],
        },
    ),
    "n5 group": lambda p: n5(
        p, group={"multiscales": [{"datasets": [{"path": "s0", "transform": Z_FIRST}]}]}
    )[:-3],
    "n5 resolution of the group": lambda p: n5(p, group={"resolution": SIZE[::-1]}),
    "n5 bare group": lambda p: n5(p, {"resolution": SIZE[::-1]})[:-3],
    "n5 store": lambda p: n5(p / "v.n5", {"resolution": SIZE[::-1]})[:-6] + "#em",
}

BARE = {  # formats and files that do not
    "npy": npy,
    "npy fortran big-endian": lambda p: npy(p, np.asfortranarray(VOLUME.astype(">u2"))),
    "npy 5-D": lambda p: npy(p, VOLUME[None, None]),
    "npz raw among others": lambda p: npz(p, raw=VOLUME, mito=VOLUME + 1),
    "tiff": tiff,
    "tiff big-endian": lambda p: tiff(p, byteorder=">"),
    "tiff big-endian strips": lambda p: tiff(
        p, byteorder=">", compression="zlib", predictor=True, rowsperstrip=4
    ),
    "tiff bigtiff tiles": lambda p: tiff(p, bigtiff=True, tile=(16, 16), compression="lzw"),
    "tiff 5-D": lambda p: tiff(p, VOLUME[None, None]),
    "tiff dots per inch": lambda p: tiff(p, resolution=(1, 1), resolutionunit="inch"),
    "imagej uncalibrated": lambda p: tiff(p, imagej=True, metadata={"unit": "um", "spacing": 1}),
    "imagej no depth": lambda p: tiff(p, imagej=True, resolution=(0.2, 0.2)),
    "pages": pages,
    "pages big-endian": lambda p: pages(p, byteorder=">"),
    "pages plain strips": lambda p: pages(p, rowsperstrip=2),
    "pages strips": lambda p: pages(p, compression="zstd", rowsperstrip=2),
    "mrc unset": lambda p: mrc(p, size=(0, 0, 0)),
    "mrc default": lambda p: mrc(p, size=(0.1, 0.1, 0.1)),
    "folder": folder,
    "folder upper case": lambda p: folder(p, ".TIFF"),
    "folder big-endian": lambda p: folder(p, byteorder=">"),
    "folder strips": lambda p: folder(p, compression="zlib", rowsperstrip=4, byteorder=">"),
    "folder mrc": lambda p: folder(p, ".mrc"),
    "zarr v2": lambda p: array(p / "v.zarr", zarr_format=2),
    "zarr v2 big-endian": lambda p: array(p / "v", VOLUME.astype(">u2"), 2, order="F"),
    "zarr v3": lambda p: array(p / "v.zarr"),
    "zarr no units": lambda p: multiscale(p / "v", axes=[{"name": n} for n in "zyx"]),
    "n5": n5,
}


def assert_equal(source, volume=VOLUME) -> None:
    assert source.shape == volume.shape
    assert source.dtype == volume.dtype.newbyteorder("=")
    for box in BOXES:
        voxels = source.read(box)
        assert voxels.dtype == volume.dtype.newbyteorder("=")
        assert voxels.dtype.isnative
        assert voxels.flags.c_contiguous
        np.testing.assert_array_equal(voxels, volume[box.slices()])
        voxels[...] = 0  # the caller owns it: what is read next must not change


@pytest.mark.parametrize("form", OWN)
def test_formats_with_a_voxel_size(form, tmp_path):
    source = open_volume(OWN[form](tmp_path), kind="raw")
    assert source.voxel_size_nm == pytest.approx(SIZE, rel=1e-6)
    assert_equal(source)
    source.close()
    with pytest.raises(WrongUse, match="closed"):
        source.read(BOXES[0])


@pytest.mark.parametrize("form", BARE)
def test_formats_without_a_voxel_size(form, tmp_path):
    path = BARE[form](tmp_path)
    with pytest.raises(WrongUse, match="has no voxel size; give --voxel-size-nm Z,Y,X"):
        open_volume(path, kind="raw")
    source = open_volume(path, kind="raw", voxel_size_nm=SIZE)
    assert source.voxel_size_nm == SIZE
    assert_equal(source)


def zarr_v3(path: Path, volume) -> str:
    return array(path / "v.zarr", volume)


ANY_DTYPE = (npy, tiff, zarr_v3)


@pytest.mark.parametrize(
    ("dtype", "save"),
    [(d, s) for d in ("uint8", "int8", "uint16", "int16", "float32") for s in ANY_DTYPE]
    + [(dtype, mrc) for dtype in ("int8", "uint16", "int16", "float32")],
)
def test_every_dtype_of_raw(dtype, save, tmp_path):
    volume = VOLUME.astype(dtype)
    assert_equal(open_volume(save(tmp_path, volume), kind="raw", voxel_size_nm=SIZE), volume)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint32", "uint64", "int64"])
@pytest.mark.parametrize("save", ANY_DTYPE)
def test_every_dtype_of_labels(dtype, save, tmp_path):
    volume = (VOLUME % 2 if dtype == "bool" else VOLUME).astype(dtype)
    assert_equal(open_volume(save(tmp_path, volume), kind="labels", voxel_size_nm=SIZE), volume)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_of_single_bits_is_a_mask(compression, tmp_path):
    mask = VOLUME % 2 == 1
    path = tiff(tmp_path, mask, compression=compression)
    assert_equal(open_volume(path, kind="labels", voxel_size_nm=SIZE), mask)


def test_mrc_bytes_written_by_imod_are_unsigned(tmp_path):
    path = mrc(tmp_path, VOLUME.astype(np.uint8).view(np.int8))
    with Path(path).open("r+b") as file:
        file.seek(152)
        file.write(np.array([1146047817, 0], "<i4").tobytes())
    assert_equal(open_volume(path, kind="raw"), VOLUME.astype(np.uint8))


@pytest.mark.parametrize("save", [pages, ome])
def test_strips_of_a_page_may_lie_in_any_order(save, tmp_path):
    path = save(tmp_path, rowsperstrip=2)
    with tifffile.TiffFile(path, mode="r+") as file:
        tag = file.pages[3].tags["StripOffsets"]
        tag.overwrite(tag.value[::-1])
    turned = VOLUME.copy()
    turned[3] = VOLUME[3].reshape(3, 2, 7)[::-1].reshape(6, 7)
    assert_equal(open_volume(path, voxel_size_nm=SIZE), turned)


@pytest.mark.parametrize(
    ("numbers", "missing"),
    [
        ((1, 2, 3, 5, 6), "1 of 6"),
        ((0, 1, 2, 3), None),
        ((0, 2, 4, 6), None),
        ((7, 8, 9, 20), "10 of 14"),
    ],
)
def test_a_gap_in_the_numbers_of_slices_is_told(numbers, missing, tmp_path):
    for number in numbers:
        tiff(tmp_path, VOLUME[0], name=f"s{number}.tif")
    notes = open_volume(str(tmp_path), kind="raw", voxel_size_nm=SIZE).notes
    if missing is None:
        assert notes == ()
    else:
        (note,) = notes
        assert note.startswith(f"{missing} slices are missing, the first between s{numbers[2]}.tif")


def test_slices_may_differ_in_how_they_are_stored(tmp_path):
    path = folder(tmp_path)
    tiff(Path(path), VOLUME[0], name="s8.tif", compression="zlib", byteorder=">")
    tiff(Path(path), VOLUME[1], name="s9.tif", tile=(16, 16))
    assert_equal(open_volume(path, voxel_size_nm=SIZE))


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
def test_a_dataset_gives_the_only_thing_of_a_kind(kind, things, name, tmp_path):
    path = dataset(tmp_path / "d.zarr", things)
    if kind == "prediction":
        with pytest.raises(WrongUse, match=r"predictions/mito/s0 has dtype uint16; expected uint8"):
            open_volume(path, kind=kind)
        return
    source = open_volume(path, kind=kind)
    assert source.name == f"{path}#{name}"
    assert source.voxel_size_nm == SIZE
    assert_equal(source)


def test_a_source_is_called_as_the_user_wrote_it(tmp_path):
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
def test_a_given_voxel_size_may_differ_by_one_per_cent(given, ok, tmp_path):
    path = npz(tmp_path)
    if ok:
        assert open_volume(path, voxel_size_nm=given).voxel_size_nm == given
    else:
        line = fault(path, voxel_size_nm=given)
        assert "8,4,5 nm" in line
        assert ",".join(f"{edge:g}" for edge in given) in line


@pytest.mark.parametrize("bad", [0, -1, np.nan, np.inf])
def test_an_impossible_voxel_size_is_refused(bad, tmp_path):
    own = npz(tmp_path, a=VOLUME, voxel_size_nm_zyx=(8, bad, 5))
    assert "give --voxel-size-nm" in fault(own)
    assert open_volume(own, voxel_size_nm=SIZE).voxel_size_nm == SIZE
    assert "expected three positive" in fault(own, voxel_size_nm=(8, bad, 5))


@pytest.mark.parametrize(
    ("unit", "length"),
    [
        ("nm", 1), ("Nanometers", 1), ("µm", 1e3), ("μm", 1e3), ("\\u00B5m", 1e3),
        ("micron", 1e3), ("microns", 1e3), ("micrometre", 1e3), ("Å", 0.1), ("angstrom", 0.1),
        ("mm", 1e6), ("meter", 1e9), ("pixel", None), ("inch", None), ("", None), (None, None),
    ],
)  # fmt: skip
def test_units_of_length(unit, length):
    assert unit_nm(unit) == length


def fault(path: str, **options) -> str:
    """Return the line that opening the path and reading all of it gives."""
    with pytest.raises(WrongUse) as raised:
        source = open_volume(path, **options)
        source.read(Box((0, 0, 0), source.shape))
    line = str(raised.value)
    assert "\n" not in line
    assert len(line) < 600
    return line


def cut(path: str, part: float = 0.5) -> str:
    file = Path(path)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * part)])
    return path


def flipped(path: str, pattern: str) -> str:
    (file, *_) = sorted(p for p in Path(path).rglob(pattern) if p.is_file())
    content = bytearray(file.read_bytes())
    content[-6] ^= 0xFF  # in the checksum or the index at the end
    file.write_bytes(content)
    return path


def replaced(path: str, file: str, text: str) -> str:
    (Path(path) / file).write_text(text)
    return path


def odd_slice(path: str, **options) -> str:
    tiff(Path(path), name="s10.tif", **{"volume": VOLUME[2], **options})
    return path


def empty(path: Path) -> str:
    (path / "nothing").mkdir()
    return str(path / "nothing")


def mixed(path: str) -> str:
    mrc(Path(path), VOLUME[0], name="s1.mrc")
    return path


def renamed(path: str, name: str) -> str:
    return str(Path(path).rename(Path(path).with_name(name)))


def mrc_axes(path: str) -> str:
    with mrcfile.open(path, "r+") as file:
        file.header.mapc = 3
    return path


ONE_PLANE = [VOLUME[0], VOLUME[1], VOLUME[2, :5]]
TWO = ("raw", "labels/mito", "labels/er")

FAULTS = {  # how to make it, what is wanted of it, what the line must name
    "missing": (lambda p: str(p / "none.tif"), {}, ["none.tif", "no such file"]),
    "missing inside": (lambda p: multiscale(p / "v") + "#s7", {}, ["no array or group s7"]),
    "missing url": (lambda p: f"file://{p}/none", {}, ["none", "no Zarr or N5"]),
    "unknown suffix": (lambda p: renamed(npy(p), "v.dat"), {}, ["v.dat", ".npy"]),
    "key of a tiff": (lambda p: tiff(p) + "#a", {}, ["v.tif#a", ".npz"]),
    "no slices": (empty, {}, ["nothing", "slices"]),
    "no key": (lambda p: npz(p, a=VOLUME, b=VOLUME), {}, ["#KEY", "a, b"]),
    "two keys, labels": (lambda p: npz(p, raw=VOLUME, m=VOLUME), {"kind": "labels"}, ["raw, m"]),
    "wrong key": (lambda p: npz(p) + "#b", {}, ["no array b", "a, voxel_size_nm_zyx"]),
    "npz of nothing 3-D": (lambda p: npz(p, a=VOLUME[0]), {}, ["v.npz", "(z, y, x)"]),
    "npz cut": (lambda p: cut(npz(p)), {}, ["v.npz"]),
    "npz cut, key": (lambda p: cut(npz(p)) + "#a", {}, ["v.npz"]),
    "npy cut": (lambda p: cut(npy(p)), {}, ["v.npy"]),
    "npy is text": (lambda p: replaced(str(p), "v.npy", "no") + "/v.npy", {}, ["v.npy"]),
    "npy object": (lambda p: npy(p, np.array([[[None]]])), {}, ["v.npy"]),
    "npy 2-D": (lambda p: npy(p, VOLUME[0]), {}, ["(6, 7)", "(z, y, x)"]),
    "npy two channels": (lambda p: npy(p, np.stack([VOLUME] * 2)), {}, ["(2, 5, 6, 7)"]),
    "npy empty axis": (lambda p: npy(p, VOLUME[:, :0]), {}, ["v.npy"]),
    "npy too long": (
        lambda p: npy(p, np.zeros((MAX_AXIS + 1, 1, 1), np.uint8)), {}, ["v.npy", str(MAX_AXIS)],
    ),
    "float64": (lambda p: npy(p, VOLUME * 1.0), {"kind": "raw"}, ["float64", "float32 for raw"]),
    "complex": (lambda p: npy(p, VOLUME * 1j), {}, ["complex128"]),
    "bool raw": (lambda p: npy(p, VOLUME > 9), {"kind": "raw"}, ["bool"]),
    "uint32 raw": (lambda p: npy(p, VOLUME.astype("u4")), {"kind": "raw"}, ["uint32"]),
    "float prediction": (
        lambda p: npy(p, VOLUME.astype("f4")), {"kind": "prediction"}, ["float32", "uint8", "127"],
    ),
    "float labels": (lambda p: npy(p, VOLUME.astype("f4")), {"kind": "labels"}, ["float32"]),
    "negative labels": (
        lambda p: npy(p, VOLUME.astype("i4") - 300), {"kind": "labels"}, ["v.npy", "label -"],
    ),
    "not a number": (
        lambda p: npy(p, np.full(SHAPE, np.nan, "f4")), {"kind": "raw"}, ["v.npy", "NaN"],
    ),
    "tiff cut": (lambda p: cut(tiff(p)), {}, ["v.tif"]),
    "tiff cut, zlib": (lambda p: cut(tiff(p, compression="zlib")), {}, ["v.tif"]),
    "tiff cut late": (lambda p: cut(tiff(p, compression="zlib"), 0.95), {}, ["v.tif"]),
    "imagej cut": (lambda p: cut(imagej(p)), {}, ["v.tif"]),
    "pages cut": (lambda p: cut(pages(p)), {}, ["v.tif"]),
    "pages cut late": (lambda p: cut(pages(p), 0.99), {}, ["v.tif"]),
    "pages cut early": (lambda p: cut(pages(p), 0.25), {}, ["v.tif"]),
    "pages cut in a tile": (
        lambda p: cut(pages(p, tile=(16, 16)), 0.98), {}, ["v.tif", "page 4 is cut short"],
    ),
    "ome cut": (lambda p: cut(ome(p)), {}, ["v.ome.tif"]),
    "tiff is text": (lambda p: replaced(str(p), "v.tif", "no") + "/v.tif", {}, ["v.tif"]),
    "tiff one image": (lambda p: tiff(p, VOLUME[0]), {}, ["(6, 7)", "(z, y, x)"]),
    "tiff colours": (
        lambda p: tiff(p, np.zeros((5, 6, 3), "u1"), photometric="rgb"), {}, ["(5, 6, 3)"],
    ),
    "tiff two channels": (
        lambda p: tiff(p, np.stack([VOLUME] * 2, 1), imagej=True, metadata={"axes": "ZCYX"}), {},
        ["v.tif", "(1, 5, 2, 6, 7) with axes TZCYX"],
    ),
    "pages differ": (lambda p: pages(p, ONE_PLANE), {}, ["v.tif", "one stack"]),
    "mrc cut": (lambda p: cut(mrc(p)), {}, ["v.mrc"]),
    "mrc header cut": (lambda p: cut(mrc(p), 0.1), {}, ["v.mrc"]),
    "mrc axes": (lambda p: mrc_axes(mrc(p)), {}, ["v.mrc", "(3, 2, 3)"]),
    "slice of another shape": (
        lambda p: odd_slice(folder(p), volume=VOLUME[2, :5]), {}, ["s10.tif", "(5, 7)"],
    ),
    "slice of another dtype": (
        lambda p: odd_slice(folder(p), volume=VOLUME[2].astype("u1")), {}, ["s10.tif", "uint8"],
    ),
    "slice of two pages": (lambda p: odd_slice(folder(p), volume=VOLUME[:2]), {}, ["s10.tif"]),
    "slice cut": (lambda p: cut(folder(p) + "/s10.tif").removesuffix("/s10.tif"), {}, ["s10.tif"]),
    "slices mixed": (lambda p: mixed(folder(p)), {}, ["stack", "TIFF and MRC"]),
    "mrc slice of two planes": (
        lambda p: str(Path(mrc(Path(folder(p, ".mrc")), VOLUME[:2], name="s1.mrc")).parent), {},
        ["s1.mrc", "(2, 6, 7)"],
    ),
    "zarr.json broken": (
        lambda p: replaced(array(p / "v.zarr"), "zarr.json", '{"zarr_fo'), {}, ["v.zarr"],
    ),
    "zarr.json of another kind": (
        lambda p: replaced(array(p / "v.zarr"), "zarr.json", "[]"), {}, ["v.zarr", "zarr.json"],
    ),
    ".zarray broken": (
        lambda p: replaced(array(p / "v.zarr", zarr_format=2), ".zarray", "{}"), {}, ["v.zarr"],
    ),
    "shard flipped": (
        lambda p: flipped(array(p / "v.zarr", shards=(8, 8, 8)), "c/*/*/*"), {}, ["v.zarr"],
    ),
    "n5 chunk cut": (
        lambda p: str(Path(cut(n5(p) + "/0/0/0")).parents[2]), {}, ["s0", "[0, 0, 0]"],
    ),
    "level missing": (
        lambda p: (shutil.rmtree(multiscale(p / "v.zarr") + "/s0"), str(p / "v.zarr"))[1], {},
        ["v.zarr", "s0"],
    ),
    "axes of no volume": (
        lambda p: multiscale(p / "v.zarr", axes=[*AXES[:2], {"name": "c"}]), {}, ["(z, y, c)"],
    ),
    "axes mixed": (
        lambda p: multiscale(p / "v.zarr", axes=AXES[:2]) + "/s0", {}, ["3 dimensions", "(z, y)"],
    ),
    "zarr two channels": (
        lambda p: array(p / "v.zarr", np.stack([VOLUME] * 2), chunks=(1, 4, 4, 4)), {},
        ["v.zarr", "(2, 5, 6, 7)"],
    ),
    "two labels": (
        lambda p: dataset(p / "d.zarr", TWO), {"kind": "labels"},
        ["d.zarr#labels/er", "d.zarr#labels/mito"],
    ),
    "any of many": (
        lambda p: dataset(p / "d.zarr", TWO), {}, ["d.zarr#raw", "d.zarr#labels/mito"],
    ),
    "no prediction": (
        lambda p: dataset(p / "d.zarr", TWO), {"kind": "prediction"}, ["d.zarr", "prediction"],
    ),
    "empty group": (lambda p: dataset(p / "d.zarr", ()), {}, ["d.zarr", "STORE#GROUP/ARRAY"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_one_line_that_names_it(name, tmp_path, capfd, caplog):
    make, options, named = FAULTS[name]
    line = fault(make(tmp_path), voxel_size_nm=options.get("voxel_size_nm", SIZE), **options)
    for word in named:
        assert word in line
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_a_box_that_cannot_be_read_is_named(tmp_path):
    path = array(tmp_path / "v.zarr", chunks=(5, 6, 4), attributes={"resolution": SIZE})
    (tmp_path / "v.zarr" / "c" / "0" / "0" / "1").write_bytes(b"broken")
    source = open_volume(path)
    left = Box((0, 0, 0), (5, 6, 4))
    np.testing.assert_array_equal(source.read(left), VOLUME[left.slices()])
    with pytest.raises(WrongUse, match=r"v\.zarr at \[0, 0, 3\] to \[5, 6, 5\] cannot be read: "):
        source.read(Box((0, 0, 3), (5, 6, 5)))

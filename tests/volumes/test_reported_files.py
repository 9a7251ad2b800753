"""Single files as people report them: TIFF with depth, palettes, OME-XML, MRC of others."""

import json
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse

from .layouts import SIZE, VOLUME, Order, assert_holds, mrc_file, n5_array, n5_group, opened
from .writers import ZarrFormat, multiscale

GREY = (VOLUME % 251).astype(np.uint8)
RAMP = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))
COLOURS = np.random.default_rng(0).permuted(RAMP, axis=1)
DEEP = np.random.default_rng(3).integers(0, 250, (12, 20, 28)).astype(np.uint8)


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize(
    "layout",
    [
        {"tile": (4, 16, 16)}, {"tile": (4, 16, 16), "compression": "zlib"},
        {"compression": "zlib"}, {"compression": "zlib", "rowsperstrip": 7}, {},
    ],
)  # fmt: skip
def test_a_page_with_a_depth(layout: dict[str, Any], byteorder: Any, tmp_path: Path) -> None:
    path, volume = tmp_path / "v.tif", DEEP.astype(np.uint16) * 3
    tifffile.imwrite(path, volume, volumetric=True, byteorder=byteorder, **layout)
    assert_holds(opened(path, voxel_size_nm=SIZE), volume)


def palette(path: Path, colours: NDArray[np.uint16], volume: NDArray[np.uint8] = GREY) -> Path:
    tifffile.imwrite(path, volume, photometric="palette", colormap=colours, metadata=None)
    return path


def test_a_palette_of_grey_is_read_as_stored(tmp_path: Path) -> None:
    source = opened(palette(tmp_path / "v.tif", RAMP), kind="raw", voxel_size_nm=SIZE)
    assert_holds(source, GREY)
    assert not source.notes


def test_a_palette_from_white_to_black_is_told(tmp_path: Path) -> None:
    path = palette(tmp_path / "v.tif", RAMP[:, ::-1])
    (note,) = opened(path, kind="raw", voxel_size_nm=SIZE).notes
    assert "--invert" in note
    for z, plane in enumerate(GREY):
        (tmp_path / "s").mkdir(exist_ok=True)
        palette(tmp_path / "s" / f"s{z}.tif", RAMP[:, ::-1], plane)
    source = opened(tmp_path / "s", kind="raw", voxel_size_nm=SIZE)
    assert source.notes == (note,)
    assert_holds(source, GREY)


MIXED_GREY = np.tile(COLOURS[0], (3, 1))  # grey, but neither up nor down


@pytest.mark.parametrize(
    "colours", [COLOURS, MIXED_GREY, np.zeros_like(RAMP), RAMP * [[1], [0], [0]]]
)
def test_numbers_of_colours_are_labels_but_no_grey_values(
    colours: NDArray[Any], tmp_path: Path
) -> None:
    path = palette(tmp_path / "v.tif", colours.astype(np.uint16))
    with pytest.raises(WrongUse, match=r"v\.tif has a table of colours"):
        opened(path, kind="raw", voxel_size_nm=SIZE)
    assert_holds(opened(path, kind="labels", voxel_size_nm=SIZE), GREY)
    (tmp_path / "s").mkdir()
    palette(tmp_path / "s" / "s0.tif", colours.astype(np.uint16), GREY[0])
    with pytest.raises(WrongUse, match=r"has a table of colours"):
        opened(tmp_path / "s", kind="raw", voxel_size_nm=SIZE)


def test_a_slice_that_is_stored_inverted_among_others_is_named(tmp_path: Path) -> None:
    for z, plane in enumerate(GREY):
        photometric = "miniswhite" if z == 2 else "minisblack"
        tifffile.imwrite(tmp_path / f"s{z}.tif", plane, photometric=photometric)
    with pytest.raises(WrongUse, match=r"s2\.tif is stored with white as 0"):
        opened(tmp_path, voxel_size_nm=SIZE)


# -- OME-XML ---------------------------------------------------------------------------------------


def ome(size_z: int, data: str, uuid: str = "") -> bytes:
    pixels = (
        f'DimensionOrder="XYZCT" Type="uint8" SizeX="7" SizeY="6" SizeZ="{size_z}" SizeC="1" '
        f'SizeT="1" PhysicalSizeX="{X}" PhysicalSizeY="{Y}" PhysicalSizeZ="{Z}"'
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/'
        f'OME/2016-06" {uuid}><Image ID="Image:0"><Pixels ID="Pixels:0" {pixels}>'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{data}</Pixels></Image></OME>'
    ).encode()


Z, Y, X = (edge / 1000 for edge in SIZE)


def files(path: Path, names: list[str]) -> Path:
    """One plane in each file, all named in each."""
    data = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{name}">{z}</UUID>'
        "</TiffData>"
        for z, name in enumerate(names)
    )
    for z, (name, plane) in enumerate(zip(names, GREY, strict=True)):
        if name.startswith("z"):
            text = ome(5, data, f'UUID="{z}"')
            tifffile.imwrite(path / name, plane, description=text, metadata=None)
    return path / names[0]


def test_a_file_that_ome_xml_names_and_is_not_there(tmp_path: Path) -> None:
    path = files(tmp_path, [f"z{z}.ome.tif" for z in range(5)])
    assert_holds(opened(path), GREY)
    (tmp_path / "z3.ome.tif").unlink()
    with pytest.raises(WrongUse, match=r"names 5 files, but z3\.ome\.tif is not in its folder"):
        opened(path)


@pytest.mark.parametrize("name", ["../secret.tif", "/etc/passwd", "a\\b.tif", ".."])
def test_ome_xml_opens_no_file_elsewhere(name: str, tmp_path: Path) -> None:
    path = files(tmp_path, [*(f"z{z}.ome.tif" for z in range(4)), name])
    with pytest.raises(WrongUse, match="names a file that is not in its folder"):
        opened(path)


def test_planes_that_ome_xml_names_and_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "v.ome.tif"
    for size_z in (40, 10**8, 10**30):
        text = ome(size_z, "<TiffData/>")
        tifffile.imwrite(path, GREY, description=text, metadata=None)
        with pytest.raises(WrongUse, match=r"v\.ome\.tif cannot be read: its OME-XML ") as raised:
            opened(path)
        assert size_z > 40 or "names 40 planes, but it holds 5" in str(raised.value)


def test_a_file_of_ome_xml_may_be_renamed(tmp_path: Path) -> None:
    data = '<TiffData IFD="0" PlaneCount="5"><UUID FileName="old.ome.tif">1</UUID></TiffData>'
    path = tmp_path / "new.ome.tif"
    tifffile.imwrite(path, GREY, description=ome(5, data, 'UUID="1"'), metadata=None)
    assert_holds(opened(path), GREY)


# -- MRC -------------------------------------------------------------------------------------------

STAMPS = {"serialem": b"\x44\0\0\0", "imod": b"\x44\x20\x20\x20", "none": bytes(4)}
MARKS = {"amira": bytes(4), "motioncor": b"MAP\0", "usual": b"MAP "}


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("stamp", STAMPS)
def test_stamps_and_marks_of_other_writers(
    stamp: str, mark: str, order: Order, tmp_path: Path
) -> None:
    path = mrc_file(tmp_path / "v.mrc", order=order, extended=bytes(80))
    data = bytearray(path.read_bytes())
    data[208:216] = MARKS[mark] + STAMPS[stamp]
    path.write_bytes(data)
    assert_holds(opened(path))


@pytest.mark.parametrize(
    ("cut", "words"),
    [(1, "it is no MRC file or cut short"), (-20, "it has no mark MAP, and"), (0, "")],
)
def test_without_a_mark_the_size_decides(cut: int, words: str, tmp_path: Path) -> None:
    path = mrc_file(tmp_path / "v.mrc")
    data = bytearray(path.read_bytes())
    data[208:212] = bytes(4)
    path.write_bytes(data[: len(data) - cut] if cut >= 0 else data + bytes(-cut))
    if not words:
        assert_holds(opened(path))
        return
    with pytest.raises(WrongUse, match=words):
        opened(path)


# -- N5 --------------------------------------------------------------------------------------------


def test_the_unit_of_bigdataviewer_is_in_its_xml(tmp_path: Path) -> None:
    setup = tmp_path / "d.n5" / "setup0"
    n5_array(setup / "timepoint0" / "s0", attributes={"downsamplingFactors": [1, 1, 1]})
    n5_group(setup, {"dataType": "uint16"})
    n5_group(setup / "timepoint0", {"multiScale": True, "resolution": [5, 4, 8]})
    path = setup / "timepoint0" / "s0"
    with pytest.raises(WrongUse, match=r"give --voxel-size-nm .*along z is without a unit"):
        opened(path)
    source = opened(path, voxel_size_nm=SIZE)
    assert_holds(source)
    (note,) = source.notes
    assert note == "its resolution of the group has no unit, and is not used"


def test_a_given_size_wins_over_one_without_a_unit(tmp_path: Path) -> None:
    micrometres = n5_array(tmp_path / "a", attributes={"resolution": [0.005, 0.004, 0.008]})
    with pytest.raises(WrongUse, match="without a unit"):
        opened(micrometres)
    assert_holds(opened(micrometres, voxel_size_nm=SIZE))
    other = opened(
        n5_array(tmp_path / "b", attributes={"resolution": [9, 9, 9]}), voxel_size_nm=SIZE
    )
    assert_holds(other)
    assert other.notes == ("its resolution has no unit; the given 8,4,5 nm are taken",)
    same = n5_array(tmp_path / "c", attributes={"resolution": SIZE[::-1]})
    assert not opened(same, voxel_size_nm=SIZE).notes


def test_a_size_with_a_unit_is_trusted_more_than_one_without(tmp_path: Path) -> None:
    attributes: dict[str, Any] = {"resolution": [9, 9, 9]}
    n5_group(tmp_path / "g", {"pixelResolution": {"dimensions": SIZE[::-1], "unit": "nm"}})
    assert_holds(opened(n5_array(tmp_path / "g" / "s0", attributes=attributes)))


@pytest.mark.parametrize(("unit", "scale"), [("um", 1e-3), ("nm", 1.0), ("µm", 1e-3)])
def test_n5_of_fiji(unit: str, scale: float, tmp_path: Path) -> None:
    z, y, x = (edge * scale for edge in SIZE)
    stated = {"pixelWidth": x, "pixelHeight": y, "pixelDepth": z, "pixelUnit": unit}
    assert_holds(opened(n5_array(tmp_path / "v", attributes=stated)))


# -- multiscale groups ----------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3])
def test_the_finest_level_is_read_wherever_it_is_listed(
    version: ZarrFormat, tmp_path: Path
) -> None:
    path = tmp_path / "v.zarr"
    multiscale(path, version)
    file = path / (".zattrs" if version == 2 else "zarr.json")
    tree = json.loads(file.read_text())
    holder = tree if version == 2 else tree["attributes"]["ome"]
    levels = holder["multiscales"][0]["datasets"]
    levels[1]["coordinateTransformations"] = [
        {"type": "scale", "scale": [2 * edge for edge in SIZE]}
    ]
    levels.reverse()
    file.write_text(json.dumps(tree))
    source = opened(path)
    assert source.shape == VOLUME.shape
    assert source.voxel_size_nm == SIZE
    assert source.notes == ("its levels begin with s1, which is coarser: the finest, s0, is read",)
    assert opened(f"{path}#s1").notes == ()


# -- files that are none, or unpack to too much ----------------------------------------------------


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".tif", ".mrc"])
def test_a_pipe_is_no_file(suffix: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"v{suffix}")
    with pytest.raises(WrongUse, match="is no regular file"):
        opened(tmp_path / f"v{suffix}")


def test_a_pipe_or_a_link_to_itself_among_slices_is_named(tmp_path: Path) -> None:
    for z in (0, 2):
        tifffile.imwrite(tmp_path / f"s{z}.tif", GREY[z])
    os.mkfifo(tmp_path / "s1.tif")
    with pytest.raises(WrongUse, match=r"s1\.tif is no regular file"):
        opened(tmp_path, voxel_size_nm=SIZE)
    (tmp_path / "s1.tif").unlink()
    (tmp_path / "s1.tif").symlink_to("s1.tif")
    with pytest.raises(WrongUse, match=r"s1\.tif cannot be read: Too many levels of symbolic"):
        opened(tmp_path, voxel_size_nm=SIZE)


def test_a_path_with_a_zero_byte(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="holds a zero byte"):
        opened(f"{tmp_path}/v\0.npy")


def test_no_group_above_the_store_is_opened(tmp_path: Path) -> None:
    n5_array(tmp_path / "secret" / "s0")
    n5_group(tmp_path / "open.n5", {"n5": "2.0.0"})
    with pytest.raises(WrongUse, match="not above it"):
        opened(f"{tmp_path}/open.n5#../secret/s0", voxel_size_nm=SIZE)


def test_an_npz_that_unpacks_to_much_more_than_its_size(tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    np.savez_compressed(path, raw=np.zeros((110, 1000, 1000), np.uint8))
    with pytest.raises(WrongUse, match=r"unpacks to 110 MB from 0\.1 MB; expected at most 101 MB"):
        opened(path, voxel_size_nm=SIZE)


def test_an_npz_is_unpacked_once_and_again_when_it_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="fibstream.volumes.numpy_files")
    path = tmp_path / "v.npz"
    for volume in (VOLUME, VOLUME + 1):
        np.savez(path, raw=volume)
        os.utime(path, ns=(7, 7))  # of one size, within one tick of the clock
        for _ in range(3):
            assert_holds(opened(path, voxel_size_nm=SIZE), volume)
    assert sum("unpacking" in record.getMessage() for record in caplog.records) == 2


def test_an_npz_with_a_header_that_lies(tmp_path: Path) -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (900, 100, 1000), }"
    header += b" " * (117 - len(header)) + b"\n"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(50)
    with zipfile.ZipFile(tmp_path / "v.npz", "w") as file:
        file.writestr("raw.npy", data)
    with pytest.raises(WrongUse, match="array raw is cut short: 178 of 90000128 bytes"):
        opened(tmp_path / "v.npz", voxel_size_nm=SIZE)

"""TIFF: sizes of ImageJ and OME-XML in all their units, layouts, and inverted grey values."""

import itertools
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse

from .layouts import SHAPE, SIZE, VOLUME, Order, assert_holds, opened, tiff_file

Z, Y, X = SIZE
NUMBER = itertools.count()
HYPERSTACK = "images=5\nslices=5\nhyperstack=true\nmode=grayscale\n"


def rational(edge: float) -> tuple[int, int]:
    """Pixels for a unit, as ImageJ writes them: over a million, or less where that is too much."""
    below = min(1_000_000, int((2**31 - 1) * edge))
    return round(below / edge), below


def imagej(
    path: Path,
    unit: str | None = "nm",
    scale: float = 1.0,
    extra: str = "",
    spacing: bool = True,
    volume: NDArray[Any] = VOLUME,
    **options: Any,
) -> Path:
    """As ImageJ saves a stack: one directory, the planes one after the other, big-endian."""
    lines = [f"ImageJ=1.53t\nimages={len(volume)}\nslices={len(volume)}", "loop=false"]
    lines += [f"unit={unit}"] if unit is not None else []
    lines += [f"spacing={Z / scale!r}"] if spacing else []
    pixels = options.pop("pixels", [rational(X / scale), rational(Y / scale)])
    text = "\n".join([*lines, *filter(None, [extra])]) + "\n"
    return tiff_file(path / "v.tif", volume, text, pixels=pixels, **options)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("unit", "scale"),
    [
        ("nm", 1), ("um", 1e3), ("\\u00B5m", 1e3), ("\\u00b5m", 1e3), ("micron", 1e3),
        ("microns", 1e3), ("\u00b5m", 1e3), ("\\u00C5", 0.1), ("mm", 1e6), ("nanometer", 1),
    ],
)  # fmt: skip
def test_units_of_imagej(unit: str, scale: float, order: Order, tmp_path: Path) -> None:
    assert_holds(opened(imagej(tmp_path, unit, scale, order=order)))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_types_of_imagej(dtype: str, tmp_path: Path) -> None:
    volume = VOLUME.astype(dtype)
    assert_holds(opened(imagej(tmp_path, volume=volume), kind="raw"), volume)


def test_axes_of_imagej_may_have_units_of_their_own(tmp_path: Path) -> None:
    edges = [rational(X / 1000), rational(Y)]
    path = imagej(tmp_path, "um", 1, "yunit=nm\nzunit=nm", pixels=edges)
    assert_holds(opened(path))


@pytest.mark.parametrize(
    "extra", ["hyperstack=true", "frames=1\nchannels=1", "min=12.0\nmax=900.0"]
)
def test_what_else_imagej_writes_makes_no_difference(extra: str, tmp_path: Path) -> None:
    source = opened(imagej(tmp_path, extra=extra))
    assert_holds(source)
    assert source.display.window == ((12.0, 900.0) if "min" in extra else None)


@pytest.mark.parametrize("directories", [1, 5])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", "<>")
def test_one_directory_or_one_for_each_plane(
    directories: int, big: bool, order: Order, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"directories": directories, "big": big, "order": order}
    if directories == 1 and big:  # no program writes that
        return
    assert_holds(opened(imagej(tmp_path, **options)))


UNKNOWN: dict[str, tuple[dict[str, Any], str]] = {
    "inch": ({"unit": "inch"}, "in the unit 'inch'"),
    "pixel": ({"unit": "pixel"}, "in the unit 'pixel'"),
    "no unit": ({"unit": None}, "without a unit"),
    "no spacing": ({"spacing": False}, "no distance of slices is set"),
    "no scale": ({"pixels": [(1, 1), (1, 1)]}, "no scale is set"),
    "zero pixels": ({"pixels": [(0, 1), (1, 5)]}, "no scale is set"),
    "zero spacing": ({"spacing": False, "extra": "spacing=0.0"}, "along z is 0"),
    "negative spacing": ({"spacing": False, "extra": "spacing=-8.0"}, "along z is -8"),
    "spacing of none": ({"spacing": False, "extra": "spacing=NaN"}, "along z is "),
    "other unit of z": ({"extra": "zunit=sec"}, "along z is in the unit 'sec'"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_size_that_imagej_does_not_know(name: str, tmp_path: Path) -> None:
    options, why = UNKNOWN[name]
    path = imagej(tmp_path, **options)
    with pytest.raises(WrongUse, match="no voxel size; give --voxel-size-nm Z,Y,X") as raised:
        opened(path)
    assert "ImageJ's description: " in str(raised.value)
    assert why in str(raised.value)
    assert_holds(opened(path, voxel_size_nm=SIZE))


@pytest.mark.parametrize("unit", [2, 3])
def test_dots_per_inch_are_no_voxel_size(unit: int, tmp_path: Path) -> None:
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, VOLUME, resolution=(300, 300), resolutionunit=unit, metadata=None)
    with pytest.raises(WrongUse, match=r"no voxel size; give --voxel-size-nm Z,Y,X$"):
        opened(path)


# -- OME-XML ---------------------------------------------------------------------------------------


def xml(
    sizes: str, *, order: str = "XYZCT", dtype: str = "uint16", data: str = "<TiffData/>"
) -> str:
    z, y, x = SHAPE
    return (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/'
        f'OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="{order}" '
        f'Type="{dtype}" SizeX="{x}" SizeY="{y}" SizeZ="{z}" SizeC="1" SizeT="1" {sizes}>'
        f"<Channel ID='Channel:0:0' SamplesPerPixel='1'/>{data}</Pixels></Image></OME>"
    )


def physical(unit: str | None, *edges: object) -> str:
    named = zip("ZYX", edges, strict=True)
    stated = [f'PhysicalSize{axis}="{edge}"' for axis, edge in named if edge is not None]
    stated += [f'PhysicalSize{axis}Unit="{unit}"' for axis in "ZYX" if unit]
    return " ".join(stated)


def ome(path: Path, text: str, name: str = "v.ome.tif", **options: Any) -> Path:
    return tiff_file(path / name, VOLUME, text, directories=5, **options)


@pytest.mark.parametrize(
    ("unit", "scale"), [(None, 1e3), ("nm", 1), ("mm", 1e6), ("m", 1e9), ("pm", 1e-3)]
)
@pytest.mark.parametrize("big", [False, True])
def test_units_of_ome(unit: str | None, scale: float, big: bool, tmp_path: Path) -> None:
    text = xml(physical(unit, Z / scale, Y / scale, X / scale))
    assert_holds(opened(ome(tmp_path, text, big=big)))


@pytest.mark.parametrize(("unit", "scale"), [("\u00b5m", 1e3), ("\u00c5", 0.1)])
def test_units_of_ome_that_are_not_ascii(unit: str, scale: float, tmp_path: Path) -> None:
    text = xml(physical(unit, Z / scale, Y / scale, X / scale)).encode().decode("latin-1")
    assert_holds(opened(ome(tmp_path, text)))


@pytest.mark.parametrize(
    ("sizes", "why"),
    [
        (physical("nm", None, Y, X), "OME-XML: it has no PhysicalSizeZ"),
        ("", "OME-XML: it has no PhysicalSizeZ, PhysicalSizeY, PhysicalSizeX"),
        (physical("nm", 0, Y, X), "OME-XML: its size along z is '0'"),
        (physical("nm", Z, -4, X), "along y is '-4'"),
        (physical("nm", Z, Y, "NaN"), "along x is 'NaN'"),
        (physical("pixel", Z, Y, X), "along z is in the unit 'pixel'"),
        (physical("reference frame", Z, Y, X), "'reference frame'"),
    ],
)
def test_a_size_that_ome_does_not_know(sizes: str, why: str, tmp_path: Path) -> None:
    path = ome(tmp_path, xml(sizes))
    with pytest.raises(WrongUse, match="no voxel size; give --voxel-size-nm Z,Y,X") as raised:
        opened(path)
    assert why in str(raised.value)
    assert_holds(opened(path, voxel_size_nm=SIZE))


def test_ome_is_trusted_before_imagej_and_a_difference_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    description = "ImageJ=1.53t\nimages=5\nslices=5\nspacing=9.0\nunit=nm\n"
    pixels = [rational(X), rational(Y)]
    path = ome(tmp_path, xml(physical("nm", *SIZE)), second=description, pixels=pixels)
    assert_holds(opened(path))
    (record,) = caplog.records
    assert "OME-XML says 8,4,5 nm, but ImageJ's description 9,4,5 nm" in record.getMessage()
    assert_holds(opened(path, voxel_size_nm=(9, 4, 5)), size=(9, 4, 5))


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}])
def test_an_image_of_ome_in_several_files(options: Any, tmp_path: Path) -> None:
    names = ["a.ome.tif", "b.ome.tif"]
    data = "".join(
        f'<TiffData FirstZ="{z}" IFD="{z % 3}" PlaneCount="1"><UUID FileName="{names[z // 3]}">'
        f"urn:uuid:0000000{z // 3}-0000-0000-0000-000000000000</UUID></TiffData>"
        for z in range(len(VOLUME))
    )
    text = xml(physical("nm", *SIZE), data=data)
    for number, name in enumerate(names):
        uuid = f' UUID="urn:uuid:0000000{number}-0000-0000-0000-000000000000" xmlns='
        with tifffile.TiffWriter(tmp_path / name) as file:
            for n, plane in enumerate(VOLUME[3 * number : 3 * number + 3]):
                description = text.replace(" xmlns=", uuid) if n == 0 else None
                file.write(
                    plane, contiguous=False, metadata=None, description=description, **options
                )
    assert_holds(opened(tmp_path / names[0]))


# -- grey values -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("directories", [1, 5])
def test_white_is_zero_keeps_its_values_and_is_warned_of(
    dtype: str, directories: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    volume = VOLUME.astype(dtype)
    path = imagej(tmp_path, volume=volume, photometric=0, directories=directories)
    source = opened(path, kind="raw")
    assert_holds(source, volume)
    assert source.display.inverted
    assert "give --invert if its membranes are bright" in caplog.text
    assert len(caplog.records) == 1
    assert not opened(path, kind="any").notes


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(2, 9), st.integers(1, 9), st.integers(1, 9)),
    dtype=st.sampled_from(["uint8", "int8", "uint16", "int16", "float32"]),
    order=st.sampled_from("<>"),
    layout=st.sampled_from([(False, True), (True, True), (False, False)]),
    form=st.sampled_from(["imagej", "ome"]),
    unit=st.sampled_from([("nm", 1.0), ("um", 1e3), ("mm", 1e6)]),
    size=st.tuples(*[st.floats(1.5, 500)] * 3),
)
def test_what_is_written_is_read(
    seed: int,
    shape: tuple[int, int, int],
    dtype: str,
    order: Order,
    layout: tuple[bool, bool],
    form: str,
    unit: tuple[str, float],
    size: tuple[float, float, float],
    tmp_path: Path,
) -> None:
    big, paged = layout
    volume = np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)
    z, y, x = (edge / unit[1] for edge in size)
    if form == "imagej":
        text = (
            f"ImageJ=1.53t\nimages={shape[0]}\nslices={shape[0]}\nunit={unit[0]}\nspacing={z!r}\n"
        )
        y_nm, x_nm = (below / count * unit[1] for count, below in (rational(y), rational(x)))
        size = (size[0], y_nm, x_nm)  # ImageJ rounds to whole pixels in a million units
    else:
        stated = xml(physical(unit[0], z, y, x), dtype={"float32": "float"}.get(dtype, dtype))
        text = stated.replace('SizeX="7" SizeY="6" SizeZ="5"', "").replace(
            "SizeC", f'SizeX="{shape[2]}" SizeY="{shape[1]}" SizeZ="{shape[0]}" SizeC'
        )
    pixels = [rational(x), rational(y)]
    name = f"{next(NUMBER)}.ome.tif" if form == "ome" else f"{next(NUMBER)}.tif"
    directories = shape[0] if paged or form == "ome" else 1
    path = tiff_file(
        tmp_path / name, volume, text, order=order, pixels=pixels, directories=directories, big=big
    )
    assert_holds(opened(path, kind="raw"), volume, size)


def test_the_writer_of_these_tests_is_read_by_another_reader(tmp_path: Path) -> None:
    from PIL import Image, ImageSequence

    with Image.open(imagej(tmp_path, directories=5)) as image:
        for z, plane in enumerate(ImageSequence.Iterator(image)):
            np.testing.assert_array_equal(np.asarray(plane), VOLUME[z])


@pytest.mark.parametrize(
    "entities",
    [
        [f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12)],
        [f'<!ENTITY e0 "{"a" * 50_000}">', f'<!ENTITY e11 "{"&e0;" * 50_000}">'],
        ['<!ENTITY e11 SYSTEM "file:///etc/passwd">'],
        ['<!ENTITY % x SYSTEM "http://127.0.0.1:9/x.dtd"> %x;', '<!ENTITY e11 "">'],
    ],
    ids=["powers", "square", "file", "remote"],
)
def test_entities_of_xml_neither_grow_nor_bring_files(entities: list[str], tmp_path: Path) -> None:
    lead = '<!ENTITY e0 "aaaaaaaaaa">' if "e10" in entities[-1] else ""
    document = f"<!DOCTYPE OME [{lead}{''.join(entities)}]>"
    text = xml(physical("nm", *SIZE)).replace("?>", f"?>{document}", 1)
    path = ome(tmp_path, text.replace("<Image ", "<Note>&e11;</Note><Image ", 1))
    tracemalloc.start()
    try:
        assert opened(path, voxel_size_nm=SIZE).shape == VOLUME.shape
    except WrongUse as refused:
        assert "root:" not in str(refused)
        assert len(str(refused)) < 700
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60e6  # the powers alone would be a terabyte

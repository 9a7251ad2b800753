"""MRC: modes, signs, byte orders, axes, extended headers and cells, as MRC2014 lays them out."""

import itertools
import struct
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.volumes.slices import read_slice, whole_header

from .layouts import SIZE, VOLUME, Order, assert_holds, mrc_file, opened

BYTES = (VOLUME % 256).astype(np.uint8)
AXES = list(itertools.permutations((1, 2, 3)))
NUMBER = itertools.count()


def in_mode(dtype: str) -> NDArray[Any]:
    return BYTES.view(np.int8) if dtype == "int8" else VOLUME.astype(dtype)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float32"])
def test_every_mode_in_both_byte_orders(dtype: str, order: Order, tmp_path: Path) -> None:
    volume = in_mode(dtype)
    path = mrc_file(tmp_path / "v.mrc", volume, order=order)
    assert_holds(opened(path, kind="raw"), volume)


@pytest.mark.parametrize(
    ("imod", "stats", "signed"),
    [
        (1, (0, 255, 100), True),  # IMOD's flag goes before all else
        (0, (-128, 127, 0), False),
        (16, (0, -1, -2), False),  # bit 0 alone tells
        (17, (0, -1, -2), True),
        (None, (0, 255, 100), False),  # no int8 has such a maximum
        (None, (3, 90, 20), False),  # the same numbers in both, and other slices may be brighter
        (None, (0, 0, 0), False),
        (None, (-128, 127, 0), True),
        (None, (0, -1, -2), True),  # not determined: MRC2014 has signed bytes
        (None, (float("nan"), float("nan"), 0), True),
    ],
)
@pytest.mark.parametrize("order", "<>")
def test_bytes_are_signed_or_not(
    imod: int | None, stats: tuple[float, float, float], signed: bool, order: Order, tmp_path: Path
) -> None:
    path = mrc_file(tmp_path / "v.mrc", BYTES, order=order, imod=imod, stats=stats)
    expected = BYTES.view(np.int8) if signed else BYTES
    assert_holds(opened(path, kind="raw"), expected)


def test_an_assumption_about_bytes_is_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened(mrc_file(tmp_path / "a.mrc", BYTES, imod=0))
    opened(mrc_file(tmp_path / "b.mrc", BYTES, stats=(0, 255, 100)))
    opened(mrc_file(tmp_path / "c.mrc", VOLUME))
    assert not caplog.records
    (note,) = opened(mrc_file(tmp_path / "d.mrc", BYTES)).notes
    assert "bytes (mode 0) are read as signed" in note
    (note,) = opened(mrc_file(tmp_path / "e.mrc", BYTES, stats=(0, 0, 0))).notes
    assert "bytes (mode 0) are read as unsigned" in note
    assert len(caplog.records) == 2


@pytest.mark.parametrize("extended", [b"\xff" * 80, b"\0" * 4096, b"x" * 131_072])
def test_an_extended_header_is_skipped(extended: bytes, tmp_path: Path) -> None:
    assert_holds(opened(mrc_file(tmp_path / "v.mrc", extended=extended)))


@pytest.mark.parametrize("axes", [*AXES, (0, 0, 0)])
def test_axes_in_any_order(axes: tuple[int, int, int], tmp_path: Path) -> None:
    assert_holds(opened(mrc_file(tmp_path / "v.mrc", axes=axes)))


def test_a_cell_may_have_other_samples_than_the_file(tmp_path: Path) -> None:
    samples = (50, 60, 70)  # the file is a part of the cell
    assert_holds(opened(mrc_file(tmp_path / "v.mrc", samples=samples)))


UNSET: dict[str, tuple[dict[str, Any], str]] = {
    "zero": ({"size": (0, 0, 0)}, "along z is 0"),
    "one axis zero": ({"size": (8, 4, 0)}, "along x is 0"),
    "one angstrom": ({"size": (0.1, 0.1, 0.1)}, "1, 1, 1 angstrom stand for an unset size"),
    "one axis unset": ({"size": (0.1, 4, 5)}, "1, 40, 50 angstrom stand for"),
    "negative": ({"size": (8, -4, 5)}, "along y is -40"),
    "not a number": ({"size": (8, 4, float("nan"))}, "along x is nan"),
    "no samples": ({"samples": (5, 0, 7)}, "its cell has (5, 0, 7) samples"),
    "images": ({"samples": (1, 6, 7), "ispg": 0}, "a stack of images, without a depth"),
}


@pytest.mark.parametrize("name", UNSET)
def test_a_header_without_a_size_is_reported_with_its_reason(name: str, tmp_path: Path) -> None:
    options, why = UNSET[name]
    path = mrc_file(tmp_path / "v.mrc", **options)
    with pytest.raises(WrongUse, match="has no voxel size; give --voxel-size-nm Z,Y,X") as raised:
        opened(path)
    assert "(the MRC header: " in str(raised.value)
    assert why in str(raised.value)
    assert_holds(opened(path, voxel_size_nm=SIZE))


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [
        (12, 4, "mode 4"), (12, 12, "float16"), (12, 101, "mode 101"), (12, 77, "mode"),
        (64, 2, "(2, 2, 3)"), (64, 9, "(9, 2, 3)"),
        (92, 10**9, "1000000000 bytes"), (92, -1, "-1 bytes"),
    ],
)  # fmt: skip
def test_a_header_with_impossible_values_is_one_line(
    at: int, value: Any, words: str, tmp_path: Path
) -> None:
    path = mrc_file(tmp_path / "v.mrc")
    with path.open("r+b") as file:
        file.seek(at)
        file.write(struct.pack("<i", value))
    with pytest.raises(WrongUse) as raised:
        opened(path, voxel_size_nm=SIZE)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("axes", [(1, 2, 3), (2, 1, 3)])
def test_a_slice_is_read_alike_from_map_and_bytes(
    axes: tuple[int, int, int], tmp_path: Path
) -> None:
    path = mrc_file(tmp_path / "s1.mrc", BYTES[:1], axes=axes, order=">", stats=(0, 255, 90))
    plane, _ = read_slice(path)
    assert plane.dtype == np.uint8
    np.testing.assert_array_equal(plane, BYTES[0])
    assert whole_header(path)[:2] == (plane.shape, plane.dtype)
    assert_holds(opened(tmp_path, voxel_size_nm=SIZE), BYTES[:1])


def test_a_dark_slice_is_of_the_same_type_as_the_others(tmp_path: Path) -> None:
    stack = np.stack([BYTES[0], BYTES[1] // 4])
    for z, plane in enumerate(stack):
        stats = (int(plane.min()), int(plane.max()), 50)
        mrc_file(tmp_path / f"s{z}.mrc", plane[None], stats=stats)
    assert_holds(opened(tmp_path, voxel_size_nm=SIZE), stack)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    dtype=st.sampled_from(["int8", "uint8", "int16", "uint16", "float32"]),
    order=st.sampled_from("<>"),
    axes=st.sampled_from(AXES),
    extended=st.integers(0, 300),
    size=st.tuples(*[st.floats(0.5, 500)] * 3),
)
def test_what_is_written_is_read(
    seed: int,
    shape: tuple[int, int, int],
    dtype: str,
    order: Order,
    axes: tuple[int, int, int],
    extended: bytes,
    size: tuple[float, float, float],
    tmp_path: Path,
) -> None:
    volume = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    volume = volume.view(np.int8) if dtype == "int8" else volume.astype(dtype)
    path = mrc_file(
        tmp_path / f"{next(NUMBER)}.mrc", volume, size, order=order, axes=axes,
        extended=bytes(extended), imod={"int8": 1, "uint8": 0}.get(dtype),
    )  # fmt: skip
    assert_holds(opened(path, kind="raw"), volume, size)


def test_the_writer_of_these_tests_is_read_by_another_reader(tmp_path: Path) -> None:
    with mrcfile.open(mrc_file(tmp_path / "v.mrc", order=">", extended=bytes(80))) as file:
        np.testing.assert_array_equal(file.data, VOLUME)
        assert file.voxel_size.z == pytest.approx(80)
    assert mrcfile.validate(tmp_path / "v.mrc", print_file=None) in (True, False)

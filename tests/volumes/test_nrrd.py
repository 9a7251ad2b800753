"""NRRD files: what their headers state of voxels, sizes and places, and nothing else."""

import bz2
import gzip
import math
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibstream.core.errors import WrongUse
from fibstream.volumes.nrrd import TYPES
from fibstream.volumes.positions import NOWHERE, Position
from fibstream.volumes.sources import DTYPES

from .layouts import SIZE, VOLUME, assert_holds, nrrd_file, opened

NM: dict[str, Any] = {
    "space directions": "(5,0,0) (0,4,0) (0,0,8)", "space units": '"nm" "nm" "nm"',
    "space dimension": "3",
}  # fmt: skip


@pytest.mark.parametrize("encoding", ["raw", "gzip", "gz", "bzip2", "bz2"])
@pytest.mark.parametrize("endian", ["little", "big"])
def test_every_encoding_and_order_of_bytes_is_read(tmp_path: Path, encoding, endian) -> None:
    assert_holds(opened(nrrd_file(tmp_path / "v.nrrd", encoding=encoding, endian=endian, **NM)))


@pytest.mark.parametrize("name", sorted(TYPES))
def test_every_name_of_a_type_is_read(tmp_path: Path, name: str) -> None:
    volume = (VOLUME % 100).astype(TYPES[name])
    source_of = nrrd_file(tmp_path / "v.nrrd", volume, name=name, **NM)
    if str(volume.dtype) in DTYPES["any"]:
        assert_holds(opened(source_of), volume)
    else:  # double is no type of ours
        with pytest.raises(WrongUse, match="float64"):
            opened(source_of)


@given(st.permutations(range(3)), st.lists(st.sampled_from([1.0, -1.0]), min_size=3, max_size=3))
def test_a_place_is_known_where_axes_are_those_of_space(tmp_path_factory, order, signs) -> None:
    """Sizes are known however axes run; a turned volume is never moved, or turned back."""
    edges = SIZE[::-1]
    rows = [[0.0] * 3 for _ in range(3)]
    for n, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        rows[n][axis] = sign * edges[n]
    words = " ".join(f"({','.join(map(str, row))})" for row in rows)
    path = nrrd_file(
        tmp_path_factory.mktemp("n") / "v.nrrd",
        **(NM | {"space directions": words, "space origin": "(10,40,80)"}),
    )
    source = opened(path)
    assert_holds(source)
    straight = order == [0, 1, 2] and min(signs) > 0
    assert source.position == (Position((10.0, 10.0, 2.0)) if straight else NOWHERE)
    assert bool(source.notes) == (not straight)


def test_oblique_axes_have_lengths(tmp_path: Path) -> None:
    c, s = math.cos(0.3), math.sin(0.3)
    rows = f"({5 * c},{5 * s},0) ({-4 * s},{4 * c},0) (0,0,8)"
    source = opened(nrrd_file(tmp_path / "v.nrrd", **(NM | {"space directions": rows})))
    assert_holds(source)
    assert source.position is None  # no origin is stated
    mixed = NM | {"space directions": rows, "space units": '"nm" "um" "nm"'}
    with pytest.raises(WrongUse, match="axes are turned, and units differ"):
        opened(nrrd_file(tmp_path / "w.nrrd", **mixed))


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_units_belong_to_axes_of_space(tmp_path: Path, order: tuple[int, ...]) -> None:
    rows = [[0.0] * 3 for _ in range(3)]
    for n, axis in enumerate(order):
        rows[n][axis] = SIZE[::-1][n] / (1000 if axis == 1 else 1)
    words = " ".join(f"({','.join(map(str, row))})" for row in rows)
    fields: dict[str, Any] = {
        "space directions": words,
        "space units": '"nm" "microns" "nm"',
        "space dimension": "3",
    }
    assert_holds(opened(nrrd_file(tmp_path / "v.nrrd", **fields)))


def test_spacings_need_units(tmp_path: Path) -> None:
    sized: dict[str, Any] = {"spacings": "0.005 0.004 0.008", "units": '"um" "um" "um"'}
    assert_holds(opened(nrrd_file(tmp_path / "a.nrrd", **sized)))
    bare = nrrd_file(tmp_path / "b.nrrd", spacings="5 4 8")
    with pytest.raises(WrongUse, match="spacings: its size along z is without a unit"):
        opened(bare)
    assert_holds(opened(bare, voxel_size_nm=SIZE))


def test_a_byte_skip_counts_from_either_end(tmp_path: Path) -> None:
    for skip in ("7", "-1"):
        assert_holds(
            opened(nrrd_file(tmp_path / "v.nrrd", skipped=7, **(NM | {"byte skip": skip})))
        )


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "detached": ({"data file": "v.raw"}, "data are elsewhere"),
    "ascii": ({"encoding": "ascii"}, "encoding is 'ascii'; expected"),
    "block": ({"name": "block"}, "type is 'block'"),
    "no order of bytes": ({"endian": None}, "lacks endian"),
    "another order": ({"endian": "middle"}, "endian is 'middle'"),
    "sizes": ({"sizes": "7 6"}, "sizes are '7 6'; expected 3 whole numbers"),
    "negative": ({"sizes": "7 -6 5"}, "expected 3 whole numbers"),
    "too large": ({"sizes": "7 6 50"}, "cut short: 420 of 4200 bytes"),
    "dimension": ({"dimension": "99"}, "expected 1 to 16"),
    "twice": ({"Sizes": "7 6 5"}, "states 'sizes' twice"),
    "a line": ({"x": None, "line": "what is this"}, "'what is this'; expected FIELD: VALUE"),
    "skips lines": ({"line skip": "3"}, "skips lines"),
    "skip": ({"byte skip": "-7"}, "byte skip is -7"),
    "skip too far": ({"byte skip": "9"}, "cut short"),
    "skips packed bytes": ({"byte skip": "9", "encoding": "gzip"}, "skips bytes before data"),
    "bomb": ({"encoding": "gzip", "sizes": "999 999 999"}, "unpacks to 1,994 MB"),
    "packed and cut": ({"encoding": "gzip", "sizes": "7 6 9"}, "cut short: 420 of 756"),
    "packed and more": ({"encoding": "bz2", "sizes": "7 6 4"}, "more than the 336 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(WRONG))
def test_a_wrong_header_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    fields, says = WRONG[case]
    with pytest.raises(WrongUse, match=says) as caught:
        opened(nrrd_file(tmp_path / "v.nrrd", **(NM | fields)))
    assert "v.nrrd" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_damaged_packed_data_are_refused(tmp_path: Path, pack) -> None:
    encoding = "gzip" if pack is gzip.compress else "bz2"
    path = nrrd_file(tmp_path / "v.nrrd", encoding=encoding, **NM)
    data = bytearray(path.read_bytes())
    data[-30:-20] = bytes(10)
    path.write_bytes(data)
    with pytest.raises(WrongUse, match=r"damaged|cut short"):
        opened(path)


def test_what_is_no_nrrd_is_refused(tmp_path: Path) -> None:
    for data in (b"", b"NRRD0009\n\n", b"NRRD0004\n" + b"#" * 70_000):
        (tmp_path / "v.nrrd").write_bytes(data)
        with pytest.raises(WrongUse, match=r"v\.nrrd .*(NRRD0005|does not end)"):
            opened(tmp_path / "v.nrrd")

"""Names of slices: which files are slices, and their numbers and order."""

import pytest

from fibstream.volumes.slice_names import is_slice_name, natural, number_of

SUFFIXES = (".tif", ".tiff", ".mrc")


@pytest.mark.parametrize(
    ("name", "number"),
    [("slice_0012.tif", 12), ("2024-01-05_s7.TIFF", 7), ("a3.ome.tif", 3), ("plain.tif", None)],
)
def test_the_number_of_a_slice_is_the_last_in_its_name(name: str, number: int | None) -> None:
    assert number_of(name) == number


def test_a_pattern_selects_the_number_and_the_files() -> None:
    assert number_of("slice_12_z=0.1250um.tif", r"slice_(\d+)") == 12
    assert number_of("other_12.tif", r"slice_(\d+)") is None
    assert number_of("slice_x.tif", r"slice_(\w+)") is None


@pytest.mark.parametrize("name", ["s1.tif", "S1.TIFF", "x.mrc", "template.tif", "s.1.tif"])
def test_slices_are_known_by_their_names(name: str) -> None:
    assert is_slice_name(name, SUFFIXES)


@pytest.mark.parametrize(
    "name",
    [
        ".s1.tif",
        "._s1.tif",
        "~s1.tif",
        "~$s1.tif",
        "s1.tif~",
        "s1.tmp.tif",
        "s1.tif.part",
        ".tif",
        "Thumbs.db",
        "notes.txt",
        "s1.tif.tmp",
        "s1~.tif",
        "tif",
        "s1.part.tif",
    ],
)
def test_temporary_and_other_files_are_no_slices(name: str) -> None:
    assert not is_slice_name(name, SUFFIXES)


def test_natural_order() -> None:
    found = ["s10", "s2", "s1b", "s1", "s01"]
    assert sorted(found, key=natural) == ["s01", "s1", "s1b", "s2", "s10"]

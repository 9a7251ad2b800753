"""Units of length, sizes that do not serve, and sizes that disagree."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibstream.volumes.lengths import Lengths, Stated, agree, combine, statement, unit_nm

SYMBOLS = {"pm": 1e-3, "Å": 0.1, "nm": 1.0, "um": 1e3, "µm": 1e3, "μm": 1e3, "mm": 1e6, "m": 1e9}
NM = ["nm"] * 3


@pytest.mark.parametrize(
    ("unit", "length"),
    [
        *SYMBOLS.items(), ("NM", 1), ("UM", 1e3), (" nm ", 1), ("\u212b", 0.1), ("A\u030a", 0.1),
        ("\\u00b5m", 1e3), ("\\u03BCm", 1e3), ("\\u00C5", 0.1), ("cm", 1e7),
        ("Nanometers", 1), ("micron", 1e3), ("Microns", 1e3), ("micrometre", 1e3), ("meter", 1e9),
        ("Ångström", 0.1), ("angstroms", 0.1), ("picometres", 1e-3), ("millimeter", 1e6),
    ],
)  # fmt: skip
def test_lengths_that_are_known(unit: object, length: float) -> None:
    assert unit_nm(unit) == pytest.approx(length)


@pytest.mark.parametrize(
    "unit",
    ["pixel", "inch", "in", "", " ", None, 3, ["nm"], "Mm", "MM", "Pm", "s", "nmm", "\\u00zz"],
)
def test_lengths_that_are_not(unit: object) -> None:
    assert unit_nm(unit) is None


@settings(deadline=None)
@given(st.tuples(*[st.tuples(st.floats(1e-6, 1e6), st.sampled_from(list(SYMBOLS)))] * 3))
def test_a_size_is_number_times_unit_on_each_axis(edges: tuple[tuple[float, str], ...]) -> None:
    stated = statement("here", [size for size, _ in edges], [unit for _, unit in edges])
    assert stated.size_nm == pytest.approx([size * SYMBOLS[unit] for size, unit in edges])
    assert stated == statement(
        "here", [repr(size) for size, _ in edges], [unit for _, unit in edges]
    )


@pytest.mark.parametrize(
    ("size", "why"),
    [(0, "0"), (-4.0, "-4"), (float("nan"), "nan"), (float("inf"), "inf"), ("wide", "'wide'"),
     (None, "None"), (True, "True"), ([4], "[4]"), ("x" * 99, "...")],
)  # fmt: skip
def test_a_number_that_is_no_length_is_unusable(size: object, why: str) -> None:
    stated = statement("here", [8, size, 5], NM)
    assert stated.size_nm is None
    assert stated.why.startswith("its size along y is ")
    assert stated.why.endswith(why)
    assert len(stated.why) < 80


@pytest.mark.parametrize(
    ("unit", "why"), [("pixel", "in the unit 'pixel'"), (None, "without a unit"), ("", "without")]
)
def test_a_unit_that_is_no_length_is_unusable(unit: object, why: str) -> None:
    stated = statement("here", [8, 4, 5], ["nm", "nm", unit])
    assert stated.size_nm is None
    assert f"along x is {why}" in stated.why
    assert combine([stated]).why == f"here: {stated.why}"


def test_the_first_usable_size_is_taken_and_a_warning_names_those_that_differ() -> None:
    bad, a = statement("one", [8, 4, 0], NM), statement("two", [8, 4, 5], NM)
    near, b = statement("three", [8.04, 4, 5], NM), statement("four", [16, 8, 10], NM)
    found = combine([bad, a, near, b])
    assert found.size_nm == (8, 4, 5)
    assert found.others == ((16, 8, 10),)
    (warning,) = found.warnings
    assert "two says 8,4,5 nm, but four 16,8,10 nm" in warning
    assert "--voxel-size-nm 16,8,10" in warning
    assert combine([a, near]) == Lengths((8, 4, 5))


@settings(deadline=None)
@given(st.permutations([(8.0, 4.0, 5.0), (8.0, 4.0, 4.0), (4.0, 4.0, 4.0)]))
def test_every_stated_size_can_be_chosen(sizes: list[tuple[float, float, float]]) -> None:
    found = combine([Stated(str(n), size) for n, size in enumerate(sizes)])
    assert [found.size_nm, *found.others] == sizes


def test_nothing_stated_is_no_size() -> None:
    assert combine([]) == Lengths()
    assert agree((8, 4, 5), (8.07, 4, 5))
    assert not agree((8, 4, 5), (8, 4, 5.1))

"""Names of slices: which files are slices, their numbers, and what is amiss with those."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibstream.core.errors import WrongUse
from fibstream.volumes.slice_names import (
    Rule,
    check_pattern,
    is_slice_name,
    natural,
)
from fibstream.volumes.slice_numbers import number_names

TWELVE = range(12)
WITHOUT_6 = [k for k in TWELVE if k != 6]

SUFFIXES = (".tif", ".tiff", ".mrc")


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


@pytest.mark.parametrize(
    ("name", "number"),
    [("slice_0012.tif", 12), ("2024-01-05_s7.TIFF", 7), ("a3.ome.tif", 3), ("plain.tif", None)],
)
def test_the_number_of_a_single_slice_is_the_last_in_its_name(
    name: str, number: int | None
) -> None:
    assert number_names([name]).numbers.get(name) == number


def test_one_name_does_not_show_which_of_several_numbers_counts() -> None:
    assert not number_names(["slice_00001_z=0.0080um.tif"]).decided
    assert number_names(["slice_00001.tif"]).decided
    assert number_names(["slice_00001_z=0.0080um.tif", "slice_00002_z=0.0160um.tif"]).decided


def test_a_pattern_selects_the_number_and_the_files() -> None:
    assert Rule(pattern=r"slice_(\d+)").number("slice_12_z=0.1250um.tif") == 12
    assert Rule(pattern=r"slice_(\d+)").number("other_12.tif") is None
    assert Rule(pattern=r"slice_(\w+)").number("slice_x.tif") is None
    found = number_names(["a_1.tif", "b_1.tif", "a_0.tif"], "a_([0-9]+)")
    assert found.order == ("a_0.tif", "a_1.tif")
    assert not found.fault()
    assert found.notes() == ("1 files do not fit --pattern and are left out, such as b_1.tif",)


@pytest.mark.parametrize("pattern", ["[", "slice", "(a)(b)", "(" * 50, "(?P<", "*"])
def test_a_pattern_is_a_regular_expression_with_one_group(pattern: str) -> None:
    with pytest.raises(WrongUse, match="--pattern"):
        check_pattern(pattern)


ONE_MISSING = {  # the number that counts up is not the last, and 6 is missing
    "atlas": [f"slice_{k:05}_z={k * 0.008:.4f}um.tif" for k in WITHOUT_6],
    "number in front": [f"{k:04}_HeLa_8nm.tif" for k in WITHOUT_6],
    "every second": [f"s{2 * k:04}.tif" for k in WITHOUT_6],
    "day in front": [f"{k or 31:02}-0{1 + (k > 0)}-2023_{k:04}.tif" for k in WITHOUT_6],
    "stamp": [f"s{k}_2023-05-01_10-3{k % 7}-{k * 7 % 60:02}.tif" for k in WITHOUT_6],
    "hash": [f"slice_{k:04}_{2654435761 * (k + 3) % 2**24:x}.tif" for k in WITHOUT_6],
    "counts down beside": [f"s{k:03}_z{99 - k:03}.tif" for k in WITHOUT_6],
    "more digits": [f"s{k + 5}.tif" for k in WITHOUT_6],
}


@pytest.mark.parametrize("name", ONE_MISSING)
def test_the_number_that_counts_up_tells_what_is_missing(name: str) -> None:
    names = ONE_MISSING[name]
    shuffled = random.Random(1).sample(names, len(names))
    found = number_names(shuffled)
    assert list(found.order) == names
    assert not found.fault()
    (gap,) = [note for note in found.notes() if "missing" in note]
    assert gap.startswith(f"1 of 12 slices is missing, between {names[5]} and {names[6]}: ")
    (first, *_) = names
    assert found.rule is not None
    assert number_names(names[:3], rule=found.rule).numbers[first] == found.numbers[first]


def test_steps_that_are_not_of_one_are_told() -> None:
    assert "steps of 5" in number_names([f"s{k * 5}.tif" for k in TWELVE]).notes()[0]
    assert (
        "go up by 1 to 13" in number_names([f"s{k}.tif" for k in (1, 2, 3, 10, 17, 30)]).notes()[0]
    )
    assert not number_names([f"s{k}.tif" for k in range(5, 40)]).notes()


STAMPS = [
    [f"2023-05-01_10-{30 + k * 19 // 60}-{k * 19 % 60:02}.tif" for k in TWELVE],
    [f"20230501_2359{k:02}.tif" for k in (1, 7, 50)] + ["20230502_000003.tif"],
]


@pytest.mark.parametrize("names", STAMPS)
def test_where_only_dates_differ_the_natural_order_holds(names: list[str]) -> None:
    found = number_names(random.Random(2).sample(names, len(names)))
    assert found.rule is None
    assert list(found.order) == names
    assert "natural order" in found.notes()[0]
    assert not found.fault()


def test_names_without_numbers() -> None:
    assert number_names(["b.tif", "a.tif"]).order == ("a.tif", "b.tif")
    assert not number_names(["b.tif", "a.tif"]).notes()
    assert number_names([]).order == ()
    mixed = number_names([*(f"s{k}.tif" for k in TWELVE), "overview.tif"])
    assert mixed.left_out == ("overview.tif",)
    assert mixed.fault().startswith("overview.tif has no number where the others have theirs")


SERIES = {
    "detectors": [[f"{d}_{k:04}.tif" for k in TWELVE] for d in ("ESB", "SE2")],
    "detector last": [[f"{k:04}_{d}.tif" for k in TWELVE] for d in ("ESB", "SE")],
    "tiles": [[f"m_g0000_t{t:04}_s{k:05}.tif" for k in TWELVE] for t in (0, 1)],
    "tiles at times": [
        [f"2023-05-01_10-3{k % 6}-{k * 4 + t:02}_t{t}_s{k:03}.tif" for k in TWELVE] for t in (0, 1)
    ],
    "detectors at times": [[f"{d}_{k:04}_1032{n}{k:02}.tif" for k in TWELVE]
                           for n, d in enumerate(("ESB", "SE"))],
    "in turn": [[f"{d}_{2 * k + n:03}.tif" for k in TWELVE] for n, d in enumerate("ab")],
    "three, with a mark": [[f"{d} #{k}-x.tif" for k in TWELVE] for d in ("a.b", "a(b", "a+b")],
}  # fmt: skip


@pytest.mark.parametrize("name", SERIES)
def test_several_series_are_refused_and_the_pattern_that_is_named_selects_one(name: str) -> None:
    groups = SERIES[name]
    every = [name for group in groups for name in group]
    found = number_names(random.Random(3).sample(every, len(every)))
    assert sorted(map(sorted, found.series)) == sorted(map(sorted, groups))
    assert f"{len(groups)} series of slices are in one folder" in found.fault()
    assert f"--pattern '{found.pattern_of(found.series[0])}'" in found.fault()
    for series in found.series:
        pattern = check_pattern(found.pattern_of(series))
        assert "#" not in pattern
        chosen = number_names(every, pattern)
        assert chosen.order == series
        assert not chosen.fault()


DOUBLES = [
    ([f"slice_{k:04}.tif" for k in TWELVE] + ["slice_0005 (1).tif"], "slice 5"),
    ([f"s{k}.tif" for k in TWELVE] + ["s5.tiff"], "slice 5"),
    ([f"s{k}.tif" for k in TWELVE] + ["s05.tif"], "slice 5"),
    ([f"slice_{k:04}.tif" for k in TWELVE] + ["slice_0005 - Copy.tif"], "slice 5"),
    ([f"slice_{k:04}.tif" for k in TWELVE] + ["Copy of slice_0005.tif"], "slice 5"),
]


@pytest.mark.parametrize(("names", "which"), DOUBLES)
def test_a_slice_that_is_there_twice(names: list[str], which: str) -> None:
    found = number_names(names)
    assert len(found.doubles) == 1
    assert f"are both {which}: take one away, or say with --pattern" in found.fault()


def test_names_of_two_kinds_whose_numbers_are_a_sequel_are_joined_with_a_word() -> None:
    names = [f"{'ab'[k // 6]}_{k:04}.tif" for k in TWELVE]
    found = number_names(names)
    assert list(found.order) == names
    assert not found.fault()
    assert found.notes() == ("names of 2 kinds, a_0000.tif, b_0006.tif, are joined",)


@settings(max_examples=200, deadline=None)
@given(
    before=st.text("ab_-=. #(", max_size=5), after=st.text("xy_-=. #)", max_size=5),
    start=st.integers(0, 2000), step=st.integers(1, 3), count=st.integers(3, 40),
    width=st.integers(0, 6), constant=st.integers(0, 99), seed=st.integers(0, 99),
)  # fmt: skip
def test_one_series_is_read_in_its_order(
    before: str, after: str, start: int, step: int, count: int, width: int, constant: int, seed: int
) -> None:
    names = [
        f"{constant}{before}a{start + k * step:0{width}}{after}b{constant}.tif"
        for k in range(count)
    ]
    found = number_names(random.Random(seed).sample(names, count))
    assert list(found.order) == names
    assert [found.numbers[name] for name in names] == [start + k * step for k in range(count)]
    assert not found.fault()
    assert len(found.notes()) == (step > 1)


def test_one_slice_has_no_gaps_and_its_time_is_one_of_its_numbers() -> None:
    assert number_names(["a1.tif"]).notes() == ()
    assert number_names(["a1.tif"]).decided
    assert not number_names(["a_20240101_120000_5.tif"]).decided


def test_that_two_kinds_of_names_are_joined_is_told() -> None:
    found = number_names(["a1.tif", "a2.tif", "b3.tif", "b4.tif"])
    assert list(found.numbers.values()) == [1, 2, 3, 4]
    assert found.notes() == ("names of 2 kinds, a1.tif, b3.tif, are joined",)

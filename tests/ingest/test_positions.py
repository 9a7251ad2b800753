"""Slices keep their place: gaps, absent layers, double numbers, ranks, and runs that resume."""

import pytest

from .simulated_folder import FULL, GIVEUP_S, numbered, simulated


def test_numbers_may_begin_anywhere_and_the_smallest_is_z_0() -> None:
    folder = simulated()
    folder.fill(numbered(range(100, 106)))
    folder.settle()
    assert folder.landed == [0, 1]
    assert folder.content[0] == "s100.tif"
    folder.fill(["s99.tif"])
    folder.settle()
    assert folder.landed == [0, 1]
    assert folder.lines() == "s99.tif comes before slice 100, which is z 0: it is left out"


def test_slices_that_were_taken_away_after_they_landed_move_nothing() -> None:
    folder = simulated()
    folder.fill(numbered(range(3)))
    folder.settle()
    for name in numbered(range(3)):
        del folder.files[name]
    folder.fill(numbered(range(3, 6)))
    folder.settle()
    assert folder.landed == [0, 1]
    assert folder.content[3] == "s3.tif"
    assert folder.lines(ended=True) == ""


def test_a_gap_is_reported_with_what_can_be_done() -> None:
    folder = simulated()
    folder.fill(["s0.tif", "s1.tif", *numbered(range(3, 9))])
    folder.settle()
    assert folder.landed == []
    folder.poll(GIVEUP_S)
    line = "slice 2 is missing and what follows waits; put a file there, such as a copy of its "
    assert folder.lines().startswith(line + "neighbour, or give --absent 0-2: only a whole layer")
    folder.fill(["s2.tif"])
    folder.settle()
    assert folder.landed == [1, 2, 0]  # it waited to become stable, the others had done so
    assert folder.lines(ended=True) == ""


def test_a_layer_that_is_declared_absent_is_no_gap_but_a_single_slice_cannot_be() -> None:
    folder = simulated(absent=frozenset({13, 14, 15, 17}))
    folder.fill(numbered((10, 11, 12, 16, 18)))
    folder.settle()
    assert folder.landed == [0, 1]
    assert sorted(folder.content) == [0, 1, 2]
    folder.poll(GIVEUP_S)
    assert "slice 17 is missing" in folder.lines(ended=True)
    assert "that is not its whole layer" in folder.lines(ended=True)


def test_two_files_of_one_number_hold_up_their_layer_and_no_other() -> None:
    folder = simulated()
    folder.fill([*numbered(range(6)), "s04.tif"])
    folder.settle()
    assert folder.landed == [0]
    assert "s04.tif and s4.tif both are slice 4" in folder.lines()
    del folder.files["s04.tif"]
    folder.settle()
    assert folder.landed == [0, 1]


def test_names_without_a_number_among_others_are_left_out() -> None:
    folder = simulated()
    folder.fill([*numbered(range(3)), "overview.tif"])
    folder.settle()
    assert folder.landed == [0]
    assert folder.slices.unnumbered == ["overview.tif"]


def test_without_numbers_a_late_one_that_sorts_before_is_left_out() -> None:
    folder = simulated()
    folder.fill(["b.tif", "c.tif", "d.tif"])
    folder.settle()
    folder.fill(["a.tif", "e.tif", "f.tif", "g.tif"])
    folder.settle()
    assert folder.landed == [0, 1]
    assert "".join(folder.content[z][0] for z in range(6)) == "bcdefg"
    assert folder.lines().startswith("a.tif sorts before slices that have landed: it is left out")


def test_a_changed_slice_whose_neighbours_are_gone_is_reported() -> None:
    folder = simulated()
    folder.fill(numbered(range(6)))
    folder.settle()
    del folder.files["s0.tif"]
    folder.write("s1.tif", FULL)
    folder.settle()
    assert folder.landed == [0, 1]
    assert "changed after it landed, but slice 0 is gone" in folder.lines()


def test_what_has_landed_before_is_left_and_the_rest_follows() -> None:
    folder = simulated(landed={0})
    folder.fill(numbered(range(6)))
    folder.poll()
    assert folder.slices.resume() == ""
    folder.settle()
    assert folder.landed == [1]
    folder.write("s1.tif", FULL)  # and what changes from now on is seen
    folder.settle()
    assert folder.landed == [1, 0]


def test_again_lands_all_of_it() -> None:
    folder = simulated(landed={0}, again=True)
    folder.fill(numbered(range(6)))
    folder.settle()
    assert folder.landed == [0, 1]


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (numbered(range(2)), "there are 2 slices, but 6 have landed"),
        (numbered(range(6, 20)), "slices landed before, and numbers begin at 6: give --first N"),
        (["a.tif", "b.tif"], "there are 2 slices, but 6 have landed"),
    ],
)
def test_a_resumed_folder_that_may_have_lost_its_beginning_is_refused(
    files: list[str], line: str
) -> None:
    folder = simulated(landed={0, 1})
    folder.fill(files)
    folder.poll()
    assert line in folder.slices.resume()


def test_with_its_first_number_given_a_resumed_folder_may_have_lost_its_beginning() -> None:
    folder = simulated(landed={0, 1}, first=0)
    folder.fill(numbered(range(6, 9)))
    folder.poll()
    assert folder.slices.resume() == ""
    folder.settle()
    assert folder.landed == [2]
    assert folder.content == {6: "s6.tif", 7: "s7.tif", 8: "s8.tif"}


def test_ranks_go_on_where_they_were() -> None:
    folder = simulated(landed={0})
    folder.fill(["a.tif", "b.tif", "c.tif", "d.tif", "e.tif", "f.tif"])
    folder.poll()
    assert folder.slices.resume() == ""
    folder.settle()
    assert folder.landed == [1]
    folder.fill(["aa.tif"])
    folder.settle()
    assert "aa.tif sorts before" in folder.lines()
    assert folder.landed == [1]


def test_a_sealed_volume_that_ends_with_a_short_layer_resumes() -> None:
    folder = simulated(landed={0, 1}, extent=5)
    folder.fill(numbered(range(5)))
    folder.poll()
    assert folder.slices.resume() == ""
    folder.settle()
    assert folder.landed == []
    assert folder.slices.is_complete(5)
    assert folder.slices.count == 5

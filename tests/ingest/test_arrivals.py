"""Slices that arrive in any way land once, whole and in their place, or not at all."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibstream.services.ingest.arrivals import Rules, Slices
from fibstream.services.ingest.stability import EXAMINED_AGAIN, FileState, StableFiles
from fibstream.volumes.slice_names import is_slice_name, natural, number_of

STABLE_S, GIVEUP_S, DEPTH = 2.0, 60.0, 3
FULL = 3  # pieces in which a whole file is written
ENDINGS = (".tif", ".tiff", ".mrc")


def rules(**given):
    return Rules(**{"stable_s": STABLE_S, "giveup_s": GIVEUP_S, "first": None, **given})


@dataclass
class Disk:
    """A folder as the watcher's core is told of it; a file of ``FULL`` pieces is whole."""

    slices: Slices
    files: dict[str, FileState] = field(default_factory=dict)
    now: float = 0.0
    extent: int | None = None
    landed: list[int] = field(default_factory=list)
    content: dict[int, str] = field(default_factory=dict)

    def write(self, name, size=None):
        """Append a piece to a file that is not whole, or write one that has ``size`` of them."""
        before = self.files.get(name, FileState(name, 0, 0)).size
        if size is None and before == FULL:
            return
        size = before + 1 if size is None else size
        self.files[name] = FileState(name, size, int(self.now * 1e9) + 1)

    def look(self, wait_s=0.0):
        self.now += wait_s
        names = sorted(self.files)
        due = self.slices.due(names)
        self.slices.update(self.now, names, [self.files[name] for name in due])
        for seen in self.slices.unchecked():
            assert seen == self.files[seen.name]
            fault = "" if seen.size == FULL else f"{seen.name} is cut short"
            self.slices.checks.record(seen, fault)
        for layer in self.slices.ready(self.extent):
            self.land(layer)

    def land(self, layer):
        self.slices.begin(layer)
        for z, piece in enumerate(layer.files, layer.start):
            assert piece.size == FULL
            assert piece == self.files[piece.name]
            assert self.now * 1e9 - piece.mtime_ns >= STABLE_S * 1e9 - 1
            self.content[z] = piece.name
        assert layer.absent or len(layer.files) == layer.stop - layer.start
        self.landed.append(layer.index)
        self.slices.landed.add(layer)

    def settle(self):
        """Look until nothing can change any more."""
        for _ in range(3):
            self.look(STABLE_S)

    def fill(self, names):
        for name in names:
            self.write(name, FULL)

    def lines(self, *, ended=False):
        return " | ".join(self.slices.problems(self.now, ended=ended).values())


def disk(*, landed=(), extent=None, again=False, **given):
    slices = Slices(rules(**given), DEPTH, landed, extent, again=again)
    return Disk(slices, extent=extent)


def names(numbers):
    return [f"s{n}.tif" for n in numbers]


# -- laws ------------------------------------------------------------------------------------------

COUNT = 8
steps = st.lists(
    st.one_of(
        st.integers(0, COUNT - 1),  # a piece of this slice is written
        st.floats(0, 5, allow_nan=False),  # a look, after so many seconds
    ),
    max_size=60,
)


@given(steps=steps, by_rank=st.booleans())
@settings(max_examples=150, deadline=None)
def test_every_layer_lands_once_whatever_the_order_of_pieces_and_looks(steps, by_rank):
    """What lands is whole and steady: ``Disk.land`` asserts it at every landing."""
    there = disk(first=0)
    every = [f"{'abcdefgh'[n]}.tif" for n in range(COUNT)] if by_rank else names(range(COUNT))
    if by_rank:
        there.fill(every[:1])  # a rank is known only once what comes before is there
    for step in steps:
        if isinstance(step, float):
            there.look(step)
        elif not by_rank:
            there.write(every[step])
        else:  # in order of names: another order is an error, see below
            there.write(every[min(step, len(there.files))])
    there.fill(name for name in every if name not in there.files or there.files[name].size < FULL)
    there.settle()
    assert sorted(there.landed) == [0, 1]
    there.extent = COUNT
    there.settle()
    assert sorted(there.landed) == [0, 1, 2]
    assert [there.content[z] for z in range(COUNT)] == every
    assert there.slices.is_complete(COUNT)
    assert there.lines(ended=True) == ""


@given(order=st.permutations(range(6)), waits=st.lists(st.floats(0, 3), min_size=6, max_size=6))
@settings(max_examples=100, deadline=None)
def test_what_is_beyond_a_gap_waits_until_it_is_closed(order, waits):
    there = disk(first=0)
    for n, wait in zip(order, waits, strict=True):
        there.write(f"s{n}.tif", FULL)
        there.look(wait)
        end = next(z for z in range(7) if f"s{z}.tif" not in there.files)
        assert all((index + 1) * DEPTH <= end for index in there.landed)
    there.settle()
    assert sorted(there.landed) == [0, 1]


@given(changes=st.lists(st.floats(0.01, 1.9), min_size=5, max_size=30))
@settings(max_examples=100, deadline=None)
def test_a_growing_file_never_counts_as_complete(changes):
    there = disk()
    there.fill(names(range(3)))
    for size, wait in enumerate(changes):
        there.files["s1.tif"] = FileState("s1.tif", FULL, size)  # even if it looks whole each time
        there.look(wait)
        assert there.landed == []
    there.files["s1.tif"] = FileState("s1.tif", FULL, int(there.now * 1e9) + 1)
    there.settle()
    assert there.landed == [0]


@given(changed=st.lists(st.integers(0, 5), min_size=1, max_size=4), when=st.booleans())
@settings(max_examples=50, deadline=None)
def test_layers_of_slices_that_change_land_again_and_only_those(changed, when):
    there = disk()
    there.fill(names(range(6)))
    there.settle()
    there.landed.clear()
    for n in changed:
        there.write(f"s{n}.tif", FULL)
        if when:
            there.look(0.5)
    there.settle()
    assert sorted(there.landed) == sorted({n // DEPTH for n in changed})


# -- complete or not -------------------------------------------------------------------------------


def test_one_look_is_not_enough_however_old_the_file_is():
    there = disk()
    there.fill(names(range(3)))
    there.look(1000)
    assert there.landed == []
    there.look(STABLE_S - 0.1)
    assert there.landed == []
    there.look(0.2)
    assert there.landed == [0]


def test_a_file_cut_short_is_opened_again_and_told_once_others_overtake_it():
    there = disk()
    there.fill(names(range(6)))
    there.write("s1.tif", 1)
    there.settle()
    assert there.landed == [1]  # its number tells where it belongs
    assert there.lines() == ""
    there.look(GIVEUP_S)
    assert there.lines() == "s1.tif is cut short; its layer waits"
    there.write("s1.tif", FULL)
    there.settle()
    assert there.landed == [1, 0]
    assert there.lines() == ""


def test_the_last_file_may_take_its_time_until_the_end():
    there = disk()
    there.fill(names(range(5)))
    there.write("s5.tif", 1)
    there.settle()
    there.look(10 * GIVEUP_S)
    assert there.lines() == ""
    assert "s5.tif is cut short" in there.lines(ended=True)


def test_what_can_never_be_right_is_told_at_once():
    there = disk()
    there.fill(names(range(3)))
    there.look()
    there.now += STABLE_S
    there.slices.update(there.now, sorted(there.files), there.files.values())
    for seen in there.slices.unchecked():
        there.slices.checks.record(seen, "another shape", permanent=True)
    assert there.slices.unchecked() == []
    assert (
        there.lines()
        == "another shape; others too, their layers wait; was the dataset made for another volume?"
    )


def test_a_file_that_changed_while_it_was_read_has_to_become_steady_again():
    there = disk()
    there.fill(names(range(3)))
    there.look()
    there.now += STABLE_S
    there.slices.update(there.now, sorted(there.files), there.files.values())
    for seen in there.slices.unchecked():
        there.slices.checks.record(seen)
    assert [layer.index for layer in there.slices.ready(None)] == [0]
    there.slices.invalidate("s1.tif")
    assert there.slices.ready(None) == []
    there.settle()
    assert there.landed == [0]


def test_looks_are_few_once_files_are_steady_and_still_find_every_change():
    steady = StableFiles(STABLE_S)
    files = {f"s{n}": FileState(f"s{n}", 1, 1) for n in range(4 * EXAMINED_AGAIN + 7)}
    every = list(files)
    for now in (0.0, STABLE_S):
        assert steady.due(every) == every
        steady.update(now, files.values())
    seen = [steady.due(every) for _ in range(5)]
    assert all(len(part) == EXAMINED_AGAIN for part in seen)
    assert set().union(*seen) == set(every)
    assert steady.due([*every, "new"])[0] == "new"


# -- places ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "number"),
    [("slice_0012.tif", 12), ("2024-01-05_s7.TIFF", 7), ("a3.ome.tif", 3), ("plain.tif", None)],
)
def test_the_number_of_a_slice_is_the_last_in_its_name(name, number):
    assert number_of(name) == number


def test_a_pattern_says_where_the_number_is_and_who_is_meant():
    assert number_of("slice_12_z=0.1250um.tif", r"slice_(\d+)") == 12
    assert number_of("other_12.tif", r"slice_(\d+)") is None
    assert number_of("slice_x.tif", r"slice_(\w+)") is None


@pytest.mark.parametrize("name", ["s1.tif", "S1.TIFF", "x.mrc", "template.tif", "s.1.tif"])
def test_slices_are_known_by_their_names(name):
    assert is_slice_name(name, ENDINGS)


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
def test_what_is_temporary_or_foreign_is_no_slice(name):
    assert not is_slice_name(name, ENDINGS)


def test_natural_order():
    found = ["s10", "s2", "s1b", "s1", "s01"]
    assert sorted(found, key=natural) == ["s01", "s1", "s1b", "s2", "s10"]


def test_numbers_may_begin_anywhere_and_the_smallest_is_z_0():
    there = disk()
    there.fill(names(range(100, 106)))
    there.settle()
    assert there.landed == [0, 1]
    assert there.content[0] == "s100.tif"
    there.fill(["s99.tif"])
    there.settle()
    assert there.landed == [0, 1]
    assert there.lines() == "s99.tif comes before slice 100, which is z 0: it is left out"


def test_slices_that_were_taken_away_after_they_landed_move_nothing():
    there = disk()
    there.fill(names(range(3)))
    there.settle()
    for name in names(range(3)):
        del there.files[name]
    there.fill(names(range(3, 6)))
    there.settle()
    assert there.landed == [0, 1]
    assert there.content[3] == "s3.tif"
    assert there.lines(ended=True) == ""


def test_a_gap_is_told_with_what_can_be_done():
    there = disk()
    there.fill(["s0.tif", "s1.tif", *names(range(3, 9))])
    there.settle()
    assert there.landed == []
    there.look(GIVEUP_S)
    line = "slice 2 is missing and what follows waits; put a file there, such as a copy of its "
    assert there.lines().startswith(line + "neighbour, or give --absent 0-2: only a whole layer")
    there.fill(["s2.tif"])
    there.settle()
    assert there.landed == [1, 2, 0]  # it waited to become steady, the others had done so
    assert there.lines(ended=True) == ""


def test_a_layer_that_is_declared_absent_is_no_gap_but_a_single_slice_cannot_be():
    there = disk(absent=frozenset({13, 14, 15, 17}))
    there.fill(names((10, 11, 12, 16, 18)))
    there.settle()
    assert there.landed == [0, 1]
    assert sorted(there.content) == [0, 1, 2]
    there.look(GIVEUP_S)
    assert "slice 17 is missing" in there.lines(ended=True)
    assert "that is not its whole layer" in there.lines(ended=True)


def test_two_files_of_one_number_hold_up_their_layer_and_no_other():
    there = disk()
    there.fill([*names(range(6)), "s04.tif"])
    there.settle()
    assert there.landed == [0]
    assert "s04.tif and s4.tif both are slice 4" in there.lines()
    del there.files["s04.tif"]
    there.settle()
    assert there.landed == [0, 1]


def test_names_without_a_number_among_others_are_left_out():
    there = disk()
    there.fill([*names(range(3)), "overview.tif"])
    there.settle()
    assert there.landed == [0]
    assert there.slices.unnumbered == ["overview.tif"]


def test_without_numbers_a_late_one_that_sorts_before_is_left_out():
    there = disk()
    there.fill(["b.tif", "c.tif", "d.tif"])
    there.settle()
    there.fill(["a.tif", "e.tif", "f.tif", "g.tif"])
    there.settle()
    assert there.landed == [0, 1]
    assert "".join(there.content[z][0] for z in range(6)) == "bcdefg"
    assert there.lines().startswith("a.tif sorts before slices that have landed: it is left out")


def test_a_changed_slice_whose_neighbours_are_gone_is_told():
    there = disk()
    there.fill(names(range(6)))
    there.settle()
    del there.files["s0.tif"]
    there.write("s1.tif", FULL)
    there.settle()
    assert there.landed == [0, 1]
    assert "changed after it landed, but slice 0 is gone" in there.lines()


# -- resuming --------------------------------------------------------------------------------------


def test_what_has_landed_before_is_left_and_the_rest_follows():
    there = disk(landed={0})
    there.fill(names(range(6)))
    there.look()
    assert there.slices.resume() == ""
    there.settle()
    assert there.landed == [1]
    there.write("s1.tif", FULL)  # and what changes from now on is seen
    there.settle()
    assert there.landed == [1, 0]


def test_again_lands_all_of_it():
    there = disk(landed={0}, again=True)
    there.fill(names(range(6)))
    there.settle()
    assert there.landed == [0, 1]


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (names(range(2)), "there are 2 slices, but 6 have landed"),
        (names(range(6, 20)), "slices landed before, and numbers begin at 6: give --first N"),
        (["a.tif", "b.tif"], "there are 2 slices, but 6 have landed"),
    ],
)
def test_a_resumed_folder_that_may_have_lost_its_beginning_is_refused(files, line):
    there = disk(landed={0, 1})
    there.fill(files)
    there.look()
    assert line in there.slices.resume()


def test_with_its_first_number_given_a_resumed_folder_may_have_lost_its_beginning():
    there = disk(landed={0, 1}, first=0)
    there.fill(names(range(6, 9)))
    there.look()
    assert there.slices.resume() == ""
    there.settle()
    assert there.landed == [2]
    assert there.content == {6: "s6.tif", 7: "s7.tif", 8: "s8.tif"}


def test_ranks_go_on_where_they_were():
    there = disk(landed={0})
    there.fill(["a.tif", "b.tif", "c.tif", "d.tif", "e.tif", "f.tif"])
    there.look()
    assert there.slices.resume() == ""
    there.settle()
    assert there.landed == [1]
    there.fill(["aa.tif"])
    there.settle()
    assert "aa.tif sorts before" in there.lines()
    assert there.landed == [1]


def test_a_sealed_volume_that_ends_with_a_short_layer_resumes():
    there = disk(landed={0, 1}, extent=5)
    there.fill(names(range(5)))
    there.look()
    assert there.slices.resume() == ""
    there.settle()
    assert there.landed == []
    assert there.slices.is_complete(5)
    assert there.slices.count == 5


def test_a_short_layer_waits_for_the_extent():
    there = disk()
    there.fill(names(range(5)))
    there.settle()
    assert there.landed == [0]
    assert there.slices.can_complete(5)
    assert not there.slices.can_complete(6)
    there.extent = 5
    there.look()
    assert there.landed == [0, 1]


def test_what_was_found_in_a_file_says_nothing_of_the_next_one_with_its_name():
    there = disk()
    there.fill(names(range(3)))
    there.settle()
    there.write("s1.tif", FULL)
    for _ in range(2):
        there.now += STABLE_S
        there.slices.update(there.now, sorted(there.files), there.files.values())
    assert there.slices.files.get("s1.tif") == there.files["s1.tif"]
    assert there.slices.ready(None) == []  # it landed before, but nobody opened it since
    there.look()
    assert there.landed == [0, 0]

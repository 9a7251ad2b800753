"""Slices that arrive in any order land once, complete and in their place, or not at all."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fibstream.services.ingest.stability import EXAMINED_AGAIN, FileState, StableFiles

from .simulated_folder import DEPTH, FULL, GIVEUP_S, STABLE_S, numbered, simulated

COUNT = 8


steps = st.lists(
    st.one_of(
        st.integers(0, COUNT - 1),  # a piece of this slice is written
        st.floats(0, 5, allow_nan=False),  # a poll, after so many seconds
    ),
    max_size=60,
)


@given(steps=steps, by_rank=st.booleans())
@settings(max_examples=150, deadline=None)
def test_every_layer_lands_once_whatever_the_order_of_pieces_and_polls(
    steps: list[int | float], by_rank: bool
) -> None:
    """What lands is whole and stable: ``SimulatedFolder.land`` asserts it at every landing."""
    folder = simulated(first=0)
    every = [f"{'abcdefgh'[n]}.tif" for n in range(COUNT)] if by_rank else numbered(range(COUNT))
    if by_rank:
        folder.fill(every[:1])  # a rank is known only once what comes before is there
    for step in steps:
        if isinstance(step, float):
            folder.poll(step)
        elif not by_rank:
            folder.write(every[step])
        else:  # in order of names: another order is an error, see below
            folder.write(every[min(step, len(folder.files))])
    folder.fill(
        name for name in every if name not in folder.files or folder.files[name].size < FULL
    )
    folder.settle()
    assert sorted(folder.landed) == [0, 1]
    folder.extent = COUNT
    folder.settle()
    assert sorted(folder.landed) == [0, 1, 2]
    assert [folder.content[z] for z in range(COUNT)] == every
    assert folder.slices.is_complete(COUNT)
    assert folder.lines(ended=True) == ""


@given(order=st.permutations(range(6)), waits=st.lists(st.floats(0, 3), min_size=6, max_size=6))
@settings(max_examples=100, deadline=None)
def test_what_is_beyond_a_gap_waits_until_it_is_closed(
    order: list[int], waits: list[float]
) -> None:
    folder = simulated(first=0)
    for n, wait in zip(order, waits, strict=True):
        folder.write(f"s{n}.tif", FULL)
        folder.poll(wait)
        end = next(z for z in range(7) if f"s{z}.tif" not in folder.files)
        assert all((index + 1) * DEPTH <= end for index in folder.landed)
    folder.settle()
    assert sorted(folder.landed) == [0, 1]


@given(changes=st.lists(st.floats(0.01, 1.9), min_size=5, max_size=30))
@settings(max_examples=100, deadline=None)
def test_a_growing_file_never_counts_as_complete(changes: list[float]) -> None:
    folder = simulated()
    folder.fill(numbered(range(3)))
    for size, wait in enumerate(changes):
        folder.files["s1.tif"] = FileState("s1.tif", FULL, size)  # complete each time
        folder.poll(wait)
        assert folder.landed == []
    folder.files["s1.tif"] = FileState("s1.tif", FULL, int(folder.now * 1e9) + 1)
    folder.settle()
    assert folder.landed == [0]


@given(changed=st.lists(st.integers(0, 5), min_size=1, max_size=4), when=st.booleans())
@settings(max_examples=50, deadline=None)
def test_layers_of_slices_that_change_land_again_and_only_those(
    changed: list[int], when: bool
) -> None:
    folder = simulated()
    folder.fill(numbered(range(6)))
    folder.settle()
    folder.landed.clear()
    for n in changed:
        folder.write(f"s{n}.tif", FULL)
        if when:
            folder.poll(0.5)
    folder.settle()
    assert sorted(folder.landed) == sorted({n // DEPTH for n in changed})


def test_one_poll_is_not_enough_however_old_the_file_is() -> None:
    folder = simulated()
    folder.fill(numbered(range(3)))
    folder.poll(1000)
    assert folder.landed == []
    folder.poll(STABLE_S - 0.1)
    assert folder.landed == []
    folder.poll(0.2)
    assert folder.landed == [0]


def test_a_file_cut_short_is_opened_again_and_reported_once_others_overtake_it() -> None:
    folder = simulated()
    folder.fill(numbered(range(6)))
    folder.write("s1.tif", 1)
    folder.settle()
    assert folder.landed == [1]  # its number is its place
    assert folder.lines() == ""
    folder.poll(GIVEUP_S)
    assert folder.lines() == "s1.tif is cut short; its layer waits"
    folder.write("s1.tif", FULL)
    folder.settle()
    assert folder.landed == [1, 0]
    assert folder.lines() == ""


def test_the_last_file_may_take_its_time_until_the_end() -> None:
    folder = simulated()
    folder.fill(numbered(range(5)))
    folder.write("s5.tif", 1)
    folder.settle()
    folder.poll(10 * GIVEUP_S)
    assert folder.lines() == ""
    assert "s5.tif is cut short" in folder.lines(ended=True)


def test_a_permanent_fault_is_reported_at_once() -> None:
    folder = simulated()
    folder.fill(numbered(range(3)))
    folder.poll()
    folder.now += STABLE_S
    folder.slices.update(folder.now, sorted(folder.files), folder.files.values())
    for seen in folder.slices.unchecked():
        folder.slices.checks.record(seen, "another shape", permanent=True)
    assert folder.slices.unchecked() == []
    assert (
        folder.lines()
        == "another shape; others too, their layers wait; was the dataset made for another volume?"
    )


def test_a_file_that_changed_while_it_was_read_has_to_become_stable_again() -> None:
    folder = simulated()
    folder.fill(numbered(range(3)))
    folder.poll()
    folder.now += STABLE_S
    folder.slices.update(folder.now, sorted(folder.files), folder.files.values())
    for seen in folder.slices.unchecked():
        folder.slices.checks.record(seen)
    assert [layer.index for layer in folder.slices.ready(None)] == [0]
    folder.slices.invalidate("s1.tif")
    assert folder.slices.ready(None) == []
    folder.settle()
    assert folder.landed == [0]


def test_a_short_layer_waits_for_the_extent() -> None:
    folder = simulated()
    folder.fill(numbered(range(5)))
    folder.settle()
    assert folder.landed == [0]
    assert folder.slices.can_complete(5)
    assert not folder.slices.can_complete(6)
    folder.extent = 5
    folder.poll()
    assert folder.landed == [0, 1]


def test_a_check_does_not_hold_for_the_next_file_of_that_name() -> None:
    folder = simulated()
    folder.fill(numbered(range(3)))
    folder.settle()
    folder.write("s1.tif", FULL)
    for _ in range(2):
        folder.now += STABLE_S
        folder.slices.update(folder.now, sorted(folder.files), folder.files.values())
    assert folder.slices.files.get("s1.tif") == folder.files["s1.tif"]
    assert folder.slices.ready(None) == []  # it landed before, but nobody opened it since
    folder.poll()
    assert folder.landed == [0, 0]


def test_few_stable_files_are_examined_in_a_poll_and_all_in_turn() -> None:
    stable = StableFiles(STABLE_S)
    files = {f"s{n}": FileState(f"s{n}", 1, 1) for n in range(4 * EXAMINED_AGAIN + 7)}
    every = list(files)
    for now in (0.0, STABLE_S):
        assert stable.due(every) == every
        stable.update(now, files.values())
    seen = [stable.due(every) for _ in range(5)]
    assert all(len(part) == EXAMINED_AGAIN for part in seen)
    assert set().union(*seen) == set(every)
    assert stable.due([*every, "new"])[0] == "new"

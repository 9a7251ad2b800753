"""Subjects as text, their order, and who reads what between any two lattices."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibstream.core.grid import Box, Grid, Halo, Index
from fibstream.core.subject import (
    CHUNKS,
    OBJECTS,
    WHOLE,
    Lattice,
    ObjectId,
    Subject,
    box_of,
    count,
    exists,
    members,
    named,
    order,
    pack_box,
    parse,
    plain,
    readers,
    text,
    unpack_box,
)

EDGES = st.tuples(*[st.integers(1, 5)] * 3)
SHAPES = st.tuples(*[st.integers(1, 9)] * 3)
LATTICES = st.builds(Lattice, st.none() | EDGES)
HALOS = st.builds(Halo, *[st.tuples(*[st.integers(0, 4)] * 3)] * 2)
CELLS = st.tuples(*[st.integers(0, 10**7 - 1)] * 3)
SUBJECTS: st.SearchStrategy[Subject] = (
    st.just(WHOLE) | CELLS | st.integers(1, 2**64 - 1).map(ObjectId)
)


@given(SUBJECTS)
def test_a_subject_is_parsed_from_its_text(subject: Subject) -> None:
    assert parse(text(subject)) == subject
    assert text(parse(text(subject))) == text(subject)


def test_texts_are_what_keys_and_paths_hold() -> None:
    assert [text((0, 1, 22)), text(WHOLE)] == ["0.1.22", "whole"]
    assert [plain((0, 1, 22)), plain(WHOLE)] == [[0, 1, 22], "whole"]
    assert [named((0, 1, 22)), named([0, 1, 22])] == ["chunk 0,1,22"] * 2
    assert [named(WHOLE), named("whole")] == ["whole"] * 2
    large = ObjectId(2**63)  # as text also in JSON: a reader that takes numbers for floats loses it
    assert text(large) == plain(large) == str(2**63)
    assert [named(large), named(plain(large))] == [f"object {2**63}"] * 2


@pytest.mark.parametrize(
    "given_text",
    [
        "", "1.2", "1.2.3.4", "1.2.", ".1.2", "1..3", "-1.0.0", "+1.0.0", "1.2.3 ", " 1.2.3",
        "1.2.3\n", "1,2,3", "1.2.x", "1.2.1e3", "12345678.0.0", "Whole", "whole ", "whole\n",
        "c/1/2/3", "01.0.0", "0.00.0", "0.0.\u0661",
        "0", "01", "+1", "1 ", "1.0", str(2**64), "\u0661",
    ],
)  # fmt: skip
def test_other_texts_are_refused_with_what_was_given(given_text: str) -> None:
    with pytest.raises(ValueError, match=r"expected Z\.Y\.X, the id of an object or") as refused:
        parse(given_text)
    assert repr(given_text) in str(refused.value)


def test_a_long_text_is_cut_in_the_refusal() -> None:
    with pytest.raises(ValueError) as refused:
        parse("9" * 10_000)
    assert len(str(refused.value)) < 150


@given(st.lists(CELLS, max_size=6))
def test_cells_come_in_raster_order_then_objects_and_the_whole_last(cells: list[Index]) -> None:
    mixed: list[Subject] = [WHOLE, ObjectId(10), ObjectId(9), *reversed(cells), WHOLE]
    assert sorted(mixed, key=order) == [*sorted(cells), ObjectId(9), ObjectId(10), WHOLE, WHOLE]


def test_a_lattice_of_its_own_has_the_volume_of_the_chunks() -> None:
    chunks = Grid((None, 9, 9), (4, 4, 4))
    assert CHUNKS.grid(chunks) == chunks
    assert Lattice((2, 3, 9)).grid(chunks) == Grid((None, 9, 9), (2, 3, 9))


@given(SHAPES, EDGES, LATTICES)
def test_members_tile_the_volume(shape: Index, chunk: Index, lattice: Lattice) -> None:
    chunks = Grid(shape, chunk)
    cells = list(members(lattice, chunks))
    assert len(cells) == count(lattice, chunks)
    assert cells == sorted(cells, key=order)
    assert all(exists(cell, lattice, chunks) for cell in cells)
    held = Counter(
        (z, y, x)
        for cell in cells
        for box in [box_of(cell, lattice, chunks)]
        for z in range(box.start[0], box.stop[0])
        for y in range(box.start[1], box.stop[1])
        for x in range(box.start[2], box.stop[2])
    )
    z, y, x = shape
    assert len(held) == z * y * x and set(held.values()) == {1}


@given(SHAPES, EDGES)
def test_the_whole_dataset_is_one_subject(shape: Index, chunk: Index) -> None:
    chunks = Grid(shape, chunk)
    assert list(members(WHOLE, chunks)) == [WHOLE]
    assert count(WHOLE, chunks) == 1
    assert box_of(WHOLE, WHOLE, chunks) == Box((0, 0, 0), shape)


BOXES = st.builds(
    lambda a, n: Box(a, (a[0] + n[0], a[1] + n[1], a[2] + n[2])),
    st.tuples(*[st.integers(0, 2**21)] * 3), SHAPES,
)  # fmt: skip


@given(BOXES)
def test_the_box_of_an_object_is_read_as_it_was_packed(box: Box) -> None:
    assert unpack_box(pack_box(box)) == box


@pytest.mark.parametrize(
    "extra",
    [
        b"", bytes(23), bytes(25), pack_box(Box((0, 0, 0), (1, 0, 1))),
        pack_box(Box((0, -1, 0), (1, 1, 1))), pack_box(Box((2, 0, 0), (1, 1, 1))),
    ],
)  # fmt: skip
def test_other_bytes_are_no_box_of_an_object(extra: bytes) -> None:
    with pytest.raises(ValueError, match="the box of an object"):
        unpack_box(extra)


def test_an_object_covers_the_box_that_its_task_carries_cut_at_the_volume() -> None:
    chunks, box = Grid((8, 8, 8), (4, 4, 4)), Box((3, 0, 5), (6, 9, 7))
    found = box_of(ObjectId(7), OBJECTS, chunks, pack_box(box))
    assert found == Box((3, 0, 5), (6, 8, 7))
    assert exists(ObjectId(7), OBJECTS, chunks)
    assert (list(members(OBJECTS, chunks)), count(OBJECTS, chunks)) == ([], None)
    assert list(readers((0, 0, 0), CHUNKS, Halo.of(0), OBJECTS, chunks)) == []


def test_a_stage_has_outputs_of_its_own_subjects_alone() -> None:
    chunks, halves = Grid((8, 8, 8), (4, 4, 4)), Lattice((2, 2, 2))
    assert exists(WHOLE, WHOLE, chunks)
    assert not exists((0, 0, 0), WHOLE, chunks)
    assert not exists(WHOLE, CHUNKS, chunks)
    assert exists((3, 0, 0), halves, chunks)
    assert not exists((3, 0, 0), CHUNKS, chunks)
    assert not exists((4, 0, 0), halves, chunks)
    for subjects in (WHOLE, CHUNKS, halves):
        assert not exists(ObjectId(1), subjects, chunks)
    assert not exists((0, 0, 0), OBJECTS, chunks)
    assert not exists(WHOLE, OBJECTS, chunks)


@given(SHAPES, EDGES, LATTICES, LATTICES, HALOS)
def test_readers_are_reach_mirrored(
    shape: Index, chunk: Index, cut: Lattice, lattice: Lattice, halo: Halo
) -> None:
    """A cell is read by exactly the subjects whose box, grown by the halo, meets its box."""
    chunks = Grid(shape, chunk)
    subjects = list(lattice.grid(chunks).indices())
    for cell in cut.grid(chunks).indices():
        box = cut.grid(chunks).box(cell)
        expected = [
            subject
            for subject in subjects
            if not box_of(subject, lattice, chunks).grow(halo).meet(box).empty
        ]
        assert list(readers(cell, cut, halo, lattice, chunks)) == expected
        assert list(readers(cell, cut, halo, WHOLE, chunks)) == [WHOLE]


@given(SHAPES, EDGES, LATTICES, LATTICES, HALOS)
def test_readers_in_an_open_volume_are_those_and_more(
    shape: Index, chunk: Index, cut: Lattice, lattice: Lattice, halo: Halo
) -> None:
    """What the seal will show to read a cell is known to read it before."""
    sealed = Grid(shape, chunk)
    still_open = Grid((None, *shape[1:]), chunk)
    for cell in cut.grid(sealed).indices():
        found = set(readers(cell, cut, halo, lattice, sealed))
        assert found <= set(readers(cell, cut, halo, lattice, still_open))

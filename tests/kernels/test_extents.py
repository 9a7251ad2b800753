"""Boxes of closed objects from rows of chunks, in any order, with chunks replaced and sealed."""

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from fibstream.core.events import Place
from fibstream.core.grid import Box, Grid, Index
from fibstream.core.stage import Arrays, Input
from fibstream.core.subject import WHOLE, ObjectId, unpack_box
from fibstream.kernels.extents import ObjectBoxes, going_on

SOURCE, STAGES = Input("measures/a", "summaries/measures/a"), ("shapes/a", "meshes/a")
TOUCHING = 99  # the id of an object that has no voxel
Labels = NDArray[np.uint64]
EDGES = st.tuples(*[st.integers(1, 4)] * 3)


def rows_of(labels: Labels, box: Box) -> Arrays:
    """Return the rows of the objects in a box of a volume, and of one that only touches it."""
    part = labels[box.slices()]
    ids = [int(i) for i in np.unique(part) if i]
    where = [np.argwhere(part == i) + box.start for i in ids]
    return {
        "id": np.array([*ids, TOUCHING], np.uint64),
        "low": np.array([*(w.min(0) for w in where), [2**21] * 3], np.int64),
        "high": np.array([*(w.max(0) for w in where), [0] * 3], np.int64),
    }


def boxes_of(labels: Labels) -> dict[int, Box]:
    """Return the box of each object of a whole volume."""
    found = {}
    for number, place in enumerate(ndimage.find_objects(labels.astype(int)), 1):
        if place is not None:
            (az, bz), (ay, by), (ax, bx) = ((s.start, s.stop) for s in place)
            found[number] = Box((az, ay, ax), (bz, by, bx))
    return found


class Followed:
    """A fold, and what is known of it by the outputs that it names as dirty alone."""

    def __init__(self, grid: Grid) -> None:
        self.fold = ObjectBoxes(SOURCE, STAGES, grid)
        self.known: dict[Place, bytes] = {}

    def put(self, index: Index, rows: Arrays) -> None:
        self.fold.put(SOURCE, index, "", rows)
        self.look()

    def look(self) -> None:
        for place in self.fold.dirty():
            extra = self.fold.extra(*place)
            if extra is None:
                self.known.pop(place, None)
            else:
                self.known[place] = extra

    def boxes(self) -> dict[int, Box]:
        found: dict[int, Box] = {}
        for (stage, subject), extra in self.known.items():
            assert isinstance(subject, ObjectId)
            if stage == STAGES[0]:
                found[subject.number] = unpack_box(extra)
            assert self.known[STAGES[0], subject] == self.known[STAGES[1], subject] == extra
        return found


def fresh(grid: Grid, rows: dict[Index, Arrays], *, seal: Grid | None = None) -> dict[int, Box]:
    """Return the boxes that a fold gives that takes rows without a look in between."""
    followed = Followed(grid)
    if seal:
        followed.fold.seal(seal)
    for index, each in rows.items():
        followed.fold.put(SOURCE, index, "", each)
    followed.look()
    return followed.boxes()


@given(st.integers(0, 2**32 - 1), EDGES, st.sampled_from([1, 3, 9]))
def test_objects_are_known_by_their_box_once_they_go_on_nowhere(
    seed: int, chunk: Index, ids: int
) -> None:
    """Chunks come in any order, some twice with other content; the end in z is known late."""
    rng, draw = np.random.default_rng(seed), random.Random(seed)
    shape = (draw.randint(1, 7), draw.randint(1, 6), draw.randint(1, 6))
    earlier, labels = (rng.integers(0, ids + 1, shape).astype(np.uint64) for _ in range(2))
    for volume in (earlier, labels):
        volume[rng.random(shape) < draw.choice((0.3, 0.9))] = 0
    sealed, grid = Grid(shape, chunk), Grid((None, *shape[1:]), chunk)
    whole, followed, rows = boxes_of(labels), Followed(grid), dict[Index, Arrays]()
    puts = [(index, labels) for index in sealed.indices()]
    draw.shuffle(puts)
    for index in draw.sample(list(sealed.indices()), len(puts) // 3):
        puts.insert(draw.randint(0, puts.index((index, labels))), (index, earlier))
    when = draw.randint(0, len(puts))
    for step, (index, volume) in enumerate(puts):
        if step == when:
            grid = sealed
            followed.fold.seal(sealed)
            followed.look()
        rows[index] = rows_of(volume, sealed.box(index))
        followed.put(index, rows[index])
        assert followed.boxes() == fresh(grid, rows)
    if when == len(puts):
        followed.fold.seal(sealed)
        followed.look()
    assert followed.boxes() == whole == fresh(sealed, rows)


@given(st.integers(0, 2**32 - 1), EDGES)
def test_an_object_that_goes_on_where_nothing_is_known_is_not(seed: int, chunk: Index) -> None:
    rng, draw = np.random.default_rng(seed), random.Random(seed)
    shape = (draw.randint(1, 6), draw.randint(1, 6), draw.randint(1, 6))
    mask = rng.random(shape) < 0.35
    labels, _ = ndimage.label(mask, ndimage.generate_binary_structure(3, 3))
    labels, grid = labels.astype(np.uint64), Grid(shape, chunk)
    cells = list(grid.indices())
    known = draw.sample(cells, draw.randint(1, len(cells)))
    rows = {index: rows_of(labels, grid.box(index)) for index in known}
    found, whole = fresh(grid, rows), boxes_of(labels)
    outside = {i for c in cells if c not in known for i in rows_of(labels, grid.box(c))["id"]}
    outside.discard(TOUCHING)
    assert found.items() <= whole.items()
    assert not outside.intersection(found)
    is_open = {i for c in known for i in going_on(rows[c], c, known, grid)}
    assert set(found) == {int(i) for each in rows.values() for i in each["id"]} - is_open - {
        TOUCHING
    }


def test_of_other_stages_and_subjects_it_knows_nothing() -> None:
    grid = Grid((2, 2, 2), (2, 2, 2))
    followed = Followed(grid)
    followed.put((0, 0, 0), rows_of(np.full((2, 2, 2), 1, np.uint64), grid.box((0, 0, 0))))
    assert followed.boxes() == {1: grid.volume}
    assert followed.fold.extra("shapes/b", ObjectId(1)) is None
    assert followed.fold.extra(STAGES[0], ObjectId(2)) is None
    assert followed.fold.extra(STAGES[0], (0, 0, 1)) is None
    assert followed.fold.extra(STAGES[0], WHOLE) is None
    assert list(followed.fold.dirty()) == []

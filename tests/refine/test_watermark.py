"""The watermark: its definition, and that it never moves back."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibstream.core.grid import MAX_AXIS, Grid
from fibstream.core.ids import gid
from fibstream.core.stage import Patch
from fibstream.services.refine.cut import cut_fragments
from fibstream.services.refine.rule import FillHoles, object_fold
from fibstream.services.refine.watermark import Finality, Watermark, begins, least

from .whole import rule_of

GRID = Grid((10, 4, 6), (4, 4, 4))  # 3 layers of 1 x 2 chunks, the last one short
OPEN_END = Grid((None, 4, 6), (4, 4, 4))
CHUNKS = list(GRID.indices())


def id_at(z: int) -> int:
    return gid((z, 1, 1)) + 1


def test_an_object_begins_at_the_slice_of_its_id() -> None:
    assert begins(id_at(7)) == 7 and begins(gid((7, 0, 0)) + 1) == 7 and begins(1) == 0
    last = MAX_AXIS - 1
    assert begins(gid((6, last, last)) + 1) == 6


def test_a_layer_counts_when_all_its_chunks_are_cut() -> None:
    finality = Finality(GRID)
    seen = []
    for index in ((0, 0, 0), (1, 0, 0), (1, 0, 1), (0, 0, 1), (2, 0, 1), (2, 0, 0)):
        finality.cut(index)
        seen.append(finality.watermark.z)
    assert seen == [0, 0, 0, 8, 8, 10]


def test_an_open_object_holds_it_where_it_begins() -> None:
    finality = Finality(GRID)
    for index in CHUNKS:
        finality.cut(index)
    for z in (9, 3, 5):
        finality.changed(id_at(z), "opened")
    assert finality.watermark == Watermark(3, 3)
    finality.changed(id_at(3), "grown")
    finality.changed(id_at(5), "merged_into")
    assert finality.watermark == Watermark(3, 2)
    finality.changed(id_at(3), "closed")
    assert finality.watermark == Watermark(9, 1)
    finality.changed(id_at(9), "withdrawn")
    assert finality.watermark == Watermark(10, 0)


def test_a_chunk_that_fails_when_cut_anew_takes_its_layer_back() -> None:
    finality = Finality(GRID)
    for index in CHUNKS:
        finality.cut(index)
    finality.cut((1, 0, 1), done=False)
    assert finality.watermark.z == 4
    finality.cut((1, 0, 1))
    assert finality.watermark.z == 10


def test_the_end_is_known_once_the_volume_is_sealed() -> None:
    finality = Finality(OPEN_END)
    for index in CHUNKS:
        finality.cut(index)
    assert finality.watermark.z == 12
    finality.grid = GRID
    assert finality.watermark.z == 10


def test_a_chunk_that_no_grid_has_is_ignored() -> None:
    finality = Finality(GRID)
    finality.cut((0, 0, 2))
    finality.cut((0, 1, 0))
    assert finality.watermark == Watermark(0, 0)


def test_organelles_together_are_as_far_as_the_last_of_them() -> None:
    assert least([Watermark(5, 2), Watermark(3, 1)]) == Watermark(3, 3)


EVENTS = st.one_of(
    st.tuples(st.sampled_from(CHUNKS), st.booleans()),
    st.tuples(
        st.integers(0, 9).map(id_at), st.sampled_from(["opened", "grown", "closed", "withdrawn"])
    ),
)


@given(st.lists(EVENTS, max_size=40))
def test_any_history_gives_the_watermark_of_the_definition(events: list[tuple[Any, Any]]) -> None:
    finality = Finality(GRID)
    cut: set[Any] = set()
    opened: set[Any] = set()
    for what, how in events:
        if isinstance(what, tuple):
            finality.cut(what, done=how)
            (cut.add if how else cut.discard)(what)
        else:
            finality.changed(what, how)
            (opened.add if how in ("opened", "grown") else opened.discard)(what)
        settled = [
            z
            for z in range(11)
            if all(i in cut for i in CHUNKS if GRID.box(i).start[0] < z)
            and all(begins(id_) >= z for id_ in opened)
        ]
        assert finality.watermark == (max(settled), len(opened))


@pytest.mark.parametrize("fill_holes", ["none", "one", "all"])
@settings(max_examples=40, deadline=None)
@given(data=st.data(), seed=st.integers(0, 1000))
def test_it_never_moves_back_while_chunks_come_for_the_first_time(
    fill_holes: FillHoles, data: st.DataObject, seed: int
) -> None:
    """With the real fold, any volume and any order; every object is announced from one voxel on."""
    rule = rule_of(fill_holes=fill_holes, connectivity=data.draw(st.sampled_from([6, 26])))
    share = data.draw(st.sampled_from([0.15, 0.35, 0.6]))
    volume = np.where(np.random.default_rng(seed).random(GRID.extent) < share, 255, 0)
    fold, finality, before = object_fold(rule), Finality(GRID), 0
    for index in data.draw(st.permutations(CHUNKS)):
        box = GRID.block(index, rule.halo)
        patch = Patch(volume[box.slices()].astype(np.uint8), box)
        fold.put(index, cut_fragments(patch, GRID.box(index), rule)[1])
        for change in fold.changes():
            finality.changed(change.id, change.kind)
        finality.cut(index)
        assert finality.watermark.z >= before
        before = finality.watermark.z
    assert finality.watermark == (10, 0)

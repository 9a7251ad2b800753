"""Any box of a phantom is that part of the whole: labels, instances, distances, micrograph."""

from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fibstream.core.errors import LimitExceeded, WrongUse
from fibstream.core.grid import Box
from fibstream.phantom import (
    Look,
    Phantom,
    PhantomChunk,
    PhantomSpec,
    grid_of,
    render_chunk,
    render_chunks,
)

from ..support.geometry import triple

SHAPE = (60, 70, 76)
KINDS = ("mito", "er", "ribosomes", "nuclear_pore", "vesicle", "microtubules")
FIELDS = ("er", "mito", "nucleus")


@cache
def phantom(seed: int) -> Phantom:
    look = Look(jitter=1.7, missing=(11, 40))
    return Phantom(PhantomSpec(SHAPE, (14.0, 10.0, 9.0), seed=seed, look=look, chunk=(23, 31, 76)))


@cache
def whole(seed: int) -> dict[str, np.ndarray]:
    """Return every kind of voxel of the whole volume."""
    cell = phantom(seed)
    box = cell.box()
    fields = {f"far {name}": cell.distances(name, box)[0] for name in FIELDS}
    instances = {name: cell.instances(name, box) for name in KINDS}
    tone = cell.voxels(box).tone
    grey = {"micrograph": cell.micrograph(box), "tone": tone}
    return {"labels": cell.labels(box), **grey, **instances, **fields}


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    spans = [sorted(draw(st.tuples(*[st.integers(0, n)] * 2))) for n in SHAPE]
    starts = tuple(min(a, n - 1) for (a, _), n in zip(spans, SHAPE, strict=True))
    return Box(starts, tuple(max(b, a + 1) for (_, b), a in zip(spans, starts, strict=True)))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(box=boxes(), seed=st.sampled_from([3, 8]))
@example(box=Box((0, 0, 0), (45, 33, 21)), seed=3)  # a ribosome beyond the box shades its corner
def test_any_box_is_that_part_of_the_whole(box: Box, seed: int) -> None:
    cell, full, part = phantom(seed), whole(seed), box.slices()
    assert np.array_equal(cell.voxels(box).tone, full["tone"][part])
    assert np.array_equal(cell.labels(box), full["labels"][part])
    assert np.array_equal(cell.micrograph(box), full["micrograph"][part])
    for name in KINDS:
        assert np.array_equal(cell.instances(name, box), full[name][part]), name
    for name in FIELDS:
        assert np.array_equal(cell.distances(name, box)[0], full[f"far {name}"][part]), name


def put(out: dict[str, np.ndarray], got: PhantomChunk) -> None:
    part = got.box.slices()
    for name, voxels in {"labels": got.labels, "micrograph": got.raw, **got.instances}.items():
        assert (out[name][part] == 0).all()
        out[name][part] = voxels


def test_pieces_in_any_order_make_the_whole() -> None:
    cell, full = phantom(3), whole(3)
    names = ("labels", "micrograph", *KINDS)
    forward = {name: np.zeros_like(full[name]) for name in names}
    for got in render_chunks(cell, KINDS):
        put(forward, got)
    backward = {name: np.zeros_like(full[name]) for name in names}
    grid = grid_of(cell.spec)
    for index in reversed(list(np.ndindex(*grid.count))):
        put(backward, render_chunk(cell, grid, triple(index), KINDS))
    for name in names:
        assert np.array_equal(forward[name], full[name]), name
        assert np.array_equal(backward[name], full[name]), name


def test_equal_specifications_give_equal_voxels_and_other_seeds_others() -> None:
    again = Phantom(phantom(3).spec)
    assert np.array_equal(again.micrograph(again.box()), whole(3)["micrograph"])
    assert np.array_equal(again.labels(again.box()), whole(3)["labels"])
    assert again.things == phantom(3).things
    assert (whole(3)["labels"] != whole(8)["labels"]).mean() > 0.05


def test_placing_again_gives_the_same_things() -> None:
    a, b = Phantom(phantom(8).spec), phantom(8)
    assert [t for t in a.things if t.kind != "er"] == [t for t in b.things if t.kind != "er"]
    for one, other in zip(a.lines, b.lines, strict=True):
        assert np.array_equal(one.points, other.points)


@pytest.mark.parametrize("box", [
    Box((0, 0, 0), (61, 1, 1)), Box((-1, 0, 0), (1, 1, 1)), Box((5, 5, 5), (5, 6, 6)),
])  # fmt: skip
def test_a_box_outside_or_empty_is_refused(box: Box) -> None:
    with pytest.raises(WrongUse, match="expected a part of the volume"):
        phantom(3).labels(box)


def test_a_box_too_large_for_memory_is_refused() -> None:
    big = Phantom(PhantomSpec((1000, 1000, 1000), (1.0, 1.0, 1.0), organelles=()))
    with pytest.raises(LimitExceeded, match="voxels at a time"):
        big.labels(big.box())


def test_an_unknown_organelle_is_refused() -> None:
    with pytest.raises(WrongUse, match="organelle 'liver'"):
        phantom(3).instances("liver", phantom(3).box())
    with pytest.raises(WrongUse, match="distances exist for"):
        phantom(3).distances("liver", phantom(3).box())

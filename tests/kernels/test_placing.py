"""Objects placed at random: as they are, apart, where they may be, and everywhere alike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage, stats

from fibstream.core.errors import WrongUse
from fibstream.kernels.placing import Shape, paint, place, shapes_of

from .test_contacts import drawn

Ids = NDArray[np.uint64]


def placed(labels: Ids, free: NDArray[np.bool_], *seed: int) -> Ids:
    shapes = shapes_of(labels)
    out = np.zeros(labels.shape, np.uint64)
    paint(out, shapes, place(shapes, free, seed), erase=False)
    return out


def form(labels: Ids, id_: int) -> list[list[int]]:
    at = np.argwhere(labels == id_)
    found: list[list[int]] = (at - at.min(axis=0)).tolist()
    return found


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.booleans())
def test_objects_keep_their_shape_and_stay_where_they_may_be(seed: int, blobs: bool) -> None:
    shape = (12, 14, 16)
    labels = drawn(seed, shape, 0.004 if blobs else 0.03, blobs=blobs)
    labels[labels > 0] += np.uint64(2**63)
    free = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3) > -0.08
    free |= labels > 0  # so that there is a placement at all
    before = free.copy()
    try:
        found = placed(labels, free, seed)
    except WrongUse as error:  # objects that reach everywhere, in corners of the mask
        assert "found no free place" in str(error)
        return
    finally:
        assert np.array_equal(free, before)
    assert not (found[~free] > 0).any()
    ids = np.unique(labels[labels > 0]).tolist()
    assert np.unique(found[found > 0]).tolist() == ids  # none lies on another: all voxels are there
    assert all(form(found, i) == form(labels, i) for i in ids)
    assert np.array_equal(found, placed(labels, free, seed))


def test_every_place_is_equally_likely() -> None:
    """Chi-squared of 2,200 placements of two voxels in a mask with a hole."""
    labels = np.zeros((1, 4, 7), np.uint64)
    labels[0, 0, 0], labels[0, 0, 1] = 5, 5
    free = np.ones(labels.shape, bool)
    free[0, 1, 3] = False
    shapes = shapes_of(labels)
    corners = [place(shapes, free, (3, n))[0] for n in range(2200)]
    where, often = np.unique(corners, axis=0, return_counts=True)
    assert len(where) == 4 * 6 - 2
    assert stats.chisquare(often).pvalue > 0.01


def test_the_largest_is_placed_first() -> None:
    labels = np.zeros((1, 1, 12), np.uint64)
    labels[0, 0, 0], labels[0, 0, 2:5], labels[0, 0, 6:9] = 1, 9, 4
    assert [shape.id for shape in shapes_of(labels)] == [4, 9, 1]
    assert shapes_of(labels)[2].voxels.tolist() == [[0, 0, 0]]
    assert shapes_of(np.zeros((2, 2, 2), np.uint64)) == []


def test_what_finds_no_place_is_told() -> None:
    labels = np.zeros((1, 1, 9), np.uint64)
    labels[0, 0, :4], labels[0, 0, 5:8] = 3, 8
    free = np.ones(labels.shape, bool)
    free[0, 0, 4] = False
    assert placed(labels, free, 1)[0, 0, 5:].all()
    free[0, 0, 8] = free[0, 0, 0] = False
    with pytest.raises(WrongUse, match="object 3 of 4 voxels found no free place among 0 others"):
        placed(labels, free, 1)


def test_a_placement_that_left_no_room_is_begun_anew() -> None:
    """The first of two lies in the middle third of the time, and none fits beside it then."""
    labels = np.zeros((1, 1, 4), np.uint64)
    labels[0, 0, :2], labels[0, 0, 2:] = 1, 2
    found = {
        tuple(placed(labels, np.ones(labels.shape, bool), n).ravel().tolist()) for n in range(20)
    }
    assert found == {(1, 1, 2, 2), (2, 2, 1, 1)}


def test_a_box_is_where_its_corner_is() -> None:
    shape: Shape = shapes_of(np.ones((2, 3, 4), np.uint64))[0]
    assert shape.at((5, 6, 7)) == ((5, 6, 7), (7, 9, 11))

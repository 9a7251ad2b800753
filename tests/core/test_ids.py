"""A global id names one voxel, and its order is raster order wherever the block lies."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fibstream.core.grid import MAX_AXIS, Index
from fibstream.core.ids import BACKGROUND_BIT, gid, gids, voxel

VOXELS = st.tuples(*[st.integers(0, MAX_AXIS - 1)] * 3)
LAST = (MAX_AXIS - 1,) * 3


@given(VOXELS)
def test_a_voxel_comes_back_from_its_id(index: Index) -> None:
    assert voxel(gid(index)) == index


@given(VOXELS, VOXELS)
def test_the_order_of_ids_is_raster_order(a: Index, b: Index) -> None:
    assert (gid(a) < gid(b)) == (a < b)


def test_ids_leave_room_for_the_background_bit() -> None:
    assert gid((0, 0, 0)) == 0
    assert gid(LAST) == BACKGROUND_BIT - 1


@given(VOXELS, st.tuples(*[st.integers(1, 5)] * 3))
def test_the_ids_of_a_block_are_those_of_its_voxels(corner: Index, shape: Index) -> None:
    # A block that would stand over the end of an axis is moved inside, to touch the last voxel.
    oz, oy, ox = (min(c, MAX_AXIS - s) for c, s in zip(corner, shape, strict=True))
    found = gids(np.arange(np.prod(shape)), (oz, oy, ox), shape)
    each = [gid((oz + z, oy + y, ox + x)) for z, y, x in np.ndindex(*shape)]
    assert found.dtype == np.uint64
    assert found.tolist() == each


def test_no_axis_carries_into_the_next_at_the_far_corner() -> None:
    z, y, x = (n - 1 for n in LAST)
    found = gids(np.arange(8), (z, y, x), (2, 2, 2))
    assert voxel(int(found[-1])) == LAST
    assert (found[1:] > found[:-1]).all()

"""Two volumes are compared by where they lie, never by array index."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Index
from fibstream.volumes.lengths import Size
from fibstream.volumes.positions import (
    NOWHERE,
    Position,
    check_same_grid,
    common,
    offset_nm,
)

SHAPE = (4, 5, 6)
LARGER = (9, 9, 9)


@dataclass(frozen=True)
class Volume:
    shape: Index = SHAPE
    voxel_size_nm: Size = (8.0, 8.0, 8.0)
    position: Position | None = None
    name: str = "v"


def at(z: float, *, corner: bool = False, size: float = 8.0, shape: Index = SHAPE) -> Volume:
    """Return a volume whose first voxel lies at ``z`` nm along z."""
    return Volume(shape, (size,) * 3, Position((z / size, 0.0, 0.0), corner))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Volume, Volume]:
    """Draw two volumes on one grid of 2 nm, each coarser by whole factors, corners stated."""
    made = []
    for _ in range(2):
        factor = draw(st.sampled_from((1, 2, 4)))
        shape = tuple(draw(st.integers(1, 9)) for _ in range(3))
        start = [draw(st.integers(-6, 6)) for _ in range(3)]
        voxels = tuple(s / factor for s in start)
        made.append(Volume(shape, (2.0 * factor,) * 3, Position(voxels, corner=True)))  # type: ignore[arg-type]
    return made[0], made[1]


def reader(array: NDArray[Any]) -> Callable[[Box], NDArray[Any]]:
    return lambda box: array[box.slices()]


def corners(volume: Volume) -> tuple[list[int], int]:
    """Return where a volume begins, and the edge of a voxel, in units of 2 nm."""
    assert volume.position is not None
    factor = round(volume.voxel_size_nm[0] / 2)
    return [round(v * factor) for v in volume.position.voxels], factor


@given(pairs(), st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_a_voxel_is_compared_with_what_lies_at_its_place(
    both: tuple[Volume, Volume], seed: int
) -> None:
    """Painted on one fine grid in world coordinates, both volumes give what the parts read."""
    rng = np.random.default_rng(seed)
    world = np.full((2, 60, 60, 60), -1)
    arrays = [rng.integers(0, 99, volume.shape) for volume in both]
    for canvas, volume, array in zip(world, both, arrays, strict=True):
        start, factor = corners(volume)
        fine = array.repeat(factor, 0).repeat(factor, 1).repeat(factor, 2)
        canvas[tuple(slice(10 + a, 10 + a + n) for a, n in zip(start, fine.shape, strict=True))] = (
            fine
        )
    shared = np.argwhere((world[0] >= 0) & (world[1] >= 0))
    try:
        found = common(*both)
    except WrongUse as error:
        fine_edge = min(corners(volume)[1] for volume in both)
        apart = [a - b for a, b in zip(corners(both[0])[0], corners(both[1])[0], strict=True)]
        misfit = any(step % fine_edge for step in apart)
        assert ("no voxel in common" in str(error) and not shared.size) or misfit
        return
    edge = min(corners(volume)[1] for volume in both)
    low = shared.min(0)
    assert found.shape == tuple((shared.max(0) + 1 - low) // edge)
    box = Box((0, 0, 0), found.shape)
    for canvas, array, part in zip(world, arrays, found.parts, strict=True):
        read = part.read(reader(array), box)
        inside = tuple(slice(a, a + n * edge, edge) for a, n in zip(low, found.shape, strict=True))
        assert np.array_equal(read, canvas[inside])
        if found.shape[0] > 1:  # any box of it is that part of the whole
            part_box = Box((1, 0, 0), found.shape)
            assert np.array_equal(part.read(reader(array), part_box), read[1:])


def test_a_crop_is_compared_where_it_lies() -> None:
    found = common(at(16), at(0))
    assert found.shape == (2, 5, 6)
    assert found.parts[0].start == (0, 0, 0) and found.parts[1].start == (2, 0, 0)


@pytest.mark.parametrize(
    ("one", "two", "message"),
    [
        (at(800), at(0), "have no voxel in common"),
        (at(12), at(0), "no whole number of voxels"),
        (at(4), at(0), "no whole number of voxels"),
        (Volume((6, 10, 12), (4.0, 4.0, 4.0)), Volume(), "--truth-at-nm"),  # a coarse voxel short
        (at(16), Volume(), "--truth-at-nm"),
        (at(0), Volume((4, 5, 7)), "--truth-at-nm"),
        (Volume(position=NOWHERE), Volume(), "not known"),
        (Volume(position=NOWHERE), at(0), "not known"),
        (at(0), at(0, size=12), "whole multiples"),
        (at(40, corner=True, size=4), at(0), "the centre of its first voxel"),
        (at(0, size=0.1), at(0), "whole multiples"),
    ],
)
def test_a_place_is_never_guessed(one: Volume, two: Volume, message: str) -> None:
    for pair in ((one, two), (two, one)):
        with pytest.raises(WrongUse, match=message):
            common(*pair)


def test_volumes_that_begin_at_the_origin_and_end_together_are_the_same() -> None:
    fine = Volume((8, 10, 12), (4.0, 4.0, 4.0))
    assert common(Volume(), Volume()).parts[0].start == (0, 0, 0)
    for coarse in (Volume(), at(0), at(2), at(4), at(0, corner=True)):
        for pair in ((fine, coarse), (coarse, fine), (at(0, size=4, shape=fine.shape), coarse)):
            assert common(*pair).shape == fine.shape
    odd = Volume((7, 9, 11), (4.0, 4.0, 4.0))  # its last windows are incomplete
    assert common(odd, at(2)).shape == odd.shape


def test_where_sizes_are_the_same_it_does_not_matter_whether_a_corner_is_stated() -> None:
    assert common(at(16, corner=True), at(0)).parts[1].start == (2, 0, 0)


def test_a_given_place_wins() -> None:
    found = common(at(800), Volume(LARGER), begins_nm=(-8.0, 0.0, 16.0))
    assert found.shape == (3, 5, 6)
    assert [part.start for part in found.parts] == [(1, 0, 0), (0, 0, 2)]
    with pytest.raises(WrongUse, match="no whole number of voxels"):
        common(Volume(), Volume(), begins_nm=(3.0, 0.0, 0.0))


def test_the_same_grid() -> None:
    for other in (Volume(), at(0), at(4), at(0, corner=True), at(0, size=8.05)):
        check_same_grid(at(0), other)
        check_same_grid(other, at(0))
    for other, message in (
        (at(8), "the same place"), (at(6), "the same place"), (Volume(LARGER), "expected the same"),
        (at(0, size=4), "voxels of 4,4,4 nm"), (Volume(position=NOWHERE), "not known"),
    ):  # fmt: skip
        with pytest.raises(WrongUse, match=message):
            check_same_grid(at(0), other)


def test_the_place_of_a_new_dataset() -> None:
    assert offset_nm(Volume()) == (0, 0, 0) == offset_nm(Volume(position=NOWHERE))
    assert offset_nm(at(16)) == (16, 0, 0) and offset_nm(at(16, corner=True)) == (20, 4, 4)

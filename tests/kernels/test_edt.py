"""Exact squared distances: brute force, any slabs, and the limits."""

import numpy as np
import pytest
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Index
from fibstream.kernels.edt import FAR, across_planes, picometres, plane_squares

from ..support.geometry import triple

SIZES = (4.0, 8.0, 3.36, 5.24)


def whole(mask: NDArray[np.bool_], edges: Index) -> NDArray[np.int64]:
    return across_planes(plane_squares(mask, edges), edges)


@pytest.mark.parametrize("seed", range(40))
def test_squares_are_those_of_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = triple(rng.integers(1, 13, 3))
    mask = rng.random(shape) < rng.choice((0.01, 0.1, 0.6))
    z, y, x = rng.choice(SIZES, 3)
    edges = picometres((z, y, x), shape)
    inside, every = (np.argwhere(m) * np.array(edges) for m in (mask, np.ones(shape, bool)))
    wanted = np.full(mask.size, FAR)
    if len(inside):
        wanted = ((every[:, None] - inside[None]) ** 2).sum(-1).min(1)
    assert np.array_equal(whole(mask, edges), wanted.reshape(shape))


@pytest.mark.parametrize("seed", range(10))
def test_slabs_give_what_the_whole_gives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = triple(rng.integers(2, 20, 3))
    mask = rng.random(shape) < 0.05
    edges = picometres((5.24, 4, 4), shape)
    z, y = (int(rng.integers(1, n)) for n in shape[:2])
    planes = np.concatenate([plane_squares(part, edges) for part in (mask[:z], mask[z:])])
    rows = [across_planes(part, edges) for part in (planes[:, :y], planes[:, y:])]
    assert np.array_equal(np.concatenate(rows, axis=1), whole(mask, edges))


def test_what_64_bits_do_not_hold_is_refused() -> None:
    with pytest.raises(WrongUse, match="mm from corner to corner"):
        picometres((1000, 1000, 1000), (3000, 3000, 3000))
    with pytest.raises(WrongUse, match=r"0\.001 nm"):
        picometres((0.0001, 4, 4), (3, 3, 3))


def test_the_largest_volume_does_not_overflow() -> None:
    mask = np.zeros((1, 1, 2000), bool)
    mask[0, 0, 0] = True
    edges = picometres((1, 1, 1000), mask.shape)
    assert whole(mask, edges)[0, 0, -1] == (1999 * 10**6) ** 2

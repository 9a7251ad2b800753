"""Distances up to a limit against the whole ones."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fibstream.kernels.edt import across_planes, plane_squares
from fibstream.services.inference.training.near import BLOCK, near_squares

edges = st.tuples(*[st.integers(1, 30)] * 3)


def whole(mask: np.ndarray, edges_pm: tuple[int, int, int]) -> np.ndarray:
    return across_planes(plane_squares(mask, edges_pm), edges_pm)


@given(
    mask=arrays.arrays(bool, st.tuples(*[st.integers(1, 9)] * 3), elements=st.booleans()),
    edges_pm=edges, most=st.integers(1, 120),
)  # fmt: skip
def test_squares_are_exact_up_to_the_limit_and_larger_beyond(mask, edges_pm, most) -> None:
    found, exact = near_squares(mask, edges_pm, most), whole(mask, edges_pm)
    near = exact <= most**2
    assert np.array_equal(found[near], exact[near])
    assert (found[~near] > most**2).all()


@given(seed=st.integers(0, 99), edges_pm=edges)
def test_few_voxels_far_apart_in_more_than_a_block(seed, edges_pm) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((7, 23, 31), bool)
    assert mask[0].size > BLOCK
    count = rng.integers(1, 4)
    mask[tuple(rng.integers(0, n, count) for n in mask.shape)] = True
    found = near_squares(mask, edges_pm, 31 * max(edges_pm))
    assert np.array_equal(found, whole(mask, edges_pm))
    turned = near_squares(mask.transpose(2, 1, 0), edges_pm[::-1], 31 * max(edges_pm))
    assert np.array_equal(turned.transpose(2, 1, 0), found)

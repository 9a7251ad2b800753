"""Edges as dark as in training, in units that no linear change of grey values touches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from fibstream.services.inference.polarity import (
    ALIKE,
    LEAST_EDGES,
    EdgeSums,
    likeness,
    seems_inverted,
)
from fibstream.services.inference.port import GreyLevels

SHAPE = (24, 24, 24)


def cell(seed: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Grey values with a dark rim about a ball, and the ball's prediction."""
    where = np.moveaxis(np.indices(SHAPE), 0, -1) - 12
    distance = np.linalg.norm(where, axis=-1)
    noise = np.random.default_rng(seed).normal(150, 10, SHAPE)
    grey = noise - 90 * (np.abs(distance - 8.5) < 1)
    return grey.astype(np.uint8), np.where(distance < 9, 200, 50).astype(np.uint8)


def levels(grey: NDArray[np.uint8], *found: NDArray[np.uint8]) -> GreyLevels | None:
    sums = EdgeSums([f"c{k}" for k in range(len(found))])
    sums.add(grey, np.stack(found))
    return sums.levels()


def test_levels_are_those_of_numpy() -> None:
    grey, found = cell()
    got = levels(grey, found)
    assert got is not None
    inside = found >= 127
    edge = inside & ndimage.binary_dilation(~inside)
    assert got.mean == pytest.approx(grey.mean())
    assert got.deviation == pytest.approx(grey.std())
    assert got.edges == {"c0": pytest.approx(grey[edge].mean())}
    assert got.edges["c0"] < got.mean - got.deviation


def test_blocks_add_up_and_a_face_of_a_block_is_no_edge() -> None:
    grey, found = cell()
    sums = EdgeSums(["c0"])
    for half in (slice(0, 12), slice(12, 24)):
        sums.add(grey[half], found[None, half])
    got, whole = sums.levels(), levels(grey, found)
    assert got is not None and whole is not None
    assert (got.mean, got.deviation) == pytest.approx((whole.mean, whole.deviation))
    assert got.edges["c0"] == pytest.approx(whole.edges["c0"], abs=1)
    full = EdgeSums(["c0"])
    full.add(grey, np.full((1, *SHAPE), 255, np.uint8))
    assert full.levels() is None


def test_hardly_an_edge_or_no_contrast_says_nothing() -> None:
    grey, found = cell()
    few = np.zeros_like(found)
    few[:, : LEAST_EDGES // 24 - 1, 0] = 200
    assert levels(grey, few) is None
    assert levels(np.full_like(grey, 9), found) is None
    both = levels(grey, few, found)
    assert both is not None and set(both.edges) == {"c1"}


def test_edges_of_few_of_the_voxels_say_nothing() -> None:
    grey, found = cell()
    sums = EdgeSums(["c0"])
    sums.add(grey, found[None])
    inside = found >= 127
    share = (inside & ndimage.binary_dilation(~inside)).mean()
    assert sums.levels(0.99 * share) == sums.levels() is not None
    assert sums.levels(1.01 * share) is None


@given(st.floats(0.2, 1), st.integers(0, 40))
def test_a_linear_change_of_grey_values_changes_nothing(gain: float, shift: int) -> None:
    grey, found = cell()
    trained = levels(grey, found)
    assert trained is not None
    changed = levels((grey * gain + shift).astype(np.uint8), found)
    assert likeness(changed, trained) == pytest.approx(1, abs=0.05)
    inverted = levels((255 - grey * gain).astype(np.uint8), found)
    assert likeness(inverted, trained) == pytest.approx(-1, abs=0.05)


def test_only_clear_classes_of_training_count() -> None:
    def of(**edges: float) -> GreyLevels:
        return GreyLevels(mean=100, deviation=20, edges=edges)

    trained = of(dark=60, bright=130, plain=95)
    assert likeness(of(dark=80, bright=115, plain=10, other=1), trained) == pytest.approx(0.5)
    assert likeness(of(bright=130), trained) == pytest.approx(1)
    assert likeness(of(plain=95), trained) is None
    assert likeness(None, trained) is None


@pytest.mark.parametrize(
    ("given_as", "inverted", "expected"),
    [
        (1.0, 0.3, False), (0.3, 1.0, True), (-0.1, 0.9, True), (0.3, 0.4, False),
        (0.9, 1.1, False), (None, 1.0, True), (None, None, False), (0.3, None, False),
        (ALIKE, 2.0, False),
    ],
)  # fmt: skip
def test_only_a_volume_that_fits_inverted_alone_seems_so(
    given_as: float | None, inverted: float | None, expected: bool
) -> None:
    assert seems_inverted(given_as, inverted) is expected

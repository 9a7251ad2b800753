"""The contrast window is exact for integers and total for floats."""

from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibstream.services.inference.grey import contrast, quantise

INTEGERS = [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.uint32, np.int64, np.uint64]


def exact(value: int, low: int, high: int) -> int:
    half_up = floor(Fraction(255 * (int(value) - low), high - low) + Fraction(1, 2))
    return min(max(half_up, 0), 255)


@given(st.data(), st.sampled_from(INTEGERS), st.booleans())
def test_integers_are_exact(
    data: st.DataObject, dtype: type[np.integer[Any]], invert: bool
) -> None:
    info = np.iinfo(dtype)
    low = data.draw(st.integers(-(2**40), 2**40) | st.integers(-300, 300))
    high = low + data.draw(st.integers(1, 2**40) | st.integers(1, 600))
    first, last = (min(max(edge, info.min), info.max) for edge in (low - 5, high + 5))
    value = st.integers(int(info.min), int(info.max)) | st.integers(int(first), int(last))
    values = data.draw(st.lists(value, min_size=1))
    found = contrast(np.array(values, dtype), low, high, invert=invert)
    wanted = [exact(v, low, high) for v in values]
    assert found.dtype == np.uint8
    assert found.tolist() == [255 - w if invert else w for w in wanted]


def test_halves_go_up() -> None:
    raw = np.array([0, 1, 2, 17, 85, 255, 510], np.int32)
    assert contrast(raw, 0, 510).tolist() == [0, 1, 1, 9, 43, 128, 255]
    assert contrast(raw - 510, -510, 0).tolist() == [0, 1, 1, 9, 43, 128, 255]


def test_the_default_window_of_uint8_is_the_identity() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    assert np.array_equal(contrast(grey, 0, 255), grey)
    assert np.array_equal(contrast(grey, 0, 255, invert=True), 255 - grey)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_fill_the_window_and_nan_counts_as_zero(dtype: type[np.generic]) -> None:
    raw = np.array([-np.inf, -3, -1, 0, 1, 3, np.inf, np.nan], dtype)
    assert contrast(raw, -1, 1).tolist() == [0, 0, 0, 128, 255, 255, 255, 128]
    assert np.isnan(raw[-1])  # the caller's array is not written


def test_integers_in_a_fractional_window() -> None:
    assert contrast(np.array([0, 1, 2], np.uint16), 0.5, 1.5).tolist() == [0, 128, 255]


def test_distances_are_quantised_with_127_at_the_surface() -> None:
    distance = np.array([-1, -0.5, 0, 0.5, 1], np.float32)
    assert quantise(distance).tolist() == [0, 63, 127, 191, 255]
    halves = (np.arange(8, dtype=np.float32) + 0.5) / 128
    assert quantise(halves).tolist() == [128, 128, 130, 130, 132, 132, 134, 134]

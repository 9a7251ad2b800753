"""The contrast window is exact for integers and total for floats."""

import re
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibstream.services.inference.grey import check_range, contrast, quantise
from fibstream.services.inference.port import Meaning

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


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([-0.5, 1.2], "the value -0.5; its metadata declare a probability, from 0 to 1"),
        ([-0.2, 1.5], "the value 1.5; its metadata declare a probability, from 0 to 1"),
        ([0.5, 1.0001], "the value 1.0001;"),
        ([-0.0001, 0.5], "the value -0.0001;"),
        ([0.5, np.nan], "values that are not finite"),
        ([0.5, np.inf], "values that are not finite"),
        ([-np.inf, 0.5], "values that are not finite"),
    ],
)
def test_the_value_that_is_farthest_outside_is_named(values: list[float], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}"):
        check_range(np.array(values, np.float32), (0, 1), "probability")
    check_range(np.array([-9e-6, 1 + 9e-6]), (0, 1), "probability")


@pytest.mark.parametrize(
    ("meaning", "least", "most"),
    [("distance", -1, 1), ("probability", 0, 1), ("logit", -1e30, 1e30)],
)
def test_each_meaning_has_its_range(meaning: Meaning, least: float, most: float) -> None:
    assert quantise(np.array([least, most], np.float32), meaning).tolist() == [0, 255]
    beyond = [np.nan, np.inf, -np.inf]
    if meaning != "logit":
        beyond += [least - 0.01, most + 0.01]
    for value in beyond:
        with pytest.raises(ValueError, match=r"not finite|declare a"):
            quantise(np.array([(least + most) / 2, value], np.float32), meaning)


def test_bytes_of_single_precision_are_those_of_exact_values() -> None:
    rng = np.random.default_rng(6)
    p = rng.random(1_000_000, np.float32)
    expected = np.clip(np.round(256 * p.astype(np.float64) - 1), 0, 255)
    assert np.array_equal(quantise(p, "probability"), expected)
    x = rng.normal(0, 3, p.size).astype(np.float32)
    expected = np.clip(np.round(256 / (1 + np.exp(-x.astype(np.float64))) - 1), 0, 255)
    assert np.array_equal(quantise(x, "logit"), expected)

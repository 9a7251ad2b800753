"""What is padding and what is data: the window of grey values follows from data alone."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fibstream.kernels.absent import constant_area
from fibstream.services.inference.window import (
    count_values,
    data_counts,
    window_of,
)

TYPES = ("uint8", "int8", "uint16", "int16", "float32")


def tissue(dtype: str, shape: tuple[int, int, int] = (6, 40, 50), seed: int = 1) -> NDArray[Any]:
    """Noise in the upper part of a type's range, never at its ends and never 0."""
    low, high = {"uint16": (20_000, 22_500), "int16": (1000, 1500)}.get(dtype, (60, 120))
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def framed(inside: NDArray[Any], value: float) -> NDArray[Any]:
    """Slices that were shifted: each has another rim of one value."""
    out = inside.copy()
    for z, one in enumerate(out):
        one[: 3 + z] = value
        one[:, -4 - z :] = value
    return out


@given(st.integers(0, 10_000), st.sampled_from(TYPES))
def test_the_window_is_numpys_inverted_cdf(seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    sample = rng.integers(-5, 100, (2, *rng.integers(1, 30, 2))).clip(0).astype(dtype)
    expected = np.percentile(sample, (0.5, 99.5), method="inverted_cdf").tolist()
    assert (window_of(count_values(sample)) or (expected[0],) * 2) == tuple(expected)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("padding", ["zero", "least", "most"])
def test_padding_is_no_data(dtype: str, padding: str) -> None:
    inside = tissue(dtype)
    ends = (-3e5, 3e5) if dtype == "float32" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    value = {"zero": 0, "least": ends[0], "most": ends[1]}[padding]
    stack = framed(inside, value)
    kept = count_values(stack[stack != value])
    found = data_counts(stack)
    assert np.array_equal(found.values, kept.values)
    assert np.array_equal(found.voxels, kept.voxels)
    low, high = window_of(found) or (0, 0)
    assert inside.min() <= low < high <= inside.max()


def count_of(sample: NDArray[Any], value: float) -> int:
    counts = data_counts(sample)
    return int(counts.voxels[counts.values == value].sum())


def test_zeros_and_the_frequent_extreme_are_left_out_together() -> None:
    stack = framed(tissue("uint16"), 65_535)
    stack[2] = 0
    low, high = window_of(data_counts(stack)) or (0, 0)
    assert 20_000 <= low < high < 22_500


def test_an_extreme_inside_tissue_is_data() -> None:
    stack = tissue("uint8")
    stack[:, 10:30, 10:30] = 255
    assert count_of(stack, 255) == 6 * 400


def test_a_value_between_the_extremes_is_data_unless_it_is_declared() -> None:
    stack = framed(tissue("uint8"), 80)
    assert count_of(stack, 80) > 1000
    assert 80 not in data_counts(stack, absent_value=80).values


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_volume_of_one_value_has_no_window(value: int) -> None:
    assert window_of(data_counts(np.full((3, 9, 9), value, np.uint8))) is None


def test_areas_of_one_value_are_found_and_noise_is_not() -> None:
    assert constant_area(tissue("uint8")) is None
    stack = tissue("uint8")
    stack[1, 5:13, 7:15] = 77
    assert constant_area(stack) == (77.0, 64 / stack.size)
    stack[1, 5, 7] = 78
    assert constant_area(stack) is None


def test_less_than_a_thousandth_is_not_worth_a_line() -> None:
    stack = tissue("uint8", (6, 100, 120))
    stack[1, 5:13, 7:15] = 77
    assert constant_area(stack) is None


def test_slices_narrower_than_an_area_have_none() -> None:
    assert constant_area(np.zeros((2, 7, 90), np.uint8)) is None


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32"])
def test_values_of_any_type_are_counted(dtype: str) -> None:
    counts = count_values(np.array([[[-3, 7, 7]], [[7, 0, -3]]], dtype))
    assert counts.values.tolist() == [-3, 0, 7]
    assert counts.voxels.tolist() == [2, 1, 3]

"""Effects are those of all differences, and their intervals hold what they promise."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibstream.kernels.effects import EXACT, _outside, cliffs_delta, hodges_lehmann

VALUE = st.floats(-1e12, 1e12) | st.integers(-3, 3).map(float)
SAMPLE = st.lists(VALUE, min_size=1, max_size=12).map(np.array)


@given(SAMPLE, SAMPLE)
def test_they_are_those_of_all_differences(a: np.ndarray, b: np.ndarray) -> None:
    every = np.sort((b[:, None] - a).ravel())
    assert cliffs_delta(a, b) == int(np.sign(every).sum()) / every.size
    found = hodges_lehmann(a, b)
    assert found.estimate == (every[(every.size - 1) // 2] + every[every.size // 2]) / 2
    cut, level = _outside(a.size, b.size, 0.95)
    if not cut:
        assert found[1:] == (None, None, None)
        return
    assert found[1:] == (every[cut - 1], every[-cut], level) and 0.95 <= level < 1


@given(SAMPLE, SAMPLE)
def test_sides_change_the_sign_alone(a: np.ndarray, b: np.ndarray) -> None:
    one, two = hodges_lehmann(a, b), hodges_lehmann(b, a)
    assert one.estimate == -two.estimate and cliffs_delta(a, b) == -cliffs_delta(b, a)
    if one.low is not None and two.high is not None:
        assert one.low == -two.high


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 3), (4, 4), (3, 5), (6, 4), (1, 30), (2, 8)])
def test_the_interval_is_the_narrowest_of_its_level(n: int, m: int) -> None:
    places = combinations(range(n + m), n)
    reversed_ = np.array([sum(p) - n * (n - 1) // 2 for p in places])  # pairs, of each order
    cut, level = _outside(n, m, 0.95)
    assert 2 * (reversed_ < cut).mean() <= 0.05 < 2 * (reversed_ < cut + 1).mean()
    assert level == pytest.approx(1 - 2 * (reversed_ < cut).mean())


def test_the_approximation_takes_over_where_it_is_right() -> None:
    exact, _ = _outside(EXACT, EXACT, 0.95)
    by_normal = EXACT**2 / 2 - 1.96 * math.sqrt(EXACT**2 * (2 * EXACT + 1) / 12)
    assert abs(exact - by_normal) <= 1
    cut, level = _outside(EXACT + 1, EXACT, 0.95)
    assert exact < cut < exact + 30 and level == 0.95


def test_many_values_take_the_memory_of_their_number() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.lognormal(size=100_000), rng.lognormal(0.5, size=90_000)
    found = hodges_lehmann(a, b)  # of 9e9 differences
    assert found.low is not None and found.high is not None
    assert found.low < found.estimate < found.high < 1.2 * found.low
    assert cliffs_delta(a, b) == pytest.approx(2 * 0.638163 - 1, abs=0.01)  # P(N(0.5, 2) > 0)

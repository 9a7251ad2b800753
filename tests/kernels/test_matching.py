"""Matching of objects: the best of all, in groups; and the scores made of it."""

import math
from itertools import permutations

import numpy as np
import pytest

from fibstream.kernels.matching import Match, adjusted_rand, match_objects, matched_scores
from fibstream.kernels.scores import Pairs, count_pairs, object_sizes


def random_pairs(seed: int) -> Pairs:
    rng = np.random.default_rng(seed)
    truth, test = (rng.integers(0, 5, (4, 5, 6)).astype(np.uint64) for _ in range(2))
    test = np.where(rng.random(test.shape) < 0.5, truth * 7, test * 11).astype(np.uint64)
    return count_pairs(truth * np.uint64(2**60), test)


def best_sum(pairs: Pairs) -> float:
    """Every assignment tried."""
    truth, test = object_sizes(pairs)
    rows, columns = sorted(truth), sorted(test)
    if len(rows) > len(columns):
        rows, columns = columns, rows
        pairs = Pairs({(b, a): n for (a, b), n in pairs.items()})
        truth, test = test, truth
    return max(
        math.fsum(pairs[a, b] / (truth[a] + test[b] - pairs[a, b])
                  for a, b in zip(rows, order, strict=True))
        for order in permutations(columns, len(rows))
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(25))
def test_the_sum_of_iou_is_the_largest(seed: int) -> None:
    pairs = random_pairs(seed)
    found = match_objects(pairs)
    assert math.isclose(math.fsum(m.iou for m in found), best_sum(pairs), abs_tol=1e-5)
    for side in (0, 1):
        assert len({m[side] for m in found}) == len(found)
    assert all(pairs[m.truth, m.test] for m in found)


def test_objects_that_do_not_overlap_are_not_matched() -> None:
    assert match_objects(Pairs({(1, 0): 5, (0, 2): 5})) == []
    assert match_objects(Pairs()) == []
    assert match_objects(Pairs({(1, 9): 5, (2, 0): 3})) == [Match(1, 9, 1.0)]
    # Three and three in one group, of which only two find a partner.
    tree = Pairs({(1, 1): 5, (1, 2): 4, (1, 3): 1, (2, 3): 5, (3, 3): 4})
    assert [match[:2] for match in match_objects(tree)] == [(1, 1), (2, 3)]


def test_a_thousand_objects_are_matched_in_groups() -> None:
    pairs = Pairs({(n, n + 1): 5 for n in range(1, 20_001)})
    assert len(match_objects(pairs)) == 20_000


def test_scores_of_matches() -> None:
    pairs = Pairs({(1, 9): 5, (2, 0): 3, (0, 8): 1})
    (match,) = match_objects(pairs)
    diagonal = math.sqrt(3) * 4
    found = matched_scores(pairs, [match], [diagonal], (4, 4, 4))
    assert found["f1"] == 0.5
    assert found["hausdorff"] == pytest.approx(1 / 1.01 / 2)
    assert found["combined"] == pytest.approx(math.sqrt(0.5 / 1.01 / 2))
    assert matched_scores(Pairs({(0, 3): 2}), [], [], (4, 4, 4))["combined"] == 0
    assert matched_scores(Pairs(), [], [], (4, 4, 4))["combined"] == 1


def rand_by_all_pairs(truth: np.ndarray, test: np.ndarray) -> float:
    inside = truth != 0
    a, b = truth[inside], test[inside]
    same_a, same_b = (v[:, None] == v[None] for v in (a, b))
    upper = np.triu(np.ones(same_a.shape, bool), 1)
    both, one, two = ((m & upper).sum() for m in (same_a & same_b, same_a, same_b))
    expected = one * two / upper.sum()
    return float((both - expected) / ((one + two) / 2 - expected))


@pytest.mark.parametrize("seed", range(10))
def test_adjusted_rand_is_that_of_all_pairs_of_voxels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, test = (rng.integers(0, 4, (3, 4, 5)).astype(np.uint64) for _ in range(2))
    assert adjusted_rand(count_pairs(truth, test)) == pytest.approx(rand_by_all_pairs(truth, test))


def test_adjusted_rand_of_the_same_and_of_nothing() -> None:
    assert adjusted_rand(Pairs({(1, 4): 6, (2, 3): 5})) == 1
    assert adjusted_rand(Pairs({(1, 4): 6})) == 1
    assert math.isnan(adjusted_rand(Pairs({(0, 4): 6})))

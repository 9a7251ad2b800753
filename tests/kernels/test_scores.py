"""Scores: counts add up over chunks, ratios are exact, empty cases are defined."""

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Grid, Index
from fibstream.kernels.scores import Overlap, Pairs, count, count_pairs, instance_scores, scores

from ..support.geometry import triple


def random_labels(rng: np.random.Generator, shape: Index, most: int = 6) -> NDArray[np.uint64]:
    ids = np.append(np.uint64(0), rng.integers(1, 2**63, most, np.uint64))
    return (
        rng.choice(ids, [n // 3 + 1 for n in shape])
        .repeat(3, 0)
        .repeat(3, 1)
        .repeat(3, 2)[: shape[0], : shape[1], : shape[2]]
    )


@pytest.mark.parametrize("seed", range(20))
def test_chunks_add_up_to_the_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = triple(rng.integers(1, 23, 3))
    grid = Grid(shape, triple(rng.integers(1, n + 1) for n in shape))
    truth, test = random_labels(rng, shape), random_labels(rng, shape)
    boxes = [grid.box(index).slices() for index in grid.indices()]
    overlap = sum((count(truth[box], test[box]) for box in boxes), Overlap())
    pairs = sum((count_pairs(truth[box], test[box]) for box in boxes), Pairs())
    assert overlap == count(truth, test)
    assert pairs == count_pairs(truth, test)
    t, p = truth > 0, test > 0
    assert overlap == Overlap((t & p).sum(), (~t & p).sum(), (t & ~p).sum(), (~t & ~p).sum())
    both = zip(truth.ravel().tolist(), test.ravel().tolist(), strict=True)
    assert pairs == Pairs(pair for pair in both if pair != (0, 0))


def test_scores_of_known_counts() -> None:
    assert scores(Overlap(6, 2, 4, 88)) == {
        "dice": 12 / 18, "iou": 6 / 12, "precision": 6 / 8, "recall": 6 / 10,
        "tp": 6, "fp": 2, "fn": 4, "tn": 88,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (Overlap(tn=5), (1, 1, 1, 1)),
        (Overlap(), (1, 1, 1, 1)),
        (Overlap(fp=3, tn=5), (0, 0, 0, 0)),
        (Overlap(fn=3, tn=5), (0, 0, 0, 0)),
    ],
)
def test_scores_of_the_empty(counts: Overlap, expected: tuple[int, ...]) -> None:
    result = scores(counts)
    assert tuple(result[name] for name in ("dice", "iou", "precision", "recall")) == expected


def test_shapes_must_agree() -> None:
    a, b = np.zeros((1, 2, 3)), np.zeros((1, 2, 4))
    for compare in (count, count_pairs):
        with pytest.raises(WrongUse, match=r"test: shape \(1, 2, 4\); expected .*\(1, 2, 3\)"):
            compare(a, b)


@pytest.mark.parametrize("seed", range(20))
def test_matches_are_those_of_the_best_assignment(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = random_labels(rng, (12, 12, 12), 8)
    test = np.where(rng.random(truth.shape) < 0.4, random_labels(rng, truth.shape, 3), truth)
    names, found = np.unique(truth[truth > 0]), np.unique(test[test > 0])
    iou = np.array(
        [[((truth == a) & (test == b)).sum() / ((truth == a) | (test == b)).sum() for b in found]
         for a in names]
    )  # fmt: skip
    rows, columns = linear_sum_assignment(-np.where(iou > 0.5, iou, 0))
    matched = [v for v in iou[rows, columns] if v > 0.5]
    result = instance_scores(count_pairs(truth, test))
    tp, fp, fn = len(matched), len(found) - len(matched), len(names) - len(matched)
    assert (result["tp"], result["fp"], result["fn"]) == (tp, fp, fn)
    assert result["f1"] == 2 * tp / (2 * tp + fp + fn)
    assert result["sq"] == pytest.approx(np.mean(matched) if matched else 0)
    assert result["pq"] == pytest.approx(result["sq"] * result["f1"])


def test_half_is_no_match_and_the_order_of_pairs_does_not_show() -> None:
    assert instance_scores(Pairs({(1, 1): 1, (1, 0): 1}))["tp"] == 0
    assert instance_scores(Pairs({(1, 1): 2, (1, 0): 1}))["tp"] == 1
    pairs = [((n, n), 7 * n) for n in range(1, 60)] + [((n, 0), n) for n in range(1, 60)]
    forward, backward = (instance_scores(Pairs(dict(p))) for p in (pairs, pairs[::-1]))
    assert forward == backward
    assert forward["sq"] == float(Fraction(7, 8))


@pytest.mark.parametrize("seed", range(20))
def test_splits_and_merges_are_counted_object_by_object(seed: int) -> None:
    """Of each object all others that lie in it by more than half, but one."""
    rng = np.random.default_rng(seed)
    sides = [random_labels(rng, (12, 15, 9), 5), random_labels(rng, (12, 15, 9), 8)]
    sides[1] = np.where(rng.random(sides[1].shape) < 0.5, sides[0], sides[1])
    expected = []
    for whole, other in (sides, sides[::-1]):
        masks = [whole == a for a in np.unique(whole[whole > 0])]
        parts = [other == b for b in np.unique(other[other > 0])]
        inside = [sum(2 * (m & p).sum() > p.sum() for p in parts) for m in masks]
        expected.append(sum(n - 1 for n in inside if n))
    result = instance_scores(count_pairs(*sides))
    assert [result["splits"], result["merges"]] == expected


def test_splits_and_merges_of_known_pairs() -> None:
    """Object 1 in three parts, one of them half outside, and 2 and 3 in one that holds both."""
    split = {(1, 1): 50, (1, 2): 30, (1, 3): 20, (0, 3): 20}
    merged = {(2, 4): 40, (3, 4): 60, (0, 4): 5}
    result = instance_scores(Pairs(split | merged))
    assert (result["splits"], result["merges"]) == (1, 1)
    result = instance_scores(Pairs(split | merged | {(0, 3): 19}))
    assert (result["splits"], result["merges"]) == (2, 1)
    assert instance_scores(Pairs({(7, 0): 9, (0, 7): 9}))["splits"] == 0


def test_instance_scores_of_the_empty() -> None:
    names = ("precision", "recall", "f1", "sq", "pq")
    for pairs, expected in (({}, 1), ({(1, 0): 4}, 0), ({(0, 1): 4}, 0)):
        result = instance_scores(Pairs(pairs))
        assert [result[name] for name in names] == [expected] * 5

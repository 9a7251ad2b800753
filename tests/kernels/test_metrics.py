"""The 21 metrics: brute force by their formulas, empty rules, embedding, and blocks that add up."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from fibstream.kernels.edt import across_planes, picometres, plane_squares
from fibstream.kernels.metrics import METRICS, Agreement, Limits, agreement, metrics
from fibstream.kernels.near import Voxel

Mask = NDArray[np.bool_]
VOXEL = (32.0, 16.0, 24.0)  # so that many errors lie beyond 40 nm, and some beyond 200 nm


def counted(truth: Mask, test: Mask, mask: Mask | None = None, voxel: Voxel = VOXEL) -> Agreement:
    edges = picometres(voxel, truth.shape)
    within = [m if mask is None else m & mask for m in (truth, test)]
    squares = [across_planes(plane_squares(m, edges), edges) for m in within]
    return agreement(squares[0], squares[1], mask)


def masks(seed: int, shape: tuple[int, int, int] = (5, 9, 11)) -> tuple[Mask, Mask, Mask]:
    rng = np.random.default_rng(seed)
    truth, test = (rng.random(shape) < rng.choice((0.02, 0.3)) for _ in range(2))
    annotated = np.ones(shape, bool)
    annotated[:, : rng.integers(0, 4)] = False
    truth[0, 0, 0] = test[-1, -1, -1] = annotated[0, 0, 0] = True  # neither is empty
    return truth, test, annotated


def slowly(truth: Mask, test: Mask, mask: Mask) -> dict[str, float]:
    """The formulas of methods.md 4.1 as they stand, by all pairs of voxels."""
    t, p = truth & mask, test & mask
    at = {name: np.argwhere(m) * np.array(VOXEL) for name, m in (("t", t), ("p", p))}
    apart = np.sqrt(((at["p"][:, None] - at["t"][None]) ** 2).sum(-1))
    dp, dt = apart.min(1), apart.min(0)
    size_t, size_p, both = t.sum(), p.sum(), (t & p).sum()
    background = (mask & ~t).sum()
    fdr, fnr = (p & ~t).sum() / size_p, (t & ~p).sum() / size_t
    late_p, late_t = (dp > 40).sum(), (dt > 40).sum()
    right = (t | p).sum() - late_p - late_t
    tolerant = right / (right + late_p), right / (right + late_t)
    precision, recall = 1 - fdr, 1 - fnr

    def harmonic(a: float, b: float) -> float:
        return 2 * a * b / (a + b) if a + b else math.nan

    joint = [m.sum() / mask.sum() for m in (t & p, t & ~p & mask, p & ~t & mask, mask & ~t & ~p)]
    entropy = lambda parts: -sum(q * math.log2(q) for q in parts if q)  # noqa: E731
    split_t, split_p = (entropy((m.sum() / mask.sum(), 1 - m.sum() / mask.sum())) for m in (t, p))
    return {
        "dice": 2 * both / (size_t + size_p), "jaccard": both / (t | p).sum(),
        "hausdorff": max(dp.max(), dt.max()), "false_negative_rate": fnr,
        "false_discovery_rate": fdr, "false_positive_rate": fdr * size_p / background,
        "precision": precision, "recall": recall, "f1_score": harmonic(precision, recall),
        "voi": 2 * entropy(joint) - split_t - split_p,
        "mean_false_positive_distance": dp.mean(), "mean_false_negative_distance": dt.mean(),
        "mean_false_distance": (dp.mean() + dt.mean()) / 2,
        "mean_false_positive_distance_clipped": np.minimum(dp, 200).mean(),
        "mean_false_negative_distance_clipped": np.minimum(dt, 200).mean(),
        "mean_false_distance_clipped":
            (np.minimum(dp, 200).mean() + np.minimum(dt, 200).mean()) / 2,
        "false_positive_rate_with_tolerance": late_p / background,
        "false_negative_rate_with_tolerance": late_t / size_t,
        "precision_with_tolerance": tolerant[0], "recall_with_tolerance": tolerant[1],
        "f1_score_with_tolerance": harmonic(*tolerant),
    }  # fmt: skip


def same(one: Mapping[str, float], two: Mapping[str, float]) -> bool:
    return one.keys() == two.keys() and all(
        math.isclose(one[k], two[k], abs_tol=1e-12) or (math.isnan(one[k]) and math.isnan(two[k]))
        for k in one
    )


@pytest.mark.parametrize("seed", range(60))
def test_metrics_are_those_of_the_formulas(seed: int) -> None:
    truth, test, mask = masks(seed)
    found = metrics(counted(truth, test, mask))
    wanted = slowly(truth, test, mask)
    assert list(found) == list(METRICS)
    assert len(METRICS) == 21
    assert same(found, {name: wanted[name] for name in METRICS}), (found, wanted)


def test_far_errors_are_clipped_and_tolerated_as_given() -> None:
    truth, test = np.zeros((2, 1, 1, 100), bool)
    truth[0, 0, 0] = test[0, 0, [0, 60]] = True
    found = metrics(counted(truth, test, voxel=(8, 4, 4)))
    assert found["mean_false_positive_distance"] == 120
    assert found["mean_false_positive_distance_clipped"] == 100
    assert found["hausdorff"] == 240
    near = metrics(counted(truth, test, voxel=(8, 4, 4)), Limits(240, 100))
    assert near["false_positive_rate_with_tolerance"] == 0  # 240 nm is not above 240 nm
    assert near["mean_false_positive_distance_clipped"] == 50


@pytest.mark.parametrize("seed", range(10))
def test_blocks_of_any_order_add_up(seed: int) -> None:
    truth, test, mask = masks(seed, (6, 9, 11))
    edges = picometres(VOXEL, truth.shape)
    squares = [across_planes(plane_squares(m & mask, edges), edges) for m in (truth, test)]
    cut = 1 + seed % 5
    parts = [slice(cut, None), slice(0, cut)]
    added = sum((agreement(squares[0][s], squares[1][s], mask[s]) for s in parts), Agreement())
    whole = counted(truth, test, mask)
    assert added == whole
    assert same(metrics(added), metrics(whole))


@pytest.mark.parametrize("seed", range(10))
def test_embedding_in_a_larger_volume_changes_nothing(seed: int) -> None:
    truth, test, mask = masks(seed)
    rng = np.random.default_rng(seed)
    # Beyond the annotated part both may hold anything.
    larger = [rng.random((9, 15, 20)) < 0.3 for _ in range(2)] + [np.zeros((9, 15, 20), bool)]
    for into, small in zip(larger, (truth, test, mask), strict=True):
        into[2:7, 3:12, 4:15] = small
    assert metrics(counted(larger[0], larger[1], larger[2])) == metrics(counted(truth, test, mask))


NAN = math.nan
BOTH_EMPTY = dict.fromkeys(METRICS, NAN) | {"hausdorff": 0.0}
NO_TEST = dict.fromkeys(METRICS, NAN) | {"dice": 0.0, "jaccard": 0.0}
NO_TRUTH = NO_TEST | {"false_discovery_rate": 1.0}


@pytest.mark.parametrize(
    ("truth", "test", "wanted"),
    [(False, False, BOTH_EMPTY), (True, False, NO_TEST), (False, True, NO_TRUTH)],
)
def test_empty_masks_have_the_values_of_the_rules(
    truth: bool, test: bool, wanted: dict[str, float]
) -> None:
    one, two = (np.full((2, 3, 4), False) for _ in range(2))
    one[1, 1, 1], two[0, 1, 1] = truth, test
    assert same(metrics(counted(one, two)), wanted)


def test_a_truth_without_background_has_no_false_positive_rate() -> None:
    full = np.ones((2, 2, 2), bool)
    found = metrics(counted(full, full))
    assert math.isnan(found["false_positive_rate"])
    assert found["dice"] == found["f1_score_with_tolerance"] == 1
    assert found["voi"] == found["mean_false_distance"] == 0


def test_disjoint_masks_have_no_harmonic_mean() -> None:
    one = np.zeros((1, 1, 40), bool)
    two = one.copy()
    one[..., 0] = two[..., -1] = True
    found = metrics(counted(one, two))
    assert math.isnan(found["f1_score"])
    assert math.isnan(found["f1_score_with_tolerance"])
    assert found["dice"] == 0

"""The 21 metrics of a mask against the truth (Heinrich et al. 2021), of counts that add up.

An `Agreement` holds all of them: voxels inside and outside, and how many voxels of one mask lie
how far from the other one. Blocks may be counted apart and added; a mean is one exact sum and one
division, so no order shows.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .scores import Overlap, count

Distances = Counter[int]  # voxels by the square of their distance to the other mask, in pm^2


class Limits(NamedTuple):
    """The published parameters of the metrics, in nm.

    A voxel that is not farther from the other mask than the tolerance is no error; errors that are
    farther than the clip weigh no more.
    """

    tol_distance: float = 40.0
    clip_distance: float = 200.0


PUBLISHED = Limits()


class Metric(NamedTuple):
    """Which way a metric is better, and the parameter it depends on, if any."""

    higher_is_better: bool
    parameter: str = ""


_UP, _DOWN = Metric(True), Metric(False)
_UP_TOLERANT, _DOWN_TOLERANT = Metric(True, "tol_distance"), Metric(False, "tol_distance")
_CLIPPED = Metric(False, "clip_distance")
METRICS: Mapping[str, Metric] = {
    "dice": _UP,
    "jaccard": _UP,
    "hausdorff": _DOWN,
    "false_negative_rate": _DOWN,
    "false_discovery_rate": _DOWN,
    "false_positive_rate": _DOWN,
    "precision": _UP,
    "recall": _UP,
    "f1_score": _UP,
    "voi": _DOWN,
    "mean_false_distance": _DOWN,
    "mean_false_negative_distance": _DOWN,
    "mean_false_positive_distance": _DOWN,
    "mean_false_distance_clipped": _CLIPPED,
    "mean_false_negative_distance_clipped": _CLIPPED,
    "mean_false_positive_distance_clipped": _CLIPPED,
    "false_positive_rate_with_tolerance": _DOWN_TOLERANT,
    "false_negative_rate_with_tolerance": _DOWN_TOLERANT,
    "precision_with_tolerance": _UP_TOLERANT,
    "recall_with_tolerance": _UP_TOLERANT,
    "f1_score_with_tolerance": _UP_TOLERANT,
}


@dataclass(frozen=True)
class Agreement:
    """Voxels of two masks, and how far those of each lie from the other mask."""

    overlap: Overlap = field(default_factory=Overlap)
    test_to_truth: Distances = field(default_factory=Counter)
    truth_to_test: Distances = field(default_factory=Counter)

    def __add__(self, other: "Agreement") -> "Agreement":
        """Return those of two disjoint sets of voxels together."""
        return Agreement(
            self.overlap + other.overlap,
            self.test_to_truth + other.test_to_truth,
            self.truth_to_test + other.truth_to_test,
        )


def agreement(
    to_truth: NDArray[np.int64], to_test: NDArray[np.int64], counted: NDArray[np.bool_] | None
) -> Agreement:
    """Return the agreement of two masks in a block.

    Parameters
    ----------
    to_truth, to_test
        The squared distance of each voxel to the nearest one of the truth and of what is scored,
        in pm^2, ``(z, y, x)``; 0 inside (`edt`). Both masks are outside where not ``counted``.
    counted
        Which voxels are annotated, of the same shape; all without it.
    """
    truth, test = to_truth == 0, to_test == 0
    within = (truth, test) if counted is None else (truth[counted], test[counted])
    return Agreement(count(*within), _distances(to_truth[test]), _distances(to_test[truth]))


def _distances(squares: NDArray[np.int64]) -> Distances:
    distinct, voxels = np.unique(squares, return_counts=True)
    return Counter(dict(zip(distinct.tolist(), voxels.tolist(), strict=True)))


def metrics(found: Agreement, limits: Limits = PUBLISHED) -> dict[str, float]:
    """Return the 21 metrics, by the names of `METRICS`; distances are in nm.

    A metric has no value (NaN) where the published rules give it none: all but ``dice``,
    ``jaccard``, ``hausdorff`` and ``false_discovery_rate`` where one of the two masks is empty,
    and whatever would divide by 0. ``voi`` is in bits, of two classes.

    Notes
    -----
    Heinrich et al., *Whole-cell organelle segmentation in volume electron microscopy*, Nature
    2021, Methods; the variation of information is that of the CREMI challenge.
    """
    o = found.overlap
    some = o.tp + o.fn > 0 and o.tp + o.fp > 0
    values = {
        "dice": _ratio(2 * o.tp, 2 * o.tp + o.fp + o.fn),
        "jaccard": _ratio(o.tp, o.tp + o.fp + o.fn),
        "hausdorff": _hausdorff(found),
        "false_discovery_rate": _ratio(o.fp, o.tp + o.fp),
    }
    either = _rates(o) | _means(found, limits) | _tolerant(found, limits)
    values |= {name: value if some else math.nan for name, value in either.items()}
    return {name: values[name] for name in METRICS}


def _rates(o: Overlap) -> dict[str, float]:
    precision, recall = _ratio(o.tp, o.tp + o.fp), _ratio(o.tp, o.tp + o.fn)
    return {
        "false_negative_rate": _ratio(o.fn, o.tp + o.fn),
        "false_positive_rate": _ratio(o.fp, o.fp + o.tn),
        "precision": precision,
        "recall": recall,
        "f1_score": _harmonic(precision, recall),
        "voi": _voi(o),
    }


def _hausdorff(found: Agreement) -> float:
    o = found.overlap
    if o.tp + o.fp + o.fn == 0:
        return 0.0
    if not (o.tp + o.fn and o.tp + o.fp):
        return math.nan
    return _nm(max(*found.test_to_truth, *found.truth_to_test, 0))


def _voi(o: Overlap) -> float:
    """Return the variation of information of two labelings into inside and outside, in bits."""
    cells = ((o.tp, o.tp + o.fn, o.tp + o.fp), (o.fn, o.tp + o.fn, o.fn + o.tn),
             (o.fp, o.fp + o.tn, o.tp + o.fp), (o.tn, o.fp + o.tn, o.fn + o.tn))  # fmt: skip
    terms = (n * (math.log2(a / n) + math.log2(b / n)) for n, a, b in cells if n)
    return _ratio(math.fsum(terms), o.size)


def _means(found: Agreement, limits: Limits) -> dict[str, float]:
    values = {}
    for suffix, clip in (("", math.inf), ("_clipped", limits.clip_distance)):
        positive = _mean(found.test_to_truth, clip)
        negative = _mean(found.truth_to_test, clip)
        values[f"mean_false_positive_distance{suffix}"] = positive
        values[f"mean_false_negative_distance{suffix}"] = negative
        values[f"mean_false_distance{suffix}"] = (positive + negative) / 2
    return values


def _mean(distances: Distances, clip: float) -> float:
    """Return the mean distance in nm, of voxels inside both too, whose distance is 0."""
    terms = (voxels * min(_nm(square), clip) for square, voxels in distances.items())
    return _ratio(math.fsum(terms), distances.total())


def _tolerant(found: Agreement, limits: Limits) -> dict[str, float]:
    o = found.overlap
    fp, fn = (
        sum(voxels for square, voxels in distances.items() if _nm(square) > limits.tol_distance)
        for distances in (found.test_to_truth, found.truth_to_test)
    )
    tp = o.tp + o.fp + o.fn - fp - fn
    precision, recall = _ratio(tp, tp + fp), _ratio(tp, tp + fn)
    return {
        "false_positive_rate_with_tolerance": _ratio(fp, o.fp + o.tn),
        "false_negative_rate_with_tolerance": _ratio(fn, o.tp + o.fn),
        "precision_with_tolerance": precision,
        "recall_with_tolerance": recall,
        "f1_score_with_tolerance": _harmonic(precision, recall),
    }


def _nm(square: int) -> float:
    return math.sqrt(square) / 1000


def _ratio(part: float, whole: int) -> float:
    return part / whole if whole else math.nan


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else math.nan

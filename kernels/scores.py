"""How well a segmentation agrees with the truth: counts that add up over chunks, then scores.

`Overlap` compares foreground with foreground, a `Pairs` compares object with object.  Both are
integers; blocks may be counted apart and added.
"""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse

from .runs import rank, run_starts

Pairs = Counter[tuple[int, int]]  # voxels of each (truth id, test id) but (0, 0); add with +


@dataclass(frozen=True, slots=True)
class Overlap:
    """Voxels that are true and false positives, false and true negatives."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    @property
    def size(self) -> int:
        """All voxels that were compared."""
        return self.tp + self.fp + self.fn + self.tn

    def __add__(self, other: "Overlap") -> "Overlap":
        """Return the counts of two disjoint sets of voxels together."""
        return Overlap(
            self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn
        )


def count(truth: NDArray[Any], test: NDArray[Any]) -> Overlap:
    """Compare foreground with foreground.

    Parameters
    ----------
    truth, test
        Foreground where not 0; of one shape.

    Raises
    ------
    WrongUse
        The shapes differ.
    """
    _same_shape(truth, test)
    wanted = truth != 0
    found = test != 0
    tp = int(np.count_nonzero(wanted & found))
    fp = int(np.count_nonzero(found)) - tp
    fn = int(np.count_nonzero(wanted)) - tp
    return Overlap(tp, fp, fn, wanted.size - tp - fp - fn)


def scores(counts: Overlap) -> dict[str, int | float]:
    """Return ``dice``, ``iou``, ``precision`` and ``recall``, and the four counts.

    A score without voxels to divide by is 1.0 where both truth and test are empty, else 0.0.
    """
    tp, fp, fn = counts.tp, counts.fp, counts.fn
    empty = 1.0 if tp + fp + fn == 0 else 0.0
    return {
        "dice": _ratio(2 * tp, 2 * tp + fp + fn, empty),
        "iou": _ratio(tp, tp + fp + fn, empty),
        "precision": _ratio(tp, tp + fp, empty),
        "recall": _ratio(tp, tp + fn, empty),
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "tn": counts.tn,
    }


def count_pairs(truth: NDArray[Any], test: NDArray[Any]) -> Pairs:
    """Count the voxels of each pair of a truth id and a test id.

    Parameters
    ----------
    truth, test
        Ids of one shape, integers, 0 is background.

    Returns
    -------
    Pairs
        ``{(truth id, test id): voxels}`` without ``(0, 0)``; counts of disjoint sets of voxels
        add up with ``+``.

    Raises
    ------
    WrongUse
        The shapes differ.
    """
    _same_shape(truth, test)
    flat = truth.reshape(-1), test.reshape(-1)
    starts = run_starts(*flat)
    lengths = np.diff(starts, append=truth.size)
    (truth_ids, a), (test_ids, b) = (rank(ids[starts]) for ids in flat)
    code = a * np.int64(test_ids.size) + b
    order = np.argsort(code, kind="stable")
    distinct, first = np.unique(code[order], return_index=True)
    voxels = np.add.reduceat(lengths[order], first)
    a, b = np.divmod(distinct, test_ids.size)
    keys = zip(truth_ids[a].tolist(), test_ids[b].tolist(), strict=True)
    pairs = Counter(dict(zip(keys, voxels.tolist(), strict=True)))
    del pairs[0, 0]
    return pairs


def instance_scores(pairs: Pairs) -> dict[str, int | float]:
    """Score objects against objects.

    A truth and a test object match where their IoU is above 1/2; no object can then have two
    matches.  Matched pairs are ``tp``, other test objects ``fp``, other truth objects ``fn``.

    Returns
    -------
    dict
        ``tp``, ``fp``, ``fn``, ``precision``, ``recall``, ``f1`` (equals recognition quality),
        ``sq`` (segmentation quality: mean IoU of the matches) and ``pq`` (panoptic quality,
        ``sq`` times ``f1``).  Without objects to divide by a score is 1.0 where neither side
        has an object, else 0.0.  ``splits`` and ``merges`` are those of `count_divisions`.

    Notes
    -----
    Kirillov et al., *Panoptic Segmentation*, CVPR 2019.  IoU are added with exact rounding, so
    the order of pairs does not show.
    """
    truth_size, test_size = object_sizes(pairs)
    ious = [
        both / (truth_size[a] + test_size[b] - both)
        for (a, b), both in pairs.items()
        if a and b and 3 * both > truth_size[a] + test_size[b]  # IoU > 1/2 in integers
    ]
    tp = len(ious)
    fp, fn = len(test_size) - tp, len(truth_size) - tp
    empty = 1.0 if tp + fp + fn == 0 else 0.0
    quality = math.fsum(ious)
    return {
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "precision": _ratio(tp, tp + fp, empty),
        "recall": _ratio(tp, tp + fn, empty),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn, empty),
        "sq": _ratio(quality, tp, empty),
        "pq": _ratio(2 * quality, 2 * tp + fp + fn, empty),
        "splits": count_divisions(pairs),
        "merges": count_divisions(Pairs({(b, a): voxels for (a, b), voxels in pairs.items()})),
    }


def count_divisions(pairs: Pairs) -> int:
    """Return how often truth objects are divided: their parts beyond the first of each.

    A part is a test object of which more than half the voxels lie in one truth object, so no object
    is a part of two. With the sides swapped these are the truth objects that test objects merge.
    """
    size = object_sizes(pairs)[1]
    parts = Counter(a for (a, b), both in pairs.items() if a and b and 2 * both > size[b])
    return parts.total() - len(parts)


def object_sizes(pairs: Pairs) -> tuple[Counter[int], Counter[int]]:
    """Return the voxels of every truth object and of every test object."""
    truth: Counter[int] = Counter()
    test: Counter[int] = Counter()
    for (a, b), voxels in pairs.items():
        truth[a] += voxels
        test[b] += voxels
    del truth[0], test[0]
    return truth, test


def _ratio(part: float, whole: int, empty: float) -> float:
    return part / whole if whole else empty


def _same_shape(truth: NDArray[Any], test: NDArray[Any]) -> None:
    if truth.shape != test.shape:
        raise WrongUse(f"test: shape {test.shape}; expected that of the truth, {truth.shape}")

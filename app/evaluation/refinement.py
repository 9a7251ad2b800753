"""What refinement changes, after Extended Data Fig. 5 of the paper: prediction and segmentation."""

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa

from .selection import Score, scores_of, segmentation_scores

COMPARED = {"dice": "F1 score (Dice)", "precision": "precision", "recall": "recall"}


class Effect(NamedTuple):
    """The metrics of a prediction at the threshold, and of what was refined of it, at a crop."""

    label: str
    crop: str
    path: str  # the segmentation
    before: Mapping[str, float]
    after: Mapping[str, float]


def effects(store: pa.Table) -> list[Effect]:
    """Return what refinement did wherever the store has both sides.

    They belong together by label, crop, setup, iteration and the dilation of the truth. Effects
    that lack one of the metrics on a side, as where nothing was found, are left out.
    """
    before = _by_network(scores_of(store))
    found = []
    for path, scores in sorted(segmentation_scores(store).items()):
        for key, after in sorted(_by_network(scores).items()):
            both = before.get(key, {}), after
            if all(side.keys() >= COMPARED.keys() for side in both):
                label, crop, *_ = key
                found.append(Effect(label, crop, path, *both))
    return found


def _by_network(
    scores: list[Score],
) -> dict[tuple[str, str, str, int, float], dict[str, float]]:
    found: dict[tuple[str, str, str, int, float], dict[str, float]] = {}
    for s in scores:
        key = s.label, s.crop, s.setup, s.iteration, s.dilated_nm
        found.setdefault(key, {})[s.metric] = s.value
    return found

"""Which network at which iteration: by what was evaluated, as in Heinrich et al. 2021.

A query takes the mean of one metric over crops and the best of it; training beyond the point where
a setup gets worse does not count. Chosen on the crops that are reported it is a *validation*, on
all others but them a *test*; an expert's choice is a *manual* one.
"""

import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import pyarrow as pa

from fibstream.core.echo import cut
from fibstream.core.errors import WrongUse
from fibstream.kernels.metrics import METRICS, PUBLISHED, Limits

from .store import DILATED

DICE, DISTANCE = "dice", "mean_false_distance"
THRESHOLD = 127.0  # of predictions: it is not tuned


class Score(NamedTuple):
    """One value of the store, with a value, of a prediction at the threshold."""

    label: str
    setup: str
    iteration: int
    crop: str
    raw_dataset: str | None
    metric: str
    value: float
    dilated_nm: float = 0.0  # the truth


class Choice(NamedTuple):
    """A setup at an iteration, and its mean score over the crops it was chosen on."""

    setup: str
    iteration: int
    score: float
    crops: int


class StopRule(NamedTuple):
    """When a setup counts as trained: the defaults are the published ones, in iterations."""

    first: int = 700_000  # not before
    nothing: int = 500_000  # here, if nothing was above the threshold by then
    cap: int = 2_000_000


PUBLISHED_RULE = StopRule()


def scores_of(store: pa.Table, limits: Limits = PUBLISHED) -> list[Score]:
    """Return what can be chosen from: values of predictions at the threshold, of known setups.

    Of metrics that depend on a length those of ``limits`` count, of truths those of any dilation.

    Raises WrongUse for two values of one metric at one crop by one network: which counts?
    """
    return _single([score for score, _ in _scores(store, limits, refined=False)])


def segmentation_scores(store: pa.Table, limits: Limits = PUBLISHED) -> dict[str, list[Score]]:
    """Return the scores of segmentations of known setups, as `scores_of`, by path."""
    found: dict[str, list[Score]] = defaultdict(list)
    for score, path in _scores(store, limits, refined=True):
        found[path].append(score)
    return {path: _single(scores) for path, scores in found.items()}


def _scores(store: pa.Table, limits: Limits, *, refined: bool) -> Iterator[tuple[Score, str]]:
    """Yield the values of predictions at the threshold, or of segmentations, and their paths."""
    wanted = {
        name: {metric.parameter: getattr(limits, metric.parameter)} if metric.parameter else {}
        for name, metric in METRICS.items()
    }
    for row in store.to_pylist():
        params = json.loads(row["metric_params"])
        dilated = params.pop(DILATED, 0.0)
        if (
            row["refined"] is refined
            and row["threshold"] == (None if refined else THRESHOLD)
            and row["value"] is not None
            and not math.isnan(row["value"])
            and row["setup"] is not None
            and row["iteration"] is not None
            and params == wanted.get(row["metric"])
        ):
            values = {name: row[name] for name in Score._fields[:-1]}
            yield Score(**values, dilated_nm=dilated), row["path"]


def _single(scores: Sequence[Score]) -> list[Score]:
    """Return scores without repetitions; WrongUse where two differ that should be one."""
    kept: dict[Score, Score] = {}
    for score in scores:
        other = kept.setdefault(score._replace(value=0.0, raw_dataset=None), score)
        if other.value != score.value:
            raise WrongUse(
                f"store: {cut(score.setup)} at {score.iteration} has two values of {score.metric} "
                f"for {cut(score.label)} at crop {cut(score.crop)}, {other.value:g} and "
                f"{score.value:g}; expected a name of its own for each truth and raw dataset"
            )
    return list(kept.values())


def one_dilation(
    scores: Sequence[Score], labels: Collection[str], dilate_nm: float | None
) -> list[Score]:
    """Return scores of which each label has truths of one dilation, since others do not compare.

    ``dilate_nm`` chooses where a label has several; of ``labels``, or all if there are none, each
    must have one then, and of ``labels`` the one that is given, else WrongUse.
    """
    lengths: dict[str, set[float]] = defaultdict(set)
    for score in scores:
        lengths[score.label].add(score.dilated_nm)
    for label, each in lengths.items():
        several = len(each) > 1 and label in (labels or lengths)
        if dilate_nm not in each and (several or (dilate_nm is not None and label in labels)):
            raise WrongUse(
                f"label {cut(label)}: compared with truths dilated by "
                f"{', '.join(f'{n:g}' for n in sorted(each))} nm; give --dilate-nm, one of these"
            )
    return [s for s in scores if len(lengths[s.label]) == 1 or s.dilated_nm == dilate_nm]


# -- when to stop ----------------------------------------------------------------------------------


def last_iteration(
    dice: Mapping[int, float], distance: Mapping[int, float], rule: StopRule = PUBLISHED_RULE
) -> int:
    """Return the last iteration of a setup that counts.

    It is the first one, from ``rule.first`` on, at which Dice has fallen and the mean false
    distance has risen for the second time in a row; iterations without both values are passed
    over. Without any above zero up to ``rule.nothing`` it is that, and never beyond ``rule.cap``.

    Parameters
    ----------
    dice, distance
        By iteration: the mean over crops, where it has a value.
    """
    if not any(value > 0 for iteration, value in dice.items() if iteration <= rule.nothing):
        return min(rule.nothing, rule.cap)
    both = sorted(dice.keys() & distance.keys())
    worse = [dice[b] < dice[a] and distance[b] > distance[a] for a, b in pairwise(both)]
    for iteration, before, now in zip(both[2:], worse, worse[1:], strict=False):
        if before and now and iteration >= rule.first:
            return min(iteration, rule.cap)
    return rule.cap


def last_iterations(
    scores: Iterable[Score], label: str, rule: StopRule = PUBLISHED_RULE
) -> dict[str, int]:
    """Return the last iteration that counts of each setup, for one label."""
    values: dict[str, dict[str, dict[int, list[float]]]] = {}
    for score in scores:
        if score.label == label and score.metric in (DICE, DISTANCE):
            setup = values.setdefault(score.setup, {DICE: {}, DISTANCE: {}})
            setup[score.metric].setdefault(score.iteration, []).append(score.value)
    return {
        setup: last_iteration(_means(each[DICE]), _means(each[DISTANCE]), rule)
        for setup, each in values.items()
    }


def _means(values: Mapping[int, Sequence[float]]) -> dict[int, float]:
    return {iteration: mean(each) for iteration, each in values.items()}


def mean(values: Sequence[float]) -> float:
    """Return the mean: one exact sum and one division."""
    return math.fsum(values) / len(values)


# -- what to choose --------------------------------------------------------------------------------


def ranked(
    scores: Iterable[Score], label: str, metric: str, *, crops: Collection[str],
    last: Mapping[str, int],
) -> list[Choice]:  # fmt: skip
    """Return every setup and iteration, the best first; of equal ones the one trained for less.

    Those count that have a value at as many crops as any has.

    Parameters
    ----------
    scores
        Of `scores_of`.
    label, metric
        What is chosen by.
    crops
        Those that count.
    last
        The last iteration of each setup that counts.
    """
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    for score in scores:
        if (
            (score.label, score.metric) == (label, metric)
            and score.crop in crops
            and score.iteration <= last.get(score.setup, 0)
        ):
            found[score.setup, score.iteration].append(score.value)
    sign = -1 if METRICS[metric].higher_is_better else 1
    most = max(map(len, found.values()), default=0)
    # A mean over fewer crops is no match for one over all: the easy ones may be those it has.
    choices = [
        Choice(*key, mean(values), most) for key, values in found.items() if len(values) == most
    ]
    return sorted(choices, key=lambda c: (sign * c.score, c.iteration, c.setup))


class Selection(NamedTuple):
    """A choice for one crop, and what it scores there; NaN where it was not evaluated."""

    label: str
    way: str  # validation, test or manual
    metric: str  # that it was chosen by; of a manual one none
    crop: str
    choice: Choice
    scored: Mapping[str, float]


def select(
    scores: Sequence[Score], label: str, metric: str, rule: StopRule = PUBLISHED_RULE
) -> list[Selection]:
    """Return for each crop the validation and the test: chosen on it, and on all others.

    Raises WrongUse for a metric that is none, and for a label without a value of it.
    """
    check_metric(metric)
    last = last_iterations(scores, label, rule)
    crops = _crops(scores, label, metric)
    if not crops:
        raise WrongUse(
            f"label {cut(label)}: the store has no {metric} of a prediction at threshold "
            f"{THRESHOLD:g} with setup and iteration; it has {_labels(scores)}"
        )
    found = []
    for crop in sorted(crops):
        for way, chosen_on in (("validation", {crop}), ("test", crops - {crop})):
            best = ranked(scores, label, metric, crops=chosen_on, last=last)[:1]
            found += [
                Selection(label, way, metric, crop, each, scored(scores, label, crop, each))
                for each in best
            ]
    return found


def check_metric(name: str) -> None:
    """Raise WrongUse for a metric that is none."""
    if name not in METRICS:
        raise WrongUse(f"metric {cut(name)}: expected one of {', '.join(METRICS)}")


def _crops(scores: Iterable[Score], label: str, metric: str) -> set[str]:
    return {s.crop for s in scores if (s.label, s.metric) == (label, metric)}


def _labels(scores: Iterable[Score]) -> str:
    return ", ".join(sorted({score.label for score in scores})) or "none"


def scored(scores: Iterable[Score], label: str, crop: str, choice: Choice) -> dict[str, float]:
    """Return all metrics of a choice at one crop."""
    return {
        s.metric: s.value
        for s in scores
        if (s.label, s.crop, s.setup, s.iteration) == (label, crop, choice.setup, choice.iteration)
    }


class Manual(NamedTuple):
    """An expert's choice for the crops of one raw dataset."""

    setup: str
    label: str
    iteration: int
    raw_dataset: str


def manual_selections(scores: Sequence[Score], manual: Iterable[Manual]) -> list[Selection]:
    """Return what experts' choices score at each crop of their raw dataset.

    Raises WrongUse for a choice that was evaluated at no crop.
    """
    found = []
    for each in manual:
        crops = {
            s.crop for s in scores if (s.label, s.raw_dataset) == (each.label, each.raw_dataset)
        }
        choice = Choice(each.setup, each.iteration, math.nan, 0)
        here = [(crop, scored(scores, each.label, crop, choice)) for crop in sorted(crops)]
        if not any(values for _, values in here):
            raise WrongUse(
                f"manual choice {each.setup} at {each.iteration} for {each.label}: the store has "
                f"no score of it in {each.raw_dataset}"
            )
        found += [
            Selection(each.label, "manual", "", crop, choice, values)
            for crop, values in here
            if values
        ]
    return found

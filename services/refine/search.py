"""Combinations of settings that are tried, and which of them is chosen by its scores."""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from fibstream.core.echo import cut, echo, listed
from fibstream.core.errors import WrongUse

from .recipe import Recipe, resolve

METRICS = ("f1", "pq")  # what settings are chosen by
MAX_TRIED = 400  # combinations: of a volume of 512^3 voxels each takes seconds

Lists = Mapping[str, Sequence[Any]]  # values that are tried of each setting
Scores = Mapping[str, int | float]


class Tried(NamedTuple):
    """A combination: the places of its values in their lists, the settings, and the scores."""

    places: tuple[int, ...]
    settings: Mapping[str, Any]
    scores: Scores


def combinations(recipe: Recipe, lists: Lists, fixed: Mapping[str, Any]) -> list[Tried]:
    """Return every combination of values, the first setting slowest, without scores.

    Parameters
    ----------
    recipe
        Whose settings they are.
    lists
        Values of each setting that are tried.
    fixed
        Settings that all combinations share.

    Raises
    ------
    WrongUse
        A setting or a value that the recipe does not take, one that is given twice, no list at
        all, or too many combinations.
    """
    if not lists:
        raise WrongUse(f"recipe {recipe.name}: nothing to try; give --grid KEY=VALUE,VALUE")
    for key, values in lists.items():
        if key in fixed:
            raise WrongUse(f"setting {cut(key)}: is both tried and set; expected one of the two")
        if not values or len(set(values)) < len(values):
            raise WrongUse(f"--grid {cut(key)}: expected different values, {echo(list(values))}")
    count = math.prod(len(values) for values in lists.values())
    if count > MAX_TRIED:
        raise WrongUse(
            f"--grid: {count} combinations of {listed(lists)}; expected at most {MAX_TRIED}"
        )
    found = []
    for places in product(*(range(len(values)) for values in lists.values())):
        chosen = {key: lists[key][at] for key, at in zip(lists, places, strict=True)}
        resolve(recipe.name, {**fixed, **chosen})
        found.append(Tried(places, {**fixed, **chosen}, {}))
    return found


def best(tried: Sequence[Tried], metric: str) -> int:
    """Return which combination is chosen: the one of the greatest score.

    Of equal scores those with the greatest ``pq``; of these the one in their middle, with the least
    sum of steps along the lists to the others, as it is the least likely to be best by chance; and
    of equal sums the first.
    """
    highest = max((each.scores[metric], each.scores["pq"]) for each in tried)
    equal = [
        n for n, each in enumerate(tried)
        if (each.scores[metric], each.scores["pq"]) == highest
    ]  # fmt: skip
    return min(equal, key=lambda n: sum(_steps(tried[n], tried[other]) for other in equal))


def _steps(one: Tried, other: Tried) -> int:
    return sum(abs(a - b) for a, b in zip(one.places, other.places, strict=True))

"""Landmarks that people marked: how far they are from each other, and a transform from them.

As Heinrich et al. 2021 (Extended Data Fig. 11) measured: places in a channel that registration did
not use, marked in both images by several people.
"""

import csv
import math
from itertools import combinations
from typing import NamedTuple

import numpy as np

from fibstream.core.echo import echo
from fibstream.core.errors import LimitExceeded, WrongUse

from .exchange import MAX_LANDMARKS
from .sampling import Floats
from .transform import Transform

HEADER = ("Pt-index", "Rater ID", "em-x", "em-y", "em-z", "lm-x", "lm-y", "lm-z")


class Marked(NamedTuple):
    """A rater's landmarks in one unit, (n, 3) ``(z, y, x)`` each, sorted by number."""

    numbers: tuple[int, ...]
    specimen: Floats
    light: Floats


def raters(text: str) -> dict[str, Marked]:
    """Return the landmarks of every rater of a table ``Pt-index,Rater ID,em-x, .. lm-z``.

    Raises
    ------
    WrongUse
        For another header, a row that is none, a landmark that a rater gave twice.
    LimitExceeded
        For more than 100,000 rows.
    """
    lines = csv.reader(text.splitlines())
    if tuple(next(lines, ())) != HEADER:
        raise WrongUse(f"landmarks: expected a first row {','.join(HEADER)}")
    found: dict[str, dict[int, list[float]]] = {}
    for number, row in enumerate(lines, 2):
        if number > MAX_LANDMARKS:
            raise LimitExceeded(f"landmarks: more than {MAX_LANDMARKS} rows")
        if not row:
            continue
        point, values = _row(row, number)
        if point in (one := found.setdefault(row[1], {})):
            raise WrongUse(f"landmarks, row {number}: {echo(row[1])} gave {point} twice")
        one[point] = values
    return {name: _marked(rows) for name, rows in found.items()}


def _row(row: list[str], number: int) -> tuple[int, list[float]]:
    try:
        point, values = int(row[0]), [float(v) for v in row[2:]]
    except (ValueError, IndexError):
        point, values = 0, []
    if len(values) != 6 or not all(math.isfinite(v) for v in values):
        raise WrongUse(f"landmarks, row {number}: {echo(row)}; expected {','.join(HEADER)}")
    return point, values


def _marked(rows: dict[int, list[float]]) -> Marked:
    numbers = tuple(sorted(rows))
    both = np.array([rows[n] for n in numbers])
    return Marked(numbers, both[:, 2::-1].copy(), both[:, :2:-1].copy())


def apart(one: Floats, other: Floats) -> Floats:
    """Return the distances of pairs of places, (n,)."""
    miss = one - other
    return np.asarray(np.sqrt((miss * miss).sum(axis=1)))


def between_people(people: dict[str, Marked]) -> Floats:
    """Return how far apart people marked the same landmark of the specimen, (pairs * n,).

    Raises
    ------
    WrongUse
        Fewer than two people, or people who marked different landmarks.
    """
    if len(people) < 2:
        raise WrongUse(f"landmarks of {len(people)} people: expected two or more")
    if len({one.numbers for one in people.values()}) > 1:
        raise WrongUse("landmarks: expected the same numbers from everybody")
    pairs = combinations([people[name].specimen for name in sorted(people)], 2)
    return np.concatenate([apart(a, b) for a, b in pairs])


def from_people(people: dict[str, Marked], specimen: Floats) -> Floats:
    """Return how far a transform's landmarks, (n, 3) of the specimen, are from each person's."""
    return np.concatenate([apart(people[name].specimen, specimen) for name in sorted(people)])


def errors(transform: Transform, specimen: Floats, light: Floats) -> Floats:
    """Return how far from its mark in the light image each landmark is sent, (n,) nm."""
    return apart(transform.to_light(specimen), light)

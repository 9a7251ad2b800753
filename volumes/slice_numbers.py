"""The numbers of all slices in a folder, and what is amiss with them.

A name may hold several numbers: a date, a tile, a voxel size, the position.  The *running number*
is the one that counts up from slice to slice, wherever it stands.  ``run``, ``predict`` and
``watch`` find it, the gaps, the doubles and the series in a folder with ``number_names``.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from .slice_names import DIGITS, STAMP, Rule, natural, parts_of

PLACES = 8  # numbers in a name that are looked at, from the left and from the right


@dataclass(frozen=True)
class Numbering:
    """The numbers of the slices in a folder.

    Attributes
    ----------
    rule : Rule or None
        Where the number is; None where no number counts, and the natural order holds.
    numbers : mapping of str to int
        Of the names that have one.
    order : tuple of str
        The names that are slices, in their order along z.
    left_out : tuple of str
        Names without a number, where others have one.
    doubles : tuple of (str, str)
        Names with the same number.
    series : tuple of tuple of str
        The names in each, where the folder holds several series.
    decided : bool
        Whether the names show which of several numbers counts: one name alone does not.
    """

    rule: Rule | None
    numbers: Mapping[str, int]
    order: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    doubles: tuple[tuple[str, str], ...] = ()
    series: tuple[tuple[str, ...], ...] = ()
    decided: bool = True

    def fault(self) -> str:
        """Return why the names are not those of one volume, and what to do; empty if they are."""
        if self.series:
            firsts = [group[0] for group in self.series]
            return (
                f"{len(firsts)} series of slices are in one folder, {_listed(firsts)}: choose one "
                f"with --pattern, such as --pattern '{self.pattern_of(self.series[0])}'"
            )
        if self.doubles:
            one, two = self.doubles[0]
            return (
                f"{one} and {two} are both slice {self.numbers[one]}: "
                "take one away, or say with --pattern where the number is"
            )
        if self.left_out and (self.rule is None or self.rule.pattern is None):
            return (
                f"{self.left_out[0]} has no number where the others have theirs: "
                "take it away, or say with --pattern which files are slices"
            )
        return ""

    def pattern_of(self, series: Sequence[str]) -> str:
        """Return a pattern that selects the names of a series: what varies may vary."""
        assert self.rule is not None
        parts = [parts_of(name, stampless=False) for name in series]
        number = self.rule.column(series[0])
        pattern = ""
        for n, part in enumerate(parts[0]):
            varies = n % 2 and len({tuple(other)[n : n + 1] for other in parts}) > 1
            literal = re.escape(part).replace("\\-", "-").replace("\\ ", " ")
            pattern += "([0-9]+)" if n == number else "[0-9]+" if varies else literal
        return "^" + pattern.replace("\\#", r"\x23") + r"\."  # a # would end the folder's path

    def notes(self) -> tuple[str, ...]:
        """Return what is left out, missing or unusual in the numbers, one line each."""
        found = []
        if self.left_out:
            found.append(
                f"{len(self.left_out)} files do not fit --pattern and are left out, "
                f"such as {self.left_out[0]}"
            )
        if self.rule is None:
            if any(DIGITS.search(name) for name in self.order):
                found.append("no number in the names counts up: slices are read in natural order")
            return tuple(found)
        return (*found, *_joined(self), *_gaps(self))


def number_names(
    names: Sequence[str], pattern: str | None = None, rule: Rule | None = None
) -> Numbering:
    """Return the numbers of all slices in a folder.

    The running number is the one that differs in all names and counts up evenly; of several the
    one with the smallest steps, of those the last.

    Parameters
    ----------
    names
        Of slices, in any order.
    pattern
        A regular expression with one group, the number: names that do not fit it are left out.
    rule
        What holds, whatever other names may show: slices have landed by it.
    """
    ordered = sorted(names, key=natural)
    if pattern is not None:
        rule = Rule(pattern=pattern)
    if rule is not None:
        return _numbering(rule, ordered)
    counted = [name for name in ordered if DIGITS.search(name.rpartition(".")[0])]
    if not counted:
        return Numbering(None, {}, tuple(ordered))
    if len(counted) == 1:
        decided = len(parts_of(counted[0], stampless=False)) == 3
        return replace(_numbering(Rule(), ordered), decided=decided)
    stamped = all(STAMP.search(name) for name in counted)
    varied = stamped and len({parts_of(name, stampless=True)[1::2] for name in counted}) > 1
    candidates = _candidates(counted, stampless=varied)
    # Where only dates differ, no part of them counts on over midnight.
    only_dates = stamped and not varied
    usable = [c for c in candidates if c.distinct and (c.ascending or (c.even and not only_dates))]
    best = usable[:1] or candidates[:1]
    for candidate in [c for c in candidates if not c.distinct] + best:
        if (found := _numbering(candidate.rule, ordered)).series:
            return found
    if not usable and (only_dates or any(c.distinct for c in candidates)):
        return Numbering(None, {}, tuple(ordered))
    return _numbering(best[0].rule, ordered)


class _Candidate:
    """A rule, and how well it counts names in natural order; ``rank`` is least for the best."""

    def __init__(self, rule: Rule, names: Sequence[str]) -> None:
        numbers = [n for name in names if (n := rule.number(name)) is not None]
        values = sorted(set(numbers))
        steps = sorted(b - a for a, b in pairwise(values)) or [0]
        self.rule, self.numbers = rule, numbers
        self.distinct = len(values) == len(names)
        step = max(1, steps[(len(steps) - 1) // 2])
        self.even = step == max(1, steps[0])
        self.ascending = numbers == sorted(numbers)
        groups = len(parts_of(names[0], rule.stampless)) // 2
        column = rule.place if rule.place >= 0 else groups + rule.place
        self.rank = (
            -len(values), not self.even, (values[-1] - values[0]) // step - len(values), step,
            not self.ascending, -column, rule.place >= 0,
        )  # fmt: skip


def _candidates(names: Sequence[str], *, stampless: bool) -> list[_Candidate]:
    """Return the numbers that all names have at one place and that differ, the best first."""
    every = [parts_of(name, stampless) for name in names]
    places = range(min(len(parts) for parts in every) // 2)
    found = []
    for place in (*places[:PLACES], *(n for n in places[-PLACES:] if n >= PLACES)):
        at = 2 * place + 1
        if len({parts[len(parts) - at :: 2] for parts in every}) == 1:
            found.append(Rule(-place - 1, every[0][len(every[0]) - at :: 2], stampless))
        if len({parts[:at:2] for parts in every}) == 1:
            found.append(Rule(place, every[0][:at:2], stampless))
    candidates = [_Candidate(rule, names) for rule in found or [Rule(-1, None, stampless)]]
    candidates = [c for c in candidates if len(set(c.numbers)) > 1] or candidates[:1]
    alike = {tuple(c.numbers): c for c in sorted(candidates, key=lambda c: c.rank, reverse=True)}
    return sorted(alike.values(), key=lambda c: c.rank)


def _numbering(rule: Rule, names: Sequence[str]) -> Numbering:
    """Return the numbers by a rule, and what is amiss with them; names are in natural order."""
    numbers = {name: n for name in names if (n := rule.number(name)) is not None}
    order = tuple(sorted(numbers, key=numbers.__getitem__))
    doubles = tuple((a, b) for a, b in pairwise(order) if numbers[a] == numbers[b])
    series = () if rule.pattern else _series(rule, numbers, order, several=bool(doubles))
    left_out = tuple(name for name in names if name not in numbers)
    return Numbering(rule, numbers, order, left_out, doubles, series)


def _series(
    rule: Rule, numbers: Mapping[str, int], order: Sequence[str], *, several: bool
) -> tuple[tuple[str, ...], ...]:
    """Return the names of each series: others in text or numbers, whose numbers are no sequel."""
    kinds = list(_grouped(order, _kind).values())
    if len(kinds) > 1 and _counted(kinds, numbers):
        spans = sorted((numbers[group[0]], numbers[group[-1]]) for group in kinds)
        if any(a[1] >= b[0] for a, b in pairwise(spans)):
            return tuple(map(tuple, kinds))
    if not several:
        return ()
    rest = list(_grouped(order, lambda name: _rest(name, rule)).values())
    return tuple(map(tuple, rest)) if _counted(rest, numbers) else ()  # one has its doubles


def _counted(groups: Sequence[Sequence[str]], numbers: Mapping[str, int]) -> bool:
    """Whether each group holds several names, all with numbers of their own."""
    return all(len({numbers[n] for n in group}) == len(group) > 1 for group in groups)


def _grouped(names: Sequence[str], key: Callable[[str], object]) -> dict[object, list[str]]:
    groups: dict[object, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return groups


def _kind(name: str) -> object:
    """Return the text of a name without its numbers."""
    return parts_of(name, stampless=False)[::2]


def _rest(name: str, rule: Rule) -> object:
    """Return a name without its number."""
    parts = parts_of(name, rule.stampless)
    at = rule.place_in(parts)
    return parts[:at] + parts[at + 1 :]


def _joined(found: Numbering) -> tuple[str, ...]:
    kinds = _grouped(found.order, _kind)
    if len(kinds) == 1 or any(len(group) == 1 for group in kinds.values()):
        return ()
    return (f"names of {len(kinds)} kinds, {_listed([g[0] for g in kinds.values()])}, are joined",)


def _gaps(found: Numbering) -> tuple[str, ...]:
    """Return a note where numbers are missing from even steps, or go up by steps of other sizes."""
    order, numbers = found.order, [found.numbers[name] for name in found.order]
    steps = [b - a for a, b in pairwise(numbers)]
    if not steps or min(steps) < 1:
        return ()
    least = min(steps)
    notes = []
    if least > 1:
        notes.append(
            f"slices are numbered in steps of {least}: the voxel size along z is that of one step"
        )
    if sorted(steps)[(len(steps) - 1) // 2] != least:
        return (
            f"the numbers in the names go up by {least} to {max(steps)}: "
            "slices are read one after the other, without gaps",
        )
    missing = sum(round(step / least) - 1 for step in steps)
    if missing:
        first = next(n for n, step in enumerate(steps) if round(step / least) > 1)
        notes.append(
            f"{missing} of {len(numbers) + missing} slices "
            f"{'is missing, ' if missing == 1 else 'are missing, the first '}between "
            f"{order[first]} and {order[first + 1]}: what follows moves up; put a copy of a "
            "neighbour where one is missing"
        )
    return tuple(notes)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown

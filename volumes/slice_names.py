"""Names of slice files: whether a file is a slice, and where the number is in its name.

``slice_numbers.py`` finds the rule that all names of a folder follow.
"""

import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import NamedTuple

from fibstream.core.echo import cut, echo
from fibstream.core.errors import WrongUse

_TEMPORARY = (".tmp", ".temp", ".part", ".partial", ".crdownload", ".filepart", "~")
DIGITS = re.compile(r"([0-9]+)")
# A date with a time of day: it tells the order, but does not count.
STAMP = re.compile(
    r"(?:19|20)\d\d[-_.]?(?:0\d|1[0-2])[-_.]?[0-3]\d[ T_.-]*[0-2]\d[-_.:h]?[0-5]\d[-_.:m]?[0-5]\d"
)


def is_slice_name(name: str, suffixes: Collection[str]) -> bool:
    """Whether a name is that of a slice: not hidden, not temporary, one of ``suffixes``."""
    stem = name.rpartition(".")[0].lower()
    temporary = name.startswith((".", "~", "#")) or stem.endswith(_TEMPORARY)
    return bool(stem) and not temporary and name.lower().endswith(tuple(suffixes))


def natural(name: str) -> tuple[list[str | int], str]:
    """Return the key of natural order, which sorts s2 before s10."""
    parts = DIGITS.split(name)
    return [int(part) if n % 2 else part for n, part in enumerate(parts)], name


def check_pattern(pattern: str, flag: str = "--pattern") -> str:
    """Return a pattern; raise WrongUse unless it is a regular expression with one group."""
    try:
        groups = re.compile(pattern).groups
    except (re.error, RecursionError, OverflowError) as error:
        raise WrongUse(
            f"{flag} {echo(pattern)}: no regular expression ({cut(str(error))})"
        ) from error
    if groups != 1:
        raise WrongUse(f"{flag} {echo(pattern)}: expected one group, such as 'slice_([0-9]+)'")
    return pattern


class Rule(NamedTuple):
    """Where the number is in a name.

    ``place`` counts the numbers from the left, from 0, or from the right, from -1; ``texts`` are
    those before it, or after it, which have to be the same in a name (None: any). Dates with a time
    are left out where ``stampless``. A ``pattern`` is a regular expression, its group the number.
    """

    place: int = -1
    texts: tuple[str, ...] | None = None
    stampless: bool = False
    pattern: str | None = None

    def number(self, name: str) -> int | None:
        """Return the number in a name, or None where it has none there."""
        if self.pattern is not None:
            found = re.search(self.pattern, name)
            return int(found.group(1)) if found and (found.group(1) or "").isdecimal() else None
        parts = parts_of(name, self.stampless)
        at = self.place_in(parts)
        if not 0 < at < len(parts):
            return None
        beside = parts[:at:2] if self.place >= 0 else parts[at + 1 :: 2]
        return int(parts[at]) if self.texts in (None, beside) else None

    def place_in(self, parts: Sequence[str]) -> int:
        """Return the place of the number among the parts of a name."""
        return 2 * self.place + 1 if self.place >= 0 else len(parts) + 2 * self.place

    def column(self, name: str) -> int:
        """Return the place of the number among the parts of a name, dates and all."""
        at = self.place_in(parts_of(name, self.stampless))
        if not self.stampless:
            return at
        stem = name.rpartition(".")[0]
        stamps = [found.span() for found in STAMP.finditer(stem)]
        groups = [found.start() for found in DIGITS.finditer(stem)]
        counted = [n for n, at in enumerate(groups) if not any(a <= at < b for a, b in stamps)]
        return 2 * counted[at // 2] + 1


@lru_cache(2**16)
def parts_of(name: str, stampless: bool) -> tuple[str, ...]:
    """Return the stem of a name, text and digits in turn."""
    stem = name.rpartition(".")[0]
    return tuple(DIGITS.split(STAMP.sub("", stem) if stampless else stem))

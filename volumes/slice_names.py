"""Names of slice files: whether a file is a slice, and its number."""

import re
from collections.abc import Collection

_TEMPORARY = (".tmp", ".temp", ".part", ".partial", ".crdownload", ".filepart", "~")
_DIGITS = re.compile(r"([0-9]+)")


def is_slice_name(name: str, suffixes: Collection[str]) -> bool:
    """Whether a name is that of a slice: not hidden, not temporary, one of ``suffixes``."""
    stem = name.rpartition(".")[0].lower()
    temporary = name.startswith((".", "~", "#")) or stem.endswith(_TEMPORARY)
    return bool(stem) and not temporary and name.lower().endswith(tuple(suffixes))


def natural(name: str) -> tuple[list[str | int], str]:
    """Return the key of natural order, which sorts s2 before s10."""
    parts = _DIGITS.split(name)
    return [int(part) if n % 2 else part for n, part in enumerate(parts)], name


def number_of(name: str, pattern: str | None = None) -> int | None:
    """Return the number in a name: the group of ``pattern``, else the last digits of the stem."""
    if pattern is not None:
        found = re.search(pattern, name)
        return int(found.group(1)) if found and (found.group(1) or "").isdecimal() else None
    groups = _DIGITS.findall(name.rpartition(".")[0])
    return int(groups[-1]) if groups else None

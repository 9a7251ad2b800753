"""Parsers and checks of values of flags; they run before anything is done or called."""

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from fibstream import registry
from fibstream.core.addresses import EXPECTED, LAST_PORT, addresses
from fibstream.core.echo import cut, echo
from fibstream.core.errors import WrongUse
from fibstream.core.grid import MAX_CHUNK, Index, check_edges

Number = TypeVar("Number", int, float)


def is_place(text: str) -> bool:
    """Whether ``PATH|NAME`` is a path: a dataset of services is named by one plain word."""
    return "/" in text or text.endswith(".zarr")


def parse_triple(text: str, what: str, kind: type[Number]) -> tuple[Number, Number, Number]:
    """Return the three positive numbers ``Z,Y,X`` of a flag; one number stands for all three.

    Raises
    ------
    WrongUse
        If ``text`` is anything else; ``what`` names the flag.
    """
    words = text.split(",")
    try:
        numbers = [kind(word) for word in words]
        # Python's own literals allow 1_000; a user who writes that meant a comma.
        valid = "_" not in text and all(0 < number < math.inf for number in numbers)
    except ValueError:
        numbers, valid = [], False
    if not valid or len(numbers) not in (1, 3):
        form = "whole numbers" if kind is int else "numbers"
        raise WrongUse(f"{what} {echo(text)}: expected three positive {form} Z,Y,X, or one for all")
    z, y, x = numbers * 3 if len(numbers) == 1 else numbers
    return z, y, x


def parse_place(text: str, flag: str) -> tuple[float, float, float]:
    """Return the three finite numbers ``Z,Y,X`` of a flag, nm; they may be 0 or negative."""
    try:
        z, y, x = (float(word) for word in text.split(","))
        valid = "_" not in text and all(map(math.isfinite, (z, y, x)))
    except ValueError:
        valid = False
    if not valid:
        raise WrongUse(f"{flag} {echo(text)}: expected three numbers Z,Y,X, nm")
    return z, y, x


def parse_pair(text: str, flag: str) -> tuple[float, float]:
    """Return the finite numbers ``LOW,HIGH`` of a flag; raise WrongUse for anything else."""
    parts = text.split(",")
    try:
        low, high = (float(part) for part in parts)
    except ValueError:
        raise WrongUse(f"{flag} {cut(text)}: expected LOW,HIGH") from None
    if not -math.inf < low < high < math.inf:
        raise WrongUse(f"{flag} {cut(text)}: expected finite LOW below HIGH")
    return low, high


def parse_shape(text: str) -> tuple[int | None, int, int]:
    """Parse ``Z,Y,X`` of an acquisition; Z is ``?`` (or 0) while its end is unknown."""
    first, comma, rest = text.partition(",")
    is_open = first.strip() in ("?", "0")
    z, y, x = parse_triple(f"1,{rest}" if comma and is_open else text, "--shape", int)
    return (None if is_open else z), y, x


def parse_chunk(text: str | None) -> Index | None:
    """Parse ``--chunk``; None stays None. Raises WrongUse when an edge is out of range."""
    if text is None:
        return None
    chunk = parse_triple(text, "--chunk", int)
    check_edges(chunk, MAX_CHUNK, f"--chunk {text}")
    return chunk


def parse_factors(text: str | None) -> Index:
    """Parse ``--downsample``: whole numbers Z,Y,X, or one for all; without it all are 1."""
    if text is None:
        return 1, 1, 1
    factors = parse_triple(text, "--downsample", int)
    from fibstream.volumes.downsampled import check_factors  # it brings numpy

    check_factors(factors, f"--downsample {text}")
    return factors


def check_choice(value: str, allowed: Iterable[str], what: str) -> str:
    """Return a word; raise WrongUse when it is none of those that are allowed."""
    allowed = list(allowed)
    if value not in allowed:
        raise WrongUse(f"{what} {cut(value)}: expected one of {', '.join(allowed)}")
    return value


def check_server(server: str, service: str) -> str:
    """Return the address of a service in ``--server`` as HOST:PORT."""
    found = addresses(server, registry.ports())
    if service not in found:
        raise WrongUse(f"--server {server}: names no {service}; {EXPECTED}")
    if any(not 0 < int(each.rpartition(":")[2]) <= LAST_PORT for each in found.values()):
        raise WrongUse(f"--server {server}: expected ports from 1 to {LAST_PORT}; {EXPECTED}")
    return found[service]


def check_table(path: Path) -> None:
    """Raise WrongUse when ``--out`` is not a table that can be written."""
    folder = path.absolute().parent
    if path.suffix not in (".csv", ".parquet"):
        raise WrongUse(f"--out {path}: expected FILE.csv or FILE.parquet")
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise WrongUse(f"--out {path}: expected a new file in a folder that can be written")


def parse_truths(texts: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Return the paths in ``--truth [NAME=]LABELS`` by organelle; one alone needs no name."""
    found: dict[str, str] = {}
    for text in texts:
        name, _, path = text.partition("=")
        if name not in names:  # a path may hold an equals sign
            name, path = names[0] if len(names) == 1 else "", text
        if not name or not path or name in found:
            expected = f"expected NAME=LABELS once for each, NAME one of {', '.join(names)}"
            raise WrongUse(f"--truth {cut(text)}: {expected}")
        found[name] = path
    return found

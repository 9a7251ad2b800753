"""Values of flags that more than one command takes."""

import math
from typing import TypeVar

from fibstream.errors import WrongUse

Number = TypeVar("Number", int, float)


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
        raise WrongUse(f"{what} {text!r}: expected three positive {form} Z,Y,X, or one for all")
    z, y, x = numbers * 3 if len(numbers) == 1 else numbers
    return z, y, x


def parse_pair(text: str, flag: str) -> tuple[float, float]:
    """Parse ``LOW,HIGH``."""
    parts = text.split(",")
    try:
        low, high = (float(part) for part in parts)
    except ValueError:
        raise WrongUse(f"{flag} {text}: expected LOW,HIGH") from None
    return low, high


def parse_shape(text: str) -> tuple[int | None, int, int]:
    """Parse ``Z,Y,X`` of an acquisition; Z is ``?`` (or 0) while its end is unknown."""
    first, comma, rest = text.partition(",")
    is_open = first.strip() in ("?", "0")
    z, y, x = parse_triple(f"1,{rest}" if comma and is_open else text, "--shape", int)
    return (None if is_open else z), y, x

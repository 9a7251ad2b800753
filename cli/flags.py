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

"""The edges of a voxel in nanometres: units, and which of several statements of a file holds.

A file may state the voxel size in several places.  Statements are listed with the most trusted one
first; the first that is usable is taken, and a warning names those that disagree with it.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import MappingProxyType

Size = tuple[float, float, float]  # edges of a voxel (z, y, x) in nanometres

TOLERANCE = 0.01  # of a length: rounding of metadata, far below what changes a result
SHOWN = 40  # characters of an unknown unit in messages: enough to find it in the file

# Case counts: "Mm" is a megametre.
_SYMBOLS_NM = MappingProxyType(
    {"m": 1e9, "cm": 1e7, "mm": 1e6, "um": 1e3, "UM": 1e3, "nm": 1.0, "NM": 1.0, "pm": 1e-3}
    | {"Å": 0.1, "å": 0.1}
)
_WORDS_NM = MappingProxyType(
    {"meter": 1e9, "centimeter": 1e7, "millimeter": 1e6, "micrometer": 1e3, "micron": 1e3}
    | {"nanometer": 1.0, "picometer": 1e-3, "angstrom": 0.1}
)


@dataclass(frozen=True)
class Stated:
    """The size of a voxel as one place in the metadata states it."""

    where: str  # as messages call it
    size_nm: Size | None  # None: it is not usable
    why: str = ""  # it is not usable
    unitless: bool = False  # no unit is stated; if it is usable, nanometres are the convention


@dataclass(frozen=True)
class Lengths:
    """The size of a voxel from all statements of a file."""

    size_nm: Size | None = None
    others: tuple[Size, ...] = ()  # that other places state, and differ
    why: str = ""  # there is no usable size
    warnings: tuple[str, ...] = ()
    unitless: str = ""  # the place of what is taken, or would be, that states no unit


def unit_nm(unit: object) -> float | None:
    """Return the length of ``unit`` in nanometres, or None if it is no known unit of length.

    Known are the symbols from pm to m, the names in British or American spelling, singular or
    plural, and micron.
    """
    if not isinstance(unit, str):
        return None
    # ImageJ writes what is not ASCII as an escape.
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), unit)
    # Unicode has two micro signs and two angstrom signs; of each pair one is left.
    text = unicodedata.normalize("NFKC", text).strip().replace("\u03bc", "u")
    word = text.lower().replace("ångström", "angstrom").replace("metre", "meter")
    return _SYMBOLS_NM.get(text) or _WORDS_NM.get(word) or _WORDS_NM.get(word.removesuffix("s"))


def statement(where: str, sizes: Sequence[object], units: Sequence[object]) -> Stated:
    """Return a statement from three numbers and their units, both (z, y, x).

    A number may be text. The statement is not usable, with the reason, where a number is not
    positive and finite, or ``unit_nm`` does not know its unit.

    Parameters
    ----------
    where
        The place in the metadata, for messages.
    sizes, units
        Of the axes z, y, x, as the metadata hold them.
    """
    lengths = []
    for axis, size, unit in zip("zyx", sizes, units, strict=True):
        nm, number = unit_nm(unit), _number(size)
        if number is None or not 0 < number < math.inf:
            return Stated(where, None, f"its size along {axis} is {_quoted(size)}")
        if nm is None:
            described = "without a unit" if unit in (None, "") else f"in the unit {_quoted(unit)}"
            why = f"its size along {axis} is {described}"
            return Stated(where, None, why, unitless=unit in (None, ""))
        lengths.append(number * nm)
    z, y, x = lengths
    return Stated(where, (z, y, x))


def combine(statements: Sequence[Stated]) -> Lengths:
    """Return the voxel size from statements, the most trusted one first."""
    # What names its unit is trusted more than what does not.
    ordered = sorted(statements, key=lambda s: s.unitless)
    unitless = next((s.where for s in ordered if s.unitless), "")
    usable = [(s.where, s.size_nm) for s in ordered if s.size_nm is not None]
    if not usable:
        why = "; ".join(f"{s.where}: {s.why}" for s in statements if s.why)
        return Lengths(why=why, unitless=unitless)
    (first, size), *rest = usable
    others = [(where, other) for where, other in rest if not agree(size, other)]
    warnings = (
        f"{first} says {size_text(size)} nm, but {where} {size_text(other)} nm; "
        f"the first is taken, --voxel-size-nm {size_text(other)} takes the other"
        for where, other in others
    )
    taken = next(s for s in ordered if s.size_nm is not None)
    return Lengths(
        size, tuple(other for _, other in others), "", tuple(warnings),
        unitless if taken.unitless else "",
    )  # fmt: skip


def agree(one: Size, two: Size) -> bool:
    """Whether two sizes are the same within ``TOLERANCE`` on each axis."""
    return all(math.isclose(a, b, rel_tol=TOLERANCE) for a, b in zip(one, two, strict=True))


def as_size(numbers: Iterable[float]) -> Size:
    """Return three numbers as a size."""
    z, y, x = numbers
    return float(z), float(y), float(x)


def size_text(size: Iterable[float]) -> str:
    """Return a size as a user writes it."""
    return ",".join(f"{edge:g}" for edge in size)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _quoted(value: object) -> str:
    shown = f"{value:g}" if isinstance(value, float) else repr(value)
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}..."

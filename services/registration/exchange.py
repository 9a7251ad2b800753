"""What other programs read: BigWarp's landmarks, and the affine map that Neuroglancer shows."""

import csv
import math
from typing import NamedTuple

import numpy as np

from fibstream.core.echo import echo
from fibstream.core.errors import LimitExceeded, WrongUse

from .sampling import Floats
from .transform import Transform

MAX_LANDMARKS = 100_000
COLUMNS = 8  # name, active, moving x y z, target x y z


class Landmarks(NamedTuple):
    """Pairs of places, (n, 3) ``(z, y, x)`` each, in one unit, and the rows' names."""

    names: tuple[str, ...]
    moving: Floats
    target: Floats


def bigwarp_rows(text: str) -> Landmarks:
    """Return the active landmarks of a BigWarp table: ``"Pt-0","true",mx,my,mz,tx,ty,tz``.

    Rows that are not active are left out; a pair with one side missing (infinite) is not active.

    Raises
    ------
    WrongUse
        For a row of another form, with its number.
    LimitExceeded
        For more than 100,000 rows.
    """
    names, places = [], []
    for number, row in enumerate(csv.reader(text.splitlines()), 1):
        if number > MAX_LANDMARKS:
            raise LimitExceeded(f"landmarks: more than {MAX_LANDMARKS} rows")
        if not row:
            continue
        found = _place(row, number)
        if found is not None:
            names.append(row[0])
            places.append(found)
    both = np.array(places, np.float64).reshape(-1, 6)
    return Landmarks(tuple(names), both[:, 2::-1].copy(), both[:, :2:-1].copy())


def _place(row: list[str], number: int) -> list[float] | None:
    """Return six coordinates of a row, x first; None if it is not active."""
    wanted = 'expected "name","true|false",mx,my,mz,tx,ty,tz'
    if len(row) != COLUMNS:
        raise WrongUse(f"landmarks, row {number}: {len(row)} columns; {wanted}")
    active = row[1].strip().lower()
    if active not in ("true", "false"):
        raise WrongUse(f"landmarks, row {number}: {echo(row[1])}; {wanted}")
    try:
        values = [float(v) for v in row[2:]]
    except ValueError:
        raise WrongUse(f"landmarks, row {number}: {echo(row[2:])}; {wanted}") from None
    if any(math.isnan(v) for v in values):
        raise WrongUse(f"landmarks, row {number}: NaN; {wanted}")
    return values if active == "true" and all(math.isfinite(v) for v in values) else None


def bigwarp_text(moving: Floats, target: Floats) -> str:
    """Return landmarks, (n, 3) ``(z, y, x)`` each, as BigWarp reads them; exact to the last bit."""
    lines = []
    for n, (a, b) in enumerate(zip(moving, target, strict=True)):
        numbers = ",".join(repr(float(v)) for v in (*a[::-1], *b[::-1]))
        lines.append(f'"Pt-{n}","true",{numbers}')
    return "\n".join(lines) + "\n" if lines else ""


def light_to_specimen(transform: Transform) -> Floats:
    """Return the affine part as a (3, 4) matrix that sends light to specimen, nm ``(z, y, x)``.

    Neuroglancer's ``matrix`` of the light layer, where its output dimensions are ``z, y, x`` in nm.
    The deformation is not in it.
    """
    back = np.asarray(np.linalg.inv(transform.matrix), np.float64)
    return np.concatenate([back, (-back @ transform.offset)[:, None]], axis=1)

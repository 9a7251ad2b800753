"""The clauses of a request that need no SQL: which columns, and in which order. Pure."""

from collections.abc import Sequence

from fibstream.core.echo import echo, listed
from fibstream.core.errors import LimitExceeded, WrongUse

MAX_CLAUSE = 20_000  # characters: some hundred columns


def parse_order(text: str, columns: Sequence[str]) -> tuple[tuple[str, bool], ...]:
    """Return columns and directions of ``a, b DESC``; raise WrongUse naming what is wrong."""
    found = []
    for part in _parts(text, "order_by"):
        words = part.split() or [""]
        direction = words[1].lower() if len(words) > 1 else "asc"
        name = _column(words[0], columns, "order_by")
        if direction not in ("asc", "desc") or len(words) > 2:
            raise WrongUse(
                f"order_by {echo(part.strip(), 60)}: expected COLUMN, COLUMN ASC or DESC"
            )
        found.append((name, direction == "desc"))
    _check_once([name for name, _ in found], text, "order_by")
    return tuple(found)


def parse_columns(text: str, columns: Sequence[str]) -> list[str]:
    """Return the columns of ``a, b``, all if it is empty; raise WrongUse naming what is wrong."""
    found = [_column(part.strip(), columns, "columns") for part in _parts(text, "columns")]
    _check_once(found, text, "columns")
    return found or list(columns)


def _parts(text: str, what: str) -> list[str]:
    if len(text) > MAX_CLAUSE:
        raise LimitExceeded(f"{what}: {len(text)} characters; at most {MAX_CLAUSE}")
    return text.split(",") if text.strip() else []


def _column(word: str, columns: Sequence[str], what: str) -> str:
    name = word.strip('"')
    if name not in columns:
        raise WrongUse(f"{what}: no column {echo(name, 60)}: one of {listed(columns, 300)}")
    return name


def _check_once(names: Sequence[str], text: str, what: str) -> None:
    if len(set(names)) != len(names):
        raise WrongUse(f"{what} {echo(text, 60)}: names a column twice")

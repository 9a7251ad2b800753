"""What somebody gave, as a message repeats it: one line, short whatever was given. Pure."""

from collections.abc import Iterable
from reprlib import Repr

MAX_ECHO = 80  # characters: a line of a terminal, and enough to find the place
_MORE = 12  # characters that ", 99 more" may take
_MARK = "..."


class _Short(Repr):
    """Short forms of nested values: the cost follows from the limits, not from the value."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = 4
        self.maxstring = self.maxother = self.maxlong = MAX_ECHO

    def repr_int(self, x: int, level: int) -> str:  # noqa: ARG002
        """Return a whole number; Python refuses to print one of thousands of digits."""
        bits = x.bit_length()
        return repr(x) if bits <= 4 * MAX_ECHO else f"<a whole number of {bits} bits>"

    def repr_str(self, x: str, level: int) -> str:  # noqa: ARG002
        """Return a text in quotes; `cut` shortens the whole."""
        return repr(x[: MAX_ECHO + 1])

    def repr_bytes(self, x: bytes, level: int) -> str:  # noqa: ARG002
        """Return bytes in quotes."""
        return repr(x[: MAX_ECHO + 1])


_SHORT = _Short()


def cut(text: str, most: int = MAX_ECHO) -> str:
    """Return a text as one line of printable characters, at most ``most`` of them."""
    line = text[: most + 1]
    if not line.isprintable():
        line = "".join(c if c.isprintable() else " " for c in line)
    return line if len(text) <= most else line[: most - len(_MARK)] + _MARK


def echo(value: object, most: int = MAX_ECHO) -> str:
    """Return a value that somebody gave, text in quotes, in at most ``most`` characters."""
    return cut(_SHORT.repr(value), most)


def listed(names: Iterable[str], most: int = MAX_ECHO) -> str:
    """Return names joined by commas, as many as ``most`` characters hold, and how many follow."""
    found = list(names)
    shown: list[str] = []
    size = 0
    for name in found:
        size += len(name) + 2
        if size > most - _MORE and len(", ".join(found[:100])) > most:
            break
        shown.append(name)
    rest = len(found) - len(shown)
    if not shown:
        return f"{cut(found[0], most - _MORE)}, {rest - 1} more" if rest else "none"
    return ", ".join(shown) + (f", {rest} more" if rest else "")

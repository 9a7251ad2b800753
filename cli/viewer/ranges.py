"""The part of a file that a request asks for (RFC 9110, section 14). Pure."""

import re
from typing import Final

UNSATISFIABLE: Final = (-1, -1)  # the range lies beyond the file
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def wanted(header: str | None, size: int) -> tuple[int, int] | None:
    """Return ``[start, stop)`` of a Range header; None where the whole file is to be sent.

    A header that is not of one range in bytes is left out of account, as the RFC allows.
    """
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:  # the last so many bytes
        count = min(int(found[2]), size)
        return (size - count, size) if count else UNSATISFIABLE
    start = int(found[1])
    last = int(found[2]) if found[2] else size - 1
    if found[2] and last < start:
        return None  # not a range
    return (start, min(last + 1, size)) if start < size else UNSATISFIABLE

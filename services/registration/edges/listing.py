"""Pages of a dataset's registrations, those that are damaged apart."""

from collections.abc import Mapping
from typing import NamedTuple

from fibstream.core.echo import cut
from fibstream.core.errors import Damaged
from fibstream.core.ports import Files

from .stored import Stored, look, names_of

MAX_PAGE_BYTES = 1 << 20  # of reports: with reasons 2 MB, and clients as they come take 4
MAX_REASON = 200  # characters, of one that is damaged


class Page(NamedTuple):
    """Some registrations by name, those that are damaged with the reason, and the last name.

    ``last`` is empty where no more follow.
    """

    found: list[Stored]
    damaged: dict[str, str]
    last: str


def page_of(files: Files, after: str, size: int, under_way: Mapping[str, Stored]) -> Page:
    """Return at most ``size`` registrations of a dataset whose names come after ``after``.

    Those that are under way stand for what the store has of the same name.
    """
    page, total, last = Page([], {}, ""), 0, ""
    for name in sorted({*names_of(files), *under_way}):
        if name <= after:
            continue
        if len(page.found) + len(page.damaged) == size:
            return page._replace(last=last)
        try:
            stored = under_way.get(name) or look(files, name)
        except Damaged as error:
            page.damaged[name] = cut(str(error), MAX_REASON)
        else:
            if stored is None:  # it was removed meanwhile
                continue
            total += len(stored.text)
            if page.found and total > MAX_PAGE_BYTES:
                return page._replace(last=last)
            page.found.append(stored._replace(answer=None))  # which is large
        last = name
    return page

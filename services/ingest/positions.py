"""The z of each slice in a folder: by the number in its name, or by rank where no name has one.

With numbers neither the order in which files arrive nor what is removed later moves a slice.  With
ranks the slices of layers that have landed keep their place, and later ones follow them.
"""

from collections.abc import Sequence
from typing import NamedTuple

MAX_INFERRED_FIRST = 1  # a larger first number has to be given when a run resumes

_GIVE_FIRST = "give --first N, the number of the slice at z 0"


class SliceName(NamedTuple):
    """The name of a file, read."""

    name: str
    number: int | None
    key: tuple[list[str | int], str]  # sorts names in natural order


class Positions:
    """Slices and their z.

    ``first`` is the number of the slice at z 0, None for the smallest; with ``ranked`` names are
    placed by rank where none has a number.
    """

    def __init__(self, first: int | None, *, ranked: bool) -> None:
        self._given_first = first
        self._first = first
        self._ranked = ranked
        self._slices: dict[str, SliceName] = {}
        self._fixed: list[SliceName] | None = None  # slices without numbers that keep their rank
        self.names: dict[int, str] = {}  # z -> name
        self.excluded: dict[str, str] = {}  # names without a place -> why

    def update(self, slices: Sequence[SliceName]) -> None:
        """Place all slices in the folder."""
        self._slices = {item.name: item for item in slices}
        self.names, self.excluded = {}, {}
        numbered = {item.name: item.number for item in slices if item.number is not None}
        if numbered and self._fixed is None:
            self._place_by_number(numbered)
        elif self._ranked:
            self._place_by_rank()

    def _place_by_number(self, numbers: dict[str, int]) -> None:
        first = self.first
        for name in sorted(numbers):
            z = numbers[name] - first
            other = self.names.setdefault(z, name)
            if z < 0:
                del self.names[z]
                self.excluded[name] = (
                    f"{name} comes before slice {first}, which is z 0: it is left out"
                )
            elif other != name:
                self.excluded[name] = (
                    f"{other} and {name} both are slice {z + first}, their layer waits; "
                    "take one away, or say with --pattern where the number is"
                )

    def _place_by_rank(self) -> None:
        fixed = self._fixed or []
        names = {item.name for item in fixed}
        others = (item for item in self._slices.values() if item.name not in names)
        rest = []
        for item in sorted(others, key=lambda item: item.key):
            if fixed and item.key < fixed[-1].key:
                self.excluded[item.name] = (
                    f"{item.name} sorts before slices that have landed: it is left out; "
                    "names that carry a number would have kept its place"
                )
            else:
                rest.append(item)
        self.names = {z: item.name for z, item in enumerate([*fixed, *rest])}

    @property
    def first(self) -> int:
        """The number of the slice at z 0; 0 where names have none."""
        if self._first is not None:
            return self._first
        numbers = (item.number for item in self._slices.values() if item.number is not None)
        return min(numbers, default=0)

    @property
    def first_is_known(self) -> bool:
        """Whether no slice that comes later can change ``first``."""
        return self._first is not None

    @property
    def by_rank(self) -> bool:
        """Whether slices that have landed keep their rank."""
        return self._fixed is not None

    @property
    def top(self) -> int:
        """One more than the largest z of a slice."""
        return max(self.names, default=-1) + 1

    @property
    def unnumbered(self) -> list[str]:
        """Names without a number, where others have one: they are left out."""
        placed = set(self.names.values())
        return [n for n in self._slices if n not in placed and n not in self.excluded]

    def claimed_twice(self, start: int, stop: int) -> bool:
        """Whether two files have the number of one plane of ``[start, stop)``."""
        if self._fixed is not None:
            return False
        numbers = [self._slices[name].number for name in self.excluded]
        return any(n is not None and start <= n - self.first < stop for n in numbers)

    def resume(self, planes: int) -> str:
        """Fix the places of planes that landed in an earlier run; return why it is impossible.

        Called once, by the first poll that finds a slice.
        """
        count = self.top
        if not planes:
            return ""
        short = f"there are {count} slices, but {planes} have landed: were some removed?"
        if self._slices[self.names[count - 1]].number is None:
            if planes > count:
                return f"{short} names without a number have to stay"
            self._fix_ranks(planes)
        elif self._given_first is None:
            if planes > count:
                return f"{short} {_GIVE_FIRST}"
            if self.first > MAX_INFERRED_FIRST:
                return f"slices landed before, and numbers begin at {self.first}: {_GIVE_FIRST}"
            self._first = self.first
        return ""

    def fix(self, name: str, stop: int) -> None:
        """Keep the places of planes before ``stop``, whatever comes; ``name`` is one of them."""
        if self._slices[name].number is None:
            if stop > len(self._fixed or ()):
                self._fix_ranks(stop)
        elif self._fixed is None:
            self._first = self.first

    def _fix_ranks(self, stop: int) -> None:
        names = {item.name: item for item in (self._fixed or [])} | self._slices
        self._fixed = [names[self.names[z]] for z in range(stop)]

"""Which slices of a growing folder are whole, and which layers of chunks can land from them.

A slice is *whole* when its file is steady and somebody who opened it found all that its header
promises.  Where it lies in z follows from the number in its name, so that neither the order
in which files arrive nor what is removed later moves it; only names without any number go by rank.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from fibstream.volumes.slice_names import natural, number_of

from .steady import Landed, Layer, Seen, Steady

UNCHECKED = 512  # headers opened between two looks: the slices of the thickest layer
COUNTS_FROM = 1  # the largest first number that nobody has to confirm when a run resumes

_WHICH_FIRST = "give --first N, the number of the slice at z 0"


@dataclass(frozen=True)
class Rules:
    """When a file counts as complete, and how names of slices are read."""

    stable_s: float = 2.0
    giveup_s: float = 60.0  # after this long, what holds up the rest is told
    first: int | None = None  # the number of the slice at z 0; None: the smallest
    absent: frozenset[int] = frozenset()  # numbers of slices that will never come
    pattern: str | None = None  # a regular expression; its group is the number of a slice


@dataclass(frozen=True, slots=True)
class _Verdict:
    seen: Seen
    reason: str  # empty: the file is whole
    certain: bool  # no further byte can make it right


class Slices:
    """A folder of slices, one file for each z, that land in layers of ``depth``.

    ``landed`` are the layers that were in the store before, ``extent_z`` the planes of a volume
    that is sealed already; with ``again`` what has landed lands once more.
    """

    def __init__(
        self,
        rules: Rules,
        depth: int,
        landed: Collection[int] = (),
        extent_z: int | None = None,
        *,
        again: bool = False,
    ) -> None:
        self._rules = rules
        self._depth = depth
        top = Landed(landed).top * depth
        self._resumed = top if extent_z is None else min(top, extent_z)
        self.landed = Landed(() if again else landed)
        self.steady = Steady(rules.stable_s)
        self._verdicts: dict[str, _Verdict] = {}
        self._names: list[str] = []
        self._numbers: dict[str, int | None] = {}
        self._places: dict[int, str] = {}  # z -> name
        self._odd: dict[str, str] = {}  # names that have no place -> why
        self._first = rules.first
        self._fixed: list[str] | None = None  # names without numbers: those that keep their rank
        self._gap: tuple[int, float] | None = None  # the first z that is missing, and since when
        self._end = 0  # planes before the first one that is missing

    # -- looks -----------------------------------------------------------------------------------

    def due(self, names: Sequence[str], *, thorough: bool = False) -> list[str]:
        """Return which of the names in the folder have to be looked at."""
        return self.steady.due(names, thorough=thorough)

    def look(self, now_s: float, names: Sequence[str], seen: Iterable[Seen]) -> None:
        """Take in one look: all names in the folder, and those files that were looked at."""
        if self._names != names:
            gone = set(self._names).difference(names)
            self._names = list(names)
            for name in gone:
                self._verdicts.pop(name, None)
            self.steady.look(now_s, (), gone)
            self._place()
        risen = {item.name: item for item in self.steady.look(now_s, seen)}
        if risen:
            for z, name in self._places.items():
                if name in risen:
                    self.landed.hold(risen[name], z // self._depth)
        self._reach(now_s)

    def _place(self) -> None:
        """Give every name its z."""
        for name in self._names:
            if name not in self._numbers:
                self._numbers[name] = number_of(name, self._rules.pattern)
        numbered = [name for name in self._names if self._numbers[name] is not None]
        self._places, self._odd = {}, {}
        if numbered and self._fixed is None:
            self._place_by_number(numbered)
        elif self._rules.pattern is None:
            self._place_by_rank()

    def _place_by_number(self, names: list[str]) -> None:
        first = self.first
        for name in sorted(names):
            z = (self._numbers[name] or 0) - first
            other = self._places.setdefault(z, name)
            if z < 0:
                del self._places[z]
                self._odd[name] = f"{name} comes before slice {first}, which is z 0: it is left out"
            elif other != name:
                self._odd[name] = (
                    f"{other} and {name} both are slice {z + first}, their layer waits; "
                    "take one away, or say with --pattern where the number is"
                )

    def _place_by_rank(self) -> None:
        fixed = self._fixed or []
        others = sorted(set(self._names).difference(fixed), key=natural)
        for name in others:
            if fixed and natural(name) < natural(fixed[-1]):
                self._odd[name] = (
                    f"{name} sorts before slices that have landed: it is left out; "
                    "names that carry a number would have kept its place"
                )
        rest = [name for name in others if name not in self._odd]
        self._places = dict(enumerate([*fixed, *rest]))

    def _reach(self, now_s: float) -> None:
        """Find the first plane that is missing; what lies beyond it waits."""
        end, depth = 0, self._depth
        while end in self._places or self.landed.ever(end // depth) or self._absent(end // depth):
            end += 1
        self._end = end
        if end >= self.count:
            self._gap = None
        elif self._gap is None or self._gap[0] != end:
            self._gap = (end, now_s)

    def _absent(self, index: int) -> bool:
        """Whether every slice of a layer was declared absent."""
        if not self._rules.absent or self._fixed is not None:
            return False
        start = index * self._depth + self.first
        return all(n in self._rules.absent for n in range(start, start + self._depth))

    @property
    def first(self) -> int:
        """The number of the slice at z 0; 0 where names carry none."""
        if self._first is not None:
            return self._first
        numbers = [n for name in self._names if (n := self._numbers[name]) is not None]
        return min(numbers, default=0)

    @property
    def count(self) -> int:
        """Planes up to the last that has come, with those that are missing."""
        return max(max(self._places, default=-1) + 1, self._resumed)

    @property
    def unnumbered(self) -> list[str]:
        """Names without a number, where others carry one: they are left out."""
        placed = set(self._places.values())
        return [n for n in self._names if n not in placed and n not in self._odd]

    def settle(self) -> str:
        """Fix the places of what landed in an earlier run; return why that cannot be done.

        Called once, at the first look that finds a slice.
        """
        last = max(self._places)
        short = f"there are {last + 1} slices, but {self._resumed} have landed: were some removed?"
        if not self._resumed:
            return ""
        if self._numbers[self._places[last]] is None:
            if self._resumed > last + 1:
                return f"{short} names without a number have to stay"
            self._fixed = [self._places[z] for z in range(self._resumed)]
        elif self._rules.first is None:
            if self._resumed > last + 1:
                return f"{short} {_WHICH_FIRST}"
            if self.first > COUNTS_FROM:
                return f"slices landed before, and numbers begin at {self.first}: {_WHICH_FIRST}"
            self._first = self.first
        return ""

    @property
    def empty(self) -> bool:
        """Whether no slice has come."""
        return not self._places

    # -- opening ---------------------------------------------------------------------------------

    def unchecked(self) -> list[Seen]:
        """Return steady files of layers that wait: to be opened, to see if all of them is there."""
        new, short = [], []
        for z, name in sorted(self._places.items()):
            seen = self.steady.get(name)
            if seen is None or z // self._depth in self.landed:
                continue
            verdict = self._verdicts.get(name)
            if verdict is None or verdict.seen != seen:
                new.append(seen)
            elif verdict.reason and not verdict.certain:
                short.append(seen)  # a share may show the size before the bytes
        return (new + short)[:UNCHECKED]

    def judge(self, seen: Seen, reason: str = "", *, certain: bool = False) -> None:
        """Say what was found in a file that was opened: the reason why it is not whole, or none."""
        self._verdicts[seen.name] = _Verdict(seen, reason, certain)

    def invalidate(self, name: str) -> None:
        """A file changed while it was read."""
        self.steady.invalidate(name)
        self._verdicts.pop(name, None)

    def _whole(self, z: int) -> Seen | None:
        name = self._places.get(z, "")
        seen, verdict = self.steady.get(name), self._verdicts.get(name)
        return seen if verdict and verdict.seen == seen and not verdict.reason else None

    # -- landing ---------------------------------------------------------------------------------

    def ready(self, extent_z: int | None) -> list[Layer]:
        """Return the layers that can land now, in order; a short last one needs the extent."""
        stop = self._end if extent_z is None else min(self._end, extent_z)
        count = -(-stop // self._depth) if stop == extent_z else stop // self._depth
        return [layer for i in range(count) if (layer := self._layer(i, extent_z))]

    def _layer(self, index: int, extent_z: int | None) -> Layer | None:
        start = index * self._depth
        stop = start + self._depth if extent_z is None else min(start + self._depth, extent_z)
        if index in self.landed:
            return None
        if self._absent(index):
            # Until a slice has landed, a smaller number may still come and move the places: but
            # none is smaller than 0.
            known = self._first is not None or (self.first == 0 and not self.empty)
            return Layer(index, start, stop, (), absent=True) if known else None
        pieces = []
        for z in range(start, stop):
            piece = self._whole(z)
            if piece is None:
                return None
            pieces.append(piece)
        return None if self._twice(start, stop) else Layer(index, start, stop, tuple(pieces))

    def _twice(self, start: int, stop: int) -> bool:
        """Whether two files claim one plane of a layer."""
        if self._fixed is not None:
            return False
        claims = [n - self.first for name in self._odd if (n := self._numbers[name]) is not None]
        return any(start <= z < stop for z in claims)

    def begin(self, layer: Layer) -> None:
        """A layer is about to land: from now on its slices keep their z, whatever else comes."""
        by_rank = layer.pieces and self._numbers[layer.pieces[0].name] is None
        if by_rank and layer.stop > len(self._fixed or ()):
            self._fixed = [self._places[z] for z in range(layer.stop)]
        elif layer.pieces and self._fixed is None:
            self._first = self.first

    def able(self, extent_z: int) -> bool:
        """Whether all layers of an extent have landed or could land now."""
        able = {layer.index for layer in self.ready(extent_z)}
        layers = range(-(-extent_z // self._depth))
        return all(index in self.landed or index in able for index in layers)

    def done(self, extent_z: int) -> bool:
        """Whether all layers of an extent have landed and none of their slices is changing."""
        slices = (name for z, name in self._places.items() if z < extent_z)
        layers = range(-(-extent_z // self._depth))
        return all(index in self.landed for index in layers) and self.steady.calm(slices)

    # -- what holds it up ------------------------------------------------------------------------

    def problems(self, now_s: float, *, ended: bool = False) -> Mapping[str, str]:
        """Return what a person has to see to, one line each, by a key that stays the same.

        ``ended``: nothing more will come, so what is missing is told although nothing follows it.
        """
        found = {f"odd {name}": line for name, line in self._odd.items()}
        last = max((z for z in self._places if self._whole(z)), default=-1)
        wrong: dict[str, list[_Verdict]] = {}  # by what they have
        for z, name in self._places.items():
            verdict, since_s = self._verdicts.get(name), self.steady.since_s(name)
            if verdict is None or not verdict.reason or since_s is None:
                continue
            late = now_s - since_s >= self._rules.giveup_s and z < last
            if verdict.certain:
                wrong.setdefault(verdict.reason.rpartition(" has ")[2], []).append(verdict)
            elif late or ended:
                found[f"file {verdict.seen}"] = f"{verdict.reason}; its layer waits"
        for what, verdicts in wrong.items():
            if len(verdicts) == 1:
                found[f"file {verdicts[0].seen}"] = f"{verdicts[0].reason}; its layer waits"
                continue
            other = "; was the dataset made for another volume?" if last < 0 else ""
            found[f"files {what}"] = f"{verdicts[0].reason}; others too, their layers wait{other}"
        if self._gap is not None:
            z, since_s = self._gap
            if ended or (now_s - since_s >= self._rules.giveup_s and z < last):
                found[f"gap {z}"] = self._missing(z)
        if self._absent(0) and self._first is None and self.first > 0:
            found["first"] = (
                f"slices from {self.first} on are declared absent, but smaller numbers may still "
                f"come: give --first {self.first} if none will"
            )
        return found | self._torn()

    def _torn(self) -> dict[str, str]:
        """Return the layers that have to land again, but whose slices were taken away since."""
        found = {}
        for index in range(self._end // self._depth):
            planes = range(index * self._depth, (index + 1) * self._depth)
            if self.landed.ever(index) and index not in self.landed:
                for z in [z for z in planes if z not in self._places][:1]:
                    found[f"torn {index}"] = (
                        f"a slice of {planes[0] + self.first} to {planes[-1] + self.first} changed "
                        f"after it landed, but slice {z + self.first} is gone: put it back"
                    )
        return found

    def _missing(self, z: int) -> str:
        number, start = z + self.first, z // self._depth * self._depth + self.first
        part = "that is not its whole layer; " if number in self._rules.absent else ""
        return (
            f"slice {number} is missing and what follows waits; {part}put a file there, such as "
            f"a copy of its neighbour, or give --absent {start}-{start + self._depth - 1}: "
            "only a whole layer of chunks can be absent"
        )

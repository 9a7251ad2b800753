"""Which slices of a growing folder are complete, and which layers of chunks can land from them.

A slice is *complete* when its file is stable and all that its header states was found in it.  A
layer lands when all its slices are complete.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from fibstream.volumes.slice_names import Rule, natural
from fibstream.volumes.slice_numbers import Numbering, number_names

from .checks import FileChecks
from .layers import LandedLayers, Layer
from .positions import Positions, SliceName
from .stability import FileState, StableFiles

MAX_UNCHECKED = 512  # headers opened between two polls: the slices of the thickest layer


@dataclass(frozen=True)
class Rules:
    """When a file counts as complete, and how names of slices are read."""

    stable_s: float = 2.0
    giveup_s: float = 60.0  # after this long, what the rest waits for is reported
    first: int | None = None  # the number of the slice at z 0; None: the smallest
    absent: frozenset[int] = frozenset()  # numbers of slices that will never come
    pattern: str | None = None  # a regular expression; its group is the number of a slice


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
        top = LandedLayers(landed).top * depth
        self._resumed = top if extent_z is None else min(top, extent_z)  # planes landed before
        self.landed = LandedLayers(() if again else landed)
        self.files = StableFiles(rules.stable_s)
        self._positions = Positions(rules.first, ranked=rules.pattern is None)
        self.checks = FileChecks()
        self._names: list[str] = []
        self._numbering: Numbering = number_names([])
        self._rule: Rule | None = None  # by which slices have landed: it holds, whatever comes
        self._gap: tuple[int, float] | None = None  # the first z that is missing, and since when
        self._end = 0  # planes before the first one that is missing

    # -- polls -----------------------------------------------------------------------------------

    def due(self, names: Sequence[str], *, thorough: bool = False) -> list[str]:
        """Return which of the names in the folder have to be examined."""
        return self.files.due(names, thorough=thorough)

    def update(self, now_s: float, names: Sequence[str], files: Iterable[FileState]) -> None:
        """Record one poll: all names in the folder, and the files that were examined."""
        if self._names != names:
            gone = set(self._names).difference(names)
            self._names = list(names)
            for name in gone:
                self.checks.forget(name)
            self.files.update(now_s, (), gone)
            self._numbering = number_names(self._names, self._rules.pattern, self._rule)
            self._positions.update([self._parse(name) for name in names])
        stable = {file.name: file for file in self.files.update(now_s, files)}
        if stable:
            for z, name in self._positions.names.items():
                if name in stable:
                    self.landed.compare(stable[name], z // self._depth)
        self._find_gap(now_s)

    def _parse(self, name: str) -> SliceName:
        return SliceName(name, self._numbering.numbers.get(name), natural(name))

    @property
    def _is_undecided(self) -> bool:
        """Whether further names have to show where the number is, or which series is wanted."""
        return bool(self._numbering.series) or not self._numbering.decided

    def _find_gap(self, now_s: float) -> None:
        """Find the first plane that is missing; those beyond it wait."""
        end, depth, names = 0, self._depth, self._positions.names
        while end in names or self.landed.landed_once(end // depth) or self._absent(end // depth):
            end += 1
        self._end = end
        if end >= self.count:
            self._gap = None
        elif self._gap is None or self._gap[0] != end:
            self._gap = (end, now_s)

    def _absent(self, index: int) -> bool:
        """Whether every slice of a layer was declared absent."""
        if not self._rules.absent or self._positions.by_rank:
            return False
        start = index * self._depth + self._positions.first
        return all(n in self._rules.absent for n in range(start, start + self._depth))

    @property
    def count(self) -> int:
        """Planes up to the last that has come, with those that are missing."""
        return max(self._positions.top, self._resumed)

    @property
    def unnumbered(self) -> list[str]:
        """Names without a number, where others have one: they are left out."""
        return self._positions.unnumbered

    @property
    def empty(self) -> bool:
        """Whether no slice has come."""
        return not self._positions.names

    def resume(self) -> str:
        """Fix the places of what landed in an earlier run; return why it is impossible.

        Called once, by the first poll that finds a slice.
        """
        if self._resumed:
            self._rule = self._numbering.rule
        return self._positions.resume(self._resumed)

    # -- checks ----------------------------------------------------------------------------------

    def unchecked(self) -> list[FileState]:
        """Return stable files of layers that wait, whose headers have to be checked."""
        new, faulty = [], []
        for z, name in sorted(self._positions.names.items()):
            file = self.files.get(name)
            if file is None or z // self._depth in self.landed:
                continue
            if self.checks.is_new(file):
                new.append(file)
            elif self.checks.may_recover(file):
                faulty.append(file)  # a share may show the size before the bytes
        return (new + faulty)[:MAX_UNCHECKED]

    def invalidate(self, name: str) -> None:
        """Forget a file that changed while it was read."""
        self.files.invalidate(name)
        self.checks.forget(name)

    def _complete_file(self, z: int) -> FileState | None:
        file = self.files.get(self._positions.names.get(z, ""))
        return file if file is not None and self.checks.is_complete(file) else None

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
            positions = self._positions
            known = positions.first_is_known or (positions.first == 0 and not self.empty)
            return Layer(index, start, stop, (), absent=True) if known else None
        if self._is_undecided and extent_z != 1:
            return None
        files = [file for z in range(start, stop) if (file := self._complete_file(z))]
        if len(files) < stop - start or self._positions.claimed_twice(start, stop):
            return None
        return Layer(index, start, stop, tuple(files))

    def begin(self, layer: Layer) -> None:
        """Fix the z of a layer's slices, which is about to land: it stays, whatever comes."""
        if layer.files:
            self._rule = self._numbering.rule
            self._positions.fix(layer.files[0].name, layer.stop)

    def can_complete(self, extent_z: int) -> bool:
        """Whether all layers of an extent have landed or could land now."""
        ready = {layer.index for layer in self.ready(extent_z)}
        layers = range(-(-extent_z // self._depth))
        return all(index in self.landed or index in ready for index in layers)

    def is_complete(self, extent_z: int) -> bool:
        """Whether all layers of an extent have landed and none of their slices is changing."""
        slices = (name for z, name in self._positions.names.items() if z < extent_z)
        layers = range(-(-extent_z // self._depth))
        return all(index in self.landed for index in layers) and self.files.all_stable(slices)

    # -- problems --------------------------------------------------------------------------------

    def problems(self, now_s: float, *, ended: bool = False) -> Mapping[str, str]:
        """Return what a person has to act on, one line each, by a key that stays the same.

        ``ended``: nothing more will come, so what is missing is reported although nothing follows.
        """
        found = {f"excluded {name}": line for name, line in self._positions.excluded.items()}
        if self._numbering.series:  # instead of a line for each slice that is there twice
            found = {"series": f"{self._numbering.fault()}; all layers wait"}
        last = max((z for z in self._positions.names if self._complete_file(z)), default=-1)
        found |= self._faults(now_s, last, ended=ended)
        if self._gap is not None:
            z, since_s = self._gap
            if ended or (now_s - since_s >= self._rules.giveup_s and z < last):
                found[f"gap {z}"] = self._missing_line(z)
        first = self._positions.first
        if self._absent(0) and not self._positions.first_is_known and first > 0:
            found["first"] = (
                f"slices from {first} on are declared absent, but smaller numbers may still "
                f"come: give --first {first} if none will"
            )
        return found | self._removed_slices()

    def _faults(self, now_s: float, last: int, *, ended: bool) -> dict[str, str]:
        """Return permanent faults, and others once later slices are complete for ``giveup_s``."""
        names, late = [], []
        for z, name in self._positions.names.items():
            since_s = self.files.since_s(name)
            if since_s is not None:
                names.append(name)
                if ended or (now_s - since_s >= self._rules.giveup_s and z < last):
                    late.append(name)
        hint = "; was the dataset made for another volume?" if last < 0 else ""
        passing = self.checks.passing_faults(late)
        return passing | self.checks.permanent_faults(names, hint=hint)

    def _removed_slices(self) -> dict[str, str]:
        """Return the layers that have to land again, but whose slices were removed since."""
        found = {}
        first, names = self._positions.first, self._positions.names
        for index in range(self._end // self._depth):
            planes = range(index * self._depth, (index + 1) * self._depth)
            if self.landed.landed_once(index) and index not in self.landed:
                for z in [z for z in planes if z not in names][:1]:
                    found[f"removed {index}"] = (
                        f"a slice of {planes[0] + first} to {planes[-1] + first} changed "
                        f"after it landed, but slice {z + first} is gone: put it back"
                    )
        return found

    def _missing_line(self, z: int) -> str:
        first = self._positions.first
        number, start = z + first, z // self._depth * self._depth + first
        part = "that is not its whole layer; " if number in self._rules.absent else ""
        return (
            f"slice {number} is missing and what follows waits; {part}put a file there, such as "
            f"a copy of its neighbour, or give --absent {start}-{start + self._depth - 1}: "
            "only a whole layer of chunks can be absent"
        )

"""The watcher: what arrives in a folder lands as soon as a layer of chunks is whole.

It keeps no state of its own. Started again it asks the store what has landed and sends only layers
of which a chunk is missing. A slice that changes while the watcher runs is sent again with its
layer; what changed while it did not run is sent with ``again``, where equal content writes nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import Retryable, TooMuch, WrongUse
from fibstream.core.grid import Grid, Index
from fibstream.services.ingest.arrivals import Rules
from fibstream.services.ingest.steady import Layer, Steady

from .growing import GrowingZarr, is_zarr, split
from .incoming import Incoming, Plan, SliceFolder, seen_as

LAYER_BYTES = 4 * 10**9  # 64 planes of 8000 x 7800; a larger layer is read by rows of chunks
AWAY_S_MAX = 60.0  # between two tries while a share or a server is away: it may be for a weekend

Outcome = Literal["done", "incomplete", "stopped"]


class DatasetInfo(Protocol):
    """What the watcher asks of a dataset; lengths in voxels, axes (z, y, x)."""

    @property
    def shape(self) -> tuple[int | None, int, int]:
        """Its extent; z is None until it is sealed."""

    @property
    def chunk(self) -> Index:
        """The edges of a chunk."""

    @property
    def dtype(self) -> str:
        """The type of a voxel."""

    @property
    def voxel_size_nm(self) -> tuple[float, float, float]:
        """The edges of a voxel."""

    @property
    def landed(self) -> AbstractSet[Index]:
        """The chunks in the store, those declared absent included."""


class Port(Protocol):
    """Where chunks land: a ``fibstream.Client``, or a store in this process.

    Calls may be repeated; they raise Retryable while the other side is away.
    """

    def info(self, dataset: str) -> DatasetInfo:
        """Describe a dataset and what has landed."""

    def land(
        self, dataset: str, index: Index, voxels: NDArray[Any], *, revision: int | None = None
    ) -> str:
        """Land a chunk; return ``written``, ``unchanged`` or ``older``.

        Without a revision equal content writes nothing and other content replaces it.
        """

    def absent(self, dataset: str, index: Index, *, revision: int | None = None) -> str:
        """Say that a chunk will never be acquired."""

    def seal(self, dataset: str, extent_z: int | None = None) -> int:
        """Fix the extent in z, and return it."""


@dataclass(frozen=True)
class Ending:
    """What says that the acquisition is over; without any of these the watcher never ends.

    The number of slices alone ends it as soon as that many have landed; together with another sign
    it says how many have to be there when that comes.
    """

    slices: int | None = None
    end_file: str | None = None  # a file of this name is in the folder
    idle_s: float | None = None  # nothing new came for so long

    def __post_init__(self) -> None:
        if self.slices is not None and self.slices < 1:
            raise WrongUse(f"--slices {self.slices}: expected at least 1")


@dataclass(frozen=True)
class WatchSettings:
    """How the watcher goes about it."""

    poll_s: float = 1.0  # between two looks
    again: bool = False  # what has landed lands once more
    layer_bytes: int = LAYER_BYTES


class Stopped(Exception):
    """Somebody asked the watcher to stop."""


class Watcher:
    """Lands what arrives below ``path`` in a dataset.

    Parameters
    ----------
    path : str
        A folder of slices (.tif, .tiff, .mrc) or a Zarr store; neither need hold anything yet.
    port : Port
        Where the dataset is.
    clock : callable
        Returns seconds that only go forward.
    pause : callable
        Waits for so many seconds, or until somebody asks to stop; returns whether somebody did.
    say : callable
        Takes lines for a person.

    Raises
    ------
    WrongUse
        If there is no such folder.
    """

    def __init__(
        self,
        path: str,
        dataset: str,
        port: Port,
        *,
        rules: Rules,
        ending: Ending,
        habits: WatchSettings,
        clock: Callable[[], float],
        pause: Callable[[float], bool],
        say: Callable[[str], None],
    ) -> None:
        self._path = path
        self._folder = split(path)[0] if is_zarr(path) else Path(path)
        if not self._folder.is_dir():
            raise WrongUse(f"{self._folder}: no such folder")
        self._dataset = dataset
        self._port = port
        self._rules = rules
        self._ending = ending
        self._habits = habits
        self._clock = clock
        self._pause = pause
        self._say = say
        self._told: set[str] = set()
        self._incoming: Incoming | None = None
        self._extent_z: int | None = None  # None until it is sealed
        self._bands: list[range] = []  # rows of chunks that are read together
        self._end_file = Steady(rules.stable_s)
        self._begun_s = clock()
        self._ended_s: float | None = None  # since when the end is known but not all is there
        self.problems: Mapping[str, str] = {}  # that stand at the end

    def run(self) -> Outcome:
        """Watch until everything has landed, or nothing more can, or somebody asks to stop.

        A share or a server that is away is tried again and again. Raises WrongUse if what arrives
        can never become the dataset, or the port refuses it.
        """
        wait_s, outcome = 0.0, None
        while outcome is None:
            if self._pause(wait_s):
                return "stopped"
            try:
                outcome = self._turn()
            except Stopped:
                return "stopped"
            except (OSError, Retryable) as error:
                self._once("away", f"away, is tried again and again: {error}")
                wait_s = min(max(2 * wait_s, self._habits.poll_s), AWAY_S_MAX)
            else:
                if "away" in self._told:
                    self._told.discard("away")
                    self._say("there again")
                wait_s = self._habits.poll_s
        return outcome

    def _once(self, key: str, line: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self._say(line)

    def _turn(self) -> Outcome | None:
        """Do all that can be done now."""
        incoming = self._open() if self._incoming is None else self._incoming
        landed = True
        while landed:  # what landed took time, in which more may have come
            now_s = self._clock()
            incoming.look(now_s)
            self._look_for_end_file(now_s)
            landed = sum(self._land(incoming, layer) for layer in self._ready(incoming)) > 0
            self._begin(incoming)
            self.problems = incoming.problems(self._clock())
            for key, line in {**incoming.notes(), **self.problems}.items():
                self._once(key, line)
            landed = self._seal(incoming) or landed
        if self._extent_z is not None and incoming.done(self._extent_z):
            incoming.look(self._clock(), thorough=True)  # what changed in the last minute counts
            if incoming.done(self._extent_z):
                return "done"
        return self._give_up(incoming)

    def _begin(self, incoming: Incoming) -> None:
        """Say once that slices come: a layer takes a microscope hours."""
        if not 0 < incoming.count < self._chunk[0]:
            return
        count, depth = incoming.count, self._chunk[0]
        self._once(
            "begun", f"{count} {'slice' if count == 1 else 'slices'} so far; {depth} land together"
        )

    # -- the dataset -----------------------------------------------------------------------------

    def _open(self) -> Incoming:
        """Ask what the dataset is and what it holds."""
        info = self._port.info(self._dataset)
        self._extent_z, y, x = info.shape
        if self._extent_z is not None and self._ending.slices not in (None, self._extent_z):
            raise WrongUse(
                f"--slices {self._ending.slices}: {self._dataset} is sealed at {self._extent_z}"
            )
        self._shape, self._chunk, dtype = (y, x), info.chunk, np.dtype(info.dtype)
        self._bands = list(_bands(self._shape, info.chunk, dtype, self._habits.layer_bytes))
        there = Counter(z for z, _, _ in info.landed)
        _, rows, columns = Grid((None, y, x), info.chunk).count
        whole = frozenset(z for z, count in there.items() if count == rows * columns)
        plan = Plan((y, x), dtype, info.voxel_size_nm, info.chunk[0], self._extent_z, whole,
                    again=self._habits.again)  # fmt: skip
        if whole and not self._habits.again:
            self._say(f"{len(whole)} layers of chunks have landed before")
        self._incoming = (
            GrowingZarr(self._path, self._rules, plan)
            if is_zarr(self._path)
            else SliceFolder(self._folder, self._rules, plan, self._ending.end_file)
        )
        return self._incoming

    # -- landing ---------------------------------------------------------------------------------

    def _ready(self, incoming: Incoming) -> list[Layer]:
        """Return what can land now; nothing beyond the end that the user gave."""
        end = self._ending.slices
        ready = incoming.ready(self._extent_z)
        return ready if end is None else [layer for layer in ready if layer.stop <= end]

    def _land(self, incoming: Incoming, layer: Layer) -> bool:
        """Land all chunks of a layer; False if its files changed under the reading."""
        incoming.begin(layer)
        outcomes: Counter[str] = Counter()
        for band in self._bands:
            rows = slice(
                band.start * self._chunk[1], min(band.stop * self._chunk[1], self._shape[0])
            )
            voxels = None if layer.absent else incoming.read(layer, rows)
            if voxels is None and not layer.absent:
                return False
            for index, part in self._parts(layer, band, rows):
                if self._pause(0):
                    raise Stopped
                outcomes[self._put(index, None if voxels is None else voxels[part])] += 1
        incoming.add(layer)
        what = "declared absent" if layer.absent else "landed"
        counts = ", ".join(f"{count} {word}" for word, count in sorted(outcomes.items()))
        self._say(f"slices {layer.start} to {layer.stop - 1} {what}: chunks {counts}")
        return True

    def _parts(
        self, layer: Layer, band: range, rows: slice
    ) -> Iterator[tuple[Index, tuple[slice, slice, slice]]]:
        """Yield the chunks of a layer in some rows of chunks, and where they lie in those."""
        grid = Grid((layer.stop, *self._shape), self._chunk)
        for y, x in product(band, range(grid.count[2])):
            index = (layer.index, y, x)
            yield index, grid.box(index).slices((layer.start, rows.start, 0))

    def _put(self, index: Index, voxels: NDArray[Any] | None) -> str:
        if voxels is None:
            return self._port.absent(self._dataset, index)
        return self._port.land(self._dataset, index, np.ascontiguousarray(voxels))

    # -- the end ---------------------------------------------------------------------------------

    def _look_for_end_file(self, now_s: float) -> None:
        if (name := self._ending.end_file) is None:
            return
        try:
            self._end_file.look(now_s, [seen_as(name, (self._folder / name).stat())])
        except FileNotFoundError:
            self._end_file.invalidate(name)

    def _over(self, incoming: Incoming) -> bool:
        """Whether nothing more is going to come."""
        name, idle_s = self._ending.end_file, self._ending.idle_s
        if name is not None and self._end_file.get(name):
            return True
        since_s = self._begun_s if incoming.changed_s is None else incoming.changed_s
        return idle_s is not None and incoming.count > 0 and self._clock() - since_s >= idle_s

    def _seal(self, incoming: Incoming) -> bool:
        """Seal the volume once all of it is there: only then can a short last layer land."""
        signed = self._ending.end_file is not None or self._ending.idle_s is not None
        if self._extent_z is not None or (signed and not self._over(incoming)):
            return False
        end = self._ending.slices or (incoming.count if signed else 0)
        if not end or not incoming.able(end):
            return False
        self._extent_z = self._port.seal(self._dataset, end)
        self._say(f"sealed at {self._extent_z} slices")
        return True

    def _give_up(self, incoming: Incoming) -> Outcome | None:
        """End when the end has come, but what is missing has not for ``giveup_s``."""
        now_s = self._clock()
        if not self._over(incoming):
            self._ended_s = None
        elif self._ended_s is None:
            self._ended_s = now_s
            self._once(
                "ended", f"the end is there, what is missing has {self._rules.giveup_s:g} s to come"
            )
        elif now_s - self._ended_s >= self._rules.giveup_s:
            expected = self._extent_z or self._ending.slices or incoming.count
            short = (
                f"not sealed: {expected} slices were expected, {incoming.count} came with those "
                "that are missing, and not all of them landed"
            )
            self.problems = {**incoming.problems(now_s, ended=True), "short": short}
            for key, line in self.problems.items():
                self._once(key, line)
            return "incomplete"
        return None


def _bands(
    shape: tuple[int, int], chunk: Index, dtype: np.dtype[Any], limit: int
) -> Iterator[range]:
    """Yield the rows of chunks that are read together: all of them if a layer fits the limit.

    Raises
    ------
    TooMuch
        If one row of chunks does not fit.
    """
    depth, edge, _ = chunk
    rows = -(-shape[0] // edge)
    row_bytes = depth * min(edge, shape[0]) * shape[1] * dtype.itemsize
    together = limit // row_bytes
    if not together:
        raise TooMuch(
            f"a row of chunks of {depth} x {edge} x {shape[1]} voxels takes {row_bytes} bytes; "
            f"the limit is {limit}: give a larger one, or make smaller chunks"
        )
    for start in range(0, rows, together):
        yield range(start, min(start + together, rows))

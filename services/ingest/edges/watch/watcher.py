"""The watcher: a layer of chunks in a folder lands as soon as all its files are complete.

It keeps no state of its own. Started again it reads from the store what has landed and sends only
layers of which a chunk is missing. A slice that changes while the watcher runs is sent again with
its layer; what changed while it did not run is sent with ``again``: equal content writes nothing.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import Retryable, WrongUse
from fibstream.core.grid import Grid, Index
from fibstream.services.ingest.arrivals import Rules
from fibstream.services.ingest.layers import Layer, chunks_of_band, row_bands
from fibstream.services.ingest.unimaged import GIVE, area_in, unimaged_text

from .ending import EndCondition, EndDetector
from .growing import ExpectedVolume, GrowingVolume
from .port import DatasetInfo, Port
from .slice_folder import SliceFolder
from .zarr_array import GrowingZarr
from .zarr_files import is_zarr, watched_folder

LAYER_BYTES = 4 * 10**9  # 64 planes of 8000 x 7800; a larger layer is read by rows of chunks
MAX_AWAY_S = 60.0  # between two tries while a share or a server is away: it may be for a weekend

Outcome = Literal["done", "incomplete", "stopped"]


@dataclass(frozen=True)
class WatchSettings:
    """How often the watcher polls, and how much it reads at a time."""

    poll_s: float = 1.0  # between two polls
    again: bool = False  # what has landed lands once more
    layer_bytes: int = LAYER_BYTES


class Stopped(Exception):
    """The watcher was requested to stop."""


class Watcher:
    """Lands the slices or the array that arrive below ``path`` in a dataset.

    Parameters
    ----------
    path : str
        A folder of slices (.tif, .tiff, .mrc) or a Zarr store; neither need hold anything yet.
    port : Port
        Where the dataset is.
    clock : callable
        Returns seconds that only go forward.
    pause : callable
        Waits for so many seconds, or until a stop is requested; returns whether it was.
    report : callable
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
        end: EndCondition,
        settings: WatchSettings,
        clock: Callable[[], float],
        pause: Callable[[float], bool],
        report: Callable[[str], None],
    ) -> None:
        self._path = path
        self._folder = watched_folder(path)
        self._dataset = dataset
        self._port = port
        self._rules = rules
        self._end = end
        self._settings = settings
        self._clock = clock
        self._pause = pause
        self._report = report
        self._reported: set[str] = set()
        self._volume: GrowingVolume | None = None
        self._extent_z: int | None = None  # None until it is sealed
        self._bands: list[range] = []  # rows of chunks that are read together
        self._detector = EndDetector(end, self._folder, stable_s=rules.stable_s, now_s=clock())
        self._ended_s: float | None = None  # since when the end is known but not all is there
        self.problems: Mapping[str, str] = {}  # that remain at the end

    def run(self) -> Outcome:
        """Watch until everything has landed, nothing more can, or a stop is requested.

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
                self._report_once("away", f"away, is tried again and again: {error}")
                wait_s = min(max(2 * wait_s, self._settings.poll_s), MAX_AWAY_S)
            else:
                if "away" in self._reported:
                    self._reported.discard("away")
                    self._report("there again")
                wait_s = self._settings.poll_s
        return outcome

    def _report_once(self, key: str, line: str) -> None:
        if key not in self._reported:
            self._reported.add(key)
            self._report(line)

    def _turn(self) -> Outcome | None:
        """Land and seal what can be by now; return the outcome once it is known."""
        volume = self._open() if self._volume is None else self._volume
        landed = True
        while landed:  # landing took time, in which more may have come
            now_s = self._clock()
            volume.poll(now_s)
            self._detector.poll(now_s)
            landed = sum(self._land(volume, layer) for layer in self._ready(volume)) > 0
            self._report_first_slices(volume)
            self.problems = volume.problems(self._clock())
            for key, line in {**volume.notes(), **self.problems}.items():
                self._report_once(key, line)
            landed = self._seal(volume) or landed
        if self._extent_z is not None and volume.is_complete(self._extent_z):
            volume.poll(self._clock(), thorough=True)  # what changed in the last minute counts
            if volume.is_complete(self._extent_z):
                return "done"
        return self._give_up(volume)

    def _report_first_slices(self, volume: GrowingVolume) -> None:
        """Report once that slices come: a layer takes a microscope hours."""
        if not 0 < volume.count < self._chunk[0]:
            return
        count, depth = volume.count, self._chunk[0]
        self._report_once(
            "begun", f"{count} {'slice' if count == 1 else 'slices'} so far; {depth} land together"
        )

    # -- the dataset -----------------------------------------------------------------------------

    def _open(self) -> GrowingVolume:
        """Read what the dataset is and what has landed; open the folder or array."""
        info = self._port.info(self._dataset)
        self._extent_z, y, x = info.shape
        if self._extent_z is not None and self._end.slices not in (None, self._extent_z):
            raise WrongUse(
                f"--slices {self._end.slices}: {self._dataset} is sealed at {self._extent_z}"
            )
        if info.downsample != (1, 1, 1):
            raise WrongUse(
                f"dataset {self._dataset} was made with --downsample "
                f"{','.join(map(str, info.downsample))}, and watch averages nothing yet: land the "
                "whole volume by fibstream land"
            )
        self._absent_value, self._absent_mask = info.absent_value, info.absent_mask
        self._shape, self._chunk, dtype = (y, x), info.chunk, np.dtype(info.dtype)
        limit = self._settings.layer_bytes
        self._bands = list(row_bands(self._shape, info.chunk, dtype.itemsize, limit))
        landed = Counter(z for z, _, _ in info.landed)
        _, rows, columns = Grid((None, y, x), info.chunk).count
        whole = frozenset(z for z, count in landed.items() if count == rows * columns)
        expected = ExpectedVolume(
            (y, x), dtype, info.voxel_size_nm, info.chunk[0], self._extent_z, whole,
            again=self._settings.again, offset_nm=info.offset_nm,
        )  # fmt: skip
        if whole and not self._settings.again:
            self._report(f"{len(whole)} layers of chunks have landed before")
        self._report_others(info)
        self._volume = (
            GrowingZarr(self._path, self._rules, expected)
            if is_zarr(self._path)
            else SliceFolder(self._folder, self._rules, expected, self._end.end_file)
        )
        return self._volume

    def _report_others(self, info: DatasetInfo) -> None:
        """Report once what else has to land, of which a folder of slices holds nothing."""
        others = ["the absent mask"] if info.absent_mask else []
        others += [f"prediction {name}" for name in info.predictions]
        if others:
            waits = f"what reads {', '.join(others)} waits for fibstream land"
            self._report_once("others", f"raw alone lands here; {waits}")

    # -- landing ---------------------------------------------------------------------------------

    def _ready(self, volume: GrowingVolume) -> list[Layer]:
        """Return what can land now; nothing beyond the end that the user gave."""
        end = self._end.slices
        ready = volume.ready(self._extent_z)
        return ready if end is None else [layer for layer in ready if layer.stop <= end]

    def _land(self, volume: GrowingVolume, layer: Layer) -> bool:
        """Land all chunks of a layer; False if its files changed while it was read."""
        volume.begin(layer)
        outcomes: Counter[str] = Counter()
        for band in self._bands:
            rows = slice(
                band.start * self._chunk[1], min(band.stop * self._chunk[1], self._shape[0])
            )
            voxels = None if layer.absent else volume.read(layer, rows)
            if voxels is None and not layer.absent:
                return False
            if voxels is not None:
                self._report_unimaged(layer, voxels)
            for index, part in chunks_of_band(layer, band, self._shape, self._chunk):
                if self._pause(0):
                    raise Stopped
                outcomes[self._put(index, None if voxels is None else voxels[part])] += 1
        volume.add(layer)
        what = "declared absent" if layer.absent else "landed"
        counts = ", ".join(f"{count} {word}" for word, count in sorted(outcomes.items()))
        self._report(f"slices {layer.start} to {layer.stop - 1} {what}: chunks {counts}")
        return True

    def _report_unimaged(self, layer: Layer, voxels: NDArray[Any]) -> None:
        """Report once that an area has one value, unless the dataset declares it."""
        if self._absent_mask or "unimaged" in self._reported:
            return
        if area := area_in(voxels, self._absent_value):
            told = unimaged_text(area, self._absent_value, GIVE)
            where = f"slices {layer.start} to {layer.stop - 1}"
            self._report_once("unimaged", f"{where}: {told}")

    def _put(self, index: Index, voxels: NDArray[Any] | None) -> str:
        if voxels is None:
            return self._port.absent(self._dataset, index)
        return self._port.land(self._dataset, index, np.ascontiguousarray(voxels))

    # -- the end ---------------------------------------------------------------------------------

    def _seal(self, volume: GrowingVolume) -> bool:
        """Seal the volume once all of it is there: only then can a short last layer land."""
        if self._extent_z is not None:
            return False
        extent_z = self._detector.extent_z(volume, self._clock())
        if not extent_z or not volume.can_complete(extent_z):
            return False
        self._extent_z = self._port.seal(self._dataset, extent_z)
        self._report(f"sealed at {self._extent_z} slices")
        return True

    def _give_up(self, volume: GrowingVolume) -> Outcome | None:
        """End when the end has come, but what is missing has not for ``giveup_s``."""
        now_s = self._clock()
        if not self._detector.is_over(volume, now_s):
            self._ended_s = None
            return None
        if self._ended_s is None:
            self._ended_s = now_s
            self._report_once(
                "ended", f"the end is there, what is missing has {self._rules.giveup_s:g} s to come"
            )
        if now_s - self._ended_s < self._rules.giveup_s:
            return None
        expected = self._extent_z or self._end.slices or volume.count
        short = (
            f"not sealed: {expected} slices were expected, {volume.count} came with those "
            "that are missing, and not all of them landed"
        )
        self.problems = {**volume.problems(now_s, ended=True), "short": short}
        for key, line in self.problems.items():
            self._report_once(key, line)
        return "incomplete"

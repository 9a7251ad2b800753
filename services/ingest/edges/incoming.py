"""A volume that can be watched while it grows (``Incoming``), and the first kind: slices.

What is watched is polled; nobody is asked to tell: microscopes write to network shares, where
notification does not reach.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.services.ingest.arrivals import Rules, Slices
from fibstream.services.ingest.steady import Layer, Seen
from fibstream.volumes.slice_names import is_slice_name
from fibstream.volumes.slices import SLICE_SUFFIXES, Header, read_slice, whole_header

SHOWN = 3  # names in a note: it is to be recognised, not to be complete


@dataclass(frozen=True)
class Plan:
    """What the dataset says about the volume that arrives."""

    plane: tuple[int, int]  # voxels (y, x)
    dtype: np.dtype[Any]
    voxel_size_nm: tuple[float, float, float]
    depth: int  # planes in a layer: the chunk's edge in z
    extent_z: int | None  # None while it is open
    landed: frozenset[int]  # layers of which every chunk is in the store
    again: bool = False  # land those once more


class Incoming(Protocol):
    """A volume that grows along z."""

    def look(self, now_s: float, *, thorough: bool = False) -> None:
        """See what is new; with ``thorough`` whether anything at all has changed.

        Raises WrongUse if it can never become the dataset, OSError if it is away.
        """

    def ready(self, extent_z: int | None) -> list[Layer]:
        """Return the layers that can land now; a short last one needs the extent."""

    def begin(self, layer: Layer) -> None:
        """A layer is about to land."""

    def read(self, layer: Layer, rows: slice) -> NDArray[Any] | None:
        """Return rows of a layer, (z, y, x); None when they are no longer what ``look`` saw."""

    def add(self, layer: Layer) -> None:
        """A layer has landed."""

    def able(self, extent_z: int) -> bool:
        """Whether all layers of an extent have landed or could land now."""

    def done(self, extent_z: int) -> bool:
        """Whether all layers of an extent have landed and nothing of them is changing."""

    def problems(self, now_s: float, *, ended: bool = False) -> Mapping[str, str]:
        """Return what a person has to see to: a line by a key that stays the same."""

    def notes(self) -> Mapping[str, str]:
        """Return what is left out and no fault, in the same form."""

    @property
    def count(self) -> int:
        """Planes up to the last that has come."""

    @property
    def changed_s(self) -> float | None:
        """When a look last found something new."""


class SliceFolder:
    """A folder into which somebody writes slices."""

    def __init__(self, folder: Path, rules: Rules, plan: Plan, end_file: str | None = None) -> None:
        self._folder = folder
        self._end_file = end_file  # no slice, and nothing to wonder at
        self._header: Header = (plan.plane, plan.dtype)
        self._slices = Slices(rules, plan.depth, plan.landed, plan.extent_z, again=plan.again)
        self._extent_z = plan.extent_z
        self._settled = False
        self._others: list[str] = []

    def look(self, now_s: float, *, thorough: bool = False) -> None:
        """List the folder, look at what may have changed, open what has become steady."""
        with os.scandir(self._folder) as entries:
            names = sorted(entry.name for entry in entries)
        sliced = [name for name in names if is_slice_name(name, SLICE_SUFFIXES)]
        self._others = [
            name for name in names
            if not is_slice_name(name, SLICE_SUFFIXES) and name != self._end_file
        ]  # fmt: skip
        due = self._slices.due(sliced, thorough=thorough)
        seen = [item for name in due if (item := self._stat(name))]
        self._slices.look(now_s, sliced, seen)
        if not self._settled and not self._slices.empty:
            if why := self._slices.settle():
                raise WrongUse(f"{self._folder}: {why}")
            self._settled = True
        for item in self._slices.unchecked():
            self._check(item)

    def _stat(self, name: str) -> Seen | None:
        try:
            return seen_as(name, (self._folder / name).stat())
        except FileNotFoundError:  # taken away since the folder was listed
            return None

    def _check(self, seen: Seen) -> None:
        path = self._folder / seen.name
        try:
            found = whole_header(path)
        except WrongUse as error:
            self._slices.judge(seen, str(error))
            return
        if found == self._header:
            self._slices.judge(seen)
            return
        (shape, dtype), (found_shape, found_dtype) = self._header, found
        self._slices.judge(
            seen,
            f"{path} has shape {found_shape} and dtype {found_dtype}; expected {shape} and {dtype}",
            certain=True,
        )

    def ready(self, extent_z: int | None) -> list[Layer]:
        """Return the layers all of whose slices are whole."""
        return self._slices.ready(extent_z)

    def begin(self, layer: Layer) -> None:
        """Fix the places of slices."""
        self._slices.begin(layer)

    def read(self, layer: Layer, rows: slice) -> NDArray[Any] | None:
        """Read each slice once, whole, and keep its rows."""
        shape, dtype = self._header
        out = np.empty((layer.stop - layer.start, rows.stop - rows.start, shape[1]), dtype)
        for plane, piece in zip(out, layer.pieces, strict=True):
            found = self._read(piece)
            if found is None:
                return None
            plane[:] = found[rows]
        return out

    def _read(self, piece: Seen) -> NDArray[Any] | None:
        try:
            found, state = read_slice(self._folder / piece.name)
        except WrongUse as error:  # what only shows when it is decoded
            self._slices.judge(piece, str(error))
            return None
        except (FileNotFoundError, PermissionError):  # writers on shares may lock what they change
            self._slices.invalidate(piece.name)
            return None
        if seen_as(piece.name, state) != piece:
            self._slices.invalidate(piece.name)
            return None
        return found

    def add(self, layer: Layer) -> None:
        """Remember what a layer was made of: where a slice changes, it lands again."""
        self._slices.landed.add(layer)

    def able(self, extent_z: int) -> bool:
        """Whether all layers of an extent have landed or could land now."""
        return self._slices.able(extent_z)

    def done(self, extent_z: int) -> bool:
        """Whether all layers of an extent have landed and none of their slices is changing."""
        return self._slices.done(extent_z)

    def problems(self, now_s: float, *, ended: bool = False) -> Mapping[str, str]:
        """Return what a person has to see to."""
        return self._slices.problems(now_s, ended=ended)

    def notes(self) -> Mapping[str, str]:
        """Return what is left out and no fault."""
        found = {}
        if self._others:
            found["others"] = f"{some(self._others)}: no slices ({', '.join(SLICE_SUFFIXES)})"
        if self._slices.unnumbered:
            found["strangers"] = f"{some(self._slices.unnumbered)}: no number in the name"
        if self._extent_z is not None and self.count > self._extent_z:
            found["beyond"] = f"slices from {self._extent_z} on: beyond the end of the volume"
        return found

    @property
    def count(self) -> int:
        """Slices up to the last that has come."""
        return self._slices.count

    @property
    def changed_s(self) -> float | None:
        """When a look last found something new."""
        return self._slices.steady.changed_s


def some(names: list[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def seen_as(name: str, state: os.stat_result) -> Seen:
    """Return what a look saw of a file."""
    return Seen(name, state.st_size, state.st_mtime_ns)

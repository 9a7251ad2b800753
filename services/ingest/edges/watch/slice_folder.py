"""A folder into which slices are written, one TIFF or MRC file for each z."""

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.services.ingest.arrivals import Rules, Slices
from fibstream.services.ingest.layers import Layer
from fibstream.services.ingest.stability import FileState
from fibstream.volumes.slice_names import is_slice_name
from fibstream.volumes.slices import SLICE_SUFFIXES, Header, read_slice, whole_header

from .growing import ExpectedVolume, file_state, name_list

ITSELF = "itself: it is left out"


class SliceFolder:
    """The slices in a folder, as a ``GrowingVolume``."""

    def __init__(
        self, folder: Path, rules: Rules, expected: ExpectedVolume, end_file: str | None = None
    ) -> None:
        self._folder = folder
        self._end_file = end_file  # is no slice, and needs no note
        self._header: Header = (expected.plane, expected.dtype)
        self._slices = Slices(
            rules, expected.depth, expected.landed, expected.extent_z, again=expected.again
        )
        self._extent_z = expected.extent_z
        self._resumed = False
        self._other_files: list[str] = []
        self._inverted: dict[str, bool] = {}  # of slices that are taken: whether white is 0
        self._refused: set[str] = set()  # slices in which it is not as in those
        self._broken: dict[str, str] = {}  # links, and where they lead instead of to a file

    def poll(self, now_s: float, *, thorough: bool = False) -> None:
        """List the folder, examine what may have changed, check what has become stable."""
        with os.scandir(self._folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        links = {entry.name: _broken(entry) for entry in found if entry.is_symlink()}
        self._broken = {name: leads for name, leads in links.items() if leads}
        names = [entry.name for entry in found if self._broken.get(entry.name) != ITSELF]
        slices = [name for name in names if is_slice_name(name, SLICE_SUFFIXES)]
        for name in self._inverted.keys() - {*slices}:
            del self._inverted[name]
        self._look_again_at_refused()
        known = {*slices, self._end_file}
        self._other_files = [name for name in names if name not in known]
        due = self._slices.due(slices, thorough=thorough)
        self._slices.update(now_s, slices, [file for name in due if (file := self._stat(name))])
        if not self._resumed and not self._slices.empty:
            if why := self._slices.resume():
                raise WrongUse(f"{self._folder}: {why}")
            self._resumed = True
        for file in self._slices.unchecked():
            self._check(file)

    def _stat(self, name: str) -> FileState | None:
        try:
            return file_state(name, (self._folder / name).stat())
        except FileNotFoundError:  # removed since the folder was listed
            return None

    def _check(self, file: FileState) -> None:
        path, checks = self._folder / file.name, self._slices.checks
        try:
            found = whole_header(path)
        except WrongUse as error:
            checks.record(file, str(error))
            return
        (shape, dtype), (found_shape, found_dtype, display) = self._header, found
        if (found_shape, found_dtype) == self._header:
            self._check_polarity(file, inverted=display.inverted)
            return
        checks.record(
            file,
            f"{path} has shape {found_shape} and dtype {found_dtype}; expected {shape} and {dtype}",
            permanent=True,
        )

    def _check_polarity(self, file: FileState, *, inverted: bool) -> None:
        """Record a slice, or why it may not be among the others: white is 0 in one alone."""
        checks, name = self._slices.checks, file.name
        self._inverted.pop(name, None)
        self._look_again_at_refused()
        first, expected = next(iter(self._inverted.items()), (name, inverted))
        if inverted == expected:
            self._inverted[name] = inverted
            checks.record(file)
            return
        self._refused.add(name)
        shown, other = ("white", "black") if inverted else ("black", "white")
        reason = f"{self._folder / name} has {shown} as 0; expected {other} as in {first}"
        checks.record(file, reason, permanent=True)

    def _look_again_at_refused(self) -> None:
        """Forget what was found against slices when none is left that they were unlike."""
        if not self._inverted:
            for name in self._refused:
                self._slices.checks.forget(name)
            self._refused.clear()

    def ready(self, extent_z: int | None) -> list[Layer]:
        """Return the layers all of whose slices are complete."""
        return self._slices.ready(extent_z)

    def begin(self, layer: Layer) -> None:
        """Fix the z of slices."""
        self._slices.begin(layer)

    def read(self, layer: Layer, rows: slice) -> NDArray[Any] | None:
        """Read each slice once, whole, and keep its rows: (z, y, x)."""
        shape, dtype = self._header
        out = np.empty((layer.stop - layer.start, rows.stop - rows.start, shape[1]), dtype)
        for plane, file in zip(out, layer.files, strict=True):
            found = self._read(file)
            if found is None:
                return None
            plane[:] = found[rows]
        return out

    def _read(self, file: FileState) -> NDArray[Any] | None:
        try:
            found, state = read_slice(self._folder / file.name)
        except WrongUse as error:  # a fault that only decoding finds
            self._slices.checks.record(file, str(error))
            return None
        except (FileNotFoundError, PermissionError):  # writers on shares may lock what they change
            self._slices.invalidate(file.name)
            return None
        if file_state(file.name, state) != file:
            self._slices.invalidate(file.name)
            return None
        return found

    def add(self, layer: Layer) -> None:
        """Record a layer that has landed: where one of its slices changes, it lands again."""
        self._slices.landed.add(layer)

    def can_complete(self, extent_z: int) -> bool:
        """Whether all layers of an extent have landed or could land now."""
        return self._slices.can_complete(extent_z)

    def is_complete(self, extent_z: int) -> bool:
        """Whether all layers of an extent have landed and none of their slices is changing."""
        return self._slices.is_complete(extent_z)

    def problems(self, now_s: float, *, ended: bool = False) -> Mapping[str, str]:
        """Return what a person has to act on."""
        broken = {
            f"link {name}": f"{self._folder / name} is a link to {leads}"
            for name, leads in self._broken.items()
            if is_slice_name(name, SLICE_SUFFIXES)
        }
        return broken | dict(self._slices.problems(now_s, ended=ended))

    def notes(self) -> Mapping[str, str]:
        """Return what is left out and no fault."""
        found = {}
        if self._other_files:
            suffixes = ", ".join(SLICE_SUFFIXES)
            found["other files"] = f"{name_list(self._other_files)}: no slices ({suffixes})"
        if self._slices.unnumbered:
            found["unnumbered"] = f"{name_list(self._slices.unnumbered)}: no number in the name"
        if self._extent_z is not None and self.count > self._extent_z:
            found["beyond"] = f"slices from {self._extent_z} on: beyond the end of the volume"
        if any(self._inverted.values()):
            found["inverted"] = (
                "slices are to be shown inverted: create has --invert for bright membranes"
            )
        return found

    @property
    def count(self) -> int:
        """Slices up to the last that has come."""
        return self._slices.count

    @property
    def changed_s(self) -> float | None:
        """When a poll last found something new."""
        return self._slices.files.changed_s


def _broken(entry: os.DirEntry[str]) -> str:
    """Return where a link leads that leads to no file; empty if it does, or nobody knows."""
    try:
        entry.stat()
    except OSError as error:
        return {errno.ELOOP: ITSELF, errno.ENOENT: "nothing: it is waited for"}.get(
            error.errno or 0, ""
        )
    return ""

"""A Zarr array (v2 or v3) that grows along z, or whose chunks appear one by one."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.services.ingest.arrivals import Rules
from fibstream.services.ingest.layers import LandedLayers, Layer
from fibstream.services.ingest.stability import FileState, StableFiles
from fibstream.store.gate import FREE
from fibstream.volumes.formats import Voxels, named_errors
from fibstream.volumes.lengths import agree
from fibstream.volumes.positions import NOWHERE, Place, check_same_place, position_at
from fibstream.volumes.registry import split_path
from fibstream.volumes.zarr_n5.arrays import open_hierarchy
from fibstream.volumes.zarr_n5.chunk_files import ChunkFiles, zarr_files

from .growing import ExpectedVolume, file_state, name_list

MAX_PENDING = 20_000  # storage chunks examined in one poll, beyond those of the next layer
MAX_REMEMBERED = 100_000  # storage chunks of landed layers that are watched on: 30 MB of names


class GrowingZarr:
    """An array below ``path``, which may name an array inside a store after a #.

    A layer is complete when the array covers it and every file that holds a part of it is there
    and stable. Writers fill storage chunks plane by plane, so a stable one need not be full: where
    one of the last ``MAX_REMEMBERED`` is written again, its layers land again.
    """

    def __init__(self, path: str, rules: Rules, expected: ExpectedVolume) -> None:
        self._path = path
        root, self._inside = split_path(path)
        self._root = Path(root)
        self._giveup_s = rules.giveup_s
        self._expected = expected
        self._stable = StableFiles(rules.stable_s)
        self._landed = LandedLayers(() if expected.again else expected.landed)
        self._folder = self._root / self._inside  # of the array, once it is known
        self._metadata: FileState | None = None
        self._files: ChunkFiles | None = None
        self._voxels: Voxels | None = None
        self._window: list[int] = []  # the next layers that have not landed
        self._last: dict[int, Layer] = {}  # layers that landed, the latest last
        self._layers_of: dict[str, list[int]] = {}  # name of a file -> those layers that it holds
        self._now_s = 0.0  # of the last poll
        self._fault: tuple[float, str] | None = None  # why it cannot be read, and since when
        self._overtaken: tuple[int, float] | None = None  # a layer behind later ones, since when

    # -- polls -----------------------------------------------------------------------------------

    def poll(self, now_s: float, *, thorough: bool = False) -> None:
        """Read changed metadata; examine files of the next layers and of the last."""
        self._now_s = now_s
        self._root.stat()  # raises when the share is away
        self._open()
        watched = list(dict.fromkeys((*self._pending(), *self._layers_of)))
        names = self._stable.due(watched, thorough=thorough)
        files = [file for name in names if (file := self._stat(name))]
        found = {file.name for file in files}
        for file in self._stable.update(now_s, files, [n for n in names if n not in found]):
            for index in self._layers_of.get(file.name, ()):
                self._landed.compare(file, index)
        self._find_overtaken()

    def _stat(self, name: str) -> FileState | None:
        try:
            return file_state(name, (self._folder / name).stat())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _stat_metadata(self) -> FileState | None:
        return self._stat("zarr.json") or self._stat(".zarray")

    def _open(self) -> None:
        """Open the array, unless its metadata are those of the last poll."""
        metadata = self._stat_metadata()
        if metadata is not None and metadata == self._metadata:
            return
        try:
            with named_errors(self._path):
                url = f"file://{self._root.resolve()}/{self._inside}"
                voxels = open_hierarchy(url, self._path, "raw", growing=True)
                if voxels is None:
                    raise WrongUse(f"{self._path}: there is no Zarr array yet")
                self._folder = self._root / self._inside / voxels.inside
                metadata = self._stat_metadata()
                files = metadata and zarr_files(self._stored_metadata(metadata.name))
        except WrongUse as error:  # metadata may be half written, so this is not the end
            self._record_fault(str(error))
            return
        if metadata is None or files is None:
            raise WrongUse(f"{self._path}: N5 cannot be watched; expected a Zarr array")
        self._check_expected(voxels)
        if files != self._files:
            self._stable.changed_s = self._now_s
        self._voxels, self._files, self._metadata, self._fault = voxels, files, metadata, None

    def _stored_metadata(self, name: str) -> Any:
        with FREE.open(self._folder / name) as file:
            return json.loads(file.read())

    def _record_fault(self, reason: str) -> None:
        since_s = self._now_s if self._fault is None else self._fault[0]
        self._fault = (since_s, reason)

    def _check_expected(self, found: Voxels) -> None:
        """Raise WrongUse unless an array can become the dataset."""
        expected = self._expected
        if len(found.shape) != 3 or found.shape[1:] != expected.plane:
            y, x = expected.plane
            raise WrongUse(f"{self._path} has shape {found.shape}; expected (z, {y}, {x})")
        if found.dtype.newbyteorder("=") != expected.dtype:
            raise WrongUse(f"{self._path} has dtype {found.dtype.name}; expected {expected.dtype}")
        own, wanted = found.voxel_size_nm, expected.voxel_size_nm
        if own and not agree(own, wanted):
            raise WrongUse(f"{self._path} has the voxel size {own} nm; the dataset has {wanted}")
        if found.position is not None and found.position is not NOWHERE:
            shape = (found.shape[0], found.shape[1], found.shape[2])
            at = position_at(expected.offset_nm, wanted)
            check_same_place(
                Place("the dataset", shape, wanted, at),
                Place(self._path, shape, wanted, found.position),
            )

    def _pending(self) -> list[str]:
        """Return the files of the next layers that have not landed."""
        found: dict[str, None] = {}
        self._window = []
        for index in range(-(-self.count // self._expected.depth)):
            if index in self._landed:
                continue
            names = self._names(index, self.count)
            if found and len(found) + len(names) > MAX_PENDING:
                break
            self._window.append(index)
            found |= dict.fromkeys(names)
        return list(found)

    def _planes(self, index: int, extent_z: int | None) -> tuple[int, int]:
        start, stop = index * self._expected.depth, (index + 1) * self._expected.depth
        return start, stop if extent_z is None else min(stop, extent_z)

    def _names(self, index: int, extent_z: int | None) -> list[str]:
        """Return the files of a layer; none when the array does not cover it."""
        start, stop = self._planes(index, extent_z)
        if self._files is None or stop > self.count or stop <= start:
            return []
        return list(self._files.names(start, stop))

    def _find_overtaken(self) -> None:
        """Find the first layer that waits while a later one is complete."""
        ready = {layer.index for layer in self.ready(None)}
        last = max((*ready, self._landed.top - 1))
        first = next((i for i in self._window if i not in ready and i < last), None)
        if first is None:
            self._overtaken = None
        elif self._overtaken is None or self._overtaken[0] != first:
            self._overtaken = (first, self._now_s)

    # -- landing ---------------------------------------------------------------------------------

    def ready(self, extent_z: int | None) -> list[Layer]:
        """Return the layers all of whose files are there and stable."""
        return [layer for i in self._window if (layer := self._layer(i, extent_z))]

    def _layer(self, index: int, extent_z: int | None) -> Layer | None:
        if index in self._landed:
            return None
        names = self._names(index, extent_z)
        files = tuple(file for name in names if (file := self._stable.get(name)))
        if not files or len(files) < len(names):
            return None
        return Layer(index, *self._planes(index, extent_z), files)

    def begin(self, layer: Layer) -> None:
        """Do nothing: the planes of an array do not move."""

    def read(self, layer: Layer, rows: slice) -> NDArray[Any] | None:
        """Read rows of a layer, (z, y, x), then compare its files with those of the poll."""
        assert self._voxels is not None
        box = Box((layer.start, rows.start, 0), (layer.stop, rows.stop, self._expected.plane[1]))
        try:
            with named_errors(f"{self._path} at {list(box.start)} to {list(box.stop)}"):
                found = self._voxels.fetch(box)
        except WrongUse as error:
            self._record_fault(str(error))
            changed = list(layer.files)
        else:
            self._fault = None
            changed = [file for file in layer.files if self._stat(file.name) != file]
        for file in changed:
            self._stable.invalidate(file.name)
        return None if changed else np.ascontiguousarray(found, self._expected.dtype)

    def add(self, layer: Layer) -> None:
        """Record a layer that has landed; forget the oldest beyond ``MAX_REMEMBERED`` files."""
        self._landed.add(layer)
        dropped: list[FileState] = []
        self._last.pop(layer.index, None)
        self._last[layer.index] = layer
        while len(self._last) > 1 and self._remembered() > MAX_REMEMBERED:
            oldest = self._last.pop(next(iter(self._last)))
            self._landed.forget(oldest)
            dropped.extend(oldest.files)
        self._layers_of = {}
        for kept in self._last.values():
            for file in kept.files:
                self._layers_of.setdefault(file.name, []).append(kept.index)
        for file in (file for file in dropped if file.name not in self._layers_of):
            self._stable.invalidate(file.name)

    def _remembered(self) -> int:
        return sum(len(layer.files) for layer in self._last.values())

    def can_complete(self, extent_z: int) -> bool:
        """Whether all layers of an extent have landed or could land now."""
        ready = {layer.index for layer in self.ready(extent_z)}
        layers = range(-(-extent_z // self._expected.depth))
        return all(index in self._landed or index in ready for index in layers)

    def is_complete(self, extent_z: int) -> bool:
        """Whether all layers of an extent have landed and none of their files is changing."""
        layers = range(-(-extent_z // self._expected.depth))
        landed = all(index in self._landed for index in layers)
        return landed and self._stable.all_stable(self._layers_of)

    # -- problems --------------------------------------------------------------------------------

    def problems(self, now_s: float, *, ended: bool = False) -> Mapping[str, str]:
        """Return what a person has to act on."""
        found = {}
        if self._fault and (ended or now_s - self._fault[0] >= self._giveup_s):
            found[f"fault {self._fault[1]}"] = self._fault[1]
        if self._overtaken and now_s - self._overtaken[1] >= self._giveup_s:
            found[f"waits {self._overtaken[0]}"] = self._missing_line(self._overtaken[0])
        elif ended and self._window:
            found[f"waits {self._window[0]}"] = self._missing_line(self._window[0])
        return found

    def _missing_line(self, index: int) -> str:
        start, stop = self._planes(index, self.count)
        missing = [name for name in self._names(index, self.count) if not self._stable.get(name)]
        return (
            f"{self._path}: planes {start} to {stop - 1} wait for "
            f"{name_list(missing) or 'nothing'}; chunks that hold only zeros have to be written too"
        )

    def notes(self) -> Mapping[str, str]:
        """Return what is left out and no fault: nothing."""
        return {}

    @property
    def count(self) -> int:
        """Planes that the array covers."""
        return self._files.shape[-3] if self._files else 0

    @property
    def changed_s(self) -> float | None:
        """When a poll last found something new."""
        return self._stable.changed_s

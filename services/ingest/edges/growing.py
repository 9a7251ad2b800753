"""A Zarr array (v2 or v3) that is watched while it grows along z, or while its chunks appear."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.services.ingest.arrivals import Rules
from fibstream.services.ingest.steady import Landed, Layer, Seen, Steady
from fibstream.volumes.formats import Voxels, named_errors
from fibstream.volumes.lengths import agree
from fibstream.volumes.zarr_n5.arrays import METADATA, open_hierarchy

from .incoming import Plan, seen_as, some

FILES_A_LOOK = 20_000  # storage chunks looked at in one look, beyond those of the next layer
REMEMBERED = 100_000  # storage chunks of landed layers that are watched on: about 30 MB of names


def split(path: str) -> tuple[Path, str]:
    """Return the store that a path names, and what inside it; a # may belong to a file's name."""
    place, mark, inside = path.rpartition("#")
    return (
        (Path(place), inside.strip("/")) if mark and not Path(path).exists() else (Path(path), "")
    )


def is_zarr(path: str) -> bool:
    """Whether a path means a Zarr store, which may still be empty, and not a folder of slices."""
    root, inside = split(path)
    there = any((root / name).exists() for name in METADATA)
    return bool(inside) or root.suffix.lower() == ".zarr" or there


@dataclass(frozen=True)
class Storage:
    """How a Zarr array lies in files: one for each storage chunk, or shard."""

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    prefix: tuple[str, ...]
    separator: str

    def keys(self, start: int, stop: int) -> Iterator[str]:
        """Yield the names of the files that hold planes ``[start, stop)`` in z."""
        *leading, chunk_z, _, _ = self.chunk
        counts = [-(-n // c) for n, c in zip(self.shape, self.chunk, strict=True)]
        spans = [range(1) for _ in leading]
        spans += [range(start // chunk_z, -(-stop // chunk_z)), *map(range, counts[-2:])]
        for index in product(*spans):
            yield self.separator.join((*self.prefix, *map(str, index)))


def storage_of(document: Mapping[str, Any]) -> Storage:
    """Return how an array lies in files, from its ``zarr.json`` or ``.zarray``."""
    shape = tuple(document["shape"])
    if document["zarr_format"] == 2:
        return Storage(
            shape, tuple(document["chunks"]), (), document.get("dimension_separator", ".")
        )
    chunk = tuple(document["chunk_grid"]["configuration"]["chunk_shape"])
    encoding = document["chunk_key_encoding"]
    default = encoding["name"] == "default"
    separator = encoding.get("configuration", {}).get("separator", "/" if default else ".")
    return Storage(shape, chunk, ("c",) if default else (), separator)


class GrowingZarr:
    """An array below ``path``, which may name what lies inside a store after a #.

    A layer is complete when the array covers it and every file that holds a part of it is there
    and steady. Writers fill storage chunks plane by plane, so a steady one need not be full: where
    one of the last ``REMEMBERED`` is written again, its layers land again.
    """

    def __init__(self, path: str, rules: Rules, plan: Plan) -> None:
        self._path = path
        self._root, self._inside = split(path)
        self._rules = rules
        self._plan = plan
        self._steady = Steady(rules.stable_s)
        self._landed = Landed(() if plan.again else plan.landed)
        self._folder = self._root / self._inside  # of the array, once it is known
        self._state: Seen | None = None  # of its metadata
        self._storage: Storage | None = None
        self._voxels: Voxels | None = None
        self._window: list[int] = []  # the next layers that have not landed
        self._last: dict[int, Layer] = {}  # layers that landed, the latest last
        self._holders: dict[str, list[int]] = {}  # of those: name of a file -> layers it is part of
        self._now_s = 0.0  # of the last look
        self._fault: tuple[float, str] | None = None  # why it cannot be read, and since when
        self._stuck: tuple[int, float] | None = None  # a layer that others overtook, and since when

    # -- looks -----------------------------------------------------------------------------------

    def look(self, now_s: float, *, thorough: bool = False) -> None:
        """Read the metadata where they changed; look at files of the next layers and the last."""
        self._now_s = now_s
        self._root.stat()  # raises when the share is away
        self._open()
        every = list(dict.fromkeys((*self._pending(), *self._holders)))
        names = self._steady.due(every, thorough=thorough)
        seen = [found for name in names if (found := self._stat(name))]
        there = {found.name for found in seen}
        gone = [name for name in names if name not in there]
        for piece in self._steady.look(now_s, seen, gone):
            for index in self._holders.get(piece.name, ()):
                self._landed.hold(piece, index)
        self._overtaken()

    def _stat(self, name: str) -> Seen | None:
        try:
            return seen_as(name, (self._folder / name).stat())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _metadata(self) -> Seen | None:
        return self._stat("zarr.json") or self._stat(".zarray")

    def _open(self) -> None:
        state = self._metadata()
        if state is not None and state == self._state:
            return
        try:
            with named_errors(self._path):
                url = f"file://{self._root.resolve()}/{self._inside}"
                found = open_hierarchy(url, self._path, "raw")
                if found is None:
                    raise WrongUse(f"{self._path}: there is no Zarr array yet")
                self._folder = self._root / self._inside / found.inside
                state = self._metadata()
                storage = state and storage_of(json.loads((self._folder / state.name).read_bytes()))
        except WrongUse as error:  # it may be half written, so this is not the end
            self._failed(str(error))
            return
        if state is None or storage is None:
            raise WrongUse(f"{self._path}: N5 cannot be watched; expected a Zarr array")
        self._refuse_other(found)
        if storage != self._storage:
            self._steady.changed_s = self._now_s
        self._voxels, self._storage, self._state, self._fault = found, storage, state, None

    def _failed(self, reason: str) -> None:
        since_s = self._now_s if self._fault is None else self._fault[0]
        self._fault = (since_s, reason)

    def _refuse_other(self, found: Voxels) -> None:
        plan = self._plan
        if len(found.shape) != 3 or found.shape[1:] != plan.plane:
            y, x = plan.plane
            raise WrongUse(f"{self._path} has shape {found.shape}; expected (z, {y}, {x})")
        if found.dtype.newbyteorder("=") != plan.dtype:
            raise WrongUse(f"{self._path} has dtype {found.dtype.name}; expected {plan.dtype}")
        own, wanted = found.voxel_size_nm, plan.voxel_size_nm
        if own and not agree(own, wanted):
            raise WrongUse(f"{self._path} has the voxel size {own} nm; the dataset has {wanted}")

    def _pending(self) -> list[str]:
        """Return the files of the next layers that have not landed."""
        found: dict[str, None] = {}
        self._window = []
        for index in range(-(-self.count // self._plan.depth)):
            if index in self._landed:
                continue
            keys = self._keys(index, self.count)
            if found and len(found) + len(keys) > FILES_A_LOOK:
                break
            self._window.append(index)
            found |= dict.fromkeys(keys)
        return list(found)

    def _planes(self, index: int, extent_z: int | None) -> tuple[int, int]:
        start, stop = index * self._plan.depth, (index + 1) * self._plan.depth
        return start, stop if extent_z is None else min(stop, extent_z)

    def _keys(self, index: int, extent_z: int | None) -> list[str]:
        """Return the files of a layer; none when the array does not cover it."""
        start, stop = self._planes(index, extent_z)
        if self._storage is None or stop > self.count or stop <= start:
            return []
        return list(self._storage.keys(start, stop))

    def _overtaken(self) -> None:
        """Note the first layer that waits while a later one is complete."""
        able = {layer.index for layer in self.ready(None)}
        last = max((*able, self._landed.top - 1))
        first = next((i for i in self._window if i not in able and i < last), None)
        if first is None:
            self._stuck = None
        elif self._stuck is None or self._stuck[0] != first:
            self._stuck = (first, self._now_s)

    # -- landing ---------------------------------------------------------------------------------

    def ready(self, extent_z: int | None) -> list[Layer]:
        """Return the layers all of whose files are there and steady."""
        return [layer for i in self._window if (layer := self._layer(i, extent_z))]

    def _layer(self, index: int, extent_z: int | None) -> Layer | None:
        if index in self._landed:
            return None
        pieces = []
        for key in self._keys(index, extent_z):
            piece = self._steady.get(key)
            if piece is None:
                return None
            pieces.append(piece)
        if not pieces:
            return None
        return Layer(index, *self._planes(index, extent_z), tuple(pieces))

    def begin(self, layer: Layer) -> None:
        """Nothing moves in an array."""

    def read(self, layer: Layer, rows: slice) -> NDArray[Any] | None:
        """Read rows of a layer, then look whether its files are still what they were."""
        assert self._voxels is not None
        box = Box((layer.start, rows.start, 0), (layer.stop, rows.stop, self._plan.plane[1]))
        try:
            with named_errors(f"{self._path} at {list(box.start)} to {list(box.stop)}"):
                found = self._voxels.fetch(box)
        except WrongUse as error:
            self._failed(str(error))
            changed = list(layer.pieces)
        else:
            self._fault = None
            changed = [piece for piece in layer.pieces if self._stat(piece.name) != piece]
        for piece in changed:
            self._steady.invalidate(piece.name)
        return None if changed else np.ascontiguousarray(found, self._plan.dtype)

    def add(self, layer: Layer) -> None:
        """Remember what a layer was made of, and forget the oldest of what is too much."""
        self._landed.add(layer)
        dropped: list[Seen] = []
        self._last.pop(layer.index, None)
        self._last[layer.index] = layer
        while len(self._last) > 1 and sum(len(o.pieces) for o in self._last.values()) > REMEMBERED:
            oldest = self._last.pop(next(iter(self._last)))
            self._landed.forget(oldest)
            dropped.extend(oldest.pieces)
        self._holders = {}
        for kept in self._last.values():
            for piece in kept.pieces:
                self._holders.setdefault(piece.name, []).append(kept.index)
        for piece in (piece for piece in dropped if piece.name not in self._holders):
            self._steady.invalidate(piece.name)

    def able(self, extent_z: int) -> bool:
        """Whether all layers of an extent have landed or could land now."""
        able = {layer.index for layer in self.ready(extent_z)}
        layers = range(-(-extent_z // self._plan.depth))
        return all(index in self._landed or index in able for index in layers)

    def done(self, extent_z: int) -> bool:
        """Whether all layers of an extent have landed and none of their files is changing."""
        layers = range(-(-extent_z // self._plan.depth))
        return all(index in self._landed for index in layers) and self._steady.calm(self._holders)

    # -- what holds it up ------------------------------------------------------------------------

    def problems(self, now_s: float, *, ended: bool = False) -> Mapping[str, str]:
        """Return what a person has to see to."""
        found, giveup_s = {}, self._rules.giveup_s
        if self._fault and (ended or now_s - self._fault[0] >= giveup_s):
            found[f"fault {self._fault[1]}"] = self._fault[1]
        if self._stuck and now_s - self._stuck[1] >= giveup_s:
            found[f"stuck {self._stuck[0]}"] = self._missing(self._stuck[0])
        elif ended and self._window:
            found[f"stuck {self._window[0]}"] = self._missing(self._window[0])
        return found

    def _missing(self, index: int) -> str:
        start, stop = self._planes(index, self.count)
        wait = [key for key in self._keys(index, self.count) if self._steady.get(key) is None]
        return (
            f"{self._path}: planes {start} to {stop - 1} wait for {some(wait) or 'nothing'}; "
            "chunks that hold only zeros have to be written too"
        )

    def notes(self) -> Mapping[str, str]:
        """Return what is left out and no fault: nothing."""
        return {}

    @property
    def count(self) -> int:
        """Planes that the array covers."""
        return self._storage.shape[-3] if self._storage else 0

    @property
    def changed_s(self) -> float | None:
        """When a look last found something new."""
        return self._steady.changed_s

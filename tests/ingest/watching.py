"""What the tests of the watcher share: ports, a simulated microscope, writers of slices."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import tifffile
from numpy.typing import NDArray

from fibstream.bus.memory import MemoryBus
from fibstream.core.errors import Retryable
from fibstream.core.grid import Grid, Index
from fibstream.core.stage import RAW, Input
from fibstream.runtime.loops import drive
from fibstream.runtime.site import Site
from fibstream.services.ingest.arrivals import Rules
from fibstream.services.ingest.edges.landing import land
from fibstream.services.ingest.edges.watch.ending import EndCondition
from fibstream.services.ingest.edges.watch.port import Port
from fibstream.services.ingest.edges.watch.watcher import Watcher, WatchSettings
from fibstream.store.local import LocalFiles
from fibstream.store.store import Blob, Store

CHUNK = (4, 5, 6)
PLANE = (12, 13)  # short last chunks in y and x
VOLUME = np.random.default_rng(11).integers(1, 60_000, (10, *PLANE)).astype(np.uint16)
SIZE = (8.0, 8.0, 8.0)
LAYER = 9  # chunks in a layer

Event = Callable[[], object] | None  # what happens in the folder; True stops the watcher


@dataclass(frozen=True)
class Info:
    """A dataset as a port describes it."""

    name: str
    shape: tuple[int | None, int, int]
    chunk: Index
    dtype: str
    voxel_size_nm: tuple[float, float, float]
    landed: frozenset[Index]
    offset_nm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    downsample: Index = (1, 1, 1)
    absent_value: float | None = None
    absent_mask: bool = False
    predictions: Mapping[str, float] = field(default_factory=dict)


class MemoryPort:
    """A dataset in memory that keeps what ``fibstream.Client`` promises, and counts calls."""

    def __init__(self, dtype: str = "uint16", extent_z: int | None = None) -> None:
        self.grid = Grid((extent_z, *PLANE), CHUNK)
        self.dtype = dtype
        self.chunks: dict[Index, NDArray[Any]] = {}
        self.calls: Counter[str] = Counter()
        self.away = 0
        self.absent_value: float | None = None
        self.absent_mask = False
        self.predictions: Mapping[str, float] = {}

    def _call(self, what: str) -> None:
        if self.away:
            self.away -= 1
            raise Retryable("the server is away")
        self.calls[what] += 1

    def info(self, dataset: str) -> Info:
        self._call("info")
        landed = frozenset(self.chunks)
        return Info(
            dataset, self.grid.shape, CHUNK, self.dtype, SIZE, landed,
            absent_value=self.absent_value, absent_mask=self.absent_mask,
            predictions=self.predictions,
        )  # fmt: skip

    def land(
        self, dataset: str, index: Index, voxels: NDArray[Any], *, revision: int | None = None
    ) -> str:
        self._call("land")
        assert voxels.dtype == self.dtype
        assert voxels.flags.c_contiguous
        assert voxels.shape == self.grid.box(index).shape, "a short chunk before the seal"
        if index in self.chunks and np.array_equal(self.chunks[index], voxels):
            return "unchanged"
        self.chunks[index] = voxels.copy()
        return "written"

    def absent(self, dataset: str, index: Index, *, revision: int | None = None) -> str:
        self._call("absent")
        self.chunks[index] = np.zeros(self.grid.box(index).shape, self.dtype)
        return "written"

    def seal(self, dataset: str, extent_z: int | None = None) -> int:
        self._call("seal")
        assert self.grid.shape[0] is None
        assert extent_z is not None
        self.grid = Grid((extent_z, *PLANE), CHUNK)
        return extent_z

    @property
    def extent(self) -> int | None:
        return self.grid.shape[0]

    def volume(self, depth: int | None = None) -> NDArray[Any]:
        """Return the chunks that have landed, joined; the others are 0."""
        out = np.zeros((depth or self.extent or 0, *PLANE), self.dtype)
        for index, voxels in self.chunks.items():
            out[self.grid.box(index).slices()] = voxels
        return out


class InterruptedPort(MemoryPort):
    """A port on which ``event`` happens while the first chunk lands."""

    event: Callable[[], object] | None = None

    def land(
        self, dataset: str, index: Index, voxels: NDArray[Any], *, revision: int | None = None
    ) -> str:
        if self.event is not None:
            event, self.event = self.event, None
            event()
        return super().land(dataset, index, voxels, revision=revision)


class StorePort:
    """The dataset as the service keeps it: real landings, in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(exist_ok=True)
        self.site = Site("d", Store(LocalFiles(root), Grid((None, *PLANE), CHUNK)), MemoryBus())

    def info(self, dataset: str) -> Info:
        landed = frozenset(self.site.store.chunks(RAW))
        return Info(dataset, self.site.store.grid.shape, CHUNK, "uint16", SIZE, landed)

    def land(
        self, dataset: str, index: Index, voxels: NDArray[Any], *, revision: int | None = None
    ) -> str:
        return drive(land(self.site, index, voxels, "uint16", revision))

    def absent(self, dataset: str, index: Index, *, revision: int | None = None) -> str:
        return drive(land(self.site, index, None, "uint16", revision))

    def seal(self, dataset: str, extent_z: int | None = None) -> int:
        assert extent_z is not None
        self.site.store.grid = Grid((extent_z, *PLANE), CHUNK)
        return extent_z

    def volume(self) -> NDArray[Any]:
        store, out = self.site.store, np.zeros(VOLUME.shape, np.uint16)
        for index in store.grid.indices():
            blob, box = Blob(RAW, index, "uint16"), store.grid.box(index)
            stamp = store.intact(blob)
            assert stamp is not None
            patch = store.read(Input(RAW, RAW, "uint16"), box, {index: stamp.hash})
            out[box.slices()] = patch.array
        return out


class Microscope:
    """A clock: each pause advances it, and then the next event happens in the folder."""

    def __init__(self, events: Iterable[Event] = (), limit: int = 300) -> None:
        self.now = 0.0
        self.lines: list[str] = []
        self.waits: list[float] = []
        self._events = iter(events)
        self._limit = limit

    def pause(self, wait_s: float) -> bool:
        if wait_s == 0:
            return False
        self.waits.append(wait_s)
        self.now += wait_s
        assert len(self.waits) < self._limit, self.lines
        event = next(self._events, None)
        return event is not None and event() is True

    @property
    def text(self) -> str:
        """All lines that were reported."""
        return "\n".join(self.lines)


def watcher(
    folder: Path,
    port: Port,
    scope: Microscope,
    end: EndCondition | None = None,
    *,
    settings: WatchSettings | None = None,
    **rules: Any,
) -> Watcher:
    return Watcher(
        str(folder), "d", port, rules=Rules(**rules), end=end or EndCondition(),
        settings=settings or WatchSettings(), clock=lambda: scope.now, pause=scope.pause,
        report=scope.lines.append,
    )  # fmt: skip


def stop() -> bool:
    return True


def tif(path: Path, plane: NDArray[Any], **options: Any) -> None:
    tifffile.imwrite(path, plane, **options)


def deflated(path: Path, plane: NDArray[Any]) -> None:
    tif(path, plane, compression="zlib", rowsperstrip=3)


def tiled(path: Path, plane: NDArray[Any]) -> None:
    tif(path, plane, compression="lzw", tile=(16, 16), byteorder=">")


def mrc(path: Path, plane: NDArray[Any]) -> None:
    with mrcfile.new(path, plane, overwrite=True) as file:
        file.voxel_size = (80, 80, 80)


KINDS: dict[str, tuple[str, Callable[[Path, NDArray[Any]], None]]] = {
    "plain": (".tif", tif),
    "deflated": (".tiff", deflated),
    "tiled": (".TIF", tiled),
    "mrc": (".mrc", mrc),
}


def fill(
    folder: Path, planes: Iterable[int], kind: str = "plain", volume: NDArray[Any] = VOLUME
) -> None:
    suffix, write = KINDS[kind]
    for z in planes:
        write(folder / f"slice_{z + 8}{suffix}", volume[z])  # 8, 9, 10: not the order of letters


def encoded(tmp_path: Path, kind: str, plane: NDArray[Any]) -> bytes:
    suffix, write = KINDS[kind]
    write(tmp_path / f"whole{suffix}", plane)
    return (tmp_path / f"whole{suffix}").read_bytes()

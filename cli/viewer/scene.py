"""The current contents of a dataset, as a scene for the viewer."""

import contextlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.app.catalogue import Segmentation, grey_arrays, segmentations
from fibstream.app.colours import Colouring, colours
from fibstream.app.grey import middle
from fibstream.app.grey import window as window_of
from fibstream.app.parquet import read_parquet
from fibstream.app.planes import shapes
from fibstream.bus import wire
from fibstream.bus.reading import event_of
from fibstream.bus.sqlite import SqliteBus
from fibstream.core.dataset import Dataset
from fibstream.core.errors import FibstreamError
from fibstream.core.events import ObjectChanged
from fibstream.core.grid import Box
from fibstream.core.rules import object_rules
from fibstream.runtime.root import bus_path
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset
from fibstream.volumes.sources import open_volume

from .port import DataUrl, MeshUrl
from .state import Layer, Objects, Scene, raw_window
from .surface import surface

MESH_VOXELS = 2_000_000  # of the box of an object: 1 s; larger ones are taken at a coarser level
MAX_ID = 2**64 - 1
COLUMNS = ("id", "voxels", *(f"{end}_{axis}" for end in ("min", "max") for axis in "zyx"))

Table = dict[str, NDArray[Any]]


class ViewableDataset:
    """A dataset of `fibstream run` or of running services, finished or growing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._log = ObjectLog(bus_path(root))
        self._colours: dict[str, tuple[int, Callable[..., NDArray[np.uint8]]]] = {}
        self._windows: dict[str, tuple[float, float]] = {}

    def groups(self) -> list[str]:
        """Return raw, predictions, other grey arrays and labels, as far as they exist."""
        dataset = self._dataset()
        wanted = ["raw", *(prediction.path for prediction in dataset.predictions)]
        wanted += [array.name for array in grey_arrays(dataset, LocalFiles(self.root))]
        wanted += [found.group for found in self._segmentations(dataset)]
        wanted += self._light()
        return [group for group in wanted if (self.root / group / "zarr.json").is_file()]

    def scene(self, data: DataUrl, meshes: MeshUrl) -> Scene:
        """Return all that the dataset shows; the panels meet in the middle."""
        dataset, groups = self._dataset(), self.groups()
        segmented = {found.group for found in self._segmentations(dataset)}
        layers = []
        for group in groups:
            kind, _, name = group.partition("/")
            url = f"{data(group)}|zarr3:"
            if kind == "raw":
                window = raw_window(dataset.contrast, invert=dataset.invert)
                layers.append(Layer("raw", "raw", url, window=window))
            elif kind == "predictions":
                layers.append(Layer(f"prediction {name}", "prediction", url))
            elif kind == "lm":
                layers.append(Layer(group, "light", url, window=self.window(group)))
            elif group not in segmented:  # of a stage that knows what its grey values mean
                layers.append(Layer(group, "raw", url, window=self.window(group), hidden=True))
            else:
                objects = self.objects(group)
                surfaces = f"{meshes(group, objects.rows)}|neuroglancer-precomputed:"
                title = group.removeprefix("labels/")
                layers.append(Layer(title, "labels", url, objects=objects, meshes=surfaces))
        return Scene(
            dataset.name, dataset.voxel_size_nm, self._shape(dataset), self._focus(dataset),
            tuple(layers),
        )  # fmt: skip

    def _light(self) -> list[str]:
        """Return the light channels that a registration has put on the dataset's grid."""
        names = sorted(path.parent.name for path in self.root.glob("registration/*/report.json"))
        return [f"lm/{name}" for name in names]

    def _segmentations(self, dataset: Dataset) -> list[Segmentation]:
        return segmentations(dataset, LocalFiles(self.root))

    def _dataset(self) -> Dataset:
        return read_dataset(LocalFiles(self.root))

    def _shape(self, dataset: Dataset) -> tuple[int, int, int]:
        """Return the extent so far: z may be open."""
        z, y, x = dataset.shape
        with contextlib.suppress(OSError, ValueError, LookupError):
            z = z or json.loads((self.root / "raw/s0/zarr.json").read_text())["shape"][0]
        return max(z or 0, 1), y, x

    def _focus(self, dataset: Dataset) -> tuple[float, float, float]:
        """Return the voxel in the middle; while the volume grows, the landed one nearest to it.

        Chunks are stored in folders named by their index along z and y: only the nearest folder is
        listed at each step, not all of a million chunks.
        """
        folder, found = self.root / "raw/s0/c", []
        for extent, edge in zip(self._shape(dataset), dataset.chunk, strict=True):
            middle = (extent - 1) // 2
            with contextlib.suppress(OSError):
                indices = [int(p.name) for p in folder.iterdir() if p.name.isdecimal()]
                nearest = [min(max(middle, n * edge), (n + 1) * edge - 1) for n in indices]
                if indices:
                    middle = min(nearest, key=lambda voxel: abs(voxel - middle))
                    folder /= str(middle // edge)
            found.append(float(middle))
        z, y, x = found
        return z, y, x

    def objects(self, group: str) -> Objects:
        """Return the objects of the table, the largest first, then those that are open."""
        rows, name = self._table(group), group.removeprefix("labels/")
        ids = np.zeros(0, np.uint64) if rows is None else rows["id"].astype(np.uint64)
        voxels = np.zeros(0, np.int64) if rows is None else rows["voxels"]
        known, rules = set(ids.tolist()), object_rules(self._dataset())
        more = [n for n in self._log.alive(name, rules.get(name, "")) if n not in known]
        return Objects(
            np.concatenate([ids, np.array(more, np.uint64)]), voxels, len(ids),
            self._colouring(group, rows), name.rpartition("/")[2],
        )  # fmt: skip

    def _colouring(self, group: str, rows: Table | None) -> Callable[..., NDArray[np.uint8]]:
        """Return the colours of a table's objects: found once for each table, it takes a second."""
        if rows is None:
            return colours
        key = hash(b"".join(rows[name].tobytes() for name in COLUMNS))
        if self._colours.get(group, (0, colours))[0] != key:
            low, high = (
                np.stack([rows[f"{end}_{a}"] for a in "zyx"], axis=-1).astype(np.int64)
                for end in ("min", "max")
            )
            size = self._dataset().voxel_size_nm
            self._colours[group] = key, Colouring(rows["id"].astype(np.uint64), low, high, size)
        return self._colours[group][1]

    def window(self, group: str) -> tuple[float, float] | None:
        """Return the grey values of black and white, once there are two; then they stay."""
        if group not in self._windows:
            coarsest = len(shapes(self.root / group)) - 1
            # Of a type that is no volume's, or damaged: shown in the window of its type.
            with contextlib.suppress(FibstreamError):
                source = open_volume(f"{self.root / group}/s{coarsest}", kind="any")
                sample = middle(source)
                source.close()
                if sample.min() < sample.max():
                    self._windows[group] = window_of(source, sample)
        return self._windows.get(group)

    def _table(self, group: str) -> Table | None:
        path = self.root / "tables" / f"{group.removeprefix('labels/')}.parquet"
        if not path.is_file():
            return None
        read = read_parquet(path, COLUMNS)
        rows = {name: read[name].to_numpy() for name in COLUMNS}
        order = np.lexsort((rows["id"], -rows["voxels"]))
        return {name: values[order] for name, values in rows.items()}

    def mesh(self, group: str, number: int) -> bytes | None:
        """Cut an object out of the labels, at the level at which its box is small enough."""
        rows = self._table(group)
        if rows is None or number > MAX_ID or number not in rows["id"]:
            return None
        row = np.flatnonzero(rows["id"] == np.uint64(number))[0]
        low, high = (
            np.array([int(rows[f"{end}_{a}"][row]) for a in "zyx"]) for end in ("min", "max")
        )
        dataset = self._dataset()
        level = 0
        while level + 1 < dataset.levels and np.prod((high - low >> level) + 1) > MESH_VOXELS:
            level += 1
        inside = self._mask(group, level, low >> level, (high >> level) + 1, number)
        vertices, triangles = surface(inside)
        # A coarse voxel's centre lies between those that it stands for.
        voxels = (vertices + (low >> level)) * 2**level + (2**level - 1) / 2
        return fragment(voxels * np.array(dataset.voxel_size_nm), triangles)

    def _mask(
        self, group: str, level: int, start: NDArray[Any], stop: NDArray[Any], number: int
    ) -> NDArray[np.bool_]:
        source = open_volume(f"{self.root / group}/s{level}", kind="labels", growing=True)
        stop = np.minimum(stop, source.shape)
        a, b = tuple(start.tolist()), tuple(stop.tolist())
        inside: NDArray[np.bool_] = source.read(Box(a, b)) == number
        source.close()
        return inside


def fragment(vertices_nm: NDArray[Any], triangles: NDArray[np.uint32]) -> bytes:
    """Return a surface as a fragment of Neuroglancer's legacy meshes; vertices are (z, y, x)."""
    xyz = np.ascontiguousarray(vertices_nm[:, ::-1], "<f4")
    count = np.array([len(xyz)], "<u4")
    return count.tobytes() + xyz.tobytes() + triangles.astype("<u4").tobytes()


class ObjectLog:
    """The objects in the log of a dataset, which is read on from where it was read to.

    A shared bus (Kafka) is not read: there, only rows of the table have our colours.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._after = 0
        self._alive: dict[tuple[str, str], dict[int, int]] = {}  # by organelle and rule

    def alive(self, organelle: str, rule: str) -> list[int]:
        """Return the ids of objects of these settings that still exist, the largest first."""
        # A log that cannot be read costs colours, not the view: the volume may be read-only.
        if self._path.is_file():
            with contextlib.suppress(FibstreamError, sqlite3.Error, OSError):
                self._read()
        known = self._alive.get((organelle, rule), {})
        return sorted(known, key=lambda n: (-known[n], n))

    def _read(self) -> None:
        bus = SqliteBus(self._path)
        try:
            while entries := bus.read([wire.OBJECTS], self._after):
                for entry in entries:
                    self._take(event_of(entry))
                self._after = entries[-1].offset
        finally:
            bus.close()

    def _take(self, change: object) -> None:
        if isinstance(change, ObjectChanged):
            known = self._alive.setdefault((change.organelle, change.rule), {})
            if change.kind in ("merged_into", "withdrawn"):
                known.pop(change.id, None)
            else:
                known[change.id] = change.voxels

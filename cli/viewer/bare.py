"""A Zarr array or multiscale group without a dataset around it, as a scene for the viewer."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.app.grey import middle, window
from fibstream.core.errors import WrongUse
from fibstream.volumes.sources import open_volume

from .port import DataUrl, MeshUrl
from .state import Kind, Layer, Objects, Scene

FULL = 0.5  # of the middle: labels of more than this would hide what lies below them
FORMATS = {"zarr.json": "zarr3", ".zarray": "zarr2", ".zgroup": "zarr2"}


class ViewableArray:
    """One array; axes are those of its metadata, else (z, y, x)."""

    def __init__(self, path: str, voxel_size_nm: tuple[float, float, float] | None = None) -> None:
        place, _, inside = path.partition("#")
        self.root = Path(place)
        if not any((self.root / inside / name).is_file() for name in FORMATS):
            raise WrongUse(f"{path}: neither a dataset nor a Zarr array or group; expected one")
        self._source = open_volume(path, voxel_size_nm=voxel_size_nm)
        chosen = self._source.name.removeprefix(place).lstrip("#").strip("/")
        above = str(Path(chosen).parent) if chosen else "."
        # A path to an array shows that level alone; a path to a group shows all levels.
        whole = chosen != inside.strip("/") and _multiscale(self.root / above)
        self._group = ("" if above == "." else above) if whole else chosen
        self._single = not whole

    def groups(self) -> list[str]:
        """Return the one group or array that is shown."""
        return [self._group]

    def scene(self, data: DataUrl, meshes: MeshUrl) -> Scene:  # noqa: ARG002
        """Return the one layer, the panels meeting in its middle."""
        source = self._source
        name = Path(self._group).name or self.root.stem
        found = next(k for k in FORMATS if (self.root / self._group / k).is_file())
        kind = self._kind()
        sample = middle(source)
        layer = Layer(
            name, kind, f"{data(self._group)}|{FORMATS[found]}:",
            window=window(source, sample) if kind == "raw" else None,
            objects=_objects(sample) if kind == "labels" else None,
            transform=self._transform() if self._single else None,
        )  # fmt: skip
        z, y, x = (float((n - 1) // 2) for n in source.shape)
        return Scene(self.root.stem, source.voxel_size_nm, source.shape, (z, y, x), (layer,))

    def mesh(self, group: str, number: int) -> bytes | None:  # noqa: ARG002
        """Return None: without a table the boxes of objects are unknown."""
        return None

    def objects(self, group: str) -> Objects:  # noqa: ARG002
        """Return no objects."""
        return Objects(np.zeros(0, np.uint64))

    def _kind(self) -> Kind:
        named = "labels" in (*self.root.parts, *Path(self._group).parts)
        wide = self._source.dtype.kind in "ui" and self._source.dtype.itemsize > 2
        return "labels" if wide or (named and self._source.dtype.kind != "f") else "raw"

    def _transform(self) -> dict[str, Any]:
        """Return the axes of a single array, in the order in which it is stored."""
        sizes = zip("zyx", self._source.voxel_size_nm, strict=True)
        axes = {axis: [size * 1e-9, "m"] for axis, size in sizes}
        return {"inputDimensions": axes, "outputDimensions": axes}


class ViewableGroup:
    """Several arrays in one group that is no dataset, such as a phantom: one layer each."""

    def __init__(
        self, root: Path, names: list[str], voxel_size_nm: tuple[float, float, float] | None = None
    ) -> None:
        self.root = root
        self._parts = {name: ViewableArray(f"{root}#{name}", voxel_size_nm) for name in names}

    def groups(self) -> list[str]:
        """Return the arrays and multiscale groups that are shown."""
        return [group for part in self._parts.values() for group in part.groups()]

    def scene(self, data: DataUrl, meshes: MeshUrl) -> Scene:
        """Return one layer for each, the panels meeting in the middle of the first."""
        scenes = {name: part.scene(data, meshes) for name, part in self._parts.items()}
        layers = [_among_others(name, s.layers[0]) for name, s in scenes.items()]
        return replace(next(iter(scenes.values())), layers=tuple(layers))

    def mesh(self, group: str, number: int) -> bytes | None:  # noqa: ARG002
        """Return None: without a table the boxes of objects are unknown."""
        return None

    def objects(self, group: str) -> Objects:  # noqa: ARG002
        """Return no objects."""
        return Objects(np.zeros(0, np.uint64))


def _among_others(name: str, layer: Layer) -> Layer:
    """Return a layer as it is shown beside others: it must not cover them."""
    if name.startswith("predictions/"):
        return replace(layer, name=f"prediction {layer.name}", kind="prediction", window=None)
    if name.startswith("lm/"):
        return replace(layer, name=name, kind="light")
    full = layer.objects is not None and layer.objects.share > FULL
    return replace(layer, hidden=full)


def _multiscale(group: Path) -> bool:
    for name in ("zarr.json", ".zattrs"):
        if (group / name).is_file():
            found = json.loads((group / name).read_text())
            attributes = found.get("attributes", found)
            return "multiscales" in attributes.get("ome", attributes)
    return False


def _objects(middle: NDArray[Any]) -> Objects:
    """Return the ids in the middle of a volume: others have Neuroglancer's colours."""
    ids, counts = np.unique(middle, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    labelled = 1.0 - float(counts[ids == 0].sum()) / middle.size
    return Objects(ids[order][ids[order] > 0].astype(np.uint64), share=labelled)

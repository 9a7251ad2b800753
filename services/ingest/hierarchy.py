"""Arrays in a Zarr (v2, v3) or N5 hierarchy: which one is meant, its voxel size, its voxels.

A place in a hierarchy is a *key*: the path below the root of a key-value store, which is the file
system or a bucket.  Zarr states axes as (z, y, x), N5 as (x, y, z); what leaves is (z, y, x).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fibstream.errors import WrongUse
from fibstream.grid import Box
from fibstream.remote import kvstore

from .formats import CACHE_BYTES, Voxels, unit_nm, without_leading

Kind = Literal["raw", "prediction", "labels", "any"]
METADATA = ("zarr.json", ".zarray", ".zgroup", "attributes.json")  # one makes a folder a node
ZYX = ("z", "y", "x")
FOLDERS = {"prediction": "predictions", "labels": "labels"}  # a dataset's groups, one thing each

Level = tuple[dict[str, Any], dict[str, Any]]  # a multiscale image, and its entry of one array


@dataclass(frozen=True)
class Node:
    """One array or group, and what its metadata say."""

    key: PurePosixPath
    driver: str  # tensorstore's name of the format; empty for a bare folder
    is_array: bool
    attributes: dict[str, Any]


class Hierarchy:
    """Groups and arrays below one URL (file://, s3:// or gs://)."""

    def __init__(self, root: str) -> None:
        import tensorstore

        place = root if root.startswith("file:") else kvstore(root)
        self.store = tensorstore.KvStore.open(place).result()
        self.local = root == "file:///"

    def node(self, key: PurePosixPath) -> Node | None:
        """Return the array or group at ``key``, if there is one."""
        if (found := self._json(key / "zarr.json")) is not None:
            is_array = found["node_type"] == "array"
            return Node(key, "zarr3", is_array, found.get("attributes", {}))
        is_array = self._json(key / ".zarray") is not None
        if is_array or self._json(key / ".zgroup") is not None:
            return Node(key, "zarr", is_array, self._json(key / ".zattrs") or {})
        if (found := self._json(key / "attributes.json")) is not None:
            return Node(key, "n5", "dimensions" in found and "dataType" in found, found)
        return None

    def _json(self, key: PurePosixPath) -> dict[str, Any] | None:
        read = self.store.read(str(key)).result()
        if read.state != "value":
            return None
        try:
            found = json.loads(read.value)
        except ValueError as error:
            raise ValueError(f"{key.name}: {error}") from error
        if not isinstance(found, dict):
            raise ValueError(f"{key.name} is not a JSON object")
        return found

    def children(self, key: PurePosixPath) -> list[Node]:
        """Return what a group holds, by name; a bucket is not listed, for it holds every chunk."""
        folder = Path("/", key)
        if not self.local or not folder.is_dir():
            return []
        nodes = (self.node(key / path.name) for path in sorted(folder.iterdir()) if path.is_dir())
        return [node for node in nodes if node]

    def open(self, node: Node) -> Any:
        """Return the array as a tensorstore, (z, y, x)."""
        import tensorstore

        place = (self.store / f"{node.key}/".removeprefix("./")).spec().to_json()
        cache = {"cache_pool": {"total_bytes_limit": CACHE_BYTES}}
        spec = {"driver": node.driver, "kvstore": place, "context": cache}
        array = tensorstore.open(spec, open=True, read=True).result()
        return without_leading(array.T if node.driver == "n5" else array)


def open_hierarchy(url: str, name: str, kind: Kind) -> Voxels | None:
    """Return the array meant by ``url``, or None if no array or group is there.

    Parameters
    ----------
    url : str
        Of an array; of a multiscale group, then its first level is meant; of a group (a dataset),
        then the only thing of the wanted kind.
    name : str
        How messages call it.
    kind : {"raw", "prediction", "labels", "any"}
        What is wanted of a dataset.

    Raises
    ------
    WrongUse
        If nothing, or more than one thing, of that kind is there.
    """
    scheme, _, path = url.partition("://")
    bucket, _, rest = path.partition("/")
    hierarchy, key = Hierarchy(f"{scheme}://{bucket}/"), PurePosixPath(rest)
    node = hierarchy.node(key)
    if node is None and not hierarchy.children(key):
        return None
    node = node or Node(key, "", False, {})
    while not node.is_array:
        node = _step(hierarchy, node, name, kind)
    levels = list(_levels_above(hierarchy, node))
    if node.driver != "n5":
        _refuse_other_axes(levels, name)
    array = hierarchy.open(node)

    def fetch(box: Box) -> NDArray[Any]:
        voxels: NDArray[Any] = array[box.slices()].read().result()
        return voxels

    inside = "" if node.key == key else str(node.key.relative_to(key))
    size = _voxel_size_nm(hierarchy, node, levels)
    return Voxels(tuple(array.shape), np.dtype(array.dtype.numpy_dtype), size, fetch, inside=inside)


def _step(hierarchy: Hierarchy, group: Node, name: str, kind: Kind) -> Node:
    """Return the node inside a group that is meant, one step or more nearer to an array."""
    # The labels of an image lie inside its group: whoever wants labels does not mean the image.
    image_of_labels = kind == "labels" and hierarchy.children(group.key / "labels")
    if not image_of_labels and (full := _full_level(hierarchy, group, name)):
        return full
    choices = _things(hierarchy, group, kind)
    if len(choices) == 1:
        return choices[0]
    wanted = "array" if kind == "any" else kind
    if not choices:
        raise WrongUse(f"{name} is a group that holds no {wanted}; give STORE#GROUP/ARRAY")
    names = ", ".join(f"{name}#{node.key.relative_to(group.key)}" for node in choices)
    raise WrongUse(f"{name} holds more than one {wanted}; give one of {names}")


def _full_level(hierarchy: Hierarchy, group: Node, name: str) -> Node | None:
    """Return the first level of a multiscale group; without metadata it is called s0."""
    stated = [level["path"] for scales in _multiscales(group) for level in scales["datasets"]]
    level = hierarchy.node(group.key / (stated or ["s0"])[0])
    if level is not None and level.is_array:
        return level
    if stated:
        raise WrongUse(f"{name} names the level {stated[0]}, but no array is there")
    return None


def _things(hierarchy: Hierarchy, group: Node, kind: Kind) -> list[Node]:
    """Return what of the wanted kind a dataset holds; of another group all that it holds."""
    raw = hierarchy.node(group.key / "raw")
    held = {
        "raw": [raw] if raw else [],
        **{kind: hierarchy.children(group.key / folder) for kind, folder in FOLDERS.items()},
    }
    if not any(held.values()):
        return hierarchy.children(group.key)
    return held[kind] if kind != "any" else [node for nodes in held.values() for node in nodes]


def _multiscales(group: Node) -> list[dict[str, Any]]:
    stated = group.attributes.get("ome", group.attributes).get("multiscales", [])
    return list(stated)[:1]


def _levels_above(hierarchy: Hierarchy, node: Node) -> Iterator[Level]:
    """Yield the multiscale metadata that name the array, with its level, nearest group first."""
    for key in node.key.parents:
        group = hierarchy.node(key)
        if group is None:
            return
        for scales in _multiscales(group):
            for level in scales["datasets"]:
                if key / level["path"] == node.key:
                    yield scales, level


def _refuse_other_axes(levels: list[Level], name: str) -> None:
    for scales, _ in levels:
        axes = [axis["name"] for axis in scales.get("axes", []) if isinstance(axis, dict)]
        if axes and tuple(axes[-3:]) != ZYX:
            raise WrongUse(f"{name} has axes ({', '.join(axes)}); expected (z, y, x) last")


def _voxel_size_nm(
    hierarchy: Hierarchy, node: Node, levels: list[Level]
) -> tuple[float, ...] | None:
    """Return the (z, y, x) voxel size: of the multiscale group, else of the array itself."""
    for scales, level in levels:
        if size := _of_ome(scales, level) or _of_transform(level.get("transform", {})):
            return size
    own, xyz = node.attributes, node.driver == "n5"
    group = hierarchy.node(node.key.parent)
    size = _of_transform(own.get("transform", {})) or _of_resolution(own, own, xyz)
    # A group's resolution is that of its full level.
    if size or group is None or not (node.key.name == "s0" or "downsamplingFactors" in own):
        return size
    return _of_resolution(group.attributes, own, xyz)


def _of_ome(scales: dict[str, Any], level: dict[str, Any]) -> tuple[float, ...] | None:
    axes = [axis for axis in scales.get("axes", []) if isinstance(axis, dict)]
    steps = level.get("coordinateTransformations", [])
    steps = [*steps, *scales.get("coordinateTransformations", [])]
    size = np.ones(len(axes))
    for step in steps:
        if step["type"] == "scale":
            size = size * step["scale"]
    names, units = [axis["name"] for axis in axes], [axis.get("unit") for axis in axes]
    return _by_name(names, units, list(size))


def _of_transform(transform: dict[str, Any]) -> tuple[float, ...] | None:
    """Return the size that OpenOrganelle's ``transform`` states; it names its axes."""
    return _by_name(*(transform.get(word, []) for word in ("axes", "units", "scale")))


def _by_name(
    names: list[str], units: list[str | None], scale: list[float]
) -> tuple[float, ...] | None:
    lengths = {
        name: float(size) * nm
        for name, unit, size in zip(names, units, scale, strict=True)
        if (nm := unit_nm(unit))
    }
    return tuple(lengths[name] for name in ZYX) if set(ZYX) <= set(lengths) else None


def _of_resolution(
    attributes: dict[str, Any], own: dict[str, Any], xyz: bool
) -> tuple[float, ...] | None:
    """Return the size in ``pixelResolution`` or ``resolution``; nanometres if no unit is given.

    Where the array has ``downsamplingFactors`` of its ``own``, it is that of the full level.
    """
    stated = attributes.get("pixelResolution") or attributes.get("resolution")
    if not isinstance(stated, dict):
        stated = {"dimensions": stated or [], "unit": attributes.get("unit", "nm")}
    nm, sizes = unit_nm(stated.get("unit", "nm")), [float(size) for size in stated["dimensions"]]
    if nm is None or not sizes:
        return None
    factors = own.get("downsamplingFactors", [1] * len(sizes))
    sizes = [nm * size * factor for size, factor in zip(sizes, factors, strict=True)]
    return tuple((sizes[::-1] if xyz else sizes)[-3:])

"""Groups and arrays of a Zarr (v2, v3) or N5 hierarchy in a key-value store.

A node is named by its *key*: the path below the root of the store, which is the file system or a
bucket.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from fibstream.store.remote import kvstore
from fibstream.volumes.formats import CACHE_BYTES

from .n5 import open_n5

LISTED = 10_000  # entries of a folder that are read: a group has tens, an array millions


@dataclass(frozen=True)
class Node:
    """One array or group, and its metadata."""

    key: PurePosixPath
    driver: str  # tensorstore's name of the format; empty for a bare folder
    is_array: bool
    attributes: dict[str, Any]
    dimension_names: list[Any] | None = None  # of a Zarr v3 array
    consolidated: tuple[str, ...] = ()  # paths of descendants, where the group lists them


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
            below = _below(found.get("consolidated_metadata"))
            attributes = found.get("attributes", {})
            return Node(key, "zarr3", is_array, attributes, found.get("dimension_names"), below)
        is_array = self._json(key / ".zarray") is not None
        if is_array or self._json(key / ".zgroup") is not None:
            below = () if is_array or self.local else _below(self._json(key / ".zmetadata"))
            attributes = self._json(key / ".zattrs") or {}
            return Node(key, "zarr", is_array, attributes, consolidated=below)
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

    def children(self, group: Node) -> list[Node]:
        """Return the children of a group, by name; bare folders too: a group of N5 needs no file.

        A bucket is not listed, since a listing names every chunk: there the children are those that
        the group's metadata name.
        """
        names = self._folders(group.key) if self.local else _named(group)
        nodes = []
        for name in names:
            node = self.node(group.key / name)
            # A number is the name of a chunk, not of a group without metadata.
            if node is None and self.local and not name.isdecimal():
                node = Node(group.key / name, "", False, {})
            nodes.append(node)
        return [node for node in nodes if node]

    def _folders(self, key: PurePosixPath) -> list[str]:
        folder = Path("/", key)
        if not folder.is_dir():
            return []
        listed = islice(folder.iterdir(), LISTED)
        return sorted(path.name for path in listed if path.is_dir())

    def open(self, node: Node, name: str) -> Any:
        """Return the array as a tensorstore, with all its axes in C order."""
        import tensorstore

        place = self.store / f"{node.key}/".removeprefix("./")
        if node.driver == "n5":
            return open_n5(place, node.attributes, name).T
        cache = {"cache_pool": {"total_bytes_limit": CACHE_BYTES}}
        spec = {"driver": node.driver, "kvstore": place.spec().to_json(), "context": cache}
        return tensorstore.open(spec, open=True, read=True).result()


def _below(consolidated: Any) -> tuple[str, ...]:
    """Return the paths in consolidated metadata (in Zarr v2 those of files)."""
    listed = consolidated.get("metadata") if isinstance(consolidated, dict) else None
    return tuple(listed) if isinstance(listed, dict) else ()


def _named(group: Node) -> list[str]:
    """Return the names of children in the metadata of a group."""
    return sorted(set(_names(group)))


def _names(group: Node) -> Iterator[str]:
    for path in group.consolidated:
        name = path.partition("/")[0]
        if name and not name.startswith(".z"):
            yield name
    for holder in (group.attributes.get("ome"), group.attributes):
        if not isinstance(holder, dict):
            continue
        for word in ("labels", "series"):  # of a labels group; of bioformats2raw's OME group
            listed = holder.get(word)
            yield from (str(name).strip("/") for name in listed or () if isinstance(name, str))
        if "bioformats2raw.layout" in holder:  # images are numbered from 0
            yield from ("0", "1")

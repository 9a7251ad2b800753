"""Groups and arrays of a Zarr (v2, v3) or N5 hierarchy in a key-value store.

A node is named by its *key*: the path below the root of the store, which is the file system or a
bucket.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from fibstream.core.documents import Limits, parse_json
from fibstream.core.echo import echo
from fibstream.core.errors import WrongUse
from fibstream.store.gate import FREE, Gate
from fibstream.store.remote import TIMEOUT_S, kvstore, remote_errors
from fibstream.volumes.formats import Unreadable

from .chunk_files import ChunkFiles, n5_files, zarr_files
from .n5 import open_n5
from .presence import Presence, presence_in_bucket, presence_in_folder
from .zarr_arrays import open_zarr

MAX_METADATA = 64 << 20  # bytes of a JSON file: consolidated metadata of ten thousand arrays
# Of consolidated metadata with a thousand arrays; Java writes decimals of up to 55 digits.
METADATA = Limits(size=MAX_METADATA, depth=64, nodes=2_000_000, text=1 << 20, number=100)
LISTED = 10_000  # entries of a folder that are read: a group has tens, an array millions


@dataclass(frozen=True)
class Node:
    """One array or group, and its metadata."""

    key: PurePosixPath
    driver: str  # tensorstore's name of the format; empty for a bare folder
    is_array: bool
    attributes: dict[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)  # of an array: shape, chunks, codecs
    dimension_names: list[Any] | None = None  # of a Zarr v3 array
    consolidated: tuple[str, ...] = ()  # paths of descendants, where the group lists them


class Hierarchy:
    """Groups and arrays below one URL (file://, s3:// or gs://)."""

    def __init__(self, root: str, gate: Gate = FREE) -> None:
        import tensorstore

        self._root = root
        self._gate = gate

        place = root if root.startswith("file:") else kvstore(root)
        self.store = tensorstore.KvStore.open(place).result()
        self.local = root == "file:///"

    def readable(self, key: PurePosixPath) -> bool:
        """Whether the gate lets pass what lies there."""
        if self.local:
            return self._gate.allows(Path("/", key))
        return self._gate.allows_url(f"{self._root}{key}/")

    def node(self, key: PurePosixPath) -> Node | None:
        """Return the array or group at ``key``, if there is one."""
        if key.is_absolute() or ".." in key.parts or "\0" in str(key):
            shown = str(key)[-80:]
            raise Unreadable(f"its metadata name {shown!r}; expected a path inside its group")
        if not self._gate.free and not self.readable(key):
            raise WrongUse(f"{self._root}{key}: leads out of the server's source roots")
        if (found := self._json(key / "zarr.json")) is not None:
            if (kind := found.get("node_type")) not in ("array", "group"):
                raise Unreadable(
                    f"zarr.json has the node_type {echo(kind, 40)}; expected array or group"
                )
            below = _below(found.get("consolidated_metadata"))
            attributes = found.get("attributes") or {}
            if not isinstance(attributes, dict):
                raise Unreadable("the attributes in zarr.json are not a JSON object")
            names = found.get("dimension_names")
            return Node(key, "zarr3", kind == "array", attributes, found, names, below)
        array = self._json(key / ".zarray")
        is_array = array is not None
        if is_array or self._json(key / ".zgroup") is not None:
            below = () if is_array or self.local else _below(self._json(key / ".zmetadata"))
            attributes = self._json(key / ".zattrs") or {}
            return Node(key, "zarr", is_array, attributes, array or {}, consolidated=below)
        if (found := self._json(key / "attributes.json")) is not None:
            return Node(key, "n5", "dimensions" in found and "dataType" in found, found, found)
        return None

    def _json(self, key: PurePosixPath) -> dict[str, Any] | None:
        text = self._read_file(Path("/", key)) if self.local else self._read_object(str(key))
        if text is None:
            return None
        try:
            found = parse_json(text, key.name, METADATA, constants=True)
        except WrongUse as error:
            wrong = str(error)
            if "not JSON" in wrong:
                wrong = f"{key.name} is not valid JSON"
            raise Unreadable(wrong) from error
        if not isinstance(found, dict):
            raise Unreadable(f"{key.name} is not a JSON object")
        return found

    def _read_file(self, path: Path) -> bytes | None:
        try:
            with self._gate.open(path) as file:
                if (size := os.fstat(file.fileno()).st_size) > METADATA.size:
                    raise Unreadable(
                        f"{path.name} has {size} bytes; expected at most {METADATA.size}"
                    )
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _read_object(self, key: str) -> bytes | None:
        with remote_errors(f"{self._root}{key}"):
            read = self.store.read(key).result(timeout=TIMEOUT_S)
        return bytes(read.value) if read.state == "value" else None

    def check_files(self, node: Node, names: Iterator[str]) -> None:
        """Raise WrongUse where a chunk is no regular file, or leaves what may be read.

        tensorstore opens by itself, and would wait for the writer of a pipe for ever.
        """
        if self.local:
            for name in names:
                self._gate.check(Path("/", node.key, name))

    @property
    def free(self) -> bool:
        """Whether a user reads, and no client of a service."""
        return self._gate.free

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
        files = files_of(node)
        if node.driver == "n5":
            return open_n5(self._place(node), node.attributes, files, name).T
        return open_zarr(self._place(node), node.metadata, files, name)

    def presence(self, node: Node) -> Presence:
        """Return how many of its chunks are stored."""
        files = files_of(node)
        if self.local:
            return presence_in_folder(files, Path("/", node.key))
        return presence_in_bucket(files, self._place(node))

    def _place(self, node: Node) -> Any:
        return self.store / f"{node.key}/".removeprefix("./")


def files_of(node: Node) -> ChunkFiles:
    """Return the names of an array's chunks."""
    return n5_files(node.metadata) if node.driver == "n5" else zarr_files(node.metadata)


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

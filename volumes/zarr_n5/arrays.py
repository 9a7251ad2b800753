"""Open an array in a Zarr (v2, v3) or N5 hierarchy as ``Voxels`` with axes (z, y, x)."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.store.gate import FREE, Gate
from fibstream.volumes.display import display_of
from fibstream.volumes.formats import Unreadable, Voxels, without_leading
from fibstream.volumes.positions import NOWHERE

from .axes import ZYX, ArrayMetadata, ParentGroup
from .chunk_files import ChunkFiles
from .hierarchy import Hierarchy, Node, files_of
from .position import position_of
from .prediction_bytes import holds_distances, squash_of, table_of
from .selection import Kind, candidates_in, select_array
from .voxel_size import describe

METADATA = ("zarr.json", ".zarray", ".zgroup", "attributes.json")  # of an array or group
MAX_TOUCHED = 2**18  # chunks of a box of 512: edges of 8 voxels; metadata of a line can name more
READ_S = 300.0  # of one box: a gigabyte at 4 MB/s
GAPS = 2  # groups of N5 without metadata between an array and the groups that describe it


def open_hierarchy(
    url: str, name: str, kind: Kind, *, growing: bool = False, gate: Gate = FREE
) -> Voxels | None:
    """Return the array that ``url`` selects, or None if no array or group is there.

    Parameters
    ----------
    url : str
        Of an array; of a multiscale group, which selects its first level; of a group (a dataset),
        which selects the only array of the wanted kind.
    name : str
        The array's name in messages.
    kind : {"raw", "prediction", "labels", "any"}
        The array that is selected in a dataset. Bytes of a prediction are converted to the scale
        of fibstream where ``safe_scale`` states COSEM's other one.
    growing : bool
        Whether it is being written: then chunks may be absent, and Zarr axes have to be (z, y, x),
        since a watcher counts files along the first axis; else they are transposed.
    gate : Gate
        Opens every file of metadata, and looks at those of chunks before they are read.

    Returns
    -------
    Voxels
        (z, y, x); the voxel size in nanometres is that of OME-NGFF ``multiscales``, ``transform``,
        ``pixelResolution`` or ``resolution``: see ``voxel_size``.

    Raises
    ------
    WrongUse
        If none or several arrays of that kind are there, the array has no axes z, y and x, or its
        chunks are not where its metadata say.
    """
    scheme, _, path = url.partition("://")
    bucket, _, rest = path.partition("/")
    hierarchy = Hierarchy(f"{scheme}://{bucket}/", gate)
    key = PurePosixPath(rest.lstrip("/"))
    node = hierarchy.node(key) or Node(key, "", False, {})
    if not node.driver and not hierarchy.children(node):
        return None
    return _voxels(hierarchy, key, select_array(hierarchy, node, name, kind), name, kind, growing)


def volumes_in(folder: Path) -> list[str]:
    """Return the paths, below a folder, of the volumes in a group: arrays and multiscale groups.

    These are raw, predictions and labels of a dataset, of another group all; there are none in an
    array or a multiscale group.
    """
    hierarchy, key = Hierarchy("file:///"), PurePosixPath(str(folder.resolve()).lstrip("/"))
    node = hierarchy.node(key)
    found = candidates_in(hierarchy, node, str(folder)) if node else []
    return [str(node.key.relative_to(key)) for node in found]


def _voxels(
    hierarchy: Hierarchy, key: PurePosixPath, node: Node, name: str, kind: Kind, growing: bool
) -> Voxels:
    parents = list(_parents(hierarchy, node))
    stored = hierarchy.open(node, name)
    is_n5 = node.driver == "n5"
    metadata = ArrayMetadata(
        name, node.attributes, parents, stored.ndim, node.dimension_names, is_n5
    )
    description = describe(metadata)
    axes = description.axes
    if axes and axes[-3:] != ZYX and growing and not is_n5:
        raise WrongUse(f"{name} has axes ({', '.join(axes)}); expected (z, y, x) last")
    array = _as_zyx(stored, axes, name)
    places: list[Mapping[str, Any]] = [node.attributes, *(group.attributes for group in parents)]
    stated = _stated(places) if kind == "prediction" else {}
    table = table_of(stated, name)

    files = files_of(node)

    def fetch(box: Box) -> NDArray[Any]:
        spans = _stored_spans(box, axes, stored.ndim)
        _check_touched(hierarchy, node, files, spans[::-1] if is_n5 else spans)
        # A file may have become a pipe since: the call ends, though not the thread that reads.
        try:
            voxels: NDArray[Any] = array[box.slices()].read().result(timeout=READ_S)
        except TimeoutError:
            raise Unreadable(f"nothing came within {READ_S:.0f} s") from None
        return voxels if table is None else table[voxels]

    position = position_of(metadata, axes)
    notes = [*description.notes, *_notes(places, kind)]
    if position is NOWHERE:
        notes.append("its offset has no usable resolution beside it: where it lies is not known")
    if not growing:
        needed, fill = kind in ("raw", "prediction"), node.metadata.get("fill_value") or 0
        notes += filter(None, [hierarchy.presence(node).note(name, needed=needed, fill=fill)])
    if table is not None:
        notes.append("its safe_scale says that 128 is the surface; turned to 127 at the surface")
    return Voxels(
        tuple(array.shape), np.dtype(array.dtype.numpy_dtype), description.lengths, fetch,
        "" if node.key == key else str(node.key.relative_to(key)), tuple(notes), display_of(places),
        squash_of(stated, name), position, holds_distances(stated, name), _declared(places),
    )  # fmt: skip


def _stored_spans(box: Box, axes: tuple[str, ...] | None, ndim: int) -> list[range]:
    """Return the voxels of a box along the axes as they are stored; other axes have one."""
    spans = {name: range(a, b) for name, a, b in zip(ZYX, box.start, box.stop, strict=True)}
    named = axes or (("",) * (ndim - len(ZYX)) + ZYX)
    return [spans.get(name, range(1)) for name in named]


def _check_touched(hierarchy: Hierarchy, node: Node, files: ChunkFiles, spans: list[range]) -> None:
    """Raise WrongUse or Unreadable unless the chunks that a box touches can be read."""
    if not hierarchy.free and (count := files.count_touched(spans)) > MAX_TOUCHED:
        raise Unreadable(
            f"{count} of its chunks are touched at a time; services read up to {MAX_TOUCHED}"
        )
    hierarchy.check_files(node, files.touched(spans))


def _parents(hierarchy: Hierarchy, node: Node) -> list[ParentGroup]:
    """Return the parent groups of an array, nearest first; one of N5 may have no metadata."""
    found, gaps = [], 0
    for key in node.key.parents:
        if not hierarchy.readable(key):
            break
        if (group := hierarchy.node(key)) is not None:
            found.append(ParentGroup(str(node.key.relative_to(key)), group.attributes))
        elif node.driver == "n5" and gaps < GAPS:
            gaps += 1
        else:
            break
    return found


def _as_zyx(array: Any, axes: tuple[str, ...] | None, name: str) -> Any:
    """Return an array with axes (z, y, x); other axes have to have length one and are dropped."""
    if axes is None:
        return without_leading(array)
    for axis in [axis for axis in axes if axis not in ZYX]:
        place = axes.index(axis)
        if array.shape[place] != 1:
            raise WrongUse(
                f"{name} has shape {tuple(array.shape)} with axes ({', '.join(axes)}); "
                f"expected (z, y, x), and 1 along {axis}"
            )
        array = array[(slice(None),) * place + (0,)]
        axes = (*axes[:place], *axes[place + 1 :])
    return array.transpose([axes.index(axis) for axis in ZYX])


def _stated(places: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return what the attributes of the array state of its bytes, or else those of its group."""
    words = ("float_range", "safe_scale", "squash_nm", "meaning")
    return {w: place[w] for place in places[1::-1] for w in words if w in place}


def _notes(places: list[Mapping[str, Any]], kind: Kind) -> list[str]:
    labelled = _is_labelled(places)
    return ["it is marked as labels (image-label)"] if labelled and kind == "raw" else []


def _is_labelled(places: list[Mapping[str, Any]]) -> bool:
    nearest = [place.get("ome", place) for place in places[:2]]
    return any("image-label" in place for place in nearest if isinstance(place, Mapping))


def _declared(places: list[Mapping[str, Any]]) -> Literal["", "labels", "prediction"]:
    """Return what the attributes declare an array to be, if anything."""
    if _is_labelled(places):
        return "labels"
    return "prediction" if _stated(places) else ""

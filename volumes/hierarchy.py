"""Arrays in a Zarr (v2, v3) or N5 hierarchy: voxels and what is said of them, as (z, y, x)."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box

from .axes import ZYX, Above, Array
from .display import display_of
from .encoding import table_of
from .formats import Voxels, without_leading
from .nodes import Hierarchy, Node
from .scales import describe
from .selection import Kind, array_meant, things_in

METADATA = ("zarr.json", ".zarray", ".zgroup", "attributes.json")  # one makes a folder a node
GAPS = 2  # groups of N5 without a file: beyond them lies what is not of the hierarchy


def open_hierarchy(url: str, name: str, kind: Kind, *, turn: bool = False) -> Voxels | None:
    """Return the array meant by ``url``, or None if no array or group is there.

    Parameters
    ----------
    url : str
        Of an array; of a multiscale group, then its first level is meant; of a group (a dataset),
        then the only thing of the wanted kind.
    name : str
        How messages call it.
    kind : {"raw", "prediction", "labels", "any"}
        What is wanted of a dataset. Bytes of a prediction are turned to the scale of ours where
        attributes say that they are on COSEM's other one.
    turn : bool
        Whether Zarr axes in another order than (z, y, x) are turned round, else they are refused:
        who watches an array grow counts files along its first axis.

    Raises
    ------
    WrongUse
        If nothing, or more than one thing, of that kind is there; or it has no axes z, y and x.
    """
    scheme, _, path = url.partition("://")
    bucket, _, rest = path.partition("/")
    hierarchy, key = Hierarchy(f"{scheme}://{bucket}/"), PurePosixPath(rest)
    node = hierarchy.node(key) or Node(key, "", False, {})
    if not node.driver and not hierarchy.children(node):
        return None
    return _voxels(hierarchy, key, array_meant(hierarchy, node, name, kind), name, kind, turn)


def held_by(folder: Path) -> list[str]:
    """Return the paths, below a folder, of the arrays and multiscale groups that a group holds.

    Raw, predictions and labels of a dataset, else all there is; empty for an array and a multiscale
    group.
    """
    hierarchy, key = Hierarchy("file:///"), PurePosixPath(str(folder.resolve()).lstrip("/"))
    node = hierarchy.node(key)
    found = things_in(hierarchy, node, str(folder)) if node else []
    return [str(thing.key.relative_to(key)) for thing in found]


def _voxels(
    hierarchy: Hierarchy, key: PurePosixPath, node: Node, name: str, kind: Kind, turn: bool
) -> Voxels:
    above = list(_above(hierarchy, node))
    stored = hierarchy.open(node, name)
    said = describe(
        Array(name, node.attributes, above, stored.ndim, node.dimension_names, node.driver == "n5")
    )
    if said.axes and said.axes[-3:] != ZYX and not turn and node.driver != "n5":
        raise WrongUse(f"{name} has axes ({', '.join(said.axes)}); expected (z, y, x) last")
    array = _turned(stored, said.axes, name)
    places: list[Mapping[str, Any]] = [node.attributes, *(group.attributes for group in above)]
    table = _table(places, name) if kind == "prediction" else None

    def fetch(box: Box) -> NDArray[Any]:
        voxels: NDArray[Any] = array[box.slices()].read().result()
        return voxels if table is None else table[voxels]

    notes = [*said.notes, *_notes(places, kind)]
    if table is not None:
        notes.append("its safe_scale says that 128 is the surface; turned to 127 at the surface")
    return Voxels(
        tuple(array.shape), np.dtype(array.dtype.numpy_dtype), said.lengths, fetch,
        "" if node.key == key else str(node.key.relative_to(key)), tuple(notes), display_of(places),
    )  # fmt: skip


def _above(hierarchy: Hierarchy, node: Node) -> list[Above]:
    """Return the groups above an array, nearest first; a group of N5 may be without a file."""
    found, gaps = [], 0
    for key in node.key.parents:
        if (group := hierarchy.node(key)) is not None:
            found.append(Above(str(node.key.relative_to(key)), group.attributes))
        elif node.driver == "n5" and gaps < GAPS:
            gaps += 1
        else:
            break
    return found


def _turned(array: Any, axes: tuple[str, ...] | None, name: str) -> Any:
    """Return an array with its axes as (z, y, x); other axes are gone if they have length one."""
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


def _table(places: list[Mapping[str, Any]], name: str) -> NDArray[np.uint8] | None:
    """Return the table of the array's attributes, or of the group's where the array has none."""
    words = ("float_range", "safe_scale")
    said = {w: place[w] for place in places[1::-1] for w in words if w in place}
    return table_of(said, name)


def _notes(places: list[Mapping[str, Any]], kind: Kind) -> list[str]:
    nearest = [place.get("ome", place) for place in places[:2]]
    labelled = any("image-label" in place for place in nearest if isinstance(place, Mapping))
    return ["it is marked as labels (image-label)"] if labelled and kind == "raw" else []

"""The summary of a chunk of basins, for what splits components; importing it brings no compiler.

It holds the arrays of the chunk's saddle graph by their names, beside ``core``, its basins as
``ids``, ``part``, the row of the component that each basin is of, and the components as
`fibstream.services.refine.cut` describes them, each name after ``c_``.

Where holes are filled, pieces of background that may be holes come after the basins in ``ids`` and
``part``. ``hollow`` are their voxels in the chunk, ``beside`` rows (piece, end) of where descent
ends from voxels that share a face with a piece. A piece beside one end alone, inside the chunk, is
part of that basin and in none of these.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box
from fibstream.core.ids import BACKGROUND_BIT
from fibstream.core.stage import Arrays

if TYPE_CHECKING:
    from .saddles import SaddleGraph

Names = NDArray[np.uint64]
COMPONENT = "c_"
GRAPH = ("relief", "first", "voxels", "shell", "edge", "saddle", "at", "level", "times")


class Pieces(NamedTuple):
    """Pieces of background that may be holes: of one chunk, or those of several one by one.

    Attributes
    ----------
    name
        Uint64 ``(n,)``; two chunks may have pieces of one name, which are connected.
    voxels
        In the chunk, uint64 ``(n,)``.
    beside
        Rows (name of a piece, end of descent from a voxel that shares a face with it), uint64.
    links
        Rows of two names of background that is connected, uint64.
    """

    name: Names
    voxels: Names
    beside: Names
    links: Names


def packed(
    graph: "SaddleGraph", part: NDArray[np.intp], components: Arrays, pieces: Pieces | None
) -> Arrays:
    """Return the summary of a chunk: see above; ``pieces`` are None where no hole is filled."""
    types = {"relief": "<u2", "level": "<u2", "at": "<u4", "voxels": "<u4", "times": "<u4"}
    arrays = {name: getattr(graph, name).astype(types.get(name, "<u8")) for name in GRAPH}
    ids = graph.basin
    if pieces is not None:
        ids = np.concatenate([ids, pieces.name])
        arrays["hollow"] = pieces.voxels.astype("<u4")
        arrays["beside"] = pieces.beside.astype("<u8")
    return {
        "core": np.array(graph.core, "<i8"),
        "ids": ids.astype("<u8"),
        "part": part.astype("<u4"),
        **arrays,
        **{COMPONENT + name: array for name, array in components.items()},
    }


def selected(summary: Arrays, kept: NDArray[np.bool_]) -> "SaddleGraph":
    """Return the saddle graph of some basins of a chunk, which have no edge to the others.

    ``kept`` is of all rows of ``ids``, those of pieces of background are passed over.
    """
    from .saddles import SaddleGraph, with_edges

    basins = summary["relief"].size
    kept = kept[:basins]
    basin = summary["ids"][:basins][kept]
    shell = summary["shell"][np.isin(summary["shell"][:, 1], basin)]
    start, stop = (tuple(int(n) for n in row) for row in summary["core"])
    found = SaddleGraph(
        Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2])),
        basin, summary["relief"][kept], summary["first"][kept],
        summary["voxels"][kept].astype(np.uint64), shell, summary["edge"], summary["saddle"],
        summary["at"].astype(np.int64), summary["level"], summary["times"].astype(np.uint64),
    )  # fmt: skip
    return with_edges(found, np.asarray(np.isin(found.edge, basin).any(axis=1)))


def pieces_in(summary: Arrays, kept: NDArray[np.bool_]) -> Pieces:
    """Return some pieces of background of a chunk; ``kept`` is of all rows of ``ids``."""
    basins = summary["relief"].size
    kept = kept[basins:]
    name, links = summary["ids"][basins:][kept], summary[f"{COMPONENT}links"]
    beside = summary.get("beside", np.empty((0, 2), np.uint64))
    voxels = summary.get("hollow", np.empty(0, np.uint32))[kept].astype(np.uint64)
    # Of background, and none of it outside.
    inner = (links > BACKGROUND_BIT).all(axis=1) if name.size else np.zeros(len(links), np.bool_)
    return Pieces(name, voxels, beside[np.isin(beside[:, 0], name)], links[inner])


def components_in(summary: Arrays) -> Arrays:
    """Return the components of a chunk's foreground, for `kernels.union_find`."""
    return {k.removeprefix(COMPONENT): v for k, v in summary.items() if k[:2] == COMPONENT}

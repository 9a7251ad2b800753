"""The summary of a chunk of basins, for what splits components; importing it brings no compiler.

It holds the arrays of the chunk's saddle graph by their names, beside ``core``, its basins as
``ids``, ``part``, the row of the component that each basin is of, and the components as
`fibstream.services.refine.cut` describes them, each name after ``c_``.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box
from fibstream.core.stage import Arrays

if TYPE_CHECKING:
    from .saddles import SaddleGraph

COMPONENT = "c_"
GRAPH = ("relief", "first", "voxels", "shell", "edge", "saddle", "at", "level", "times")


def packed(graph: "SaddleGraph", part: NDArray[np.intp], components: Arrays) -> Arrays:
    """Return the summary of a chunk: see above."""
    types = {"relief": "<u2", "level": "<u2", "at": "<u4", "voxels": "<u4", "times": "<u4"}
    arrays = {name: getattr(graph, name).astype(types.get(name, "<u8")) for name in GRAPH}
    return {
        "core": np.array(graph.core, "<i8"),
        "ids": graph.basin.astype("<u8"),
        "part": part.astype("<u4"),
        **arrays,
        **{COMPONENT + name: array for name, array in components.items()},
    }


def selected(summary: Arrays, kept: NDArray[np.bool_]) -> "SaddleGraph":
    """Return the saddle graph of some basins of a chunk, which have no edge to the others."""
    from .saddles import SaddleGraph

    basin = summary["ids"][kept]
    shell = summary["shell"][np.isin(summary["shell"][:, 1], basin)]
    edges = np.asarray(np.isin(summary["edge"], basin).any(axis=1))
    row = np.cumsum(edges) - 1
    times = edges[summary["at"]]
    start, stop = (tuple(int(n) for n in row) for row in summary["core"])
    return SaddleGraph(
        Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2])),
        basin, summary["relief"][kept], summary["first"][kept],
        summary["voxels"][kept].astype(np.uint64), shell,
        summary["edge"][edges], summary["saddle"][edges],
        row[summary["at"][times]].astype(np.int64), summary["level"][times],
        summary["times"][times].astype(np.uint64),
    )  # fmt: skip


def components_in(summary: Arrays) -> Arrays:
    """Return the components of a chunk's foreground, for `kernels.union_find`."""
    return {k.removeprefix(COMPONENT): v for k, v in summary.items() if k[:2] == COMPONENT}

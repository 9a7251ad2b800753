"""Volume and area of a prediction and of labels against the truth, in each half of a volume.

After Extended Data Fig. 8 of Heinrich et al. 2021: a block is cut in two across each axis, and each
of the six halves is measured by itself, as if nothing lay beyond it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fibstream.core.dataset import clip_chunk
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Grid, Index
from fibstream.core.stage import Patch
from fibstream.services.analysis.conventions import HALO
from fibstream.services.analysis.measure import measure
from fibstream.services.analysis.measures import Column
from fibstream.services.analysis.table import finish
from fibstream.services.analysis.totals import merge
from fibstream.volumes.lengths import Size

from ..charts import COLOURS, Figure, new_figure
from ..hashes import Track, untracked
from .totals import Row

Read = Callable[[Box], NDArray[np.bool_]]

WHOLE = "all"
BLOCK: Index = (128, 128, 128)  # voxels that are measured at a time
MEASURES = {"volume_nm3": "volume", "area_nm2": "area by voxel faces",
            "crofton_area_nm2": "area by Crofton"}  # fmt: skip
LOOK = {"raw": (COLOURS[1], "o", "prediction at its threshold"),
        "refined": (COLOURS[0], "s", "refined")}  # fmt: skip
COLUMNS: Mapping[str, Column] = {
    "half": Column("string", f"axis and side: `z low`, .. `x high`; `{WHOLE}`: not cut"),
    "test": Column("string", "raw: the prediction from its threshold on; refined: the labels"),
    "measure": Column("string", "volume, area by voxel faces, or by Crofton's formula, with unit"),
    "truth": Column("double", "of the truth"),
    "value": Column("double", "of what is compared with it"),
    "deviation": Column("double", "(value - truth) / truth; nothing where the truth has none"),
}
SCHEMA = pa.schema([(name, column.type) for name, column in COLUMNS.items()])


def halves(shape: Index) -> dict[str, Box]:
    """Return the whole volume and its halves, (z, y, x); the lower one of an odd edge is smaller.

    Raises WrongUse for an edge of one voxel.
    """
    if min(shape) < 2:
        raise WrongUse(f"shape {' x '.join(map(str, shape))}: expected 2 voxels an edge at least")
    found = {WHOLE: Box((0, 0, 0), shape)}
    for axis, name in enumerate("zyx"):
        middle = shape[axis] // 2
        low, high = list(shape), [0, 0, 0]
        low[axis] = high[axis] = middle
        found[f"{name} low"] = Box((0, 0, 0), (low[0], low[1], low[2]))
        found[f"{name} high"] = Box((high[0], high[1], high[2]), shape)
    return found


def figures(read: Read, box: Box, voxel_size_nm: Size, *, block: Index = BLOCK) -> dict[str, float]:
    """Return volume and areas of all that is inside in a box, as if the volume ended with it.

    Parameters
    ----------
    read
        Returns which voxels of a box of the volume are inside, (z, y, x).
    box
        What is measured; faces on its border are none.
    voxel_size_nm
        Edges of a voxel, (z, y, x).
    block
        Voxels that are measured at a time: they change nothing.
    """
    grid, rows = Grid(box.shape, clip_chunk(block, box.shape)), []
    for index in grid.indices():
        around = grid.block(index, HALO)
        mask = read(_moved(around, box.start)).astype(np.uint8)
        rows.append(measure(Patch(mask, around), grid.box(index)))
    table = finish(merge(rows), voxel_size_nm)
    return {name: table[name][0].as_py() if table.num_rows else 0.0 for name in MEASURES}


def deviations(
    truth: Read, tests: Mapping[str, Read], shape: Index, voxel_size_nm: Size,
    track: Track = untracked,
) -> list[Row]:  # fmt: skip
    """Return a row for each half, test and measure, with the columns of `COLUMNS`."""
    found: list[Row] = []
    boxes: Iterable[Any] = track(list(halves(shape).items()), "halves measured")
    for half, box in boxes:
        right = figures(truth, box, voxel_size_nm)
        for test, read in tests.items():
            values = figures(read, box, voxel_size_nm)
            found += [
                {"half": half, "test": test, "measure": m, "truth": right[m], "value": values[m],
                 "deviation": (values[m] - right[m]) / right[m] if right[m] else None}
                for m in MEASURES
            ]  # fmt: skip
    return found


def draw(rows: Iterable[Row], title: str) -> Figure:
    """Plot deviations in per cent, half by half."""
    rows = list(rows)
    names = list(dict.fromkeys(row["half"] for row in rows))
    tests = list(dict.fromkeys(row["test"] for row in rows))
    figure, axes = new_figure((12.5, 4.2), len(MEASURES))
    for panel, (measured, text) in zip(axes, MEASURES.items(), strict=True):
        for number, test in enumerate(tests):
            colour, marker, label = LOOK[test]
            shift = 0.24 * (number - (len(tests) - 1) / 2)
            points = [
                (names.index(row["half"]) + shift, 100 * row["deviation"])
                for row in rows
                if (row["test"], row["measure"]) == (test, measured)
                and row["deviation"] is not None
            ]
            for x, y in points:
                panel.plot([x, x], [0, y], color=colour, linewidth=1)
            panel.plot(*zip(*points, strict=True) if points else ([], []), linestyle="",
                       marker=marker, color=colour, label=label)  # fmt: skip
        panel.axhline(0, color="#888888", linewidth=0.8, zorder=0)
        panel.set_xticks(range(len(names)), names, rotation=45, ha="right")
        panel.set_title(text, fontsize=10)
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    axes[0].set_ylabel("deviation from the truth in %")
    axes[-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    figure.suptitle(f"{title}: volume and area in halves of the volume", fontsize=11)
    return figure


def _moved(box: Box, by: Index) -> Box:
    """Return a box ``by`` voxels further."""
    return box.relative((-by[0], -by[1], -by[2]))

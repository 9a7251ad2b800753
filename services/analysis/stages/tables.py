"""``tables/<organelle>``: one table of the partial rows of all chunks."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import Dataset
from fibstream.core.grid import Box, Grid, Index
from fibstream.core.ports import Files
from fibstream.core.service import Capability
from fibstream.core.stage import Arrays, Block, Input, Made, Output, Stage
from fibstream.core.subject import WHOLE
from fibstream.services.analysis.totals import merge, widen

from .measures import with_raw

BATCH = 256  # chunks whose rows are in memory at a time, beside the total
# To all neighbours: an object of connectivity 26 may go on across an edge or a corner alone.
STEPS: tuple[Index, ...] = tuple(
    (z, y, x) for z, y, x in product((-1, 0, 1), repeat=3) if (z, y, x) != (0, 0, 0)
)


def table_stage(dataset: Dataset, name: str) -> Stage:
    """Return the stage that makes the table of one organelle's rows."""
    rows = Input(f"measures/{name}", f"summaries/measures/{name}")
    path = f"tables/{name}.parquet"
    voxel, raw = dataset.voxel_size_nm, with_raw(dataset)

    def compute(block: Block) -> Mapping[str, Made]:
        from fibstream.services.analysis.table import finish, to_parquet  # Arrow comes with it

        assert block.grid is not None
        table = finish(total_of(block.cells[rows.name], block.grid), voxel, raw=raw)
        return {path: to_parquet(table, {"organelle": name, "voxel_size_nm": str(list(voxel))})}

    parameters = {"voxel_size_nm": list(voxel), "raw": raw}
    return Stage(f"tables/{name}", 1, (rows,), (Output(path),), parameters, compute, subjects=WHOLE)


def total_of(cells: Mapping[Index, Arrays], grid: Grid) -> Arrays:
    """Return the rows of all objects that lie in the known cells whole, as `totals.merge` does."""
    total, open_ids = merge([]), set[int]()
    for batch in _batches(cells):
        parts = []
        for index in batch:
            rows = cells[index]
            open_ids.update(_going_on(rows, index, cells, grid))
            parts.append(widen(rows))
        total = merge([total, *parts])
    whole = ~np.isin(total["id"], np.array(sorted(open_ids), np.uint64))
    return {column: values[whole] for column, values in total.items()}


def _batches(cells: Mapping[Index, Arrays]) -> Iterator[list[Index]]:
    indices = list(cells)
    yield from (indices[start : start + BATCH] for start in range(0, len(indices), BATCH))


def _going_on(
    rows: Arrays, index: Index, known: Mapping[Index, Arrays], grid: Grid
) -> Iterator[int]:
    """Yield the ids of a cell that may go on in a neighbour which is not measured."""
    for step in STEPS:
        z, y, x = (i + s for i, s in zip(index, step, strict=True))
        if grid.contains((z, y, x)) and (z, y, x) not in known:
            yield from rows["id"][_reaching(rows, grid.box(index), step)].tolist()


def _reaching(rows: Arrays, box: Box, step: Index) -> NDArray[np.bool_]:
    """Return which rows of a chunk may go on in the neighbour at ``step``."""
    reaching = np.ones(len(rows["id"]), bool)
    for axis, s in enumerate(step):
        if s:
            plane = box.start[axis] if s < 0 else box.stop[axis] - 1
            reaching &= rows["low" if s < 0 else "high"][:, axis] == plane
    return reaching


def _stages(dataset: Dataset, files: Files) -> Sequence[Stage]:  # noqa: ARG001
    return [table_stage(dataset, organelle.name) for organelle in dataset.organelles]


TABLES = Capability(("tables",), _stages)

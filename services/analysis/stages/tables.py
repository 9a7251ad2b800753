"""``tables/<organelle>``: one table of the partial rows of all chunks."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from fibstream.core.dataset import Dataset
from fibstream.core.grid import Grid, Index
from fibstream.core.ports import Files
from fibstream.core.service import Capability
from fibstream.core.stage import Arrays, Block, Input, Made, Output, Stage
from fibstream.core.subject import WHOLE
from fibstream.kernels.extents import going_on
from fibstream.services.analysis.totals import merge, select

from .measures import with_raw

BATCH = 256  # chunks whose rows are in memory at a time, beside the total


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
    return Stage(f"tables/{name}", 3, (rows,), (Output(path),), parameters, compute, subjects=WHOLE)


def total_of(cells: Mapping[Index, Arrays], grid: Grid) -> Arrays:
    """Return the rows of all objects that lie in the known cells whole, as `totals.merge` does."""
    total, open_ids = merge([]), set[int]()
    for batch in _batches(cells):
        parts = []
        for index in batch:
            rows = cells[index]
            open_ids.update(going_on(rows, index, cells, grid))
            parts.append(rows)
        total = merge([total, *parts])
    return select(total, ~np.isin(total["id"], np.array(sorted(open_ids), np.uint64)))


def _batches(cells: Mapping[Index, Arrays]) -> Iterator[list[Index]]:
    indices = list(cells)
    yield from (indices[start : start + BATCH] for start in range(0, len(indices), BATCH))


def _stages(dataset: Dataset, files: Files) -> Sequence[Stage]:  # noqa: ARG001
    return [table_stage(dataset, organelle.name) for organelle in dataset.organelles]


TABLES = Capability(("tables",), _stages)

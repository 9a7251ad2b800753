"""``tables/<organelle>``: the fold of analysis makes one table of all partial rows."""

from collections.abc import Iterable
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import Dataset
from fibstream.core.fold import NoFold, Result
from fibstream.core.grid import Box, Grid, Index
from fibstream.core.keys import canonical, digest
from fibstream.core.service import Capability
from fibstream.core.stage import Arrays, Input
from fibstream.services.analysis.totals import RowTotals

from .measures import with_raw

EPOCH = 64  # changed chunks between two tables; one more follows when nothing else is left to do
TABLE_VERSION = 1
# To all neighbours: an object of connectivity 26 may go on across an edge or a corner alone.
STEPS: tuple[Index, ...] = tuple(
    (z, y, x) for z, y, x in product((-1, 0, 1), repeat=3) if (z, y, x) != (0, 0, 0)
)


class TableFold(NoFold):
    """The tables of a dataset, folded from partial rows."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._grid = dataset.grid
        self._totals = {o.name: RowTotals() for o in dataset.organelles}
        self._contents: dict[str, dict[Index, str]] = {name: {} for name in self._totals}
        self._changed = dict.fromkeys(self._totals, 0)
        self.inputs = tuple(
            Input(f"measures/{name}", f"summaries/measures/{name}") for name in self._totals
        )

    def put(self, source: Input, index: Index, content: str, summary: Arrays) -> None:
        """Take the rows of one chunk."""
        name = source.stage.partition("/")[2]
        if self._contents[name].get(index) != content:
            self._contents[name][index] = content
            self._changed[name] += 1
            self._totals[name].put(index, summary)

    def seal(self, grid: Grid) -> None:
        """Take the grid of the sealed volume: nothing comes beyond its border."""
        self._grid = grid

    def results(self, *, idle: bool) -> Iterable[Result]:
        """Return each table that is due."""
        for name, contents in self._contents.items():
            if contents and (idle or self._changed[name] >= EPOCH):
                self._changed[name] = 0
                make = partial(self._make, name)
                yield Result(f"tables/{name}", self._key(name), (_path(name),), make)

    def _key(self, name: str) -> str:
        voxel = list(self._dataset.voxel_size_nm)
        rows = sorted(self._contents[name].items())
        return digest(canonical([name, TABLE_VERSION, voxel, self._grid.shape, rows]))

    def _make(self, name: str) -> dict[str, bytes]:
        from fibstream.services.analysis.table import finish, to_parquet  # Arrow comes with it

        raw = with_raw(self._dataset)
        total = self._totals[name].total()
        whole = ~np.isin(total["id"], list(self._incomplete(name)))
        rows = {column: values[whole] for column, values in total.items()}
        table = finish(rows, self._dataset.voxel_size_nm, raw=raw)
        metadata = {"organelle": name, "voxel_size_nm": str(list(self._dataset.voxel_size_nm))}
        return {_path(name): to_parquet(table, metadata)}

    def _incomplete(self, name: str) -> set[int]:
        """Return the ids that reach a chunk which is not measured; they have no row yet."""
        found: set[int] = set()
        known = self._contents[name]
        z, y, x = self._grid.count
        if len(known) == z * y * x:
            return found  # nothing more can come
        for index in known:
            box, rows = self._grid.box(index), self._totals[name].rows(index)
            for step in STEPS:
                z, y, x = (i + s for i, s in zip(index, step, strict=True))
                if self._grid.contains((z, y, x)) and (z, y, x) not in known:
                    found.update(rows["id"][_reaching(rows, box, step)].tolist())
        return found


def _reaching(rows: Arrays, box: Box, step: Index) -> NDArray[np.bool_]:
    """Return which rows of a chunk may go on in the neighbour at ``step``."""
    reaching = np.ones(len(rows["id"]), bool)
    for axis, s in enumerate(step):
        if s:
            plane = box.start[axis] if s < 0 else box.stop[axis] - 1
            reaching &= rows["low" if s < 0 else "high"][:, axis] == plane
    return reaching


def _path(name: str) -> str:
    return f"tables/{name}.parquet"


TABLES = Capability(("tables",), lambda *_: (), lambda dataset: [TableFold(dataset)])

"""The table while chunks land: a row is whole, or not there."""

from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import ndimage

from fibstream.core.dataset import Dataset, Organelle
from fibstream.core.grid import Grid, Index
from fibstream.core.stage import Patch
from fibstream.services.analysis.conventions import HALO
from fibstream.services.analysis.measure import measure
from fibstream.services.analysis.stages.tables import EPOCH, TableFold

SHAPE, CHUNK = (12, 13, 14), (4, 5, 7)


def dataset(shape: tuple[int | None, int, int]) -> Dataset:
    organelle = Organelle(name="generic", recipe="generic", inputs={}, settings={})
    return Dataset(
        name="d", shape=shape, chunk=CHUNK, dtype="float32", voxel_size_nm=(8, 8, 8),
        contrast=(0, 1), organelles=(organelle,),
    )  # fmt: skip


def labels(seed: int) -> np.ndarray:
    """Objects that are one label from the start, some of them joined by corners alone."""
    mask = np.random.default_rng(seed).random(SHAPE) < 0.06
    return ndimage.label(mask, np.ones((3, 3, 3)))[0].astype(np.uint64)


def rows(tables: TableFold) -> dict[int, dict[str, Any]]:
    parquet = tables._make("generic")["tables/generic.parquet"]
    return {row["id"]: row for row in pq.read_table(pa.BufferReader(parquet)).to_pylist()}


def test_a_row_is_final_as_soon_as_it_is_there() -> None:
    early = 0
    for seed in range(30):
        volume, grid = labels(seed), Grid(SHAPE, CHUNK)
        tables = TableFold(dataset((None, *SHAPE[1:])))
        order = list(grid.indices())
        np.random.default_rng(seed).shuffle(order)
        seen: dict[int, dict[str, Any]] = {}
        for number, index in enumerate(order):
            if number == len(order) // 2:
                tables.seal(grid)
            block = grid.block(index, HALO)
            partial = measure(Patch(volume[block.slices()], block), grid.box(index), None)
            tables.put(tables.inputs[0], index, f"{seed}-{number}", partial)
            now = rows(tables)
            assert {i: now.get(i) for i in seen} == seen, (seed, index)
            seen = now
            early += bool(now) and number < len(order) - 1
        ids, voxels = np.unique(volume[volume > 0], return_counts=True)
        assert {i: row["voxels"] for i, row in seen.items()} == dict(
            zip(ids.tolist(), voxels.tolist(), strict=True)
        )
    assert early > 30, "rows came only at the end"


@pytest.mark.parametrize("step", [s for s in product((-1, 0, 1), repeat=3) if any(s)])
def test_an_object_that_goes_on_across_a_corner_alone_has_no_row_yet(
    step: tuple[int, int, int],
) -> None:
    """Two voxels in the middle chunk and its neighbour at ``step``, which is measured last."""
    shape = (12, 15, 21)  # three chunks along each axis
    grid = Grid(shape, CHUNK)
    middle, missing = grid.box((1, 1, 1)), tuple(1 + s for s in step)
    here = tuple(
        (a + b) // 2 if s == 0 else (b - 1 if s > 0 else a)
        for s, a, b in zip(step, middle.start, middle.stop, strict=True)
    )
    volume = np.zeros(shape, np.uint64)
    volume[here] = volume[tuple(h + s for h, s in zip(here, step, strict=True))] = 5
    tables = TableFold(dataset(shape))
    for index in sorted(grid.indices(), key=lambda at: at == missing):
        assert rows(tables) == {}
        block = grid.block(index, HALO)
        partial = measure(Patch(volume[block.slices()], block), grid.box(index), None)
        tables.put(tables.inputs[0], index, str(index), partial)
    assert rows(tables)[5]["voxels"] == 2


def put(tables: TableFold, grid: Grid, indices: list[Index], content: str) -> None:
    """Put a measure of each chunk; equal contents are hashes of equal measures."""
    for index in indices:
        box = grid.block(index, HALO)
        partial = measure(Patch(np.zeros(box.shape, np.uint64), box), grid.box(index), None)
        tables.put(tables.inputs[0], index, content, partial)


def due(tables: TableFold, *, idle: bool = False) -> int:
    return len(list(tables.results(idle=idle)))


def test_a_table_is_due_after_an_epoch_of_changes_or_when_nothing_else_is_left() -> None:
    grid = Grid((4 * EPOCH, *SHAPE[1:]), (4, *SHAPE[1:]))
    tables, chunks = TableFold(dataset((None, *SHAPE[1:]))), list(grid.indices())
    assert due(tables, idle=True) == 0  # nothing is measured
    put(tables, grid, chunks[:-1], "a")
    put(tables, grid, chunks[:5], "a")  # repeated: no change
    assert due(tables) == 0
    assert due(tables, idle=True) == 1
    put(tables, grid, chunks[:-1], "b")
    assert due(tables) == 0
    put(tables, grid, chunks[-1:], "a")
    assert [due(tables), due(tables)] == [1, 0]


def test_the_key_of_a_table_follows_its_measures_and_the_extent() -> None:
    grid, tables = Grid(SHAPE, CHUNK), TableFold(dataset((None, *SHAPE[1:])))
    keys = []

    def note() -> None:
        (result,) = tables.results(idle=True)
        keys.append(result.key)

    put(tables, grid, [(0, 0, 0)], "a")
    note()
    note()
    put(tables, grid, [(0, 0, 1)], "a")
    note()
    put(tables, grid, [(0, 0, 1)], "b")
    note()
    tables.seal(grid)
    note()
    assert keys[0] == keys[1] and len(set(keys)) == 4

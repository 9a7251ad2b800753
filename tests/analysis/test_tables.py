"""The table while chunks land: a row is whole, or not there."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from fibstream.core.dataset import Dataset, Organelle
from fibstream.core.grid import Grid, Index
from fibstream.core.keys import NamedInput
from fibstream.core.stage import Arrays, Block, Patch, Stage
from fibstream.core.subject import WHOLE
from fibstream.core.wanted import key_of
from fibstream.services.analysis.conventions import HALO
from fibstream.services.analysis.measure import measure
from fibstream.services.analysis.stages.tables import BATCH, table_stage, total_of
from fibstream.services.analysis.table import finish

SHAPE, CHUNK = (12, 13, 14), (4, 5, 7)


def labels(seed: int) -> NDArray[np.uint64]:
    """Objects that are one label from the start, some of them joined by corners alone."""
    mask = np.random.default_rng(seed).random(SHAPE) < 0.06
    return ndimage.label(mask, np.ones((3, 3, 3)))[0].astype(np.uint64)


def rows(cells: Mapping[Index, Arrays], grid: Grid) -> dict[int, dict[str, Any]]:
    table = finish(total_of(cells, grid), (8, 8, 8))
    return {row["id"]: row for row in table.to_pylist()}


def measured(volume: NDArray[np.uint64], grid: Grid, index: Index) -> Arrays:
    block = grid.block(index, HALO)
    return measure(Patch(volume[block.slices()], block), grid.box(index), None)


def test_a_row_is_final_as_soon_as_it_is_there() -> None:
    early = 0
    for seed in range(30):
        volume, sealed = labels(seed), Grid(SHAPE, CHUNK)
        order = list(sealed.indices())
        np.random.default_rng(seed).shuffle(order)
        cells: dict[Index, Arrays] = {}
        seen: dict[int, dict[str, Any]] = {}
        for number, index in enumerate(order):
            grid = Grid((None, *SHAPE[1:]), CHUNK) if number < len(order) // 2 else sealed
            cells[index] = measured(volume, sealed, index)
            now = rows(cells, grid)
            assert {i: now.get(i) for i in seen} == seen, (seed, index)
            seen = now
            early += bool(now) and number < len(order) - 1
        ids, voxels = np.unique(volume[volume > 0], return_counts=True)
        assert {i: row["voxels"] for i, row in seen.items()} == dict(
            zip(ids.tolist(), voxels.tolist(), strict=True)
        )
    assert early > 30, "rows came only at the end"


@pytest.mark.parametrize("seed", range(3))
def test_neither_chunks_nor_their_order_matter(seed: int) -> None:
    volume, coarse, fine = labels(seed), Grid(SHAPE, CHUNK), Grid(SHAPE, (2, 2, 2))
    indices = list(fine.indices())
    np.random.default_rng(seed).shuffle(indices)
    assert len(indices) > BATCH
    found = rows({index: measured(volume, fine, index) for index in indices}, fine)
    assert found == rows({i: measured(volume, coarse, i) for i in coarse.indices()}, coarse)


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
    cells: dict[Index, Arrays] = {}
    for index in sorted(grid.indices(), key=lambda at: at == missing):
        assert rows(cells, grid) == {}
        cells[index] = measured(volume, grid, index)
    assert rows(cells, grid)[5]["voxels"] == 2


def test_an_object_at_the_open_end_has_no_row_until_the_seal() -> None:
    shape = (4, 5, 7)  # one chunk
    volume = np.zeros(shape, np.uint64)
    volume[3, 0, 0], volume[0, 4, 6] = 5, 6
    sealed, still_open = Grid(shape, CHUNK), Grid((None, *shape[1:]), CHUNK)
    cells = {(0, 0, 0): measured(volume, sealed, (0, 0, 0))}
    assert sorted(rows(cells, still_open)) == [6]
    assert sorted(rows(cells, sealed)) == [5, 6]


# -- the stage ------------------------------------------------------------------------------------


def dataset(**other: Any) -> Dataset:
    organelle = Organelle(name="generic", recipe="generic", inputs={}, settings={})
    given = {
        "name": "d", "shape": SHAPE, "chunk": CHUNK, "dtype": "uint8", "voxel_size_nm": (8, 8, 8),
        "contrast": (0, 1), "organelles": (organelle,),
    }  # fmt: skip
    return Dataset(**{**given, **other})


def test_the_stage_makes_the_table_of_all_cells() -> None:
    volume, grid = labels(0), Grid(SHAPE, CHUNK)
    cells = {i: measured(volume, grid, i) for i in grid.indices()}
    stage = table_stage(dataset(dtype="float32"), "generic")
    assert (stage.name, stage.subjects) == ("tables/generic", WHOLE)
    (source,) = stage.inputs
    block = Block(WHOLE, grid.volume, {}, cells={source.name: cells}, grid=grid)
    (output,) = stage.outputs
    made = stage.compute(block)[output.name]
    assert isinstance(made, bytes)
    table = pq.read_table(pa.BufferReader(made))
    assert {row["id"]: row for row in table.to_pylist()} == rows(cells, grid)
    assert table.schema.metadata[b"organelle"] == b"generic"
    assert table.schema.metadata[b"voxel_size_nm"] == b"[8.0, 8.0, 8.0]"


def test_the_key_of_a_table_follows_its_measures_the_extent_and_the_voxel_size() -> None:
    stage, still_open = table_stage(dataset(), "generic"), Grid((None, *SHAPE[1:]), CHUNK)
    (source,) = stage.inputs

    def key(stage: Stage, grid: Grid, *contents: str) -> str:
        inputs = [
            NamedInput(source.stage, source.name, (0, 0, n), content)
            for n, content in enumerate(contents)
        ]
        return key_of(stage, grid, WHOLE, inputs, b"")

    keys = [
        key(stage, still_open, "a"),
        key(stage, still_open, "a", "a"),
        key(stage, still_open, "a", "b"),
        key(stage, Grid(SHAPE, CHUNK), "a", "b"),
        key(table_stage(dataset(voxel_size_nm=(8, 8, 4)), "generic"), still_open, "a"),
        key(table_stage(dataset(dtype="float32"), "generic"), still_open, "a"),
    ]
    assert key(table_stage(dataset(), "generic"), still_open, "a") == keys[0]
    assert len(set(keys)) == len(keys)

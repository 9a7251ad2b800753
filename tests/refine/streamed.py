"""A recipe on a small volume, chunk by chunk in an order, and what its fold reports."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import Dataset, Organelle, Prediction
from fibstream.core.events import GONE
from fibstream.core.grid import Grid, Index
from fibstream.core.stage import Arrays, Block, Input, Patch, Stage
from fibstream.services.refine.recipe import find_recipe

from .whole import VOXEL


class Streamed(NamedTuple):
    """Labels of the whole volume, voxels of each object that was reported to exist, summaries."""

    labels: NDArray[np.uint64]
    objects: dict[int, int]
    summaries: Mapping[tuple[str, Index], Arrays]


def dataset_of(
    grid: Grid, recipe: str, inputs: Mapping[str, str], settings: Mapping[str, Any]
) -> tuple[Dataset, Organelle]:
    """Return a dataset whose one organelle is made by a recipe; any input may be a prediction."""
    organelle = Organelle(name="made", recipe=recipe, settings=settings, inputs=inputs)
    predictions = tuple(Prediction(name=name) for name in sorted(set(inputs.values())))
    dataset = Dataset(
        name="law", shape=grid.extent, chunk=grid.chunk, dtype="uint8", voxel_size_nm=VOXEL,
        contrast=(0, 255), predictions=predictions, organelles=(organelle,),
    )  # fmt: skip
    return dataset, organelle


def streamed(
    made: tuple[Dataset, Organelle], arrays: Mapping[str, NDArray[Any]], order: Sequence[Index],
    absent: set[Index],
) -> Streamed:  # fmt: skip
    """Compute every stage of the organelle; the fold takes summaries in the order given."""
    dataset, organelle = made
    recipe, grid = find_recipe(organelle.recipe), dataset.grid
    fold = recipe.fold(dataset, organelle)
    known, summaries = dict(arrays), dict[tuple[str, Index], Arrays]()
    objects: dict[int, int] = {}

    def tell() -> None:
        for change in fold.changes():
            objects.pop(change.id, None)
            if change.kind not in GONE:
                objects[change.id] = change.voxels

    for stage in recipe.stages(dataset, organelle):
        for index in order:
            extra = fold.extra(stage.name, index) if stage.folded else b""
            assert extra is not None
            patches = {i.name: _patch(known[i.name], i, grid, index, absent)
                       for i in stage.inputs if i.dtype}  # fmt: skip
            own = {i.name: summaries[i.name, index] for i in stage.inputs if not i.dtype}
            for name, content in stage.compute(
                Block(index, grid.box(index), patches, own, extra)
            ).items():
                if isinstance(content, dict):
                    summaries[name, index] = content
                    fold.put(Input(stage.name, name), index, "", content)
                    tell()
                else:
                    assert isinstance(content, np.ndarray)
                    _whole(known, name, stage, grid)[grid.box(index).slices()] = content
    fold.seal(grid)
    tell()
    return Streamed(known["labels/made"], objects, summaries)


def _whole(
    known: dict[str, NDArray[Any]], name: str, stage: Stage, grid: Grid
) -> NDArray[np.uint64]:
    assert name in [output.name for output in stage.outputs]
    return known.setdefault(name, np.zeros(grid.extent, np.uint64))


def _patch(array: NDArray[Any], read: Input, grid: Grid, index: Index, absent: set[Index]) -> Patch:
    box = grid.block(index, read.halo)
    gone = tuple(grid.box(i) for i in grid.covering(box) if i in absent)
    return Patch(array[box.slices()], box, gone)

"""A stage of objects for the simulation, and the table of what it finds.

It measures each closed object in its own box, with a halo, so that a wrong box, a chunk of another
content or an output of an object that is no more all show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fibstream.core.dataset import Dataset
from fibstream.core.fold import Fold
from fibstream.core.grid import Halo
from fibstream.core.ports import Files
from fibstream.core.service import Capability
from fibstream.core.stage import RAW, Block, Input, Made, Output, Stage
from fibstream.core.subject import OBJECTS, WHOLE, ObjectId
from fibstream.kernels.extents import ObjectBoxes


def rows_input(name: str) -> Input:
    return Input(f"measures/{name}", f"summaries/measures/{name}")


def spread_input(name: str) -> Input:
    return Input(f"measures/spread-{name}", f"summaries/measures/spread-{name}", subjects=OBJECTS)


def spread_stage(dataset: Dataset, name: str) -> Stage:
    """Return the stage that sums raw over each object, and counts what is not it around it."""
    labels, found = f"labels/{name}", spread_input(name)
    around = Input(labels, labels, "uint64", Halo((1, 2, 0), (2, 1, 3)))

    def compute(block: Block) -> Mapping[str, Made]:
        assert isinstance(block.subject, ObjectId)
        patch, raw = block.patches[labels], block.patches[RAW]
        own = patch.array == block.subject.number
        inside = own[block.core.slices(patch.box.start)]
        for axis in range(3):  # the box is that of the object, and holds all of it
            assert inside.any(axis=tuple({0, 1, 2} - {axis}))[[0, -1]].all()
        assert own.sum() == inside.sum()
        sums = [own.sum(), raw.array[inside].sum(dtype="<i8"), (~own).sum(), *block.core.start]
        return {found.name: {"sums": np.array(sums, "<i8")}}

    inputs = (around, Input(RAW, RAW, dataset.dtype))
    outputs = (Output(found.name),)
    return Stage(
        found.stage, 1, inputs, outputs, {}, compute, folded=True, subjects=OBJECTS,
        found_in=rows_input(name),
    )  # fmt: skip


def table_stage(name: str) -> Stage:
    """Return the stage that lists what was found of all objects."""
    found, path = spread_input(name), f"spread/{name}.parquet"

    def compute(block: Block) -> Mapping[str, Made]:
        objects = block.objects[found.name]
        ids = sorted(objects)
        sums = np.array([objects[i]["sums"] for i in ids], np.int64).reshape(-1, 6)
        columns = {"id": np.array([i.number for i in ids], np.uint64)}
        table = pa.table(columns | {f"sum_{n}": sums[:, n] for n in range(6)})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        return {path: sink.getvalue().to_pybytes()}

    inputs = (rows_input(name), found)
    return Stage(
        f"tables/spread-{name}", 1, inputs, (Output(path),), {}, compute, subjects=WHOLE
    )  # fmt: skip


def _names(dataset: Dataset) -> list[str]:
    return [o.name for o in dataset.organelles] if dataset.steps else []


def _stages(dataset: Dataset, files: Files) -> Sequence[Stage]:
    names = _names(dataset)
    return [stage for n in names for stage in (spread_stage(dataset, n), table_stage(n))]


def _folds(dataset: Dataset) -> Sequence[Fold]:
    return [
        ObjectBoxes(rows_input(n), [spread_input(n).stage], dataset.grid) for n in _names(dataset)
    ]


SPREAD = Capability((), _stages, _folds)  # its families are those of measures and of tables

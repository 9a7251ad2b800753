"""``brightness/<organelle>``: the grey values of the objects alone, 0 elsewhere.

``peaks/<organelle>``: of each object its brightest voxel.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from fibstream.core.dataset import Dataset
from fibstream.core.fold import Fold
from fibstream.core.ports import Files
from fibstream.core.service import Capability
from fibstream.core.stage import RAW, Block, Input, Made, Output, Stage
from fibstream.core.subject import OBJECTS, ObjectId
from fibstream.kernels.extents import ObjectBoxes


def brightness_stage(dataset: Dataset, name: str) -> Stage:
    """Return the stage of one organelle."""
    labels, path = f"labels/{name}", f"brightness/{name}"

    def compute(block: Block) -> Mapping[str, Made]:
        grey = block.patches[RAW].array
        return {path: np.where(block.patches[labels].array != 0, grey, grey.dtype.type(0))}

    inputs = (Input(labels, labels, "uint64"), Input(RAW, RAW, dataset.dtype))
    return Stage(path, 1, inputs, (Output(path, dataset.dtype, "mean"),), {}, compute)


def peak_stage(dataset: Dataset, name: str) -> Stage:
    """Return the stage of the objects of one organelle."""
    labels, path = f"labels/{name}", f"summaries/peaks/{name}"

    def compute(block: Block) -> Mapping[str, Made]:
        assert isinstance(block.subject, ObjectId)
        own = block.patches[labels].array == block.subject.number
        return {path: {"peak": block.patches[RAW].array[own].max(keepdims=True)}}

    inputs = (Input(labels, labels, "uint64"), Input(RAW, RAW, dataset.dtype))
    return Stage(
        f"peaks/{name}", 1, inputs, (Output(path),), {}, compute, folded=True, subjects=OBJECTS,
        found_in=_rows(name),
    )  # fmt: skip


def _rows(name: str) -> Input:
    return Input(f"measures/{name}", f"summaries/measures/{name}")


def _stages(dataset: Dataset, files: Files) -> Sequence[Stage]:
    names = [organelle.name for organelle in dataset.organelles]
    makers = (brightness_stage, peak_stage)
    return [make(dataset, name) for make in makers for name in names]


def _folds(dataset: Dataset) -> Sequence[Fold]:
    names = [organelle.name for organelle in dataset.organelles]
    return [ObjectBoxes(_rows(name), [f"peaks/{name}"], dataset.grid) for name in names]


BRIGHTNESS = Capability(("brightness", "peaks"), _stages, _folds)

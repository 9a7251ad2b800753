"""``brightness/<organelle>``: the grey values of the objects alone, 0 elsewhere."""

from collections.abc import Mapping, Sequence

import numpy as np

from fibstream.core.dataset import Dataset
from fibstream.core.ports import Files
from fibstream.core.service import Capability
from fibstream.core.stage import RAW, Block, Input, Made, Output, Stage


def brightness_stage(dataset: Dataset, name: str) -> Stage:
    """Return the stage of one organelle."""
    labels, path = f"labels/{name}", f"brightness/{name}"

    def compute(block: Block) -> Mapping[str, Made]:
        grey = block.patches[RAW].array
        return {path: np.where(block.patches[labels].array != 0, grey, grey.dtype.type(0))}

    inputs = (Input(labels, labels, "uint64"), Input(RAW, RAW, dataset.dtype))
    return Stage(path, 1, inputs, (Output(path, dataset.dtype, "mean"),), {}, compute)


def _stages(dataset: Dataset, files: Files) -> Sequence[Stage]:
    return [brightness_stage(dataset, organelle.name) for organelle in dataset.organelles]


BRIGHTNESS = Capability(("brightness",), _stages)

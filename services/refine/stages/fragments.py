"""``fragments/<organelle>``: a prediction is cut into fragments, one chunk at a time."""

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from fibstream.core.dataset import Dataset, Prediction
from fibstream.core.stage import Arrays, Block, Input, Output, Stage
from fibstream.kernels.absent import declared, declaring_inputs
from fibstream.services.refine.rule import ObjectRule

from .masks import AnyMask, masked


def fragment_stage(
    dataset: Dataset,
    name: str,
    prediction: Prediction,
    rule: ObjectRule,
    masks: Sequence[AnyMask] = (),
) -> Stage:
    """Return the stage that cuts a prediction into fragments of the organelle ``name``.

    Where the dataset declares which voxels were never imaged, it reads what tells it, too; with
    masks, the labels of other organelles, or the prediction of the cell.
    """

    def compute(block: Block) -> Mapping[str, NDArray[Any] | Arrays]:
        from fibstream.services.refine.cut import cut_fragments

        patch = masked(block, block.patches[prediction.path], masks)
        ids, summary = cut_fragments(patch, block.core, rule, declared(dataset, block))
        return {f"fragments/{name}": ids, f"summaries/fragments/{name}": summary}

    # The squash length of the prediction is in the level. Size limits hold for whole objects: the
    # fold applies them, and they change no fragment.
    parameters: dict[str, Any] = {
        "sigma": list(rule.sigma),
        "level": rule.level,
        "connectivity": rule.connectivity,
        "fill_holes": rule.fill_holes,
    }
    if masks:
        parameters["masks"] = [mask.parameters for mask in masks]
    read = [
        Input(prediction.stage, prediction.path, "uint8", rule.halo),
        *(mask.read(rule.halo) for mask in masks),
    ]
    if dataset.absent_value is not None:
        parameters["absent_value"] = dataset.absent_value
    return Stage(
        f"fragments/{name}", 1,
        (*read, *declaring_inputs(dataset)),
        (Output(f"fragments/{name}", "uint64", final=False), Output(f"summaries/fragments/{name}")),
        parameters,
        compute,
    )  # fmt: skip

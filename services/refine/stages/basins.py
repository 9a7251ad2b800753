"""``fragments/<organelle>`` of a recipe that agglomerates: a prediction is cut into basins."""

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from fibstream.core.dataset import Dataset, Prediction
from fibstream.core.grid import Halo
from fibstream.core.stage import Arrays, Block, Input, Output, Stage
from fibstream.kernels.absent import declared, declaring_inputs
from fibstream.kernels.conventions import radius
from fibstream.services.refine.rule import ObjectRule

from .masks import AnyMask, masked


def basin_stage(
    dataset: Dataset, name: str, prediction: Prediction, rule: ObjectRule,
    masks: Sequence[AnyMask] = (),
) -> Stage:  # fmt: skip
    """Return the stage that cuts a prediction into basins of the organelle ``name``.

    What agglomerates them is no part of it: another quantile or threshold cuts nothing anew.
    """

    def compute(block: Block) -> Mapping[str, NDArray[Any] | Arrays]:
        from fibstream.services.refine.descent import cut_basins

        patch = masked(block, block.patches[prediction.path], masks)
        ids, summary = cut_basins(patch, block.core, rule, declared(dataset, block))
        return {f"fragments/{name}": ids, f"summaries/fragments/{name}": summary}

    z, y, x = (n + 1 for n in radius(rule.sigma))
    halo = Halo((z, y, x), (z, y, x))
    parameters: dict[str, Any] = {
        "basins": True, "sigma": list(rule.sigma), "level": rule.level,
        "connectivity": rule.connectivity,
    }  # fmt: skip
    if rule.fill_holes != "none":
        parameters["fill_holes"] = rule.fill_holes
    if masks:
        parameters["masks"] = [mask.parameters for mask in masks]
    if dataset.absent_value is not None:
        parameters["absent_value"] = dataset.absent_value
    read = [
        Input(prediction.stage, prediction.path, "uint8", halo),
        *(mask.read(halo) for mask in masks),
    ]
    # 2: fragments from which descent leaves by one voxel are linked; by faces there are none.
    return Stage(
        f"fragments/{name}", 1 if rule.connectivity == 6 else 2,
        (*read, *declaring_inputs(dataset)),
        (Output(f"fragments/{name}", "uint64", final=False), Output(f"summaries/fragments/{name}")),
        parameters,
        compute,
    )  # fmt: skip

"""``labels/<organelle>`` of a part: its voxels take the ids of another organelle, and a summary."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import Prediction
from fibstream.core.stage import NONE, Arrays, Block, Input, Output, Stage
from fibstream.kernels.conventions import LEVEL_BITS

from .masks import AnyMask, masked


def part_stage(
    name: str, prediction: Prediction, parent: str, level: int, masks: Sequence[AnyMask] = ()
) -> Stage:
    """Return the stage that gives a prediction's voxels the ids of ``parent`` at these voxels.

    ``level`` is the least value that counts, in units of 2**-7 grey levels.
    """
    least = -(-level >> LEVEL_BITS)

    def compute(block: Block) -> Mapping[str, NDArray[Any] | Arrays]:
        patch = masked(block, block.patches[prediction.path], masks)
        ids = block.patches[f"labels/{parent}"].array
        return {f"labels/{name}": np.where(patch.array >= least, ids, np.uint64(0))}

    parameters: dict[str, Any] = {"part": True, "level": least}
    if masks:
        parameters["masks"] = [mask.parameters for mask in masks]
    inputs = (
        Input(prediction.stage, prediction.path, "uint8"),
        Input(f"labels/{parent}", f"labels/{parent}", "uint64"),
        *(mask.read(NONE) for mask in masks),
    )
    output = Output(f"labels/{name}", "uint64", "mode")
    return Stage(f"labels/{name}", 1, inputs, (output,), parameters, compute)


def count_stage(name: str) -> Stage:
    """Return the stage that counts the voxels of each id in a chunk, for the fold of a part."""

    def compute(block: Block) -> Mapping[str, NDArray[Any] | Arrays]:
        labels = block.patches[f"labels/{name}"].array
        ids, voxels = np.unique(labels[labels != 0], return_counts=True)
        counts = {"ids": ids.astype("<u8"), "voxels": voxels.astype("<u4")}
        return {f"summaries/fragments/{name}": counts}

    labels = Input(f"labels/{name}", f"labels/{name}", "uint64")
    output = Output(f"summaries/fragments/{name}")
    return Stage(f"fragments/{name}", 1, (labels,), (output,), {"part": True}, compute)

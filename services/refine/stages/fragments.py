"""``fragments/<organelle>``: a prediction is cut into fragments, one chunk at a time."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from fibstream.core.dataset import Prediction
from fibstream.core.stage import Arrays, Block, Input, Output, Stage
from fibstream.services.refine.rule import ObjectRule


def fragment_stage(name: str, prediction: Prediction, rule: ObjectRule) -> Stage:
    """Return the stage that cuts a prediction into fragments of the organelle ``name``."""

    def compute(block: Block) -> Mapping[str, NDArray[Any] | Arrays]:
        from fibstream.services.refine.cut import cut_fragments

        ids, summary = cut_fragments(block.patches[prediction.path], block.core, rule)
        return {f"fragments/{name}": ids, f"summaries/fragments/{name}": summary}

    # The squash length of the prediction is in the level. Size limits hold for whole objects: the
    # fold applies them, and they change no fragment.
    parameters = {
        "sigma": list(rule.sigma),
        "level": rule.level,
        "connectivity": rule.connectivity,
        "fill_holes": rule.fill_holes,
    }
    return Stage(
        f"fragments/{name}", 1,
        (Input(prediction.stage, prediction.path, "uint8", rule.halo),),
        (Output(f"fragments/{name}", "uint64", final=False), Output(f"summaries/fragments/{name}")),
        parameters,
        compute,
    )  # fmt: skip

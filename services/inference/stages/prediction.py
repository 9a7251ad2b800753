"""``prediction/<model>``: one network predicts all of its classes, one chunk at a time."""

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from fibstream.core.dataset import Dataset, Model
from fibstream.core.stage import RAW, Arrays, Block, Compute, Input, Output, Patch, Stage
from fibstream.services.inference.grey import contrast
from fibstream.services.inference.port import Engine, ModelSpec
from fibstream.services.inference.tiling import halo_of, predict


def prediction_stage(dataset: Dataset, model: Model, engine: Callable[[], Engine]) -> Stage:
    """Return the stage of one network; ``engine`` is called with the first block."""
    spec = ModelSpec.model_validate(dict(model.spec))
    parameters = {
        "model": model.sha256,
        "profile": dict(model.profile),
        "contrast": list(dataset.contrast),
        "invert": dataset.invert,
    }
    return Stage(
        f"prediction/{model.name}", 1,
        (Input(RAW, RAW, dataset.dtype, halo_of(spec)),),
        tuple(Output(f"predictions/{name}", "uint8", "mean") for name in model.classes),
        parameters,
        _compute(dataset, model, engine),
    )  # fmt: skip


def _compute(dataset: Dataset, model: Model, engine: Callable[[], Engine]) -> Compute:
    def compute(block: Block) -> Mapping[str, NDArray[Any] | Arrays]:
        raw = block.patches[RAW]
        low, high = dataset.contrast
        grey = contrast(raw.array, low, high, invert=dataset.invert)
        found = predict(Patch(grey, raw.box, raw.absent), block.core, engine())
        return {f"predictions/{name}": found[i] for i, name in enumerate(model.classes)}

    return compute

"""``prediction/<model>``: one network predicts all of its classes, one chunk at a time.

A class is written to ``predictions/<name>``, by the name that the pipeline gives it.
"""

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
    channels = _channels(dataset, model)
    parameters = {
        "model": model.sha256,
        "profile": dict(model.profile),
        "contrast": list(dataset.contrast),
        "invert": dataset.invert,
        "channels": channels,
    }
    return Stage(
        f"prediction/{model.name}", 1,
        (Input(RAW, RAW, dataset.dtype, halo_of(spec)),),
        tuple(Output(path, "uint8", "mean") for path in channels),
        parameters,
        _compute(dataset, channels, engine),
    )  # fmt: skip


def _channels(dataset: Dataset, model: Model) -> dict[str, int]:
    """Return the channel of the network's output that each of its predictions is, by path."""
    own = (p for p in dataset.predictions if p.model == model.name)
    return {prediction.path: model.classes.index(prediction.channel) for prediction in own}


def _compute(
    dataset: Dataset, channels: Mapping[str, int], engine: Callable[[], Engine]
) -> Compute:
    def compute(block: Block) -> Mapping[str, NDArray[Any] | Arrays]:
        raw = block.patches[RAW]
        low, high = dataset.contrast
        grey = contrast(raw.array, low, high, invert=dataset.invert)
        found = predict(Patch(grey, raw.box, raw.absent), block.core, engine())
        return {path: found[channel] for path, channel in channels.items()}

    return compute

"""``prediction/<model>``: one network predicts all of its classes, one chunk at a time.

A class is written to ``predictions/<name>``, by the name that the pipeline gives it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from fibstream.core.dataset import Dataset, Model
from fibstream.core.stage import MASK, RAW, Arrays, Block, Compute, Input, Output, Stage
from fibstream.services.inference.port import Engine, ModelSpec
from fibstream.services.inference.seen import View, predict_raw, raw_halo
from fibstream.services.inference.tiling import halo_of


def prediction_stage(dataset: Dataset, model: Model, engine: Callable[[], Engine]) -> Stage:
    """Return the stage of one network; ``engine`` is called with the first block."""
    spec = ModelSpec.model_validate(dict(model.spec))
    channels = _channels(dataset, model)
    view = View(dataset.contrast, dataset.invert, dataset.absent_value)
    parameters = {
        "model": model.sha256,
        "profile": dict(model.profile),
        "contrast": list(dataset.contrast),
        "invert": dataset.invert,
        "channels": channels,
    }
    if dataset.absent_value is not None:
        parameters["absent_value"] = dataset.absent_value
    inputs = [Input(RAW, RAW, dataset.dtype, raw_halo(spec, view))]
    if dataset.absent_mask:
        inputs.append(Input(MASK, MASK, "uint8", halo_of(spec)))
    return Stage(
        f"prediction/{model.name}", 1,
        tuple(inputs),
        tuple(Output(path, "uint8", "mean") for path in channels),
        parameters,
        _compute(view, channels, engine),
    )  # fmt: skip


def _channels(dataset: Dataset, model: Model) -> dict[str, int]:
    """Return the channel of the network's output that each of its predictions is, by path."""
    own = (p for p in dataset.predictions if p.model == model.name)
    return {prediction.path: model.classes.index(prediction.channel) for prediction in own}


def _compute(view: View, channels: Mapping[str, int], engine: Callable[[], Engine]) -> Compute:
    def compute(block: Block) -> Mapping[str, NDArray[Any] | Arrays]:
        raw, mask = block.patches[RAW], block.patches.get(MASK)
        found = predict_raw(raw, block.core, engine(), view, mask)
        return {path: found[channel] for path, channel in channels.items()}

    return compute

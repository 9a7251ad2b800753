"""From trained weights to a released ONNX file, and its score on the slices kept out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from fibstream.services.inference.port import ModelSpec

from .config import TrainingConfig
from .levels import training_levels
from .network import HALO, STRIDE, Deployed


def export(net: Deployed, recipe: TrainingConfig, folder: Path, raw: NDArray[np.uint8]) -> Path:
    """Write ``<name>.onnx`` with free spatial axes and the metadata that the engine reads.

    ``raw`` are the training data, (z, y, x): the metadata keep their grey levels.
    """
    path = folder / f"{recipe.name}.onnx"
    edge = recipe.patch + 2 * HALO
    example = torch.zeros((1, 1, edge, edge, edge), dtype=torch.uint8)
    axes = {2: "z", 3: "y", 4: "x"}
    torch.onnx.export(
        net.eval(), (example,), str(path), dynamo=False, opset_version=18,
        input_names=["raw"], output_names=["distance"],
        dynamic_axes={"raw": axes, "distance": {2: "zo", 3: "yo", 4: "xo"}},
    )  # fmt: skip
    model = onnx.load(path)
    metadata: dict[str, Any] = {
        "classes": [recipe.mask], "voxel_size_nm": [recipe.voxel_size_nm] * 3,
        "halo": [HALO] * 3, "stride": [STRIDE] * 3, "phase": [0] * 3, "tile": [edge] * 3,
        "scale_nm": recipe.scale_nm, "meaning": "distance",
    }  # fmt: skip
    levels = training_levels(raw, _Exported(path, metadata))
    if levels is not None:
        metadata["grey"] = levels.model_dump(mode="json")
    onnx.helper.set_model_props(model, {"fibstream": json.dumps(metadata, sort_keys=True)})
    model.producer_name, model.producer_version = "fibstream", ""
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


class _Exported:
    """The exported network as an `Engine`."""

    def __init__(self, path: Path, metadata: Mapping[str, Any]) -> None:
        self.spec = ModelSpec(**metadata, name=path.stem, sha256="")
        self.profile: Mapping[str, str] = {}
        self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def infer(self, tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the prediction of one tile."""
        found: NDArray[np.uint8] = self._session.run(None, {"raw": tile[None, None]})[0][0]
        return found


def evaluate(
    path: Path, raw: NDArray[np.uint8], mask: NDArray[np.bool_], recipe: TrainingConfig
) -> dict[str, float]:
    """Dice at 127 on the held-out slices, predicted within the whole volume, rim by reflection."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    padded = np.pad(raw, [(HALO, HALO + recipe.patch)] * 3, mode="reflect")
    grey = np.zeros(raw.shape, np.uint8)
    first = raw.shape[0] - recipe.held_out_slices
    p, edge = recipe.patch, recipe.patch + 2 * HALO
    for z in range(first // STRIDE * STRIDE, raw.shape[0], p):
        for y in range(0, raw.shape[1], p):
            for x in range(0, raw.shape[2], p):
                tile = padded[z : z + edge, y : y + edge, x : x + edge]
                (out,) = session.run(None, {"raw": tile[None, None]})
                kept = grey[z : z + p, y : y + p, x : x + p]
                kept[:] = out[0, 0, : kept.shape[0], : kept.shape[1], : kept.shape[2]]
    found, truth = grey[first:] >= 127, mask[first:]
    both = int((found & truth).sum())
    return {
        "dice": 2 * both / int(found.sum() + truth.sum()),
        "iou": both / int((found | truth).sum()),
        "precision": both / max(int(found.sum()), 1),
        "recall": both / int(truth.sum()),
    }

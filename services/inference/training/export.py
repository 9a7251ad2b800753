"""From trained weights to a released ONNX file, and its score on the slices kept out."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from .config import TrainingConfig
from .network import HALO, STRIDE, Deployed


def export(net: Deployed, recipe: TrainingConfig, folder: Path) -> Path:
    """Write ``<name>.onnx`` with free spatial axes and the metadata that the engine reads."""
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
    metadata = {
        "classes": [recipe.mask], "voxel_size_nm": [recipe.voxel_size_nm] * 3,
        "halo": [HALO] * 3, "stride": [STRIDE] * 3, "phase": [0] * 3, "tile": [edge] * 3,
        "scale_nm": recipe.scale_nm, "meaning": "distance",
    }  # fmt: skip
    onnx.helper.set_model_props(model, {"fibstream": json.dumps(metadata, sort_keys=True)})
    model.producer_name, model.producer_version = "fibstream", ""
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


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

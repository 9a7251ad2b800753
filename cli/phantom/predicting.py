"""Predictions of a phantom: what networks would say of each class, chunk by chunk."""

from contextlib import closing
from pathlib import Path

from fibstream.cli.outputs import Volume
from fibstream.cli.progress import track
from fibstream.core.dataset import Dataset
from fibstream.core.errors import WrongUse
from fibstream.core.stage import Output
from fibstream.kernels.schema.classes import PREDICTED
from fibstream.phantom.predictions import Noise, predicted, prediction_halo
from fibstream.phantom.source import FINE
from fibstream.volumes.sources import open_volume


def prediction_groups(noise: Noise | None, light: tuple[str, ...]) -> list[str]:
    """Return the groups that predictions are written to; WrongUse with light, which has its own."""
    if noise is not None and light:
        raise WrongUse("--predictions: --light writes others of membranes; expected one of the two")
    return [] if noise is None else [f"predictions/{name}" for name in PREDICTED]


def write_predictions(scratch: Path, dataset: Dataset, noise: Noise, seed: int, key: str) -> None:
    """Write the prediction of each class beside the fine labels in a scratch folder."""
    outputs = [Output(f"predictions/{name}", "uint8", "mean") for name in PREDICTED]
    volume = Volume(scratch, dataset, outputs, key)
    voxel, grid = dataset.voxel_size_nm, dataset.grid
    with closing(open_volume(f"{scratch}#{FINE}", kind="labels")) as source:
        for index in track(list(grid.indices()), "predicted"):
            box, around = grid.box(index), grid.block(index, prediction_halo(voxel))
            labels = source.read(around)
            for name in PREDICTED:
                found = predicted(name, labels, around, box, voxel, noise, seed)
                volume.write(f"predictions/{name}", index, found)

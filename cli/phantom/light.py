"""Light channels of a phantom: stacks, predictions for registration, the true transform."""

import csv
import io
import json
from pathlib import Path

import numpy as np

from fibstream.cli.outputs import Volume
from fibstream.cli.progress import track
from fibstream.core.dataset import Dataset, clip_chunk
from fibstream.core.errors import WrongUse
from fibstream.core.stage import Output
from fibstream.phantom import Phantom
from fibstream.phantom.light import Errors, LightField, Network
from fibstream.phantom.light.dyes import MEMBRANES
from fibstream.phantom.light.landmarks import landmarks
from fibstream.phantom.light.prediction import CLASSES

CHUNK = (64, 256, 256)
TRANSFORM, LANDMARKS = "light.json", "landmarks.csv"
FRAME = (
    "nanometres from the outer corner of the first voxel, axes z, y, x: "
    "the centre of voxel i lies at (i + 0.5) * voxel size"
)


def check_light(modalities: tuple[str, ...], organelles: tuple[str, ...]) -> None:
    """Raise WrongUse if a stained organelle is not among ``organelles``."""
    if modalities and (gone := sorted(set(MEMBRANES) - set(organelles))):
        raise WrongUse(f"--light: expected {' and '.join(gone)} among --organelles")


def light_groups(modalities: tuple[str, ...]) -> list[str]:
    """Return the groups that light channels are written to."""
    stacks = [f"lm/{modality}_{channel}" for modality in modalities for channel in MEMBRANES]
    return stacks + [f"predictions/{name}" for name in CLASSES] if modalities else []


def write_light(
    scratch: Path, phantom: Phantom, modalities: tuple[str, ...], warp: str, dataset: Dataset,
    key: str,
) -> None:  # fmt: skip
    """Write stacks, predictions, the true transform and landmarks into a scratch folder."""
    fields = {name: LightField(phantom, name, warp) for name in modalities}
    _write_predictions(scratch, phantom, dataset, key)
    for name, field in fields.items():
        _write_stacks(scratch, name, field, dataset, key)
    any_field = fields[modalities[0]]
    truth = {"frame": FRAME, "transform": any_field.warp.record()}
    (scratch / TRANSFORM).write_text(json.dumps(truth))
    (scratch / LANDMARKS).write_text(_landmark_rows(phantom, any_field))


def _write_predictions(scratch: Path, phantom: Phantom, dataset: Dataset, key: str) -> None:
    outputs = [Output(f"predictions/{name}", "uint8", "mean") for name in CLASSES]
    volume = Volume(scratch, dataset, outputs, key)
    network = Network(phantom, Errors())
    for index in track(list(dataset.grid.indices()), "predicted"):
        for name in CLASSES:
            voxels = network.predict(name, dataset.grid.box(index))
            volume.write(f"predictions/{name}", index, voxels)


def _write_stacks(
    scratch: Path, modality: str, field: LightField, dataset: Dataset, key: str
) -> None:
    own = Dataset(
        name=dataset.name, shape=field.shape, chunk=clip_chunk(CHUNK, field.shape),
        dtype="uint16", voxel_size_nm=field.voxel_size_nm, contrast=(0, 65535),
    )  # fmt: skip
    names = {channel: f"lm/{modality}_{channel}" for channel in MEMBRANES}
    volume = Volume(scratch, own, [Output(n, "uint16", "mean") for n in names.values()], key)
    for index in track(list(own.grid.indices()), f"seen by {modality}"):
        for channel, name in names.items():
            volume.write(name, index, field.counts(channel, own.grid.box(index)))


def _landmark_rows(phantom: Phantom, field: LightField) -> str:
    """Return junctions of the reticulum in both frames, as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    axes = ("z", "y", "x")
    writer.writerow(["name", *(f"em_{a}_nm" for a in axes), *(f"light_{a}_nm" for a in axes)])
    points = landmarks(phantom)
    for number, pair in enumerate(np.hstack([points, field.warp.to_light(points)]), 1):
        writer.writerow([f"junction-{number}", *(f"{value:.3f}" for value in pair)])
    return text.getvalue()

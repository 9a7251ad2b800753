"""A small acquisition: blobs in noise, a network of a few weights, a pipeline, and the oracle.

The network has a halo of 3 and a stride of 2 voxels, and one class, so both recipes take it; what
is bright is inside. Some blobs hold holes, many cross chunk faces, some touch the border.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.app.engines import make_engine
from fibstream.app.reference import absent_of, labels_of, prediction_of, table_of
from fibstream.core.dataset import Dataset
from fibstream.core.grid import Index
from fibstream.services.analysis.table import rows_hash
from fibstream.services.refine.recipes.generic import rule_of
from fibstream.store.local import LocalFiles
from fibstream.store.published import labels_hash, tables_hash
from fibstream.store.record import read_dataset

from ..inference.net import Graph, write_net

SHAPE = (36, 44, 52)
CHUNK = (20, 24, 28)  # a remainder on every axis, two pyramid levels
VOXEL_NM = 8.0
# Centre (z, y, x), radius and radius of the hole inside, in voxels.
BLOBS = (
    (0, 0, 0, 7, 0), (35, 43, 51, 8, 0), (12, 14, 14, 9, 4), (7, 12, 36, 5, 0),
    (8, 32, 16, 5, 0), (8, 32, 24, 5, 0), (9, 33, 42, 5, 0), (28, 14, 34, 6, 0), (26, 34, 12, 6, 0),
    (22, 25, 22, 4, 0), (22, 25, 29, 4, 0), (24, 27, 36, 4, 0), (26, 27, 43, 4, 0),
    (27, 26, 50, 4, 0),
)  # fmt: skip
SLOW_CHANNELS = 64
GEOMETRY: dict[str, Any] = {
    "classes": ["mito"],
    "halo": [3] * 3,
    "stride": [2] * 3,
    "tile": [22] * 3,
}
PIPELINE = """\
models: [{model}]
organelles:
  - recipe: generic
    set: {{fill_holes: all, connectivity: 26, min_volume_nm3: 1.0e4}}
  - recipe: mito
    set: {{min_volume_nm3: 2.0e4}}
"""


def bright(graph: Graph) -> str:
    """Return a tanh distance that grows with the mean grey value at half resolution."""
    raw = graph.scaled(graph.add("Cast", "raw", to=1), 2 / 255, -1)
    fine = mean(graph, raw)
    coarse = mean(graph, graph.add("AveragePool", fine, kernel_shape=[2] * 3, strides=[2] * 3))
    scales = graph.constant([1, 1, 2, 2, 2], np.float32)
    where = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    grown = graph.add("Resize", coarse, "", scales, mode="nearest", **where)
    near = graph.add("Add", grown, graph.crop(fine, 2))
    return graph.add("Tanh", graph.scaled(near, 2.0, 0.0))


def mean(graph: Graph, value: str) -> str:
    """Return the mean of 3x3x3 voxels, as a valid convolution."""
    weight = graph.constant(np.full((1, 1, 3, 3, 3), 1 / 27), np.float32)
    return graph.add("Conv", value, weight)


def bright_unless_white(graph: Graph) -> str:
    """Like ``bright``, but where the field of view is white all over it yields NaN."""
    total = graph.scaled(graph.add("Cast", "raw", to=1), -1.0, 255.0)
    for _ in range(3):
        total = mean(graph, total)
    one = graph.add("Div", total, total)  # or 0 / 0
    return graph.add("Mul", bright(graph), one)


def bright_but_slow(graph: Graph) -> str:
    """Like ``bright``, to the last bit, but each tile costs some 2 GFLOP."""
    raw = graph.scaled(graph.add("Cast", "raw", to=1), 2 / 255, -1)
    wide = graph.conv(graph.conv(raw, 1, SLOW_CHANNELS, edge=1), SLOW_CHANNELS, SLOW_CHANNELS)
    nothing = graph.scaled(graph.add("ReduceMean", wide, keepdims=1), 0.0, 0.0)
    return graph.add("Add", bright(graph), nothing)


def blobs(
    seed: int = 5, shape: Index = SHAPE, places: Sequence[tuple[int, ...]] = BLOBS
) -> NDArray[np.uint8]:
    """Return bright blobs in noise; the seed is that of the noise, which moves their surfaces."""
    rng = np.random.default_rng(seed)
    where = np.moveaxis(np.indices(shape), 0, -1)
    inside = np.zeros(shape, bool)
    for *centre, radius, hole in places:
        distance = np.linalg.norm(where - centre, axis=-1)
        inside |= (distance <= radius) & (distance >= hole)
    grey = np.where(inside, 205, 50) + rng.normal(0, 25, shape)
    return np.clip(grey, 1, 255).astype(np.uint8)


def save(path: Path, raw: NDArray[Any], voxel_nm: float | list[float] | None = VOXEL_NM) -> Path:
    """Write a volume as npz, with its voxel size unless that is None."""
    size: dict[str, Any] = {}
    if voxel_nm is not None:
        size["voxel_size_nm_zyx"] = np.broadcast_to(voxel_nm, 3)
    np.savez(path, raw=raw, **size)
    return path


@dataclass(frozen=True)
class Scene:
    """Files of one acquisition below ``folder``."""

    folder: Path

    @property
    def raw(self) -> Path:
        """The volume."""
        return self.folder / "volume.npz"

    @property
    def model(self) -> Path:
        """The network."""
        return self.folder / "bright.onnx"

    @property
    def pipeline(self) -> Path:
        """Two organelles from one class."""
        return self.folder / "pipeline.yaml"

    def run(
        self, out: Path, *more: object, raw: Path | None = None, pipeline: Path | None = None
    ) -> list[object]:
        """Return the arguments of a run with JSON at its end."""
        given = ["run", "--raw", raw or self.raw, "--pipeline", pipeline or self.pipeline]
        given += ["--out", out]
        chunk = () if "--chunk" in more else ("--chunk", ",".join(map(str, CHUNK)))
        return [*given, *chunk, "--json", *more]


def make_scene(folder: Path) -> Scene:
    """Write volume, network and pipeline."""
    scene = Scene(folder)
    save(scene.raw, blobs())
    write_net(scene.model, body=bright, channels=1, **GEOMETRY)
    scene.pipeline.write_text(PIPELINE.format(model=scene.model))
    return scene


def whole(raw: NDArray[Any], out: Path, mask: NDArray[np.uint8] | None = None) -> tuple[str, str]:
    """Return the hashes of a volume computed as one block, with the parameters of a dataset."""
    dataset = read_dataset(LocalFiles(out))
    prediction = prediction_of(raw, dataset, make_engine(out / dataset.models[0].path, 1), mask)[0]
    volumes, tables = {}, {}
    for name, labels in whole_labels(prediction, dataset, absent_of(raw, dataset, mask)).items():
        tables[name] = rows_hash(table_of(labels, raw, dataset.voxel_size_nm))
        volumes[name] = (labels.shape, lambda box, labels=labels: labels[box.slices()])
    return labels_hash(volumes), tables_hash(tables)


def whole_labels(
    prediction: NDArray[np.uint8], dataset: Dataset, absent: NDArray[np.bool_] | None = None
) -> dict[str, NDArray[np.uint64]]:
    """Return the labels of each organelle, computed as one block."""
    return {o.name: labels_of(prediction, rule_of(dataset, o), absent) for o in dataset.organelles}

"""Networks, classes and recipes under names of their own, streamed: each organelle is right."""

import math
from pathlib import Path

import numpy as np
import pytest
import zarr

from fibstream.app.engines import make_engine
from fibstream.app.reference import labels_of, prediction_of
from fibstream.core.dataset import Dataset
from fibstream.services.refine.recipes.generic import rule_of
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset

from ..inference.net import Graph, write_net
from ..support.command import inside
from ..support.scene import GEOMETRY, blobs, bright, mean, save

# What the networks "many" of Heinrich et al. predict (their setup03).
MANY = [
    "ecs", "plasma_membrane", "mito", "mito_membrane", "vesicle", "vesicle_membrane", "MVB",
    "MVB_membrane", "er", "er_membrane", "ERES", "nucleus", "microtubules", "microtubules_out",
]  # fmt: skip
PIPELINE = """\
models: [{many}, {few}]
predictions:
  - {{name: mito-b, model: few, class: mito}}
organelles:
  - {{name: a, recipe: generic, from: mito}}
  - {{name: b, recipe: generic, from: mito, set: {{threshold_nm: 20}}}}
  - {{name: mito.few, recipe: mito, from: mito-b, set: {{threshold_nm: 10, min_volume_nm3: 0}}}}
  - {{name: ERES, recipe: generic, from: ERES, set: {{connectivity: 26}}}}
"""
SHAPE = (20, 24, 28)


def many_classes(graph: Graph) -> str:
    """Return tanh distances that grow with the mean grey value, each from another value on."""
    near = mean(graph, graph.scaled(graph.add("Cast", "raw", to=1), 2 / 255, -1))
    near = graph.crop(near, 2)
    shifts = np.linspace(-1, 1, len(MANY))
    each = [graph.scaled(near, 2.0 + 0.1 * k, shift) for k, shift in enumerate(shifts)]
    return graph.add("Tanh", graph.add("Concat", *each, axis=1))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    raw = save(
        folder / "raw.npz", blobs(shape=SHAPE, places=((9, 10, 11, 7, 3), (14, 18, 20, 5, 0)))
    )
    geometry = {key: value for key, value in GEOMETRY.items() if key != "classes"}
    pipeline = folder / "p.yaml"
    pipeline.write_text(
        PIPELINE.format(
            many=write_net(
                folder / "many.onnx", body=many_classes, channels=14, classes=MANY, **geometry
            ),
            few=write_net(folder / "few.onnx", body=bright, channels=1, **GEOMETRY, scale_nm=30),
        )
    )
    answer = inside(
        "run", "--raw", raw, "--pipeline", pipeline, "--out", folder / "cell.zarr", "--chunk",
        "10,12,16", "--order", "random", "--bus", "memory:",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    return folder / "cell.zarr"


@pytest.fixture(scope="module")
def dataset(out: Path) -> Dataset:
    return read_dataset(LocalFiles(out))


def test_every_class_is_a_prediction_by_its_name(out: Path, dataset: Dataset) -> None:
    raw = np.asarray(zarr.open_array(out / "raw/s0", mode="r")[:])
    assert [p.name for p in dataset.predictions] == [*MANY, "mito-b"]
    for model in dataset.models:
        found = prediction_of(raw, dataset, make_engine(out / model.path, 1))
        for prediction in dataset.predictions:
            if prediction.model == model.name:
                stored = zarr.open_array(out / prediction.path / "s0", mode="r")[:]
                assert np.array_equal(stored, found[model.classes.index(prediction.channel)])


def test_every_organelle_has_the_labels_of_its_own_input_and_settings(
    out: Path, dataset: Dataset
) -> None:
    seen = []
    for organelle in dataset.organelles:
        path = dataset.prediction(organelle.inputs["prediction"]).path
        prediction = np.asarray(zarr.open_array(out / path / "s0", mode="r")[:])
        expected = labels_of(prediction, rule_of(dataset, organelle))
        labels = zarr.open_array(out / f"labels/{organelle.name}/s0", mode="r")[:]
        assert np.array_equal(labels, expected), organelle.name
        assert (out / f"tables/{organelle.name}.parquet").is_file()
        seen.append(expected)
    assert all((one != two).any() for n, one in enumerate(seen) for two in seen[:n])


def test_a_threshold_is_in_the_scale_of_the_networks_card(dataset: Dataset) -> None:
    levels = {o.name: rule_of(dataset, o).level for o in dataset.organelles}
    assert dataset.prediction("mito-b").squash_nm == 30
    assert levels["b"] == math.ceil((128 * math.tanh(20 / 50) + 127) * 128)
    assert levels["mito.few"] == math.ceil((128 * math.tanh(10 / 30) + 127) * 128)

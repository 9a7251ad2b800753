"""What a network's output means: each meaning has one exact rule, and no other value passes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto

from fibstream.core.dataset import Dataset, Model, Prediction
from fibstream.core.errors import Poison, WrongUse
from fibstream.services.inference.edges.engine import CpuEngine
from fibstream.services.inference.edges.supplier import EngineSupplier
from fibstream.services.inference.grey import quantise
from fibstream.services.refine.recipes.generic import rule_of
from fibstream.store.local import LocalFiles

from ..refine.made import dataset_of
from .net import Builder, Graph, rounded, unet, write_net


def logits(graph: Graph) -> str:
    """The distances of the sound network times 5, before any squash."""
    return graph.scaled(unet(graph), 5, 0)


def sigmoid(graph: Graph) -> str:
    return graph.add("Sigmoid", logits(graph))


def softmax(graph: Graph) -> str:
    return graph.add("Softmax", logits(graph), axis=1)


@pytest.fixture
def tile() -> NDArray[np.uint8]:
    return np.random.default_rng(2).integers(0, 256, (16, 16, 16), np.uint8)


def engine_of(path: Path, body: Builder, meaning: str | None, **changes: Any) -> CpuEngine:
    scale = {} if meaning == "distance" else {"scale_nm": None}
    return CpuEngine(write_net(path, head=None, body=body, meaning=meaning, **scale, **changes))


def test_a_probability_and_its_logit_are_stored_alike(
    tmp_path: Path, tile: NDArray[np.uint8]
) -> None:
    one = engine_of(tmp_path / "p.onnx", sigmoid, "probability").infer(tile)
    other = engine_of(tmp_path / "x.onnx", logits, "logit").infer(tile)
    assert np.abs(one.astype(int) - other).max() <= 1  # the runtime's sigmoid is single precision
    assert (one >= 127).mean() == pytest.approx((other >= 127).mean(), abs=1e-3)
    assert 0.05 < (one >= 127).mean() < 0.95


def test_of_softmax_two_classes_share_what_is_inside(
    tmp_path: Path, tile: NDArray[np.uint8]
) -> None:
    first, second = engine_of(tmp_path / "p.onnx", softmax, "probability").infer(tile).astype(int)
    assert 0.05 < (first >= 127).mean() < 0.95
    assert np.isin(first + second, (253, 254, 255)).all()


@given(st.floats(0, 1))
def test_the_bytes_of_a_probability(p: float) -> None:
    byte = int(quantise(np.array(p), "probability"))
    assert byte == min(max(round(256 * p - 1), 0), 255)
    assert (byte >= 128) <= (p >= 0.5) <= (byte >= 127)


@given(st.floats(-800, 800))
def test_the_bytes_of_a_logit_are_those_of_its_probability(x: float) -> None:
    p = 1 / (1 + np.exp(-x)) if x > -700 else 0.0
    grey, byte = 256 * p - 1, int(quantise(np.array(x), "logit"))
    assert abs(byte - np.clip(grey, 0, 255)) <= 0.5 + 1e-9


@pytest.mark.parametrize("body", [sigmoid, softmax, unet])
def test_without_a_declaration_no_network_is_taken(tmp_path: Path, body: Builder) -> None:
    with pytest.raises(WrongUse, match=r"what its output means is not declared; .*networks\.md"):
        engine_of(tmp_path / "p.onnx", body, None)


@pytest.mark.parametrize(
    ("body", "meaning", "limits"),
    [
        (logits, "distance", "a distance, from -1 to 1"),
        (logits, "probability", "a probability, from 0 to 1"),
        (unet, "probability", "a probability, from 0 to 1"),
    ],
)
def test_values_outside_the_declared_range_are_refused(
    tmp_path: Path, body: Builder, meaning: str, limits: str
) -> None:
    with pytest.raises(WrongUse, match=rf"model p: yields the value -?\d.*{limits}$"):
        engine_of(tmp_path / "p.onnx", body, meaning)


def brightness(graph: Graph) -> str:
    """Within [-1, 1] unless a tile is bright throughout, as those of the self-check are not."""
    value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
    mean = graph.add("AveragePool", value, kernel_shape=[9] * 3)
    scaled = graph.scaled(mean, 1 / 250, 0)
    return graph.add("Concat", scaled, scaled, axis=1)


@pytest.mark.parametrize("head", [None, rounded])
def test_a_value_outside_from_one_tile_is_poison(
    tmp_path: Path, tile: NDArray[np.uint8], head: Builder | None
) -> None:
    body = brightness if head is None else unclipped
    ending = None if head is None else bare
    engine = CpuEngine(write_net(tmp_path / "p.onnx", head=ending, body=body))
    engine.infer(tile)
    with pytest.raises(Poison, match=r"yields the value .*; its metadata declare a "):
        engine.infer(np.full_like(tile, 255))


def unclipped(graph: Graph) -> str:
    """Bytes that leave 0 to 255 where a tile is bright throughout."""
    return graph.scaled(brightness(graph), 254, 0)


def bare(graph: Graph, value: str) -> str:
    return graph.add("Cast", graph.add("Round", value), name="distance", to=TensorProto.UINT8)


def test_what_overshoots_by_rounding_alone_is_kept() -> None:
    last = np.nextafter(np.float32(1), np.float32(2))
    assert quantise(np.array([last, -last], np.float32)).tolist() == [255, 0]
    assert quantise(np.array([last], np.float32), "probability").tolist() == [255]
    with pytest.raises(ValueError, match=r"value 1\.01"):
        quantise(np.array([0, 1.01], np.float32), "probability")
    with pytest.raises(ValueError, match="not finite"):
        quantise(np.array([0, np.inf], np.float32), "logit")


def test_a_dataset_of_before_the_declaration_goes_on(tmp_path: Path) -> None:
    """Its record has no meaning; its network's file has none: it is the distance it then was."""
    plain = CpuEngine(write_net(tmp_path / "sound.onnx"))
    spec = plain.spec.model_dump(mode="json")
    spec.pop("meaning")
    model = Model(name="sound", classes=plain.spec.classes, sha256="0" * 64, spec=spec, profile={})
    place = tmp_path / model.path
    place.parent.mkdir(parents=True)
    write_net(place, meaning=None)
    assert EngineSupplier(model, LocalFiles(tmp_path))().spec.meaning == "distance"


def test_a_threshold_in_nm_needs_a_distance() -> None:
    recipe_settings = {"threshold_nm": 20}
    dataset, organelle = _dataset(recipe_settings, is_distance=False)
    with pytest.raises(WrongUse, match=r"threshold_nm 20 needs a distance, and prediction .* is a"):
        rule_of(dataset, organelle)
    assert rule_of(*_dataset({}, is_distance=False)) == rule_of(*_dataset({}, is_distance=True))


def _dataset(settings: dict[str, Any], *, is_distance: bool) -> tuple[Dataset, Any]:
    from fibstream.services.refine.recipes.generic import RECIPE

    dataset, organelle = dataset_of(RECIPE, settings)
    (prediction,) = dataset.predictions
    changed = Prediction(name=prediction.name, is_distance=is_distance)
    return dataset.model_copy(update={"predictions": (changed,)}), organelle

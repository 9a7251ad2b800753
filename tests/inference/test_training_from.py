"""Training that begins with an ONNX file: the released network, and files that are refused."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tifffile
import torch
from onnx import helper, numpy_helper

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.services.inference.edges.model import MODELS, read_model
from fibstream.services.inference.tiling import tiles
from fibstream.services.inference.training.config import NetworkConfig, read_config
from fibstream.services.inference.training.crops import load, seen
from fibstream.services.inference.training.export import _training, weights_of
from fibstream.services.inference.training.graph import network_graph
from fibstream.services.inference.training.network import Deployed, UNet
from fibstream.services.inference.training.trainer import Trainer

from .net import write_net
from .trained import configured, write_data

MITO = MODELS / "mito.onnx"
WORDS = {"widths": [16, 32], "factors": [2], "output": "tanh"}
SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "flyem_medulla.tif"


def written(path: Path, model: onnx.ModelProto, network: object = WORDS, **more: object) -> Path:
    geometry = NetworkConfig.model_validate(WORDS).geometry
    words = {
        "meaning": "distance", "classes": ["a", "b"], "scale_nm": 50, "voxel_size_nm": [8] * 3,
        "halo": [geometry.halo] * 3, "stride": [geometry.stride] * 3,
        "tile": [geometry.least().edge] * 3, "training": {"network": network},
    }  # fmt: skip
    helper.set_model_props(model, {"fibstream": json.dumps(words | more)})
    onnx.save(model, path)
    return path


@pytest.fixture
def model() -> onnx.ModelProto:
    torch.manual_seed(5)
    config = NetworkConfig.model_validate(WORDS)
    state = {name: value.numpy() for name, value in UNet(config, 2).state_dict().items()}
    return network_graph(config, state, ("a", "b"))


def test_the_released_network_predicts_the_same_before_the_first_step(tmp_path) -> None:
    given = weights_of(MITO)
    cell = write_data(tmp_path / "cell.npz")
    stride = given.network.geometry.stride
    config = configured(cell, network=given.network.model_dump(mode="json"), patch=2 * stride)
    trainer = Trainer(config, seen(load(config), config))
    assert trainer.begin_with(given) == []
    session = onnxruntime.InferenceSession(MITO, providers=["CPUExecutionProvider"])
    edge = given.network.geometry.least().edge + stride
    voxels = np.ascontiguousarray(tifffile.imread(SAMPLE)[:edge, 80 : 80 + edge, 40 : 40 + edge])
    with torch.no_grad():
        net = Deployed(trainer.net.as_valid().eval())
        ours = net(torch.from_numpy(voxels[None, None])).numpy()[0].astype(int)
    theirs = session.run(None, {"raw": voxels[None, None]})[0][0]
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1 and (ours != theirs).mean() < 1e-3
    assert theirs.std() > 2  # there is something in it


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.onnx")), ids=lambda path: path.stem)
def test_a_released_network_was_made_by_its_recipe(path: Path) -> None:
    config = read_config(path.with_suffix(".yaml"))
    (card,) = (json.loads(p.value) for p in onnx.load(path).metadata_props)
    wanted = json.loads(json.dumps(_training(config, config.steps)))
    told = {key: card["training"][key] for key in wanted}
    told["network"] = NetworkConfig.model_validate(told["network"]).model_dump(mode="json")
    assert told == wanted
    assert (tuple(card["classes"]), card["scale_nm"]) == (config.outputs, config.scale_nm)
    assert set(card["voxel_size_nm"]) == {config.voxel_size_nm}
    spec = read_model(path)
    assert len(tiles(Box((64,) * 3, (128,) * 3), spec)) == 1  # a common chunk takes one tile
    assert f"seed {config.seed}" in path.with_suffix(".md").read_text()


def test_a_file_has_the_weights_that_were_written(tmp_path, model) -> None:
    found = weights_of(written(tmp_path / "net.onnx", model))
    assert (found.network.widths, found.network.output) == ((16, 32), "tanh")
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert len(found.state) == 2 * 8  # of seven convolutions and the head
    for name, value in found.state.items():
        assert np.array_equal(value.numpy(), values[name]), name
    assert (found.classes, found.meant) == (("a", "b"), {"voxel_size_nm": 8, "scale_nm": 50})


def rescaled(graph: onnx.GraphProto) -> None:
    node = next(n for n in graph.node if n.op_type == "Mul")
    held = next(t for t in graph.initializer if t.name == node.input[1])
    held.CopyFrom(numpy_helper.from_array(np.array(1 / 255, np.float32), held.name))


def unbent(graph: onnx.GraphProto) -> None:
    next(n for n in graph.node if n.op_type == "Relu").op_type = "Abs"


def endless(graph: onnx.GraphProto) -> None:
    values = numpy_helper.to_array(graph.initializer[0]).copy()
    values[0] = np.nan
    graph.initializer[0].CopyFrom(numpy_helper.from_array(values, graph.initializer[0].name))


def renamed(graph: onnx.GraphProto) -> None:
    node = next(n for n in graph.node if n.op_type == "Conv")
    held = next(t for t in graph.initializer if t.name == node.input[1])
    held.name = node.input[1] = "weights"


OTHER = "grey levels from the network made of its weights"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (rescaled, OTHER), (unbent, OTHER), (endless, "down.0.0.weight holds a value that"),
        (renamed, r"no down.0.0.weight of \(16, 1, 3, 3, 3\)"),
    ],
)  # fmt: skip
def test_what_is_another_network_is_one_line(tmp_path, model, change, says) -> None:
    change(model.graph)
    path = written(tmp_path / "other.onnx", model)
    with pytest.raises(WrongUse, match=says) as caught:
        weights_of(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (None, "its card tells of no network"), ({"widths": 3}, "of a network that is none"),
        ({**WORDS, "widths": [16, 48]}, r"no down.1.0.weight of \(48, 16, 3, 3, 3\)"),
    ],
)  # fmt: skip
def test_a_card_that_tells_of_another_network_is_refused(tmp_path, model, network, says) -> None:
    path = written(tmp_path / "net.onnx", model, network)
    with pytest.raises(WrongUse, match=f"training can go on with: .*{says}; expected a check"):
        weights_of(path)


def test_a_file_that_nobody_exported_is_refused(tmp_path) -> None:
    with pytest.raises(WrongUse, match="its card tells of no network; expected a checkpoint, or"):
        weights_of(write_net(tmp_path / "small.onnx"))


def test_a_network_of_another_shape_is_refused(tmp_path, model) -> None:
    given = weights_of(written(tmp_path / "net.onnx", model))
    cell = write_data(tmp_path / "cell.npz")
    for words, says in (
        ({"widths": [16, 16]}, "factors [2], convolutions 2, output tanh; expected of widths "
         "[16, 16], factors [2], convolutions 2, output tanh"),
        ({"output": "linear"}, "output tanh; expected of widths [16, 32], factors [2], "
         "convolutions 2, as"),
        ({"stem": 2}, "convolutions 2, output tanh, stem 2"),
    ):  # fmt: skip
        config = configured(cell, network=WORDS | words)
        with pytest.raises(WrongUse) as caught:
            Trainer(config, seen(load(config), config)).begin_with(given)
        assert says in str(caught.value)

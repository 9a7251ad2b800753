"""Training that begins with an ONNX file whose card tells of no network."""

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
from fibstream.services.inference.edges.model import MODELS
from fibstream.services.inference.training.config import NetworkConfig
from fibstream.services.inference.training.crops import load, seen
from fibstream.services.inference.training.export import export, weights_of
from fibstream.services.inference.training.graph import network_graph
from fibstream.services.inference.training.network import Deployed, UNet
from fibstream.services.inference.training.sampler import Sampler
from fibstream.services.inference.training.trainer import LAST, Trainer, Weights, run

from .net import write_net
from .trained import configured, write_data

MITO = MODELS / "mito.onnx"
NETWORK = {"widths": [16, 32, 96], "factors": [2, 2], "bottom": 3, "narrow": "linear",
           "output": "tanh"}  # fmt: skip
SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "flyem_medulla.tif"


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "cell.npz")


@pytest.fixture(scope="module")
def mito() -> Weights:
    return weights_of(MITO)


def card(**changes: object) -> str:
    words = {"meaning": "distance", "classes": ["mito"], "scale_nm": 50, "stride": [2] * 3,
             "voxel_size_nm": [8] * 3} | changes  # fmt: skip
    return json.dumps(words)


def written(path: Path, model: onnx.ModelProto, **changes: object) -> Path:
    helper.set_model_props(model, {"fibstream": card(**changes)})
    onnx.save(model, path)
    return path


def test_the_released_network_is_read_and_predicts_the_same_before_the_first_step(
    cell, mito
) -> None:
    config = configured(cell, network=NETWORK)
    trainer = Trainer(config, seen(load(config), config))
    assert trainer.begin_with(mito) == []
    session = onnxruntime.InferenceSession(MITO, providers=["CPUExecutionProvider"])
    voxels = np.ascontiguousarray(tifffile.imread(SAMPLE)[10:82, 64:136, 64:136])
    with torch.no_grad():
        net = Deployed(trainer.net.as_valid().eval())
        ours = net(torch.from_numpy(voxels[None, None])).numpy()[0].astype(int)
    theirs = session.run(None, {"raw": voxels[None, None]})[0][0]
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1 and (ours != theirs).mean() < 1e-3
    assert (theirs >= 127).mean() > 0.01  # there is something in it


def test_channels_that_fill_widths_up_learn(cell, mito, tmp_path) -> None:
    """They change nothing at first, and are not dead: what reads them gets a gradient."""
    config = configured(cell, network=NETWORK, steps=1, batch=1)
    crops = load(config)
    trainer = Trainer(config, seen(crops, config))
    trainer.begin_with(mito)
    before = {name: value.clone() for name, value in trainer.net.state_dict().items()}
    assert not before["down.0.2.weight"][:12, 12:].any() and before["down.0.0.weight"][12:].any()
    run(trainer, Sampler(config, crops), tmp_path, lambda *_: None)
    assert trainer.net.state_dict()["down.0.2.weight"][:12, 12:].any()
    told = export(tmp_path / LAST, tmp_path / "fine.onnx")
    assert told["halo"] == [24] * 3 and told["training"]["network"]["bottom"] == 3
    assert weights_of(tmp_path / "fine.onnx").network.output == "tanh"


@pytest.mark.parametrize(
    "words",
    [
        {"widths": [16, 32], "factors": [3]},
        {"widths": [16, 16, 32], "factors": [2, 2], "widths_up": [32, 16], "bottom": 1},
        {"widths": [16, 16], "factors": [2], "narrow": "linear"},
        {"widths": [16, 16], "factors": [2], "output": "tanh", "bottom": 4},
    ],
)
def test_a_network_of_ours_is_read_without_its_card(tmp_path, words) -> None:
    torch.manual_seed(5)
    config = NetworkConfig.model_validate(words)
    net = UNet(config, 2)
    state = {name: value.numpy() for name, value in net.state_dict().items()}
    geometry = config.geometry
    edge = geometry.least().edge
    path = written(
        tmp_path / "net.onnx", network_graph(config, state, ("a", "b")), classes=["a", "b"],
        halo=[geometry.halo] * 3, stride=[geometry.stride] * 3, tile=[edge] * 3,
    )  # fmt: skip
    found = weights_of(path)
    assert found.network.up == config.up and found.network.lowest == config.lowest
    for name in ("widths", "factors", "convolutions", "narrow", "output"):
        assert getattr(found.network, name) == getattr(config, name), name
    assert found.state.keys() == state.keys()
    for name, value in state.items():
        assert np.array_equal(found.state[name].numpy(), value), name


def changed(change) -> onnx.ModelProto:
    model = onnx.load(MITO)
    change(model.graph)
    return model


def crossed(graph: onnx.GraphProto) -> None:
    """Join the maps of a level the other way round: same nodes, same shapes."""
    node = next(n for n in graph.node if n.op_type == "Concat")
    node.input[0], node.input[1] = node.input[1], node.input[0]


def rescaled(graph: onnx.GraphProto) -> None:
    node = next(n for n in graph.node if n.op_type == "Constant")
    node.attribute[0].t.CopyFrom(numpy_helper.from_array(np.array(1 / 255, np.float32)))


def leaky(graph: onnx.GraphProto) -> None:
    next(n for n in graph.node if n.op_type == "Relu").op_type = "LeakyRelu"


def endless(graph: onnx.GraphProto) -> None:
    values = numpy_helper.to_array(graph.initializer[0]).copy()
    values[0] = np.nan
    graph.initializer[0].CopyFrom(numpy_helper.from_array(values, graph.initializer[0].name))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (crossed, "grey levels from the network made of its weights"),
        (rescaled, "grey levels from the network made of its weights"),
        (leaky, "a node of the kind LeakyRelu"),
        (endless, "down.0.0 has weights that are not finite|not finite"),
    ],
)
def test_what_is_another_network_is_one_line(tmp_path, change, says) -> None:
    metadata = json.loads(onnx.load(MITO).metadata_props[0].value)
    path = written(tmp_path / "other.onnx", changed(change), **metadata)
    with pytest.raises(WrongUse, match=says) as caught:
        weights_of(path)
    assert "\n" not in str(caught.value)


def test_a_network_of_another_kind_is_refused(tmp_path, cell, mito) -> None:
    path = write_net(tmp_path / "small.onnx")
    with pytest.raises(WrongUse, match=r"weights that training can go on with: .* was expected"):
        weights_of(path)
    config = configured(cell)
    trainer = Trainer(config, seen(load(config), config))
    with pytest.raises(WrongUse) as caught:
        trainer.begin_with(mito)
    assert (
        "its network is of widths [16, 32, 96], factors [2, 2], convolutions 2, bottom 3, narrow "
        "linear, output tanh; expected of widths [16, 16], factors [2], convolutions 1"
    ) in str(caught.value)
    for name in ("bottom", "narrow", "output"):
        config = configured(cell, network={k: v for k, v in NETWORK.items() if k != name})
        with pytest.raises(WrongUse, match=f", {name} .*; expected of widths") as caught:
            Trainer(config, seen(load(config), config)).begin_with(mito)
        assert f"{name} " not in str(caught.value).partition("; expected")[2]

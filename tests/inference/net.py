"""A U-Net of a few weights, as an ONNX file: halo 4, stride 2, two classes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HALO, STRIDE, EDGE = 4, 2, 16
METADATA = {
    "meaning": "distance",
    "classes": ["mito", "er"],
    "voxel_size_nm": [8, 8, 8],
    "halo": [HALO] * 3,
    "stride": [STRIDE] * 3,
    "phase": [0] * 3,
    "tile": [EDGE] * 3,
    "scale_nm": 50,
}

Builder = Callable[..., str]  # adds nodes to a graph; returns the name of the last output


class Graph:
    """Nodes and weights under construction; every method returns the name of its output."""

    def __init__(self, seed: int = 7) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []
        self.rng = np.random.default_rng(seed)

    def constant(self, values: Any, dtype: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def add(self, op: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        name = name or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def conv(self, value: str, before: int, after: int, edge: int = 3) -> str:
        shape = (after, before, edge, edge, edge)
        scale = (2 / (before * edge**3)) ** 0.5
        weight = self.constant(self.rng.normal(0, scale, shape), np.float32)
        bias = self.constant(self.rng.normal(0, 0.1, after), np.float32)
        return self.add("Conv", value, weight, bias)

    def crop(self, value: str, voxels: int) -> str:
        bounds = ([voxels] * 3, [-voxels] * 3, [2, 3, 4])
        return self.add("Slice", value, *(self.constant(b, np.int64) for b in bounds))

    def scaled(self, value: str, factor: float, shift: float) -> str:
        product = self.add("Mul", value, self.constant(factor, np.float32))
        return self.add("Add", product, self.constant(shift, np.float32))


def unet(graph: Graph) -> str:
    """Tanh distance of two classes: 2 convolutions, the second at half resolution, then 1 + 1."""
    return graph.add("Tanh", graph.conv(features(graph), 4, 2, edge=1))


FINER = (1, 2, 3)  # voxels of the output of ``finer`` along one of its input
FINER_METADATA: dict[str, Any] = {
    "halo": [5] * 3,
    "voxel_size_nm": [8, 8, 9],
    "output_voxel_size_nm": [8, 4, 3],
}


def finer(graph: Graph) -> str:
    """The same, grown by FINER and convolved once more: what is left of an input voxel is cut."""
    return refined(graph, features(graph), 4)


def overlapping(graph: Graph) -> str:
    """As ``finer`` with a stride of 4, halo 6: an input of 22 yields 10, no multiple of it."""
    raw = graph.scaled(graph.add("Cast", "raw", to=TensorProto.FLOAT), 2 / 255, -1)
    fine = graph.add("Relu", graph.conv(raw, 1, 4))
    pooled = graph.add("MaxPool", fine, kernel_shape=[4] * 3, strides=[4] * 3)
    coarse = graph.add("Relu", graph.conv(pooled, 4, 6))
    both = graph.add("Concat", graph.crop(fine, 4), grown(graph, coarse, (4, 4, 4)), axis=1)
    return refined(graph, both, 10)


def grown(graph: Graph, value: str, factors: tuple[int, int, int]) -> str:
    scales = graph.constant([1, 1, *factors], np.float32)
    where = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return graph.add("Resize", value, "", scales, mode="nearest", **where)


def refined(graph: Graph, value: str, channels: int) -> str:
    found = graph.conv(grown(graph, value, FINER), channels, 2)
    bounds = ([0, 1, 2], [np.iinfo(np.int64).max, -1, -2], [2, 3, 4])
    cut = graph.add("Slice", found, *(graph.constant(b, np.int64) for b in bounds))
    return graph.add("Tanh", cut)


def features(graph: Graph) -> str:
    raw = graph.scaled(graph.add("Cast", "raw", to=TensorProto.FLOAT), 2 / 255, -1)
    fine = graph.add("Relu", graph.conv(raw, 1, 4))
    coarse = graph.add("Relu", graph.conv(pool(graph, fine), 4, 6))
    both = graph.add("Concat", graph.crop(fine, 2), grown(graph, coarse, (2, 2, 2)), axis=1)
    return graph.conv(both, 10, 4)


def pool(graph: Graph, value: str) -> str:
    return graph.add("MaxPool", value, kernel_shape=[2] * 3, strides=[2] * 3)


def rounded(graph: Graph, distance: str) -> str:
    """The head that networks are exported with: scaled, rounded, clipped, uint8."""
    grey = graph.add("Round", graph.scaled(distance, 128, 127))
    ends = (graph.constant(end, np.float32) for end in (0, 255))
    return graph.add("Cast", graph.add("Clip", grey, *ends), name="distance", to=TensorProto.UINT8)


def model(
    graph: Graph,
    *,
    output: int = TensorProto.UINT8,
    raw: int = TensorProto.UINT8,
    channels: int = 2,
    **metadata: Any,
) -> onnx.ModelProto:
    """The whole model; keywords replace metadata, ``None`` removes it."""
    body = helper.make_graph(
        graph.nodes, "net",
        [helper.make_tensor_value_info("raw", raw, [1, 1, "z", "y", "x"])],
        [helper.make_tensor_value_info("distance", output, [1, channels, "zo", "yo", "xo"])],
        graph.weights,
    )  # fmt: skip
    made = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    kept = {k: v for k, v in {**METADATA, **metadata}.items() if v is not None}
    helper.set_model_props(made, {"fibstream": json.dumps(kept)})
    return made


def write_net(
    path: Path, *, head: Builder | None = rounded, body: Builder = unet, **changes: Any
) -> Path:
    """Write the network, by default a sound one; ``head=None`` leaves a float output."""
    graph = Graph()
    distance = body(graph)
    if head:
        head(graph, distance)
    else:
        graph.add("Identity", distance, name="distance")
        changes.setdefault("output", TensorProto.FLOAT)
    onnx.save(model(graph, **changes), path)
    return path

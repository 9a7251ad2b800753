"""The ONNX graph of a network, node by node: constant crops, uint8 in and out.

Written out rather than traced: the nodes are few, weights keep their names, from which training can
go on, and no tracer of torch, which change with every release, decides how a crop is expressed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from .config import NetworkConfig

OPSET = 18
IR = 10  # of the file: what the oldest runtime that is used reads


class Graph:
    """Nodes and weights under construction; every method returns the name of its output."""

    def __init__(self, state: Mapping[str, NDArray[np.float32]], slope: float = 0.0) -> None:
        self._slope = slope  # of rectifiers below nothing
        self.nodes: list[onnx.NodeProto] = []
        self.weights = [numpy_helper.from_array(value, name) for name, value in state.items()]
        self._constants = 0

    def add(self, kind: str, *inputs: str, name: str = "", **attributes: object) -> str:
        """Add a node."""
        name = name or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, values: object, dtype: type[np.generic]) -> str:
        """Add a constant."""
        self._constants += 1
        name = f"c{self._constants}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def conv(self, value: str, name: str, kind: str = "Conv", block: int = 1) -> str:
        """Add a valid convolution with the weights of a module, or one of whole blocks."""
        steps: dict[str, Any] = {"strides": [block] * 3} if block > 1 else {}
        return self.add(kind, value, f"{name}.weight", f"{name}.bias", **steps)

    def block(self, value: str, name: str, count: int) -> str:
        """Add convolutions and rectifiers; in torch every other module of a block is one."""
        for k in range(count):
            value = self.rectified(self.conv(value, f"{name}.{2 * k}"))
        return value

    def rectified(self, value: str) -> str:
        """Add a rectifier."""
        if self._slope:
            return self.add("LeakyRelu", value, alpha=self._slope)
        return self.add("Relu", value)

    def crop(self, value: str, cut: tuple[int, int]) -> str:
        """Take voxels off before and after, along each axis."""
        before, after = cut
        if not before and not after:
            return value
        last = -after if after else np.iinfo(np.int64).max
        bounds = ([before] * 3, [last] * 3, [2, 3, 4])
        return self.add("Slice", value, *(self.constant(b, np.int64) for b in bounds))

    def grow(self, value: str, factor: int) -> str:
        """Repeat every voxel along each axis."""
        scales = self.constant([1, 1, factor, factor, factor], np.float32)
        how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.add("Resize", value, "", scales, mode="nearest", **how)

    def scaled(self, value: str, factor: float, shift: float) -> str:
        """Multiply and add."""
        product = self.add("Mul", value, self.constant(factor, np.float32))
        return self.add("Add", product, self.constant(shift, np.float32))


def network_graph(
    config: NetworkConfig, state: Mapping[str, NDArray[np.float32]], classes: Sequence[str]
) -> onnx.ModelProto:
    """Return the network of `network.Deployed` with valid convolutions; its spatial axes are free.

    Where its output is finer than its input it is cut to whole voxels of the input.
    ``state`` has the weights by the names that torch gives them.
    """
    graph, count = Graph(state, config.slope), config.convolutions
    meetings = config.geometry.least().meetings
    value = graph.scaled(graph.add("Cast", "raw", to=TensorProto.FLOAT), 2 / 255, -1)
    if config.stem > 1:
        value = graph.rectified(graph.conv(value, "stem", "Conv", config.stem))
    beside: list[str] = []
    for level in range(len(config.widths)):
        if level:
            edges = [config.factors[level - 1]] * 3
            value = graph.add("MaxPool", value, kernel_shape=edges, strides=edges)
        value = graph.block(value, f"down.{level}", count)
        beside.append(value)
    for step, level in enumerate(reversed(range(len(config.factors)))):
        narrow = graph.rectified(graph.conv(value, f"narrow.{step}"))
        grown = graph.crop(graph.grow(narrow, config.factors[level]), meetings[level].grown)
        skip = graph.crop(beside[level], meetings[level].beside)
        value = graph.block(graph.add("Concat", skip, grown, axis=1), f"up.{step}", count)
    if config.upsample > 1:
        value = graph.block(graph.grow(value, config.upsample), "last", count)
        value = graph.crop(value, (config.geometry.trim,) * 2)
    kind = "Conv" if config.stem == 1 else "ConvTranspose"
    found = graph.conv(value, "head", kind, config.stem)
    if config.output == "tanh":
        found = graph.add("Tanh", found)
    grey = graph.add("Round", graph.scaled(found, 128, 127))
    ends = (graph.constant(end, np.float32) for end in (0, 255))
    graph.add("Cast", graph.add("Clip", grey, *ends), name="distance", to=TensorProto.UINT8)
    body = helper.make_graph(
        graph.nodes, "network",
        [helper.make_tensor_value_info("raw", TensorProto.UINT8, [1, 1, "z", "y", "x"])],
        [helper.make_tensor_value_info(
            "distance", TensorProto.UINT8, [1, len(classes), "zo", "yo", "xo"])],
        graph.weights,
    )  # fmt: skip
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    model.producer_name, model.producer_version = "fibstream", ""
    return model

"""A U-Net read out of an ONNX graph that says nothing of its network: its shape and weights.

What the nodes are, in their order, tells a U-Net of `network` or none. How they are wired, cropped
and scaled is not read: whoever uses the result compares it with the file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from pydantic import ValidationError

from .config import CHANNELS, NetworkConfig

PASSED = {"Constant", "Identity", "Cast", "Slice", "Mul", "Add", "Sub", "Div", "Round", "Clip"}
KINDS = {"Relu", "MaxPool", "Resize", "Concat", "Tanh"}

Floats = NDArray[np.float32]
Parts = list[tuple[int, int]]  # channels of each map that a step reads: own ones, and filled up


class NotOurs(ValueError):
    """A graph that is no U-Net of `network`; the message says why."""


@dataclass(frozen=True)
class Step:
    """A node that tells of the network: a convolution by its edge, or another kind."""

    kind: str  # conv3, conv1 or the kind of the node
    weight: Floats | None = None
    bias: Floats | None = None
    factor: int = 0

    @property
    def weights(self) -> tuple[Floats, Floats]:
        """Weight and bias of a convolution."""
        assert self.weight is not None and self.bias is not None
        return self.weight, self.bias


class _Steps:
    """The steps of a graph, taken one after another."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._left = _steps(graph)[::-1]

    def next(self, kind: str) -> Step:
        """Take the next step; NotOurs unless it is of a kind."""
        found = self.accept(kind)
        if found is None:
            there = self._left[-1].kind if self._left else "its end"
            raise NotOurs(f"{there} where {kind} was expected")
        return found

    def accept(self, kind: str) -> Step | None:
        """Take the next step if it is of a kind."""
        return self._left.pop() if self._left and self._left[-1].kind == kind else None

    def block(self) -> list[Step]:
        """Take convolutions, each with its ReLU; all have one number of channels."""
        found = [self.next("conv3")]
        self.next("Relu")
        while (another := self.accept("conv3")) is not None:
            found.append(another)
            self.next("Relu")
        if len({len(step.weights[1]) for step in found}) > 1:
            raise NotOurs("a level whose convolutions have different widths")
        return found

    def end(self) -> None:
        """Raise NotOurs where anything is left."""
        if self._left:
            raise NotOurs(f"{self._left[-1].kind} after the head")


def read_unet(model: onnx.ModelProto) -> tuple[NetworkConfig, dict[str, Floats]]:
    """Return the network of a graph, and its weights by the names that `network.UNet` gives them.

    Widths are filled up to multiples of 16: what reads a channel that is new is 0, and what it
    reads itself is not in the result.

    Raises
    ------
    NotOurs
        The nodes are not those of a U-Net of `network`.
    """
    steps = _Steps(model.graph)
    down, factors = [steps.block()], []
    while (pool := steps.accept("MaxPool")) is not None:
        factors.append(pool.factor)
        down.append(steps.block())
    narrow, relus, up = [], set(), []
    for factor in reversed(factors):
        narrow.append(steps.next("conv1"))
        relus.add(steps.accept("Relu") is not None)
        if steps.next("Resize").factor != factor:
            raise NotOurs("a level that grows by another factor than it was pooled by")
        steps.next("Concat")
        up.append(steps.block())
    head = steps.next("conv1")
    squashed = steps.accept("Tanh") is not None
    steps.end()
    counts = {len(block) for block in (*down[:-1], *up)}
    if len(relus) != 1 or len(counts) != 1:
        raise NotOurs("levels that are not alike")
    words = {
        "widths": [_filled(_width(block[-1])) for block in down], "factors": factors,
        "widths_up": [_filled(_width(block[-1])) for block in reversed(up)],
        "convolutions": counts.pop(), "bottom": len(down[-1]),
        "narrow": "relu" if relus.pop() else "linear", "output": "tanh" if squashed else "linear",
        "padding": "valid",
    }  # fmt: skip
    try:
        config = NetworkConfig.model_validate(words)
    except ValidationError as error:
        first = error.errors()[0]
        raise NotOurs(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return config, _state(down, narrow, up, head)


def _state(
    down: list[list[Step]], narrow: list[Step], up: list[list[Step]], head: Step
) -> dict[str, Floats]:
    """Return weights by name; each reads the channels of what is before it, filled up."""
    state: dict[str, Floats] = {}
    parts: Parts = [(1, 1)]  # raw
    beside = []
    for level, block in enumerate(down):
        parts = _block(state, f"down.{level}", block, parts)
        beside += parts
    beside.pop()
    for number, (step, block) in enumerate(zip(narrow, up, strict=True)):
        _put(state, f"narrow.{number}", step, parts)
        parts = _block(state, f"up.{number}", block, [beside.pop(), _widths(step)])
    _put(state, "head", head, parts, fill=False)
    return state


def _block(state: dict[str, Floats], name: str, block: list[Step], parts: Parts) -> Parts:
    for number, step in enumerate(block):
        _put(state, f"{name}.{2 * number}", step, parts)
        parts = [_widths(step)]
    return parts


def _put(
    state: dict[str, Floats], name: str, step: Step, parts: Parts, *, fill: bool = True
) -> None:
    """Put weight and bias of a convolution that reads ``parts``; NaN marks what nobody reads."""
    weight, bias = step.weights
    read = sum(own for own, _ in parts)
    if weight.shape[1] != read:
        raise NotOurs(f"{name} reads {weight.shape[1]} channels, not {read}")
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise NotOurs(f"{name} has weights that are not finite")
    pieces, at = [], 0
    for own, filled in parts:
        piece = weight[:, at : at + own]
        pieces.append(np.pad(piece, [(0, 0), (0, filled - own), *[(0, 0)] * 3]))
        at += own
    room = _widths(step)[1] - len(bias) if fill else 0
    wide = np.concatenate(pieces, axis=1)
    state[f"{name}.weight"] = np.pad(
        wide, [(0, room), *[(0, 0)] * 4], constant_values=np.nan
    ).astype(np.float32)
    state[f"{name}.bias"] = np.pad(bias, (0, room)).astype(np.float32)


def _width(step: Step) -> int:
    return len(step.weights[1])


def _widths(step: Step) -> tuple[int, int]:
    return _width(step), _filled(_width(step))


def _filled(width: int) -> int:
    return -(-width // CHANNELS) * CHANNELS


def _steps(graph: onnx.GraphProto) -> list[Step]:
    """Return the nodes that tell of the network, in their order."""
    values = {tensor.name: tensor for tensor in graph.initializer}
    found = []
    for node in graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant" and "value" in attributes:
            values[node.output[0]] = attributes["value"]
        elif node.op_type == "Conv":
            found.append(_conv(node, values))
        elif node.op_type in KINDS:
            found.append(Step(node.op_type, factor=_factor(node, attributes, values)))
        elif node.op_type not in PASSED:
            raise NotOurs(f"a node of the kind {node.op_type:.40}")
    return found


def _conv(node: onnx.NodeProto, values: Mapping[str, onnx.TensorProto]) -> Step:
    try:
        weight, bias = (numpy_helper.to_array(values[name]) for name in node.input[1:])
    except (KeyError, ValueError):
        raise NotOurs("a convolution without weight and bias in the file") from None
    kind = {(3, 3, 3): "conv3", (1, 1, 1): "conv1"}.get(weight.shape[2:])
    if kind is None or weight.dtype != np.float32:
        raise NotOurs(f"a convolution of {weight.shape[2:]} voxels in {weight.dtype}")
    return Step(kind, weight, bias)


def _factor(
    node: onnx.NodeProto, attributes: Mapping[str, Any], values: Mapping[str, onnx.TensorProto]
) -> int:
    """Return by how much a node pools or grows each axis; 0 of one that does neither."""
    if node.op_type == "MaxPool":
        edges = list(attributes.get("strides", [1]))
    elif node.op_type == "Resize":
        scales = values.get(node.input[2]) if len(node.input) > 2 else None
        edges = [] if scales is None else numpy_helper.to_array(scales).tolist()[2:]
    else:
        return 0
    if len(set(edges)) != 1 or edges[0] != int(edges[0]):
        raise NotOurs(f"a {node.op_type} of other factors than one for all axes")
    return int(edges[0])

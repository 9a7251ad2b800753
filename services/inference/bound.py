"""A proof that no value inside a network can be infinite or NaN, whatever grey values it sees.

A **bound** of a tensor is a magnitude for each channel that no voxel exceeds. Grey values have 255;
each node passes bounds on: a convolution yields the sum of ``|w|`` times the bounds of its input,
plus ``|b|``. Sums of magnitudes bound more than the values: any order of summation, any partial
sum, and what a runtime makes of a network before it runs it, since a product distributed over a
sum, or a scale folded into weights, has the same sum of magnitudes. For that no bound is below 1: a
weight times a factor may be computed before it meets a small value.

By the nodes known here NaN arises of infinities alone. So where all bounds are finite, no NaN can
arise, and none can be lost: a runtime that loses them may be trusted with the network.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

GREY = 255.0
LIMIT = 3.38e38  # below the largest number of float32 and of bfloat16
FLOAT = 1  # ONNX's number of float32
# A stored value and a weight may be rounded to bfloat16, 8 bits, sums are in float32, 24 bits.
STORED, SUMMED = 2.0**-8, 2.0**-23
CHANNELS = 1  # the axis

Bound = NDArray[np.float64]  # (channels,)


class Unproven(Exception):
    """A network's values may not be finite for all that is known; the message says at what node."""


@dataclass(frozen=True)
class Node:
    """One operation: ONNX's name of it, names of tensors, and attributes as numbers and texts."""

    kind: str
    inputs: Sequence[str]
    output: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """A network as data: nodes in an order in which they can run, and what is constant."""

    raw: str  # the input, grey values (1, 1, z, y, x)
    nodes: Sequence[Node]
    constants: Mapping[str, NDArray[Any]]


class _At:
    """A node with the bounds of its inputs."""

    def __init__(self, node: Node, graph: Graph, known: Mapping[str, Bound]) -> None:
        self.attributes = node.attributes
        self._names = node.inputs
        self._constants = graph.constants
        self._known = known

    def has(self, number: int) -> bool:
        return number < len(self._names) and self._names[number] != ""

    def constant(self, number: int) -> NDArray[Any]:
        name = self._names[number]
        if name not in self._constants:
            raise Unproven(f"input {number} is not constant")
        return self._constants[name]

    def bound(self, number: int = 0) -> Bound:
        """Return the bound of an input; of a constant, one number or one a channel, its own."""
        name = self._names[number]
        if name in self._known:
            return self._known[name]
        value = np.abs(self.constant(number)).astype(np.float64)
        # Broadcast over (1, channels, z, y, x): channels are the fourth axis from the last.
        if value.size != 1 and (value.ndim < 4 or value.size != value.shape[-4]):
            raise Unproven(f"constant of shape {value.shape} is not one a channel")
        each: Bound = value.reshape(-1)
        return each


def _same(at: _At) -> Bound:
    return at.bound()


def _clipped(at: _At) -> Bound:
    """Return the bound of what is clipped: an end beyond 0 is reached by what lies on its side."""
    low, high = (
        at.constant(n).item() if at.has(n) else at.attributes.get(name, 0.0)
        for n, name in ((1, "min"), (2, "max"))
    )
    found: Bound = np.maximum(at.bound(), np.maximum(np.maximum(low, -high), 0))
    return found


def _largest(at: _At) -> Bound:
    _check_cells(at)
    return at.bound()


def _check_cells(at: _At) -> None:
    """Raise Unproven where cells may hold padding alone, of which there is no largest or mean."""
    padded = any(at.attributes.get("pads", ())) or at.attributes.get("ceil_mode", 0)
    if padded or at.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise Unproven("pools over padding")


def _one(at: _At) -> Bound:
    return np.ones_like(at.bound())


def _softmax(at: _At) -> Bound:
    _check(2 * at.bound())  # differences to the largest
    return _one(at)


def _cast(at: _At) -> Bound:
    if at.attributes.get("to") != FLOAT:
        raise Unproven("casts to another type than float32")
    return at.bound()


def _sum(at: _At) -> Bound:
    return _rounded(at.bound(0) + at.bound(1), 2)


def _product(at: _At) -> Bound:
    return _rounded(at.bound(0) * at.bound(1), 1)


def _quotient(at: _At) -> Bound:
    at.constant(1)
    by = at.bound(1)
    if not by.all():
        raise Unproven("divides by 0")
    return _rounded(at.bound(0) / by, 1)


def _convolution(at: _At) -> Bound:
    weight = np.abs(at.constant(1)).astype(np.float64)
    groups = at.attributes.get("group", 1)
    taps = weight.reshape(*weight.shape[:2], -1).sum(2)  # (channels, inputs of a group)
    read = at.bound().reshape(groups, 1, -1)
    found = (taps.reshape(groups, -1, taps.shape[1]) * read).sum(2).reshape(-1)
    return _with_bias(at, found, prod(weight.shape[1:]))


def _transposed(at: _At) -> Bound:
    weight = np.abs(at.constant(1)).astype(np.float64)
    groups = at.attributes.get("group", 1)
    taps = weight.reshape(*weight.shape[:2], -1).sum(2)  # (inputs, channels of a group)
    read = at.bound().reshape(groups, -1, 1)
    found = (taps.reshape(groups, -1, taps.shape[1]) * read).sum(1).reshape(-1)
    return _with_bias(at, found, weight.size // weight.shape[1])


def _with_bias(at: _At, found: Bound, terms: int) -> Bound:
    bias = np.abs(at.constant(2)).astype(np.float64) if at.has(2) else 0.0
    return _rounded(found + bias, terms + 1)


def _normalised(at: _At) -> Bound:
    scale, shift, mean, variance = (at.constant(n).astype(np.float64) for n in (1, 2, 3, 4))
    if at.attributes.get("training_mode", 0) or not (variance >= 0).all():
        raise Unproven("normalises by what it sees")
    root = np.sqrt(variance + at.attributes.get("epsilon", 1e-5))
    if not root.all():
        raise Unproven("divides by 0")
    factor = np.maximum(np.abs(scale), 1) / root
    return _rounded(factor * (at.bound() + np.abs(mean)) + np.abs(shift), 4)


def _mean(at: _At) -> Bound:
    _check_cells(at)
    cells = prod(at.attributes["kernel_shape"])
    _check(at.bound() * cells)  # the sum, before it is divided
    return _rounded(at.bound(), cells)


def _slice(at: _At) -> Bound:
    if not at.has(3) or not set(at.constant(3).tolist()) <= {2, 3, 4, -1, -2, -3}:
        raise Unproven("cuts other axes than z, y, x")
    return at.bound()


def _resized(at: _At) -> Bound:
    mode = at.attributes.get("mode", "nearest")
    if mode not in ("nearest", "linear"):
        raise Unproven(f"{mode} interpolation")
    if at.attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        raise Unproven("extrapolates")
    return _rounded(at.bound(), 8)


def _joined(at: _At) -> Bound:
    if at.attributes.get("axis") not in (CHANNELS, CHANNELS - 5):
        raise Unproven("joins along another axis than channels")
    return np.concatenate([at.bound(n) for n in range(len(at._names))])


def _leaky(at: _At) -> Bound:
    return _rounded(at.bound() * max(1.0, abs(at.attributes.get("alpha", 0.01))), 1)


def _whole(at: _At) -> Bound:
    return at.bound() + 1


def _byte(at: _At) -> Bound:
    """Return the bound of what bytes stand for: what is rounded to them, or their ends."""
    scale, zero = at.constant(1), at.constant(2)
    if scale.size != 1 or zero.dtype != np.uint8 or not scale.item() > 0:
        raise Unproven("rounds to others than bytes of one scale above 0")
    _check(at.bound() / scale.item())
    ends = float(scale.item()) * max(int(zero.item()), 255 - int(zero.item()))
    return _rounded(np.maximum(at.bound(), ends), 2)


Rules = Mapping[str, Callable[[_At], Bound]]
RULES: Rules = {
    "Abs": _same, "Add": _sum, "AveragePool": _mean, "BatchNormalization": _normalised,
    "Cast": _cast, "Clip": _clipped, "Concat": _joined, "Conv": _convolution,
    "ConvTranspose": _transposed, "Div": _quotient, "Identity": _same, "LeakyRelu": _leaky,
    "MaxPool": _largest, "Mul": _product, "Neg": _same, "Relu": _same, "Resize": _resized,
    "Round": _whole, "Sigmoid": _one, "Slice": _slice, "Softmax": _softmax, "Sub": _sum,
    "Tanh": _one,
}  # fmt: skip
# Of networks that fibstream itself rounded: of others it is not known whether their sums fit.
QUANTISED: Rules = {**RULES, "QuantizeLinear": _byte, "DequantizeLinear": _same}


def bounds(graph: Graph, rules: Rules = RULES) -> Mapping[str, Bound]:
    """Return the bound of every tensor that a node of a network yields, (channels,), at least 1.

    Raises
    ------
    Unproven
        A node has no rule here, or a value may be infinite; the message names the node.
    """
    known: dict[str, Bound] = {graph.raw: np.full(1, GREY)}
    for node in graph.nodes:
        rule = rules.get(node.kind)
        try:
            if rule is None:
                raise Unproven("its values are not known")
            found = np.maximum(rule(_At(node, graph, known)), 1)
            _check(found)
        except Unproven as error:
            raise Unproven(f"{node.kind} {node.output}: {error}") from None
        except (ValueError, IndexError, KeyError):  # shapes that no runtime takes
            raise Unproven(f"{node.kind} {node.output}: its shapes do not fit") from None
        known[node.output] = found
    return {node.output: known[node.output] for node in graph.nodes}


def largest(graph: Graph) -> float:
    """Return the largest bound of a network; raises Unproven as `bounds`."""
    return max((float(each.max()) for each in bounds(graph).values()), default=GREY)


def _rounded(exact: Bound, terms: int) -> Bound:
    """Return a bound of a sum of so many terms as it is computed, in whatever order."""
    found: Bound = exact * ((1 + STORED) ** 2 * exp(min(terms * SUMMED, 700.0)))
    return found


def _check(found: Bound) -> None:
    if not (found <= LIMIT).all():
        raise Unproven(f"values may reach {found.max():.3g}, beyond the numbers of float32")

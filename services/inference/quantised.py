"""How a network is computed with bytes: which convolutions, and how values and weights are rounded.

What a convolution reads becomes uint8 by the range that calibration found, its weights become whole
numbers up to `MOST`; sums are exact. Whether that is near enough is measured, never assumed.
"""

from collections.abc import Mapping
from math import prod
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from .bound import Graph, Node

BYTE = 255  # of a value that a convolution reads
# Of a weight, 7 bits: x86 processors without VNNI add two products of bytes in 16 bits, and what is
# too large becomes 32767, without a word. Two of 255 * 64 are not. With 8 bits a convolution of
# equal weights was off by half here, measured with AVX2.
MOST = 64
SUM = 2**31 - 1  # of products, in 32 bits
LEAST_SCALE = 1e-30  # so that no quotient is infinite
MAX_RANGES = 256  # tensors: networks have some dozen convolutions
MAX_TEXT = 200  # characters of a name
# Nodes that make a new value of one voxel alone.
VOXELWISE = frozenset({"Add", "Cast", "Clip", "Div", "Identity", "Mul", "Neg", "Sub"})

Text = Annotated[str, Field(max_length=MAX_TEXT)]
Value = Annotated[float, Field(allow_inf_nan=False, ge=-3e38, le=3e38)]  # of float32
Count = Annotated[int, Field(ge=0, lt=2**63)]


class Calibration(BaseModel):
    """The values that convolutions of a network read, lowest and highest, and where they were seen.

    ``ranges`` are by tensor; ``sha256`` is that of all tiles that the network saw, one after the
    other.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    volume: Text
    contrast: tuple[Value, Value]
    inverted: bool
    tiles: Count
    seed: Count
    sha256: Text
    ranges: Mapping[Text, tuple[Value, Value]] = Field(min_length=1, max_length=MAX_RANGES)


class Weights(NamedTuple):
    """Weights as whole numbers, int8 (outputs, inputs, z, y, x), times one scale an output."""

    whole: NDArray[np.int8]
    scale: NDArray[np.float32]


def convolutions(graph: Graph) -> list[Node]:
    """Return the convolutions that are computed with bytes: of constant kernels of several voxels.

    Those of one voxel have hardly 1 % of the arithmetic and, in the released network, half of the
    error: they stay in float32.
    """
    return [node for node in graph.nodes if node.kind == "Conv" and _spatial(node, graph)]


def _spatial(node: Node, graph: Graph) -> bool:
    weight = graph.constants.get(node.inputs[1])
    return (
        weight is not None and weight.dtype == np.float32 and weight.ndim == 5
        and prod(weight.shape[2:]) > 1 and node.inputs[0] not in graph.constants
    )  # fmt: skip


def read(graph: Graph) -> list[str]:
    """Return the tensors that those convolutions read, each once, in their order."""
    return list(dict.fromkeys(node.inputs[0] for node in convolutions(graph)))


def voxelwise(graph: Graph) -> set[str]:
    """Return the tensors whose voxels are each made of one grey value and constants alone."""
    found = {graph.raw}
    for node in graph.nodes:
        varies = [name for name in node.inputs if name and name not in graph.constants]
        if node.kind in VOXELWISE and set(varies) <= found:
            found.add(node.output)
    return found


def byte_scale(low: float, high: float) -> tuple[np.float32, np.uint8]:
    """Return scale and zero: a byte b stands for ``scale * (b - zero)``, and 0 for itself.

    Values from ``low`` to ``high`` are off by at most half a scale, those beyond become the ends.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32(max((high - low) / BYTE, LEAST_SCALE))
    return scale, np.uint8(np.clip(np.rint(-low / float(scale)), 0, BYTE))


def whole_weights(weight: NDArray[np.float32]) -> Weights:
    """Return weights as whole numbers from -`MOST` to `MOST`, float32 (outputs, inputs, z, y, x).

    Each is one of the two next whole numbers, such that the sum of each kernel is off by half a
    scale at most: neighbouring voxels are alike, and what they are wrong by together counts most.
    In the released network that removes two thirds of what rounding each to the nearest is off by.
    """
    outputs, inputs = weight.shape[:2]
    largest = np.abs(weight).reshape(outputs, -1).max(1).astype(np.float64)
    # One less than MOST: a weight may be rounded away from 0.
    scale = np.maximum(largest / (MOST - 1), LEAST_SCALE).astype(np.float32)
    exact = (weight.reshape(outputs, -1) / scale.astype(np.float64)[:, None]).reshape(
        outputs * inputs, -1
    )
    below = np.floor(exact)
    part = exact - below
    raised = np.rint(part.sum(1)).astype(int)  # so many of a kernel are rounded up
    rank = np.argsort(np.argsort(-part, 1, kind="stable"), 1, kind="stable")
    whole = below + (rank < raised[:, None])
    return Weights(whole.astype(np.int8).reshape(weight.shape), scale)


def sums_fit(whole: NDArray[np.int8]) -> bool:
    """Whether the sums of products of a convolution fit 32 bits, whatever bytes it reads."""
    sums = np.abs(whole.astype(np.int64)).reshape(len(whole), -1).sum(1)
    return bool((BYTE * sums <= SUM).all())


def unfit(ranges: Mapping[str, tuple[float, float]], graph: Graph) -> str | None:
    """Return why ranges are not those of a network; None where they are."""
    wanted = read(graph)
    for name, (low, high) in ranges.items():
        if name not in wanted:
            return f"{name[:MAX_TEXT]!r} is read by none of its convolutions"
        if low > high:
            return f"{name[:MAX_TEXT]!r} is from {low:g} to {high:g}; expected LOW, HIGH"
    missing = [name for name in wanted if name not in ranges]
    return f"{missing[0][:MAX_TEXT]!r} is missing" if missing else None


def dequantised(weights: Weights) -> NDArray[np.float64]:
    """Return the weights that whole numbers stand for."""
    each = weights.scale.astype(np.float64).reshape(-1, 1, 1, 1, 1)
    found: NDArray[np.float64] = weights.whole * each
    return found

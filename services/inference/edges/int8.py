"""Networks for int8: the calibration in their file, and the graph that computes with bytes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from pydantic import ValidationError

from fibstream.core.documents import parse_json
from fibstream.core.echo import cut
from fibstream.core.errors import WrongUse
from fibstream.services.inference.bound import Graph
from fibstream.services.inference.quantised import (
    Calibration,
    byte_scale,
    convolutions,
    sums_fit,
    unfit,
    whole_weights,
)

from .graph import graph_of

# A property of its own beside the card: what is wrong with it keeps no network from fp32.
METADATA = "fibstream-calibration"
OPSET = 13  # the first with one scale an output
AGAIN = "make it with `fibstream calibrate`"
OURS = ("QuantizeLinear", "DequantizeLinear")


def calibration_of(path: Path, model: onnx.ModelProto) -> Calibration:
    """Return the calibration of a network; raise WrongUse where it has none that fits it."""
    texts = {prop.key: prop.value for prop in model.metadata_props}
    if METADATA not in texts:
        raise WrongUse(f"model {path}: not calibrated, which int8 needs; {AGAIN}")
    where = f"model {path}: its calibration"
    found = calibration(where, parse_json(texts[METADATA], where, constants=True))
    why = unfit(found.ranges, graph_of(model))
    if why is not None:
        raise WrongUse(f"{where}: {cut(why)}; {AGAIN}")
    return found


def calibration(where: str, content: Any) -> Calibration:
    """Return a calibration of plain values; raise WrongUse for what is none."""
    try:
        return Calibration.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "its content"
        raise WrongUse(f"{where}: {cut(name)}: {cut(first['msg'])}; {AGAIN}") from None


def with_calibration(path: Path, model: onnx.ModelProto, found: Calibration) -> bytes:
    """Return a network's file with a calibration; nothing else of it changes.

    Raises WrongUse where the calibration is one that would be refused when it is used.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    kept = [prop for prop in model.metadata_props if prop.key != METADATA]
    del made.metadata_props[:]
    made.metadata_props.extend(kept)
    made.metadata_props.add(key=METADATA, value=found.model_dump_json())
    calibration_of(path, made)
    content: bytes = made.SerializeToString(deterministic=True)
    return content


def check_roundable(path: Path, model: onnx.ModelProto) -> Graph:
    """Return a network's graph; raise WrongUse where it cannot be computed with bytes."""
    version = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if version < OPSET:
        raise WrongUse(f"model {path}: opset {version}; int8 needs {OPSET} or later")
    graph = graph_of(model)
    if any(node.kind in OURS for node in graph.nodes):
        raise WrongUse(f"model {path}: is quantised already; int8 needs the network in float32")
    if not convolutions(graph):
        raise WrongUse(
            f"model {path}: no convolution to compute in int8; expected some with constant float32 "
            "kernels (outputs, inputs, z, y, x) of more than one voxel"
        )
    return graph


def to_int8(path: Path, model: onnx.ModelProto) -> Calibration:
    """Change a network's graph to one that computes its convolutions with bytes.

    Returns the calibration that it follows.

    Raises
    ------
    WrongUse
        It has no calibration that fits it, or cannot be computed so.
    """
    graph = check_roundable(path, model)
    calibrated = calibration_of(path, model)
    wanted = {node.output: node.inputs for node in convolutions(graph)}
    nodes: list[onnx.NodeProto] = []
    made: dict[str, str] = {}  # what a tensor is read as instead

    def read(name: str, parts: Iterator[Any]) -> str:
        if name not in made:
            for part in parts:
                (nodes if isinstance(part, onnx.NodeProto) else model.graph.initializer).append(
                    part
                )
            made[name] = _of(name, "read")
        return made[name]

    for node in model.graph.node:
        if node.output[0] in wanted:
            value, weight = wanted[node.output[0]][:2]
            node.input[0] = read(value, _value(value, calibrated.ranges[value]))
            node.input[1] = read(weight, _weight(path, weight, graph.constants[weight]))
        nodes.append(node)
    body = onnx.GraphProto(node=nodes)  # copies: those of the graph go with its list
    del model.graph.node[:]
    model.graph.node.extend(body.node)
    return calibrated


def _of(name: str, part: str) -> str:
    return f"{name}/int8/{part}"


def _value(name: str, ends: Sequence[float]) -> Iterator[Any]:
    """Yield what rounds a tensor to bytes and reads it as float32 again."""
    scale, zero = byte_scale(*ends)
    given = [_of(name, "scale"), _of(name, "zero")]
    yield numpy_helper.from_array(np.asarray(scale), given[0])
    yield numpy_helper.from_array(np.asarray(zero), given[1])
    yield helper.make_node("QuantizeLinear", [name, *given], [_of(name, "byte")])
    yield helper.make_node("DequantizeLinear", [_of(name, "byte"), *given], [_of(name, "read")])


def _weight(path: Path, name: str, value: NDArray[np.float32]) -> Iterator[Any]:
    """Yield weights as whole numbers, and what reads them as float32."""
    whole, scale = whole_weights(value)
    if not sums_fit(whole):
        raise WrongUse(f"model {path}: sums with weight {cut(name)} may exceed 32 bits in int8")
    given = [_of(name, part) for part in ("whole", "scale", "zero")]
    for each, array in zip(given, (whole, scale, np.zeros(len(scale), np.int8)), strict=True):
        yield numpy_helper.from_array(array, each)
    yield helper.make_node("DequantizeLinear", given, [_of(name, "read")], axis=0)

"""A network's ONNX graph as plain data, for what is computed of it without a runtime."""

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from numpy.typing import NDArray

from fibstream.core.grid import Index
from fibstream.services.inference.bound import Graph, Node
from fibstream.services.inference.footprint import held
from fibstream.services.inference.quantised import Weights, dequantised

# A worker without activations, and how much more than its activations a runtime holds. Of the
# released network on tiles of 144, 208 and 240 voxels it covers the peaks of both runtimes, one of
# them beside the reference that it is compared with: 0.48, 0.82 and 1.25 GB.
RUNTIME, OVER = 300_000_000, 2.2


def graph_of(model: onnx.ModelProto) -> Graph:
    """Return constants, and the nodes that the output needs; names of other vocabularies are whole.

    Of a node with several outputs only the first is known.
    """
    body = model.graph
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in body.initializer}
    nodes = []
    for node in _needed(body):
        values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant" and isinstance(values.get("value"), onnx.TensorProto):
            constants[node.output[0]] = onnx.numpy_helper.to_array(values["value"])
            continue
        if node.op_type == "DequantizeLinear" and (weights := _weights(node, constants)):
            constants[node.output[0]] = dequantised(weights)
            continue
        plain = {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}
        own = node.domain in ("", "ai.onnx")
        kind = node.op_type if own else f"{node.domain}.{node.op_type}"
        nodes.append(Node(kind, tuple(node.input), node.output[0], plain))
    (raw,) = (value.name for value in body.input if value.name not in constants)
    return Graph(raw, nodes, constants)


def _weights(node: onnx.NodeProto, constants: Mapping[str, NDArray[Any]]) -> Weights | None:
    """Return what a node reads where it is as `int8` writes weights: a scale an output, zero 0."""
    given = [constants[name] for name in node.input if name in constants]
    if len(given) != 3 or given[0].ndim != 5 or given[1].shape != (len(given[0]),):
        return None
    axis = {a.name: a.i for a in node.attribute}.get("axis", 1)
    return None if given[2].any() or axis != 0 else Weights(given[0], given[1])


def memory_of(model: onnx.ModelProto, tile: Index) -> int | None:
    """Return how many bytes a network takes on a tile, at most by what was measured.

    None where its shapes on the tile are not known: its file fixes another one.
    """
    shapes = shapes_of(model, tile)
    if shapes is None:
        return None
    return RUNTIME + int(OVER * held(graph_of(model).nodes, shapes))


def shapes_of(model: onnx.ModelProto, tile: Index) -> Mapping[str, Sequence[int]] | None:
    """Return the shape of what each node yields on a tile; None where one is not known."""
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    for value in (*sized.graph.input, *sized.graph.output):
        axes = value.type.tensor_type.shape.dim
        for axis, edge in zip(axes[2:], tile, strict=True):
            if value.name != sized.graph.output[0].name and axis.dim_value not in (0, edge):
                return None
            axis.Clear()
            if value.name != sized.graph.output[0].name:
                axis.dim_value = edge
    body = onnx.shape_inference.infer_shapes(sized, data_prop=True).graph
    values = (*body.value_info, *body.output)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    if any(
        not shapes.get(node.output) or 0 in shapes[node.output] for node in graph_of(model).nodes
    ):
        return None
    return shapes


def _needed(body: onnx.GraphProto) -> Sequence[onnx.NodeProto]:
    """Return the nodes that the output depends on, in their order."""
    wanted = {output.name for output in body.output}
    kept = []
    for node in reversed(body.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]

"""No value inside a network exceeds its bound; what is not proven finite is told by its node."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from fibstream.services.inference.bound import Unproven, bounds, largest
from fibstream.services.inference.edges.backends.onnx_runtime import session_options
from fibstream.services.inference.edges.graph import graph_of
from fibstream.services.inference.edges.model import find_model, read_network

from .net import Graph, pool, rounded, unet

EDGE = 12  # voxels of the input


def convolution(graph: Graph, value: str, channels: int, size: float) -> tuple[str, int]:
    after, groups = (channels, channels) if graph.rng.random() < 0.3 else (3, 1)
    weight = graph.rng.normal(0, size, (after, channels // groups, 3, 3, 3))
    inputs = [graph.constant(weight, np.float32)]
    if graph.rng.random() < 0.7:
        inputs.append(graph.constant(graph.rng.normal(0, 50 * size, after), np.float32))
    return graph.add("Conv", value, *inputs, group=groups), after


def transposed(graph: Graph, value: str, channels: int, size: float) -> tuple[str, int]:
    weight = graph.constant(graph.rng.normal(0, size, (channels, 2, 2, 2, 2)), np.float32)
    bias = graph.constant(graph.rng.normal(0, 50 * size, 2), np.float32)
    return graph.add("ConvTranspose", value, weight, bias, strides=[1] * 3), 2


def normalised(graph: Graph, value: str, channels: int, size: float) -> tuple[str, int]:
    drawn = [graph.rng.normal(0, size, channels) for _ in range(3)]
    parts = [*drawn, graph.rng.random(channels)]
    return graph.add(
        "BatchNormalization", value, *(graph.constant(p, np.float32) for p in parts)
    ), channels


def arithmetic(graph: Graph, value: str, channels: int, size: float) -> tuple[str, int]:
    kind = str(graph.rng.choice(["Add", "Sub", "Mul", "Div"]))
    each = graph.rng.normal(0, size, (channels, 1, 1, 1)) + 0.01
    return graph.add(kind, value, graph.constant(each, np.float32)), channels


def shaped(graph: Graph, value: str, channels: int, _size: float) -> tuple[str, int]:
    kind = str(
        graph.rng.choice(["Relu", "LeakyRelu", "Tanh", "Sigmoid", "Neg", "Round", "Softmax"])
    )
    more: dict[str, dict[str, Any]] = {"LeakyRelu": {"alpha": 1.5}, "Softmax": {"axis": 1}}
    return graph.add(kind, value, **more.get(kind, {})), channels


def pooled(graph: Graph, value: str, channels: int, _size: float) -> tuple[str, int]:
    kind = str(graph.rng.choice(["MaxPool", "AveragePool"]))
    return graph.add(kind, value, kernel_shape=[2] * 3), channels


def joined(graph: Graph, value: str, channels: int, size: float) -> tuple[str, int]:
    factor = graph.constant(size, np.float32)
    return graph.add("Concat", graph.add("Mul", value, factor), value, axis=1), 2 * channels


def clipped(graph: Graph, value: str, channels: int, size: float) -> tuple[str, int]:
    ends = np.sort(graph.rng.normal(0, 1000 * size, 2))
    names = [graph.constant(end, np.float32) for end in ends]
    names[int(graph.rng.integers(2))] = ""
    return graph.add("Clip", value, *names), channels


def resized(graph: Graph, value: str, channels: int, _size: float) -> tuple[str, int]:
    scales = graph.constant([1, 1, *graph.rng.choice([0.75, 1, 1.5], 3)], np.float32)
    mode = str(graph.rng.choice(["nearest", "linear"]))
    return graph.add("Resize", value, "", scales, mode=mode), channels


STEPS = (convolution, transposed, normalised, arithmetic, shaped, pooled, joined, clipped, resized)


def drawn_network(seed: int, magnitude: float) -> onnx.ModelProto:
    graph = Graph(seed)
    value, channels = graph.add("Cast", "raw", to=TensorProto.FLOAT), 1
    for _ in range(int(graph.rng.integers(1, 6))):
        step = STEPS[int(graph.rng.integers(len(STEPS)))]
        value, channels = step(graph, value, channels, magnitude)
    return whole(graph)


def whole(graph: Graph) -> onnx.ModelProto:
    """A model all of whose tensors are outputs, so that each can be looked at."""
    raw = helper.make_tensor_value_info("raw", TensorProto.UINT8, [1, 1, EDGE, EDGE, EDGE])
    names = [node.output[0] for node in graph.nodes]
    every = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names]
    body = helper.make_graph(graph.nodes, "net", [raw], every, graph.weights)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def values(model: onnx.ModelProto, tile: Any) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), session_options(1), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"raw": tile[None, None]}), strict=True))


def tiles(seed: int) -> list[Any]:
    """Noise, the darkest and the brightest, and what is bright in half of it."""
    rng = np.random.default_rng(seed)
    half = np.zeros((EDGE,) * 3, np.uint8)
    half[:, : EDGE // 2] = 255
    ends = [np.full_like(half, end) for end in (0, 255)]
    return [rng.integers(0, 256, half.shape, np.uint8), half, *ends]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.sampled_from([0.01, 1.0, 30.0, 1e6]))
def test_no_value_exceeds_its_bound(seed: int, magnitude: float) -> None:
    model = drawn_network(seed, magnitude)
    try:
        known = bounds(graph_of(model))
    except Unproven:
        return  # nothing is said; that this is rare, the test below tells
    for tile in tiles(seed):
        for name, found in values(model, tile).items():
            assert np.isfinite(found).all()
            reached = np.abs(found).max(axis=(0, 2, 3, 4))
            assert (reached <= known[name]).all(), (name, reached, known[name])


def test_most_networks_of_usual_weights_are_proven() -> None:
    proven = 0
    for seed in range(40):
        try:
            proven += bool(bounds(graph_of(drawn_network(seed, 1.0))))
        except Unproven:
            continue
    assert proven == 40


@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_bound_is_reached_where_all_signs_agree(kind: str, groups: int) -> None:
    """Else a bound of a million times too much would pass, and prove nothing of deep networks."""
    graph = Graph()
    value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
    for before, after, parts in ((1, 4, 1), (4, 6, groups), (6, 2, groups)):
        shape = (after, before // parts) if kind == "Conv" else (before, after // parts)
        weight = graph.constant(graph.rng.random((*shape, 2, 2, 2)), np.float32)
        bias = graph.constant(np.ones(after), np.float32)
        value = graph.add(kind, value, weight, bias, group=parts)
    model = whole(graph)
    found = values(model, np.full((EDGE,) * 3, 255, np.uint8))[value].max(axis=(0, 2, 3, 4))
    bound = bounds(graph_of(model))[value]
    assert (found <= bound).all() and (found > 0.95 * bound).all()


@pytest.mark.parametrize(
    ("steps", "reached"),
    [
        ([("Mul", 0.01), ("Round",)], 3),
        ([("Neg",), ("LeakyRelu", {"alpha": 1.5})], 382.5),
        ([("Clip", 1000.0)], 1000),
        ([("Clip", "", -1000.0)], 1000),
        ([("Clip", -1000.0, 1000.0)], 255),
        ([("Clip", "", 1000.0)], 255),
        ([("Sub", -100.0), ("Abs",)], 355),
        ([("Div", -0.5)], 510),
    ],
)
def test_a_bound_holds_where_it_is_reached(steps: Any, reached: float) -> None:
    graph = Graph()
    value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
    for kind, *inputs in steps:
        attributes = inputs.pop() if inputs and isinstance(inputs[-1], dict) else {}
        names = [n if n == "" else graph.constant(n, np.float32) for n in inputs]
        value = graph.add(kind, value, *names, **attributes)
    model = whole(graph)
    found = np.abs(values(model, np.full((EDGE,) * 3, 255, np.uint8))[value]).max()
    (bound,) = bounds(graph_of(model))[value]
    assert found == pytest.approx(reached) and found <= bound < 1.4 * reached


def test_the_released_network_is_proven() -> None:
    _, model = read_network(find_model("mito"))
    model.graph.output[0].name = next(
        node.input[0]
        for node in model.graph.node
        if node.op_type == "Cast" and "distance" in node.output
    )
    assert 1e6 < largest(graph_of(model)) < 1e30


def overflowing(graph: Graph) -> str:
    """Activations beyond float32, by weights that are each a number of it."""
    value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
    for before, after in ((1, 4), (4, 4)):
        weight = graph.constant(graph.rng.normal(0, 1e20, (after, before, 3, 3, 3)), np.float32)
        value = graph.add("Relu", graph.add("Conv", value, weight))
    return value


def hidden(graph: Graph) -> str:
    """A factor beyond float32 once two constants are one, though no value is."""
    value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
    for factor in (1e-30, 1e30, 1e30):
        value = graph.add("Mul", value, graph.constant(factor, np.float32))
    return value


def summed(graph: Graph) -> str:
    """A mean whose sum is beyond float32."""
    value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
    large = graph.add("Mul", value, graph.constant(1e35, np.float32))
    return graph.add("AveragePool", large, kernel_shape=[3] * 3)


def compared(graph: Graph) -> str:
    value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
    return graph.add("Softmax", graph.add("Mul", value, graph.constant(1e36, np.float32)), axis=1)


def rooted(graph: Graph) -> str:
    return graph.add("Sqrt", unet(graph))


def divided(graph: Graph) -> str:
    value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
    return graph.add("Div", value, graph.add("Relu", value))


def by_nothing(graph: Graph) -> str:
    value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
    return graph.add("Div", value, graph.constant([[[[0.0]]]], np.float32))


def halved(graph: Graph) -> str:
    return graph.add("Cast", "raw", to=TensorProto.FLOAT16)


def foreign(graph: Graph) -> str:
    """A Relu of a vocabulary that only its makers know."""
    name = graph.add("Relu", graph.add("Cast", "raw", to=TensorProto.FLOAT))
    graph.nodes[-1].domain = "com.example"
    return name


def cut(graph: Graph) -> str:
    value = unet(graph)
    bounds_of = ([1], [2], [1])
    return graph.add("Slice", value, *(graph.constant(b, np.int64) for b in bounds_of))


def cubic(graph: Graph) -> str:
    value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
    scales = graph.constant([1, 1, 2, 2, 2], np.float32)
    return graph.add("Resize", value, "", scales, mode="cubic")


def extrapolating(graph: Graph) -> str:
    value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
    scales = graph.constant([1, 1, 2, 2, 2], np.float32)
    where: dict[str, Any] = {
        "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 1e38,
    }  # fmt: skip
    return graph.add("Resize", value, "", scales, mode="linear", **where)


def normalising(**attributes: Any) -> Callable[[Graph], str]:
    """Normalises by a mean of 0, and a variance of 1 but where it is given."""
    variance = attributes.pop("variance", 1.0)

    def body(graph: Graph) -> str:
        value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
        parts = [graph.constant([each], np.float32) for each in (1.0, 0.0, 0.0, variance)]
        return graph.add("BatchNormalization", value, *parts, **attributes)

    return body


def normalised_first(graph: Graph) -> str:
    """Divided by a deviation of 1e-19 before it meets a scale that would keep it small."""
    value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
    large = graph.add("Mul", value, graph.constant(1e25, np.float32))
    parts = [graph.constant([each], np.float32) for each in (1e-30, 0.0, 0.0, 1e-38)]
    return graph.add("BatchNormalization", large, *parts, epsilon=0.0)


def pooling(kind: str, **attributes: Any) -> Callable[[Graph], str]:
    def body(graph: Graph) -> str:
        value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
        return graph.add(kind, value, kernel_shape=[2] * 3, **attributes)

    return body


def one_channel_of_two(graph: Graph) -> str:
    value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
    both = graph.constant(np.reshape([1.0, 1e37], (1, 2, 1, 1, 1)), np.float32)
    return graph.add("Mul", value, both)


def lengthened(graph: Graph) -> str:
    value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
    return graph.add("Concat", value, value, axis=2)


def cut_without_axes(graph: Graph) -> str:
    value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
    return graph.add("Slice", value, *(graph.constant([n], np.int64) for n in (0, 1)))


def by_place(graph: Graph) -> str:
    value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
    return graph.add("Mul", value, graph.constant(np.ones(EDGE), np.float32))


def of_no_number(graph: Graph) -> str:
    value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
    return graph.add("Clip", value, graph.constant(np.nan, np.float32))


def misfit(graph: Graph) -> str:
    """A convolution of two channels where there is one: no runtime takes it."""
    weight = graph.constant(np.ones((1, 2, 1, 1, 1)), np.float32)
    return graph.add("Conv", graph.add("Cast", "raw", to=TensorProto.FLOAT), weight, group=3)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (overflowing, r"Conv n3: values may reach .*e\+4\d, beyond the numbers of float32"),
        (hidden, "Mul n3: values may reach"),
        (summed, "AveragePool n2: values may reach"),
        (compared, "Softmax n2: values may reach"),
        (rooted, "Sqrt .*: its values are not known"),
        (divided, "Div n2: input 1 is not constant"),
        (by_nothing, "Div n1: divides by 0"),
        (halved, "Cast n0: casts to another type than float32"),
        (foreign, "com.example.Relu n1: its values are not known"),
        (cut, "Slice .*: cuts other axes than z, y, x"),
        (cubic, "Resize n1: cubic interpolation"),
        (extrapolating, "Resize n1: extrapolates"),
        (normalising(training_mode=1), "BatchNormalization n1: normalises by what it sees"),
        (normalising(variance=-0.5), "BatchNormalization n1: normalises by what it sees"),
        (normalising(variance=0.0, epsilon=0.0), "BatchNormalization n1: divides by 0"),
        (normalised_first, "BatchNormalization n2: values may reach"),
        (pooling("MaxPool", pads=[0, 0, 1, 0, 0, 1]), "MaxPool n1: pools over padding"),
        (pooling("MaxPool", auto_pad="SAME_UPPER"), "MaxPool n1: pools over padding"),
        (pooling("AveragePool", ceil_mode=1), "AveragePool n1: pools over padding"),
        (one_channel_of_two, r"Mul n1: values may reach 2.5\de\+39"),
        (lengthened, "Concat n1: joins along another axis"),
        (cut_without_axes, "Slice n1: cuts other axes"),
        (by_place, "Mul n1: constant of shape .* is not one a channel"),
        (of_no_number, "Clip n1: values may reach nan"),
        (misfit, "Conv n1: its shapes do not fit"),
    ],
)
def test_what_is_not_proven_is_told(body: Any, reason: str) -> None:
    graph = Graph()
    body(graph)
    with pytest.raises(Unproven, match=reason):
        bounds(graph_of(whole(graph)))


def test_nodes_that_the_output_does_not_need_are_no_matter() -> None:
    graph = Graph()
    rounded(graph, unet(graph))
    graph.add("Sqrt", pool(graph, "n0"))
    model = whole(graph)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("n10", TensorProto.FLOAT, None))
    assert "n10" in bounds(graph_of(model))


def test_a_constant_in_a_node_counts_as_one_in_the_list_of_weights() -> None:
    graph = Graph()
    value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
    tensor = onnx.numpy_helper.from_array(np.float32(3), "three")
    graph.nodes.append(helper.make_node("Constant", [], ["three"], value=tensor))
    product = graph.add("Mul", value, "three")
    model = whole(graph)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(product, TensorProto.FLOAT, None))
    assert 765 <= bounds(graph_of(model))[product][0] < 775

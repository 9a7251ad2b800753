"""Bytes instead of floats: what rounding keeps, what is run, and what is refused in one line."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto

from fibstream.core.errors import WrongUse
from fibstream.services.inference.backend import Wanted, deviation
from fibstream.services.inference.bound import QUANTISED, RULES, Node, Unproven, bounds
from fibstream.services.inference.edges.backends import REFERENCE
from fibstream.services.inference.edges.backends.open_vino import OPENVINO
from fibstream.services.inference.edges.engine import (
    CpuEngine,
    Network,
    NetworkEngine,
    engine_of,
    make_engine,
)
from fibstream.services.inference.edges.graph import graph_of
from fibstream.services.inference.edges.int8 import METADATA, to_int8
from fibstream.services.inference.edges.model import read_network
from fibstream.services.inference.edges.observing import Observer
from fibstream.services.inference.quantised import (
    BYTE,
    MOST,
    SUM,
    byte_scale,
    dequantised,
    read,
    sums_fit,
    voxelwise,
    whole_weights,
)

from .net import EDGE, Graph, features, write_net

SIXTEEN = 2**15 - 1


def noise(seed: int, edge: int = EDGE) -> NDArray[np.uint8]:
    """Lumps of about two voxels: neighbours are alike, as in tissue."""
    rng = np.random.default_rng(seed)
    block = np.repeat(np.repeat(np.repeat(rng.integers(0, 256, (edge,) * 3), 2, 0), 2, 1), 2, 2)
    return block[:edge, :edge, :edge].astype(np.uint8)


def calm(graph: Graph) -> str:
    """The first network with its surface away from most voxels: rounding moves few of them."""
    head = graph.scaled(graph.conv(features(graph), 4, 2, edge=1), 2.0, 1.0)
    return graph.add("Tanh", head)


def record(path: Path, **changes: Any) -> dict[str, Any]:
    observer = Observer(path, 1)
    for seed in range(4):
        observer.infer(noise(seed))
    found = {
        "volume": "cells.tif", "contrast": [0, 255], "inverted": False, "tiles": 4, "seed": 0,
        "sha256": observer.sha256, "ranges": {k: list(v) for k, v in observer.ranges.items()},
    }  # fmt: skip
    return {**found, **changes}


def with_property(path: Path, text: str) -> Path:
    model = onnx.load(path)
    kept = {p.key: p.value for p in model.metadata_props if p.key != METADATA}
    onnx.helper.set_model_props(model, {**kept, METADATA: text})
    onnx.save(model, path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A network with a calibration."""
    made = write_net(tmp_path / "cells.onnx", body=calm)
    return with_property(made, json.dumps(record(made)))


# -- the laws ----------------------------------------------------------------------------------

ends = st.floats(-1e6, 1e6, allow_nan=False, width=32)


@given(ends, ends, st.integers(0, 2**32 - 1))
def test_a_value_within_the_range_is_off_by_half_a_scale_and_zero_by_nothing(a, b, seed) -> None:
    low, high = min(a, b), max(a, b)
    scale, zero = byte_scale(low, high)
    values = np.append(np.random.default_rng(seed).uniform(low, high, 50), [low, high, 0.0])
    bytes_ = np.clip(np.rint(values / float(scale)) + zero, 0, BYTE)
    found = float(scale) * (bytes_ - float(zero))
    assert (np.abs(found - values)[:-1] <= 0.5001 * float(scale)).all() or (low > 0 or high < 0)
    assert found[-1] == 0
    inside = (values >= min(low, 0)) & (values <= max(high, 0))
    assert (np.abs(found - values)[inside] <= 0.5001 * float(scale)).all()


@settings(max_examples=50)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from([(1, 1, 3), (4, 3, 2), (2, 5, 3)]),
    st.sampled_from([1e-38, 1e-3, 1.0, 1e20]), st.sampled_from(["normal", "sparse", "equal"]),
)  # fmt: skip
def test_weights_keep_to_their_size_and_kernels_to_their_sums(seed, shape, size, kind) -> None:
    rng = np.random.default_rng(seed)
    outputs, inputs, edge = shape
    drawn = rng.normal(0, size, (outputs, inputs, *(edge,) * 3))
    if kind == "sparse":
        drawn *= rng.random(drawn.shape) < 0.1
    if kind == "equal":
        drawn = np.full_like(drawn, -size)
    weight = drawn.astype(np.float32)
    found = whole_weights(weight)
    assert found.whole.dtype == np.int8 and found.scale.shape == (outputs,)
    assert np.abs(found.whole.astype(int)).max() <= MOST
    scale = found.scale.astype(np.float64).reshape(-1, 1, 1, 1, 1)
    off = (dequantised(found) - weight) / scale
    assert (np.abs(off) < 1 + 1e-6).all()  # one of the two next whole numbers
    assert (np.abs(off.reshape(outputs, inputs, -1).sum(2)) <= 0.5 + 1e-4).all()


def test_two_products_of_bytes_fit_16_bits() -> None:
    """Processors without VNNI add them so, and cut what is larger."""
    assert 2 * BYTE * MOST <= SIXTEEN < 2 * BYTE * 127


def test_sums_that_exceed_32_bits_are_found() -> None:
    taps = SUM // (BYTE * MOST)
    assert sums_fit(np.full((1, taps), MOST, np.int8))
    assert not sums_fit(np.full((1, taps + 1), MOST, np.int8))
    assert not sums_fit(np.full((1, taps + 1), -MOST, np.int8))


def wide(graph: Graph) -> str:
    """Convolutions of equal weights and bright voxels: the largest sums that there can be."""
    value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
    many = graph.conv(value, 1, 16, edge=1)  # 16 channels of grey values
    weight = graph.constant(np.full((2, 16, 3, 3, 3), 1.0), np.float32)
    summed = graph.add("Conv", graph.add("Relu", many), weight)
    return graph.add("Tanh", graph.scaled(graph.crop(summed, 3), 1e-5, 0.0))


def test_the_largest_sums_are_exact(tmp_path: Path) -> None:
    """With weights of 8 bits they are cut in half on a processor without VNNI."""
    path = write_net(tmp_path / "wide.onnx", body=wide, head=None, stride=[1] * 3)
    with_property(path, json.dumps(record(path)))
    white = np.full((EDGE,) * 3, 255, np.uint8)
    found, exact = (
        Network(path, backend, precision).infer(white).astype(int)
        for backend, precision in ((OPENVINO, "int8"), (REFERENCE, "fp32"))
    )
    assert exact.max() > 160 and np.abs(found - exact).max() <= 1


# -- what is run -------------------------------------------------------------------------------


def test_convolutions_of_several_voxels_read_bytes(path: Path) -> None:
    _, model = read_network(path)
    graph = graph_of(model)
    kept = [n.output for n in graph.nodes if n.kind == "Conv"][-1]  # the head, of one voxel
    to_int8(path, model)
    onnx.checker.check_model(model)
    nodes = {node.output[0]: node for node in model.graph.node}
    for node in nodes.values():
        if node.op_type == "Conv":
            read_by = [nodes[name].op_type if name in nodes else "" for name in node.input[:2]]
            assert read_by == (["Conv", ""] if node.output[0] == kept else ["DequantizeLinear"] * 2)
    assert sum(n.op_type == "QuantizeLinear" for n in nodes.values()) == len(read(graph)) == 3


def test_grey_values_have_the_range_of_all_of_them(path: Path) -> None:
    graph = graph_of(read_network(path)[1])
    first, *others = read(graph)
    assert first in voxelwise(graph) and not voxelwise(graph).intersection(others)
    dark = Observer(path, 1)
    dark.infer(noise(1) // 8)
    low, high = dark.ranges[first]
    assert (low, high) == pytest.approx((-1, 1))
    bright = Observer(path, 1)
    bright.infer(255 - noise(1) // 8)
    assert dark.ranges[others[0]] != bright.ranges[others[0]]


def test_ranges_are_those_of_all_tiles(path: Path) -> None:
    both, alone = Observer(path, 1), [Observer(path, 2) for _ in range(2)]
    for seed, one in enumerate(alone):
        both.infer(noise(seed))
        one.infer(noise(seed))
    for name, (low, high) in both.ranges.items():
        lows, highs = zip(*(one.ranges[name] for one in alone), strict=True)
        assert (low, high) == (min(lows), max(highs))
    assert both.tiles == 2 and both.sha256 != alone[0].sha256
    both.infer(np.full((EDGE,) * 3, 255, np.uint8))  # padding
    assert both.tiles == 2


def test_int8_is_near_the_reference_and_tells_how_near(path: Path) -> None:
    engine = make_engine(path, 1, Wanted(precision="int8"))
    assert engine.profile["precision"] == "int8"
    assert engine.profile["provider"] == OPENVINO.provider
    flips, levels = deviation(engine.smooth, CpuEngine(path).smooth)
    assert 0 < levels <= 32  # it does round
    assert engine.profile["flips"] == f"{flips:.6f}" and engine.profile["levels"] == str(levels)
    assert engine.profile["calibrated"] == "4 tiles of cells.tif"
    assert engine_of(path, engine.profile, 2).profile == engine.profile


@pytest.mark.parametrize("seed", range(3))
def test_two_runtimes_make_nearly_the_same_of_a_rounded_network(tmp_path: Path, seed: int) -> None:
    """Not the same: single voxels differ by some levels, for reasons that were not looked into."""

    def drawn(graph: Graph) -> str:
        graph.rng = np.random.default_rng(seed)
        return calm(graph)

    path = write_net(tmp_path / "cells.onnx", body=drawn, head=None)
    with_property(path, json.dumps(record(path)))
    _, model = read_network(path)
    to_int8(path, model)
    onnx.save(model, tmp_path / "rounded.onnx")
    ours = Network(path, OPENVINO, "int8").infer(noise(seed)).astype(int)
    theirs = Network(tmp_path / "rounded.onnx", REFERENCE, "fp32").infer(noise(seed))
    off = np.abs(ours - theirs)
    assert off.mean() < 1 and off.max() <= 16


def test_ranges_of_other_data_are_told(path: Path) -> None:
    ranges = {k: [a / 50, b / 50] for k, (a, b) in record(path)["ranges"].items()}
    with_property(path, json.dumps(record(path, ranges=ranges)))
    with pytest.raises(WrongUse, match=r"in int8 .* change sides .*; use precision fp32"):
        make_engine(path, 1, Wanted(precision="int8"))


def test_bits_depend_on_neither_threads_nor_the_load(path: Path) -> None:
    one, two, again = (NetworkEngine(path, OPENVINO, "int8", n) for n in (1, 2, 1))
    assert one.profile == two.profile == again.profile
    for seed in range(5, 8):
        exact = one.infer(noise(seed))
        assert np.array_equal(exact, two.infer(noise(seed)))
        assert np.array_equal(exact, again.infer(noise(seed)))


def test_a_calibration_changes_no_bit_of_fp32(path: Path, tmp_path: Path) -> None:
    plain = write_net(tmp_path / "plain.onnx", body=calm)
    for backend in (REFERENCE, OPENVINO):
        a, b = (NetworkEngine(p, backend, "fp32") for p in (plain, path))
        assert a.profile == b.profile
        assert np.array_equal(a.infer(noise(9)), b.infer(noise(9)))


def test_int8_is_never_taken_unless_it_is_asked_for(path: Path) -> None:
    for wanted in (Wanted(), Wanted("openvino")):
        assert make_engine(path, 1, wanted).profile["precision"] == "fp32"


# -- what is refused ---------------------------------------------------------------------------


def refused(path: Path) -> str:
    with pytest.raises(WrongUse) as caught:
        Network(path, OPENVINO, "int8")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_network_without_calibration_is_refused(tmp_path: Path) -> None:
    path = write_net(tmp_path / "cells.onnx")
    with pytest.raises(WrongUse, match="not calibrated, which int8 needs; make it with `fibstream"):
        make_engine(path, 1, Wanted(precision="int8"))


def first_of(path: Path) -> str:
    return read(graph_of(read_network(path)[1]))[0]


def damaged(path: Path, ends: Any, name: str = "") -> Mapping[str, Any]:
    ranges = {**record(path)["ranges"], name or first_of(path): ends}
    return record(path, ranges=ranges)


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ([float("nan"), 1], "a finite number"),
        ([0, float("inf")], "a finite number"),
        ([0, 1e300], "less than or equal"),
        ([2, 1], "is from 2 to 1; expected LOW, HIGH"),
        ([1], "Field required"),
        ("0,1", "valid tuple"),
    ],
)
def test_a_damaged_range_is_refused(path: Path, ends: Any, message: str) -> None:
    with_property(path, json.dumps(damaged(path, ends)))
    told = refused(path)
    assert "its calibration: " in told and message in told and "fibstream calibrate" in told
    CpuEngine(path)  # in fp32 it is as good as ever


def test_ranges_of_another_network_are_refused(path: Path) -> None:
    with_property(path, json.dumps(damaged(path, [0, 1], "elsewhere\n")))
    assert "'elsewhere\\n' is read by none of its convolutions" in refused(path)
    ranges = record(path)["ranges"]
    del ranges[first_of(path)]
    with_property(path, json.dumps(record(path, ranges=ranges)))
    assert "is missing" in refused(path)


def test_a_calibration_has_limits(path: Path) -> None:
    many = {f"t{n}": [0, 1] for n in range(257)}
    with_property(path, json.dumps(record(path, ranges=many)))
    assert "at most 256" in refused(path)
    with_property(path, json.dumps(record(path, volume="x" * 201)))
    assert "at most 200" in refused(path)
    with_property(path, " " * 2**17)
    assert "131072 bytes; expected at most" in refused(path)
    with_property(path, "[1")
    assert "not JSON" in refused(path)
    with_property(path, "[]")
    assert "its calibration: its content: " in refused(path)


def huge(graph: Graph) -> str:
    """Kernels of 160,801 voxels, all alike."""
    value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
    weight = graph.constant(np.full((2, 1, 1, 401, 401), 1e-9), np.float32)
    return graph.add("Tanh", graph.add("Conv", value, weight))


def test_sums_beyond_32_bits_are_refused(tmp_path: Path) -> None:
    given = {
        "tile": [1, 402, 402],
        "halo": [0, 200, 200],
        "stride": [1, 1, 1],
        "classes": ["a", "b"],
    }
    path = write_net(tmp_path / "huge.onnx", body=huge, head=None, **given)
    name = first_of(path)
    with_property(path, json.dumps({
        "volume": "a", "contrast": [0, 255], "inverted": False, "tiles": 1, "seed": 0,
        "sha256": "", "ranges": {name: [0, 255]},
    }))  # fmt: skip
    assert "may exceed 32 bits" in refused(path)


def pointwise(graph: Graph) -> str:
    value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
    return graph.add("Tanh", graph.crop(graph.conv(value, 1, 2, edge=1), 4))


def rounded_already(graph: Graph) -> str:
    scale, zero = graph.constant(1 / 64, np.float32), graph.constant(0, np.uint8)
    byte = graph.add("QuantizeLinear", features(graph), scale, zero)
    value = graph.add("DequantizeLinear", byte, scale, zero)
    return graph.add("Tanh", graph.conv(value, 4, 2, edge=1))


@pytest.mark.parametrize(
    ("body", "message"),
    [(pointwise, "no convolution to compute in int8"), (rounded_already, "is quantised already")],
)
def test_a_network_that_cannot_be_rounded_is_refused(
    tmp_path: Path, body: Any, message: str
) -> None:
    path = write_net(tmp_path / "other.onnx", body=body)
    with pytest.raises(WrongUse, match=message):
        Observer(path, 1)
    with_property(path, "{}")
    assert message in refused(path)


def test_openvino_runs_no_network_that_others_quantised(tmp_path: Path) -> None:
    path = write_net(tmp_path / "other.onnx", body=rounded_already)
    with pytest.raises(WrongUse, match=r"not proven .* QuantizeLinear"):
        Network(path, OPENVINO, "fp32")


def test_all_grey_values_count_for_grey_values_alone(path: Path) -> None:
    flat, rough = Observer(path, 1), Observer(path, 1)
    flat.infer(127 + noise(1) // 128)
    rough.infer(noise(1))
    first, second, *_ = flat.ranges
    span = {name: [o.ranges[name][1] - o.ranges[name][0] for o in (flat, rough)]
            for name in (first, second)}  # fmt: skip
    assert span[first][0] == span[first][1] and span[second][0] < span[second][1] / 4


def overflowing(graph: Graph) -> str:
    huge = graph.scaled(graph.scaled(features(graph), 3e38, 0.0), 3e38, 0.0)
    return graph.add("Tanh", graph.conv(huge, 4, 2))


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path = write_net(tmp_path / "huge.onnx", body=overflowing)
    with pytest.raises(WrongUse, match="has values that are not finite"):
        Observer(path, 1)


def test_what_is_made_of_one_grey_value_is_made_of_nothing_else(path: Path) -> None:
    graph = graph_of(read_network(path)[1])
    (conv, *_) = [node for node in graph.nodes if node.kind == "Conv"]
    (grey,) = voxelwise(graph) & {conv.inputs[0]}
    both = [Node("Add", (grey, grey), "own", {}), Node("Add", (grey, conv.output), "mixed", {})]
    found = voxelwise(replace(graph, nodes=[*graph.nodes, *both]))
    assert "own" in found and not {"mixed", conv.output} & found


def test_an_old_opset_is_refused(path: Path) -> None:
    model = onnx.load(path)
    model.opset_import[0].version = 12
    onnx.save(model, path)
    with pytest.raises(WrongUse, match=r"opset 12; int8 needs 13 or later|not a valid ONNX file"):
        Observer(path, 1)


# -- the proof ---------------------------------------------------------------------------------


def test_the_proof_is_of_what_is_run(path: Path) -> None:
    """Bounds of the rounded network hold for its values, and its weights count as rounded."""
    write_net(path, body=calm, head=None)
    with_property(path, json.dumps(record(path)))
    _, model = read_network(path)
    to_int8(path, model)
    graph = graph_of(model)
    found = bounds(graph, QUANTISED)
    with pytest.raises(Unproven, match="QuantizeLinear"):
        bounds(graph, RULES)  # a file that others rounded is not known to be sound
    ranges = record(path)["ranges"]
    for name, (low, high) in ranges.items():
        assert (found[f"{name}/int8/read"] >= max(-low, high)).all()


def test_a_range_so_large_that_sums_overflow_is_not_proven(path: Path) -> None:
    with_property(path, json.dumps(damaged(path, [0, 2.9e38], read_last(path))))
    assert "not proven to be free of infinities and NaN" in refused(path)


def read_last(path: Path) -> str:
    return read(graph_of(read_network(path)[1]))[-1]

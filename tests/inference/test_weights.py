"""Networks whose weights lie in files beside them are taken in whole, or refused in one line."""

import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from fibstream.core.errors import WrongUse
from fibstream.services.inference.edges.engine import CpuEngine
from fibstream.services.inference.edges.model import network_bytes, read_model
from fibstream.services.inference.edges.weights import MAX_BYTES

from .net import write_net


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A network whose weights are in ``cells.onnx.data``."""
    for folder in ("whole", "split"):
        (tmp_path / folder).mkdir()
    path = write_net(tmp_path / "whole" / "cells.onnx")
    split = tmp_path / "split" / "cells.onnx"
    onnx.save(onnx.load(path), split, save_as_external_data=True, size_threshold=0,
              location="cells.onnx.data")  # fmt: skip
    return split


def test_one_file_without_others_stays_as_it_is(tmp_path: Path) -> None:
    path = write_net(tmp_path / "cells.onnx")
    assert network_bytes(path) == path.read_bytes()


def test_weights_beside_it_become_part_of_the_file(path: Path, tmp_path: Path) -> None:
    assert len(path.read_bytes()) < len(network_bytes(path))
    alone = tmp_path / "alone.onnx"
    alone.write_bytes(network_bytes(path))
    assert network_bytes(alone) == alone.read_bytes() == network_bytes(path)
    assert read_model(alone).sha256 == read_model(path).sha256
    tile = np.random.default_rng(1).integers(0, 256, (16, 16, 16), np.uint8)
    whole = CpuEngine(tmp_path / "whole" / "cells.onnx")
    for other in (path, alone):
        assert np.array_equal(CpuEngine(other).infer(tile), whole.infer(tile))


def test_other_weights_are_another_network(path: Path) -> None:
    before = read_model(path).sha256
    data = bytearray((path.parent / "cells.onnx.data").read_bytes())
    data[0] ^= 1
    (path.parent / "cells.onnx.data").write_bytes(data)
    assert read_model(path).sha256 != before


def test_a_constant_inside_a_node_is_taken_in_too(tmp_path: Path) -> None:
    model = onnx.load(write_net(tmp_path / "cells.onnx"))
    kept = model.graph.initializer[0]
    node = onnx.helper.make_node("Constant", [], [kept.name], value=kept)
    model.graph.node.insert(0, node)
    del model.graph.initializer[0]
    path = tmp_path / "split.onnx"
    onnx.save(model, path, save_as_external_data=True, size_threshold=0, location="w",
              convert_attribute=True)  # fmt: skip
    assert read_model(path).sha256
    assert len(network_bytes(path)) > path.stat().st_size + 4


def test_missing_weights_are_named(path: Path) -> None:
    (path.parent / "cells.onnx.data").unlink()
    with pytest.raises(WrongUse, match=r"lies in 'cells.onnx.data'; expected a file beside"):
        read_model(path)


def test_half_a_file_of_weights_is_named(path: Path) -> None:
    data = path.parent / "cells.onnx.data"
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(WrongUse, match=r"cells.onnx.data has \d+ bytes, too few for weight"):
        read_model(path)


@pytest.mark.parametrize("place", ["../whole/cells.onnx", "/etc/passwd", "", "sub/data", "link"])
def test_weights_are_read_from_no_other_place(path: Path, place: str) -> None:
    (path.parent / "link").symlink_to("/etc/passwd")
    (path.parent / "sub").mkdir()
    shutil.copy(path.parent / "cells.onnx.data", path.parent / "sub" / "data")
    changed(path, "location", place)
    with pytest.raises(WrongUse, match="expected a file beside the model"):
        read_model(path)


@pytest.mark.parametrize(
    ("key", "value"), [("offset", "-4"), ("offset", "9" * 17), ("length", "8"), ("length", "x")]
)
def test_a_place_that_is_none_is_refused(path: Path, key: str, value: str) -> None:
    changed(path, key, value)
    with pytest.raises(WrongUse, match=r"(lies at byte|too few for|has not the size)") as caught:
        read_model(path)
    assert "\n" not in str(caught.value)


def changed(path: Path, key: str, value: str) -> None:
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == key:
            entry.value = value
    path.write_bytes(model.SerializeToString())


def test_a_network_that_is_too_large_is_refused_unread(path: Path) -> None:
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].dims[:] = [10**9]
    for entry in model.graph.initializer[0].external_data:
        entry.value = {"offset": "0", "length": str(4 * 10**9)}.get(entry.key, entry.value)
    path.write_bytes(model.SerializeToString())
    os.truncate(path.parent / "cells.onnx.data", 4 * 10**9)  # sparse: it takes no room
    with pytest.raises(WrongUse, match=r"bytes with its weights; at most 2000000000"):
        read_model(path)
    os.truncate(path, MAX_BYTES + 1)
    with pytest.raises(WrongUse, match=r"2000000001 bytes with its weights; at most"):
        read_model(path)


def test_weights_of_a_graph_inside_a_node_are_taken_in_too(tmp_path: Path) -> None:
    kind, make = onnx.TensorProto.FLOAT, onnx.helper
    result = make.make_tensor_value_info("inner", kind, [9])
    weight = onnx.numpy_helper.from_array(np.arange(9, dtype=np.float32), "inner")
    branch = make.make_graph([], "branch", [], [result], [weight])
    inside = make.make_node("If", ["yes"], ["mid"], then_branch=branch, else_branch=branch)
    middle = make.make_tensor_value_info("mid", kind, [9])
    outer = make.make_graph([inside], "outer", [], [middle])
    node = make.make_node("If", ["yes"], ["out"], then_branch=outer, else_branch=outer)
    given = make.make_tensor_value_info("yes", onnx.TensorProto.BOOL, [])
    shown = make.make_tensor_value_info("out", kind, [9])
    path = tmp_path / "if.onnx"
    onnx.save(make.make_model(make.make_graph([node], "net", [given], [shown])), path,
              save_as_external_data=True, size_threshold=0, location="w")  # fmt: skip
    assert b"location" in path.read_bytes()
    assert b"location" not in network_bytes(path)

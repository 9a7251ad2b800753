"""The reference engine yields the same bytes every time, and never a silent NaN."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from fibstream.core.errors import Poison, WrongUse
from fibstream.services.inference.edges.engine import CpuEngine
from fibstream.services.inference.selfcheck import self_check

from ..support.engines import TinyEngine
from .net import Builder, Graph, pool, rounded, unet, write_net


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cells.onnx"


@pytest.fixture
def tile() -> NDArray[np.uint8]:
    return np.random.default_rng(2).integers(0, 256, (16, 16, 16), np.uint8)


def test_output_is_uint8_by_class_and_repeats(path: Path, tile: NDArray[Any]) -> None:
    engine = CpuEngine(write_net(path))
    found = engine.infer(tile)
    assert found.dtype == np.uint8
    assert found.shape == (2, 8, 8, 8)
    assert len(np.unique(found)) > 20
    assert np.array_equal(found, engine.infer(tile))


def test_threads_change_nothing(path: Path, tile: NDArray[Any]) -> None:
    write_net(path)
    one, two = CpuEngine(path), CpuEngine(path, threads=2)
    assert one.profile == two.profile
    assert np.array_equal(one.infer(tile), two.infer(tile))


def test_a_float_head_is_quantised_as_the_exported_one(path: Path, tile: NDArray[Any]) -> None:
    exported = CpuEngine(write_net(path)).infer(tile)
    assert np.array_equal(CpuEngine(write_net(path, head=None)).infer(tile), exported)


def test_networks_differ_in_their_profiles(path: Path) -> None:
    profile = CpuEngine(write_net(path)).profile
    assert set(profile) == {"runtime", "provider", "precision", "tile", "digest", "smooth_digest"}
    assert profile["tile"] == "16x16x16"
    other = CpuEngine(write_net(path, tile=[16, 16, 18])).profile
    assert profile["digest"] != other["digest"]


def root(graph: Graph) -> str:
    """Not a number where the first network's distance is negative: its square root."""
    return graph.add("Sqrt", unet(graph))


@pytest.mark.parametrize("head", [None, rounded])
def test_a_network_that_yields_nan_is_refused(path: Path, head: Builder | None) -> None:
    with pytest.raises(WrongUse, match="model cells: yields values that are not finite"):
        CpuEngine(write_net(path, body=root, head=head))


def renamed(graph: Graph, distance: str) -> str:
    """The rounded head, whose cast has an identity after it."""
    grey = graph.add("Round", graph.scaled(distance, 128, 127))
    byte = graph.add("Cast", grey, to=TensorProto.UINT8)
    return graph.add("Identity", byte, name="distance")


def quantised(graph: Graph, distance: str) -> str:
    """Bytes by a node that turns what is not a number into some grey value."""
    scale, zero = graph.constant(1 / 128, np.float32), graph.constant(127, np.uint8)
    return graph.add("QuantizeLinear", distance, scale, zero, name="distance")


def test_nan_is_found_before_a_cast_that_an_identity_follows(path: Path) -> None:
    with pytest.raises(WrongUse, match="yields values that are not finite"):
        CpuEngine(write_net(path, body=root, head=renamed))
    same = CpuEngine(write_net(path, head=renamed)).profile["digest"]
    assert same == CpuEngine(write_net(path)).profile["digest"]


def test_bytes_that_no_cast_makes_are_refused(path: Path) -> None:
    with pytest.raises(WrongUse, match=r"must be made by a last Cast, .*; found QuantizeLinear"):
        CpuEngine(write_net(path, head=quantised))


def rarely(graph: Graph) -> str:
    """Not a number only where a tile is bright everywhere: log of what may be below 0."""
    value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
    mean = graph.add("AveragePool", value, kernel_shape=[9] * 3)
    below = graph.add("Tanh", graph.add("Log", graph.scaled(mean, -1, 254)))
    return graph.add("Concat", below, below, axis=1)


@pytest.mark.parametrize("head", [None, rounded])
def test_nan_from_one_tile_is_poison(path: Path, head: Builder | None, tile: NDArray[Any]) -> None:
    engine = CpuEngine(write_net(path, body=rarely, head=head))
    engine.infer(tile)
    with pytest.raises(Poison, match="not finite"):
        engine.infer(np.full_like(tile, 255))


def normalised(graph: Graph) -> str:
    """A mean over the tile: what an instance norm does."""
    distance = unet(graph)
    axes = graph.constant([2, 3, 4], np.int64)
    return graph.add("Sub", distance, graph.add("ReduceMean", distance, axes))


@pytest.mark.parametrize("changes", [{"body": normalised}, {"stride": [1, 2, 2]}])
def test_a_network_that_sees_the_tile_is_refused(path: Path, changes: dict[str, Any]) -> None:
    changes = {"tile": [18, 16, 16], **changes}
    with pytest.raises(WrongUse, match=r"output changes when the tile moves|cannot execute"):
        CpuEngine(write_net(path, **changes))


def test_a_halo_that_is_not_the_networks_is_refused(path: Path) -> None:
    with pytest.raises(WrongUse, match=r"output of a tile is .* its metadata says"):
        CpuEngine(write_net(path, halo=[5, 4, 4]))


def halves(graph: Graph) -> str:
    return pool(graph, unet(graph))


def test_a_network_that_shrinks_is_refused(path: Path) -> None:
    with pytest.raises(WrongUse, match="output of a tile is"):
        CpuEngine(write_net(path, body=halves))


def broken(graph: Graph) -> str:
    """Two values whose edges differ cannot be added: only running it shows."""
    distance = unet(graph)
    return graph.add("Add", distance, graph.crop(distance, 1))


def test_a_graph_that_cannot_run_is_wrong_use(path: Path) -> None:
    with pytest.raises(WrongUse, match="the runtime cannot execute it") as caught:
        CpuEngine(write_net(path, body=broken))
    assert "\n" not in str(caught.value)


def test_the_self_check_fits_any_engine() -> None:
    tiny = TinyEngine()
    digest = self_check(tiny.infer, tiny.spec)
    assert digest == self_check(tiny.infer, tiny.spec)
    assert len(digest) == 64
    with pytest.raises(WrongUse, match="moves by its stride"):
        self_check(lambda tile: tiny.infer(tile) + tile[1, 1, 1], tiny.spec)

"""Which tile a network gets, how much memory one takes, and that voxels do not depend on it."""

from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Index
from fibstream.core.stage import Patch
from fibstream.services.inference.backend import Wanted
from fibstream.services.inference.bound import Node
from fibstream.services.inference.edges.engine import engine_of, make_engine
from fibstream.services.inference.edges.graph import memory_of
from fibstream.services.inference.edges.model import find_model, read_network
from fibstream.services.inference.edges.tiles import tile_of
from fibstream.services.inference.footprint import held
from fibstream.services.inference.port import ModelSpec
from fibstream.services.inference.tile import largest_tile, parse_tile, recorded_tile, tile_text
from fibstream.services.inference.tiling import predict

from .net import HALO, Graph, unet, write_net


def spec(stride: int = 4, halo: int = 24, tile: int = 112) -> ModelSpec:
    return ModelSpec(
        name="net", classes=("mito",), voxel_size_nm=(8, 8, 8), halo=(halo,) * 3,
        stride=(stride,) * 3, tile=(tile,) * 3, sha256="0" * 64,
    )  # fmt: skip


def by_voxel(size: int) -> Callable[[Index], int]:
    return lambda tile: size * prod(tile)


def test_the_largest_that_fits_is_taken() -> None:
    assert largest_tile(spec(), by_voxel(100), 2.7) == (240,) * 3  # 304 would take 2.8 GB
    assert largest_tile(spec(), by_voxel(100), 2.9) == (304,) * 3
    assert largest_tile(spec(), by_voxel(1), 1000) == (304,) * 3  # no output beyond 256
    assert largest_tile(spec(), by_voxel(100), 0.1) is None
    assert largest_tile(spec(tile=400), by_voxel(1), 1000) is None  # the file's is larger


def test_no_edge_of_a_tile_shrinks_or_exceeds_the_limit() -> None:
    long = spec().model_copy(update={"tile": (112, 400, 112)})
    assert largest_tile(long, by_voxel(1), 1000) is None
    wide = spec(halo=450, tile=964)
    assert largest_tile(wide, by_voxel(1), 1000) == (964,) * 3  # the next has 1028


def test_outputs_of_finer_networks_keep_what_they_have_beyond_the_stride() -> None:
    fine = ModelSpec(
        name="net", classes=("mito",), voxel_size_nm=(8, 8, 8), output_voxel_size_nm=(4, 4, 4),
        halo=(6,) * 3, stride=(4,) * 3, tile=(22,) * 3, sha256="0" * 64,
    )  # fmt: skip
    tile = largest_tile(fine, by_voxel(1), 1000)
    assert tile is not None and (tile[0] - fine.tile[0]) % 4 == 0


def test_outputs_are_multiples_of_the_stride() -> None:
    tile = largest_tile(spec(stride=18, halo=72, tile=216), by_voxel(100), 3.0)
    assert tile == (126 + 144 + 18,) * 3 or tile == (144 + 144,) * 3
    assert tile is not None and (tile[0] - 144) % 18 == 0


def test_what_does_not_run_on_a_tile_keeps_its_own() -> None:
    assert largest_tile(spec(), lambda _: None, 100) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12",
        "1,2",
        "1,2,3,4",
        "0,2,3",
        "-1,2,3",
        "1025,2,3",
        "a,b,c",
        "1.5,2,3",
        "²,2,3",
        "9" * 99,
        "1,1," + "1" * 5000,
    ],
)
def test_a_tile_that_is_none_is_told(text: str) -> None:
    with pytest.raises(WrongUse, match=r"^tile .*: expected model, auto, or Z,Y,X") as caught:
        parse_tile(text)
    assert len(str(caught.value)) < 200


def test_a_tile_is_written_and_read() -> None:
    assert parse_tile("model") is None
    assert parse_tile("112,64,240") == (112, 64, 240)
    assert recorded_tile({"tile": tile_text((112, 64, 240))}) == (112, 64, 240)
    assert recorded_tile({}) is None and recorded_tile({"tile": "?"}) is None


def test_a_tensor_is_held_from_where_it_is_made_to_where_it_is_last_read() -> None:
    nodes = [Node("A", ["raw"], "a"), Node("B", ["a"], "b"), Node("C", ["b"], "c"),
             Node("D", ["c", "a"], "d")]  # fmt: skip
    shapes = {"a": [10], "b": [5], "c": [2], "d": [1]}
    assert held(nodes, shapes) == 4 * (10 + 5 + 2)
    assert held(nodes[:3], shapes) == 4 * (10 + 5)
    assert held(nodes[:1], shapes) == 4 * 10


def test_memory_grows_with_the_tile_and_covers_the_activations() -> None:
    _, model = read_network(find_model("mito"))
    before = 0
    for edge, measured in ((144, 0.48e9), (208, 0.82e9), (240, 1.25e9)):
        found = memory_of(model, (edge,) * 3)
        assert found is not None
        assert found > before + 32 * (edge // 2 - 4) ** 3 * 4  # a map of the finest level
        assert measured < found < 1.2 * measured  # what a process was measured to hold
        before = found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_net(tmp_path / "net.onnx")


def test_voxels_do_not_depend_on_the_tile(path: Path) -> None:
    box = Box((0, 0, 0), (30, 26, 28))
    grey = np.random.default_rng(5).integers(0, 256, box.shape, np.uint8)
    found = [
        predict(Patch(grey, box), box, make_engine(path, 1, Wanted("onnxruntime", tile=tile)))
        for tile in ("model", "24,16,32", "40,40,40")
    ]
    assert all(np.array_equal(each, found[0]) for each in found)


def test_a_tile_is_recorded_and_kept(path: Path) -> None:
    made = make_engine(path, 1, Wanted("onnxruntime", tile="24,16,32"))
    assert made.spec.tile == (24, 16, 32) and made.profile["tile"] == "24x16x32"
    again = engine_of(path, made.profile, 1)
    assert again.spec.tile == (24, 16, 32) and again.profile == made.profile


def test_auto_takes_what_memory_allows(path: Path) -> None:
    edge = 256 + 2 * HALO
    assert tile_of(path, Wanted(tile="auto", memory_gb=100)) == (edge,) * 3
    assert tile_of(path, Wanted(tile="auto", memory_gb=0.001)) is None
    assert tile_of(path, Wanted()) is None


@pytest.mark.parametrize("tile", ["15,16,16", "9,16,16", "6,6,6"])
def test_a_tile_that_does_not_fit_the_network_is_refused(path: Path, tile: str) -> None:
    with pytest.raises(WrongUse, match="not a positive multiple of the stride"):
        make_engine(path, 1, Wanted(tile=tile))


def sized_by_what_it_sees(graph: Graph) -> str:
    """Cut at an index that only a runtime knows."""
    value = unet(graph)
    root = graph.add("Sqrt", graph.constant([1e6], np.float32))
    ends = graph.add("Cast", root, to=TensorProto.INT64)
    begin, axis = (graph.constant([n], np.int64) for n in (0, 2))
    return graph.add("Slice", value, begin, ends, axis)


def test_a_tile_is_refused_unless_it_is_known_to_fit(path: Path) -> None:
    with pytest.raises(WrongUse, match=r"takes 0\.3 GB of memory on it, and 0.1 GB are allowed"):
        tile_of(path, Wanted(tile="24,24,24", memory_gb=0.1))
    assert tile_of(path, Wanted(tile="24,24,24", memory_gb=0.4)) == (24, 24, 24)
    write_net(path, body=sized_by_what_it_sees)
    with pytest.raises(WrongUse, match="takes an unknown amount of memory"):
        tile_of(path, Wanted(tile="24,24,24"))
    assert tile_of(path, Wanted(tile="auto", memory_gb=100)) is None


def test_a_network_of_one_tile_keeps_it(path: Path, tmp_path: Path) -> None:
    import onnx

    model = onnx.load(path)
    for axis in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        axis.dim_value = 16
    onnx.save(model, tmp_path / "fixed.onnx")
    fixed = tmp_path / "fixed.onnx"
    assert tile_of(fixed, Wanted(tile="auto", memory_gb=100)) is None
    with pytest.raises(WrongUse, match="input must be uint8"):
        make_engine(fixed, 1, Wanted(tile="18,18,18"))
    assert make_engine(fixed, 1, Wanted(tile="16,16,16")).spec.tile == (16, 16, 16)

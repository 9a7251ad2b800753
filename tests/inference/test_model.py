"""What a model file must say about itself, and how the user hears what is wrong."""

import hashlib
import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto

from fibstream.core.errors import WrongUse
from fibstream.runtime.root import Root
from fibstream.services.inference.edges.model import METADATA, find_model, read_model, released
from fibstream.services.inference.port import check_voxel_size

from .net import Graph, model, rounded, unet, write_net


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cells.onnx"


def test_a_sound_model_is_read(path: Path) -> None:
    write_net(path)
    spec = read_model(path)
    assert (spec.name, spec.classes) == ("cells", ("mito", "er"))
    assert (spec.halo, spec.stride, spec.tile) == ((4,) * 3, (2,) * 3, (16,) * 3)
    assert spec.output == (8, 8, 8)
    assert spec.scale_nm == 50
    assert spec.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_classes_and_squash_length_are_those_of_the_card(path: Path) -> None:
    spec = read_model(write_net(path, classes=["NE", "mito_DNA"], scale_nm=30))
    assert (spec.classes, spec.scale_nm) == (("NE", "mito_DNA"), 30)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tile": [16, 16, 17]}, "tile 17 less twice the halo is 9, not a positive multiple of"),
        ({"tile": [8, 16, 16]}, "tile 8 less twice the halo is 0"),
        ({"voxel_size_nm": [8, 0, 8]}, "voxel_size_nm.1"),
        ({"voxel_size_nm": [8, 8]}, "voxel_size_nm"),
        ({"voxel_size_nm": [8, 8, float("nan")]}, "voxel_size_nm.2"),
        ({"classes": []}, "classes"),
        ({"classes": ["mito", "Big ER"]}, "classes.1"),
        ({"classes": ["mito", "mito"]}, "metadata classes mito, mito are not unique"),
        ({"classes": ["ER", "er"]}, "not unique"),
        ({"classes": ["mito", "er--mito"]}, "classes.1"),
        ({"scale_nm": 0}, "scale_nm"),
        ({"scale_nm": None}, "a distance needs scale_nm"),
        ({"meaning": None}, "what its output means is not declared; .*docs/networks.md"),
        ({"meaning": "softmax"}, "metadata meaning: Input should be 'distance', 'probability' or"),
        ({"meaning": ["distance"]}, "metadata meaning: "),
        ({"meaning": "logit"}, "scale_nm is of a distance, not of a logit"),
        (
            {"meaning": "probability", "scale_nm": None},
            r"must be float .* for a probability, found",
        ),
        ({"meaning": "logit", "scale_nm": None}, r"must be float .* for a logit, found"),
        ({"classes": ["mito", "er", "ld"]}, r"must be uint8 or float \(1, 3, z, y, x\)"),
        ({"stride": [0, 2, 2]}, "stride.0"),
        ({"halo": None}, "halo"),
        ({"tile": [16, 16, 4096]}, "metadata tile.2: Input should be less than or equal to 1024"),
        ({"raw": TensorProto.FLOAT}, r"input must be uint8 .* found raw float \(1, 1, z, y, x\)"),
        ({"output": TensorProto.INT8}, "output must be uint8 or float"),
        ({"channels": 3}, "output must be uint8 or float"),
    ],
)
def test_what_is_wrong_is_one_clear_line(path: Path, changes: dict[str, Any], reason: str) -> None:
    graph = Graph()
    rounded(graph, unet(graph))
    path.write_bytes(model(graph, **changes).SerializeToString())
    with pytest.raises(WrongUse, match=reason) as caught:
        read_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a network", bytes(range(256)) * 9])
def test_other_files_are_not_models(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(WrongUse, match="not a valid ONNX file"):
        read_model(path)


@pytest.mark.parametrize("value", [None, "no json", "[1]", "[" * 100_000])
def test_metadata_must_be_there(path: Path, value: str | None) -> None:
    made = onnx.load(write_net(path))
    del made.metadata_props[:]
    if value is not None:
        onnx.helper.set_model_props(made, {METADATA: value})
    onnx.save(made, path)
    with pytest.raises(WrongUse, match="no metadata property 'fibstream'"):
        read_model(path)


def test_metadata_is_what_the_trainer_writes(path: Path) -> None:
    made = onnx.load(write_net(path))
    (prop,) = made.metadata_props
    assert {"classes", "voxel_size_nm", "halo", "stride", "phase", "tile"} <= set(
        json.loads(prop.value)
    )


def test_a_weight_that_is_not_finite_is_named(path: Path) -> None:
    graph = Graph()
    rounded(graph, graph.scaled(unet(graph), float("nan"), 0))
    path.write_bytes(model(graph).SerializeToString())
    with pytest.raises(WrongUse, match=r"weight w\d+ holds a value that is not finite"):
        read_model(path)


@pytest.mark.parametrize("size", [(8, 8, 8), (8.8, 7.2, 8)])
def test_voxel_sizes_within_ten_percent_fit(path: Path, size: tuple[float, float, float]) -> None:
    check_voxel_size(read_model(write_net(path)), size)


@pytest.mark.parametrize("size", [(8.81, 8, 8), (8, 8, 7.19), (16, 16, 16)])
def test_other_voxel_sizes_are_refused_with_both(
    path: Path, size: tuple[float, float, float]
) -> None:
    given = " x ".join(f"{s:g}" for s in size)
    with pytest.raises(WrongUse, match=f"{given} nm does not fit model cells, made for 8 x 8 x 8"):
        check_voxel_size(read_model(write_net(path)), size)


def test_the_message_for_finer_volumes_alone_has_advice(path: Path) -> None:
    for size, factors in (((4.0, 4.0, 4.0), "2,2,2"), ((8.0, 2.6, 2.0), "1,3,4")):
        with pytest.raises(WrongUse, match=f"--downsample {factors}$"):
            check_voxel_size(read_model(write_net(path)), size)
    with pytest.raises(WrongUse, match=r"`create` average voxels with --downsample 4,2,6$"):
        check_voxel_size(read_model(write_net(path)), (4.0, 4.0, 4.0), (2, 1, 3))
    # Whole factors do not help.
    for size in ((16.0, 16.0, 16.0), (5.6, 5.6, 5.6), (4.0, 4.0, 16.0)):
        with pytest.raises(WrongUse, match=r"per axis\)$"):
            check_voxel_size(read_model(write_net(path)), size)


def test_models_are_found_by_name_and_by_path(path: Path) -> None:
    write_net(path)
    assert find_model("cells", path.parent) == path
    assert find_model(str(path)) == path


@pytest.mark.parametrize("name", ["cell", "", "../cells", "cells.onnx", "no/such.onnx"])
def test_a_model_not_found_lists_the_released_ones(path: Path, name: str) -> None:
    write_net(path)
    with pytest.raises(WrongUse, match=r"not found; .*\(cells\)"):
        find_model(name, path.parent)


def test_services_take_names_of_networks_alone(path: Path, tmp_path: Path) -> None:
    root = Root(str(tmp_path / "root"))
    (tmp_path / "root/models").mkdir(parents=True)
    own = write_net(tmp_path / "root/models/cells.onnx")
    assert released("cells", root) == own and released("mito", root) == find_model("mito")
    for name, says in (
        (str(path), r"expected the NAME .*, no path"), ("cells.onnx", r"no path"),
        ("y" * 5000, "no path"),
        ("none", "not found; expected models/NAME.onnx below the root of ingest.*mito"),
    ):  # fmt: skip
        with pytest.raises(WrongUse, match=says):
            released(name, root)
    root.close()

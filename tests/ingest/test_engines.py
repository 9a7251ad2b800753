"""A client says what runs the networks of a dataset, within what the service allows."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from fibstream.app import engines
from fibstream.app.engines import engine_of
from fibstream.core.errors import Retryable, WrongState, WrongUse
from fibstream.runtime.root import Root
from fibstream.runtime.settings import Settings
from fibstream.services.inference.servicer import InferenceServicer
from fibstream.services.ingest.edges.designer import PluggedDesigner
from fibstream.services.ingest.servicer import IngestServicer
from fibstream.v1 import ingest_pb2 as pb
from fibstream.v1.inference_pb2_grpc import add_InferenceServiceServicer_to_server

from ..inference.net import write_net
from ..support.programs import free_ports
from ..support.rpc import served


class Active:
    """The context of a call whose client is there."""

    def is_active(self) -> bool:
        return True


CONTEXT: Any = Active()


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    (tmp_path / "models").mkdir()
    write_net(tmp_path / "models" / "net.onnx")
    with closing(Root(str(tmp_path))) as made:
        yield made


def profile(root: Root, settings: Settings | None = None, **wanted: str) -> Mapping[str, str]:
    servicer = IngestServicer(root, PluggedDesigner(root, settings or Settings()))
    spec = pb.DatasetSpec(
        name="new", shape={"z": 40, "y": 40, "x": 40}, chunk={"z": 20, "y": 20, "x": 20},
        dtype="uint8", voxel_size_nm={"z": 8, "y": 8, "x": 8}, pipeline="models: [net]",
    )  # fmt: skip
    servicer.CreateDataset(pb.CreateDatasetRequest(dataset=spec, **wanted), CONTEXT)
    (model,) = root.dataset("new").models
    assert list(model.spec["tile"]) == [int(edge) for edge in model.profile["tile"].split("x")]
    return model.profile


def test_what_is_asked_for_is_recorded(root: Root) -> None:
    found = profile(root, backend="onnxruntime", precision="fp32", tile="24,16,32")
    assert found["provider"] == "CPUExecutionProvider"
    assert (found["precision"], found["tile"]) == ("fp32", "24x16x32")


def test_what_is_asked_for_wins_over_the_settings_of_the_service(root: Root) -> None:
    settings = Settings(backend="openvino", tile="24,24,24")
    assert profile(root, settings, backend="onnxruntime")["provider"] == "CPUExecutionProvider"


def test_settings_of_the_service_hold_where_nothing_is_asked_for(root: Root) -> None:
    found = profile(root, Settings(backend="openvino", tile="24,24,24"))
    assert (found["provider"], found["tile"]) == ("OpenVINO CPU", "24x24x24")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"backend": "abacus"}, "backend '?abacus'?: expected one of auto, "),
        ({"precision": "int1"}, "precision '?int1'?: expected one: auto, "),
        ({"tile": "9,9"}, "tile '?9,9'?: expected model, auto, or Z,Y,X"),
        ({"tile": "17,16,16"}, "not a positive multiple of the stride 2"),
        ({"tile": "1024,1024,1024"}, r"tile .*: model net takes \d+\.\d GB .* 2.5 GB are allowed"),
        ({"tile": "1" * 10_000}, "tile '1111"),
    ],
)
def test_what_cannot_be_had_is_refused_and_leaves_nothing(
    root: Root, wanted: dict[str, str], said: str
) -> None:
    with pytest.raises(WrongUse, match=said) as caught:
        profile(root, None, **wanted)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    assert root.names() == []


@contextmanager
def inference(root: Root, **set_to: str) -> Iterator[Settings]:
    """Serve networks of a root; yield the settings of ingest that has them described there."""
    servicer = InferenceServicer(root, Settings.model_validate(set_to))
    with served(add_InferenceServiceServicer_to_server, servicer) as address:
        yield Settings(inference=address)


@pytest.mark.parametrize(
    ("wanted", "provider", "tile"),
    [
        ({}, "OpenVINO CPU", "24x24x24"),
        ({"backend": "auto", "tile": "model"}, "OpenVINO CPU", "24x24x24"),
        ({"backend": "onnxruntime"}, "CPUExecutionProvider", "24x24x24"),
        ({"tile": "24,16,32"}, "OpenVINO CPU", "24x16x32"),
    ],
)
def test_the_service_that_computes_says_how(
    root: Root, tmp_path: Path, wanted: dict[str, str], provider: str, tile: str
) -> None:
    """As where it has GPUs and ingest has none: here another runtime, and another tile."""
    with inference(root, backend="openvino", tile="24,24,24") as settings:
        found = profile(root, settings, **wanted)
    assert (found["provider"], found["tile"]) == (provider, tile)
    (model,) = root.dataset("new").models
    file = root.files("new").open(model.path)
    assert file is not None
    (tmp_path / "kept.onnx").write_bytes(file.read(0, file.size))
    made = engine_of(tmp_path / "kept.onnx", model, 1)  # a worker reproduces it
    assert made.profile == found and list(made.spec.tile) == model.spec["tile"]


def test_what_the_service_that_computes_refuses_is_said_and_leaves_nothing(root: Root) -> None:
    with inference(root) as settings, pytest.raises(WrongUse, match=r"'?abacus'?: expected one of"):
        profile(root, settings, backend="abacus")
    assert root.names() == []


def test_another_file_of_the_same_name_is_refused(root: Root, tmp_path: Path) -> None:
    (tmp_path / "other" / "models").mkdir(parents=True)
    write_net(tmp_path / "other" / "models" / "net.onnx", classes=["er", "mito"])
    with (
        closing(Root(str(tmp_path / "other"))) as other,
        inference(other) as settings,
        pytest.raises(
            WrongState, match=r"model net: inference at .* has another file of this name"
        ),
    ):
        profile(root, settings)
    assert root.names() == []


def test_an_inference_that_is_away_is_named_in_time(root: Root, monkeypatch) -> None:
    monkeypatch.setattr(engines, "PATIENCE_S", 0.1)
    (port,) = free_ports(1)
    with pytest.raises(Retryable, match=f"^inference at 127.0.0.1:{port}: ") as caught:
        profile(root, Settings(inference=f"127.0.0.1:{port}"))
    assert "\n" not in str(caught.value) and root.names() == []


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("gpu-host", "gpu-host:7802"), ("gpu-host:9", "gpu-host:9"), ("10.0.0.1", "10.0.0.1:7802"),
        ("[::1]", "[::1]:7802"), ("[::1]:9", "[::1]:9"),
    ],
)  # fmt: skip
def test_an_address_without_a_port_has_that_of_inference(address: str, asked: str) -> None:
    assert Settings(inference=address).inference == address
    assert engines._with_port(address) == asked


@pytest.mark.parametrize("wrong", ["banana:", "a=b:1", "http://a", "a:1,b:2", "a b"])
def test_what_is_no_address_is_refused_at_once(wrong: str) -> None:
    with pytest.raises(ValueError, match="inference"):
        Settings(inference=wrong)

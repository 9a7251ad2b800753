"""Predictions by wire: the bytes of ``fibstream predict``, and one clear error for all else."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from fibstream.cli.oneshot import predict_volume
from fibstream.cli.seeing import RawFlags
from fibstream.core.grid import Box, Index
from fibstream.runtime import calls
from fibstream.runtime.root import Root
from fibstream.runtime.settings import Settings
from fibstream.services.inference import servicer as module
from fibstream.services.inference.edges.model import MODELS
from fibstream.services.inference.port import Engine, ModelSpec
from fibstream.services.inference.servicer import InferenceServicer, Models
from fibstream.services.inference.volume import MAX_VOXELS
from fibstream.v1 import inference_pb2 as pb
from fibstream.v1.chunk_pb2 import Index3, Nanometres3
from fibstream.v1.inference_pb2_grpc import InferenceServiceStub as Stub
from fibstream.v1.inference_pb2_grpc import add_InferenceServiceServicer_to_server
from fibstream.volumes.sources import open_volume

from ..support import rpc
from ..support.engines import tiny_engine
from ..support.patience import PATIENCE_S
from ..support.rpc import CODE, serving
from .net import write_net

SHAPE = (13, 21, 30)


@pytest.fixture
def servicer(tmp_path: Path) -> InferenceServicer:
    (tmp_path / "models").mkdir()
    write_net(tmp_path / "models" / "net.onnx")
    return InferenceServicer(Root(str(tmp_path)), Settings.model_validate({}))


@pytest.fixture
def stub(servicer: InferenceServicer) -> Iterator[Stub]:
    with serving(add_InferenceServiceServicer_to_server, servicer, Stub) as stub:
        yield stub


def header(shape: Index = SHAPE, dtype: str = "uint8", **changes: Any) -> pb.PredictRequest:
    given = {
        "model": "net", "shape": Index3(z=shape[0], y=shape[1], x=shape[2]), "dtype": dtype,
        "voxel_size_nm": Nanometres3(z=8, y=8, x=8), **changes,
    }  # fmt: skip
    return pb.PredictRequest(header=pb.PredictHeader(**given))


def pieces(raw: NDArray[Any], size: int = 1000) -> list[pb.PredictRequest]:
    data = np.ascontiguousarray(raw, raw.dtype.newbyteorder("<")).tobytes()
    return [pb.PredictRequest(piece=data[k : k + size]) for k in range(0, len(data), size)]


def predicted(
    stub: Stub, *requests: pb.PredictRequest
) -> tuple[list[str], NDArray[np.uint8], list[bytes]]:
    """Return classes and array that are answered, and the sizes of the pieces."""
    first, *rest = stub.Predict(iter(requests), timeout=PATIENCE_S)
    parts = [answer.piece for answer in rest]
    assert first.WhichOneof("part") == "header" and all(parts)
    shape = first.header.shape
    array = np.frombuffer(b"".join(parts), np.uint8)
    return list(first.header.classes), array.reshape(-1, shape.z, shape.y, shape.x), parts


def refused(stub: Stub, *requests: pb.PredictRequest) -> rpc.Refusal:
    return rpc.refused(lambda: list(stub.Predict(iter(requests), timeout=PATIENCE_S)))


def noise(dtype: str = "uint8", shape: Index = SHAPE, seed: int = 3) -> NDArray[Any]:
    values = np.random.default_rng(seed).integers(0, 127, shape)
    return values.astype(dtype)


# -- the bytes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "window", "invert"),
    [("uint8", None, False), ("uint16", (10.5, 100.0), True), ("float32", (-3.0, 90.0), False)],
)
def test_a_volume_is_predicted_as_the_command_does(
    stub: Stub, tmp_path: Path, dtype: str, window: tuple[float, float] | None, invert: bool
) -> None:
    raw = noise(dtype)
    np.savez(tmp_path / "raw.npz", raw=raw, voxel_size_nm_zyx=[8.0] * 3)
    names = predict_volume(
        RawFlags(str(tmp_path / "raw.npz"), None, window and f"{window[0]},{window[1]}", invert),
        str(tmp_path / "models/net.onnx"), tmp_path / "out.zarr", chunk="7,11,16",
        settings=Settings(),
    )  # fmt: skip
    low, high = window or (0, 0)
    start = header(dtype=dtype, contrast_low=low, contrast_high=high, invert=invert)
    classes, array, _ = predicted(stub, start, *pieces(raw))
    assert [f"predictions/{name}" for name in classes] == names and len(classes) == 2
    for name, found in zip(names, array, strict=True):
        volume = open_volume(f"{tmp_path}/out.zarr/{name}/s0", kind="any", voxel_size_nm=(8, 8, 8))
        assert np.array_equal(found, volume.read(Box((0, 0, 0), SHAPE)))


def test_the_answer_comes_in_pieces(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 4096)
    _, array, parts = predicted(stub, header(), *pieces(noise()))
    assert [len(p) for p in parts[:-1]] == [4096] * (len(parts) - 1) and len(parts) == 4
    assert array.shape == (2, *SHAPE)


def test_a_volume_smaller_than_the_halo_is_predicted(stub: Stub) -> None:
    _, array, _ = predicted(stub, header((1, 2, 3)), *pieces(noise(shape=(1, 2, 3))))
    assert array.shape == (2, 1, 2, 3)


# -- what is refused ---------------------------------------------------------------------------

RAW = noise()
BAD_HEADERS = [
    ({"model": "../models/net"}, CODE.NOT_FOUND, "model '../models/net'"),
    ({"model": "net.onnx"}, CODE.NOT_FOUND, "expected one of many, mito, net"),
    ({"model": ""}, CODE.NOT_FOUND, "model ''"),
    ({"model": "a\0b"}, CODE.NOT_FOUND, "model"),
    ({"dtype": "float64"}, CODE.INVALID_ARGUMENT, "dtype 'float64': expected one of uint8"),
    ({"dtype": "object"}, CODE.INVALID_ARGUMENT, "dtype 'object'"),
    ({"dtype": "uint16"}, CODE.INVALID_ARGUMENT, "give the contrast"),
    ({"shape": (0, 3, 3)}, CODE.INVALID_ARGUMENT, "shape (0, 3, 3)"),
    ({"shape": (257, 256, 256)}, CODE.RESOURCE_EXHAUSTED, f"at most {MAX_VOXELS} voxels"),
    ({"shape": (2**32 - 1,) * 3}, CODE.RESOURCE_EXHAUSTED, "at most"),
    ({"voxel_size_nm": Nanometres3(z=8, y=8)}, CODE.INVALID_ARGUMENT, "voxel size (8.0, 8.0, 0.0)"),
    ({"voxel_size_nm": Nanometres3(z=4, y=4, x=4)}, CODE.INVALID_ARGUMENT, "does not fit model"),
    (
        {"voxel_size_nm": Nanometres3(z=float("nan"), y=8, x=8)}, CODE.INVALID_ARGUMENT,
        "voxel size (nan",
    ),
    ({"contrast_low": 9, "contrast_high": 3}, CODE.INVALID_ARGUMENT, "contrast 9, 3"),
    ({"contrast_high": float("nan")}, CODE.INVALID_ARGUMENT, "contrast 0, nan"),
    ({"contrast_high": float("inf")}, CODE.INVALID_ARGUMENT, "contrast 0, inf"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "code", "says"), BAD_HEADERS)
def test_a_wrong_header_is_refused_before_the_voxels(
    stub: Stub, changes: dict[str, Any], code: grpc.StatusCode, says: str
) -> None:
    found, details = refused(stub, header(**changes))
    assert found == code and says in details


def test_pieces_are_counted(stub: Stub) -> None:
    good = pieces(RAW)
    code, says = refused(stub, header(), *good[:-1])
    assert code == CODE.INVALID_ARGUMENT and f"the header promised {RAW.nbytes}" in says
    code, says = refused(stub, header(), *good, good[0])
    assert code == CODE.INVALID_ARGUMENT and "more than" in says
    code, says = refused(stub, header(), good[0], header(), *good[1:])
    assert code == CODE.INVALID_ARGUMENT and "expected pieces" in says
    code, says = refused(stub, *good)
    assert code == CODE.INVALID_ARGUMENT and "expected a header" in says
    assert refused(stub)[0] == CODE.INVALID_ARGUMENT
    large = pb.PredictRequest(piece=bytes((4 << 20) + 1))
    assert refused(stub, header((200,) * 3), large)[0] == CODE.RESOURCE_EXHAUSTED


def test_voxels_that_are_not_numbers_are_refused(stub: Stub) -> None:
    raw = RAW.astype("float32")
    raw[3, 4, 5] = np.nan
    code, says = refused(stub, header(dtype="float32", contrast_high=100), *pieces(raw))
    assert code == CODE.INVALID_ARGUMENT and "not finite" in says


# -- engines, waiting and leaving --------------------------------------------------------------


class Held:
    """An engine that stops at its first tile until it is let go."""

    def __init__(self) -> None:
        self._tiny = tiny_engine()
        self.spec, self.profile = self._tiny.spec, self._tiny.profile
        self.at_work, self.go, self.tiles = threading.Event(), threading.Event(), 0

    def infer(self, tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.tiles += 1
        self.at_work.set()
        assert self.go.wait(PATIENCE_S)
        return self._tiny.infer(tile)


@pytest.fixture
def held(servicer: InferenceServicer) -> Iterator[Held]:
    """Let an engine that can be stopped stand for the network ``net``."""
    engine = Held()
    servicer._models = HeldModels(engine)
    yield engine
    engine.go.set()


class HeldModels(Models):
    def __init__(self, engine: Held) -> None:
        self._engine = engine

    def find(self, name: str) -> ModelSpec:
        return self._engine.spec

    def engine(self, name: str, spec: ModelSpec) -> Engine:
        return self._engine


def finished(servicer: InferenceServicer, timeout_s: float = PATIENCE_S) -> None:
    """Wait until nobody computes any more."""
    assert servicer._computing.acquire(timeout=timeout_s)
    servicer._computing.release()


def test_a_cancelled_call_stops_at_the_next_tile(
    stub: Stub, servicer: InferenceServicer, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts: list[Any] = []
    look = calls.check_active

    def counted(context: Any) -> None:
        contexts.append(context)
        look(context)

    monkeypatch.setattr(module, "check_active", counted)
    call = stub.Predict(iter([header(), *pieces(RAW)]))
    assert held.at_work.wait(PATIENCE_S)
    call.cancel()
    with pytest.raises(grpc.RpcError):
        list(call)
    deadline = time.monotonic() + PATIENCE_S
    while contexts[0].is_active():  # the cancellation is on its way
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
    held.go.set()
    finished(servicer)
    assert held.tiles == 1  # of 24
    assert predicted(stub, header(), *pieces(RAW))[1].shape == (1, *SHAPE)


def test_others_wait_and_give_up_at_their_deadline(
    stub: Stub, servicer: InferenceServicer, held: Held
) -> None:
    first = stub.Predict(iter([header(), *pieces(RAW)]), timeout=PATIENCE_S)
    assert held.at_work.wait(PATIENCE_S)
    second = stub.Predict(iter([header(), *pieces(RAW)]), timeout=0.3)
    with pytest.raises(grpc.RpcError) as caught:
        list(second)
    assert caught.value.code() == CODE.DEADLINE_EXCEEDED and held.tiles == 1
    held.go.set()
    assert len(list(first)) == 2


def test_no_more_volumes_are_held_than_fit(
    stub: Stub, servicer: InferenceServicer, held: Held
) -> None:
    """A call beyond them is not even read: whoever sends is held back."""
    calls = [stub.Predict(iter([header(), *pieces(RAW)]), timeout=PATIENCE_S) for _ in range(6)]
    assert held.at_work.wait(PATIENCE_S)
    held.go.set()
    assert [len(list(call)) for call in calls] == [2] * 6
    assert servicer._held._value == module.MAX_HELD


def test_engines_are_kept_and_few(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for name, classes in (("a", ["mito", "er"]), ("b", ["er", "mito"]), ("c", ["x", "y"])):
        write_net(tmp_path / f"models/{name}.onnx", classes=classes)
    models = Models(Root(str(tmp_path)), Settings())
    specs = models.all()
    assert list(specs) == [
        "a",
        "b",
        "c",
        *sorted(path.stem for path in MODELS.glob("*.onnx")),
    ]
    first = models.engine("a", specs["a"])
    assert models.engine("a", specs["a"]) is first
    models.engine("b", specs["b"])
    models.engine("c", specs["c"])
    assert len(models._engines) == module.MAX_ENGINES
    assert models.engine("a", specs["a"]) is not first
    assert models.profiles[specs["a"].sha256] == dict(first.profile)


# -- listing -----------------------------------------------------------------------------------


def test_networks_are_listed_with_what_they_are(
    tmp_path: Path, servicer: InferenceServicer, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MODELS", tmp_path / "nowhere")  # the released one takes seconds
    (tmp_path / "models/broken.onnx").write_bytes(b"no network")
    (tmp_path / "models/with.dot.onnx").write_bytes(b"cannot be named")
    (model,) = stub.ListModels(pb.ListModelsRequest(), timeout=PATIENCE_S).models
    spec = servicer._models.find("net")
    assert (model.name, list(model.classes), model.sha256) == ("net", ["mito", "er"], spec.sha256)
    assert (model.tile.z, model.output.x, model.voxel_size_nm.y) == (16, 8, 8.0)
    assert model.profile["precision"] == "fp32" and len(model.profile["digest"]) == 64
    assert stub.ListModels(pb.ListModelsRequest(), timeout=PATIENCE_S).models == [model]


def test_a_network_that_is_replaced_is_read_anew(tmp_path: Path, stub: Stub) -> None:
    write_net(tmp_path / "models/net.onnx", classes=["one", "other"])
    assert predicted(stub, header(), *pieces(RAW))[0] == ["one", "other"]

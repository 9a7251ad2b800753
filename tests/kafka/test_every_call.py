"""Every call of every service, with a valid request, on both buses: none fails.

The services are found by the registry and their methods by the protos: a call without a request
here fails the test.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pool import Default
from google.protobuf.message_factory import GetMessageClass

from fibstream import registry
from fibstream.runtime.grpc import GrpcServer
from fibstream.runtime.root import Root
from fibstream.runtime.service import ServicerContext
from fibstream.runtime.settings import Settings
from fibstream.v1 import analysis_pb2, inference_pb2, ingest_pb2, refine_pb2, registration_pb2
from fibstream.v1.chunk_pb2 import Index3, Nanometres3

from ..inference.net import write_net
from ..support.broker import Broker, broker  # noqa: F401
from ..support.patience import PATIENCE_S
from ..support.registered import put_registration

SHAPE, CHUNK = (16, 8, 8), (8, 8, 8)
VOXELS = np.random.default_rng(2).integers(0, 255, SHAPE).astype(np.uint8)
PIPELINE = "models: [net]\norganelles:\n- {name: mito, recipe: mito, from: mito}"
LATER = PIPELINE.replace("from: mito", "from: mito, set: {smooth_nm: 20}")
Requests = dict[str, list[list[Any]]]


def ingest(name: str, source: str) -> Requests:
    pb = ingest_pb2
    spec = pb.DatasetSpec(
        name=name, shape=Index3(z=16, y=8, x=8), chunk=Index3(z=8, y=8, x=8), dtype="uint8",
        voxel_size_nm=Nanometres3(z=8, y=8, x=8), pipeline=PIPELINE,
    )  # fmt: skip
    header = pb.ChunkHeader(dataset=name, size=512)
    piece = VOXELS[:8].tobytes()
    upper = Index3(z=1)
    return {
        "CreateDataset": [[pb.CreateDatasetRequest(dataset=spec)]],
        "ListDatasets": [[pb.ListDatasetsRequest()]],
        "PutChunk": [[pb.PutChunkRequest(header=header), pb.PutChunkRequest(piece=piece)]],
        "GetChunk": [[pb.GetChunkRequest(dataset=name)]],
        "DeclareAbsent": [[pb.DeclareAbsentRequest(dataset=name, index=upper)]],
        "AnnounceChunk": [
            [pb.AnnounceChunkRequest(dataset=name)],
            [pb.AnnounceChunkRequest(dataset=name, index=upper, source=source)],
        ],
        "GetDataset": [[pb.GetDatasetRequest(dataset=name)]],
        "SealDataset": [[pb.SealDatasetRequest(dataset=name)]],
        "WatchDataset": [
            [pb.WatchDatasetRequest(dataset=name, once=True)],
            [pb.WatchDatasetRequest(dataset=name)],
        ],
        "UpdateDataset": [[pb.UpdateDatasetRequest(dataset=name, pipeline=LATER)]],
        "ReplayFailed": [[pb.ReplayFailedRequest(dataset=name)]],
    }


def others(name: str, source: str) -> Requests:
    pb = inference_pb2
    header = pb.PredictHeader(
        model="net", shape=Index3(z=8, y=8, x=8), dtype="uint8",
        voxel_size_nm=Nanometres3(z=8, y=8, x=8),
    )  # fmt: skip
    piece = pb.PredictRequest(piece=VOXELS[:8].tobytes())
    query = analysis_pb2.QueryObjectsRequest
    return {
        "ListModels": [[pb.ListModelsRequest()]],
        "DescribeModel": [[pb.DescribeModelRequest(model="net")]],
        "Predict": [[pb.PredictRequest(header=header), piece]],
        "ListRecipes": [[refine_pb2.ListRecipesRequest()]],
        "ListObjects": [[refine_pb2.ListObjectsRequest(dataset=name, organelle="mito")]],
        "WatchObjects": [
            [refine_pb2.WatchObjectsRequest(dataset=name)],
            [refine_pb2.WatchObjectsRequest(dataset=name, organelle="mito")],
        ],
        "Describe": [[analysis_pb2.DescribeRequest(dataset=name)]] * 3,
        "QueryObjects": [
            [query(dataset=name, organelle="mito")],
            [query(dataset=name, sql="SELECT count(*) AS n FROM mito")],
        ],
        "StreamObjects": [[analysis_pb2.StreamObjectsRequest(dataset=name, table="mito")]],
        "ContactMatrix": [[analysis_pb2.ContactMatrixRequest(dataset=name)]],
        **registrations(name, source),
        "DeleteDataset": [[ingest_pb2.DeleteDatasetRequest(dataset=name)]],
    }


def registrations(name: str, source: str) -> Requests:
    pb = registration_pb2
    which: dict[str, Any] = {"dataset": name, "name": "sim"}
    ways = (pb.DIRECTION_TO_LIGHT, pb.DIRECTION_TO_SPECIMEN)
    points = [Nanometres3(z=1, y=2, x=3)]
    return {
        "Register": [
            [
                pb.RegisterRequest(
                    dataset=name,
                    name="called",
                    prediction="mito",
                    light=source,
                    light_voxel_nm=Nanometres3(z=90, y=80, x=70),
                )
            ]
        ],
        "ListRegistrations": [[pb.ListRegistrationsRequest(dataset=name)]],
        "GetRegistration": [[pb.GetRegistrationRequest(**which)]],
        "WatchRegistration": [[pb.WatchRegistrationRequest(**which)]],
        "Warp": [[pb.WarpRequest(**which, shape=Index3(z=1, y=1, x=1))]],
        "Transform": [[pb.TransformRequest(**which, direction=w, points=points)] for w in ways],
    }


@pytest.fixture(params=["embedded", "kafka"])
def bus_url(request: pytest.FixtureRequest) -> str | None:
    if request.param == "embedded":
        return None
    shared: Broker = request.getfixturevalue("broker")
    return f"kafka://{shared.servers}"


@pytest.fixture
def served(bus_url: str | None, tmp_path: Path) -> Iterator[tuple[grpc.Channel, list[str]]]:
    """All services of the registry in one server; yields a channel, and their full names."""
    (tmp_path / "models").mkdir()
    write_net(tmp_path / "models/net.onnx")
    root = Root(str(tmp_path), bus_url)
    context = ServicerContext(root, Settings.model_validate({}), (str(tmp_path),))
    bindings = [registry.service(name).servicer(context) for name in registry.names()]
    with ExitStack() as held:
        if (shared := root.shared_bus()) is not None:
            held.callback(shared.close)
        held.callback(root.close)
        for binding in bindings:
            held.callback(getattr(binding.servicer, "close", lambda: None))
        server = GrpcServer("127.0.0.1:0", bindings)
        held.callback(server.close, 0.5)
        server.open()
        channel = held.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.port}"))
        yield channel, [binding.name for binding in bindings]


def call(channel: grpc.Channel, service: str, method: Any, requests: list[Any]) -> list[Any]:
    """Return what a call answers: of a stream that is watched the first message."""
    answer = GetMessageClass(method.output_type).FromString
    made = channel.stream_stream(
        f"/{service}/{method.name}", lambda message: message.SerializeToString(), answer
    )
    stream = made(iter(requests), timeout=PATIENCE_S)
    if method.name.startswith("Watch"):
        first = next(stream)
        stream.cancel()
        return [first]
    return list(stream)


def test_no_call_fails(served: tuple[grpc.Channel, list[str]], tmp_path: Path) -> None:
    channel, names = served
    name = f"every{time.time_ns()}"
    np.save(tmp_path / "volume.npy", VOXELS)
    source = str(tmp_path / "volume.npy")
    requests = ingest(name, source) | others(name, source)
    methods = {
        method.name: (service, method)
        for service in names
        for method in Default().FindServiceByName(service).methods
    }
    assert methods.keys() == requests.keys()
    for word, calls in requests.items():
        service, method = methods[word]
        for given in calls:
            assert given[0].DESCRIPTOR is method.input_type
            try:
                answers = call(channel, service, method, given)
            except grpc.RpcError as error:
                pytest.fail(f"{word}: {error.code()} {error.details()}")
            assert answers, word
        if word == "CreateDataset":
            put_registration(tmp_path / f"{name}.zarr")
            for z in (0, 1):  # no worker predicts: that it is finished is all that Register asks
                chunk = tmp_path / f"{name}.zarr/predictions/mito/s0/c/{z}/0/0"
                chunk.parent.mkdir(parents=True)
                chunk.write_bytes(b"")


def test_describing_while_the_log_grows(
    served: tuple[grpc.Channel, list[str]],
) -> None:
    """Callers share a bus, and one of them reads topics that another has not read."""
    channel, names = served
    name = f"grows{time.time_ns()}"
    methods = {
        method.name: (service, method)
        for service in names
        for method in Default().FindServiceByName(service).methods
    }
    given = ingest(name, "") | others(name, "")
    for word in ("CreateDataset", "PutChunk"):
        call(channel, *methods[word], given[word][0])
    failed: list[str] = []

    def again(word: str) -> None:
        for _ in range(3):
            try:
                call(channel, *methods[word], given[word][0])
            except grpc.RpcError as error:
                failed.append(f"{word}: {error.code()} {error.details()}")

    words = ("Describe", "WatchDataset", "ListObjects", "PutChunk", "Describe", "WatchObjects")
    threads = [threading.Thread(target=again, args=(word,)) for word in words]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []

"""Whatever is sent to ingest is answered with a status, and garbage lands nothing."""

import random
import threading
from typing import Never

import grpc
import numpy as np
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status import rpc_status

from fibstream.core.dataset import Dataset
from fibstream.core.errors import (
    AlreadyExists,
    LimitExceeded,
    NotFound,
    Poison,
    Retryable,
    WrongState,
    WrongUse,
)
from fibstream.core.keys import content_hash
from fibstream.runtime.calls import CallLimits
from fibstream.runtime.grpc import GrpcServer, ServicerBinding
from fibstream.runtime.root import Root
from fibstream.services.ingest.edges.datasets import DatasetDesign, create
from fibstream.services.ingest.edges.uploads import Uploads, join
from fibstream.services.ingest.servicer import IngestServicer as Ingest
from fibstream.v1 import chunk_pb2
from fibstream.v1 import ingest_pb2 as pb
from fibstream.v1.ingest_pb2_grpc import IngestServiceStub, add_IngestServiceServicer_to_server

from ..support.patience import PATIENCE_S

SHAPE = (8, 8, 8)
CODE = grpc.StatusCode
PUT = "/fibstream.v1.IngestService/PutChunk"


class Broken:
    """Answers every call with the error that it was given."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, name: str):
        def answer(request, context) -> Never:
            raise self.error

        return answer


@pytest.fixture
def root(tmp_path):
    (tmp_path / "source").mkdir()
    made = Root(str(tmp_path / "root"))
    dataset = Dataset(
        name="cell", shape=SHAPE, chunk=(8, 8, 8), dtype="uint8", voxel_size_nm=(8, 8, 8),
        contrast=(0, 255),
    )  # fmt: skip
    create(made, DatasetDesign(dataset, {}, []))
    return made


@pytest.fixture
def serve():
    servers, channels = [], []

    def start(answers):
        binding = ServicerBinding(
            add_IngestServiceServicer_to_server, answers, "fibstream.v1.IngestService"
        )
        servers.append(GrpcServer("127.0.0.1:0", [binding]))
        servers[-1].open()
        channels.append(
            grpc.insecure_channel(
                f"127.0.0.1:{servers[-1].port}", [("grpc.max_send_message_length", -1)]
            )
        )
        return channels[-1]

    yield start
    for channel in channels:
        channel.close()
    for server in servers:
        server.close(0.1)


def no_design(asked) -> Never:
    raise WrongUse(f"pipeline {asked.pipeline!r}: not built in")


@pytest.fixture
def channel(serve, root, tmp_path):
    return serve(Ingest(root, no_design, [tmp_path / "source"]))


def refused(call) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def put(channel, *parts, timeout=PATIENCE_S):
    return IngestServiceStub(channel).PutChunk(iter(parts), timeout=timeout)


def header(**changes):
    given = {"dataset": "cell", "size": 512, **changes}
    return pb.PutChunkRequest(header=pb.ChunkHeader(**given))


def piece(data):
    return pb.PutChunkRequest(piece=data)


def landed(root) -> list[str]:
    """Everything that a landing would leave: files of raw, and records in the ledger."""
    with root.open("cell") as (_, site):
        from fibstream.bus import wire

        return [*root.files("cell").list("raw"), *site.bus.read(wire.ledger_topics(), 0)]


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (NotFound("x"), CODE.NOT_FOUND, "NOT_FOUND"),
        (AlreadyExists("x"), CODE.ALREADY_EXISTS, "ALREADY_THERE"),
        (WrongState("x"), CODE.FAILED_PRECONDITION, "NOT_NOW"),
        (LimitExceeded("x"), CODE.RESOURCE_EXHAUSTED, "TOO_MUCH"),
        (WrongUse("x"), CODE.INVALID_ARGUMENT, "WRONG_USE"),
        (Poison("x"), CODE.INVALID_ARGUMENT, "POISON"),
        (Retryable("x"), CODE.UNAVAILABLE, "AWAY"),
    ],
)
def test_every_error_has_its_code_and_reason(serve, error, code, reason) -> None:
    stub = IngestServiceStub(serve(Broken(error)))
    caught = refused(lambda: stub.ListDatasets(pb.ListDatasetsRequest(), timeout=PATIENCE_S))
    assert (caught.code(), caught.details()) == (code, "x")
    details = {d.type_url.rpartition(".")[2]: d for d in rpc_status.from_call(caught).details}
    info = ErrorInfo()
    details["ErrorInfo"].Unpack(info)
    assert (info.reason, info.domain) == (reason, "fibstream")
    assert ("RetryInfo" in details) == (code is CODE.UNAVAILABLE)
    if "RetryInfo" in details:
        retry = RetryInfo()
        details["RetryInfo"].Unpack(retry)
        assert retry.retry_delay.seconds == 1


def test_a_bug_is_an_internal_error_without_its_insides(serve) -> None:
    stub = IngestServiceStub(serve(Broken(ZeroDivisionError("secret"))))
    for call in (
        lambda: stub.ListDatasets(pb.ListDatasetsRequest(), timeout=PATIENCE_S),
        lambda: list(stub.WatchDataset(pb.WatchDatasetRequest(), timeout=PATIENCE_S)),
    ):
        caught = refused(call)
        assert caught.code() is CODE.INTERNAL and "secret" not in caught.details()


@pytest.mark.parametrize(
    ("parts", "code", "says"),
    [
        ((), CODE.INVALID_ARGUMENT, "expected a header"),
        ((piece(b"x" * 512),), CODE.INVALID_ARGUMENT, "expected a header"),
        ((header(), header()), CODE.INVALID_ARGUMENT, "expected pieces"),
        ((header(), piece(b"x" * 511)), CODE.INVALID_ARGUMENT, "511 bytes"),
        ((header(), piece(b"x" * 513)), CODE.INVALID_ARGUMENT, "more than the 512"),
        ((header(size=2**63), piece(b"")), CODE.INVALID_ARGUMENT, "expected 512"),
        ((header(checksum="0"), piece(b"x" * 512)), CODE.INVALID_ARGUMENT, "checksum 0"),
        ((header(checksum="x" * 9999), piece(b"x" * 512)), CODE.INVALID_ARGUMENT, "checksum x"),
        (
            (header(checksum=f"{content_hash(np.zeros(SHAPE, np.uint8))}"), piece(b"x" * 512)),
            CODE.INVALID_ARGUMENT,
            "the voxels that came have",
        ),
        ((header(),), CODE.INVALID_ARGUMENT, "0 bytes, and the header promised 512"),
        ((header(), piece(b""), piece(b"")), CODE.INVALID_ARGUMENT, "0 bytes"),
        ((header(size=0), piece(b"")), CODE.INVALID_ARGUMENT, "expected 512"),
        ((header(size=511), piece(b"x" * 511)), CODE.INVALID_ARGUMENT, "expected 512"),
        ((header(size=1024), piece(b"x" * 1024)), CODE.INVALID_ARGUMENT, "of uint8"),
        ((header(prediction="mito"),), CODE.INVALID_ARGUMENT, "does not land here"),
        ((header(prediction="../raw"),), CODE.INVALID_ARGUMENT, "does not land here"),
        ((header(index=chunk_pb2.Index3(z=1)),), CODE.INVALID_ARGUMENT, "outside the grid"),
        ((header(), pb.PutChunkRequest()), CODE.INVALID_ARGUMENT, "expected pieces"),
        ((pb.PutChunkRequest(),), CODE.INVALID_ARGUMENT, "expected a header"),
        ((header(dataset="other"),), CODE.NOT_FOUND, "'other'"),
        ((header(dataset="../cell"),), CODE.INVALID_ARGUMENT, "letters, digits"),
        ((header(dataset=""),), CODE.INVALID_ARGUMENT, "letters, digits"),
        ((header(index=chunk_pb2.Index3(z=2**31)),), CODE.INVALID_ARGUMENT, "outside the grid"),
    ],
)
def test_a_wrong_upload_lands_nothing(channel, root, parts, code, says) -> None:
    caught = refused(lambda: put(channel, *parts))
    assert caught.code() is code and says in caught.details()
    assert landed(root) == []


def test_a_message_of_gigabytes_is_refused_by_its_size(channel, root) -> None:
    """What gRPC has to read is bounded: the message is not even taken in."""
    raw = channel.stream_unary(PUT, request_serializer=None, response_deserializer=None)
    caught = refused(lambda: raw(iter([bytes(64 << 20)]), timeout=PATIENCE_S))
    assert caught.code() is CODE.RESOURCE_EXHAUSTED
    assert landed(root) == []


def test_random_bytes_are_answered_and_the_server_goes_on(channel, root) -> None:
    chance = random.Random(5)
    methods = [m.name for m in pb.DESCRIPTOR.services_by_name["IngestService"].methods]
    for number in range(60):
        method = f"/fibstream.v1.IngestService/{chance.choice(methods)}"
        data = chance.randbytes(chance.randrange(1, 400))
        call = channel.stream_stream(method, request_serializer=None, response_deserializer=None)
        try:
            list(call(iter([data] * (number % 3)), timeout=3))
        except grpc.RpcError as error:
            assert error.code() not in (CODE.UNKNOWN,), (method, data, error.details())
    assert landed(root) == []
    assert put(channel, header(), piece(b"x" * 512)).landing == pb.LANDING_WRITTEN


def test_a_method_of_a_newer_client_is_unimplemented(channel) -> None:
    call = channel.unary_unary("/fibstream.v1.IngestService/Teleport")
    assert refused(lambda: call(b"", timeout=PATIENCE_S)).code() is CODE.UNIMPLEMENTED


def test_an_upload_that_is_cancelled_lands_nothing(channel, root) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def parts():
        yield header()
        yield piece(b"x" * 256)
        begun.set()
        go_on.wait(PATIENCE_S)

    future = IngestServiceStub(channel).PutChunk.future(parts(), timeout=PATIENCE_S)
    assert begun.wait(PATIENCE_S)
    future.cancel()
    go_on.set()
    assert future.cancelled()
    assert put(channel, header(), piece(b"y" * 512)).revision == 1  # nothing was there before


def test_a_deadline_ends_an_upload_that_stands_still(channel, root) -> None:
    stop = threading.Event()

    def parts():
        yield header()
        stop.wait(PATIENCE_S)

    caught = refused(lambda: IngestServiceStub(channel).PutChunk(parts(), timeout=0.3))
    stop.set()
    assert caught.code() is CODE.DEADLINE_EXCEEDED
    assert landed(root) == []


OUTSIDE = [
    "/etc", "{source}/../secret.npy", "{source}/link.npy", "s3://bucket/x.zarr",
    "file://{source}/../secret.zarr", "file:///etc#x", "{source}/a.npy\0", "{source}#(a+)+b",
    "{source}/x#/../../secret.npy#y",
]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_source_outside_the_roots_is_refused(channel, root, tmp_path, path) -> None:
    np.save(tmp_path / "secret.npy", np.zeros(SHAPE, np.uint8))
    (tmp_path / "source" / "link.npy").symlink_to(tmp_path / "secret.npy")
    source = path.format(source=tmp_path / "source")
    request = pb.AnnounceChunkRequest(dataset="cell", source=source)
    caught = refused(lambda: IngestServiceStub(channel).AnnounceChunk(request, timeout=PATIENCE_S))
    assert caught.code() is CODE.INVALID_ARGUMENT
    assert caught.details().startswith("source ") and "\n" not in caught.details()
    assert landed(root) == []


def test_a_source_below_a_root_lands_as_an_upload_does(channel, root, tmp_path) -> None:
    voxels = np.random.default_rng(3).integers(0, 255, SHAPE).astype(np.uint8)
    np.save(tmp_path / "source" / "a.npy", voxels)
    stub = IngestServiceStub(channel)
    empty = pb.AnnounceChunkRequest(dataset="cell")
    assert (
        refused(lambda: stub.AnnounceChunk(empty, timeout=PATIENCE_S)).code()
        is CODE.FAILED_PRECONDITION
    )
    request = pb.AnnounceChunkRequest(dataset="cell", source=str(tmp_path / "source" / "a.npy"))
    assert stub.AnnounceChunk(request, timeout=PATIENCE_S).landing == pb.LANDING_WRITTEN
    same = put(channel, header(), piece(voxels.tobytes()))
    assert (same.landing, same.revision) == (pb.LANDING_UNCHANGED, 1)
    assert stub.AnnounceChunk(empty, timeout=PATIENCE_S).revision == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "a/b"}, "letters, digits"),
        ({"name": "a.zarr"}, "letters, digits"),
        ({"shape": chunk_pb2.Index3(z=1)}, "shape"),
        ({"dtype": "float64"}, "dtype 'float64'"),
        ({"voxel_size_nm": chunk_pb2.Nanometres3(z=float("nan"), y=1, x=1)}, "voxel_size_nm"),
        ({"pipeline": "unknown"}, "not built in"),
    ],
)
def test_a_dataset_that_cannot_be_is_refused(channel, root, changes, says) -> None:
    given = {
        "name": "new", "shape": chunk_pb2.Index3(z=4, y=4, x=4), "dtype": "uint8",
        "voxel_size_nm": chunk_pb2.Nanometres3(z=8, y=8, x=8), "pipeline": "mito", **changes,
    }  # fmt: skip
    request = pb.CreateDatasetRequest(dataset=pb.DatasetSpec(**given))
    caught = refused(lambda: IngestServiceStub(channel).CreateDataset(request, timeout=PATIENCE_S))
    assert caught.code() is CODE.INVALID_ARGUMENT and says in caught.details()
    assert root.names() == ["cell"]


def test_sealing_keeps_what_has_landed(channel, root) -> None:
    stub = IngestServiceStub(channel)
    for extent, code in ((9, CODE.FAILED_PRECONDITION), (8, None), (0, None)):
        request = pb.SealDatasetRequest(dataset="cell", extent_z=extent)
        if code is None:
            assert stub.SealDataset(request, timeout=PATIENCE_S).extent_z == 8
        else:
            assert refused(lambda r=request: stub.SealDataset(r, timeout=PATIENCE_S)).code() is code


def test_uploads_share_a_limit() -> None:
    uploads = Uploads(limit=10)
    with uploads.reserve(6):
        with pytest.raises(LimitExceeded, match="6 bytes are under way"), uploads.reserve(5):
            pass
        with uploads.reserve(4):
            pass
    with uploads.reserve(10):
        assert join([b"ab", b"c"], 3) == b"abc"


@pytest.mark.parametrize("name", ["../cell", "a/b", "/etc", "..", "", "a\n", "<script>", "s3://a"])
def test_no_call_takes_a_path_for_a_dataset(channel, root, name) -> None:
    stub = IngestServiceStub(channel)
    calls = {
        "GetDataset": pb.GetDatasetRequest(dataset=name),
        "GetChunk": pb.GetChunkRequest(dataset=name),
        "AnnounceChunk": pb.AnnounceChunkRequest(dataset=name),
        "DeclareAbsent": pb.DeclareAbsentRequest(dataset=name),
        "SealDataset": pb.SealDatasetRequest(dataset=name),
        "UpdateDataset": pb.UpdateDatasetRequest(dataset=name),
        "DeleteDataset": pb.DeleteDatasetRequest(dataset=name),
        "ReplayFailed": pb.ReplayFailedRequest(dataset=name),
    }
    for method, request in calls.items():
        caught = refused(lambda m=method, r=request: getattr(stub, m)(r, timeout=PATIENCE_S))
        assert caught.code() is CODE.INVALID_ARGUMENT, method
    watched = refused(lambda: list(stub.WatchDataset(pb.WatchDatasetRequest(dataset=name))))
    assert watched.code() is CODE.INVALID_ARGUMENT
    assert root.names() == ["cell"]


def test_one_client_leaves_memory_to_another() -> None:
    uploads = Uploads(limit=10, part=6)
    with uploads.reserve(6, "a"):
        with pytest.raises(LimitExceeded, match="of this client"), uploads.reserve(1, "a"):
            pass
        with uploads.reserve(4, "b"):
            pass
    with uploads.reserve(6, "a"):
        pass


def test_uploads_that_stand_still_give_their_memory_back(root, tmp_path) -> None:
    """What was promised and never came is free again, and another chunk lands."""
    answers = Ingest(root, no_design, [])
    answers._uploads = Uploads(limit=512)
    binding = ServicerBinding(
        add_IngestServiceServicer_to_server, answers, "fibstream.v1.IngestService"
    )
    server = GrpcServer("127.0.0.1:0", [binding], limits=CallLimits(next_message_s=0.3))
    stop = threading.Event()

    def parts():
        yield header()
        stop.wait(PATIENCE_S)

    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as made:
        hanging = IngestServiceStub(made).PutChunk.future(parts(), timeout=PATIENCE_S)
        assert hanging.exception(timeout=PATIENCE_S).code() is CODE.DEADLINE_EXCEEDED
        assert "no message has come within 0.3 s" in hanging.details()
        assert put(made, header(), piece(b"x" * 512)).landing == pb.LANDING_WRITTEN
        stop.set()
    server.close(0.1)

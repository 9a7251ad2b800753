"""Every field of every call, drawn from the protos: refused in one line, and services live on."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import grpc
import numpy as np
import pytest

from fibstream import registry
from fibstream.core.dataset import Dataset, Prediction
from fibstream.runtime.grpc import GrpcServer, ServicerBinding
from fibstream.runtime.root import Root
from fibstream.runtime.service import ServicerContext
from fibstream.runtime.settings import Settings
from fibstream.services.ingest.edges.datasets import DatasetDesign, create
from fibstream.v1 import ingest_pb2

from ..support.fuzzing import Context, faults, fields, methods
from ..support.registered import put_registration

CALLS = {"ingest": 1200, "inference": 200, "analysis": 200, "registration": 240}
OTHERWISE = 400  # calls of any other service
DATASET = Dataset(
    name="cell", shape=(None, 8, 8), chunk=(8, 8, 8), dtype="uint8", voxel_size_nm=(8, 8, 8),
    contrast=(0, 255), predictions=(Prediction(name="er", squash_nm=30),),
)  # fmt: skip
MAX_DETAIL = 300  # characters that a person reads


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    with closing(Root(str(tmp_path))) as made:
        fill(made, tmp_path)
        yield made


def fill(root: Root, folder: Path) -> None:
    """Create two datasets below a root that is a folder, one of them with a registration."""
    for name in ("cell", "other"):
        create(root, DatasetDesign(DATASET.model_copy(update={"name": name}), {}, []))
    put_registration(folder / "cell.zarr")


def binding_of(service: str, root: Root, tmp_path: Path) -> ServicerBinding:
    context = ServicerContext(root, Settings.model_validate({}), [str(tmp_path)])
    return registry.service(service).servicer(context)


def lands(root: Root, tmp_path: Path) -> bool:
    """Whether a chunk of the other dataset still lands."""
    voxels = np.ones((8, 8, 8), np.uint8)
    header = ingest_pb2.ChunkHeader(dataset="other", size=voxels.nbytes)
    parts = [
        ingest_pb2.PutChunkRequest(header=header),
        ingest_pb2.PutChunkRequest(piece=voxels.tobytes()),
    ]
    ingest: Any = binding_of("ingest", root, tmp_path).servicer
    landed = ingest.PutChunk(iter(parts), Context())
    return bool(landed.revision)


@pytest.mark.parametrize("service", registry.names())
def test_no_call_ends_in_an_internal_error_or_a_long_line(
    root: Root, tmp_path: Path, service: str
) -> None:
    binding = binding_of(service, root, tmp_path)
    servicer, calls = binding.servicer, CALLS.get(service, OTHERWISE)
    codes: Counter[str] = Counter()
    for code, detail in faults(servicer, methods(binding.name), 1, calls):
        codes[code] += 1
        assert code not in ("INTERNAL", "UNKNOWN"), detail
        assert len(detail) <= MAX_DETAIL and detail.isprintable(), detail
    assert codes["OK"] and codes["INVALID_ARGUMENT"] and codes["NOT_FOUND"]
    assert lands(root, tmp_path)
    getattr(servicer, "close", lambda: None)()


@pytest.mark.parametrize("service", registry.names())
def test_random_bytes_are_answered_and_the_server_goes_on(
    root: Root, tmp_path: Path, service: str
) -> None:
    """Bytes may decode to a request by chance; whatever they are, the answer is a status."""
    binding, rng = binding_of(service, root, tmp_path), Random(3)
    server = GrpcServer("127.0.0.1:0", [binding])
    server.open()
    codes: Counter[str] = Counter()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        for number in range(12 * len(methods(binding.name))):
            method = methods(binding.name)[number // 12]
            data = [rng.randbytes(rng.randrange(1, 400))] * (number % 3)
            call = channel.stream_stream(f"/{binding.name}/{method.name}")
            try:
                next(call(iter(data), timeout=3), None)
                codes["OK"] += 1
            except grpc.RpcError as error:
                codes[error.code().name] += 1
                assert error.code().name not in ("INTERNAL", "UNKNOWN"), (data, error.details())
    assert codes["INVALID_ARGUMENT"]
    server.close(0.1)
    getattr(binding.servicer, "close", lambda: None)()
    assert lands(root, tmp_path)


def test_what_is_drawn_knows_every_field(root: Root, tmp_path: Path) -> None:
    """A request with a list of plain values needs values for it, which nobody drew."""
    names = [binding_of(service, root, tmp_path).name for service in registry.names()]
    for method in methods(*names):
        lists = [f for f in fields(method.input_type) if f.is_repeated]
        assert not [f.full_name for f in lists if f.message_type is None]

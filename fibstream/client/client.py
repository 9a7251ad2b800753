"""What a Python user imports: running services, called with numpy arrays and plain values.

Example
-------
>>> with Client("127.0.0.1") as client:                                   # doctest: +SKIP
...     client.create("cell", (None, 4000, 6000), voxel_size_nm=(8, 8, 8), pipeline="mito")
...     client.land("cell", (0, 0, 0), voxels)
...     client.seal("cell")
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from fibstream.bus import wire
from fibstream.core.addresses import addresses
from fibstream.core.errors import (
    AlreadyThere,
    FibstreamError,
    NotFound,
    NotNow,
    Retryable,
    TooMuch,
    WrongUse,
)
from fibstream.core.events import ObjectChanged
from fibstream.core.grid import Index
from fibstream.core.keys import ABSENT, content_hash
from fibstream.v1 import (
    analysis_pb2,
    analysis_pb2_grpc,
    chunk_pb2,
    inference_pb2,
    inference_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    refine_pb2,
    refine_pb2_grpc,
)

PIECE = 2 << 20  # bytes of a message: between 1 and 4 MB gRPC is fastest
MAX_MESSAGE = 8 << 20  # bytes, as the servers have it
CHOICES = 100  # of a revision, while other clients land the same chunk: each loss is another's win
_ERRORS: dict[grpc.StatusCode, type[FibstreamError]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyThere,
    grpc.StatusCode.FAILED_PRECONDITION: NotNow,
    grpc.StatusCode.RESOURCE_EXHAUSTED: TooMuch,
    grpc.StatusCode.INVALID_ARGUMENT: WrongUse,
    grpc.StatusCode.UNAVAILABLE: Retryable,
    grpc.StatusCode.DEADLINE_EXCEEDED: Retryable,
    grpc.StatusCode.CANCELLED: Retryable,
}
T = TypeVar("T")


@dataclass(frozen=True)
class Info:
    """A dataset as its server has it; axes (z, y, x), lengths in voxels."""

    name: str
    shape: tuple[int | None, int, int]
    chunk: Index
    dtype: str
    voxel_size_nm: tuple[float, float, float]
    contrast: tuple[float, float]
    pipeline: str
    sealed: bool
    landed: frozenset[Index]


class Client:
    """Calls the services that ``server`` names; see ``addresses.addresses`` for its forms.

    Every call has a deadline of ``timeout_s``. A server that is away is called again for
    ``patience_s``: all calls are safe to repeat. Raises the errors of ``fibstream.core.errors``.
    """

    def __init__(
        self, server: str = "127.0.0.1", *, timeout_s: float = 60.0, patience_s: float = 60.0
    ) -> None:
        self._addresses = addresses(server)
        self._timeout_s = timeout_s
        self._patience = Retrying(
            retry=retry_if_exception_type(Retryable), stop=stop_after_delay(patience_s),
            wait=wait_exponential(0.1, max=2.0), reraise=True,
        )  # fmt: skip
        self._channels: dict[str, grpc.Channel] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        """Close all connections."""
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()

    # -- ingest ----------------------------------------------------------------------------------

    def create(
        self, name: str, shape: tuple[int | None, int, int], *,
        voxel_size_nm: tuple[float, float, float], dtype: str = "uint8",
        chunk: Index | None = None, contrast: tuple[float, float] | None = None,
        invert: bool = False, pipeline: str = "mito",
    ) -> tuple[bool, list[str]]:  # fmt: skip
        """Make a dataset; return whether it is new, and warnings. ``shape[0]`` None: still open."""
        z, y, x = voxel_size_nm
        low, high = contrast or (0.0, 0.0)
        spec = ingest_pb2.DatasetSpec(
            name=name, shape=wire.index3((shape[0] or 0, shape[1], shape[2])), dtype=dtype,
            chunk=wire.index3(chunk or (0, 0, 0)),
            voxel_size_nm=chunk_pb2.Nanometres3(z=z, y=y, x=x),
            contrast_low=low, contrast_high=high, invert=invert, pipeline=pipeline,
        )  # fmt: skip
        answer = self._call(
            self._ingest.CreateDataset, ingest_pb2.CreateDatasetRequest(dataset=spec)
        )
        return answer.created, list(answer.warnings)

    def datasets(self) -> list[str]:
        """Return the names of all datasets."""
        return list(self._call(self._ingest.ListDatasets, ingest_pb2.ListDatasetsRequest()).names)

    def info(self, dataset: str) -> Info:
        """Describe a dataset and what has landed."""
        answer = self._call(self._ingest.GetDataset, ingest_pb2.GetDatasetRequest(dataset=dataset))
        spec, size = answer.dataset, answer.dataset.voxel_size_nm
        z, y, x = wire.index_of(spec.shape)
        count = wire.index_of(answer.count)
        bits = np.unpackbits(np.frombuffer(answer.landed, np.uint8), bitorder="little")
        landed = np.argwhere(bits[: int(np.prod(count))].reshape(count))
        return Info(
            spec.name, (z or None, y, x), wire.index_of(spec.chunk), spec.dtype,
            (size.z, size.y, size.x), (spec.contrast_low, spec.contrast_high), spec.pipeline,
            answer.sealed, frozenset((int(a), int(b), int(c)) for a, b, c in landed),
        )  # fmt: skip

    def land(
        self, dataset: str, index: Index, voxels: NDArray[Any], *, revision: int | None = None
    ) -> str:
        """Land one chunk; return ``written``, ``unchanged`` or ``older``.

        Without ``revision`` the same content keeps the stored one and other content takes the
        next; raises AlreadyThere when a given ``revision`` has other content.
        """
        plain = np.ascontiguousarray(voxels, voxels.dtype.newbyteorder("<"))
        content = content_hash(plain)

        def put(number: int) -> Any:
            header = ingest_pb2.ChunkHeader(
                dataset=dataset, index=wire.index3(index), revision=number, size=plain.nbytes,
                checksum=content,
            )  # fmt: skip
            return self._call(self._ingest.PutChunk, lambda: _upload(header, plain))

        return self._landed(dataset, index, content, revision, put)

    def absent(self, dataset: str, index: Index, *, revision: int | None = None) -> str:
        """Say that a chunk will never be acquired."""

        def put(number: int) -> Any:
            request = ingest_pb2.DeclareAbsentRequest(
                dataset=dataset, index=wire.index3(index), revision=number
            )
            return self._call(self._ingest.DeclareAbsent, request)

        return self._landed(dataset, index, ABSENT, revision, put)

    def announce(self, dataset: str, index: Index, source: str = "", *, revision: int = 0) -> str:
        """Have the server land a chunk of a volume that it can read itself."""
        request = ingest_pb2.AnnounceChunkRequest(
            dataset=dataset, index=wire.index3(index), source=source, revision=revision
        )
        return _landing(self._call(self._ingest.AnnounceChunk, request).landing)

    def _landed(
        self, dataset: str, index: Index, content: str, revision: int | None,
        put: Callable[[int], Any],
    ) -> str:  # fmt: skip
        """Land under a given revision, or under the one that follows what is stored."""
        for _ in range(CHOICES if revision is None else 1):
            number = revision
            if number is None:
                request = ingest_pb2.GetChunkRequest(dataset=dataset, index=wire.index3(index))
                there = self._call(self._ingest.GetChunk, request)
                if there.hash == content and there.intact:
                    return "unchanged"
                number = there.revision if there.hash == content else there.revision + 1
            try:
                return _landing(put(number).landing)
            except AlreadyThere:  # another client was faster: what it landed is older than ours
                if revision is not None:
                    raise
        raise Retryable(f"chunk {index}: other clients land it all the time")

    def seal(self, dataset: str, extent_z: int | None = None) -> int:
        """Fix the extent in z, by default at the end of what has landed; return it."""
        request = ingest_pb2.SealDatasetRequest(dataset=dataset, extent_z=extent_z or 0)
        return int(self._call(self._ingest.SealDataset, request).extent_z)

    def watch(self, dataset: str, *, once: bool = False) -> Iterator[Any]:
        """Yield ``WatchDatasetResponse`` whenever something changed, until it is complete."""
        request = ingest_pb2.WatchDatasetRequest(dataset=dataset, once=once)
        with _named():
            yield from self._ingest.WatchDataset(request)

    def wait(self, dataset: str) -> Any:
        """Return the last progress of a dataset when it is complete; reconnects as needed."""
        for attempt in self._patience.copy():
            with attempt:
                for answer in self.watch(dataset):
                    if answer.complete:
                        return answer
                raise Retryable(f"dataset {dataset!r}: the stream ended")
        raise AssertionError  # unreachable: the last attempt raises

    def replay(self, dataset: str, stage: str = "") -> list[tuple[str, Index]]:
        """Put failed chunks back; return them."""
        request = ingest_pb2.ReplayFailedRequest(dataset=dataset, stage=stage)
        answer = self._call(self._ingest.ReplayFailed, request)
        return [(item.stage, wire.index_of(item.index)) for item in answer.replayed]

    def delete(self, dataset: str) -> None:
        """Remove a dataset with everything derived from it."""
        self._call(self._ingest.DeleteDataset, ingest_pb2.DeleteDatasetRequest(dataset=dataset))

    # -- inference -------------------------------------------------------------------------------

    def models(self) -> list[Any]:
        """Return the networks that the server has, as messages."""
        return list(
            self._call(self._inference.ListModels, inference_pb2.ListModelsRequest()).models
        )

    def predict(
        self, model: str, raw: NDArray[Any], *, voxel_size_nm: tuple[float, float, float],
        contrast: tuple[float, float] | None = None, invert: bool = False,
    ) -> tuple[tuple[str, ...], NDArray[np.uint8]]:  # fmt: skip
        """Predict a small volume (z, y, x); return classes and uint8 (class, z, y, x)."""
        low, high = contrast or (0.0, 0.0)
        z, y, x = voxel_size_nm
        header = inference_pb2.PredictHeader(
            model=model, shape=wire.index3(raw.shape), dtype=str(raw.dtype),
            voxel_size_nm=chunk_pb2.Nanometres3(z=z, y=y, x=x),
            contrast_low=low, contrast_high=high, invert=invert,
        )  # fmt: skip
        plain = np.ascontiguousarray(raw, raw.dtype.newbyteorder("<"))
        requests = [inference_pb2.PredictRequest(header=header)]
        requests += [inference_pb2.PredictRequest(piece=piece) for piece in _pieces(plain)]
        with _named():
            answers = self._inference.Predict(iter(requests), timeout=self._timeout_s)
            first = next(answers).header
            data = b"".join(answer.piece for answer in answers)
        shape = (len(first.classes), *wire.index_of(first.shape))
        return tuple(first.classes), np.frombuffer(data, np.uint8).reshape(shape)

    # -- refine ----------------------------------------------------------------------------------

    def recipes(self) -> list[Any]:
        """Return the recipes with their parameters, as messages."""
        return list(self._call(self._refine.ListRecipes, refine_pb2.ListRecipesRequest()).recipes)

    def objects(self, dataset: str, organelle: str) -> Iterator[ObjectChanged]:
        """Yield the objects of an organelle as last announced, by id."""
        token = ""
        while True:
            request = refine_pb2.ListObjectsRequest(
                dataset=dataset, organelle=organelle, page_token=token
            )
            answer = self._call(self._refine.ListObjects, request)
            yield from map(wire.object_of, answer.objects)
            token = answer.next_page_token
            if not token:
                return

    def watch_objects(self, dataset: str, organelle: str = "") -> Iterator[Any]:
        """Yield ``WatchObjectsResponse``: the objects as they are, then every change."""
        request = refine_pb2.WatchObjectsRequest(dataset=dataset, organelle=organelle)
        with _named():
            yield from self._refine.WatchObjects(request)

    # -- analysis --------------------------------------------------------------------------------

    def query(self, dataset: str, sql: str) -> Any:
        """Return the answer to one SELECT over the tables of a dataset, as a pyarrow Table."""
        import pyarrow as pa

        request = analysis_pb2.QueryObjectsRequest(dataset=dataset, sql=sql)
        answer = self._call(self._analysis.QueryObjects, request)
        return pa.ipc.open_stream(answer.rows).read_all()

    def describe(self, dataset: str) -> list[Any]:
        """Return the tables of a dataset with their columns, as messages."""
        request = analysis_pb2.DescribeRequest(dataset=dataset)
        return list(self._call(self._analysis.Describe, request).tables)

    # -- calls -----------------------------------------------------------------------------------

    def _channel(self, service: str) -> grpc.Channel:
        if service not in self._addresses:
            raise WrongUse(f"--server names no {service}; expected {service}=HOST:PORT in it")
        if service not in self._channels:
            options = [
                ("grpc.max_receive_message_length", MAX_MESSAGE),
                ("grpc.max_send_message_length", MAX_MESSAGE),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ]
            self._channels[service] = grpc.insecure_channel(self._addresses[service], options)
        return self._channels[service]

    @property
    def _ingest(self) -> Any:
        return ingest_pb2_grpc.IngestServiceStub(self._channel("ingest"))

    @property
    def _inference(self) -> Any:
        return inference_pb2_grpc.InferenceServiceStub(self._channel("inference"))

    @property
    def _refine(self) -> Any:
        return refine_pb2_grpc.RefineServiceStub(self._channel("refine"))

    @property
    def _analysis(self) -> Any:
        return analysis_pb2_grpc.AnalysisServiceStub(self._channel("analysis"))

    def _call(self, method: Any, request: Any) -> Any:
        """Call until it is answered; a callable request is made anew for each attempt."""
        for attempt in self._patience.copy():
            with attempt, _named():
                body = request() if callable(request) else request
                return method(body, timeout=self._timeout_s)
        raise AssertionError  # unreachable: the last attempt raises


@contextmanager
def _named() -> Iterator[None]:
    """Turn a status code into the error that the server raised."""
    try:
        yield
    except grpc.RpcError as error:
        kind = _ERRORS.get(error.code(), FibstreamError)
        raise kind(error.details() or error.code().name) from None


def _upload(
    header: ingest_pb2.ChunkHeader, voxels: NDArray[Any]
) -> Iterator[ingest_pb2.PutChunkRequest]:
    yield ingest_pb2.PutChunkRequest(header=header)
    for piece in _pieces(voxels):
        yield ingest_pb2.PutChunkRequest(piece=piece)


def _pieces(voxels: NDArray[Any]) -> Iterable[bytes]:
    data = voxels.reshape(-1).view(np.uint8).data
    return (bytes(data[start : start + PIECE]) for start in range(0, len(data), PIECE))


def _landing(number: int) -> str:
    return str(ingest_pb2.Landing.Name(number)).removeprefix("LANDING_").lower()

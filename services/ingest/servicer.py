"""The gRPC door of ingest: requests become landings, and what the bus says becomes answers."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import yaml
from numpy.typing import NDArray

from fibstream.bus import wire
from fibstream.core.dataset import Dataset
from fibstream.core.errors import NotNow, WrongUse
from fibstream.core.events import Record
from fibstream.core.grid import Index
from fibstream.core.stage import RAW
from fibstream.runtime.loops import drive
from fibstream.runtime.planner import raw_record
from fibstream.runtime.root import Root, check_name
from fibstream.runtime.site import Site
from fibstream.services.ingest.edges.datasets import (
    DatasetRequest,
    Designer,
    check_request,
    create,
    seal,
)
from fibstream.services.ingest.edges.landing import Landed, land
from fibstream.services.ingest.edges.progress import DatasetFollower
from fibstream.services.ingest.edges.uploads import Uploads, joined, voxels_of
from fibstream.store.store import Blob
from fibstream.telemetry.metrics import LANDED_BYTES, LANDED_CHUNKS, SILENT, Telemetry
from fibstream.v1 import chunk_pb2
from fibstream.v1 import ingest_pb2 as pb
from fibstream.v1.ingest_pb2_grpc import IngestServiceServicer
from fibstream.volumes.sources import open_volume

LOOK_S = 0.25  # how often a watching stream looks whether its client is still there
PROOF_S = 10.0  # how long one look waits for the reconcile that proves a dataset complete
MAX_FAILED = 100  # failed chunks in one answer: the first ones tell what is wrong
_LANDING: dict[Landed, pb.Landing] = {
    "written": pb.LANDING_WRITTEN,
    "unchanged": pb.LANDING_UNCHANGED,
    "older": pb.LANDING_OLDER,
}


class IngestServicer(IngestServiceServicer):
    """Answers for all datasets below a root; ``sources`` are folders that may be announced from."""

    def __init__(
        self, root: Root, design: Designer, sources: Sequence[Path] = (),
        telemetry: Telemetry = SILENT,
    ) -> None:  # fmt: skip
        self._root = root
        self._design = design
        self._sources = [path.resolve() for path in sources]
        self._telemetry = telemetry
        self._uploads = Uploads()

    # -- datasets --------------------------------------------------------------------------------

    def CreateDataset(
        self,
        request: pb.CreateDatasetRequest,
        context: grpc.ServicerContext,
    ) -> pb.CreateDatasetResponse:
        """Make a dataset, or find the same one there."""
        asked = _asked(request.dataset)
        check_request(asked)
        made = self._design(asked)
        created = create(self._root, made)
        spec = described(self._root.dataset(asked.name))
        return pb.CreateDatasetResponse(dataset=spec, created=created, warnings=made.warnings)

    def ListDatasets(
        self,
        request: pb.ListDatasetsRequest,
        context: grpc.ServicerContext,
    ) -> pb.ListDatasetsResponse:
        """Name every dataset."""
        return pb.ListDatasetsResponse(names=self._root.names())

    def GetDataset(
        self,
        request: pb.GetDatasetRequest,
        context: grpc.ServicerContext,
    ) -> pb.GetDatasetResponse:
        """Describe a dataset and what has landed."""
        with self._root.open(request.dataset) as (dataset, site):
            landed = set(site.store.chunks(RAW))
        layers = max((z + 1 for z, _, _ in landed), default=0)
        _, y, x = count = (
            dataset.grid.count if dataset.grid.sealed else _open_count(dataset, layers)
        )
        bits = np.zeros(count, bool)
        for index in landed:
            if all(i < c for i, c in zip(index, count, strict=True)):
                bits[index] = True
        return pb.GetDatasetResponse(
            dataset=described(dataset), sealed=dataset.grid.sealed,
            count=chunk_pb2.Index3(z=count[0], y=y, x=x),
            landed=np.packbits(bits, bitorder="little").tobytes(),
        )  # fmt: skip

    def SealDataset(
        self,
        request: pb.SealDatasetRequest,
        context: grpc.ServicerContext,
    ) -> pb.SealDatasetResponse:
        """Fix the extent in z."""
        with self._root.open(request.dataset) as (_, site):
            extent = seal(self._root.files(request.dataset), site, request.extent_z or None)
        return pb.SealDatasetResponse(extent_z=extent)

    def DeleteDataset(
        self,
        request: pb.DeleteDatasetRequest,
        context: grpc.ServicerContext,
    ) -> pb.DeleteDatasetResponse:
        """Remove a dataset with everything derived from it."""
        self._root.remove(check_name(request.dataset))
        return pb.DeleteDatasetResponse()

    # -- chunks ----------------------------------------------------------------------------------

    def GetChunk(
        self,
        request: pb.GetChunkRequest,
        context: grpc.ServicerContext,
    ) -> pb.GetChunkResponse:
        """Say what the store holds of one raw chunk."""
        with self._root.open(request.dataset) as (dataset, site):
            item = Blob(RAW, _place(dataset, request.index), dataset.dtype)
            stamp = site.store.stamp(item)
            if stamp is None:
                return pb.GetChunkResponse()
            intact = site.store.intact(item) is not None
        return pb.GetChunkResponse(revision=stamp.revision, hash=stamp.hash, intact=intact)

    def PutChunk(
        self, request_iterator: Iterator[pb.PutChunkRequest], context: grpc.ServicerContext
    ) -> pb.PutChunkResponse:
        """Land the voxels of one chunk; nothing is written before all of them have come."""
        header = _first_header(request_iterator)
        with self._root.open(header.dataset) as (dataset, site):
            index = _place(dataset, header.index)
            box = dataset.grid.box(index)
            expected = int(np.prod(box.shape)) * np.dtype(dataset.dtype).itemsize
            if header.size != expected:
                raise WrongUse(
                    f"chunk {index}: {header.size} bytes; expected {expected}:"
                    f" {box.shape} voxels of {dataset.dtype}"
                )
            with self._uploads.room(expected):
                data = joined(_pieces(request_iterator), expected)
                voxels = voxels_of(data, box.shape, dataset.dtype, header.checksum)
                if not context.is_active():  # its client is gone and will not hear of it
                    raise NotNow("the call was cancelled")
                landing, revision = self._land(site, dataset, index, voxels, header.revision)
        return pb.PutChunkResponse(landing=landing, revision=revision)

    def AnnounceChunk(
        self,
        request: pb.AnnounceChunkRequest,
        context: grpc.ServicerContext,
    ) -> pb.AnnounceChunkResponse:
        """Land a chunk that this server can read itself."""
        with self._root.open(request.dataset) as (dataset, site):
            index = _place(dataset, request.index)
            if not request.source:
                return self._announce(site, dataset, index)
            voxels = self._read(request.source, dataset, index)
            landing, revision = self._land(site, dataset, index, voxels, request.revision)
        return pb.AnnounceChunkResponse(landing=landing, revision=revision)

    def DeclareAbsent(
        self,
        request: pb.DeclareAbsentRequest,
        context: grpc.ServicerContext,
    ) -> pb.DeclareAbsentResponse:
        """Say that a chunk will never be acquired."""
        with self._root.open(request.dataset) as (dataset, site):
            index = _place(dataset, request.index)
            landing, revision = self._land(site, dataset, index, None, request.revision)
        return pb.DeclareAbsentResponse(landing=landing, revision=revision)

    def _land(
        self, site: Site, dataset: Dataset, index: Index, voxels: NDArray[Any] | None, revision: int
    ) -> tuple[pb.Landing, int]:
        try:
            outcome = drive(land(site, index, voxels, dataset.dtype, revision or None))
        except WrongUse:
            self._telemetry.add(LANDED_CHUNKS, outcome="refused")
            raise
        self._telemetry.add(LANDED_CHUNKS, outcome=outcome)
        if outcome == "written" and voxels is not None:
            self._telemetry.add(LANDED_BYTES, float(voxels.nbytes))
        stamp = site.store.stamp(Blob(RAW, index, dataset.dtype))
        return _LANDING[outcome], stamp.revision if stamp else 0

    def _announce(self, site: Site, dataset: Dataset, index: Index) -> pb.AnnounceChunkResponse:
        stamp = site.store.intact(Blob(RAW, index, dataset.dtype))
        if stamp is None:
            raise NotNow(f"raw chunk {index}: not in the store of {site.dataset!r}, or damaged")
        site.publish(raw_record(stamp))
        return pb.AnnounceChunkResponse(landing=pb.LANDING_UNCHANGED, revision=stamp.revision)

    def _read(self, source: str, dataset: Dataset, index: Index) -> NDArray[Any]:
        path = Path(source.partition("#")[0]).resolve()
        if not any(path.is_relative_to(root) for root in self._sources):
            roots = ", ".join(map(str, self._sources)) or "none"
            raise WrongUse(f"source {source}: outside the server's source roots ({roots})")
        volume = open_volume(source, kind="raw", voxel_size_nm=dataset.voxel_size_nm)
        box = dataset.grid.box(index)
        if str(volume.dtype) != dataset.dtype or volume.shape[1:] != dataset.shape[1:] \
                or volume.shape[0] < box.stop[0]:  # fmt: skip
            raise WrongUse(
                f"source {source}: {volume.shape} {volume.dtype}; the dataset is {dataset.shape}"
                f" {dataset.dtype}"
            )
        return volume.read(box)

    # -- watching --------------------------------------------------------------------------------

    def WatchDataset(
        self, request: pb.WatchDatasetRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchDatasetResponse]:
        """Tell how far a dataset is, until it is complete or nobody listens any more."""
        with self._root.open(request.dataset) as (dataset, site):
            following = DatasetFollower(site.bus, dataset.name)
            said, patience = None, time.monotonic() + PROOF_S
            while context.is_active():
                now = self._root.dataset(request.dataset)  # it may be sealed meanwhile
                following.look(sealed=now.grid.sealed)
                answer = _watched(now, following)
                last = request.once and (not following.proving or time.monotonic() > patience)
                last = last or answer.complete
                if answer != said and (last or not request.once):
                    said = answer
                    yield answer
                if last:
                    return
                site.bus.wait(LOOK_S)

    def ReplayFailed(
        self,
        request: pb.ReplayFailedRequest,
        context: grpc.ServicerContext,
    ) -> pb.ReplayFailedResponse:
        """Un-record failed chunks, so that they are wanted again."""
        with self._root.open(request.dataset) as (dataset, site):
            following = DatasetFollower(site.bus, dataset.name)
            following.look(sealed=False)
            chosen = [
                record
                for (stage, _), record in sorted(following.failed.items())
                if request.stage in ("", stage) and stage != RAW
            ]
            for record in chosen:
                site.publish(Record(record.stage, record.index, "suspect"))
        return pb.ReplayFailedResponse(replayed=map(_failed, chosen))


def _asked(spec: pb.DatasetSpec) -> DatasetRequest:
    z, y, x = wire.index_of(spec.shape)
    chunk = wire.index_of(spec.chunk)
    size = spec.voxel_size_nm
    contrast = spec.contrast_low, spec.contrast_high
    return DatasetRequest(
        check_name(spec.name), (z or None, y, x), chunk if any(chunk) else None, spec.dtype,
        (size.z, size.y, size.x), contrast if any(contrast) else None, spec.invert, spec.pipeline,
    )  # fmt: skip


def described(dataset: Dataset) -> pb.DatasetSpec:
    """Return a dataset as a message."""
    z, y, x = dataset.shape
    sz, sy, sx = dataset.voxel_size_nm
    pipeline = {
        "models": [model.name for model in dataset.models],
        "organelles": [{"recipe": o.recipe, "set": dict(o.settings)} for o in dataset.organelles],
    }
    return pb.DatasetSpec(
        name=dataset.name, shape=wire.index3((z or 0, y, x)), chunk=wire.index3(dataset.chunk),
        dtype=dataset.dtype, voxel_size_nm=chunk_pb2.Nanometres3(z=sz, y=sy, x=sx),
        contrast_low=dataset.contrast[0], contrast_high=dataset.contrast[1],
        invert=dataset.invert, pipeline=yaml.safe_dump(pipeline, sort_keys=False),
    )  # fmt: skip


def _open_count(dataset: Dataset, layers: int) -> Index:
    z, y, x = dataset.sealed(max(layers, 1) * dataset.chunk[0]).grid.count
    return (z if layers else 0), y, x


def _place(dataset: Dataset, message: chunk_pb2.Index3) -> Index:
    index = wire.index_of(message)
    if not dataset.grid.contains(index):
        raise WrongUse(f"chunk {index}: outside the grid of {dataset.shape} by {dataset.chunk}")
    return index


def _first_header(requests: Iterator[pb.PutChunkRequest]) -> pb.ChunkHeader:
    first = next(requests, None)
    if first is None or first.WhichOneof("part") != "header":
        raise WrongUse("the first message of PutChunk: expected a header")
    return first.header


def _pieces(requests: Iterator[pb.PutChunkRequest]) -> Iterator[bytes]:
    for request in requests:
        if request.WhichOneof("part") != "piece":
            raise WrongUse("PutChunk: expected pieces of voxels after the header")
        yield request.piece


def _failed(record: Record) -> pb.FailedChunk:
    return pb.FailedChunk(stage=record.stage, index=wire.index3(record.index), reason=record.reason)


def _watched(dataset: Dataset, following: DatasetFollower) -> pb.WatchDatasetResponse:
    failed = sorted(following.failed.values(), key=lambda r: (r.stage, r.index))
    return pb.WatchDatasetResponse(
        dataset=described(dataset), sealed=dataset.grid.sealed, complete=following.complete,
        services=[wire.progress_message(p) for _, p in sorted(following.progress.items())],
        failed=map(_failed, failed[:MAX_FAILED]), failed_count=len(failed),
    )  # fmt: skip

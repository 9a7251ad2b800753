"""The gRPC servicer of ingest: datasets are created and sealed, chunks land, progress streams."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from fibstream import registry
from fibstream.core.dataset import Dataset
from fibstream.core.echo import echo
from fibstream.core.errors import NotFound, WrongState, WrongUse
from fibstream.core.grid import Index
from fibstream.core.rules import pipeline_rule
from fibstream.core.stage import MASK, RAW, Input
from fibstream.runtime.calls import client_of
from fibstream.runtime.loops import drive
from fibstream.runtime.planner import landed_record
from fibstream.runtime.root import Root
from fibstream.runtime.site import Site
from fibstream.services.ingest.edges.announced import AnnouncedVolumes
from fibstream.services.ingest.edges.datasets import (
    Designer,
    check_request,
    create,
    seal,
    update,
    update_request,
)
from fibstream.services.ingest.edges.landing import is_landed, land
from fibstream.services.ingest.edges.messages import (
    LANDINGS,
    chunk_index,
    dataset_request,
    dataset_response,
    dataset_spec,
    failed_chunk,
    landing_array,
    upload_header,
    upload_pieces,
    watch_response,
)
from fibstream.services.ingest.edges.progress import DatasetFollower, replay
from fibstream.services.ingest.edges.uploads import Uploads, join, voxels_of
from fibstream.services.ingest.stages.stored import stored
from fibstream.store.store import Blob
from fibstream.telemetry.metrics import LANDED_BYTES, LANDED_CHUNKS, SILENT, Telemetry
from fibstream.v1 import ingest_pb2 as pb
from fibstream.v1.ingest_pb2_grpc import IngestServiceServicer

POLL_S = 0.25  # how often a watching stream checks whether its client is still there
PROOF_S = 10.0  # how long a single answer waits for the reconcile that proves completeness


class IngestServicer(IngestServiceServicer):
    """Serves all datasets below a root; a client may announce volumes below ``sources``."""

    def __init__(
        self, root: Root, design: Designer, sources: Sequence[str | Path] = (),
        telemetry: Telemetry = SILENT,
    ) -> None:  # fmt: skip
        self._root = root
        self._design = design
        self._announced = AnnouncedVolumes(sources)
        self._telemetry = telemetry
        self._uploads = Uploads()

    # -- datasets --------------------------------------------------------------------------------

    def CreateDataset(
        self, request: pb.CreateDatasetRequest, context: grpc.ServicerContext
    ) -> pb.CreateDatasetResponse:
        """Create a dataset, or find the same one."""
        requested = dataset_request(request.dataset)._replace(
            backend=request.backend, precision=request.precision, tile=request.tile
        )
        check_request(requested)
        design = self._design(requested)
        created = create(self._root, design)
        spec = dataset_spec(self._root.dataset(requested.name))
        return pb.CreateDatasetResponse(dataset=spec, created=created, warnings=design.warnings)

    def ListDatasets(
        self, request: pb.ListDatasetsRequest, context: grpc.ServicerContext
    ) -> pb.ListDatasetsResponse:
        """Return the names of all datasets, and which of them are left alone."""
        found = {**self._root.quarantined(), **self._root.listed().foreign}
        quarantined = [pb.QuarantinedDataset(name=n, reason=r) for n, r in sorted(found.items())]
        return pb.ListDatasetsResponse(names=self._root.names(), quarantined=quarantined)

    def GetDataset(
        self, request: pb.GetDatasetRequest, context: grpc.ServicerContext
    ) -> pb.GetDatasetResponse:
        """Describe a dataset and what has landed."""
        with self._root.open(request.dataset) as (dataset, site):
            landed = set(site.store.chunks(RAW))
        return dataset_response(dataset, landed)

    def SealDataset(
        self, request: pb.SealDatasetRequest, context: grpc.ServicerContext
    ) -> pb.SealDatasetResponse:
        """Fix the extent in z."""
        with self._root.open(request.dataset) as (_, site):
            extent = seal(site.store.files, site, request.extent_z or None)
        return pb.SealDatasetResponse(extent_z=extent)

    def UpdateDataset(
        self, request: pb.UpdateDatasetRequest, context: grpc.ServicerContext
    ) -> pb.UpdateDatasetResponse:
        """Give a dataset another pipeline; the services compute what follows from it."""
        with self._root.open(request.dataset) as (_, site):
            updated = update(
                site.store.files, site,
                lambda there: self._design(update_request(there, request.pipeline)),
            )  # fmt: skip
        return pb.UpdateDatasetResponse(
            dataset=dataset_spec(updated.dataset), changed=updated.changed,
            warnings=updated.warnings,
        )  # fmt: skip

    def DeleteDataset(
        self, request: pb.DeleteDatasetRequest, context: grpc.ServicerContext
    ) -> pb.DeleteDatasetResponse:
        """Remove a dataset with everything derived from it."""
        self._root.remove(request.dataset)
        return pb.DeleteDatasetResponse()

    # -- chunks ----------------------------------------------------------------------------------

    def GetChunk(
        self, request: pb.GetChunkRequest, context: grpc.ServicerContext
    ) -> pb.GetChunkResponse:
        """Return what the store holds of one chunk of an array that lands."""
        with self._root.open(request.dataset) as (dataset, site):
            array = landing_array(dataset, request.prediction, mask=request.mask)
            blob = Blob(array.name, chunk_index(dataset, request.index), array.dtype)
            stamp = site.store.stamp(blob)
            if stamp is None or not is_landed(stamp, array.stage):
                return pb.GetChunkResponse()
            intact = site.store.intact(blob) is not None
        return pb.GetChunkResponse(revision=stamp.revision, hash=stamp.hash, intact=intact)

    def PutChunk(
        self, request_iterator: Iterator[pb.PutChunkRequest], context: grpc.ServicerContext
    ) -> pb.PutChunkResponse:
        """Land the voxels of one chunk; nothing is written before all of them have come."""
        header = upload_header(request_iterator)
        with self._root.open(header.dataset) as (dataset, site):
            array = landing_array(dataset, header.prediction, mask=header.mask)
            index = chunk_index(dataset, header.index)
            box = dataset.grid.box(index)
            expected = int(np.prod(box.shape)) * np.dtype(array.dtype).itemsize
            if header.size != expected:
                raise WrongUse(
                    f"chunk {index}: {header.size} bytes; expected {expected}:"
                    f" {box.shape} voxels of {array.dtype}"
                )
            with self._uploads.reserve(expected, client_of(context.peer())):
                data = join(upload_pieces(request_iterator), expected)
                voxels = voxels_of(data, box.shape, array.dtype, header.checksum)
                if not context.is_active():  # its client is gone and gets no answer
                    raise WrongState("the call was cancelled")
                landing, revision = self._land(site, array, index, voxels, header.revision)
        return pb.PutChunkResponse(landing=landing, revision=revision)

    def AnnounceChunk(
        self, request: pb.AnnounceChunkRequest, context: grpc.ServicerContext
    ) -> pb.AnnounceChunkResponse:
        """Land a chunk that the server reads itself, or announce one in the store."""
        with self._root.open(request.dataset) as (dataset, site):
            array = landing_array(dataset, request.prediction, mask=request.mask)
            index = chunk_index(dataset, request.index)
            if not request.source:
                return self._announce(site, array, index)
            voxels = self._announced.read(request.source, dataset, array, index)
            landing, revision = self._land(site, array, index, voxels, request.revision)
        return pb.AnnounceChunkResponse(landing=landing, revision=revision)

    def DeclareAbsent(
        self, request: pb.DeclareAbsentRequest, context: grpc.ServicerContext
    ) -> pb.DeclareAbsentResponse:
        """Declare that a chunk will never be acquired."""
        with self._root.open(request.dataset) as (dataset, site):
            index = chunk_index(dataset, request.index)
            raw = landing_array(dataset, "")
            landing, revision = self._land(site, raw, index, None, request.revision)
            if landing != pb.LANDING_OLDER:  # what is absent is absent in stored predictions too
                for each in stored(dataset):
                    drive(land(site, index, None, each.dtype, stage=each.stage, name=each.name))
        return pb.DeclareAbsentResponse(landing=landing, revision=revision)

    def _land(
        self, site: Site, array: Input, index: Index, voxels: NDArray[Any] | None, revision: int
    ) -> tuple[pb.Landing, int]:
        try:
            if array.stage == MASK and voxels is not None and voxels.max() > 1:
                raise WrongUse(f"mask chunk {index}: holds {voxels.max()}; expected 0 and 1")
            outcome = drive(land(site, index, voxels, array.dtype, revision or None,
                                 stage=array.stage, name=array.name))  # fmt: skip
        except WrongUse:
            self._telemetry.add(LANDED_CHUNKS, outcome="refused")
            raise
        self._telemetry.add(LANDED_CHUNKS, outcome=outcome)
        if outcome == "written" and voxels is not None:
            self._telemetry.add(LANDED_BYTES, float(voxels.nbytes))
        stamp = site.store.stamp(Blob(array.name, index, array.dtype))
        landed = stamp is not None and is_landed(stamp, array.stage)
        return LANDINGS[outcome], stamp.revision if stamp is not None and landed else 0

    def _announce(self, site: Site, array: Input, index: Index) -> pb.AnnounceChunkResponse:
        stamp = site.store.intact(Blob(array.name, index, array.dtype))
        if stamp is None or not is_landed(stamp, array.stage):
            raise WrongState(
                f"{array.name} chunk {index}: not in the store of {echo(site.dataset)}, or damaged"
            )
        site.publish(landed_record(array, stamp))
        return pb.AnnounceChunkResponse(landing=pb.LANDING_UNCHANGED, revision=stamp.revision)

    def _follower(self, dataset: Dataset, site: Site) -> DatasetFollower:
        files = self._root.files(dataset.name)
        owners = registry.owners(dataset, files)
        names = [service.name for service in owners]
        lands = [each for service in owners for each in service.lands(dataset)]
        stages = {stage.name for service in owners for stage in service.stages(dataset, files)}
        stages |= {each.stage for each in lands}
        return DatasetFollower(site.bus, dataset.name, names, lands, stages, pipeline_rule(dataset))

    # -- watching --------------------------------------------------------------------------------

    def WatchDataset(
        self, request: pb.WatchDatasetRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchDatasetResponse]:
        """Stream the progress of a dataset, until it is complete or the client is gone."""
        with self._root.open(request.dataset) as (dataset, site):
            followed, follower = dataset, self._follower(dataset, site)
            sent, deadline = None, time.monotonic() + PROOF_S
            while context.is_active():
                current = self._root.dataset(request.dataset)  # it may have been sealed meanwhile
                if current.incarnation != followed.incarnation:
                    raise NotFound(f"dataset {dataset.name!r}: deleted; another has its name now")
                if not current.has_pipeline_of(followed):
                    followed, follower = current, self._follower(current, site)
                follower.poll(current.grid)
                answer = watch_response(current, follower)
                answer.quarantined = self._root.quarantined().get(request.dataset, "")
                last = request.once and (not follower.proving or time.monotonic() > deadline)
                last = last or answer.complete
                if answer != sent and (last or not request.once):
                    sent = answer
                    yield answer
                if last:
                    return
                site.bus.wait(POLL_S)

    def ReplayFailed(
        self, request: pb.ReplayFailedRequest, context: grpc.ServicerContext
    ) -> pb.ReplayFailedResponse:
        """Withdraw the records of failed chunks, so that they are computed again."""
        with self._root.open(request.dataset) as (dataset, site):
            follower = self._follower(dataset, site)
            follower.poll(dataset.grid)
            replayed = replay(site, follower, request.stage)
        return pb.ReplayFailedResponse(replayed=map(failed_chunk, replayed))

"""Calls of ingest."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.bus import wire
from fibstream.core.echo import echo
from fibstream.core.errors import AlreadyExists, Retryable
from fibstream.core.grid import Index
from fibstream.core.keys import ABSENT, content_hash
from fibstream.core.subject import Subject
from fibstream.v1 import ingest_pb2, ingest_pb2_grpc

from .connection import Connection, named_errors, pieces_of

Lengths = tuple[float, float, float]  # (z, y, x) in nm
CHOICES = 100  # of a revision, while other clients land the same chunk: each loss is another's win


@dataclass(frozen=True)
class Info:
    """A dataset as its server has it; axes (z, y, x), lengths in voxels."""

    name: str
    shape: tuple[int | None, int, int]
    chunk: Index
    dtype: str
    voxel_size_nm: Lengths
    contrast: tuple[float, float]
    pipeline: str
    sealed: bool
    landed: frozenset[Index]
    # Those that land, and their squash length in nm; 0 of a probability.
    predictions: Mapping[str, float] = field(default_factory=dict)
    absent_value: float | None = None  # what voxels hold that were never imaged
    offset_nm: Lengths = (0.0, 0.0, 0.0)  # of the first voxel's centre
    downsample: Index = (1, 1, 1)  # voxels of the data along one of the dataset's, their mean
    # Of predictions that land: labels or mask, whose distances they are; empty: bytes as they are.
    made_of: Mapping[str, str] = field(default_factory=dict)
    absent_mask: bool = False  # whether a mask of what was imaged lands
    invert: bool = False  # whether networks see it inverted
    networks: Mapping[str, str] = field(default_factory=dict)  # name -> SHA-256 of the file, hex


class IngestCalls(Connection):
    """What ingest answers."""

    @property
    def _ingest(self) -> Any:
        return ingest_pb2_grpc.IngestServiceStub(self._channel("ingest"))

    def create(
        self, name: str, shape: tuple[int | None, int, int], *,
        voxel_size_nm: Lengths, dtype: str = "uint8",
        chunk: Index | None = None, contrast: tuple[float, float] | None = None,
        invert: bool = False, absent_value: float | None = None, absent_mask: bool = False,
        pipeline: str = "mito", offset_nm: Lengths = (0.0, 0.0, 0.0),
        downsample: Index = (1, 1, 1), backend: str = "", precision: str = "", tile: str = "",
    ) -> tuple[bool, list[str]]:  # fmt: skip
        """Make a dataset; return whether it is new, and warnings.

        ``shape[0]`` is None while the end is open. All numbers are of the dataset's voxels, which
        are means of ``downsample`` (z, y, x) of the data's. What runs networks is chosen by the
        service unless ``backend``, ``precision`` or ``tile`` ("auto", "Z,Y,X") name it.
        """
        low, high = contrast or (0.0, 0.0)
        spec = ingest_pb2.DatasetSpec(
            name=name, shape=wire.index3((shape[0] or 0, shape[1], shape[2])), dtype=dtype,
            chunk=wire.index3(chunk or (0, 0, 0)),
            voxel_size_nm=wire.nanometres3(voxel_size_nm),
            contrast_low=low, contrast_high=high, invert=invert, pipeline=pipeline,
            absent_value=absent_value, absent_mask=absent_mask,
            offset_nm=wire.nanometres3(offset_nm), downsample=wire.index3(downsample),
        )  # fmt: skip
        request = ingest_pb2.CreateDatasetRequest(
            dataset=spec, backend=backend, precision=precision, tile=tile
        )
        answer = self._call(self._ingest.CreateDataset, request)
        return answer.created, list(answer.warnings)

    def datasets(self) -> list[str]:
        """Return the names of all datasets."""
        return list(self._call(self._ingest.ListDatasets, ingest_pb2.ListDatasetsRequest()).names)

    def quarantined(self) -> dict[str, str]:
        """Return the datasets that services leave alone, each with the reason."""
        answer = self._call(self._ingest.ListDatasets, ingest_pb2.ListDatasetsRequest())
        return {each.name: each.reason for each in answer.quarantined}

    def info(self, dataset: str) -> Info:
        """Describe a dataset and what has landed."""
        answer = self._call(self._ingest.GetDataset, ingest_pb2.GetDatasetRequest(dataset=dataset))
        spec = answer.dataset
        z, y, x = wire.index_of(spec.shape)
        count = wire.index_of(answer.count)
        bits = np.unpackbits(np.frombuffer(answer.landed, np.uint8), bitorder="little")
        landed = np.argwhere(bits[: int(np.prod(count))].reshape(count))
        return Info(
            spec.name, (z or None, y, x), wire.index_of(spec.chunk), spec.dtype,
            wire.lengths_of(spec.voxel_size_nm), (spec.contrast_low, spec.contrast_high),
            spec.pipeline, answer.sealed, frozenset((int(a), int(b), int(c)) for a, b, c in landed),
            {p.name: p.squash_nm for p in answer.predictions},
            spec.absent_value if spec.HasField("absent_value") else None,
            wire.lengths_of(spec.offset_nm),
            wire.index_of(spec.downsample) if spec.HasField("downsample") else (1, 1, 1),
            {p.name: p.made_of for p in answer.predictions},
            absent_mask=spec.absent_mask, invert=spec.invert, networks=dict(answer.networks),
        )  # fmt: skip

    def land(
        self, dataset: str, index: Index, voxels: NDArray[Any], *, revision: int | None = None,
        prediction: str = "", mask: bool = False,
    ) -> str:  # fmt: skip
        """Land one chunk; return ``written``, ``unchanged`` or ``older``.

        With ``prediction`` they are bytes of the prediction of that name, which lands; with
        ``mask`` of the mask, 0 where nothing was imaged and 1 elsewhere. Without
        ``revision`` the same content keeps the stored one and other content takes the next;
        raises AlreadyExists when a given ``revision`` has other content.
        """
        plain = np.ascontiguousarray(voxels, voxels.dtype.newbyteorder("<"))
        content = content_hash(plain)

        def put(number: int) -> Any:
            header = ingest_pb2.ChunkHeader(
                dataset=dataset, index=wire.index3(index), revision=number, size=plain.nbytes,
                checksum=content, prediction=prediction, mask=mask,
            )  # fmt: skip
            return self._call(self._ingest.PutChunk, lambda: _upload(header, plain))

        return self._landed(dataset, index, content, revision, put, prediction, mask)

    def absent(self, dataset: str, index: Index, *, revision: int | None = None) -> str:
        """Say that a chunk will never be acquired."""

        def put(number: int) -> Any:
            request = ingest_pb2.DeclareAbsentRequest(
                dataset=dataset, index=wire.index3(index), revision=number
            )
            return self._call(self._ingest.DeclareAbsent, request)

        return self._landed(dataset, index, ABSENT, revision, put)

    def announce(
        self, dataset: str, index: Index, source: str = "", *, revision: int = 0,
        prediction: str = "", mask: bool = False,
    ) -> str:  # fmt: skip
        """Have the server land a chunk of a volume that it can read itself."""
        request = ingest_pb2.AnnounceChunkRequest(
            dataset=dataset, index=wire.index3(index), source=source, revision=revision,
            prediction=prediction, mask=mask,
        )  # fmt: skip
        return _landing(self._call(self._ingest.AnnounceChunk, request).landing)

    def _landed(
        self, dataset: str, index: Index, content: str, revision: int | None,
        put: Callable[[int], Any], prediction: str = "", mask: bool = False,
    ) -> str:  # fmt: skip
        """Land under a given revision, or under the one that follows what is stored."""
        for _ in range(CHOICES if revision is None else 1):
            number = revision
            if number is None:
                request = ingest_pb2.GetChunkRequest(
                    dataset=dataset, index=wire.index3(index), prediction=prediction, mask=mask
                )
                there = self._call(self._ingest.GetChunk, request)
                if there.hash == content and there.intact:
                    return "unchanged"
                number = there.revision if there.hash == content else there.revision + 1
            try:
                return _landing(put(number).landing)
            except AlreadyExists:  # another client was faster: what it landed is older than ours
                if revision is not None:
                    raise
        raise Retryable(f"chunk {index}: other clients land it all the time")

    def seal(self, dataset: str, extent_z: int | None = None) -> int:
        """Fix the extent in z, by default at the end of what has landed; return it.

        It counts the dataset's voxels, as in ``create``: of averaged data fewer than the data have.
        """
        request = ingest_pb2.SealDatasetRequest(dataset=dataset, extent_z=extent_z or 0)
        return int(self._call(self._ingest.SealDataset, request).extent_z)

    def update(self, dataset: str, pipeline: str) -> tuple[bool, list[str]]:
        """Give a dataset another pipeline; return whether it is another one, and warnings."""
        request = ingest_pb2.UpdateDatasetRequest(dataset=dataset, pipeline=pipeline)
        answer = self._call(self._ingest.UpdateDataset, request)
        return answer.changed, list(answer.warnings)

    def watch(self, dataset: str, *, once: bool = False) -> Iterator[Any]:
        """Yield ``WatchDatasetResponse`` whenever something changed, until it is complete."""
        request = ingest_pb2.WatchDatasetRequest(dataset=dataset, once=once)
        with named_errors():
            yield from self._ingest.WatchDataset(request)

    def wait(self, dataset: str) -> Any:
        """Return the last progress of a dataset when it is complete; reconnects as needed."""
        for attempt in self._patience.copy():
            with attempt:
                for answer in self.watch(dataset):
                    if answer.complete:
                        return answer
                raise Retryable(f"dataset {echo(dataset)}: the stream ended")
        raise AssertionError  # unreachable: the last attempt raises

    def replay(self, dataset: str, stage: str = "") -> list[tuple[str, Subject]]:
        """Put what failed back; return stages and subjects."""
        request = ingest_pb2.ReplayFailedRequest(dataset=dataset, stage=stage)
        answer = self._call(self._ingest.ReplayFailed, request)
        return [(item.stage, wire.subject_of(item.subject)) for item in answer.replayed]

    def delete(self, dataset: str) -> None:
        """Remove a dataset with everything derived from it."""
        self._call(self._ingest.DeleteDataset, ingest_pb2.DeleteDatasetRequest(dataset=dataset))


def _upload(
    header: ingest_pb2.ChunkHeader, voxels: NDArray[Any]
) -> Iterator[ingest_pb2.PutChunkRequest]:
    yield ingest_pb2.PutChunkRequest(header=header)
    for piece in pieces_of(voxels):
        yield ingest_pb2.PutChunkRequest(piece=piece)


def _landing(number: int) -> str:
    return str(ingest_pb2.Landing.Name(number)).removeprefix("LANDING_").lower()

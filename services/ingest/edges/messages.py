"""The gRPC messages of ingest, to and from the types that the services use."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from fibstream.bus import wire
from fibstream.core.dataset import Dataset, Prediction
from fibstream.core.echo import echo, listed
from fibstream.core.errors import WrongUse
from fibstream.core.events import Record
from fibstream.core.grid import Index, check_count
from fibstream.core.stage import RAW, Input
from fibstream.core.subject import CHUNKS, count, order
from fibstream.runtime.root import check_name
from fibstream.services.ingest.stages.stored import masks, stored
from fibstream.v1 import chunk_pb2
from fibstream.v1 import ingest_pb2 as pb

from .datasets import DatasetRequest
from .landing import LandingOutcome
from .progress import DatasetFollower

ONE: Index = (1, 1, 1)
MAX_FAILED = 100  # failed chunks in one answer: the first ones show the cause
LANDINGS: dict[LandingOutcome, pb.Landing] = {
    "written": pb.LANDING_WRITTEN,
    "unchanged": pb.LANDING_UNCHANGED,
    "older": pb.LANDING_OLDER,
}


def dataset_request(spec: pb.DatasetSpec) -> DatasetRequest:
    """Return the dataset that a client requests."""
    z, y, x = wire.index_of(spec.shape)
    chunk = wire.index_of(spec.chunk)
    contrast = spec.contrast_low, spec.contrast_high
    factors = wire.index_of(spec.downsample)
    return DatasetRequest(
        check_name(spec.name), (z or None, y, x), chunk if any(chunk) else None, spec.dtype,
        wire.lengths_of(spec.voxel_size_nm), contrast if any(contrast) else None, spec.invert,
        spec.pipeline, spec.absent_value if spec.HasField("absent_value") else None,
        spec.absent_mask, offset_nm=wire.lengths_of(spec.offset_nm),
        downsample=factors if any(factors) else ONE,
    )  # fmt: skip


def dataset_spec(dataset: Dataset) -> pb.DatasetSpec:
    """Return a dataset as a message."""
    z, y, x = dataset.shape
    return pb.DatasetSpec(
        name=dataset.name, shape=wire.index3((z or 0, y, x)), chunk=wire.index3(dataset.chunk),
        dtype=dataset.dtype, voxel_size_nm=wire.nanometres3(dataset.voxel_size_nm),
        contrast_low=dataset.contrast[0], contrast_high=dataset.contrast[1],
        invert=dataset.invert, pipeline=_pipeline(dataset), absent_value=dataset.absent_value,
        absent_mask=dataset.absent_mask, offset_nm=wire.nanometres3(dataset.offset_nm),
        downsample=wire.index3(dataset.downsample),
    )  # fmt: skip


class _WithoutAliases(yaml.SafeDumper):
    """Writes what is shared twice: no pipeline with aliases is accepted."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _pipeline(dataset: Dataset) -> str:
    """Return the pipeline of a dataset as YAML, every name and parameter spelled out."""
    words: dict[str, list[dict[str, Any]]] = {
        "predictions": [
            {"name": p.name, "model": p.model, "class": p.channel} if p.model else _landing_entry(p)
            for p in dataset.predictions
            if p.name != p.channel
        ],
        "organelles": [
            {"name": o.name, "recipe": o.recipe, "from": dict(o.inputs), "set": dict(o.settings)}
            for o in dataset.organelles
        ],
        **{word: [dict(step) for step in steps] for word, steps in dataset.steps.items()},
    }
    given = {word: entries for word, entries in words.items() if entries}
    models = {"models": [model.name for model in dataset.models]}
    return str(yaml.dump({**models, **given}, Dumper=_WithoutAliases, sort_keys=False))


def _landing_entry(prediction: Prediction) -> dict[str, Any]:
    """Return the words of a pipeline for a prediction that lands."""
    if not prediction.is_distance:
        return {"name": prediction.name, "as": "probability"}
    made_of = {"as": prediction.made_of} if prediction.made_of else {}
    return {"name": prediction.name, **made_of, "squash_nm": prediction.squash_nm}


def dataset_response(dataset: Dataset, landed: set[Index]) -> pb.GetDatasetResponse:
    """Return a dataset and a bit for each chunk of its grid, (z, y, x) in C order: 1 if landed."""
    grid = dataset.grid
    check_count(grid.shape, grid.chunk)  # a dataset of an earlier version may have more
    layers = max((z + 1 for z, _, _ in landed if z < grid.layers), default=0)
    count = grid.count if grid.sealed else _open_count(dataset, layers)
    return pb.GetDatasetResponse(
        dataset=dataset_spec(dataset), sealed=grid.sealed, count=wire.index3(count),
        landed=np.packbits(_landed_bits(count, landed), bitorder="little").tobytes(),
        predictions=[
            pb.LandingPrediction(name=p.name, squash_nm=p.length_nm, made_of=p.made_of)
            for p in dataset.predictions
            if not p.model
        ],
        networks={model.name: model.sha256 for model in dataset.models},
    )  # fmt: skip


def _open_count(dataset: Dataset, layers: int) -> Index:
    z, y, x = dataset.sealed(max(layers, 1) * dataset.chunk[0]).grid.count
    return (z if layers else 0), y, x


def _landed_bits(count: Index, landed: set[Index]) -> NDArray[np.bool_]:
    bits = np.zeros(count, bool)
    for index in landed:
        if all(i < c for i, c in zip(index, count, strict=True)):
            bits[index] = True
    return bits


def chunk_index(dataset: Dataset, message: chunk_pb2.Index3) -> Index:
    """Return the index of a chunk; raise WrongUse outside the grid."""
    index = wire.index_of(message)
    if not dataset.grid.contains(index):
        raise WrongUse(f"chunk {index}: outside the grid of {dataset.shape} by {dataset.chunk}")
    dataset.grid.check_growth(index)
    return index


def landing_array(dataset: Dataset, prediction: str, *, mask: bool = False) -> Input:
    """Return the array that a call names: raw, the mask or a prediction that lands; or WrongUse."""
    if mask:
        if prediction:
            raise WrongUse(f"prediction {prediction[:80]!r}, and the mask: expected one of them")
        for each in masks(dataset):
            return each
        raise WrongUse(f"dataset {dataset.name!r}: was created without an absent mask, none lands")
    if not prediction:
        return Input(RAW, RAW, dataset.dtype)
    known = {each.stage.partition("/")[2]: each for each in stored(dataset)}
    if prediction not in known:
        names = listed(known)
        raise WrongUse(f"prediction {echo(prediction)}: does not land here; what does is {names}")
    return known[prediction]


def upload_header(requests: Iterator[pb.PutChunkRequest]) -> pb.ChunkHeader:
    """Return the first message of an upload; raise WrongUse unless it is a header."""
    first = next(requests, None)
    if first is None or first.WhichOneof("part") != "header":
        raise WrongUse("the first message of PutChunk: expected a header")
    return first.header


def upload_pieces(requests: Iterator[pb.PutChunkRequest]) -> Iterator[bytes]:
    """Yield the pieces that follow; raise WrongUse at a message that is none."""
    for request in requests:
        if request.WhichOneof("part") != "piece":
            raise WrongUse("PutChunk: expected pieces of voxels after the header")
        yield request.piece


def failed_chunk(record: Record) -> pb.FailedChunk:
    """Return a failed chunk as a message."""
    return pb.FailedChunk(
        stage=record.stage, subject=wire.subject_message(record.subject), reason=record.reason
    )


def watch_response(dataset: Dataset, follower: DatasetFollower) -> pb.WatchDatasetResponse:
    """Return the progress of a dataset as a message."""
    failed = sorted(follower.failed.values(), key=lambda r: (r.stage, order(r.subject)))
    wanted = count(CHUNKS, dataset.grid) if dataset.grid.sealed else 0
    return pb.WatchDatasetResponse(
        dataset=dataset_spec(dataset), sealed=dataset.grid.sealed, complete=follower.complete,
        services=[wire.progress_message(p) for _, p in sorted(follower.progress.items())],
        failed=map(failed_chunk, failed[:MAX_FAILED]), failed_count=len(failed),
        arrays=[
            pb.ArrayProgress(stage=stage, landed=landed, wanted=wanted)
            for stage, landed in follower.arrived.items()
        ],
    )  # fmt: skip

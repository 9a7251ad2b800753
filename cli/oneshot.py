"""Predicting one volume: the pure functions of inference, chunk by chunk."""

import logging
import os
from pathlib import Path

from pydantic import ValidationError

from fibstream.app.design import default_chunk
from fibstream.app.engines import make_engine, wanted_of
from fibstream.app.sampling import network_notes, unimaged_note
from fibstream.core.dataset import Dataset, Prediction, clip_chunk
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Index
from fibstream.core.keys import canonical, digest
from fibstream.core.stage import Output, Patch
from fibstream.runtime.settings import Settings
from fibstream.services.inference.edges.model import find_model
from fibstream.services.inference.edges.tiles import spec_of
from fibstream.services.inference.port import ModelSpec
from fibstream.services.inference.seen import predict_raw, raw_halo
from fibstream.services.inference.tiling import finer_shape, halo_of
from fibstream.volumes.positions import offset_nm
from fibstream.volumes.sources import Source

from .flags import parse_chunk
from .outputs import Volume, new_groups
from .progress import track
from .seeing import RawFlags, open_raw, view_of

log = logging.getLogger(__name__)

Voxel = tuple[float, float, float]


def _patch(source: Source, box: Box) -> Patch:
    return Patch(source.read(box), box)


def new_dataset(name: str, source: Source, chunk: Index, dtype: str) -> Dataset:
    """Return the dataset that one command writes, of the shape and voxel size of its input."""
    return Dataset(
        name=name, shape=source.shape, chunk=chunk, dtype=dtype,
        voxel_size_nm=source.voxel_size_nm, offset_nm=offset_nm(source), contrast=(0, 255),
    )  # fmt: skip


def finer_dataset(coarse: Dataset, spec: ModelSpec) -> Dataset:
    """Return the dataset that a network's output makes of its input.

    Chunk by chunk and from corner to corner it covers the same space, by ``spec.finer`` voxels for
    one: the centre of its first voxel lies nearer to the corner.
    """
    z, y, x = (s / f for s, f in zip(coarse.voxel_size_nm, spec.finer, strict=True))
    sizes = zip(coarse.offset_nm, coarse.voxel_size_nm, (z, y, x), strict=True)
    az, ay, ax = (centre - (here - there) / 2 for centre, here, there in sizes)
    shape = finer_shape(coarse.grid.volume.stop, spec)
    changes = {
        "shape": shape, "chunk": finer_shape(coarse.chunk, spec),
        "voxel_size_nm": (z, y, x), "offset_nm": (az, ay, ax),
    }  # fmt: skip
    try:
        return Dataset.model_validate(coarse.model_dump() | changes)
    except ValidationError as error:
        first = error.errors()[0]
        raise WrongUse(
            f"model {spec.name}: its output of {' x '.join(map(str, shape))} voxels is no volume: "
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from None


def _read_chunk(given: Index | None, shape: Index, spec: ModelSpec) -> Index:
    """Return the chunk of the input that becomes one chunk of what is written."""
    pairs = list(zip(given or default_chunk(spec), spec.finer, strict=True))
    if given and any(edge % factor for edge, factor in pairs):
        raise WrongUse(
            f"--chunk {','.join(map(str, given))}: expected multiples of "
            f"{','.join(map(str, spec.finer))}: so many voxels become of one of the input"
        )
    z, y, x = (edge // factor for edge, factor in pairs)
    return clip_chunk((z, y, x), shape)


def predict_volume(
    raw: RawFlags, model: str, out: Path, *, chunk: str | None, settings: Settings
) -> list[str]:
    """Predict every class of a network; return the groups that were written."""
    path = find_model(model)
    wanted = wanted_of(settings)
    spec = spec_of(path, wanted)
    source = open_raw(raw, spec)
    edges = _read_chunk(parse_chunk(chunk), source.shape, spec)
    view = view_of(raw, source)
    threads = max(settings.threads, os.cpu_count() or 1)
    engine = make_engine(path, threads, wanted)
    for note in (unimaged_note(source, raw.absent_value), *network_notes(source, view, engine)):
        if note is not None:
            log.warning("%s", note)
    coarse = new_dataset(out.name, source, edges, "uint8")
    predictions = tuple(
        Prediction(name=name, squash_nm=spec.scale_nm, is_distance=spec.meaning == "distance")
        for name in spec.classes
    )
    dataset = finer_dataset(coarse, spec).model_copy(update={"predictions": predictions})
    outputs = [Output(prediction.path, "uint8", "mean") for prediction in predictions]
    names = [output.name for output in outputs]
    key = digest(canonical([spec.sha256, dict(engine.profile), *view]))
    with new_groups(out, names) as scratch:
        volume = Volume(scratch, dataset, outputs, key)
        for index in track(list(coarse.grid.indices()), "predicted"):
            raw_patch = _patch(source, coarse.grid.block(index, raw_halo(spec, view)))
            mask = None
            if source.mask is not None:
                mask = _patch(source.mask, coarse.grid.block(index, halo_of(spec)))
            found = predict_raw(raw_patch, coarse.grid.box(index), engine, view, mask)
            for name, voxels in zip(names, found, strict=True):
                volume.write(name, index, voxels)
    return names

"""Designs a dataset from a request: all is checked before anything is written."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fibstream.core.dataset import Dataset, Model, clip_chunk
from fibstream.core.echo import cut
from fibstream.core.errors import WrongUse
from fibstream.core.grid import MAX_CHUNK, MAX_CHUNKS, Box, Index, check_count, check_edges
from fibstream.kernels.absent import check_value
from fibstream.registry import words
from fibstream.runtime.root import Root
from fibstream.services.inference.backend import Wanted
from fibstream.services.inference.edges.model import (
    find_model,
    network_bytes,
    read_model,
    released,
)
from fibstream.services.inference.grey import check_window
from fibstream.services.inference.port import (
    Described,
    Engine,
    ModelSpec,
    check_one_grid,
    check_voxel_size,
)
from fibstream.services.inference.seen import View
from fibstream.services.inference.window import data_counts, window_of
from fibstream.services.ingest.edges.datasets import DatasetDesign, DatasetRequest
from fibstream.services.ingest.edges.stored import StoredPrediction
from fibstream.store.gate import FREE, Gate
from fibstream.volumes.positions import offset_nm
from fibstream.volumes.sources import Source

from .blocks import check_blocks
from .engines import AS_AUTO, described, engine_of, make_engine, wanted_by
from .naming import check_recipes, named_organelles, named_predictions, taken, with_steps
from .pipelines import Pipeline, requested_pipeline
from .redesign import model_of, redesign, waste_notes
from .sampling import confused_note, mask_of, network_notes, unimaged_note
from .wiring import check_wiring

AUTO_SLICES = 64  # of the source, for `--contrast auto`


class Network(NamedTuple):
    """A network of a pipeline: its file, its geometry, and how a dataset records it."""

    path: Path
    spec: ModelSpec
    model: Model


def default_chunk(spec: ModelSpec | None) -> Index:
    """Return the multiple of 64 nearest to the tile's output, 64 to 256 an edge."""
    edges = spec.predicted if spec else (128, 128, 128)
    z, y, x = (min(max(64 * round(e / 64), 64), 256) for e in edges)
    return z, y, x


def fitting_chunk(given: Index | None, shape: Index, spec: ModelSpec | None) -> Index:
    """Return the chunk that was given, else that of the network, no larger than the volume."""
    return clip_chunk(default_chunk(spec) if given is None else given, shape)


def parse_contrast(
    text: str | None, source: Source, absent_value: float | None = None
) -> tuple[float, float]:
    """Return the window of grey values that networks see as black to white."""
    if text is None:
        if source.dtype == np.uint8:
            return 0.0, 255.0
        window = source.display.window
        hint = f" (the file has {window[0]:g},{window[1]:g})" if window else ""
        raise WrongUse(f"{source.name} is {source.dtype}: give --contrast LOW,HIGH or auto{hint}")
    if text == "auto":
        return check_window(*auto_contrast(source, absent_value), f"{source.name}: its contrast")
    parts = text.split(",")
    try:
        low, high = (float(part) for part in parts)
    except ValueError:
        raise WrongUse(f"--contrast {cut(text)}: expected LOW,HIGH or auto") from None
    return check_window(low, high, f"--contrast {cut(text)}")


def auto_contrast(source: Source, absent_value: float | None = None) -> tuple[float, float]:
    """Return percentiles of what is data in the first slices of the source."""
    z, y, x = source.shape
    box = Box((0, 0, 0), (min(z, AUTO_SLICES), y, x))
    first = source.read(box)
    window = window_of(data_counts(first, absent_value, mask_of(source, box)))
    if window is None:
        raise WrongUse(
            f"{source.name}: no contrast in its first {len(first)} slices, padding left out; "
            "give --contrast LOW,HIGH"
        )
    return window


def check_absent(request: DatasetRequest) -> None:
    """Raise WrongUse where no voxel can hold the declared value of what was never imaged."""
    if request.absent_value is not None:
        check_value(request.absent_value, request.dtype)


def design(
    name: str,
    source: Source,
    pipeline: Pipeline,
    *,
    chunk: Index | None = None,
    contrast: str | None = None,
    invert: bool = False,
    absent_value: float | None = None,
    threads: int = 1,
    stored: Sequence[StoredPrediction] = (),
    factors: Index = (1, 1, 1),
    wanted: Wanted = AS_AUTO,
    there: Dataset | None = None,
) -> DatasetDesign:
    """Return the dataset that a pipeline makes of a source; WrongUse where it does not fit.

    ``stored`` are the opened predictions that the pipeline names by a path; the source is the mean
    of ``factors`` (z, y, x) voxels of its data. A dataset that is ``there`` keeps the profiles of
    its networks unless a backend, precision or tile is wanted by name.
    """
    request = DatasetRequest(
        name, source.shape, None, str(np.dtype(source.dtype)), source.voxel_size_nm, None, invert,
        "", absent_value, source.mask is not None, offset_nm=offset_nm(source), downsample=factors,
        backend=wanted.backend, precision=wanted.precision, tile=wanted.tile,
        tile_memory_gb=wanted.memory_gb,
    )  # fmt: skip
    check_absent(request)
    pipeline, files = taken(pipeline, words(), FREE)
    kept = there.models if there and not wanted.by_name else ()
    networks = [_engine(find_model(given), request, threads, kept) for given in pipeline.models]
    edges = fitting_chunk(chunk, source.shape, networks[0][1].spec if networks else None)
    request = request._replace(chunk=edges, contrast=parse_contrast(contrast, source, absent_value))
    lengths_nm = {each.name: each.length_nm for each in stored}
    made = [_network(*each) for each in networks]
    designed = _designed(request, pipeline, made, lengths_nm, files)
    view = View(designed.dataset.contrast, invert, absent_value)
    unimaged = unimaged_note(source, absent_value)
    given = (unimaged, *(confused_note(each.source) for each in stored))
    notes = [note for note in given if note is not None]
    notes += [note for _, engine in networks for note in network_notes(source, view, engine)]
    return designed._replace(warnings=[*designed.warnings, *notes])


def design_request(
    request: DatasetRequest, root: Root, threads: int, gate: Gate
) -> DatasetDesign:  # fmt: skip
    """Return the dataset that a client requests.

    It may name networks, what lands, and files that the gate admits.
    """
    if request.there is not None:
        wanted = requested_pipeline(request.pipeline)
        return redesign(
            request.there, wanted, lambda name: released(name, root),
            lambda path: described(path, request, threads), gate,
        )  # fmt: skip
    check_absent(request)
    pipeline, files = taken(requested_pipeline(request.pipeline), words(), gate)
    networks = []
    for name in pipeline.models:  # one engine at a time: it may hold some hundred MB
        path = released(name, root)
        _checked(path, request)
        networks.append(_network(path, described(path, request, threads)))
    if request.contrast is None:
        if request.dtype != "uint8":
            raise WrongUse(f"dtype {request.dtype}: give the contrast, two grey values")
        request = request._replace(contrast=(0.0, 255.0))
    low, high = request.contrast or (0.0, 0.0)
    check_window(low, high, f"contrast {low:g}, {high:g}")
    return _designed(request, pipeline, networks, requested_lengths_nm(pipeline), files)


def requested_lengths_nm(pipeline: Pipeline) -> dict[str, float]:
    """Return the squash lengths of what a client lands, 0 of a probability."""
    landing = [entry for entry in pipeline.predictions if entry.lands and not entry.path]
    return {entry.name: entry.length_nm for entry in landing}


def _checked(path: Path, request: DatasetRequest) -> ModelSpec:
    """Return a network's geometry; WrongUse where it does not fit the request."""
    spec = read_model(path)
    check_one_grid(spec)
    check_voxel_size(spec, request.voxel_size_nm, request.downsample)
    return spec


def _engine(
    path: Path, request: DatasetRequest, threads: int, kept: Sequence[Model] = ()
) -> tuple[Path, Engine]:
    spec = _checked(path, request)
    for model in kept:
        if model.sha256 == spec.sha256:
            try:
                return path, engine_of(path, model, threads)
            except WrongUse as error:
                raise WrongUse(f"{error}; name a --backend to compute it anew") from None
    return path, make_engine(path, threads, wanted_by(request))


def _network(path: Path, engine: Described) -> Network:
    return Network(path, engine.spec, model_of(engine))


def _designed(
    request: DatasetRequest, pipeline: Pipeline, networks: Sequence[Network],
    lengths_nm: Mapping[str, float], kept: Mapping[str, bytes],
) -> DatasetDesign:  # fmt: skip
    specs = [network.spec for network in networks]
    dataset = dataset_of(request, pipeline, [n.model for n in networks], specs, lengths_nm)
    files = {network.model.path: network_bytes(network.path) for network in networks} | dict(kept)
    notes = [note for spec in specs for note in waste_notes(spec, dataset.chunk)]
    return DatasetDesign(dataset, files, [*_room_notes(dataset), *notes])


def dataset_of(
    request: DatasetRequest, pipeline: Pipeline, models: Sequence[Model],
    specs: Sequence[ModelSpec], lengths_nm: Mapping[str, float],
) -> Dataset:  # fmt: skip
    """Return the dataset that a pipeline makes of a request with networks that are known.

    ``lengths_nm`` are the squash lengths of what lands, 0 of a probability. Raises WrongUse for
    whatever does not fit; nothing is read or written.
    """
    predictions = named_predictions(pipeline, models, lengths_nm)
    organelles = named_organelles(pipeline.organelles, predictions)
    wanted = request.chunk or default_chunk(specs[0] if specs else None)
    check_edges(wanted, MAX_CHUNK, f"chunk {request.chunk}")
    edges = clip_chunk(wanted, request.shape)
    check_count(request.shape, edges)
    assert request.contrast is not None
    dataset = Dataset(
        name=request.name, shape=request.shape, chunk=edges, dtype=request.dtype,
        voxel_size_nm=request.voxel_size_nm, contrast=request.contrast,
        invert=request.invert, absent_value=request.absent_value,
        absent_mask=request.absent_mask, models=tuple(models), predictions=predictions,
        organelles=organelles, offset_nm=request.offset_nm, downsample=request.downsample,
    )  # fmt: skip
    dataset = with_steps(dataset, pipeline, words())
    check_recipes(dataset, pipeline.organelles)
    check_wiring(dataset)
    check_blocks(dataset)
    return dataset


def _room_notes(dataset: Dataset) -> list[str]:
    """Say how deep an open volume can become, if that is less than it is wide."""
    slices = dataset.grid.layers * dataset.chunk[0]
    if dataset.grid.sealed or slices >= max(dataset.shape[1:]):
        return []
    return [f"chunk {dataset.chunk}: the volume can grow to {slices} slices, {MAX_CHUNKS} chunks"]

"""Designs a dataset from a request: all is checked before anything is written."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fibstream.core.dataset import Dataset, clip_chunk
from fibstream.core.errors import WrongUse
from fibstream.core.grid import MAX_CHUNK, Box, Index, check_edges
from fibstream.kernels.absent import check_value
from fibstream.registry import words
from fibstream.runtime.root import Root
from fibstream.services.inference.edges.model import (
    find_model,
    network_bytes,
    read_model,
    released,
)
from fibstream.services.inference.grey import check_window
from fibstream.services.inference.port import Engine, ModelSpec, check_voxel_size
from fibstream.services.inference.seen import View
from fibstream.services.inference.window import data_counts, window_of
from fibstream.services.ingest.edges.datasets import DatasetDesign, DatasetRequest
from fibstream.services.ingest.edges.stored import StoredPrediction
from fibstream.volumes.positions import offset_nm
from fibstream.volumes.sources import Source

from .naming import check_recipes, named_organelles, named_predictions, with_steps
from .pipelines import Pipeline, requested_pipeline
from .redesign import model_of, redesign, waste_notes
from .sampling import confused_note, mask_of, network_notes, unimaged_note

AUTO_SLICES = 64  # of the source, for `--contrast auto`


def default_chunk(spec: ModelSpec | None) -> Index:
    """Return the multiple of 64 nearest to the tile's output, 64 to 256 an edge."""
    edges = spec.output if spec else (128, 128, 128)
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
        raise WrongUse(f"--contrast {text}: expected LOW,HIGH or auto") from None
    return check_window(low, high, f"--contrast {text}")


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


def make_engine(path: Path, threads: int) -> Engine:
    """Load a network and let it check itself."""
    from fibstream.services.inference.edges.engine import CpuEngine

    return CpuEngine(path, threads)


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
) -> DatasetDesign:
    """Return the dataset that a pipeline makes of a source; WrongUse where it does not fit.

    ``stored`` are the opened predictions that the pipeline names by a path.
    """
    request = DatasetRequest(
        name, source.shape, None, str(np.dtype(source.dtype)), source.voxel_size_nm, None, invert,
        "", absent_value, source.mask is not None,
    )  # fmt: skip
    check_absent(request)
    networks = [_engine(find_model(given), request, threads) for given in pipeline.models]
    edges = fitting_chunk(chunk, source.shape, networks[0][1].spec if networks else None)
    request = request._replace(chunk=edges, contrast=parse_contrast(contrast, source, absent_value))
    designed = _designed(request, pipeline, networks, {s.name: s.length_nm for s in stored})
    placed = designed.dataset.model_copy(update={"offset_nm": offset_nm(source)})
    view = View(designed.dataset.contrast, invert, absent_value)
    unimaged = unimaged_note(source, absent_value)
    given = (unimaged, *(confused_note(each.source) for each in stored))
    notes = [note for note in given if note is not None]
    notes += [note for _, engine in networks for note in network_notes(source, view, engine)]
    return designed._replace(dataset=placed, warnings=[*designed.warnings, *notes])


def design_request(request: DatasetRequest, root: Root, threads: int) -> DatasetDesign:
    """Return the dataset that a client requests; it may name networks and what lands, not files."""
    if request.there is not None:
        wanted = requested_pipeline(request.pipeline)
        return redesign(
            request.there, wanted, lambda name: released(name, root),
            lambda path: make_engine(path, threads),
        )  # fmt: skip
    check_absent(request)
    pipeline = requested_pipeline(request.pipeline)
    networks = [_engine(released(name, root), request, threads) for name in pipeline.models]
    if request.contrast is None:
        if request.dtype != "uint8":
            raise WrongUse(f"dtype {request.dtype}: give the contrast, two grey values")
        request = request._replace(contrast=(0.0, 255.0))
    low, high = request.contrast or (0.0, 0.0)
    check_window(low, high, f"contrast {low:g}, {high:g}")
    lands = {entry.name: entry.squash_nm for entry in pipeline.predictions if entry.squash_nm}
    return _designed(request, pipeline, networks, lands)


def _engine(path: Path, request: DatasetRequest, threads: int) -> tuple[Path, Engine]:
    check_voxel_size(read_model(path), request.voxel_size_nm)
    return path, make_engine(path, threads)


def _designed(
    request: DatasetRequest, pipeline: Pipeline, networks: list[tuple[Path, Engine]],
    lengths_nm: Mapping[str, float],
) -> DatasetDesign:  # fmt: skip
    specs = [engine.spec for _, engine in networks]
    models = [model_of(engine) for _, engine in networks]
    files = {m.path: network_bytes(path) for m, (path, _) in zip(models, networks, strict=True)}
    predictions = named_predictions(pipeline, models, lengths_nm)
    organelles = named_organelles(pipeline.organelles, predictions)
    wanted = request.chunk or default_chunk(specs[0] if specs else None)
    check_edges(wanted, MAX_CHUNK, f"chunk {request.chunk}")
    edges = clip_chunk(wanted, request.shape)
    assert request.contrast is not None
    dataset = Dataset(
        name=request.name, shape=request.shape, chunk=edges, dtype=request.dtype,
        voxel_size_nm=request.voxel_size_nm, contrast=request.contrast,
        invert=request.invert, absent_value=request.absent_value,
        absent_mask=request.absent_mask, models=tuple(models),
        predictions=predictions, organelles=organelles,
    )  # fmt: skip
    dataset = with_steps(dataset, pipeline, words())
    check_recipes(dataset)
    return DatasetDesign(dataset, files, [w for spec in specs for w in waste_notes(spec, edges)])

"""From what a user gives to a dataset record: all is checked before anything is written."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from fibstream.services.inference.model import find_model, read_model
from fibstream.services.inference.port import Engine, ModelSpec, check_voxel_size
from fibstream.services.inference.tiling import waste
from fibstream.services.ingest.sources import Source
from fibstream.services.refine.recipe import RECIPES, resolve

from fibstream.dataset import Dataset, Model, Organelle, clip_chunk
from fibstream.errors import WrongUse
from fibstream.grid import MAX_CHUNK, Box, Index

from .flags import parse_triple
from .pipeline import Pipeline, Step

AUTO_SLICES = 64  # of the source, for `--contrast auto`
AUTO_PERCENTILES = (0.5, 99.5)
WASTE_WORTH_SAYING = 2.0


class Design(NamedTuple):
    """A dataset record, the networks' files, and what the user should hear beforehand."""

    dataset: Dataset
    files: dict[str, bytes]  # path in the dataset -> content
    warnings: list[str]


def default_chunk(spec: ModelSpec | None) -> Index:
    """Return the multiple of 64 nearest to the tile's output, 64 to 256 an edge."""
    edges = spec.output if spec else (128, 128, 128)
    z, y, x = (min(max(64 * round(e / 64), 64), 256) for e in edges)
    return z, y, x


def parse_chunk(text: str | None, shape: Index, spec: ModelSpec | None) -> Index:
    """Return the chunk that ``--chunk`` asks for, no larger than the volume."""
    if text is None:
        return clip_chunk(default_chunk(spec), shape)
    chunk = parse_triple(text, "--chunk", int)
    if not all(0 < c <= MAX_CHUNK for c in chunk):
        raise WrongUse(f"--chunk {text}: expected Z,Y,X with edges from 1 to {MAX_CHUNK} voxels")
    return clip_chunk(chunk, shape)


def parse_contrast(text: str | None, source: Source) -> tuple[float, float]:
    """Return the window of grey values that networks see as black to white."""
    if text is None:
        if source.dtype == np.uint8:
            return 0.0, 255.0
        raise WrongUse(f"{source.name} is {source.dtype}: give --contrast LOW,HIGH or auto")
    if text == "auto":
        return auto_contrast(source)
    parts = text.split(",")
    try:
        low, high = (float(part) for part in parts)
    except ValueError:
        raise WrongUse(f"--contrast {text}: expected LOW,HIGH or auto") from None
    if not (np.isfinite([low, high]).all() and low < high):
        raise WrongUse(f"--contrast {text}: expected finite LOW below HIGH")
    return low, high


def auto_contrast(source: Source) -> tuple[float, float]:
    """Return percentiles of the first slices of the source."""
    z, y, x = source.shape
    first = source.read(Box((0, 0, 0), (min(z, AUTO_SLICES), y, x)))
    low, high = np.percentile(first, AUTO_PERCENTILES, method="inverted_cdf")
    if not low < high:
        raise WrongUse(f"{source.name}: no contrast in its first slices; give --contrast LOW,HIGH")
    return float(low), float(high)


def make_engine(path: Path, threads: int) -> Engine:
    """Load a network and let it check itself."""
    from fibstream.services.inference.engine import CpuEngine

    return CpuEngine(path, threads)


def design(
    name: str,
    source: Source,
    pipeline: Pipeline,
    *,
    chunk: str | None = None,
    contrast: str | None = None,
    invert: bool = False,
    threads: int = 1,
) -> Design:
    """Return the dataset that a pipeline makes of a source; WrongUse where it does not fit."""
    models, files, specs = [], {}, []
    for given in pipeline.models:
        path = find_model(given)
        check_voxel_size(read_model(path), source.voxel_size_nm)
        engine = make_engine(path, threads)
        specs.append(engine.spec)
        models.append(_model(engine))
        files[models[-1].path] = path.read_bytes()
    _distinct(models)
    organelles = tuple(organelle(step, models) for step in pipeline.organelles)
    edges = parse_chunk(chunk, source.shape, specs[0])
    dataset = Dataset(
        name=name, shape=source.shape, chunk=edges, dtype=str(np.dtype(source.dtype)),
        voxel_size_nm=source.voxel_size_nm, contrast=parse_contrast(contrast, source),
        invert=invert, models=tuple(models), organelles=organelles,
    )  # fmt: skip
    return Design(dataset, files, [w for spec in specs for w in _waste(spec, edges)])


def _model(engine: Engine) -> Model:
    spec = engine.spec
    return Model(
        name=spec.name, classes=spec.classes, sha256=spec.sha256,
        spec=spec.model_dump(mode="json"), profile=dict(engine.profile),
    )  # fmt: skip


def _distinct(models: list[Model]) -> None:
    for what, names in (
        ("network", [m.name for m in models]),
        ("class", [c for m in models for c in m.classes]),
    ):
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise WrongUse(f"pipeline: {what} {twice[0]} is given twice")


def _waste(spec: ModelSpec, chunk: Index) -> list[str]:
    times = waste(spec, chunk)
    if times < WASTE_WORTH_SAYING:
        return []
    edges, output = (",".join(map(str, e)) for e in (chunk, spec.output))
    return [
        f"chunk {edges} is small for the tiles of model {spec.name} (output {output}): "
        f"the network computes {times:.1f} times as many voxels as are kept"
    ]


def organelle(step: Step, models: list[Model]) -> Organelle:
    """Return an organelle with every parameter spelled out."""
    settings = resolve(step.recipe, step.set)
    classes = [c for m in models for c in m.classes]
    wanted = RECIPES[step.recipe].predicted
    if wanted is None and len(classes) != 1:
        raise WrongUse(
            f"recipe {step.recipe} takes the only predicted class, and there are {len(classes)}: "
            + ", ".join(classes)
        )
    if wanted is not None and wanted not in classes:
        raise WrongUse(
            f"recipe {step.recipe} needs class {wanted}; the pipeline predicts {', '.join(classes)}"
        )
    return Organelle(
        recipe=step.recipe, source=wanted or classes[0], settings=settings.model_dump(mode="json")
    )

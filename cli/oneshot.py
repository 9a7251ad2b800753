"""The work of commands on one volume: the pure functions of the services, block by block."""

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from fibstream.app.design import fitting_chunk, make_engine, parse_contrast
from fibstream.core.dataset import Dataset, Organelle, Prediction, check_name, clip_chunk
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Grid, Index
from fibstream.core.keys import canonical, digest
from fibstream.core.stage import Output, Patch
from fibstream.kernels import scores as scoring
from fibstream.services.analysis.conventions import HALO
from fibstream.services.analysis.measure import measure
from fibstream.services.analysis.table import cosem_csv, finish, to_csv, to_parquet
from fibstream.services.analysis.totals import RowTotals
from fibstream.services.inference.edges.model import find_model, read_model
from fibstream.services.inference.grey import contrast as to_grey
from fibstream.services.inference.port import check_voxel_size
from fibstream.services.inference.tiling import halo_of, predict
from fibstream.services.refine.recipe import Recipe, find_recipe, resolve
from fibstream.volumes.sources import Source, open_volume

from .flags import parse_chunk
from .outputs import Volume, check_file, new_groups, write_file
from .progress import track
from .stages import StageRun

log = logging.getLogger(__name__)

BLOCK: Index = (128, 128, 128)  # voxels read at a time where no chunks are written
Voxel = tuple[float, float, float]


def _patch(source: Source, box: Box) -> Patch:
    return Patch(source.read(box), box)


def _dataset(name: str, source: Source, chunk: Index, dtype: str) -> Dataset:
    return Dataset(
        name=name, shape=source.shape, chunk=chunk, dtype=dtype,
        voxel_size_nm=source.voxel_size_nm, contrast=(0, 255),
    )  # fmt: skip


def predict_volume(
    raw: str, model: str, out: Path, *, voxel_size_nm: Voxel | None, chunk: str | None,
    contrast: str | None, invert: bool, threads: int,
) -> list[str]:  # fmt: skip
    """Predict every class of a network; return the groups that were written."""
    path = find_model(model)
    source = open_volume(raw, kind="raw", voxel_size_nm=voxel_size_nm)
    spec = read_model(path)
    check_voxel_size(spec, source.voxel_size_nm)
    edges = fitting_chunk(parse_chunk(chunk), source.shape, spec)
    low, high = parse_contrast(contrast, source)
    engine = make_engine(path, max(threads, os.cpu_count() or 1))
    dataset = _dataset(out.name, source, edges, "uint8")
    outputs = [Output(f"predictions/{name}", "uint8", "mean") for name in spec.classes]
    names = [output.name for output in outputs]
    key = digest(canonical([spec.sha256, dict(engine.profile), [low, high], invert]))
    with new_groups(out, names) as scratch:
        volume = Volume(scratch, dataset, outputs, key)
        for index in track(list(dataset.grid.indices()), "predicted"):
            raw_patch = _patch(source, dataset.grid.block(index, halo_of(spec)))
            grey = to_grey(raw_patch.array, low, high, invert=invert)
            found = predict(Patch(grey, raw_patch.box), dataset.grid.box(index), engine)
            for name, voxels in zip(names, found, strict=True):
                volume.write(name, index, voxels)
    return names


def parse_predictions(texts: Sequence[str], recipe: Recipe) -> dict[str, tuple[str, str]]:
    """Return name and path of the volume that a recipe reads in each role."""
    pairs = [text.partition("=")[::2] for part in texts for text in part.split(",")]
    given = ",".join(texts)
    if not all(name and path for name, path in pairs):
        raise WrongUse(f"--prediction {given}: expected CLASS=PATH")
    chosen = {}
    for role in recipe.inputs:
        named = [pair for pair in pairs if pair[0] in (role.name, role.default)]
        fitting = named or (pairs if role.default is None else [])
        if len(fitting) != 1:
            raise WrongUse(
                f"--prediction {given}: recipe {recipe.name} takes one {role.name}"
                + (f", of class {role.default}" if role.default else "")
            )
        try:
            chosen[role.name] = check_name(fitting[0][0]), fitting[0][1]
        except ValueError as error:
            raise WrongUse(f"--prediction {given}: {error}") from None
    return chosen


def parse_overrides(texts: Sequence[str]) -> dict[str, Any]:
    """Return the parameters of ``--set KEY=VALUE``."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise WrongUse(f"--set {text}: expected KEY=VALUE")
        try:
            number = yaml.safe_load(value)
            # YAML's numbers need a point before the exponent; people write 1e6.
            found[name] = float(value) if isinstance(number, str) else number
        except (yaml.YAMLError, ValueError):
            found[name] = value
    return found


def refine_prediction(
    prediction: Sequence[str], organelle: str, out: Path, *, voxel_size_nm: Voxel | None,
    chunk: str | None, overrides: Sequence[str],
) -> str:  # fmt: skip
    """Label the objects of a prediction; return the group that was written."""
    recipe, settings = find_recipe(organelle), resolve(organelle, parse_overrides(overrides))
    chosen = parse_predictions(prediction, recipe)
    sources = {
        f"{'labels' if role.kind == 'labels' else 'predictions'}/{chosen[role.name][0]}":
        open_volume(chosen[role.name][1], kind=role.kind, voxel_size_nm=voxel_size_nm)
        for role in recipe.inputs
    }  # fmt: skip
    source, *others = sources.values()
    for other in others:
        _same_shape(source, other)
    edges = fitting_chunk(parse_chunk(chunk), source.shape, None)
    made = Organelle(
        name=organelle, recipe=organelle, settings=settings.model_dump(mode="json"),
        inputs={role: name for role, (name, _) in chosen.items()},
    )  # fmt: skip
    dataset = _dataset(out.name, source, edges, "uint64").model_copy(
        update={"predictions": tuple(Prediction(name=name) for name, _ in chosen.values())}
    )
    stages = recipe.stages(dataset, made)
    outputs = [output for stage in stages for output in stage.outputs]
    key = digest(canonical([organelle, dict(made.settings)]))
    labels = f"labels/{organelle}"
    with new_groups(out, [labels]) as scratch:
        volume = Volume(scratch, dataset, [o for o in outputs if o.dtype], key)
        run = StageRun(volume, dataset.grid, sources, recipe.fold(dataset, made))
        for stage in stages:
            run.run(stage)
        for output in outputs:
            if output.name != labels:
                shutil.rmtree(scratch / output.name.partition("/")[0], ignore_errors=True)
    return labels


def _blocks(source: Source) -> Grid:
    return Grid(source.shape, clip_chunk(BLOCK, source.shape))


def measure_labels(
    labels: str, out: Path, *, raw: str | None, voxel_size_nm: Voxel | None, profile: str | None
) -> int:
    """Write one row per object; return how many there are."""
    if profile not in (None, "cosem"):
        raise WrongUse(f"--profile {profile}: expected cosem (cellmap is not there yet)")
    if out.suffix not in (".csv", ".parquet") or (profile and out.suffix != ".csv"):
        raise WrongUse(f"--out {out}: expected a name that ends in .csv" + (
            "" if profile else " or .parquet"))  # fmt: skip
    check_file(out)
    source = open_volume(labels, kind="labels", voxel_size_nm=voxel_size_nm)
    grey = None
    if raw is not None:
        grey = open_volume(raw, kind="raw", voxel_size_nm=source.voxel_size_nm)
        _same_shape(source, grey)
    fold, grid = RowTotals(), _blocks(source)
    for index in track(list(grid.indices()), "measured"):
        box = grid.box(index)
        values = None if grey is None else grey.read(box)
        fold.put(index, measure(_patch(source, grid.block(index, HALO)), box, values))
    table = finish(fold.total(), source.voxel_size_nm, raw=grey is not None)
    if profile == "cosem":
        data = cosem_csv(table, source.voxel_size_nm)
    elif out.suffix == ".csv":
        data = to_csv(table)
    else:
        data = to_parquet(table, {"voxel_size_nm": str(list(source.voxel_size_nm))})
    write_file(out, data)
    return int(table.num_rows)


def evaluate_volumes(
    truth: str, test: str, *, threshold: int | None, instances: bool, voxel_size_nm: Voxel | None
) -> Mapping[str, Any]:
    """Return the scores of a segmentation; those of its objects have names of their own."""
    one = open_volume(truth, kind="any", voxel_size_nm=voxel_size_nm or _any_size(truth))
    two = open_volume(test, kind="any", voxel_size_nm=voxel_size_nm or _any_size(test))
    _same_shape(one, two)
    counts, pairs = scoring.Overlap(), scoring.Pairs() if instances else None
    grid = _blocks(one)
    for index in track(list(grid.indices()), "compared"):
        a, b = one.read(grid.box(index)), two.read(grid.box(index))
        counts += scoring.count(a, b, threshold)
        if pairs is not None:
            pairs += scoring.count_pairs(a, b)
    found: dict[str, Any] = dict(scoring.scores(counts))
    if pairs is not None:
        found["instances"] = matched = scoring.instance_scores(pairs)
        if matched["tp"] + matched["fn"] == 1 < matched["tp"] + matched["fp"]:
            log.warning("%s holds one object: a mask? --instances needs a number for each", truth)
    return found


def _any_size(path: str) -> Voxel | None:
    """Return a voxel size for a volume that has none: scores only count voxels."""
    try:
        open_volume(path, kind="any").close()
    except WrongUse as error:
        if "no voxel size" in str(error):
            return (1.0, 1.0, 1.0)
        raise
    return None


def _same_shape(one: Source, two: Source) -> None:
    if one.shape != two.shape:
        raise WrongUse(f"{two.name} is {two.shape}; {one.name} is {one.shape}: expected the same")

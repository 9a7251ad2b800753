"""Another pipeline for a dataset that is there: what is frozen stays, all else is designed anew."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from fibstream.core.dataset import Dataset, Model, Prediction
from fibstream.core.echo import cut, listed
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Index
from fibstream.registry import words
from fibstream.services.inference.edges.model import network_bytes, read_model
from fibstream.services.inference.port import (
    Described,
    ModelSpec,
    check_one_grid,
    check_voxel_size,
)
from fibstream.services.inference.tiling import waste
from fibstream.services.ingest.edges.datasets import DatasetDesign
from fibstream.store.gate import FREE, Gate

from .blocks import check_blocks
from .naming import check_recipes, named_organelles, named_predictions, taken, with_steps
from .pipelines import Pipeline, PredictionEntry, network_name
from .wiring import check_wiring

WARN_ABOVE_WASTE = 2.0  # voxels computed for each that is kept

Find = Callable[[str], Path]  # the file of a network as a pipeline names it
Make = Callable[[Path], Described]


def redesign(
    there: Dataset, pipeline: Pipeline, find: Find, make: Make, gate: Gate = FREE
) -> DatasetDesign:  # fmt: skip
    """Return a dataset with another pipeline; WrongUse where it cannot be made of the dataset.

    The acquisition stays as it is, what lands too, and so do the networks of the same name.
    """
    models: list[Model] = []
    pipeline, files = taken(pipeline, words(), gate)
    notes: list[str] = []
    frozen = {model.name: model for model in there.models}
    for number, given in enumerate(pipeline.models):
        model = frozen.get(network_name(given))
        if model is not None:
            notes += _kept_notes(model, given, find, pipeline.where("models", number))
        else:
            path = find(given)
            spec = read_model(path)
            check_one_grid(spec)
            check_voxel_size(spec, there.voxel_size_nm)
            engine = make(path)
            model = model_of(engine)
            files[model.path] = network_bytes(path)
            notes += waste_notes(engine.spec, there.chunk)
        models.append(model)
    landing = [prediction for prediction in there.predictions if not prediction.model]
    pipeline, more = _with_landing(pipeline, landing)
    lengths_nm = {prediction.name: prediction.length_nm for prediction in landing}
    predictions = named_predictions(pipeline, models, lengths_nm)
    landed = {prediction.name: prediction for prediction in landing}  # as they were declared
    predictions = tuple(p if p.model else landed[p.name] for p in predictions)
    organelles = named_organelles(pipeline.organelles, predictions)
    parts = {"models": tuple(models), "predictions": predictions, "organelles": organelles}
    dataset = with_steps(there.model_copy(update=parts), pipeline, words())
    check_recipes(dataset, pipeline.organelles)
    check_wiring(dataset)
    check_blocks(dataset)
    return DatasetDesign(dataset, files, [*notes, *more])


def _kept_notes(model: Model, given: str, find: Find, where: str) -> list[str]:
    """Return what to say of a network that stays; WrongUse where its file is another one."""
    is_file = given.endswith(".onnx")
    try:
        digest = hashlib.sha256(network_bytes(find(given))).hexdigest()
    except WrongUse:
        if is_file:
            raise
        return []  # the dataset has its own copy
    if digest == model.sha256:
        return []
    if is_file:
        raise WrongUse(
            f"{where} network {cut(given, 40)}: the dataset has another file of the name "
            f"{cut(model.name, 40)}; "
            "give this one another name"
        )
    return [f"network {model.name}: the dataset keeps its own, another one has the name now"]


def _with_landing(pipeline: Pipeline, landing: Sequence[Prediction]) -> tuple[Pipeline, list[str]]:
    """Return a pipeline with all that lands, and notes; WrongUse for what has no way to land.

    What has landed can be computed from nothing: it stays, whether a pipeline names it or not.
    """
    known = {prediction.name: prediction for prediction in landing}
    given = [entry for entry in pipeline.predictions if entry.lands]
    for entry in given:
        what = f"{entry.where} prediction {cut(entry.name, 40)}"
        if entry.name not in known:
            raise WrongUse(
                f"{what}: an update lands nothing, and what has landed is "
                f"{listed(known, 40) if known else 'raw alone'}; expected one of a network or that "
                "has landed, "
                "or fibstream run with the same --out"
            )
        there, length_nm = known[entry.name], known[entry.name].length_nm
        declared = (entry.given_as or entry.squash_nm) and not entry.path
        other = entry.given_as and entry.made_of != there.made_of
        if declared and (entry.length_nm != length_nm or other):
            kind = f"with squash_nm {length_nm:g}" if length_nm else "as a probability"
            kind += f", of {there.made_of}" if there.made_of else ""
            raise WrongUse(f"{what}: it has landed {kind}; expected that")
    unnamed = known.keys() - {entry.name for entry in given}
    kept = [PredictionEntry(name=p.name, squash_nm=p.squash_nm) for p in landing
            if p.name in unnamed]  # fmt: skip
    notes = [f"prediction {e.name}: stays as it has landed; {e.path} is not read"
             for e in given if e.path]  # fmt: skip
    return pipeline.model_copy(update={"predictions": (*pipeline.predictions, *kept)}), notes


def model_of(engine: Described) -> Model:
    """Return a network as a dataset records it: what is not of its grid is refused before."""
    spec = engine.spec
    assert spec.finer == (1, 1, 1), spec
    # Left out, since it says nothing more, so that records stay as earlier versions wrote them.
    kept = spec.model_dump(mode="json", exclude={"output_voxel_size_nm"})
    return Model(
        name=spec.name, classes=spec.classes, sha256=spec.sha256,
        spec=kept, profile=dict(engine.profile),
    )  # fmt: skip


def waste_notes(spec: ModelSpec, chunk: Index) -> list[str]:
    """Return a note where a network computes many times the voxels that are kept."""
    times = waste(spec, chunk)
    if times < WARN_ABOVE_WASTE:
        return []
    edges, output = (",".join(map(str, e)) for e in (chunk, spec.output))
    return [
        f"chunk {edges} is small for the tiles of model {spec.name} (output {output}): "
        f"the network computes {times:.1f} times as many voxels as are kept"
    ]

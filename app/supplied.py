"""What a run gives a pipeline beside its text: networks, stored predictions, organelles wanted.

Each returns another pipeline, in which nothing is left to be guessed: what a prediction is read
from is written down as if the pipeline had said so.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from fibstream.core.echo import cut, listed
from fibstream.core.errors import WrongUse
from fibstream.services.refine.recipe import find_recipe

from .pipelines import OrganelleEntry, Pipeline, PredictionEntry, network_name

PREDICTIONS = "predictions"


def with_networks(pipeline: Pipeline, classes: Mapping[str, Collection[str]]) -> Pipeline:
    """Return a pipeline with further networks, given by their names or files, with their classes.

    What they predict need not land: a prediction without a path is theirs.
    """
    there = {network_name(given).lower() for given in pipeline.models}
    for given in classes:
        if network_name(given).lower() in there:
            raise WrongUse(f"--model {cut(given, 80)}: the pipeline has this network already")
        there.add(network_name(given).lower())
    made = {name for names in classes.values() for name in names}
    kept = [e for e in pipeline.predictions if not (is_bare(e) and e.name in made)]
    models = (*pipeline.models, *classes)
    return pipeline.model_copy(update={"models": models, "predictions": tuple(kept)})


def only(pipeline: Pipeline, names: Sequence[str]) -> Pipeline:
    """Return a pipeline of these organelles and those that they are made of.

    A prediction without a path that only the others read is left out with them.
    """
    entries = {entry.name: entry for entry in pipeline.organelles}
    if unknown := [name for name in names if name not in entries]:
        raise WrongUse(
            f"--organelles {cut(unknown[0], 60)}: the pipeline has {listed(entries, 60)}"
        )
    wanted, left = set[str](), list(names)
    while left:
        if (name := left.pop()) not in wanted:
            wanted.add(name)
            left += [each for each in reads(entries[name], "labels") if each in entries]
    kept = tuple(entry for entry in pipeline.organelles if entry.name in wanted)
    used = {name for entry in kept for name in reads(entry, "prediction")}
    gone = {name for e in pipeline.organelles for name in reads(e, "prediction")} - used
    predictions = tuple(e for e in pipeline.predictions if not (is_bare(e) and e.name in gone))
    return pipeline.model_copy(update={"organelles": kept, "predictions": predictions})


def with_stored(pipeline: Pipeline, folder: Path) -> Pipeline:
    """Return a pipeline whose predictions without a path are those of their names in a folder.

    They lie in its group ``predictions``, as `predict`, `phantom` and `run` write them, else in
    the folder itself. Raises WrongUse, which names all that is missing and what can do without.
    """
    if not folder.is_dir():
        raise WrongUse(f"--predictions {folder}: no such folder; expected one of arrays by class")
    if not any(map(is_bare, pipeline.predictions)):
        raise WrongUse(f"--predictions {folder}: the pipeline has no prediction without a path")
    group = folder / PREDICTIONS if (folder / PREDICTIONS).is_dir() else folder
    bare = [entry.name for entry in pipeline.predictions if is_bare(entry)]
    if missing := [name for name in bare if not (group / name).is_dir()]:
        raise WrongUse(_lacking(pipeline, folder, group, missing))
    predictions = tuple(
        entry.model_copy(update={"path": str(group / entry.name)}) if is_bare(entry) else entry
        for entry in pipeline.predictions
    )
    return pipeline.model_copy(update={"predictions": predictions})


def _lacking(pipeline: Pipeline, folder: Path, group: Path, missing: Sequence[str]) -> str:
    """Return what a folder lacks, which organelles need it, and which can be made without."""
    entries = {entry.name: entry for entry in pipeline.organelles}
    gone = set[str]()
    while more := {
        name for name, entry in entries.items()
        if name not in gone
        and (set(reads(entry, "prediction")) & set(missing) or set(reads(entry, "labels")) & gone)
    }:  # fmt: skip
        gone |= more
    made = ",".join(name for name in entries if name not in gone)
    without = f"; or without them --organelles {made}" if made else ""
    return (
        f"--predictions {folder}: has no {listed(missing, 40)}, of which "
        f"{listed([name for name in entries if name in gone], 40)} are made; expected "
        f"{group / missing[0]}{without}"
    )


def reads(entry: OrganelleEntry, kind: str) -> list[str]:
    """Return the names that an organelle reads of a kind, as far as its recipe or entry has them.

    ``kind`` is ``prediction`` or ``labels``.
    """
    names = [
        entry.inputs.get(role.name, role.default)
        for role in find_recipe(entry.recipe).inputs
        if role.kind == kind and (not role.optional or role.name in entry.inputs)
    ]
    return [name for name in names if name is not None]


def is_bare(entry: PredictionEntry) -> bool:
    """Whether a prediction is to land, and the pipeline does not say from where."""
    return entry.lands and not entry.path

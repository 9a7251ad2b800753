"""Names and inputs in a pipeline: which prediction is which class, what an organelle is made of."""

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from fibstream.core.dataset import SQUASH_NM, Dataset, Frozen, Model, Organelle, Prediction
from fibstream.core.echo import cut, listed
from fibstream.core.errors import WrongUse
from fibstream.core.service import Taken, Word
from fibstream.core.stage import RAW
from fibstream.services.refine.recipe import Role, find_recipe, resolve
from fibstream.store.gate import Gate

from .pipelines import OrganelleEntry, Pipeline, PredictionEntry, Words


def named_predictions(
    pipeline: Pipeline, models: Sequence[Model], lengths_nm: Mapping[str, float]
) -> tuple[Prediction, ...]:
    """Return every prediction: each class of each network by its name, then what is stored.

    ``lengths_nm`` are the squash lengths of the stored ones that can land, 0 of a probability.
    """
    given = dict(zip(pipeline.models, models, strict=True))
    classes = [entry for entry in pipeline.predictions if not entry.lands]
    names = _other_names(classes, {**{m.name: m for m in models}, **given})
    found: dict[str, Prediction] = {}
    for number, model in enumerate(models):
        for channel in model.classes:
            prediction = Prediction(
                name=names.get((model.name, channel), channel), model=model.name, channel=channel,
                squash_nm=model.spec["scale_nm"],
                is_distance=model.spec.get("meaning", "distance") == "distance",
            )  # fmt: skip
            other = found.setdefault(prediction.name.lower(), prediction)
            if other is not prediction:
                where = _where_named(prediction, other, pipeline, number)
                raise WrongUse(f"{where} {_shared(other, prediction)}")
    stored = [_stored(entry, lengths_nm, found) for entry in pipeline.predictions if entry.lands]
    return *found.values(), *stored


def _stored(
    entry: PredictionEntry, lengths_nm: Mapping[str, float], predicted: Mapping[str, Prediction]
) -> Prediction:
    """Return a stored prediction; raise WrongUse where it cannot land or its name is taken."""
    name, what = entry.name, f"{entry.where} prediction {cut(entry.name, 40)}"
    if name not in lengths_nm and entry.path:
        raise WrongUse(
            f"{what}: from: PATH is for fibstream run; a client gives {{name: {cut(name, 40)}, as: "
            "distance|probability|labels|mask} and lands it by land --prediction NAME=PATH"
        )
    if name not in lengths_nm:
        raise WrongUse(
            f"{what}: without from: PATH, as and squash_nm are for running services; fibstream run "
            "needs from: PATH, --predictions FOLDER that has it, or --model of a network"
        )
    if name == RAW:
        raise WrongUse(f"{what}: the name is that of the volume itself; give another")
    if other := predicted.get(name.lower()):
        raise WrongUse(
            f"{what}: network {cut(other.model, 40)} predicts {cut(other.name, 40)}; "
            "give another name"
        )
    length_nm = lengths_nm[name]
    return Prediction(
        name=name, squash_nm=length_nm or SQUASH_NM, is_distance=length_nm > 0,
        made_of=entry.made_of,
    )  # fmt: skip


def _other_names(
    entries: Sequence[PredictionEntry], models: Mapping[str, Model]
) -> dict[tuple[str, str], str]:
    """Return the names that the pipeline gives to classes, by network and class."""
    names: dict[tuple[str, str], str] = {}
    for entry in entries:
        what = f"{entry.where} prediction {cut(entry.name, 40)}"
        if entry.model not in models:
            raise WrongUse(
                f"{what}: no network {cut(entry.model, 40)}; models names {listed(models, 60)}"
            )
        model = models[entry.model]
        if entry.channel not in model.classes:
            raise WrongUse(
                f"{what}: network {cut(model.name, 40)} has no class {cut(entry.channel, 40)}:"
                f" {listed(model.classes, 40)}"
            )
        other = names.setdefault((model.name, entry.channel), entry.name)
        if other != entry.name:
            raise WrongUse(
                f"{what}: class {cut(entry.channel, 40)} of {cut(model.name, 40)} is"
                f" {cut(other, 40)} already"
            )
    return names


def _where_named(one: Prediction, two: Prediction, pipeline: Pipeline, number: int) -> str:
    """Return where the pipeline names one of two predictions, else its network ``number``."""
    named = {entry.name: entry.where for entry in pipeline.predictions if not entry.lands}
    return named.get(one.name) or named.get(two.name) or pipeline.where("models", number)


def _shared(one: Prediction, two: Prediction) -> str:
    """Return what is wrong with two predictions of one name, and the entry that would help."""
    free = f"{two.channel}-{two.model}".replace("--", "-")
    return (
        f"networks {one.model} and {two.model} both predict {two.name}; give one of "
        f"them another name: predictions: [{{name: {free}, model: {two.model}, "
        f"class: {two.channel}}}]"
    )


def named_organelles(
    entries: Sequence[OrganelleEntry], predictions: Sequence[Prediction]
) -> tuple[Organelle, ...]:
    """Return organelles with all inputs named and every parameter spelled out."""
    known = {
        "prediction": [prediction.name for prediction in predictions],
        "labels": [entry.name for entry in entries],
    }
    found = tuple(
        Organelle(
            name=entry.name, recipe=entry.recipe,
            inputs={
                role.name: _input(entry, role, known[role.kind])
                for role in find_recipe(entry.recipe).inputs
                if not role.optional or role.name in entry.inputs
            },
            settings=resolve(entry.recipe, entry.set).model_dump(mode="json"),
        )
        for entry in entries
    )  # fmt: skip
    _check_order(found, {entry.name: entry.where for entry in entries})
    return found


def _input(entry: OrganelleEntry, role: Role, known: Sequence[str]) -> str:
    """Return the name that an organelle reads in a role; WrongUse where none fits."""
    name = entry.inputs.get(role.name, role.default)
    if name is None and role.kind == "prediction" and len(known) == 1:
        return known[0]
    if name is None or name not in known:
        kind = "prediction" if role.kind == "prediction" else "organelle"
        wanted = f"{kind} {cut(name, 40)}" if name else f"a {role.name}: give from:"
        raise WrongUse(
            f"{entry.where} organelle {cut(entry.name, 40)}: recipe {entry.recipe} needs {wanted}; "
            f"there is {listed(known, 40)}"
        )
    return name


def _check_order(organelles: Sequence[Organelle], where: Mapping[str, str]) -> None:
    """Raise WrongUse for organelles that are made of each other in a circle."""
    reads = {
        o.name: [
            o.inputs[role.name]
            for role in find_recipe(o.recipe).inputs
            if role.kind == "labels" and role.name in o.inputs
        ]
        for o in organelles
    }
    try:
        TopologicalSorter(reads).prepare()
    except CycleError as error:
        circle = error.args[1][::-1]
        line = f"organelles are made in a circle: {cut(' from '.join(circle))}"
        raise WrongUse(f"{where[circle[0]]} {line}") from None


def check_recipes(dataset: Dataset, entries: Sequence[OrganelleEntry] = ()) -> None:
    """Raise WrongUse for an organelle whose settings cannot be applied to what it is made of.

    The line of its entry is added where it has one.
    """
    where = {entry.name: f"{entry.where} " for entry in entries}
    for organelle in dataset.organelles:
        try:
            find_recipe(organelle.recipe).stages(dataset, organelle)
        except WrongUse as error:
            raise WrongUse(f"{where.get(organelle.name, '')}{error}") from None


def taken(pipeline: Pipeline, words: Words, gate: Gate) -> tuple[Pipeline, dict[str, bytes]]:
    """Return a pipeline whose elements name no file of the outside, and what a dataset keeps of it.

    Raises WrongUse, with the line, for a file that its word cannot use or the gate does not admit.
    """
    steps, files = dict(pipeline.steps), dict[str, bytes]()
    for name in [name for name in steps if words[name].take is not None]:
        found = [_taken(pipeline, words[name], number, gate) for number in range(len(steps[name]))]
        steps[name] = tuple(each.entry for each in found)
        for each in found:
            files |= each.files
    return pipeline.model_copy(update={"steps": steps}), files


def _taken(pipeline: Pipeline, word: Word, number: int, gate: Gate) -> Taken:
    assert word.take is not None
    try:
        return word.take(pipeline.steps[word.name][number], gate)
    except WrongUse as error:
        raise WrongUse(f"{pipeline.where(word.name, number)} {error}") from None


def with_steps(dataset: Dataset, pipeline: Pipeline, words: Words) -> Dataset:
    """Return the dataset with what further words of its pipeline list, every default spelled out.

    The service that declares a word raises WrongUse for what it cannot read; the line of the
    element is added.
    """
    steps = {
        word: tuple(
            entry.model_dump(mode="json", by_alias=True)
            for entry in _resolved(dataset, pipeline, words[word])
        )
        for word in pipeline.steps
    }
    return dataset.model_copy(update={"steps": steps})


def _resolved(dataset: Dataset, pipeline: Pipeline, word: Word) -> Sequence[Frozen]:
    """Return the elements below a word, spelled out."""
    entries = pipeline.steps[word.name]
    try:
        return word.resolve(dataset, entries)
    except WrongUse as error:
        for number in range(len(entries)):  # what is wrong is the first that cannot be added
            try:
                word.resolve(dataset, entries[: number + 1])
            except WrongUse as first:
                raise WrongUse(f"{pipeline.where(word.name, number)} {first}") from None
        raise error from None

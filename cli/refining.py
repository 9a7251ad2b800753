"""The work of `fibstream refine`: the stages of a recipe on one prediction, without services."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fibstream.app.design import fitting_chunk
from fibstream.app.sampling import confused_note
from fibstream.core.dataset import SQUASH_NM, Dataset, Organelle, Prediction, check_name
from fibstream.core.documents import word_of
from fibstream.core.echo import cut
from fibstream.core.errors import WrongUse
from fibstream.core.keys import canonical, digest
from fibstream.services.refine.recipe import Recipe, RecipeSettings, find_recipe, resolve
from fibstream.volumes.positions import check_same_grid
from fibstream.volumes.sources import Source, open_volume

from .flags import parse_chunk
from .oneshot import Voxel, new_dataset
from .outputs import Volume, new_groups
from .stages import StageRun

log = logging.getLogger(__name__)


def parse_predictions(texts: Sequence[str], recipe: Recipe) -> dict[str, tuple[str, str]]:
    """Return name and path of the volume that a recipe reads in each role."""
    pairs = [text.partition("=")[::2] for part in texts for text in part.split(",")]
    given = ",".join(texts)
    if not all(name and path for name, path in pairs):
        raise WrongUse(f"--prediction {given}: expected CLASS=PATH")
    chosen = {}
    for role in recipe.inputs:
        named = [pair for pair in pairs if pair[0] in (role.name, role.default)]
        if role.optional and not named:
            continue
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
    for name, path in pairs:
        if (name, path) not in chosen.values():
            roles = ", ".join(role.name for role in recipe.inputs)
            raise WrongUse(f"--prediction {cut(name)}: recipe {recipe.name} takes {roles}")
    return chosen


def parse_overrides(texts: Sequence[str]) -> dict[str, Any]:
    """Return the parameters of ``--set KEY=VALUE``."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise WrongUse(f"--set {cut(text)}: expected KEY=VALUE")
        try:
            found[name] = word_of(value)
        except ValueError as error:
            raise WrongUse(f"--set {cut(text)}: {error}") from None
    return found


class Inputs(NamedTuple):
    """What a recipe reads: the name and the volume of each role."""

    names: Mapping[str, str]
    sources: Mapping[str, Source]

    @property
    def first(self) -> Source:
        """The volume that says shape, voxel size and place; the others have the same."""
        return next(iter(self.sources.values()))


def open_inputs(prediction: Sequence[str], recipe: Recipe, voxel_size_nm: Voxel | None) -> Inputs:
    """Open the volumes of ``--prediction``; WrongUse unless they lie on one grid."""
    chosen = parse_predictions(prediction, recipe)
    sources = {
        role.name: open_volume(chosen[role.name][1], kind=role.kind, voxel_size_nm=voxel_size_nm)
        for role in recipe.inputs
        if role.name in chosen
    }
    inputs = Inputs({role: name for role, (name, _) in chosen.items()}, sources)
    for source in sources.values():
        if note := confused_note(source):
            log.warning("%s", note)
    for source in sources.values():
        check_same_grid(inputs.first, source)
    return inputs


def refined_dataset(
    name: str, recipe: str, settings: RecipeSettings, inputs: Inputs, chunk: str | None
) -> Dataset:
    """Return a dataset of one organelle, which has the name of its recipe."""
    made = Organelle(
        name=recipe, recipe=recipe, settings=settings.model_dump(mode="json"),
        inputs=inputs.names,
    )  # fmt: skip
    edges = fitting_chunk(parse_chunk(chunk), inputs.first.shape, None)
    predictions = tuple(
        Prediction(
            name=made.inputs[role], squash_nm=source.squash_nm or SQUASH_NM,
            is_distance=source.is_distance,
        )
        for role, source in inputs.sources.items()
        if source.kind == "prediction"
    )  # fmt: skip
    dataset = new_dataset(name, inputs.first, edges, "uint64")
    return dataset.model_copy(update={"predictions": predictions, "organelles": (made,)})


def refine_prediction(
    prediction: Sequence[str], organelle: str, out: Path, *, voxel_size_nm: Voxel | None,
    chunk: str | None, overrides: Sequence[str],
) -> str:  # fmt: skip
    """Label the objects of a prediction; return the group that was written."""
    recipe, settings = find_recipe(organelle), resolve(organelle, parse_overrides(overrides))
    inputs = open_inputs(prediction, recipe, voxel_size_nm)
    dataset = refined_dataset(out.name, organelle, settings, inputs, chunk)
    (made,) = dataset.organelles
    arrays = {array_of(made, source, role): source for role, source in inputs.sources.items()}
    _write_labels(out, dataset, recipe, arrays)
    return f"labels/{organelle}"


def array_of(made: Organelle, source: Source, role: str) -> str:
    """Return the array of a dataset that a source stands for."""
    return f"{'labels' if source.kind == 'labels' else 'predictions'}/{made.inputs[role]}"


def _write_labels(
    out: Path, dataset: Dataset, recipe: Recipe, sources: Mapping[str, Source]
) -> None:
    """Compute all stages of the one organelle of a dataset; of what they write, labels stay."""
    (made,) = dataset.organelles
    stages = recipe.stages(dataset, made)
    outputs = [output for stage in stages for output in stage.outputs]
    key = digest(canonical([made.recipe, dict(made.settings)]))
    labels = f"labels/{made.name}"
    with new_groups(out, [labels]) as scratch:
        volume = Volume(scratch, dataset, [o for o in outputs if o.dtype], key)
        run = StageRun(volume, dataset.grid, sources, recipe.fold(dataset, made))
        for stage in stages:
            run.run(stage)
        for top in {output.name.partition("/")[0] for output in outputs if output.name != labels}:
            shutil.rmtree(scratch / top, ignore_errors=True)

"""The work of `fibstream select --refine`: settings of a recipe chosen by score on truth."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fibstream.app.truths import open_truth
from fibstream.core.dataset import Dataset
from fibstream.core.documents import word_of
from fibstream.core.echo import cut
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Index
from fibstream.core.stage import Block, Input, Patch
from fibstream.kernels.scores import instance_scores, object_sizes
from fibstream.services.refine.recipe import find_recipe, resolve
from fibstream.services.refine.search import METRICS, Lists, Tried, best, combinations
from fibstream.services.refine.trial import CountedFragments, cut_key, stages_of
from fibstream.volumes.sources import Source

from .flags import check_choice
from .oneshot import Voxel
from .progress import track
from .refining import Inputs, array_of, open_inputs, parse_overrides, refined_dataset

COLUMNS = ("f1", "precision", "recall", "pq", "objects", "splits", "merges")
PLAIN = "generic"  # the recipe of the row to beat


class Choice(NamedTuple):
    """All combinations with their scores, and which one is chosen.

    Beside them ``own`` has the recipe's own values, and ``plain`` are connected components.
    """

    recipe: str
    name: str  # of the prediction
    path: str
    truth: str
    objects: int  # of the truth
    metric: str
    lists: Lists
    tried: list[Tried]
    chosen: int
    own: Tried
    plain: Tried


def choose(
    prediction: str, truth: str, organelle: str, *, grid: Sequence[str], overrides: Sequence[str],
    metric: str, voxel_size_nm: Voxel | None, chunk: str | None,
) -> Choice:  # fmt: skip
    """Score every combination of settings of a recipe against a truth.

    Raises WrongUse for what the recipe does not take, and for a truth that cannot be compared: of
    another shape, voxel size or place, or with fewer than two objects.
    """
    check_choice(metric, METRICS, "--metric")
    recipe, fixed = find_recipe(organelle), parse_overrides(overrides)
    lists = parse_grid(grid) or recipe.tried
    tried = combinations(recipe, lists, fixed)
    inputs = open_inputs([prediction], recipe, voxel_size_nm)
    if len(inputs.names) > 1:
        raise WrongUse(
            f"--prediction {cut(prediction)}: expected one volume; masks are no part of a choice"
        )
    wanted = open_truth(truth, inputs.first)
    beside = Tried((), fixed, {}), Tried((), _plain_settings(organelle, fixed), {})
    every = [(organelle, each) for each in (*tried, beside[0])] + [(PLAIN, beside[1])]
    made = [
        refined_dataset("choice", name, resolve(name, each.settings), inputs, chunk)
        for name, each in every
    ]
    scores = _scored(made, inputs, wanted)
    *tried, own, plain = (
        each._replace(scores=found) for (_, each), found in zip(every, scores, strict=True)
    )
    return Choice(
        organelle, inputs.names["prediction"], prediction.partition("=")[2], truth,
        int(plain.scores["tp"] + plain.scores["fn"]), metric, lists, tried, best(tried, metric),
        own, plain,
    )  # fmt: skip


def parse_grid(texts: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Return the values of each setting in ``--grid KEY=VALUE,VALUE``."""
    found: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not (name and equals and values) or name in found:
            raise WrongUse(f"--grid {cut(text)}: expected KEY=VALUE,VALUE, each KEY once")
        try:
            found[name] = tuple(map(word_of, values.split(",")))
        except ValueError as error:
            raise WrongUse(f"--grid {cut(text)}: {error}") from None
    return found


def _plain_settings(recipe: str, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of connected components that are those of a recipe, where it has them."""
    settings = resolve(recipe, fixed).model_dump(mode="json")
    known = type(find_recipe(PLAIN).settings).model_fields
    return {"fill_holes": "none"} | {key: settings[key] for key in settings if key in known}


def _scored(
    datasets: Sequence[Dataset], inputs: Inputs, truth: Source
) -> list[dict[str, int | float]]:
    """Return the scores of each way to make an organelle; each stage cuts the prediction once."""
    groups: dict[bytes, list[int]] = {}
    for number, dataset in enumerate(datasets):
        groups.setdefault(cut_key(dataset, *dataset.organelles), []).append(number)
    found: dict[int, dict[str, int | float]] = {}
    for numbers in groups.values():
        first = datasets[numbers[0]]
        counted = _counted(first, inputs, truth)
        for number in track(numbers, "settings scored"):
            pairs = counted.pairs(datasets[number], *datasets[number].organelles)
            objects = len(object_sizes(pairs)[1])
            found[number] = instance_scores(pairs) | {"objects": objects}
    return [found[number] for number in range(len(datasets))]


def _counted(dataset: Dataset, inputs: Inputs, truth: Source) -> CountedFragments:
    """Cut the prediction chunk by chunk, and count what lies in the truth."""
    (made,) = dataset.organelles
    cutting = stages_of(dataset, made)[0]
    sources = {array_of(made, source, role): source for role, source in inputs.sources.items()}
    counted, ids = CountedFragments(cutting), set[int]()
    for index in track(list(dataset.grid.indices()), "chunks cut"):
        box = dataset.grid.box(index)
        voxels = truth.read(box)
        if len(ids) < 3:  # 0 and two objects
            ids |= set(np.unique(voxels)[:3].tolist())
        patches = {i.name: _patch(i, sources[i.name], dataset, index) for i in cutting.inputs}
        counted.add(index, cutting.compute(Block(index, box, patches, {}, b"")), voxels)
    _check_objects(truth, len(ids - {0}))
    return counted


def _patch(reading: Input, source: Source, dataset: Dataset, index: Index) -> Patch:
    box = dataset.grid.block(index, reading.halo)
    return Patch(source.read(box).astype(reading.dtype, copy=False), box)


def _check_objects(truth: Source, objects: int) -> None:
    """Raise WrongUse for a truth of no object, or of one, of which none can touch another."""
    if objects < 2:
        held = "one id, as a mask" if objects else "nothing"
        raise WrongUse(
            f"--truth {truth.name}: holds {held}; expected labels with an id for each object"
        )


def table(choice: Choice) -> list[str]:
    """Return the lines of a table: combinations of one score in one row, the best first.

    ``alike`` says how many they are; shown is the one that would be chosen of them. Last come the
    recipe with its own values, and connected components.
    """
    keys = list(choice.lists)
    groups: dict[tuple[str, ...], list[Tried]] = {}
    for each in choice.tried:
        groups.setdefault(tuple(_cells(each)), []).append(each)
    chosen = choice.tried[choice.chosen]
    shown = []
    for group in groups.values():
        # Of one score as it is printed, not always of one as it is compared.
        held = any(each is chosen for each in group)
        shown.append((chosen if held else group[best(group, choice.metric)], len(group)))
    shown.sort(key=lambda row: (row[0] is not chosen, *_descending(row[0], choice.metric)))
    rows = [["", *keys, *COLUMNS, "alike"]]
    for each, count in shown:
        mark = "*" if each is chosen else ""
        rows.append([mark, *(str(each.settings[key]) for key in keys), *_cells(each), str(count)])
    own = resolve(choice.recipe, choice.own.settings)
    rows.append([choice.recipe, *(str(getattr(own, k)) for k in keys), *_cells(choice.own), ""])
    rows.append([PLAIN, *("" for _ in keys), *_cells(choice.plain), ""])
    width = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(c.rjust(n) for c, n in zip(row, width, strict=True)) for row in rows]


def _descending(tried: Tried, metric: str) -> tuple[float, float]:
    return -tried.scores[metric], -tried.scores["pq"]


def _cells(tried: Tried) -> list[str]:
    values = (tried.scores[column] for column in COLUMNS)
    return [str(value) if isinstance(value, int) else f"{value:.4f}" for value in values]


def pipeline_text(choice: Choice) -> str:
    """Return a pipeline with the organelle that was chosen, of the prediction at its path."""
    chosen = choice.tried[choice.chosen]
    score, own, plain = (each.scores[choice.metric] for each in (chosen, choice.own, choice.plain))
    # Text in JSON is text in YAML, whatever a path holds.
    entry = {
        "name": choice.name, "recipe": choice.recipe, "from": choice.name,
        "set": dict(chosen.settings),
    }  # fmt: skip
    return (
        f"# {choice.metric} {score:.4f}, the best of {len(choice.tried)} combinations; recipe "
        f"{choice.recipe} as it is {own:.4f}, connected components {plain:.4f}.\n"
        f"# Scored on the {choice.objects} objects that they were chosen on, of "
        f"{cut(json.dumps(choice.truth))}.\n"
        f"predictions:\n  - {json.dumps({'name': choice.name, 'from': choice.path})}\n"
        f"organelles:\n  - {json.dumps(entry)}\n"
    )

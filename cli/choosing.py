"""The work of `fibstream select --refine`: settings of a recipe chosen by score on truth."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fibstream.app.truths import open_truth
from fibstream.core.dataset import SQUASH_NM, Dataset
from fibstream.core.documents import word_of
from fibstream.core.echo import cut
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Index
from fibstream.core.stage import Block, Input, Patch
from fibstream.kernels.scores import Pairs, instance_scores, object_sizes
from fibstream.services.refine.recipe import Recipe, find_recipe, resolve
from fibstream.services.refine.search import METRICS, Lists, Tried, best, combinations
from fibstream.services.refine.trial import CountedFragments, cut_key, stages_of
from fibstream.volumes.sources import Source

from .flags import check_choice
from .oneshot import Voxel
from .progress import track
from .refining import Inputs, array_of, open_inputs, parse_overrides, refined_dataset

ID_BITS = 64  # of an id within a crop; ids of another crop have its number above them
COLUMNS = ("f1", "precision", "recall", "pq", "objects", "splits", "merges")
PLAIN = "generic"  # the recipe of the row to beat


class Crop(NamedTuple):
    """A prediction and the truth of the same voxels, opened and as they were named."""

    inputs: Inputs
    truth: Source
    path: str  # of the prediction
    truth_path: str


class Choice(NamedTuple):
    """All combinations with their scores, and which one is chosen.

    Beside them ``own`` has the recipe's own values, and ``plain`` are connected components.
    """

    recipe: str
    crops: Sequence[Crop]
    objects: int  # of the truths
    metric: str
    lists: Lists
    tried: list[Tried]
    chosen: int
    own: Tried
    plain: Tried


def choose(
    predictions: Sequence[str], truths: Sequence[str], organelle: str, *, grid: Sequence[str],
    overrides: Sequence[str], metric: str, voxel_size_nm: Voxel | None, chunk: str | None,
) -> Choice:  # fmt: skip
    """Score every combination of settings of a recipe against truths, one of each prediction.

    Objects of all crops are counted together.

    Raises WrongUse for what the recipe does not take, for crops that cannot be pooled, and for
    truths that cannot be compared: of another shape, voxel size or place, or with fewer than two
    objects.
    """
    check_choice(metric, METRICS, "--metric")
    recipe, fixed = find_recipe(organelle), parse_overrides(overrides)
    lists = parse_grid(grid) or recipe.tried
    tried = combinations(recipe, lists, fixed)
    crops = _open_crops(predictions, truths, recipe, voxel_size_nm)
    beside = Tried((), fixed, {}), Tried((), _plain_settings(organelle, fixed), {})
    every = [(organelle, each) for each in (*tried, beside[0])] + [(PLAIN, beside[1])]
    scores = _scored(every, crops, chunk)
    *tried, own, plain = (
        each._replace(scores=found) for (_, each), found in zip(every, scores, strict=True)
    )
    objects = int(plain.scores["tp"] + plain.scores["fn"])
    return Choice(organelle, crops, objects, metric, lists, tried, best(tried, metric), own, plain)


def _open_crops(
    predictions: Sequence[str], truths: Sequence[str], recipe: Recipe, voxel_size_nm: Voxel | None
) -> list[Crop]:
    """Open the first prediction with the first truth, and so on."""
    if len(predictions) != len(truths):
        raise WrongUse(
            f"select --refine: {len(predictions)} --prediction and {len(truths)} --truth; "
            "expected a --truth for each --prediction, in the same order"
        )
    crops: list[Crop] = []
    for given, truth in zip(predictions, truths, strict=True):
        inputs = open_inputs([given], recipe, voxel_size_nm)
        if len(inputs.names) > 1:
            raise WrongUse(
                f"--prediction {cut(given)}: expected one volume; masks are no part of a choice"
            )
        opened = open_truth(truth, inputs.first)
        crops.append(Crop(inputs, opened, given.partition("=")[2], truth))
        _check_pooled(crops[0], crops[-1], given)
    return crops


def _check_pooled(first: Crop, other: Crop, given: str) -> None:
    """Raise WrongUse unless settings mean the same in two crops."""
    for what, wanted, found in zip(
        ("class", "voxel size in nm", "squash length in nm", "distances"),
        _kind(first), _kind(other), strict=True,
    ):  # fmt: skip
        if found != wanted:
            raise WrongUse(
                f"--prediction {cut(given)}: {what} {found}; expected that of the first, {wanted}"
            )


def _kind(crop: Crop) -> tuple[object, ...]:
    source = crop.inputs.first
    return (
        crop.inputs.names["prediction"], tuple(source.voxel_size_nm),
        source.squash_nm or SQUASH_NM, source.is_distance,
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
    every: Sequence[tuple[str, Tried]], crops: Sequence[Crop], chunk: str | None
) -> list[dict[str, int | float]]:
    """Return the scores of each recipe with its settings, on all crops together."""
    found = [Pairs() for _ in every]
    held = [0]
    for number, crop in enumerate(crops):
        made = [
            refined_dataset("choice", name, resolve(name, each.settings), crop.inputs, chunk)
            for name, each in every
        ]
        held.append(_add_pairs(found, made, crop, number))
    _check_objects(crops, max(held))
    return [instance_scores(pairs) | {"objects": len(object_sizes(pairs)[1])} for pairs in found]


def _add_pairs(found: Sequence[Pairs], datasets: Sequence[Dataset], crop: Crop, number: int) -> int:
    """Add the pairs of a crop, whose ids are no other's; return its objects, counted to two.

    Each stage cuts the prediction once.
    """
    groups: dict[bytes, list[int]] = {}
    for way, dataset in enumerate(datasets):
        groups.setdefault(cut_key(dataset, *dataset.organelles), []).append(way)
    held = 0
    for ways in groups.values():
        counted, held = _counted(datasets[ways[0]], crop)
        for way in track(ways, "settings scored"):
            pairs = counted.pairs(datasets[way], *datasets[way].organelles)
            found[way].update({
                (a and a | number << ID_BITS, b and b | number << ID_BITS): voxels
                for (a, b), voxels in pairs.items()
            })  # fmt: skip
    return held


def _counted(dataset: Dataset, crop: Crop) -> tuple[CountedFragments, int]:
    """Cut the prediction chunk by chunk, and count what lies in the truth; its objects, to two."""
    (made,) = dataset.organelles
    cutting = stages_of(dataset, made)[0]
    sources = {array_of(made, source, role): source for role, source in crop.inputs.sources.items()}
    counted, ids = CountedFragments(cutting), set[int]()
    for index in track(list(dataset.grid.indices()), "chunks cut"):
        box = dataset.grid.box(index)
        voxels = crop.truth.read(box)
        if len(ids) < 3:  # 0 and two objects
            ids |= set(np.unique(voxels)[:3].tolist())
        patches = {i.name: _patch(i, sources[i.name], dataset, index) for i in cutting.inputs}
        counted.add(index, cutting.compute(Block(index, box, patches, {}, b"")), voxels)
    return counted, len(ids - {0})


def _patch(reading: Input, source: Source, dataset: Dataset, index: Index) -> Patch:
    box = dataset.grid.block(index, reading.halo)
    return Patch(source.read(box).astype(reading.dtype, copy=False), box)


def _check_objects(crops: Sequence[Crop], most: int) -> None:
    """Raise WrongUse if the crop of the most objects has none, or one: none can touch another."""
    if most < 2:
        held = "one id, as a mask" if most else "nothing"
        named = ", ".join(crop.truth.name for crop in crops)
        raise WrongUse(f"--truth {named}: holds {held}; expected labels with an id for each object")


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
    """Return a pipeline with the organelle that was chosen, of the first prediction at its path."""
    chosen = choice.tried[choice.chosen]
    score, own, plain = (each.scores[choice.metric] for each in (chosen, choice.own, choice.plain))
    name = choice.crops[0].inputs.names["prediction"]
    # Text in JSON is text in YAML, whatever a path holds.
    entry = {
        "name": name, "recipe": choice.recipe, "from": name, "set": dict(chosen.settings),
    }  # fmt: skip
    truths = "".join(f"#   {json.dumps(crop.truth_path)}\n" for crop in choice.crops)
    return (
        f"# {choice.metric} {score:.4f}, the best of {len(choice.tried)} combinations; recipe "
        f"{choice.recipe} as it is {own:.4f}, connected components {plain:.4f}.\n"
        f"# Scored on the {choice.objects} objects that they were chosen on, of\n{truths}"
        f"predictions:\n  - {json.dumps({'name': name, 'from': choice.crops[0].path})}\n"
        f"organelles:\n  - {json.dumps(entry)}\n"
    )

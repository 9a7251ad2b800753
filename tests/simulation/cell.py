"""Schedules of every organelle of a cell: the pipeline ``cell`` on pieces of tiny phantoms.

Objects of the paper are larger than a whole volume here: the least volumes of the largest
organelles are made smaller, everything else is the pipeline as it is. Another pipeline is drawn by
changing this one in a few places, and designed as ``update`` does.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from fibstream.app.design import design_request
from fibstream.app.pipelines import BUILT_IN, requested_pipeline
from fibstream.app.redesign import redesign
from fibstream.core.dataset import Dataset
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Index
from fibstream.core.stage import Input
from fibstream.phantom import Phantom, PhantomSpec
from fibstream.phantom.predictions import Noise, predicted
from fibstream.runtime.root import Root
from fibstream.services.ingest.edges.datasets import DatasetRequest
from fibstream.services.refine.recipe import find_recipe
from fibstream.store.gate import FREE

from .draws import Contents, Draws, draw_contents
from .faults import Faults
from .world import World

Tree = dict[str, Any]
MOST_CHUNKS = 8
PLACES = 30  # of a piece of a phantom, of which the richest is taken
VOXEL_NM = 20.0  # halos of 1 to 8 voxels, as large as a chunk
CELL: Tree = yaml.safe_load(BUILT_IN["cell"])
CLASSES = [entry["name"] for entry in CELL["predictions"]]
# Settings that another pipeline may have: what no recipe of an organelle has is not drawn.
VALUES: Mapping[str, tuple[Any, ...]] = {
    "smooth_nm": (0, 12, 20), "threshold_nm": (-10, 0, 10), "connectivity": (6, 18, 26),
    "fill_holes": ("none", "one", "all"), "min_volume_nm3": (0, 4e4, 4e5),
    "max_volume_nm3": (None, 4e6), "keep": ("inside", "outside"), "expand_nm": (0, 40, 100),
    "quantile": (0, 50, 75), "merge_below": (0.1, 0.6, 1.0), "min_depth": (0, 10),
    "min_rule": ("below", "ceil"),
}  # fmt: skip


@cache
def phantoms() -> list[dict[str, NDArray[np.uint8]]]:
    """Return two volumes of predictions by class, ``(z, y, x)``, every second voxel of an axis.

    So all organelles are in little space; as bytes they are of voxels of any size.
    """
    found = []
    for seed in (1, 2):
        spec = PhantomSpec((44, 56, 56), (40.0,) * 3, seed=seed)
        box = Box((0, 0, 0), spec.shape)
        labels, noise = Phantom(spec).labels(box), Noise(16.0, 120.0)
        made = {n: predicted(n, labels, box, box, spec.voxel_size_nm, noise, seed) for n in CLASSES}
        found.append({name: array[::2, ::2, ::2] for name, array in made.items()})
    return found


def draw_cell(rng: random.Random, *, rich: bool = False) -> Dataset:
    """Draw a dataset of all organelles in a few chunks; z is open."""
    while True:
        chunk: Index = (rng.choice((8, 16)), rng.choice((8, 16)), rng.choice((8, 16)))
        y, x = rng.randint(chunk[1], 24), rng.randint(chunk[2], 24)
        if -(-y // chunk[1]) * -(-x // chunk[2]) <= MOST_CHUNKS // 2:
            break
    tree = CELL | {"organelles": [_smaller(entry, rng) for entry in CELL["organelles"]]}
    request = DatasetRequest(
        "sim", (None, y, x), chunk, "uint8", (VOXEL_NM,) * 3, None, False, yaml.safe_dump(tree),
        absent_value=rng.choice((None, None, 0)), absent_mask=rng.random() < 0.15,
    )  # fmt: skip
    return design_request(request, Root("unused"), 1, FREE).dataset


def _smaller(entry: Tree, rng: random.Random) -> Tree:
    """Return an organelle whose least volume fits into the volume."""
    least = getattr(find_recipe(entry["recipe"]).settings, "min_volume_nm3", 0)
    part = rng.choice((1e-3, 1e-2))
    if not least:  # a part has none
        return entry
    return entry | {"set": {"min_volume_nm3": least * part / (10 if least > 1e8 else 1)}}


def draw_extent(rng: random.Random) -> int:
    """Draw how many slices the volume has in the end: at most two chunks of 8, three in some."""
    return rng.randint(6, 18)


def draw_predicted(
    rng: random.Random, dataset: Dataset, plan: Contents, array: Input
) -> Contents:  # fmt: skip
    """Draw a stored prediction: a piece of either phantom with each content of raw."""
    name = array.name.removeprefix("predictions/")
    seed = random.Random(f"{dataset.chunk} {dataset.shape}")  # of all classes the same pieces
    pieces = [volume[name][richest(volume, dataset.grid.extent, seed)] for volume in phantoms()]
    return {
        index: [(n, None if raw is None else rng.choice(pieces)[box.slices()].copy())
                for n, raw in contents]
        for index, contents in plan.items() for box in [dataset.grid.box(index)]
    }  # fmt: skip


def richest(
    volume: Mapping[str, NDArray[np.uint8]], shape: Index, rng: random.Random
) -> tuple[slice, slice, slice]:  # fmt: skip
    """Draw places of a piece, and return that in which most classes have voxels."""
    extent = next(iter(volume.values())).shape
    drawn = []
    for _ in range(PLACES):
        starts = [rng.randint(0, n - m) for n, m in zip(extent, shape, strict=True)]
        z, y, x = (slice(a, a + n) for a, n in zip(starts, shape, strict=True))
        drawn.append((z, y, x))
    return max(drawn, key=lambda at: sum((v[at] >= 127).sum() > 4 for v in volume.values()))


# -- another pipeline ------------------------------------------------------------------------------


def other_cell(rng: random.Random, dataset: Dataset) -> Callable[[Dataset], Dataset]:
    """Draw what makes another pipeline of a dataset's, as it is and sealed."""
    while True:
        tree = tree_of(dataset)
        for _ in range(rng.randint(1, 4)):
            rng.choice(MUTATIONS)(rng, tree)
        wanted = requested_pipeline(yaml.safe_dump(tree))
        try:
            _redesigned(dataset, wanted)
        except WrongUse:  # masks in a circle, or limits out of order
            continue
        return lambda there: _redesigned(there, wanted)


def _redesigned(there: Dataset, wanted: Any) -> Dataset:
    def none(_: object) -> Any:
        raise AssertionError("no network is wanted")

    return redesign(there, wanted, none, none).dataset


def tree_of(dataset: Dataset) -> Tree:
    """Return a dataset's pipeline as a person writes it."""
    organelles = []
    for each in dataset.organelles:
        defaults = find_recipe(each.recipe).settings.model_dump()
        differs = {k: v for k, v in each.settings.items() if v != defaults[k]}
        organelles.append(
            {"name": each.name, "recipe": each.recipe, "from": {**each.inputs}, "set": differs}
        )
    return {"models": [], "predictions": CELL["predictions"], "organelles": organelles}


def _set(rng: random.Random, tree: Tree) -> None:
    entry = rng.choice(tree["organelles"])
    fields = type(find_recipe(entry["recipe"]).settings).model_fields
    name = rng.choice(sorted(VALUES.keys() & fields))
    entry["set"][name] = rng.choice(VALUES[name])


def _from(rng: random.Random, tree: Tree) -> None:
    rng.choice(tree["organelles"])["from"]["prediction"] = rng.choice(CLASSES)


def _without(rng: random.Random, tree: Tree) -> None:
    read = {name for e in tree["organelles"] for role, name in e["from"].items()
            if role != "prediction"}  # fmt: skip
    leaves = [entry for entry in tree["organelles"] if entry["name"] not in read]
    if len(leaves) > 1:
        tree["organelles"].remove(rng.choice(leaves))


def _one_more(rng: random.Random, tree: Tree) -> None:
    name = f"more-{rng.randrange(3)}"
    if name not in (entry["name"] for entry in tree["organelles"]):
        mask = rng.choice(tree["organelles"])["name"]
        inputs = {"prediction": rng.choice(CLASSES), "mask": mask}
        more = {"name": name, "recipe": "masked", "from": inputs, "set": {"expand_nm": 40}}
        tree["organelles"].append(more)


MUTATIONS: tuple[Callable[[random.Random, Tree], None], ...] = (_set, _set, _from, _without,
                                                                _one_more)  # fmt: skip

CELLS = Draws(draw_cell, draw_extent, draw_contents, draw_predicted, other_cell, most_steps=200_000)


def cell_world(seed: int) -> World:
    """Return the schedule of a seed: in every third the pipeline changes, at most twice."""
    faults = Faults(updates=2, seals=1, parks=1) if seed % 3 == 2 else Faults()
    return World(seed, faults, draws=CELLS)

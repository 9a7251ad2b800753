"""Settings are scored on what the recipe labels with them, though voxels are read once for all."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from fibstream.core.errors import WrongUse
from fibstream.core.stage import Block, Patch
from fibstream.kernels.scores import count_pairs
from fibstream.services.refine.recipe import find_recipe
from fibstream.services.refine.search import MAX_TRIED, Tried, best, combinations
from fibstream.services.refine.trial import CountedFragments, cut_key, stages_of

from .streamed import dataset_of, streamed
from .whole import random_grid, random_volume

GIVEN: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "agglomerated": {"min_depth": (0.0, 3.0), "quantile": (20, 80), "merge_below": (0.2, 0.8)},
    "generic": {"fill_holes": ("one", "all"), "min_volume_nm3": (0.0, 1000.0)},
    "mito": {"min_volume_nm3": (0.0, 1000.0), "max_volume_nm3": (None, 4000.0)},
}


@pytest.mark.parametrize("recipe", GIVEN)
@pytest.mark.parametrize("seed", range(6))
def test_what_is_counted_is_what_the_recipe_labels(recipe: str, seed: int) -> None:
    """Of each combination: the pairs of the truth and the labels of the streamed recipe."""
    rng = np.random.default_rng(seed)
    lumps = random_volume(rng, 14)
    grid = random_grid(rng, lumps.shape)
    values = np.where(lumps, 255 - rng.integers(0, 110, lumps.shape), 0).astype(np.uint8)
    truth = rng.integers(0, 4, [n // 5 + 1 for n in lumps.shape]).astype(np.uint64)
    truth = truth.repeat(5, 0).repeat(5, 1).repeat(5, 2)[tuple(map(slice, lumps.shape))]
    order = list(grid.indices())
    fixed = {"smooth_nm": float(rng.choice([0, 4]))}
    every = combinations(find_recipe(recipe), GIVEN[recipe], fixed)
    made = [
        dataset_of(grid, recipe, {"prediction": "p"}, every[n].settings)
        for n in rng.permutation(len(every))[:3]  # more only cost time
    ]
    counted: dict[bytes, CountedFragments] = {}
    for each in made:
        cut = stages_of(*each)[0]
        if cut_key(*each) not in counted:
            found = counted[cut_key(*each)] = CountedFragments(cut)
            for n in rng.permutation(len(order)):
                box = grid.block(order[n], cut.inputs[0].halo)
                core = grid.box(order[n])
                patches = {"predictions/p": Patch(values[box.slices()], box)}
                found.add(
                    order[n], cut.compute(Block(order[n], core, patches)), truth[core.slices()]
                )
        labels = streamed(each, {"predictions/p": values}, order, set()).labels
        assert counted[cut_key(*each)].pairs(*each) == count_pairs(truth, labels)
    # What agglomerates, and sizes, cut nothing anew; another way to fill holes does.
    assert len(counted) == len({m[1].settings.get("fill_holes") for m in made})


def test_recipes_whose_labels_are_no_fragments_are_refused() -> None:
    grid = random_grid(np.random.default_rng(0), (8, 8, 8))
    with pytest.raises(WrongUse, match="recipe part: labels are not made of fragments"):
        stages_of(*dataset_of(grid, "part", {"prediction": "p", "parent": "q"}, {}))


def test_combinations_are_all_in_order_and_resolved() -> None:
    recipe = find_recipe("agglomerated")
    found = combinations(recipe, {"quantile": (1, 2), "merge_below": (0.5, 1)}, {"smooth_nm": 4})
    assert [(t.places, t.settings["quantile"], t.settings["merge_below"]) for t in found] == [
        ((0, 0), 1, 0.5), ((0, 1), 1, 1), ((1, 0), 2, 0.5), ((1, 1), 2, 1),
    ]  # fmt: skip
    assert all(t.settings["smooth_nm"] == 4 for t in found)


@pytest.mark.parametrize("name", ["agglomerated", "mito-jurkat", "nucleus-jurkat"])
def test_what_is_tried_by_default_holds_the_published_rows(name: str) -> None:
    recipe = find_recipe(name)
    found = [
        (t.settings["min_depth"], t.settings["quantile"], t.settings["merge_below"])
        for t in combinations(recipe, recipe.tried, {})
    ]
    for row in ((25, 0.9), (25, 0.875), (50, 0.6), (50, 0.7), (25, 0.1)):
        assert (0, *row) in found
    assert len(found) == len(set(found)) <= MAX_TRIED


@pytest.mark.parametrize(
    ("lists", "fixed", "says"),
    [
        ({}, {}, "nothing to try; give --grid KEY=VALUE,VALUE"),
        ({"quantile": (1, 1)}, {}, "--grid quantile: expected different values"),
        ({"quantile": (1,)}, {"quantile": 2}, "quantile: is both tried and set"),
        ({"quantile": (1, 200)}, {}, "quantile is 200: expected a whole number from 0 to 100"),
        ({"h": (1,)}, {}, "no setting 'h'"),
        ({"quantile": tuple(range(101)), "min_depth": (0, 1, 2, 3)}, {}, "404 combinations of"),
        ({"max_volume_nm3": (1.0, 9.0)}, {"min_volume_nm3": 5.0}, "max_volume_nm3 is less"),
    ],
)
def test_what_cannot_be_tried_is_refused(
    lists: Mapping[str, tuple[Any, ...]], fixed: Mapping[str, Any], says: str
) -> None:
    with pytest.raises(WrongUse, match=says):
        combinations(find_recipe("agglomerated"), lists, fixed)


def tried(*rows: tuple[tuple[int, ...], float, float]) -> list[Tried]:
    return [Tried(places, {}, {"f1": f1, "pq": pq}) for places, f1, pq in rows]


def test_the_best_is_chosen_and_of_equal_ones_that_in_the_middle() -> None:
    assert best(tried(((0,), 0.5, 0.9), ((1,), 0.6, 0.1)), "f1") == 1
    assert best(tried(((0,), 0.5, 0.9), ((1,), 0.6, 0.1)), "pq") == 0
    assert best(tried(((0,), 0.6, 0.1), ((1,), 0.6, 0.2), ((2,), 0.5, 0.9)), "f1") == 1
    flat = [((n,), 0.6 if 2 <= n <= 6 else 0.1, 0.5) for n in range(9)]
    assert best(tried(*flat), "f1") == 4
    plane = [((a, b), float(a < 3), 0.5) for a in range(4) for b in range(5)]
    assert plane[best(tried(*plane), "f1")][0] == (1, 2)
    assert best(tried(((0,), 0.6, 0.5), ((1,), 0.6, 0.5)), "f1") == 0  # of equal sums the first

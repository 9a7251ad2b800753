"""Ids of a choice that name nothing are those that no object has without the choice."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import Field

from fibstream.core.ids import gid
from fibstream.core.stage import Input
from fibstream.services.refine.recipe import ObjectIds, RecipeSettings, recipes
from fibstream.services.refine.unnamed import chooses, unnamed_ids

from .streamed import dataset_of, streamed
from .whole import random_absent, random_grid, random_volume

TRIALS = 12
VOXEL_NM3 = 8 * 4 * 4


@pytest.mark.parametrize("recipe", ["masked", "agglomerated"])
def test_ids_are_those_of_objects_without_the_choice(recipe: str) -> None:
    told = dropped = 0
    for seed in range(TRIALS):
        rng = np.random.default_rng(seed)
        lumps = random_volume(rng, 12)
        grid = random_grid(rng, lumps.shape)
        absent = random_absent(rng, grid)
        values = np.where(lumps, 255 - rng.integers(0, 60, lumps.shape), 20).astype(np.uint8)
        arrays: dict[str, NDArray[Any]] = {
            "predictions/p": values,
            "labels/x": np.zeros(lumps.shape, np.uint64),
        }
        inputs, order = {"prediction": "p", "mask": "x"}, list(grid.indices())
        settings: dict[str, Any] = {"min_volume_nm3": float(rng.integers(0, 5)) * VOXEL_NM3}
        objects = sorted(streamed(dataset_of(grid, recipe, inputs, settings), arrays, order, absent)
                         .objects)  # fmt: skip
        # Neither are voxels inside of objects, small objects, nor those of an absent chunk.
        places = rng.integers(0, lumps.shape, (12, 3)).tolist()
        every = [*objects, *(1 + gid((z, y, x)) for z, y, x in places)]
        only = sorted({i for i in every if rng.random() < 0.5})
        without = sorted({i for i in every if rng.random() < 0.5})
        choice = {"select_ids": only, "drop_ids": without}
        made = dataset_of(grid, recipe, inputs, settings | choice)
        summaries = [
            (Input("fragments/made", name), index, summary)
            for (name, index), summary in streamed(made, arrays, order, absent).summaries.items()
        ]
        found = unnamed_ids(*made, summaries)
        expected = {w: [i for i in ids if i not in objects] for w, ids in choice.items()}
        assert found == {word: ids for word, ids in expected.items() if ids}, seed
        told += bool(found)
        dropped += bool(set(without) & set(objects))
        assert chooses(made[1]) == bool(only or without)
    assert told > TRIALS // 2 and dropped > TRIALS // 4


def test_what_chooses_objects_is_known_by_its_type() -> None:
    class Own(RecipeSettings):
        least: int = 0
        only: ObjectIds = Field(default=[], max_length=3)

    assert Own.choices() == ["only"]
    found = {name: recipe.settings.choices() for name, recipe in recipes().items()}
    assert found["er"] == found["mito-hela-2"] == ["select_ids", "drop_ids"]
    assert found["generic"] == found["er-mem"] == []

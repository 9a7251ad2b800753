"""For every setting of every recipe: where an output differs, its key does."""

from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest

from fibstream.core.errors import WrongUse
from fibstream.core.ids import gid
from fibstream.services.refine.recipe import Recipe, recipes, resolve
from fibstream.services.refine.recipes import agglomerated, published

from .made import Made, dataset_of, inputs_of, make
from .whole import VOXEL

VOXEL_NM3 = VOXEL[0] * VOXEL[1] * VOXEL[2]
BY_UNIT = {"_nm": (-9, 0, 3, 6, 12), "_nm3": tuple(n * VOXEL_NM3 for n in (0, 1, 2, 3, 4.5, 30))}
BY_NAME = {
    "quantile": (0, 25, 50, 100),
    "merge_below": (0, 0.1, 0.5, 0.9, 1),
    "min_depth": (0, 1, 20, 200),
}
# A row of a table differs from another one of its kind in names and defaults alone.
ROWS = (*published.RECIPES, *agglomerated.RECIPES[1:])
KINDS = [recipe for recipe in recipes().values() if recipe not in ROWS]
SETTINGS = [(r, name) for r in KINDS for name in type(r.settings).model_fields]
FIRST_IDS = [1 + gid((0, y, x)) for y in range(6) for x in range(12)]
ROUNDS = 30  # at most: after ENOUGH in which a setting changed something there are no more
ENOUGH = 10


def values(recipe: Recipe, name: str) -> list[Any]:
    """Return values of a setting, by its type and the unit in its name; some may be refused."""
    return list(_values(type(recipe.settings).model_fields[name].annotation, name))


def _values(annotation: Any, name: str) -> tuple[Any, ...]:
    if annotation is type(None):
        return (None,)
    if annotation is bool:
        return False, True
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) is list:
        return [], FIRST_IDS
    if get_args(annotation):
        return tuple(v for one in get_args(annotation) for v in _values(one, name))
    assert annotation in (int, float), f"{name}: give values for a {annotation}"
    return BY_NAME.get(name) or BY_UNIT[name[name.rindex("_") :]]


def drawn(recipe: Recipe, rng: np.random.Generator, **fixed: Any) -> dict[str, Any] | None:
    """Return settings drawn at random but for those that are fixed; None if they do not fit.

    Half of them keep their defaults: many of them at once leave no object.
    """
    settings = {}
    for name in type(recipe.settings).model_fields:
        choices = values(recipe, name)
        if rng.random() < 0.5:
            continue
        settings[name] = choices[rng.integers(len(choices))]
    try:
        return resolve(recipe.name, settings | fixed).model_dump(mode="json")
    except WrongUse:
        return None


class Law:
    """Outputs by their keys: a key has one content."""

    def __init__(self) -> None:
        self._contents: dict[tuple[object, ...], str] = {}
        self.seen: set[tuple[str, ...]] = set()

    def check(self, made: list[Made]) -> None:
        """Note the outputs of one run; fail where one has the key of another content."""
        for output in made:
            content = self._contents.setdefault(output.key, output.content)
            assert content == output.content, f"{output.key[0]} differs, and its key does not"
        self.seen.add(tuple(output.content for output in made))


@pytest.mark.parametrize(
    ("recipe", "name"), SETTINGS, ids=lambda value: getattr(value, "name", value)
)
def test_what_a_setting_changes_has_another_key(recipe: Recipe, name: str) -> None:
    effects = 0
    for seed in range(ROUNDS):
        arrays, law = inputs_of(recipe, seed), Law()
        for value in values(recipe, name):
            # The same seed for every value: the other settings are the same.
            settings = drawn(recipe, np.random.default_rng(seed), **{name: value})
            if settings is not None:
                law.check(list(make(recipe, *dataset_of(recipe, settings), arrays)))
        effects += len(law.seen) > 1
        if effects == ENOUGH:
            break
    assert effects, f"{name} changed nothing: the law was not tested"


@pytest.mark.parametrize("recipe", KINDS, ids=lambda recipe: recipe.name)
def test_what_a_squash_length_changes_has_another_key(recipe: Recipe) -> None:
    effects = 0
    for seed in range(ROUNDS):
        arrays, law = inputs_of(recipe, seed), Law()
        settings = drawn(recipe, np.random.default_rng(seed))
        for squash_nm in (20, 50, 80):
            if settings is not None:
                law.check(list(make(recipe, *dataset_of(recipe, settings, squash_nm), arrays)))
        effects += len(law.seen) > 1
        if effects == ENOUGH:
            break
    assert effects

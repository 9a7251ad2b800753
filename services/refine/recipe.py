"""Recipes: how predictions and labels become an organelle; files of ``recipes/``.

A recipe is found by its file, which has a ``RECIPE`` or a table ``RECIPES``, or by an entry point
of the group ``fibstream.recipes`` that loads a ``Recipe``: nothing lists them, and nothing but its
own file knows its settings.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fibstream.core.dataset import Dataset, Organelle
from fibstream.core.echo import cut, echo, listed
from fibstream.core.errors import WrongUse
from fibstream.core.fold import Fold
from fibstream.core.stage import Stage
from fibstream.kernels.watershed.rule import Agglomeration

GROUP = "fibstream.recipes"  # entry points: a Recipe each
LAST_ID = 2**63 - 1  # 1 + the largest gid
ObjectIds = list[Annotated[int, Field(ge=1, le=LAST_ID)]]  # of a setting that chooses objects


class RecipeSettings(BaseModel):
    """The settings of a recipe with their defaults; a field's description is what it expects.

    A number has bounds, see `bounded`. Values are taken as they are: neither ``true`` nor ``"1"``
    is a number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    @classmethod
    def choices(cls) -> list[str]:
        """Return the settings that choose objects by their ids: those that are `ObjectIds`."""
        return [name for name, field in cls.model_fields.items() if field.annotation == ObjectIds]


def bounded(default: float | None, low: float, high: float, unit: str, or_else: str = "") -> Any:
    """Return the field of a number from ``low`` to ``high``, which its description says."""
    expected = f"a number of {unit} from {low:g} to {high:g}{or_else}"
    return Field(default=default, ge=low, le=high, description=expected)


@dataclass(frozen=True)
class Role:
    """One input of a recipe: a prediction, or the labels of another organelle.

    ``default`` is the name that is read where the pipeline gives none; None: the only prediction.
    An ``optional`` one has no default: where the pipeline gives none, nothing is read.
    """

    name: str
    kind: Literal["prediction", "labels"] = "prediction"
    default: str | None = None
    optional: bool = False


@dataclass(frozen=True)
class Division:
    """How the components of an organelle are divided into objects."""

    rule: Agglomeration
    least: int  # voxels of the smallest object


@dataclass(frozen=True)
class Recipe:
    """How an organelle is made; the first of ``inputs`` is that of ``from: NAME``.

    ``stages`` and ``fold`` are called by every process that declares stages: what brings a compiler
    is imported inside the functions that compute. ``division`` is of one that divides components.
    ``tried`` are values of settings that a choice by score tries where it is told no others.
    """

    name: str
    settings: RecipeSettings
    inputs: tuple[Role, ...]
    stages: Callable[[Dataset, Organelle], list[Stage]]
    fold: Callable[[Dataset, Organelle], Fold]
    division: Callable[[Dataset, Organelle], Division] | None = None
    tried: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@cache
def recipes() -> Mapping[str, Recipe]:
    """Return every recipe of this installation by name; raise WrongUse for two of one name."""
    folder = import_module(f"{__package__}.recipes")
    files = [
        import_module(f"{folder.__name__}.{file.name}") for file in iter_modules(folder.__path__)
    ]
    found: list[Recipe] = []
    for file in files:
        found += file.RECIPES if hasattr(file, "RECIPES") else [file.RECIPE]
    found += [point.load() for point in entry_points(group=GROUP)]
    by_name = {recipe.name: recipe for recipe in sorted(found, key=lambda recipe: recipe.name)}
    if len(by_name) < len(found):
        raise WrongUse(f"recipes: two have one name: {', '.join(sorted(r.name for r in found))}")
    return by_name


def find_recipe(name: str) -> Recipe:
    """Return a recipe; raise WrongUse with the names of all where there is none."""
    if name not in recipes():
        raise WrongUse(f"no recipe {echo(name, 60)}: expected one of {listed(recipes())}")
    return recipes()[name]


def resolve(name: str, overrides: Mapping[str, object]) -> RecipeSettings:
    """Return the settings of the recipe ``name`` with ``overrides`` put in.

    Raises
    ------
    WrongUse
        For an unknown recipe or setting, or a value that a setting does not take.
    """
    defaults = find_recipe(name).settings
    fields = type(defaults).model_fields
    for key in overrides:
        if key not in fields:
            raise WrongUse(f"recipe {name}: no setting {echo(key, 40)}: one of {listed(fields)}")
    try:
        return type(defaults).model_validate(defaults.model_dump() | dict(overrides))
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:  # of settings that do not go together
            raise WrongUse(f"recipe {name}: {cut(first['msg'].partition(', ')[2])}") from None
        key = str(first["loc"][0])
        value = echo(overrides.get(key, getattr(defaults, key)), 40)
        expected = fields[key].description or first["msg"]
        raise WrongUse(f"recipe {name}: {key} is {value}: expected {cut(expected)}") from None

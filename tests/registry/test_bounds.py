"""Every number of a pipeline, a dataset, a network or a training has finite bounds, as declared."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from fibstream.app.pipelines import OrganelleEntry, PredictionEntry
from fibstream.core.dataset import Dataset, Prediction
from fibstream.core.errors import WrongUse
from fibstream.registry import words
from fibstream.runtime.settings import Settings
from fibstream.services.inference.port import ModelSpec
from fibstream.services.inference.training.config import TrainingConfig
from fibstream.services.refine.recipe import RecipeSettings, bounded, recipes, resolve
from fibstream.services.refine.recipes.published import RECIPES as ROWS

WORDS = {word.name: word.entry for word in words().values()}
# A row of a table has the fields of its kind.
RECIPES = {n: type(r.settings) for n, r in recipes().items() if r not in ROWS}
MODELS: dict[str, type[BaseModel]] = {
    **RECIPES, **WORDS,
    **{m.__name__: m for m in (PredictionEntry, OrganelleEntry, Dataset, Prediction, Settings,
                               ModelSpec, TrainingConfig)},
}  # fmt: skip
# Of what a pipeline gives, and what is recorded of it, a word or true is no number either. Settings
# of a run come from the environment, where all is text.
STRICT = {**RECIPES, **WORDS, **{m.__name__: m for m in (Dataset, Prediction, TrainingConfig)}}


def numbers(schema: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every number in a JSON schema by its place."""
    if isinstance(schema, dict):
        if schema.get("type") in ("number", "integer") and not {"enum", "const"} & schema.keys():
            yield place, schema
        for key, inner in schema.items():
            yield from numbers(inner, f"{place}.{key}")
    elif isinstance(schema, list):
        for position, inner in enumerate(schema):
            yield from numbers(inner, f"{place}.{position}")


def is_bounded(schema: dict[str, Any]) -> bool:
    low = schema.get("minimum", schema.get("exclusiveMinimum", -math.inf))
    high = schema.get("maximum", schema.get("exclusiveMaximum", math.inf))
    return bool(-math.inf < low <= high < math.inf)


def unbounded(model: type[BaseModel]) -> list[str]:
    return [place for place, schema in numbers(model.model_json_schema()) if not is_bounded(schema)]


@pytest.mark.parametrize("name", MODELS)
def test_every_number_has_finite_bounds(name: str) -> None:
    assert not unbounded(MODELS[name])


def test_a_number_without_bounds_is_found() -> None:
    class Loose(RecipeSettings):
        free_nm: float | None = None
        half: float = bounded(1, 1, math.inf, "voxels")

    assert len(unbounded(Loose)) == 2
    assert list(numbers(RECIPES["mito"].model_json_schema())), "no number was looked at"


def is_number(schema: dict[str, Any]) -> bool:
    """Whether a field is a number, or a number or null; arrays and words are none."""
    each = [schema, *schema.get("anyOf", [])]
    return any(one.get("type") in ("number", "integer") and "const" not in one
               and "enum" not in one for one in each)  # fmt: skip


FIELDS = [
    (name, field)
    for name, model in STRICT.items()
    for field, schema in model.model_json_schema()["properties"].items()
    if is_number(schema)
]


@pytest.mark.parametrize(("name", "field"), FIELDS)
@pytest.mark.parametrize("value", [True, "1", math.nan, math.inf, -math.inf, 10**400])
def test_what_is_no_number_is_refused(name: str, field: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        STRICT[name].model_validate({field: value})
    assert any(error["loc"][0] == field for error in caught.value.errors())


def bounds(name: str, field: str) -> tuple[float, float]:
    (schema,) = (s for place, s in numbers(RECIPES[name].model_json_schema()["properties"][field]))
    return schema["minimum"], schema["maximum"]


SETTINGS = [
    (name, field)
    for name, model in RECIPES.items()
    for field, schema in model.model_json_schema()["properties"].items()
    if is_number(schema) and list(numbers(schema))
]


@pytest.mark.parametrize(("name", "field"), SETTINGS)
def test_the_message_has_the_bounds_of_a_setting(name: str, field: str) -> None:
    low, high = bounds(name, field)
    others = {"min_volume_nm3": 0} if "min_volume_nm3" in RECIPES[name].model_fields else {}
    assert getattr(resolve(name, {**others, field: low}), field) == low
    for value in (math.nextafter(low, -math.inf), math.nextafter(high, math.inf), True, "5"):
        with pytest.raises(WrongUse, match=rf"{field} is .*: expected .* from {low:g} to ") as it:
            resolve(name, {field: value})
        assert f"{high:g}" in str(it.value) and len(str(it.value)) < 170


PAGE = (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text()


@pytest.mark.parametrize(("name", "field"), SETTINGS)
def test_the_page_has_the_bounds_of_every_setting(name: str, field: str) -> None:
    (row,) = re.findall(rf"^\| `{field}` \|.*$", PAGE, re.M)
    low, high = (f"{bound:g}" for bound in bounds(name, field))
    assert f"from {low} to {high}" in row

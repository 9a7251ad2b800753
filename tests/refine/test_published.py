"""The refinements of Heinrich et al. 2021: the table as it is published against the recipes."""

import re
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

from fibstream.app.naming import named_organelles
from fibstream.app.pipelines import parse_pipeline
from fibstream.core.dataset import Dataset, Organelle, Prediction
from fibstream.core.keys import parameters_digest
from fibstream.services.refine.recipe import Recipe, recipes
from fibstream.services.refine.recipes import masked, part
from fibstream.services.refine.recipes.published import RECIPES

# organelle_refinements.csv in words: organelle, smoothed, connected, least nm3, holes, mask.
TABLE = """\
ecs | - | X | 1.7e9 | |
pm | - | X | 2e7 | |
mito-components | X | X | 2e7 | X |
vesicle | - | X | 3.3e4 | |
endo | X | X | 5e5 | | exclusive mask mito expanded 30
er | - | X | 2e7 | |
er-periph | - | - | - | | er, exclusive mask nucleus expanded 80
eres | - | X | 3e5 | | inclusive mask er
golgi | - | X | 2e7 | |
lyso | X | X | 5e5 | |
ld | X | X | 5e5 | |
nucleus | X | X | 1.7e9 | |
nucleolus | X | X | 5e5 | | inclusive mask nucleus
ne | - | X | 3e5 | | inclusive mask nucleus expanded 160
np | - | X | 3e5 | | inclusive mask ne
chrom | X | X | 8e3 | | inclusive mask nucleus
nhchrom | - | X | 8e3 | | inclusive mask nucleus
cent | - | X | 3e5 | |
cent-dapp | - | X | 8e3 | |
"""
MEMBRANES = ("mito", "vesicle", "endo", "er", "golgi", "lyso", "ld", "ne")
# Order in which they are refined: each mask before what it masks.
ORDER = [
    "ecs", "pm", "nucleus", "mito-components", "endo", "er", "er-periph", "eres", "ne", "np",
    "nucleolus", "chrom", "nhchrom", "vesicle", "golgi", "lyso", "ld", "cent", "cent-dapp",
    *(f"{name}-mem" for name in MEMBRANES),
]  # fmt: skip
MASK = r"(?:(?P<parent>\w+), )?(?P<how>in|ex)clusive mask (?P<mask>\w+)(?: expanded (?P<nm>\d+))?"


def reads(recipe: Recipe) -> dict[str, str | None]:
    return {role.name: role.default for role in recipe.inputs if not role.optional}


def found(recipe: Recipe) -> list[object]:
    settings, roles = dict(recipe.settings), reads(recipe)
    return [
        settings.get("smooth_nm", 0), settings.get("min_volume_nm3"), settings.get("fill_holes"),
        roles.get("parent"), roles.get("mask"), settings["keep"], settings["expand_nm"],
    ]  # fmt: skip


def published(line: str) -> tuple[str, list[object]]:
    name, smoothed, connected, least, holes, mask = (part.strip() for part in line.split("|"))
    it = re.fullmatch(MASK, mask)
    fill = ("one" if holes else "none") if connected == "X" else None
    at = (it["parent"], it["mask"], it["how"] + "side", float(it["nm"] or 0)) if it else None
    outside = (None, None, "outside", 0)
    row = [12 if smoothed == "X" else 0, None if least == "-" else float(least), fill]
    return name, [*row, *(outside if at is None else (*at[:2], at[2].replace("ex", "out"), at[3]))]


@pytest.mark.parametrize("line", TABLE.splitlines())
def test_a_row_has_the_published_numbers(line: str) -> None:
    name, row = published(line)
    recipe = recipes()[name]
    assert found(recipe) == row
    if recipe.stages is masked.stages:
        assert dict(recipe.settings)["min_rule"] == "ceil"
        assert dict(recipe.settings)["threshold_nm"] == 0


def test_all_rows_are_there_in_the_order_of_their_masks() -> None:
    assert [recipe.name for recipe in RECIPES] == ORDER
    assert {published(line)[0] for line in TABLE.splitlines()} == set(ORDER[: -len(MEMBRANES)])
    made = {"mito" if name == "mito-components" else name for name in ORDER}
    seen: set[str | None] = set()
    for recipe in RECIPES:
        others = {r.default for r in recipe.inputs if r.kind == "labels" and not r.optional}
        assert others <= seen, recipe.name
        seen.add("mito" if recipe.name == "mito-components" else recipe.name)
    assert seen == made


@pytest.mark.parametrize("name", MEMBRANES)
def test_a_membrane_has_the_ids_of_what_it_bounds(name: str) -> None:
    recipe = recipes()[f"{name}-mem"]
    assert recipe.stages is part.stages
    (base,) = {r.inputs[0].default for r in RECIPES if r.name in (name, f"{name}-components")}
    assert reads(recipe) == {"prediction": f"{base}_membrane", "parent": name}


def pipeline_of(rows: Mapping[str, str]) -> str:
    return "models: [m]\norganelles:\n" + "".join(f"  - {row}\n" for row in rows.values())


def organelles_of(rows: Mapping[str, str]) -> tuple[Organelle, ...]:
    predictions = [Prediction(name=str(recipe.inputs[0].default)) for recipe in RECIPES]
    return named_organelles(parse_pipeline(pipeline_of(rows), "p.yaml", {}).organelles, predictions)


def by_name(recipe: Recipe) -> str:
    name = recipe.name
    return f"{{name: mito, recipe: {name}}}" if name == "mito-components" else f"{{recipe: {name}}}"


def by_hand(recipe: Recipe) -> str:
    """Return a row as a user writes it, who has the steps alone."""
    name = "mito" if recipe.name == "mito-components" else recipe.name
    kind = "masked" if recipe.stages is masked.stages and "mask" in reads(recipe) else "part"
    if recipe.stages is masked.stages and "mask" not in reads(recipe):
        kind = "generic"
    fields: Any = type(recipes()[kind].settings).model_fields
    given = {k: v for k, v in dict(recipe.settings).items() if k in fields and v is not None}
    settings = ", ".join(f"{k}: {v}" for k, v in given.items())
    inputs = ", ".join(f"{role}: {default}" for role, default in reads(recipe).items())
    return f"{{name: {name}, recipe: {kind}, from: {{{inputs}}}, set: {{{settings}}}}}"


def declared(organelles: tuple[Organelle, ...]) -> list[tuple[object, ...]]:
    predictions = {str(recipe.inputs[0].default) for recipe in RECIPES}
    dataset = Dataset(
        name="cell", shape=(64, 64, 64), chunk=(32, 32, 32), dtype="uint8",
        voxel_size_nm=(4, 4, 4), contrast=(0, 255),
        predictions=tuple(Prediction(name=name) for name in sorted(predictions)),
        organelles=organelles,
    )  # fmt: skip
    return [
        (stage.name, parameters_digest(stage), stage.inputs, stage.outputs)
        for organelle in organelles
        for stage in recipes()[organelle.recipe].stages(dataset, organelle)
    ]


def test_a_user_writes_each_row_without_code() -> None:
    named = organelles_of({recipe.name: by_name(recipe) for recipe in RECIPES})
    written = organelles_of({recipe.name: by_hand(recipe) for recipe in RECIPES})
    assert {o.recipe for o in written} == {"generic", "masked", "part"}
    assert declared(named) == declared(written)
    labels = {o.name for o in named}
    TopologicalSorter({o.name: labels & set(o.inputs.values()) - {o.name} for o in named}).prepare()


def test_the_page_has_every_row() -> None:
    page = (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text()
    section = page[page.index("### Published refinements") :]
    rows = re.findall(r"^\| `(.*)` \| (masked|part) \|(.*)\|$", section, re.M)
    assert [name for name, _, _ in rows] == ORDER
    for (name, kind, rest), recipe in zip(rows, RECIPES, strict=True):
        prediction, labels, smooth, least, keep, expand = (x.strip() for x in rest.split("|"))
        settings, roles = dict(recipe.settings), reads(recipe)
        others = ", ".join(str(roles[r]) for r in ("parent", "mask") if r in roles)
        assert (prediction, labels) == (roles["prediction"], others or "-"), name
        assert (keep, expand) == (
            (settings["keep"], f"{settings['expand_nm']:g}") if "mask" in roles else ("-", "-")
        ), name
        sizes = (settings["smooth_nm"], settings["min_volume_nm3"]) if kind == "masked" else None
        assert (sizes is None) == (smooth == least == "-"), name
        assert sizes is None or sizes == (float(smooth), float(least)), name

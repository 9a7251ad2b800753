"""Pipelines: what their words mean, and the line of whatever is wrong in them."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pytest
import yaml

from fibstream.app.naming import check_recipes, named_organelles, named_predictions, with_steps
from fibstream.app.pipelines import OrganelleEntry, Pipeline, parse_pipeline
from fibstream.core.dataset import Dataset, Frozen, Model, Prediction
from fibstream.core.errors import WrongUse
from fibstream.core.service import Word
from fibstream.services.ingest.edges.messages import dataset_spec
from fibstream.services.refine import recipes as folder
from fibstream.services.refine.recipe import recipes
from fibstream.services.refine.recipes import agglomerated
from fibstream.services.refine.recipes.published import RECIPES

TWO = """\
models: [many, few.onnx]
predictions:
  - {name: mito-b, model: few, class: mito}
organelles:
  - recipe: mito
  - {name: NE, recipe: generic, from: NE, set: {threshold_nm: 20}}
  - {name: er.2, recipe: generic, from: {prediction: er}}
"""


def parsed(text: str) -> Pipeline:
    return parse_pipeline(text, "p.yaml", {})


def model(name: str, *classes: str, scale_nm: float = 50.0) -> Model:
    return Model(name=name, classes=classes, sha256=name, spec={"scale_nm": scale_nm}, profile={})


def test_what_is_not_given_follows_from_the_recipe() -> None:
    pipeline = parsed(TWO)
    assert pipeline.models == ("many", "few.onnx")
    mito, envelope, second = pipeline.organelles
    assert mito == OrganelleEntry(name="mito", recipe="mito", where=mito.where)
    assert envelope == OrganelleEntry(
        name="NE", recipe="generic", inputs={"prediction": "NE"}, set={"threshold_nm": 20},
        where="pipeline p.yaml: line 6:",
    )  # fmt: skip
    assert second.inputs == {"prediction": "er"}
    (same,) = parsed("models: [m]\norganelles: [{name: mito}]").organelles
    assert same.model_dump() == mito.model_dump()


def test_stored_predictions_need_no_network() -> None:
    text = "predictions: [{name: er, from: a.zarr}, {name: ld, from: b, as: distance}]\n"
    stored, truth = parsed(text).predictions
    assert (stored.path, stored.given_as) == ("a.zarr", "")
    assert (truth.path, truth.given_as) == ("b", "distance")


ORGANELLES = "models: [m]\norganelles:\n"
PREDICTIONS = "models: [m]\npredictions:\n"
REFUSED = {
    "no recipe": (ORGANELLES + "  - {from: a}", "line 3: an organelle needs recipe"),
    "name of no recipe": (ORGANELLES + "  - {name: a}", "line 3: organelle a needs recipe"),
    "two of one name": (
        ORGANELLES + "  - {name: a, recipe: mito}\n  - {name: A, recipe: generic}",
        "line 4: A is named twice"),
    "pair": (ORGANELLES + "  - {name: a--b, recipe: mito}", "line 3: name 'a--b': expected"),
    "path": (ORGANELLES + "  - {name: ../a, recipe: mito}", "line 3: name '../a': expected"),
    "hidden": (ORGANELLES + "  - {name: .a, recipe: mito}", "line 3: name '.a'"),
    "metadata": (ORGANELLES + "  - {name: Zarr.json, recipe: mito}", "line 3: name 'Zarr.json'"),
    "long": (ORGANELLES + f"  - {{name: {'a' * 65}, recipe: mito}}", "line 3: name 'aaa"),
    "unknown role": (
        ORGANELLES + "  - {recipe: mito, from: {mask: a}}", "line 3: unknown word 'mask'"),
    "unknown setting": (
        ORGANELLES + "  - recipe: mito\n    name: b\n    set: {smoth_nm: 1}", "line 5: .*smoth_nm"),
    "word": (ORGANELLES + "  - {recipe: mito, source: a}", "line 3: unknown word 'source'"),
    "half another name": (PREDICTIONS + "  - {name: a, model: m}", "line 3: a prediction is"),
    "path and class": (
        PREDICTIONS + "  - {name: a, from: p, class: c}", "line 3: a prediction is"),
    "length and path": (
        PREDICTIONS + "  - {name: a, from: p, squash_nm: 50}", "line 3: a prediction is"),
    "length of 0": (
        PREDICTIONS + "  - {name: a, squash_nm: 0}", "line 3: expected a length from 0.1 to 1000"),
    "no length": (PREDICTIONS + "  - {name: a, squash_nm: far}", "line 3: expected .*, not 'far'"),
    "true length": (PREDICTIONS + "  - {name: a, squash_nm: yes}", "line 3: expected .*'yes'"),
    "endless length": (PREDICTIONS + "  - {name: a, squash_nm: .inf}", "line 3: .*'.inf'"),
    "as": (PREDICTIONS + "  - {name: a, from: p, as: grey}", "line 3: as is 'grey'"),
    "as length": (
        PREDICTIONS + "  - {name: a, as: probability, squash_nm: 50}", "line 3: a probability has"),
    "prediction twice": (
        PREDICTIONS + "  - {name: er, from: p}\n  - {name: ER, from: q}", "line 4: ER is named"),
    "nothing predicts": ("organelles: [{recipe: mito}]", "line 1: models names no network"),
    "no list": ("models: [m]\norganelles: mito", "line 2: organelles is a list"),
    "setting twice": (
        ORGANELLES + "  - {recipe: mito, set: {smooth_nm: 1, smooth_nm: 5}}",
        "line 3: smooth_nm is given twice"),
    "list twice": (ORGANELLES + "  - recipe: mito\nmodels: [b]", "line 4: models is given twice"),
    "true number": (
        ORGANELLES + "  - {recipe: mito, set: {smooth_nm: true}}", "line 3: .* smooth_nm is True"),
    "deep": ("organelles: " + "[" * 3000, "line 1: expected lists at most 16 deep"),
    "zero byte": ("models: \0", "not YAML: it holds characters that no text has"),
    "unknown list": ("models: [m]\nmeshes: [a]", "line 2: unknown word 'meshes'"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_one_line_that_has_its_number(text: str, reason: str) -> None:
    with pytest.raises(WrongUse, match=reason) as caught:
        parsed(text)
    assert "\n" not in str(caught.value)


PAGE = (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text()


def test_the_page_has_every_setting_of_every_recipe() -> None:
    table = PAGE[PAGE.index("| setting |") :].partition("\n\n")[0]
    header, _, *lines = re.findall(r"^\|(.*)\|$", table, re.M)
    names = [cell.strip(" `") for cell in header.split("|")][1:-1]
    documented: dict[str, dict[str, object]] = {name: {} for name in names}
    for line in lines:
        setting, *values = (cell.strip(" `") for cell in line.split("|"))
        for name, value in zip(names, values, strict=False):
            if value != "-":  # the recipe has no such setting
                documented[name][setting] = yaml.safe_load(value)
    published = {recipe.name for recipe in (*RECIPES, *agglomerated.RECIPES[1:])}  # named apart
    actual = {n: dict(r.settings) for n, r in recipes().items() if n not in published}
    assert documented == actual


def test_the_pipeline_of_the_page_is_one() -> None:
    text, contacts, masked, split, chosen = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.M | re.S)
    steps = parse_pipeline(f"models: [m]\n{contacts}", "page").steps["contacts"]
    assert [dict(step)["distance_nm"] for step in steps] == [10, 20]
    cells, few = model("cells", "mito", "NE"), model("few", "mito")
    found = named_organelles(parsed(text).organelles, predicted(text, cells, few))
    assert [(o.name, *o.inputs.values()) for o in found] == [
        ("mito", "mito"), ("strict", "mito"), ("second", "mito-few"), ("NE", "NE"),
    ]  # fmt: skip
    text, both = f"models: [m]\n{masked}", model("m", "mito", "endo")
    found = named_organelles(parsed(text).organelles, predicted(text, both))
    assert found[1].inputs == {"prediction": "endo", "mask": "mito"}
    text = f"models: [m]\n{split}"
    (one,) = named_organelles(parsed(text).organelles, predicted(text, model("m", "mito")))
    assert (one.settings["quantile"], one.settings["merge_below"]) == (50, 0.7)
    text = f"models: [m]\n{chosen}"
    found = named_organelles(
        parsed(text).organelles,
        predicted(text, model("m", "plasma_membrane", "dark", "cell", "ecs")),
    )
    assert found[1].inputs == {"prediction": "dark", "parent": "pm", "cell": "cell"}
    assert found[0].settings["select_ids"] == [1 + (1 << 42)]


def test_organelles_that_mask_each_other_are_refused() -> None:
    text = (
        "models: [m]\norganelles:\n"
        "  - {name: a, recipe: masked, from: {prediction: x, mask: b}}\n"
        "  - {name: b, recipe: masked, from: {prediction: x, mask: a}}\n"
    )
    with pytest.raises(WrongUse, match=r"line [34]: organelles are made in a circle: [ab] from"):
        named_organelles(parsed(text).organelles, predicted(text, model("m", "x")))


# -- predictions -----------------------------------------------------------------------------------


def predicted(
    text: str, *models: Model, squash_nm: Mapping[str, float] = MappingProxyType({})
) -> tuple[Prediction, ...]:
    return named_predictions(parsed(text), models, squash_nm)


def test_classes_are_predictions_unless_they_have_another_name() -> None:
    many, few = model("many", "mito", "NE", "er"), model("few", "mito", scale_nm=30.0)
    assert [(p.name, p.model, p.channel, p.squash_nm) for p in predicted(TWO, many, few)] == [
        ("mito", "many", "mito", 50), ("NE", "many", "NE", 50), ("er", "many", "er", 50),
        ("mito-b", "few", "mito", 30),
    ]  # fmt: skip


def test_a_network_may_be_named_as_models_names_it() -> None:
    text = "models: [a/net.onnx]\npredictions: [{name: b, model: a/net.onnx, class: c}]"
    assert [p.name for p in predicted(text, model("net", "c"))] == ["b"]


MITO_B = "{name: mito-b, model: few, class: mito}"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("", "both predict mito; .* predictions: .{name: mito-few, model: few, class: mito}"),
        ("{name: er, model: few, class: mito}", "many and few both predict er"),
        ("{name: ER, model: few, class: mito}", "many and few both predict ER"),
        ("{name: a, model: none, class: mito}", "no network none; models names many, few"),
        ("{name: a, model: few, class: er}", "few has no class er: mito"),
        (
            "{name: a, model: few, class: mito}, {name: b, model: few, class: mito}",
            "class mito of few is a already",
        ),
        (
            "{name: mito-b, model: few, class: mito}, {name: b, from: p}",
            "prediction b: from: PATH is for fibstream run; a client gives .name: b, as: distance",
        ),
        (
            "{name: mito-b, model: few, class: mito}, {name: raw, from: p}",
            "prediction raw: the name is that of the volume itself",
        ),
        ("{name: mito-b, model: few, class: mito}, {name: ER, from: p}", "many predicts er"),
    ],
)
def test_names_that_clash_are_refused_with_what_would_help(lines: str, reason: str) -> None:
    text = f"models: [many, few]\npredictions: [{lines}]"
    known = {"a": 50, "raw": 50, "ER": 50}
    with pytest.raises(WrongUse, match=reason):
        predicted(text, model("many", "mito", "er"), model("few", "mito"), squash_nm=known)


def test_stored_predictions_come_last_with_the_squash_length_of_their_file() -> None:
    text = "models: [m]\npredictions: [{name: a, from: p}, {name: b, model: m, class: c}]"
    first, second = predicted(text, model("m", "c"), squash_nm={"a": 30})
    assert (first.name, first.stage) == ("b", "prediction/m")
    assert (second.name, second.stage, second.length_nm) == ("a", "stored/a", 30)
    second = predicted(text, model("m", "c"), squash_nm={"a": 0})[1]
    assert (second.is_distance, second.length_nm) == (False, 0)  # its file is of a probability


def test_what_a_client_lands_has_the_squash_length_that_it_gives() -> None:
    text = "predictions: [{name: a, squash_nm: 30}, {name: b, squash_nm: 5.0e+1}]"
    found = predicted(text, squash_nm={e.name: e.squash_nm for e in parsed(text).predictions})
    assert [(p.stage, p.squash_nm) for p in found] == [("stored/a", 30), ("stored/b", 50)]
    with pytest.raises(WrongUse, match=r"line 1: prediction a: .* fibstream run needs from: PATH"):
        predicted(text)


def test_the_entry_that_a_clash_proposes_is_one_that_helps() -> None:
    models = model("many-", "mito"), model("-few", "mito")
    with pytest.raises(WrongUse) as caught:
        predicted("models: [many-, -few]", *models)
    entry = str(caught.value).rpartition("another name: ")[2]
    assert [p.name for p in predicted(f"models: [many-, -few]\n{entry}", *models)] == [
        "mito", "mito-few",
    ]  # fmt: skip


# -- inputs ----------------------------------------------------------------------------------------


def named(lines: str, *predictions: str) -> Sequence[dict[str, str]]:
    entries = parsed(f"models: [m]\norganelles: [{lines}]").organelles
    found = named_organelles(entries, [Prediction(name=name) for name in predictions])
    return [dict(organelle.inputs) for organelle in found]


def test_inputs_follow_from_the_recipe_where_that_is_clear() -> None:
    assert named("{recipe: mito}, {recipe: generic, from: er}", "mito", "er") == [
        {"prediction": "mito"}, {"prediction": "er"},
    ]  # fmt: skip
    assert named("{recipe: generic}", "er") == [{"prediction": "er"}]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("{recipe: generic}", "recipe generic needs a prediction: give from:; there is er, ld"),
        ("{recipe: eres, from: er}", "recipe eres needs organelle er; there is eres"),
        ("{recipe: er}, {recipe: er-mem}", "er-mem needs prediction er_membrane; there is er"),
        ("{recipe: ld, from: {prediction: ld, cell: no}}", "ld needs prediction no; there is"),
        ("{recipe: mito}", "recipe mito needs prediction mito; there is er, ld"),
        ("{recipe: mito, from: ER}", "recipe mito needs prediction ER; there is er, ld"),
    ],
)
def test_inputs_that_are_not_there_are_named(lines: str, reason: str) -> None:
    with pytest.raises(WrongUse, match=reason):
        named(lines, "er", "ld")


WITHIN = """\
from fibstream.services.refine.recipe import Recipe, RecipeSettings, Role

ROLES = Role("prediction"), Role("mask", "labels")
RECIPE = Recipe("within", RecipeSettings(), ROLES, lambda dataset, organelle: [], None)
"""


@pytest.fixture
def within(tmp_path: Path) -> Iterator[None]:
    """A recipe that reads a prediction and the labels of another organelle: one more file."""
    (tmp_path / "within.py").write_text(WITHIN)
    folder.__path__.append(str(tmp_path))
    recipes.cache_clear()
    yield
    folder.__path__.remove(str(tmp_path))
    recipes.cache_clear()
    sys.modules.pop(f"{folder.__name__}.within", None)


@pytest.mark.usefixtures("within")
def test_an_organelle_may_be_made_of_another() -> None:
    lines = "{name: a, recipe: within, from: {prediction: er, mask: b}}, {name: b, recipe: generic}"
    assert named(lines, "er") == [{"prediction": "er", "mask": "b"}, {"prediction": "er"}]
    for lines, reason in (
        ("{recipe: within}", "needs a mask: give from:"),
        ("{recipe: within, from: {mask: er}}", "needs organelle er; there is within"),
        ("{recipe: within, from: {mask: within}}", "in a circle: within from within"),
    ):
        with pytest.raises(WrongUse, match=reason):
            named(lines, "er")


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        ("from: {cell: er}", "organelle er: prediction and cell are both er"),
        ("set: {expand_2_nm: 3.0}", "organelle er: expand_2_nm is of a mask_2, and there is none"),
        ("set: {drop_ids: [16777217]}", "organelle er: drop_ids has 16777217, which is no voxel"),
    ],
)
def test_settings_that_do_not_fit_have_their_line(rest: str, reason: str) -> None:
    entries = parsed(f"models: [m]\norganelles:\n  - {{recipe: er, {rest}}}").organelles
    predictions = (Prediction(name="er"),)
    parts = {"predictions": predictions, "organelles": named_organelles(entries, predictions)}
    with pytest.raises(WrongUse, match=rf"^pipeline p\.yaml: line 3: {reason}"):
        check_recipes(BASE.model_copy(update=parts), entries)


# -- lines of what the design finds ----------------------------------------------------------------

NETS = "models:\n  - many\n  - few\n"
CLASS = "  - {name: a, model: few, class: mito}\n"
GIVEN = f"{NETS}predictions:\n{CLASS}"
MADE = f"{GIVEN}organelles:\n"
DESIGNED = {
    "network twice": ("models:\n  - many\n  - many", 3),
    "shared class": (NETS, 3),
    "shared by another name": (NETS + "predictions:\n  - {name: ER, model: few, class: mito}", 5),
    "stored beside a shared class": (NETS + "predictions:\n  - {name: mito, from: p}", 3),
    "no network": (GIVEN + "  - {name: b, model: no, class: er}", 6),
    "no class": (GIVEN + "  - {name: b, model: few, class: er}", 6),
    "class named twice": (GIVEN + "  - {name: b, model: few, class: mito}", 6),
    "stored": (GIVEN + "  - {name: b, from: p}", 6),
    "volume": (GIVEN + "  - {name: raw, from: p}", 6),
    "stored as predicted": (GIVEN + "  - {name: ER, from: p}", 6),
    "no prediction": (
        MADE + "  - recipe: mito\n  - {recipe: generic, from: x}",
        8),
    "no organelle": (
        MADE + "  - {recipe: within, from: {prediction: er, mask: x}}",
        7),
    "circle": (
        MADE + "  - recipe: mito\n"
        "  - {name: b, recipe: within, from: {prediction: er, mask: c}}\n"
        "  - {name: c, recipe: within, from: {prediction: er, mask: b}}",
        8),
    "further word": (
        GIVEN + "organelles: [{recipe: mito}]\npairs:\n"
        "  - {a: mito}\n  - {a: none}\n  - {a: x}",
        9),
}  # fmt: skip


@pytest.mark.usefixtures("within")
@pytest.mark.parametrize(("text", "line"), DESIGNED.values(), ids=DESIGNED)
def test_what_the_design_finds_has_its_line_too(text: str, line: int) -> None:
    models = {"many": model("many", "mito", "er"), "few": model("few", "mito")}
    with pytest.raises(WrongUse) as caught:
        pipeline = parse_pipeline(text, "p.yaml", WORDS)
        given = [models[name] for name in pipeline.models]
        predictions = named_predictions(pipeline, given, {"raw": 50, "ER": 50})
        organelles = named_organelles(pipeline.organelles, predictions)
        with_steps(BASE.model_copy(update={"organelles": organelles}), pipeline, WORDS)
    assert re.match(rf"pipeline p\.yaml: line {line}: [^\n]*$", str(caught.value)), caught.value


# -- further words ---------------------------------------------------------------------------------


class Pair(Frozen):
    a: str
    distance_nm: float = 10


def check_pairs(dataset: Dataset, pairs: Sequence[Pair]) -> Sequence[Pair]:
    known = {organelle.name for organelle in dataset.organelles}
    for pair in pairs:
        if pair.a not in known:
            raise WrongUse(f"pairs: no organelle {pair.a}")
    return pairs


WORDS = {"pairs": Word("pairs", Pair, check_pairs)}
BASE = Dataset(
    name="x", shape=(8, 8, 8), chunk=(8, 8, 8), dtype="uint8", voxel_size_nm=(8, 8, 8),
    contrast=(0, 255), predictions=(Prediction(name="mito"),),
    organelles=named_organelles(
        (OrganelleEntry(name="a", recipe="generic"),), (Prediction(name="mito"),)
    ),
)  # fmt: skip


def test_a_further_word_is_recorded_with_every_default() -> None:
    pipeline = parse_pipeline("models: [m]\npairs:\n  - {a: a}\n", "p.yaml", WORDS)
    assert with_steps(BASE, pipeline, WORDS).steps == {"pairs": ({"a": "a", "distance_nm": 10.0},)}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("{a: a, b: 3}", "line 4: unknown word 'b'; allowed: a, distance_nm"),
        ("{a: a, distance_nm: far}", "line 4: pairs: distance_nm: "),
        ("{distance_nm: 3}", "line 4: pairs: a: "),
        ("a", "line 4: pairs is a mapping"),
        ("{a: none}", "pairs: no organelle none"),
    ],
)
def test_what_is_wrong_in_a_further_word_has_its_line(entry: str, reason: str) -> None:
    text = f"models: [m]\npairs:\n  - {{a: a}}\n  - {entry}\n"
    with pytest.raises(WrongUse, match=reason):
        with_steps(BASE, parse_pipeline(text, "p.yaml", WORDS), WORDS)


def test_the_pipeline_that_a_client_is_sent_makes_the_same_dataset() -> None:
    many, few = model("many", "mito", "NE", "er"), model("few", "mito", scale_nm=30.0)
    lands = "  - {name: ld, squash_nm: 30}\norganelles:"
    text = f"{TWO}pairs: [{{a: mito}}]".replace("organelles:", lands)
    asked, squash_nm = parse_pipeline(text, "p.yaml", WORDS), {"ld": 30.0}
    predictions = named_predictions(asked, (many, few), squash_nm)
    assert "stored/ld" in [prediction.stage for prediction in predictions]
    organelles = named_organelles(asked.organelles, predictions)
    parts = {"models": (many, few), "predictions": predictions, "organelles": organelles}
    dataset = with_steps(BASE.model_copy(update=parts), asked, WORDS)
    sent = parse_pipeline(dataset_spec(dataset).pipeline, "sent", WORDS)
    lengths = {entry.name: entry.squash_nm for entry in sent.predictions if entry.lands}
    assert named_predictions(sent, dataset.models, lengths) == predictions
    assert named_organelles(sent.organelles, predictions) == organelles
    assert with_steps(dataset, sent, WORDS).steps == dataset.steps


def test_a_preset_of_contacts_that_nobody_published_is_named() -> None:
    with pytest.raises(WrongUse, match=r"line 2: contacts: preset 'er_er': expected er_ribo, "):
        parse_pipeline("models: [m]\ncontacts: [{preset: er_er}]", "page")

"""What a run gives a pipeline: networks, stored predictions, organelles that are wanted."""

import re
from pathlib import Path

import pytest

from fibstream.app.pipelines import BUILT_IN, parse_pipeline, read_pipeline
from fibstream.app.supplied import only, with_networks, with_stored
from fibstream.core.errors import WrongUse
from fibstream.services.refine.recipes.published import RECIPES

CELL = read_pipeline("cell")


def folder(path: Path, *without: str) -> Path:
    for entry in CELL.predictions:
        if entry.name not in without:
            (path / "predictions" / entry.name).mkdir(parents=True)
    return path


def test_the_cell_has_every_published_organelle_and_each_input_once() -> None:
    rows = {recipe.name.removesuffix("-components") for recipe in RECIPES}
    assert {entry.name for entry in CELL.organelles} == rows
    read = {str(recipe.inputs[0].default) for recipe in RECIPES}
    assert {entry.name for entry in CELL.predictions} == read
    assert [e.recipe for e in CELL.organelles if e.name == "mito"] == ["mito-hela-2"]
    assert set(BUILT_IN) == {"cell", "mito"}


def test_predictions_are_read_from_the_folder_by_their_names(tmp_path) -> None:
    found = with_stored(CELL, folder(tmp_path)).predictions
    assert {e.path for e in found} == {f"{tmp_path}/predictions/{e.name}" for e in CELL.predictions}
    bare = tmp_path / "predictions"  # a folder of arrays
    assert with_stored(CELL, bare).predictions == found


def test_what_lacks_is_named_with_what_can_do_without(tmp_path) -> None:
    with pytest.raises(WrongUse) as error:
        with_stored(CELL, folder(tmp_path, "NE", "LD_membrane"))
    message = str(error.value)
    assert "\n" not in message
    assert "has no LD_membrane, NE, of which ne, np, ld-mem, ne-mem are made" in message or (
        "has no NE, LD_membrane, of which ne, np, ld-mem, ne-mem are made" in message
    )
    (names,) = re.findall(r"--organelles (\S+)$", message)
    left = only(CELL, names.split(","))
    assert {e.name for e in CELL.organelles} - {e.name for e in left.organelles} == {
        "ne", "np", "ld-mem", "ne-mem"
    }  # fmt: skip
    found = with_stored(left, tmp_path)
    assert {"NE", "LD_membrane"}.isdisjoint(e.name for e in found.predictions)


def test_an_organelle_brings_what_it_is_made_of() -> None:
    found = only(CELL, ["np", "endo-mem"])
    made = [e.name for e in found.organelles]
    assert made == ["nucleus", "mito", "endo", "ne", "np", "endo-mem"]
    read = {"nucleus", "mito", "MVB", "MVB_membrane", "NE", "nuclear_pore"}
    assert {e.name for e in found.predictions} == read


def test_what_a_network_predicts_need_not_land(tmp_path) -> None:
    found = with_networks(CELL, {"mito": ("mito",)})
    assert found.models == ("mito",)
    assert "mito" not in {e.name for e in found.predictions}
    assert len(with_stored(found, folder(tmp_path, "mito")).predictions) == 25


def test_a_path_in_the_pipeline_stays(tmp_path) -> None:
    text = "predictions: [{name: er, from: own.npy}, {name: ecs, squash_nm: 50}]\n"
    pipeline = parse_pipeline(f"{text}organelles: [{{recipe: er}}, {{recipe: ecs}}]", "p", {})
    er, ecs = with_stored(pipeline, folder(tmp_path)).predictions
    assert (er.path, ecs.path) == ("own.npy", f"{tmp_path}/predictions/ecs")


WRONG = {
    "no folder": (lambda at: with_stored(CELL, at / "none"), "none: no such folder; expected"),
    "nothing lands": (lambda at: with_stored(read_pipeline("mito"), at), "no prediction without"),
    "organelle": (lambda _: only(CELL, ["mitos"]), "--organelles mitos: the pipeline has ecs, pm"),
    "empty": (lambda _: only(CELL, [""]), "--organelles : the pipeline has"),
    "network": (lambda _: with_networks(read_pipeline("mito"), {"x/mito.onnx": ()}), "already"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(tmp_path, name) -> None:
    make, message = WRONG[name]
    with pytest.raises(WrongUse, match=message):
        make(tmp_path)

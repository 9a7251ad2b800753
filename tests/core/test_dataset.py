"""The dataset record: what may change about an acquisition, and what makes it another one."""

from typing import Any

import pytest
from pydantic import ValidationError

from fibstream.core.dataset import Dataset, Model, Organelle, Prediction, clip_chunk
from fibstream.core.errors import WrongUse
from fibstream.core.keys import canonical

MODEL = Model(name="m", classes=("mito",), sha256="0", spec={"a": 1}, profile={"runtime": "x"})
BASE = Dataset(
    name="x", shape=(None, 40, 50), chunk=(32, 32, 16), dtype="uint8", voxel_size_nm=(8, 4, 4),
    contrast=(0, 255), models=(MODEL,),
    predictions=(Prediction(name="mito", model="m", channel="mito", squash_nm=40),),
    organelles=(
        Organelle(name="a", recipe="r", inputs={"prediction": "mito"}, settings={"smooth_nm": 0}),
    ),
    steps={"contacts": ({"a": "a", "distance_nm": 20.0},)},
)  # fmt: skip


def test_a_record_comes_back_from_its_bytes() -> None:
    assert Dataset.model_validate_json(canonical(BASE.model_dump(mode="json"))) == BASE


def test_only_what_was_acquired_makes_another_dataset() -> None:
    changes = {
        "shape": (70, 40, 50),
        "chunk": (32, 32, 32),
        "dtype": "uint16",
        "voxel_size_nm": (8.0, 4.0, 5.0),
    }
    for field, value in changes.items():
        (said,) = BASE.model_copy(update={field: value}).differences(BASE)
        assert said == f"{field} is {value}, not {getattr(BASE, field)}"
    assert len(BASE.model_copy(update=changes).differences(BASE)) == 4


def test_other_parameters_are_the_same_dataset() -> None:
    other = {"name": "y", "contrast": (3, 9), "invert": True, "models": (), "organelles": ()}
    assert BASE.model_copy(update=other).differences(BASE) == []


def test_sealing_sets_the_extent_and_nothing_else() -> None:
    sealed = BASE.sealed(70)
    assert sealed.shape == (70, 40, 50)
    assert sealed.grid.sealed and not BASE.grid.sealed
    assert sealed.model_copy(update={"shape": BASE.shape}) == BASE
    assert sealed.grid.count == (3, 2, 4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"colour": "red"}, {"format": 3}, {"shape": (0, 4, 4)}, {"shape": (4, None, 4)},
        {"chunk": (4, 4, -1)}, {"voxel_size_nm": (8, 0, 8)}, {"voxel_size_nm": (8, 8)},
    ],
)  # fmt: skip
def test_a_record_that_says_anything_else_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Dataset.model_validate(BASE.model_dump() | wrong)


def test_a_record_of_the_first_format_is_refused_with_one_line() -> None:
    old = {"format": 1, "name": "x", "organelles": [{"recipe": "mito", "source": "mito"}]}
    with pytest.raises(WrongUse, match=r"^'x': a dataset of format 1, .*anew into a new folder$"):
        Dataset.model_validate_json(canonical(old))


NAMES = ["mito", "NE", "er-periph", "mt.out_2", "4nm", "a" * 64]
NO_NAMES = [
    "",
    "a--b",
    "-a",
    ".a",
    "_a",
    "a/b",
    "a b",
    "é",
    "a\n",
    "zarr.json",
    "ZARR.JSON",
    "a" * 65,
]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_spelled_as_the_papers_spell_them(name: str) -> None:
    assert Prediction(name=name).path == f"predictions/{name}"


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_name_that_is_no_part_of_a_path_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="expected letters, digits"):
        Organelle(name=name, recipe="r", inputs={}, settings={})


def test_a_prediction_names_its_stage() -> None:
    assert BASE.prediction("mito").stage == "prediction/m"
    assert Prediction(name="er").stage == "stored/er"
    with pytest.raises(KeyError):
        BASE.prediction("er")


def test_a_record_does_not_change_in_place() -> None:
    with pytest.raises(ValidationError):
        BASE.name = "y"


def test_levels_and_sizes_follow_from_the_chunk() -> None:
    assert BASE.levels == 2
    assert BASE.chunk_bytes(2) == 2 * 32 * 32 * 16
    assert clip_chunk((64, 64, 64), (None, 40, 100)) == (64, 40, 64)
    assert clip_chunk((64, 64, 64), (9, 64, 65)) == (9, 64, 64)

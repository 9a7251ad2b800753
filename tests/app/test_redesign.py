"""Another pipeline for a dataset: what is frozen stays, what cannot be made is refused."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibstream import registry
from fibstream.app.pipelines import parse_pipeline
from fibstream.app.redesign import redesign
from fibstream.bus.memory import MemoryFiles
from fibstream.core.dataset import Dataset, Model, Prediction
from fibstream.core.errors import WrongUse
from fibstream.core.keys import parameters_digest
from fibstream.services.inference.edges.model import read_model

from ..inference.net import write_net
from ..support.scene import GEOMETRY, bright

ORGANELLES = {
    "mito": "{recipe: mito}",
    "mito-strict": "{name: mito, recipe: mito, set: {min_volume_nm3: 2.0e+6}}",
    "mito-fine": "{name: mito, recipe: mito, set: {smooth_nm: 8}}",
    "a": "{name: a, recipe: generic, from: mito}",
    "a-landed": "{name: a, recipe: generic, from: er}",
    "b": "{name: b, recipe: generic, from: er, set: {threshold_nm: 5}}",
}
CHOSEN = st.lists(st.sampled_from(sorted(ORGANELLES)), max_size=3, unique_by=lambda n: n[:1])


class Engine:
    """Stands for a network that is loaded."""

    def __init__(self, path: Path) -> None:
        self.spec = read_model(path)
        self.profile = {"runtime": "none"}


def make(path: Path) -> Any:
    return Engine(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models")
    for name, classes in (("one", ["mito"]), ("two", ["nucleus"]), ("three", ["er"])):
        write_net(made / f"{name}.onnx", body=bright, channels=1, **GEOMETRY | {"classes": classes})
    return made


def there(folder: Path) -> Dataset:
    """Return a dataset with a network and a prediction that lands."""
    spec = read_model(folder / "one.onnx")
    model = Model(name="one", classes=spec.classes, sha256=spec.sha256,
                  spec=spec.model_dump(mode="json"), profile={"runtime": "frozen"})  # fmt: skip
    return Dataset(
        name="cell", shape=(64, 64, 64), chunk=(32, 32, 32), dtype="uint16", invert=True,
        voxel_size_nm=(8, 8, 8), contrast=(10, 900), absent_value=7, models=(model,),
        predictions=(
            Prediction(name="mito", model="one", channel="mito", squash_nm=spec.scale_nm or 50),
            Prediction(name="er", squash_nm=40),
        ),
    )  # fmt: skip


def updated(dataset: Dataset, text: str, folder: Path) -> tuple[Dataset, list[str]]:
    def find(name: str) -> Path:
        path = folder / f"{name.removesuffix('.onnx')}.onnx"
        if not path.is_file():
            raise WrongUse(f"model {name}: not found")
        return path

    made = redesign(dataset, parse_pipeline(text, "p.yaml"), find, make)
    return made.dataset, made.warnings


def text_of(chosen: list[str], models: str = "one") -> str:
    lines = [f"models: [{models}]", "organelles:", *(f"  - {ORGANELLES[n]}" for n in chosen)]
    return "\n".join(lines if chosen else lines[:1])


def rules(dataset: Dataset) -> dict[str, str]:
    """Return what the keys of each stage begin with: its version and parameters."""
    files = MemoryFiles()
    stages = [stage for s in registry.services() for stage in s.stages(dataset, files)]
    return {stage.name: parameters_digest(stage) for stage in stages}


@given(CHOSEN, CHOSEN)
def test_what_two_pipelines_share_keeps_its_keys(folder: Path, one: list, two: list) -> None:
    before, _ = updated(there(folder), text_of(one), folder)
    after, _ = updated(before, text_of(two), folder)
    shared = {ORGANELLES[n] for n in one} & {ORGANELLES[n] for n in two}
    kept = {o.name for o in before.organelles if o in after.organelles}
    assert len(kept) == len(shared)
    for name, rule in rules(before).items():
        _, _, organelle = name.partition("/")
        if organelle in kept or organelle not in {o.name for o in before.organelles}:
            assert rules(after)[name] == rule
    fresh, _ = updated(there(folder), text_of(two), folder)
    assert after == fresh
    assert updated(after, text_of(two), folder)[0].has_pipeline_of(after)


def test_the_acquisition_and_its_network_stay(folder: Path) -> None:
    first = there(folder)
    dataset, notes = updated(first, text_of(["mito"], "one, two"), folder)
    fixed = {"models", "predictions", "organelles", "steps"}
    assert dataset.model_dump(exclude=fixed) == first.model_dump(exclude=fixed)
    assert dataset.models[0] == first.models[0]
    assert dataset.models[1].profile == {"runtime": "none"}
    assert dataset.prediction("er") == first.prediction("er")
    assert [p.name for p in dataset.predictions] == ["mito", "nucleus", "er"]
    assert all("small for the tiles" in note for note in notes)


def test_a_network_whose_file_is_gone_stays_by_its_name(folder: Path, tmp_path: Path) -> None:
    assert updated(there(folder), text_of(["mito"]), tmp_path)[0].models == there(folder).models
    with pytest.raises(WrongUse, match="not found"):
        updated(there(folder), text_of(["mito"], "one.onnx"), tmp_path)


def test_another_file_of_a_frozen_name_is_never_taken_silently(
    folder: Path, tmp_path: Path
) -> None:
    write_net(tmp_path / "one.onnx", body=bright, channels=1, **GEOMETRY | {"tile": [26] * 3})
    dataset, notes = updated(there(folder), text_of(["mito"]), tmp_path)
    assert dataset.models == there(folder).models
    assert "keeps its own" in notes[0]
    with pytest.raises(WrongUse, match=r"line 1: network one\.onnx: the dataset has another file"):
        updated(there(folder), text_of(["mito"], "one.onnx"), tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [none]", "model none: not found"),
        ("models: [three]", "er"),  # what has landed stays
        ("models: [two]\norganelles: [{recipe: mito}]", "line 2: organelle mito: .* needs pred"),
        ("models: [one]\npredictions: [{name: ld, from: a.npz}]", "line 2: .* ld: an update lands"),
        ("models: [one]\npredictions: [{name: ld, squash_nm: 9}]", "what has landed is er"),
        ("models: [one]\npredictions: [{name: er, squash_nm: 9}]", "landed with squash_nm 40"),
        ("models: [one]\norganelles: [{recipe: mito, set: {smooth_nm: 1.0e9}}]", "from 0 to 1000"),
        ("models: [one]\ncontacts: [{a: x, b: x, distance_nm: 9}]", "line 2"),
    ],
)
def test_what_cannot_be_made_of_a_dataset_is_refused(folder: Path, text: str, message: str) -> None:
    with pytest.raises(WrongUse, match=message) as caught:
        updated(there(folder), text, folder)
    assert "\n" not in str(caught.value)


def test_a_landed_prediction_that_is_named_by_a_file_is_not_read(folder: Path) -> None:
    text = text_of(["b"]) + "\npredictions: [{name: er, from: gone.npz}]"
    dataset, notes = updated(there(folder), text, folder)
    assert dataset.prediction("er").length_nm == 40
    assert notes == ["prediction er: stays as it has landed; gone.npz is not read"]


def test_a_probability_that_has_landed_stays_one(folder: Path) -> None:
    dataset = there(folder)
    er = Prediction(name="er", is_distance=False)
    dataset = dataset.model_copy(update={"predictions": (dataset.predictions[0], er)})
    text = "models: [one]\npredictions: [{name: er, squash_nm: 50}]"
    with pytest.raises(WrongUse, match="er: it has landed as a probability; expected that"):
        updated(dataset, text, folder)
    assert updated(dataset, "models: [one]", folder)[0].prediction("er") == er


def test_a_network_of_another_voxel_size_is_refused(folder: Path) -> None:
    dataset = there(folder).model_copy(update={"voxel_size_nm": (4, 4, 4)})
    with pytest.raises(WrongUse, match="voxel size 4 x 4 x 4 nm does not fit model two"):
        updated(dataset, "models: [one, two]", folder)

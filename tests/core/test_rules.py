"""What the objects of an organelle follow from: that changes its rule, and nothing else does."""

import pytest

from fibstream.core.dataset import Dataset, Model, Organelle, Prediction
from fibstream.core.rules import object_rules, pipeline_rule

THERE = Dataset(
    name="cell", shape=(None, 8, 8), chunk=(4, 8, 8), dtype="uint8", voxel_size_nm=(8, 8, 8),
    contrast=(0, 255),
    models=tuple(
        Model(name=n, classes=("a",), sha256=n * 8, spec={}, profile={}) for n in ("x", "y")
    ),
    predictions=(
        Prediction(name="mito", model="x", channel="a"),
        Prediction(name="er", model="y", channel="a"),
        Prediction(name="stored"),
    ),
    organelles=(
        Organelle(name="mito", recipe="r", inputs={"prediction": "mito"}, settings={"s": 1}),
        Organelle(name="er", recipe="r", inputs={"prediction": "er"}, settings={}),
        Organelle(
            name="within", recipe="r", settings={},
            inputs={"prediction": "er", "organelle": "mito", "seed": "stored"},
        ),
    ),
)  # fmt: skip


def replaced(field: str, number: int, **update: object) -> dict[str, object]:
    each = list(getattr(THERE, field))
    each[number] = each[number].model_copy(update=update)
    return {field: tuple(each)}


@pytest.mark.parametrize(
    ("update", "others"),
    [
        ({"shape": (12, 8, 8)}, set()),
        ({"invert": True}, {"mito", "er", "within"}),
        ({"contrast": (0, 254)}, {"mito", "er", "within"}),
        ({"absent_value": 0.0}, {"mito", "er", "within"}),
        ({"incarnation": "b"}, {"mito", "er", "within"}),
        ({"steps": {"contacts": ({},)}}, set()),
        (replaced("models", 0, sha256="z"), {"mito", "within"}),
        (replaced("models", 1, profile={"precision": "fp16"}), {"er", "within"}),
        (replaced("predictions", 0, channel="b"), {"mito", "within"}),
        (replaced("predictions", 1, squash_nm=51.0), {"er", "within"}),
        (replaced("organelles", 0, settings={"s": 2}), {"mito", "within"}),
        (replaced("organelles", 2, inputs={"prediction": "er"}), {"within"}),
        (replaced("predictions", 2, is_distance=False), {"within"}),
        ({"organelles": THERE.organelles[::-1]}, set()),
    ],
)
def test_a_rule_changes_with_what_its_objects_follow_from(update, others) -> None:
    changed = THERE.model_copy(update=update)
    before, after = object_rules(THERE), object_rules(changed)
    assert {name for name in before if before[name] != after[name]} == others
    assert (pipeline_rule(changed) == pipeline_rule(THERE)) == (update.keys() == {"shape"})
    again = Dataset.model_validate_json(changed.model_dump_json())
    assert (object_rules(again), pipeline_rule(again)) == (after, pipeline_rule(changed))


def test_organelles_that_read_each_other_have_a_rule() -> None:
    there = THERE.model_copy(update=replaced("organelles", 0, inputs={"a": "within"}))
    assert len(set(object_rules(there).values())) == 3

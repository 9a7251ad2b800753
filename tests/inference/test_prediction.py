"""The stage of a network: which channel is written where, and what its key depends on."""

from typing import Any

import numpy as np
import pytest

from fibstream.core.dataset import Dataset, Model, Prediction
from fibstream.core.grid import Box
from fibstream.core.keys import parameters_digest
from fibstream.core.stage import Block, Patch, Stage
from fibstream.services.inference.stages.prediction import prediction_stage

from ..support.engines import TinyEngine

ENGINE = TinyEngine(("er", "ER.2", "mito"))
MODEL = Model(
    name="tiny", classes=ENGINE.spec.classes, sha256="0",
    spec=ENGINE.spec.model_dump(mode="json"), profile={},
)  # fmt: skip


def stage_of(names: dict[str, str], **changes: Any) -> Stage:
    """Return the stage where classes have other names, in the order of ``names``."""
    own = tuple(Prediction(name=n, model="tiny", channel=c) for c, n in names.items())
    other = Prediction(name="mito-b", model="other", channel="mito")
    dataset = Dataset(
        name="x", shape=(4, 5, 6), chunk=(4, 5, 6), dtype="uint8", voxel_size_nm=(8, 8, 8),
        contrast=(0, 255), models=(MODEL,), predictions=(other, *own),
    )  # fmt: skip
    return prediction_stage(dataset.model_copy(update=changes), MODEL, lambda: ENGINE)


def test_each_class_is_written_under_its_name() -> None:
    stage = stage_of({"mito": "mito-a", "er": "er", "ER.2": "second"})
    volume = Box((0, 0, 0), (4, 5, 6))
    raw = np.random.default_rng(1).integers(0, 256, (4, 5, 6), np.uint8)
    found = stage.compute(Block((0, 0, 0), volume, {"raw": Patch(raw, volume)}))
    assert {o.name for o in stage.outputs} == found.keys()
    mean, complement = (np.asarray(found[f"predictions/{n}"]) for n in ("er", "second"))
    assert np.array_equal(complement, 255 - mean) and mean.std() > 0
    assert np.array_equal(np.asarray(found["predictions/mito-a"]), mean)


BASE = {"er": "er", "ER.2": "second", "mito": "mito"}


@pytest.mark.parametrize(
    "other",
    [
        stage_of(BASE | {"mito": "mito-a"}), stage_of(BASE | {"er": "second", "ER.2": "er"}),
        stage_of(BASE, contrast=(0, 254)), stage_of(BASE, invert=True),
        stage_of(BASE, absent_value=0), stage_of(BASE, absent_value=1),
    ],
)  # fmt: skip
def test_what_changes_an_array_has_another_key(other: Stage) -> None:
    assert parameters_digest(other) != parameters_digest(stage_of(BASE))


def test_where_no_value_is_declared_the_key_is_as_it_was() -> None:
    assert set(stage_of(BASE).parameters) == {"model", "profile", "contrast", "invert", "channels"}

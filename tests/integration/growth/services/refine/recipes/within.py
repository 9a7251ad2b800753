"""``within``: the connected components of a prediction inside the objects of another organelle."""

from collections.abc import Mapping

import numpy as np
from pydantic import Field

from fibstream.core.dataset import Dataset, Organelle
from fibstream.core.fold import Fold
from fibstream.core.stage import Block, Input, Made, Output, Patch, Stage
from fibstream.kernels.hosted import HostedObjects
from fibstream.services.refine.recipe import Recipe, RecipeSettings, Role
from fibstream.services.refine.rule import ObjectRule, object_fold, threshold_level
from fibstream.services.refine.stages.labels import label_stage


class WithinSettings(RecipeSettings):
    """The threshold of the prediction."""

    threshold_nm: float = Field(default=0, description="a number of nm")


def rule_of(dataset: Dataset, organelle: Organelle) -> ObjectRule:
    """Return the rule in voxels and grey levels."""
    settings = WithinSettings.model_validate(dict(organelle.settings))
    squash_nm = dataset.prediction(organelle.inputs["prediction"]).squash_nm
    level = threshold_level(settings.threshold_nm, squash_nm)
    return ObjectRule((0, 0, 0), level, 26, "none")


def stages(dataset: Dataset, organelle: Organelle) -> list[Stage]:
    """Return the stages of an organelle: fragments and labels."""
    prediction = dataset.prediction(organelle.inputs["prediction"])
    name, outer = organelle.name, f"labels/{organelle.inputs['outer']}"
    rule = rule_of(dataset, organelle)

    def compute(block: Block) -> Mapping[str, Made]:
        from fibstream.services.refine.cut import cut_fragments

        whole = block.patches[prediction.path]
        inside = np.where(block.patches[outer].array != 0, whole.array, np.uint8(0))
        ids, summary = cut_fragments(Patch(inside, whole.box, whole.absent), block.core, rule)
        return {f"fragments/{name}": ids, f"summaries/fragments/{name}": summary}

    cut = Stage(
        f"fragments/{name}", 1,
        (
            Input(prediction.stage, prediction.path, "uint8", rule.halo),
            Input(outer, outer, "uint64", rule.halo),
        ),
        (Output(f"fragments/{name}", "uint64", final=False), Output(f"summaries/fragments/{name}")),
        {"recipe": "within", "level": rule.level},
        compute,
    )  # fmt: skip
    return [cut, label_stage(name)]


def fold(dataset: Dataset, organelle: Organelle) -> Fold:
    """Return the fold that makes objects of fragments."""
    name = organelle.name
    source = Input(f"fragments/{name}", f"summaries/fragments/{name}")
    return HostedObjects(name, source, f"labels/{name}", object_fold(rule_of(dataset, organelle)))


ROLES = (Role("prediction"), Role("outer", "labels"))
RECIPE = Recipe("within", WithinSettings(), ROLES, stages, fold)

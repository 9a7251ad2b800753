"""``generic``: the connected components of one prediction, by the rules of Heinrich et al. 2021.

Their methods (refinements) smooth, threshold, connect, fill holes, and drop what is small; here the
size limits are exact integers.
"""

from typing import Self, get_args

from pydantic import Field, model_validator

from fibstream.core.dataset import MIN_VOXEL_NM, SQUASH_NM, Dataset, Organelle, Prediction
from fibstream.core.echo import cut
from fibstream.core.errors import WrongUse
from fibstream.core.fold import Fold
from fibstream.core.stage import Input, Stage
from fibstream.kernels.conventions import Connectivity
from fibstream.kernels.hosted import HostedObjects
from fibstream.services.refine.recipe import Recipe, RecipeSettings, Role, bounded
from fibstream.services.refine.rule import (
    FillHoles,
    MinRule,
    ObjectRule,
    Voxel,
    object_fold,
    sigma_voxels,
    threshold_level,
    voxel_limits,
)
from fibstream.services.refine.stages.fragments import fragment_stage
from fibstream.services.refine.stages.labels import label_stage


def one_of(choices: object) -> str:
    """Return what a setting expects that takes one of the values of a Literal."""
    return "one of " + ", ".join(map(str, get_args(choices)))


# Wider than any organelle but the nucleus; of small voxels `rule.MAX_SIGMA` allows less.
MAX_SMOOTH_NM = 1000.0
# Beyond 3.2 squash lengths, the largest of which is 1 um, bytes are saturated.
MAX_THRESHOLD_NM = 3200.0
MIN_VOLUME_NM3 = MIN_VOXEL_NM**3  # an object has a voxel
MAX_VOLUME_NM3 = 1e16  # a cube of 215 um, as the largest cells


class GenericSettings(RecipeSettings):
    """Smoothing, threshold, connectivity, holes, and the limits of an object's volume."""

    smooth_nm: float = bounded(0, 0, MAX_SMOOTH_NM, "nm")
    threshold_nm: float = bounded(0, -MAX_THRESHOLD_NM, MAX_THRESHOLD_NM, "nm")
    connectivity: Connectivity = Field(default=6, description=one_of(Connectivity))
    fill_holes: FillHoles = Field(default="one", description=one_of(FillHoles))
    min_volume_nm3: float = bounded(0, 0, MAX_VOLUME_NM3, "nm3")
    max_volume_nm3: float | None = bounded(
        None, MIN_VOLUME_NM3, MAX_VOLUME_NM3, "nm3", ", not below min_volume_nm3, or null"
    )
    min_rule: MinRule = Field(default="below", description=one_of(MinRule))

    @model_validator(mode="after")
    def _limits_are_in_order(self) -> Self:
        if self.max_volume_nm3 is not None and self.max_volume_nm3 < self.min_volume_nm3:
            raise ValueError("max_volume_nm3 is less than min_volume_nm3")
        return self


def object_rule(
    settings: GenericSettings, voxel_size_nm: Voxel, squash_nm: float = SQUASH_NM
) -> ObjectRule:
    """Return the rule in voxels of ``voxel_size_nm`` (z, y, x) and levels of a prediction."""
    least, most = voxel_limits(
        settings.min_volume_nm3, settings.max_volume_nm3, settings.min_rule, voxel_size_nm
    )
    return ObjectRule(
        sigma_voxels(settings.smooth_nm, voxel_size_nm),
        threshold_level(settings.threshold_nm, squash_nm),
        settings.connectivity, settings.fill_holes, least, most,
    )  # fmt: skip


def rule_of(
    dataset: Dataset, organelle: Organelle, given: GenericSettings | None = None
) -> ObjectRule:
    """Return the rule of an organelle of a dataset; ``given`` are settings of more than generic."""
    settings = given or GenericSettings.model_validate(dict(organelle.settings))
    squash_nm = prediction_of(dataset, organelle, settings.threshold_nm).squash_nm
    return object_rule(settings, dataset.voxel_size_nm, squash_nm)


def prediction_of(dataset: Dataset, organelle: Organelle, threshold_nm: float) -> Prediction:
    """Return the prediction of an organelle; raise WrongUse where it has no such threshold."""
    prediction = dataset.prediction(organelle.inputs["prediction"])
    if threshold_nm and not prediction.is_distance:
        raise WrongUse(
            f"organelle {cut(organelle.name, 40)}: threshold_nm {threshold_nm:g} needs a "
            f"distance, and prediction {cut(prediction.name, 30)} is a probability; expected 0, "
            "which is p = 0.5"
        )
    return prediction


def stages(dataset: Dataset, organelle: Organelle) -> list[Stage]:
    """Return the stages of an organelle: fragments and labels."""
    prediction = dataset.prediction(organelle.inputs["prediction"])
    cut = fragment_stage(dataset, organelle.name, prediction, rule_of(dataset, organelle))
    return [cut, label_stage(organelle.name)]


def fold(dataset: Dataset, organelle: Organelle) -> Fold:
    """Return the fold that makes objects of an organelle's fragments."""
    return organelle_fold(organelle, rule_of(dataset, organelle))


def organelle_fold(organelle: Organelle, rule: ObjectRule) -> Fold:
    """Return the fold that makes objects of an organelle's fragments by a rule."""
    name = organelle.name
    source = Input(f"fragments/{name}", f"summaries/fragments/{name}")
    return HostedObjects(name, source, f"labels/{name}", object_fold(rule))


RECIPE = Recipe("generic", GenericSettings(), (Role("prediction"),), stages, fold)

"""``masked``: generic, of a prediction that counts inside or outside another organelle only.

The mask is applied before smoothing, as by Heinrich et al. 2021: a Gaussian may bring back voxels
at its edge.
"""

from pydantic import Field

from fibstream.core.dataset import Dataset, Organelle
from fibstream.core.fold import Fold
from fibstream.core.stage import Stage
from fibstream.services.refine.recipe import Recipe, Role, bounded
from fibstream.services.refine.stages.fragments import fragment_stage
from fibstream.services.refine.stages.labels import label_stage
from fibstream.services.refine.stages.masks import Keep, Mask

from .generic import GenericSettings, one_of, organelle_fold, rule_of

# Twice the largest of the published ones; what a chunk of small voxels cannot hold is refused.
MAX_EXPAND_NM = 400.0


class MaskedSettings(GenericSettings):
    """Those of generic, and where the prediction counts."""

    keep: Keep = Field(default="outside", description=one_of(Keep))
    expand_nm: float = bounded(0, 0, MAX_EXPAND_NM, "nm")


def _settings(organelle: Organelle) -> MaskedSettings:
    return MaskedSettings.model_validate(dict(organelle.settings))


def stages(dataset: Dataset, organelle: Organelle) -> list[Stage]:
    """Return the stages of an organelle: fragments of the masked prediction, and labels."""
    settings = _settings(organelle)
    prediction = dataset.prediction(organelle.inputs["prediction"])
    mask = Mask.of(dataset, organelle.inputs["mask"], settings.keep, settings.expand_nm)
    rule = rule_of(dataset, organelle, settings)
    cut = fragment_stage(dataset, organelle.name, prediction, rule, mask)
    return [cut, label_stage(organelle.name)]


def fold(dataset: Dataset, organelle: Organelle) -> Fold:
    """Return the fold that makes objects of an organelle's fragments."""
    return organelle_fold(organelle, rule_of(dataset, organelle, _settings(organelle)))


ROLES = (Role("prediction"), Role("mask", "labels"))
RECIPE = Recipe("masked", MaskedSettings(), ROLES, stages, fold)

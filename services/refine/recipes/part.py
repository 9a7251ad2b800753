"""``part``: a part of another organelle, as its membrane; each voxel has the id of that organelle.

By Heinrich et al. 2021: where the part's prediction counts, its label is that of the parent at the
same voxel; elsewhere, and where the parent has none, it is 0.
"""

from fibstream.core.dataset import Dataset, Organelle
from fibstream.core.fold import Fold
from fibstream.core.stage import Stage
from fibstream.services.refine.parts import PartFold
from fibstream.services.refine.recipe import Recipe, Role, bounded
from fibstream.services.refine.rule import threshold_level
from fibstream.services.refine.stages.parts import count_stage, part_stage

from .generic import MAX_THRESHOLD_NM, prediction_of
from .masked import MaskSettings, mask_roles, masks_of


class PartSettings(MaskSettings):
    """The distance from which on the part is there, and where its prediction counts."""

    threshold_nm: float = bounded(0, -MAX_THRESHOLD_NM, MAX_THRESHOLD_NM, "nm")


def stages(dataset: Dataset, organelle: Organelle) -> list[Stage]:
    """Return the stages of an organelle: labels, and the voxels of each id in them."""
    settings = PartSettings.model_validate(dict(organelle.settings))
    prediction = prediction_of(dataset, organelle, settings.threshold_nm)
    level = threshold_level(settings.threshold_nm, prediction.squash_nm)
    masks = masks_of(dataset, organelle, settings)
    name, parent = organelle.name, organelle.inputs["parent"]
    return [part_stage(name, prediction, parent, level, masks), count_stage(name)]


def fold(dataset: Dataset, organelle: Organelle) -> Fold:  # noqa: ARG001
    """Return the fold that reports the objects of a part."""
    return PartFold(organelle.name)


ROLES = (Role("prediction"), Role("parent", "labels"), *mask_roles())
RECIPE = Recipe("part", PartSettings(), ROLES, stages, fold)

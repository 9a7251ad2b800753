"""``agglomerated``: components cut by watershed, and put together again by quantile affinity.

As Heinrich et al. 2021 made mitochondria and nuclei that touch (their methods, refinements): the
published parameters of each cell are recipes of their own. Thresholds compare as integers, and ties
are broken by voxels, so that the result is the same however a volume is cut. Holes are filled after
that, and small objects dropped last.
"""

from fractions import Fraction
from typing import Self

from pydantic import Field, model_validator

from fibstream.core.dataset import Dataset, Organelle
from fibstream.core.fold import Fold
from fibstream.core.stage import Input, Stage
from fibstream.kernels.conventions import LEVEL_BITS, Connectivity
from fibstream.kernels.hosted import HostedObjects
from fibstream.kernels.watershed import presets
from fibstream.kernels.watershed.rule import Agglomeration
from fibstream.kernels.watershed.split import SplitFold
from fibstream.services.refine.recipe import Division, Recipe, Role, bounded
from fibstream.services.refine.rule import FillHoles, MinRule, ObjectRule
from fibstream.services.refine.stages.basins import basin_stage
from fibstream.services.refine.stages.labels import label_stage

from .generic import (
    MAX_SMOOTH_NM,
    MAX_THRESHOLD_NM,
    MAX_VOLUME_NM3,
    MIN_VOLUME_NM3,
    GenericSettings,
    one_of,
    rule_of,
)
from .masked import Choice, MaskSettings, chosen, mask_roles, masks_of

SMALLEST_NM3 = 2e7  # of the published ones
# Around the published rows, 25 and 50 of which the thresholds are 0.1 (a nucleus) and 0.6 to 0.9.
TRIED = {
    "min_depth": (0, 2, 8),
    "quantile": (10, 25, 50, 75),
    "merge_below": (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.875, 0.9, 0.95),
}


class AgglomeratedSettings(Choice, MaskSettings):
    """Smoothing, level, what agglomerates, and the limits of an object's volume."""

    smooth_nm: float = bounded(0, 0, MAX_SMOOTH_NM, "nm")
    threshold_nm: float = bounded(0, -MAX_THRESHOLD_NM, MAX_THRESHOLD_NM, "nm")
    connectivity: Connectivity = Field(default=6, description=one_of(Connectivity))
    quantile: int = Field(default=25, ge=0, le=100, description="a whole number from 0 to 100")
    merge_below: float = bounded(0.9, 0, 1, "one less affinity")
    min_depth: float = bounded(0, 0, 255, "grey levels")
    min_volume_nm3: float = bounded(0, 0, MAX_VOLUME_NM3, "nm3")
    max_volume_nm3: float | None = bounded(
        None, MIN_VOLUME_NM3, MAX_VOLUME_NM3, "nm3", ", not below min_volume_nm3, or null"
    )
    min_rule: MinRule = Field(default="below", description=one_of(MinRule))
    fill_holes: FillHoles = Field(default="none", description=one_of(FillHoles))

    @model_validator(mode="after")
    def _limits_are_in_order(self) -> Self:
        if self.max_volume_nm3 is not None and self.max_volume_nm3 < self.min_volume_nm3:
            raise ValueError("max_volume_nm3 is less than min_volume_nm3")
        return self

    @property
    def generic(self) -> GenericSettings:
        """What it has in common with connected components."""
        names = GenericSettings.model_fields.keys() & type(self).model_fields.keys()
        return GenericSettings(**{name: getattr(self, name) for name in names})

    @property
    def agglomeration(self) -> Agglomeration:
        """What decides which basins become one object; decimals are taken as they are written."""
        depth = Fraction(str(self.min_depth)) * (1 << LEVEL_BITS)
        threshold = Fraction(str(self.merge_below))
        return Agglomeration(
            self.quantile, threshold, least_dynamics=max(-(-depth // 1), 1),
            merging=self.fill_holes == "all",
        )  # fmt: skip


def _settings(organelle: Organelle) -> AgglomeratedSettings:
    return AgglomeratedSettings.model_validate(dict(organelle.settings))


def _rule(dataset: Dataset, organelle: Organelle) -> ObjectRule:
    settings = _settings(organelle)
    return chosen(dataset, organelle, rule_of(dataset, organelle, settings.generic), settings)


def stages(dataset: Dataset, organelle: Organelle) -> list[Stage]:
    """Return the stages of an organelle: basins of the prediction, and labels."""
    prediction = dataset.prediction(organelle.inputs["prediction"])
    masks = masks_of(dataset, organelle, _settings(organelle))
    cut = basin_stage(dataset, organelle.name, prediction, _rule(dataset, organelle), masks)
    return [cut, label_stage(organelle.name)]


def fold(dataset: Dataset, organelle: Organelle) -> Fold:
    """Return the fold that splits components of an organelle into objects."""
    name, rule = organelle.name, _rule(dataset, organelle)
    source = Input(f"fragments/{name}", f"summaries/fragments/{name}")
    split = SplitFold(
        _settings(organelle).agglomeration, dataset.grid, least=rule.least, most=rule.most,
        only=rule.only, without=rule.without,
    )  # fmt: skip
    return HostedObjects(name, source, f"labels/{name}", split)


def division(dataset: Dataset, organelle: Organelle) -> Division:
    """Return how the components of an organelle are divided."""
    return Division(_settings(organelle).agglomeration, _rule(dataset, organelle).least)


def _published(
    name: str, prediction: str, rule: Agglomeration, fill_holes: FillHoles = "none"
) -> Recipe:
    settings = AgglomeratedSettings(
        smooth_nm=presets.SMOOTH_NM, quantile=rule.quantile, merge_below=float(rule.threshold),
        min_volume_nm3=SMALLEST_NM3, min_rule="ceil", fill_holes=fill_holes,
    )  # fmt: skip
    return Recipe(
        name, settings, (Role("prediction", default=prediction), *mask_roles()), stages, fold,
        division, TRIED,
    )  # fmt: skip


RECIPES = (
    Recipe(
        "agglomerated",
        AgglomeratedSettings(),
        (Role("prediction"), *mask_roles()),
        stages,
        fold,
        division,
        TRIED,
    ),
    *(_published(f"mito-{cell}", "mito", r, "one") for cell, r in presets.MITOCHONDRIA.items()),
    *(_published(f"nucleus-{cell}", "nucleus", r) for cell, r in presets.NUCLEI.items()),
)

"""``mito``: mitochondria; generic with the smoothing of Heinrich et al. 2021."""

from fibstream.services.refine.recipe import Recipe, Role

from .generic import GenericSettings, fold, stages

RECIPE = Recipe(
    "mito", GenericSettings(smooth_nm=12, min_volume_nm3=1e6),
    (Role("prediction", default="mito"),), stages, fold,
)  # fmt: skip

"""The refinements of Heinrich et al. 2021 as a table: rows are ``masked`` or ``part``.

Their ``organelle_refinements.csv``, in an order in which what a mask needs comes before it. The
same can be written in a pipeline, as ``recipe``, ``from`` and ``set`` of an organelle: nothing but
names is known here. Objects of at most the smallest volume go, and a smoothed prediction has 12 nm.
"""

from typing import NamedTuple

from fibstream.services.refine.recipe import Recipe, Role
from fibstream.services.refine.rule import FillHoles
from fibstream.services.refine.stages.masks import Keep

from . import masked, part
from .masked import MaskedSettings, mask_roles
from .part import PartSettings

SMOOTH_NM = 12.0


class Objects(NamedTuple):
    """Connected components of a prediction, inside or outside another organelle."""

    name: str
    prediction: str  # as the released networks name their classes
    smooth_nm: float
    min_volume_nm3: float
    fill_holes: FillHoles = "none"
    mask: str | None = None
    keep: Keep = "outside"
    expand_nm: float = 0.0

    def recipe(self) -> Recipe:
        """Return the recipe of a row."""
        settings = MaskedSettings(
            smooth_nm=self.smooth_nm, min_volume_nm3=self.min_volume_nm3, min_rule="ceil",
            fill_holes=self.fill_holes, keep=self.keep, expand_nm=self.expand_nm,
        )  # fmt: skip
        roles = Role("prediction", default=self.prediction), *_masks(self.mask)
        return Recipe(self.name, settings, roles, masked.stages, masked.fold)


class Part(NamedTuple):
    """The part of an organelle in a prediction, outside another organelle."""

    name: str
    prediction: str
    parent: str
    mask: str | None = None
    expand_nm: float = 0.0

    def recipe(self) -> Recipe:
        """Return the recipe of a row."""
        settings = PartSettings(expand_nm=self.expand_nm)
        prediction = Role("prediction", default=self.prediction)
        roles = prediction, Role("parent", "labels", self.parent), *_masks(self.mask)
        return Recipe(self.name, settings, roles, part.stages, part.fold)


def _masks(mask: str | None) -> tuple[Role, ...]:
    return mask_roles(mask, needed=mask is not None)


ROWS: tuple[Objects | Part, ...] = (
    Objects("ecs", "ecs", 0, 1.7e9),
    Objects("pm", "plasma_membrane", 0, 2e7),
    Objects("nucleus", "nucleus", SMOOTH_NM, 1.7e9),
    # Of hela-1 and choroid-plexus-2; the other cells' are by watershed and agglomeration.
    Objects("mito-components", "mito", SMOOTH_NM, 2e7, "one"),
    Objects("endo", "MVB", SMOOTH_NM, 5e5, mask="mito", expand_nm=30),
    Objects("er", "er", 0, 2e7),
    # 80 nm of hela-2 and hela-3; jurkat-1 has 150, macrophage-2 200.
    Part("er-periph", "er", "er", "nucleus", 80),
    Objects("eres", "ERES", 0, 3e5, mask="er", keep="inside"),
    # Expanded by the default of their tool; their table says expanded alone.
    Objects("ne", "NE", 0, 3e5, mask="nucleus", keep="inside", expand_nm=160),
    Objects("np", "nuclear_pore", 0, 3e5, mask="ne", keep="inside"),
    Objects("nucleolus", "nucleolus", SMOOTH_NM, 5e5, mask="nucleus", keep="inside"),
    Objects("chrom", "chromatin", SMOOTH_NM, 8e3, mask="nucleus", keep="inside"),
    Objects("nhchrom", "NHChrom", 0, 8e3, mask="nucleus", keep="inside"),
    Objects("vesicle", "vesicle", 0, 3.3e4),
    Objects("golgi", "golgi", 0, 2e7),
    Objects("lyso", "lysosome", SMOOTH_NM, 5e5),
    Objects("ld", "LD", SMOOTH_NM, 5e5),
    Objects("cent", "centrosome", 0, 3e5),
    Objects("cent-dapp", "distal_app", 0, 8e3),
    Part("mito-mem", "mito_membrane", "mito"),
    Part("vesicle-mem", "vesicle_membrane", "vesicle"),
    Part("endo-mem", "MVB_membrane", "endo"),
    Part("er-mem", "er_membrane", "er"),
    Part("golgi-mem", "golgi_membrane", "golgi"),
    Part("lyso-mem", "lysosome_membrane", "lyso"),
    Part("ld-mem", "LD_membrane", "ld"),
    Part("ne-mem", "NE_membrane", "ne"),
)  # fmt: skip
RECIPES = tuple(row.recipe() for row in ROWS)

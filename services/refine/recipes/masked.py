"""``masked``: generic, of a prediction that counts inside or outside other organelles only.

Masks are applied before smoothing, as by Heinrich et al. 2021: a Gaussian may bring back voxels at
their edges. Objects may be chosen by their ids, as they did by hand.
"""

from collections.abc import Iterator

from pydantic import Field

from fibstream.core.dataset import Dataset, Organelle
from fibstream.core.echo import cut
from fibstream.core.errors import WrongUse
from fibstream.core.fold import Fold
from fibstream.core.ids import voxel
from fibstream.core.stage import Stage
from fibstream.services.refine.recipe import (
    LAST_ID,
    ObjectIds,
    Recipe,
    RecipeSettings,
    Role,
    bounded,
)
from fibstream.services.refine.rule import ObjectRule
from fibstream.services.refine.stages.fragments import fragment_stage
from fibstream.services.refine.stages.labels import label_stage
from fibstream.services.refine.stages.masks import AnyMask, CellMask, Keep, Mask

from .generic import GenericSettings, one_of, organelle_fold, rule_of

# Twice the largest of the published ones; what a chunk of small voxels cannot hold is refused.
MAX_EXPAND_NM = 400.0
MAX_IDS = 1000  # of 19 digits each: 20 KB of a record, and far above what somebody picks by hand
IDS = f"a list of at most {MAX_IDS} ids of objects, whole numbers from 1 to {LAST_ID}"
# Roles of labels, with the settings that tell what they mask.
MASKS = (
    ("mask", "keep", "expand_nm"),
    ("mask_2", "keep_2", "expand_2_nm"),
    ("mask_3", "keep_3", "expand_3_nm"),
)


class MaskSettings(RecipeSettings):
    """Where a prediction counts: in all that is kept by each mask that is given."""

    keep: Keep = Field(default="outside", description=one_of(Keep))
    expand_nm: float = bounded(0, 0, MAX_EXPAND_NM, "nm")
    keep_2: Keep = Field(default="outside", description=one_of(Keep))
    expand_2_nm: float = bounded(0, 0, MAX_EXPAND_NM, "nm")
    keep_3: Keep = Field(default="outside", description=one_of(Keep))
    expand_3_nm: float = bounded(0, 0, MAX_EXPAND_NM, "nm")


class Choice(RecipeSettings):
    """The objects that are kept, all where there are none, or left out, by their ids."""

    select_ids: ObjectIds = Field(default=[], max_length=MAX_IDS, description=IDS)
    drop_ids: ObjectIds = Field(default=[], max_length=MAX_IDS, description=IDS)


class MaskedSettings(Choice, MaskSettings, GenericSettings):
    """Those of generic and of masks, and a choice of objects."""


def mask_roles(mask: str | None = None, *, needed: bool = False) -> tuple[Role, ...]:
    """Return the roles of all masks; the first may be needed, and have a default."""
    first, *others = (name for name, _, _ in MASKS)
    return (
        Role(first, "labels", mask, optional=not needed),
        *(Role(name, "labels", optional=True) for name in others),
        Role("cell", optional=True),
    )


def masks_of(dataset: Dataset, organelle: Organelle, settings: MaskSettings) -> list[AnyMask]:
    """Return the masks that an organelle is given.

    Raises WrongUse for settings of a mask that it is not given, and for what is read twice.
    """
    _check_inputs(organelle)
    found = list[AnyMask](_label_masks(dataset, organelle, settings))
    if "cell" in organelle.inputs:
        found.append(CellMask.of(dataset, dataset.prediction(organelle.inputs["cell"])))
    return found


def _label_masks(dataset: Dataset, organelle: Organelle, settings: MaskSettings) -> Iterator[Mask]:
    fields = MaskSettings.model_fields
    for role, keep, expand_nm in MASKS:
        if role in organelle.inputs:
            how = getattr(settings, keep), getattr(settings, expand_nm)
            yield Mask.of(dataset, organelle.inputs[role], *how)
            continue
        for name in (keep, expand_nm):
            if getattr(settings, name) != fields[name].default:
                raise WrongUse(
                    f"organelle {cut(organelle.name, 40)}: {name} is of a {role}, and there is "
                    f"none; give from: {{{role}: ORGANELLE}}"
                )


def _check_inputs(organelle: Organelle) -> None:
    """Raise WrongUse for an array that is read in two roles: one block cannot hold both."""
    seen: dict[tuple[bool, str], str] = {}
    for role, name in organelle.inputs.items():
        other = seen.setdefault((role in ("prediction", "cell"), name), role)
        if other != role:
            raise WrongUse(
                f"organelle {cut(organelle.name, 40)}: {other} and {role} are both "
                f"{cut(name, 40)}; expected another one, or one role less"
            )


def _settings(organelle: Organelle) -> MaskedSettings:
    return MaskedSettings.model_validate(dict(organelle.settings))


def _rule(dataset: Dataset, organelle: Organelle) -> ObjectRule:
    settings = _settings(organelle)
    return chosen(dataset, organelle, rule_of(dataset, organelle, settings), settings)


def chosen(dataset: Dataset, organelle: Organelle, rule: ObjectRule, choice: Choice) -> ObjectRule:
    """Return a rule that also chooses objects by ids; raise WrongUse for one that is no voxel."""
    for word in choice.choices():
        for id_ in getattr(choice, word):
            _, y, x = voxel(id_ - 1)  # of an open volume z may be anything
            if y >= dataset.shape[1] or x >= dataset.shape[2]:
                raise WrongUse(
                    f"organelle {cut(organelle.name, 40)}: {word} has {id_}, which is no voxel of "
                    f"the volume; expected ids of table {cut(organelle.name, 40)}"
                )
    return rule.chosen(frozenset(choice.select_ids), frozenset(choice.drop_ids))


def stages(dataset: Dataset, organelle: Organelle) -> list[Stage]:
    """Return the stages of an organelle: fragments of the masked prediction, and labels."""
    prediction = dataset.prediction(organelle.inputs["prediction"])
    masks = masks_of(dataset, organelle, _settings(organelle))
    cut = fragment_stage(dataset, organelle.name, prediction, _rule(dataset, organelle), masks)
    return [cut, label_stage(organelle.name)]


def fold(dataset: Dataset, organelle: Organelle) -> Fold:
    """Return the fold that makes objects of an organelle's fragments."""
    return organelle_fold(organelle, _rule(dataset, organelle))


ROLES = (Role("prediction"), *mask_roles(needed=True))
RECIPE = Recipe("masked", MaskedSettings(), ROLES, stages, fold)

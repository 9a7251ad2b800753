"""Thresholds a little lower and higher, and what a dataset would be with each of them.

A grey level is the step in which predictions are stored; 4 nm are a voxel of the paper's data.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa

from fibstream.core.dataset import Dataset, Organelle
from fibstream.core.errors import WrongUse
from fibstream.kernels.conventions import LEVEL_BITS
from fibstream.services.analysis.measures import Column
from fibstream.services.refine.rule import SATURATED, threshold_level

from .totals import COLUMNS, Row

GREY, NM = (-1, 1), (-4.0, 4.0)
AS_IT_IS = "none"
ONE = 1 << LEVEL_BITS  # a grey level in the units of thresholds
FIGURES = (
    "objects", "volume_nm3", "crofton_area_nm2", "mean_volume_nm3", "mean_crofton_area_nm2",
)  # fmt: skip
SHIFTS: Mapping[str, Column] = {
    "organelle": Column("string", "name of the organelle"),
    "shift": Column("string", f"of its threshold: {AS_IT_IS}, +-1 grey level, +-4 nm"),
    "threshold_nm": Column("double", "threshold_nm of the recipe; nothing of a probability"),
    "grey_level": Column("double", "least smoothed value that is inside, of 0 to 255"),
    **{name: COLUMNS[name] for name in ("objects", "border_objects")},
    **{name: COLUMNS[name] for name in FIGURES if name != "objects"},
}
SCHEMA = pa.schema([(name, column.type) for name, column in SHIFTS.items()])


class Shifted(NamedTuple):
    """An organelle with another threshold, as a dataset of it alone, and what that is."""

    shift: str
    threshold_nm: float | None  # None of a probability
    level: int  # in units of 2**-7 grey levels
    dataset: Dataset

    @property
    def row(self) -> Row:
        """The columns that do not follow from objects."""
        return {"organelle": self.dataset.organelles[0].name, "shift": self.shift,
                "threshold_nm": self.threshold_nm, "grey_level": self.level / ONE}  # fmt: skip


def shifts(dataset: Dataset, organelle: Organelle) -> tuple[list[Shifted], list[str]]:
    """Return the organelle as it is and with every shift, and why some are left out.

    Raises WrongUse for a recipe without a threshold.
    """
    if "threshold_nm" not in organelle.settings or "prediction" not in organelle.inputs:
        raise WrongUse(f"organelle {organelle.name}: recipe {organelle.recipe} has no threshold_nm")
    prediction = dataset.prediction(organelle.inputs["prediction"])
    own, squash = float(organelle.settings["threshold_nm"]), prediction.squash_nm
    level = threshold_level(own, squash)
    wanted: dict[str, float | None] = {AS_IT_IS: own}
    wanted |= {f"{by:+d} grey level": threshold_at(level + by * ONE, squash) for by in GREY}
    left_out = []
    if prediction.is_distance:
        wanted |= {f"{by:+g} nm": own + by for by in NM}
    else:
        left_out.append(f"{organelle.name}: {prediction.name} is a probability, which has no nm")
    made = []
    for shift, threshold in wanted.items():
        try:
            assert threshold is not None or shift != AS_IT_IS
            made.append(_shifted(dataset, organelle, shift, threshold))
        except WrongUse as error:
            left_out.append(f"{organelle.name}, {shift}: {error}")
    return made, left_out


def threshold_at(level: int, squash_nm: float) -> float | None:
    """Return a threshold in nm of which the level is ``level``; None where bytes are saturated.

    It lies in the middle of those that have it, so that no rounding makes it another.
    """
    grey = (level - 0.5) / ONE
    if not SATURATED[0] < grey < SATURATED[1]:
        return None
    found = squash_nm * math.atanh((grey - 127) / 128)
    assert threshold_level(found, squash_nm) == level
    return found


def _shifted(
    dataset: Dataset, organelle: Organelle, shift: str, threshold_nm: float | None
) -> Shifted:
    prediction = dataset.prediction(organelle.inputs["prediction"])
    if threshold_nm is None:
        raise WrongUse(f"prediction {prediction.name}: its bytes are saturated there")
    level = threshold_level(threshold_nm, prediction.squash_nm)
    own = organelle.model_copy(
        update={"settings": {**organelle.settings, "threshold_nm": threshold_nm}}
    )
    # Recipes take no threshold of a probability: read as a distance, its bytes have the same one.
    read = tuple(
        p.model_copy(update={"is_distance": True}) if p.name == prediction.name else p
        for p in dataset.predictions
    )
    alone = dataset.model_copy(update={"organelles": (own,), "predictions": read})
    return Shifted(shift, threshold_nm if prediction.is_distance else None, level, alone)

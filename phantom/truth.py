"""Truth beyond voxels: super classes, crops that are annotated fully, partly or not."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.kernels.schema.annotation import CropRecord
from fibstream.kernels.schema.classes import FINE_IDS, GENERIC_NUCLEUS, members
from fibstream.kernels.schema.classes import super_class as class_of

from .scaffold import Line, Thing

__all__ = [
    "Annotated", "Crop", "Line", "Thing", "annotation", "label_mask", "record", "super_class",
]  # fmt: skip

Bytes = NDArray[np.uint8]


def super_class(labels: Bytes, name: str) -> NDArray[np.bool_]:
    """Return where fine ids, ``(z, y, x)`` uint8, belong to a super class; classes overlap.

    Raises
    ------
    WrongUse
        For an unknown class.
    """
    return members(labels, name)


class Annotated(Enum):
    """How completely a crop's annotators drew one fine id."""

    FULLY = "fully"
    PARTLY = "partly"
    NOT = "not"


@dataclass(frozen=True, slots=True)
class Crop:
    """An annotated part of a volume; a fine id that is not in ``states`` is drawn fully.

    What is drawn partly is drawn in the first half of the crop's slices.  With ``generic`` the
    inside of the nucleus is one class: it reads 37, as annotators leave it.
    """

    number: int
    box: Box
    states: Mapping[int, Annotated]
    generic: bool = False

    def __post_init__(self) -> None:
        if self.number < 1:
            raise WrongUse(f"crop {self.number}: numbers begin with 1")
        if wrong := [i for i in self.states if not 1 <= i <= FINE_IDS]:
            raise WrongUse(f"crop {self.number}: ids {wrong}; expected 1 to {FINE_IDS}")

    def state(self, fine: int) -> Annotated:
        """Return how completely a fine id was drawn."""
        return self.states.get(fine, Annotated.FULLY)


def annotation(labels: Bytes, crop: Crop) -> Bytes:
    """Return the annotated fine ids of a crop, ``(z, y, x)`` uint8; 0 where nothing was drawn.

    ``labels`` are its true fine ids, of the same shape and type.
    """
    table = np.arange(256, dtype=np.uint8)
    if crop.generic:
        table[[24, 25, 26, 27, 28, 29]] = GENERIC_NUCLEUS
    half = (labels.shape[0] + 1) // 2
    first, rest = table.copy(), table.copy()
    for fine in range(1, FINE_IDS + 1):
        state = crop.state(fine)
        if state is Annotated.NOT:
            first[table == fine] = rest[table == fine] = 0
        elif state is Annotated.PARTLY:
            rest[table == fine] = 0
    return np.concatenate([first[labels[:half]], rest[labels[half:]]])


def record(labels: Bytes, crop: Crop) -> dict[str, list[int]]:
    """Return the crop's entry of an annotation database: which ids are present, and how drawn.

    Every id is in exactly one list; those in ``absent_annotated`` are known to be absent.
    """
    drawn = annotation(labels, Crop(crop.number, crop.box, {}, crop.generic))
    there = set(np.unique(drawn).tolist())
    lists: dict[str, list[int]] = {
        "present_annotated": [], "present_partial_annotation": [], "present_unannotated": [],
        "absent_annotated": [],
    }  # fmt: skip
    names = {
        Annotated.FULLY: "present_annotated",
        Annotated.PARTLY: "present_partial_annotation",
        Annotated.NOT: "present_unannotated",
    }
    for fine in range(1, FINE_IDS + 1):
        lists[names[crop.state(fine)] if fine in there else "absent_annotated"].append(fine)
    return lists


def label_mask(labels: Bytes, crop: Crop, name: str) -> NDArray[np.bool_]:
    """Return where a crop may train a network on a super class.

    Everywhere something was drawn, if every fine id of the class is fully drawn or absent, else
    nowhere (Heinrich et al. 2021, code of the paper).  For classes with a generic id that id, or
    all the others, is enough.
    """
    ids = set(class_of(name).ids)
    known = CropRecord.of(record(labels, crop)).annotated
    enough = ids - {GENERIC_NUCLEUS} <= known
    if GENERIC_NUCLEUS in ids and crop.generic:
        enough = GENERIC_NUCLEUS in known and {20, 21, 22, 23} <= known
    elif crop.generic and ids & {24, 25, 26, 27, 28, 29}:
        enough = False
    drawn = annotation(labels, crop) > 0
    return drawn if enough else np.zeros_like(drawn)

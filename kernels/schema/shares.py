"""How frequent each class is in annotated crops, and what share of each crop is annotated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse

from .annotation import CropRecord
from .classes import FINE_IDS, FINE_NAMES, super_class

COLUMNS = (
    "crop", "class", "kind", "ids", "voxels", "of_annotated", "annotated", "of_crop", "trains",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CropCounts:
    """Voxels of one crop by fine id: 38 numbers, those not annotated first."""

    name: str
    voxels: tuple[int, ...]
    record: CropRecord

    @property
    def annotated(self) -> int:
        """Voxels that somebody annotated."""
        return sum(self.voxels[1:])


def count(name: str, labels: NDArray[np.uint8], record: CropRecord) -> CropCounts:
    """Count the fine ids of a crop, (z, y, x) uint8; raise WrongUse for an id above 37."""
    found = np.bincount(labels.ravel(), minlength=FINE_IDS + 1)
    if len(found) > FINE_IDS + 1:
        raise WrongUse(f"crop {name}: label {len(found) - 1}; expected fine ids from 0 to 37")
    return CropCounts(name, tuple(int(n) for n in found), record)


def rows(crops: Sequence[CropCounts], classes: Sequence[str]) -> list[Mapping[str, object]]:
    """Return one row for each crop and fine id, and for each crop and super class.

    ``of_annotated`` is the class's share of the annotated voxels, ``annotated`` the crop's number
    of them, ``of_crop`` their share of all; ``trains`` is whether the crop may train the class, of
    a fine id whether it is annotated.
    """
    found: list[Mapping[str, object]] = []
    for crop in crops:
        wanted: list[tuple[str, str, tuple[int, ...]]]
        wanted = [("fine", n, (i,)) for i, n in enumerate(FINE_NAMES, 1)]
        wanted += [("super", name, super_class(name).ids) for name in classes]
        for kind, name, ids in wanted:
            voxels = sum(crop.voxels[i] for i in ids)
            trains = (
                crop.record.trains(name) if kind == "super" else ids[0] in crop.record.annotated
            )
            values = (
                crop.name, name, kind, " ".join(map(str, ids)), voxels,
                voxels / crop.annotated if crop.annotated else 0.0, crop.annotated,
                crop.annotated / max(sum(crop.voxels), 1), trains,
            )  # fmt: skip
            found.append(dict(zip(COLUMNS, values, strict=True)))
    return found


def frequencies(crops: Sequence[CropCounts]) -> NDArray[np.float64]:
    """Return the share of each fine id, 1 to 37, of all annotated voxels (37 numbers)."""
    totals = np.array([crop.voxels[1:] for crop in crops], np.float64).reshape(-1, FINE_IDS).sum(0)
    return np.asarray(totals / max(float(totals.sum()), 1.0))

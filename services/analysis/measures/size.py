"""Which object a row is of, and how large it is."""

import math
from collections.abc import Sequence

from .objects import Column, Measure, Objects, Values


def _compute(objects: Objects) -> Sequence[Values]:
    voxel = math.prod(objects.edges)
    volumes = [n * voxel / objects.unit**3 for n in objects.voxels]
    return objects.total["id"], objects.voxels, volumes


SIZE = Measure(
    {
        "id": Column("uint64", "1 + the smallest global voxel id of the object; never 0"),
        "voxels": Column("int64", "number of voxels"),
        "volume_nm3": Column("double", "voxels times the volume of a voxel, in nm3"),
    },
    _compute,
)

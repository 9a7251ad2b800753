"""Where an object lies."""

from collections.abc import Sequence

from .objects import Column, Measure, Objects, Values


def _compute(objects: Objects) -> Sequence[Values]:
    centroids = [
        [s * edge / (n * objects.unit) for s, n in zip(sums, objects.voxels, strict=True)]
        for edge, sums in zip(objects.edges, objects.sums, strict=True)
    ]
    border = objects.total["border_faces"].any(axis=1)
    return (*centroids, *objects.total["low"].T, *objects.total["high"].T, border)


_CENTROID = "mean voxel index along {0}, from the first voxel, times the voxel size, in nm"
POSITION = Measure(
    {
        **{f"centroid_{a}_nm": Column("double", _CENTROID.format(a)) for a in "zyx"},
        **{f"min_{a}": Column("int64", f"smallest voxel index along {a}") for a in "zyx"},
        **{f"max_{a}": Column("int64", f"largest voxel index along {a}, inclusive") for a in "zyx"},
        "touches_border": Column("bool", "whether a voxel lies on the border of the volume"),
    },
    _compute,
)

"""How much room a dataset takes on a disk, from the arrays that its services declare. Pure."""

from collections.abc import Sequence

import numpy as np

from fibstream.core.dataset import Dataset
from fibstream.core.stage import RAW, OwnedArray

# Bytes on disk for each byte of voxels, measured on real volumes and rounded up. Raw is noise:
# nothing is saved. Predictions are smooth and shrink to a half; arrays of ids to a fiftieth.
SHARE_GREY = 0.6
SHARE_IDS = 0.023


def disk_bytes(dataset: Dataset, arrays: Sequence[OwnedArray]) -> float:
    """Return about how many bytes all arrays of a sealed dataset take on disk.

    Summaries and tables are left out: they have a thousandth of it.
    """
    voxels = float(np.prod(dataset.grid.extent))
    return voxels * sum(_per_voxel(each, dataset) for each in arrays)


def _per_voxel(array: OwnedArray, dataset: Dataset) -> float:
    """Return the bytes of all levels of an array on disk for each voxel of the volume."""
    levels = array.output.levels(array.lattice.edges or dataset.chunk)
    dtype = np.dtype(array.output.dtype)
    if array.output.name == RAW or dtype.kind == "f":
        share = 1.0
    else:
        share = SHARE_IDS if dtype.itemsize >= np.dtype(np.uint32).itemsize else SHARE_GREY
    return share * dtype.itemsize * sum(8.0**-level for level in levels)

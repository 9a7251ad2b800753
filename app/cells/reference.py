"""The volume that organelles are put in relation to: that of the cell, or all that was imaged."""

import math
from typing import NamedTuple

import numpy as np

from fibstream.core.dataset import Dataset
from fibstream.core.echo import listed
from fibstream.core.errors import WrongUse
from fibstream.core.stage import RAW, Block, Input
from fibstream.kernels.absent import declared, declaring_inputs
from fibstream.services.refine.stages.masks import MIDDLE
from fibstream.volumes.lengths import Size

from ..hashes import Track, untracked
from ..kept import Kept

CELL = "cell"  # the role in which recipes read the prediction that is the mask of the cell


class Reference(NamedTuple):
    """A volume, and what it is of, such as ``cell mask inside``."""

    name: str
    volume_nm3: float


def reference_of(dataset: Dataset, kept: Kept, track: Track = untracked) -> Reference:
    """Return the volume of the cell mask of a sealed dataset, else of what was imaged.

    The cell mask is the prediction that recipes read in the role ``cell``, from its surface on, as
    they do. Raises WrongUse where they read several.
    """
    masks = sorted({o.inputs[CELL] for o in dataset.organelles if CELL in o.inputs})
    if len(masks) > 1:
        raise WrongUse(
            f"{dataset.name}: its organelles are masked by the cells {listed(masks)}; say of which "
            "volume totals are part: --within NAME"
        )
    if masks:
        return of_prediction(dataset, masks[0], kept, track, word="cell mask")
    voxels = _imaged(dataset, kept, track)
    return Reference("imaged volume", volume_nm3(voxels, dataset.voxel_size_nm))


def of_prediction(
    dataset: Dataset, name: str, kept: Kept, track: Track = untracked, *, word: str = "prediction"
) -> Reference:
    """Return the volume in which a prediction is at its surface or inside; absent is outside."""
    prediction = dataset.prediction(name)
    reading = Input(prediction.stage, prediction.path, "uint8")
    voxels = 0
    for index in track(list(dataset.grid.indices()), f"counted of {name}"):
        found = kept.read(reading, dataset.grid.box(index)).array
        voxels += int(np.count_nonzero(found >= MIDDLE))
    return Reference(f"{word} {name}", volume_nm3(voxels, dataset.voxel_size_nm))


def _imaged(dataset: Dataset, kept: Kept, track: Track) -> int:
    """Return the voxels that were imaged: none of absent chunks, areas of a value, or a mask."""
    raw, inputs, voxels = Input(RAW, RAW, dataset.dtype), declaring_inputs(dataset), 0
    for index in track(list(dataset.grid.indices()), "counted of what was imaged"):
        if kept.stamp(raw, index).absent:
            continue
        core = dataset.grid.box(index)
        patches = {i.name: kept.read(i, dataset.grid.block(index, i.halo)) for i in inputs}
        unimaged = declared(dataset, Block(index, core, patches))
        voxels += math.prod(core.shape)
        if unimaged is not None:
            voxels -= int(unimaged.within(core).sum())
    return voxels


def volume_nm3(voxels: int, voxel_size_nm: Size) -> float:
    """Return the volume of some voxels, of sizes read as decimals, rounded once."""
    from fibstream.services.analysis.measures.objects import whole_edges

    edges, unit = whole_edges(voxel_size_nm)
    return voxels * math.prod(edges) / unit**3

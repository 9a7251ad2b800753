"""Where other organelles, expanded by lengths, and the cell let a prediction count."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import Dataset, Prediction
from fibstream.core.echo import cut
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Halo
from fibstream.core.stage import Block, Input, Patch
from fibstream.kernels.near import Voxel

Keep = Literal["inside", "outside"]
MIDDLE = 127  # a prediction's byte at the surface, and of probability 0.5


@dataclass(frozen=True)
class Mask:
    """The objects of ``organelle`` and all within ``expand_pm`` of them, between centres.

    ``keep`` tells where a prediction stays; elsewhere it is 0, which is far outside. Lengths are
    integers in pm, so that a voxel comes out the same in any block.
    """

    organelle: str
    keep: Keep
    expand_pm: int
    edges_pm: tuple[int, int, int]

    @classmethod
    def of(cls, dataset: Dataset, organelle: str, keep: Keep, expand_nm: float) -> "Mask":
        """Return the mask for voxels of a dataset."""
        return cls(organelle, keep, round(1000 * expand_nm), _edges(dataset.voxel_size_nm))

    @property
    def parameters(self) -> dict[str, Any]:
        """What the key of a stage must hold beside the labels."""
        return {"keep": self.keep, "expand_pm": self.expand_pm}

    def read(self, halo: Halo) -> Input:
        """Return the labels that a block needs which reads a prediction with ``halo``."""
        z, y, x = (self.expand_pm // edge for edge in self.edges_pm)
        low, high = halo
        grown = Halo(
            (low[0] + z, low[1] + y, low[2] + x), (high[0] + z, high[1] + y, high[2] + x)
        )  # fmt: skip
        path = f"labels/{self.organelle}"
        return Input(path, path, "uint64", grown)

    def apply(self, block: Block, patch: Patch) -> Patch:
        """Return a prediction that is 0 where it does not count.

        Parameters
        ----------
        block
            Holds the labels of `read`, ``(z, y, x)``; nothing lies in an absent chunk of them.
        patch
            The prediction, uint8, ``(z, y, x)``, in the box of the halo that `read` was given.
        """
        labels = block.patches[f"labels/{self.organelle}"]
        near = labels.array != 0
        if self.expand_pm:
            from fibstream.kernels.edt import within

            near = within(near, self.edges_pm, self.expand_pm)
        inside: NDArray[np.bool_] = near[patch.box.slices(labels.box.start)]
        return _where(inside if self.keep == "inside" else ~inside, patch)


@dataclass(frozen=True)
class CellMask:
    """The cell: where another prediction, as a landed mask, is at least at its surface."""

    prediction: Prediction

    @classmethod
    def of(cls, dataset: Dataset, prediction: Prediction) -> "CellMask":
        """Return the mask; raise WrongUse where bytes do not tell a voxel inside from one beside.

        The distance of a landed mask is half a voxel on either side of its surface.
        """
        # From here on 128 tanh(half a voxel / squash length) is rounded to nothing.
        limit_nm = min(dataset.voxel_size_nm) / 2 / math.atanh(0.5 / 128)
        if prediction.is_distance and prediction.squash_nm >= limit_nm:
            raise WrongUse(
                f"prediction {cut(prediction.name, 40)}: of squash length {prediction.squash_nm:g}"
                f" nm, it is no mask of voxels of {min(dataset.voxel_size_nm):g} nm; expected less"
                f" than {limit_nm:g}"
            )
        return cls(prediction)

    @property
    def parameters(self) -> dict[str, Any]:
        """What the key of a stage must hold beside the prediction."""
        return {"keep": "cell"}

    def read(self, halo: Halo) -> Input:
        """Return what a block needs which reads a prediction with ``halo``."""
        return Input(self.prediction.stage, self.prediction.path, "uint8", halo)

    def apply(self, block: Block, patch: Patch) -> Patch:
        """Return a prediction, uint8, ``(z, y, x)``, that is 0 outside the cell."""
        cell = block.patches[self.prediction.path]
        return _where(cell.array[patch.box.slices(cell.box.start)] >= MIDDLE, patch)


AnyMask = Mask | CellMask


def masked(block: Block, patch: Patch, masks: Sequence[AnyMask]) -> Patch:
    """Return a prediction, uint8, ``(z, y, x)``, that is 0 where some mask takes it out."""
    for mask in masks:
        patch = mask.apply(block, patch)
    return patch


def _where(kept: NDArray[np.bool_], patch: Patch) -> Patch:
    return Patch(np.where(kept, patch.array, np.uint8(0)), patch.box, patch.absent)


def _edges(voxel_size_nm: Voxel) -> tuple[int, int, int]:
    z, y, x = (max(round(1000 * edge), 1) for edge in voxel_size_nm)
    return z, y, x

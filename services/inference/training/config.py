"""The settings of a training run, read from a YAML file; unknown ones are refused."""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt

from fibstream.core.dataset import SQUASH_NM
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.volumes.positions import check_same_grid
from fibstream.volumes.sources import open_volume


class TrainingConfig(BaseModel):
    """One network: data, architecture and schedule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    data: str  # an .npz with ``raw`` (uint8, zyx) and the organelle's mask
    mask: str  # key of the mask, also the class the network predicts
    voxel_size_nm: PositiveFloat
    scale_nm: PositiveFloat = SQUASH_NM  # the network predicts tanh(distance / scale_nm)
    held_out_slices: int  # the last ones in z; never read during training
    widths: tuple[PositiveInt, PositiveInt, PositiveInt]
    patch: PositiveInt = 64  # output edge in voxels
    steps: PositiveInt
    learning_rate: PositiveFloat
    ema: PositiveFloat = 0.999
    seed: int
    threads: PositiveInt = 1
    output: str
    citation: str

    def load(self) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return raw and mask, both (z, y, x); WrongUse unless they lie on one grid."""
        size = (float(self.voxel_size_nm),) * 3
        raw = open_volume(f"{self.data}#raw", kind="raw", voxel_size_nm=size)
        mask = open_volume(f"{self.data}#{self.mask}", kind="labels", voxel_size_nm=size)
        check_same_grid(raw, mask)
        if raw.dtype != np.uint8:
            raise WrongUse(f"{raw.name} is {raw.dtype}; expected uint8, as the network sees it")
        whole = Box((0, 0, 0), raw.shape)
        return raw.read(whole), mask.read(whole) > 0

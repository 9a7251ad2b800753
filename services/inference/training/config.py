"""The settings of a training run, read from a YAML file; unknown ones are refused."""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt

from fibstream.core.dataset import SQUASH_NM


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
        """Return raw and mask, both (z, y, x)."""
        with np.load(self.data) as arrays:
            return arrays["raw"], arrays[self.mask] > 0

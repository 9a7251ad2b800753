"""The settings of a training run, read from a YAML file; unknown ones are refused."""

from pathlib import Path
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fibstream.core.dataset import SQUASH_NM, Name, SquashLength, VoxelEdge
from fibstream.core.documents import PIPELINE, Fields, parse_yaml, plain
from fibstream.core.echo import cut, listed
from fibstream.core.errors import WrongUse
from fibstream.core.grid import MAX_AXIS, MAX_CHUNK, Box
from fibstream.volumes.positions import check_same_grid
from fibstream.volumes.sources import open_volume

MAX_PATH = PIPELINE.text
MAX_SEED = 2**63 - 1  # torch takes no larger one
Width = Annotated[int, Field(ge=1, le=4096, strict=True)]  # channels: 4096 squared are 1.8 GB


class TrainingConfig(BaseModel):
    """One network: data, architecture and schedule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    data: str = Field(max_length=MAX_PATH)  # an .npz with ``raw`` (uint8, zyx) and the mask
    mask: Name  # key of the mask, also the class the network predicts
    voxel_size_nm: VoxelEdge
    scale_nm: SquashLength = SQUASH_NM  # the network predicts tanh(distance / scale_nm)
    held_out_slices: int = Field(ge=0, le=MAX_AXIS, strict=True)  # the last ones; never read
    widths: tuple[Width, Width, Width]
    patch: int = Field(default=64, ge=1, le=MAX_CHUNK, strict=True)  # output edge in voxels
    steps: int = Field(ge=1, le=10_000_000, strict=True)  # a year of the slowest
    learning_rate: float = Field(gt=0, le=1, strict=True)
    ema: float = Field(default=0.999, gt=0, lt=1, strict=True)
    seed: int = Field(ge=0, le=MAX_SEED, strict=True)
    threads: int = Field(default=1, ge=1, le=256, strict=True)
    output: str = Field(max_length=MAX_PATH)
    citation: str = Field(max_length=MAX_PATH)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the settings in a YAML file; raise WrongUse with what is wrong in it."""
        with path.open("rb") as file:
            text = file.read(PIPELINE.size + 1).decode(errors="replace")
        root = parse_yaml(text, str(path))
        if not isinstance(root, Fields):
            raise WrongUse(f"{path}: expected a mapping with {listed(cls.model_fields)}")
        try:
            return cls.model_validate(plain(root))
        except ValidationError as error:
            first = error.errors()[0]
            place = cut(".".join(map(str, first["loc"])))
            raise WrongUse(f"{path}: {place}: {cut(first['msg'])}") from None

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

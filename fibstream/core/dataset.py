"""The dataset record: what one acquisition is, fixed when it is created. Pure.

Only the extent in z changes once, when the volume is sealed; another chunk, dtype or voxel size is
another dataset, and other parameters change only the keys that follow from them.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt

from .grid import Grid, Index
from .pyramid import level_count

RECORD = "provenance/dataset.json"

Triple = tuple[PositiveInt, PositiveInt, PositiveInt]
Nanometres = tuple[PositiveFloat, PositiveFloat, PositiveFloat]


class Frozen(BaseModel):
    """A value that refuses unknown words."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Model(Frozen):
    """A network as this dataset uses it; its file lies in the dataset under its digest."""

    name: str
    classes: tuple[str, ...]
    sha256: str
    spec: Mapping[str, Any]  # the network's geometry, as inference reads it
    profile: Mapping[str, str]  # runtime, precision, tile and self-check digest

    @property
    def path(self) -> str:
        """Where the dataset keeps the network."""
        return f"provenance/models/{self.sha256}.onnx"


class Organelle(Frozen):
    """A refinement: a recipe, the class it starts from, and every parameter spelled out."""

    recipe: str
    source: str  # the prediction class
    settings: Mapping[str, Any]


class Dataset(Frozen):
    """One acquisition and its pipeline; lengths are voxels, axes (z, y, x)."""

    format: Literal[1] = 1
    name: str
    shape: tuple[PositiveInt | None, PositiveInt, PositiveInt]
    chunk: Triple
    dtype: str
    voxel_size_nm: Nanometres
    contrast: tuple[float, float]
    invert: bool = False
    models: tuple[Model, ...] = ()
    organelles: tuple[Organelle, ...] = ()

    @property
    def grid(self) -> Grid:
        """The volume cut into chunks."""
        return Grid(self.shape, self.chunk)

    @property
    def levels(self) -> int:
        """Pyramid levels of every multiscale group, the full one included."""
        return level_count(self.chunk)

    def sealed(self, extent_z: int) -> "Dataset":
        """Return the record with its extent known."""
        return self.model_copy(update={"shape": (extent_z, *self.shape[1:])})

    def chunk_bytes(self, itemsize: int) -> int:
        """Bytes of one full chunk."""
        z, y, x = self.chunk
        return z * y * x * itemsize

    def differences(self, other: "Dataset") -> list[str]:
        """Name what makes ``other`` another acquisition rather than other parameters."""
        fixed = ("shape", "chunk", "dtype", "voxel_size_nm")
        return [
            f"{field} is {getattr(self, field)}, not {getattr(other, field)}"
            for field in fixed
            if getattr(self, field) != getattr(other, field)
        ]


def clip_chunk(chunk: Index, shape: tuple[int | None, int, int]) -> Index:
    """Return a chunk no larger than the volume."""
    z, y, x = (c if s is None else min(c, s) for c, s in zip(chunk, shape, strict=True))
    return z, y, x

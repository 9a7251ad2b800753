"""The dataset record: one acquisition and its pipeline, as fixed when it is created. Pure.

Of the acquisition only the extent in z changes, once, when the volume is sealed: another shape,
chunk, dtype or voxel size is another dataset. Other parameters change the keys that depend on them.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt

from .grid import Grid, Index
from .pyramid import level_count

RECORD = "provenance/dataset.json"  # path of the dataset record in the store

Triple = tuple[PositiveInt, PositiveInt, PositiveInt]
Nanometres = tuple[PositiveFloat, PositiveFloat, PositiveFloat]


class Frozen(BaseModel):
    """An immutable value that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Model(Frozen):
    """A network as this dataset uses it; its file is stored in the dataset under its digest."""

    name: str
    classes: tuple[str, ...]
    sha256: str
    spec: Mapping[str, Any]  # the network's geometry, as inference reads it
    profile: Mapping[str, str]  # runtime, precision, tile and self-check digest

    @property
    def path(self) -> str:
        """Path of the network's file in the dataset."""
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
        """Return the record of the sealed dataset, whose extent in z is ``extent_z`` voxels."""
        return self.model_copy(update={"shape": (extent_z, *self.shape[1:])})

    def chunk_bytes(self, itemsize: int) -> int:
        """Bytes of one full chunk whose voxels have ``itemsize`` bytes each."""
        z, y, x = self.chunk
        return z * y * x * itemsize

    def differences(self, other: "Dataset") -> list[str]:
        """Return one phrase per field in which ``other`` is another acquisition; empty if none."""
        fixed = ("shape", "chunk", "dtype", "voxel_size_nm")
        return [
            f"{field} is {getattr(self, field)}, not {getattr(other, field)}"
            for field in fixed
            if getattr(self, field) != getattr(other, field)
        ]


def clip_chunk(chunk: Index, shape: tuple[int | None, int, int]) -> Index:
    """Return the edges (z, y, x) of a chunk, cut at a volume of ``shape`` voxels (z None: open)."""
    z, y, x = (c if s is None else min(c, s) for c, s in zip(chunk, shape, strict=True))
    return z, y, x

"""The dataset record: one acquisition and its pipeline, as fixed when it is created. Pure.

Of the acquisition only the extent in z changes, once, when the volume is sealed: another shape,
chunk, dtype or voxel size is another dataset. Other parameters change the keys that depend on them.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from .echo import echo
from .errors import Damaged
from .grid import MAX_AXIS, MAX_CHUNK, Grid, Index
from .pyramid import level_count

RECORD = "provenance/dataset.json"  # path of the dataset record in the store
ACQUISITION = ("shape", "chunk", "dtype", "voxel_size_nm")  # where they differ, it is another one
SQUASH_NM = 50.0  # of a prediction whose network's card has none (Heinrich et al., Nature 2021)
# A byte of a distance is saturated after 3.2 lengths: below an atom's size it would be a mask, and
# above 1 um one grey level would be thicker than a membrane.
MIN_SQUASH_NM, MAX_SQUASH_NM = 0.1, 1000.0
# Edges of voxels: no microscope resolves a tenth of an atom, and voxels of 0.1 mm hold whole cells.
MIN_VOXEL_NM, MAX_VOXEL_NM = 0.01, 100_000.0
MAX_OFFSET_NM = 1e12  # a kilometre, where the last digit of a double is 1e-4 nm
MAX_GREY = 2.0**52  # of a window: one this wide, times 510, still fits in 64 bits
MAX_ABSENT = 3.4028234663852886e38  # float32's largest, which formats use for voxels without data
MAX_PART = 255  # characters of what is one part of a path, as most file systems have it
MAX_NAME = 64  # characters: names are parts of paths, topics' keys and tables in SQL
NAMES = "letters, digits, '.', '_' and single '-', first a letter or digit, at most 64"
_NO_PART = re.compile(r"[/\\\x00-\x1f\x7f]")
_NAME = re.compile(r"[A-Za-z0-9](?:-?[A-Za-z0-9._])*-?")

Extent = Annotated[int, Field(ge=1, le=MAX_AXIS)]
ChunkEdge = Annotated[int, Field(ge=1, le=MAX_CHUNK)]
Triple = tuple[ChunkEdge, ChunkEdge, ChunkEdge]
VoxelEdge = Annotated[float, Field(ge=MIN_VOXEL_NM, le=MAX_VOXEL_NM, strict=True)]
Nanometres = tuple[VoxelEdge, VoxelEdge, VoxelEdge]
Offset = Annotated[float, Field(ge=-MAX_OFFSET_NM, le=MAX_OFFSET_NM)]
Grey = Annotated[float, Field(ge=-MAX_GREY, le=MAX_GREY, strict=True)]
SquashLength = Annotated[float, Field(ge=MIN_SQUASH_NM, le=MAX_SQUASH_NM, strict=True)]


def check_name(name: str) -> str:
    """Return the name of a prediction or an organelle; raise ValueError where it can be none.

    ``--`` is kept for names of pairs, and ``zarr.json`` lies beside the groups that are named.
    """
    if len(name) > MAX_NAME or not _NAME.fullmatch(name) or name.lower() == "zarr.json":
        raise ValueError(f"name {echo(name, 60)}: expected {NAMES}")
    return name


Name = Annotated[str, AfterValidator(check_name)]


def check_part(name: str) -> str:
    """Return a name as one part of a path or a key; raise ValueError where it can be none.

    A run names its dataset after any folder, and a network after any file.
    """
    if not 0 < len(name) <= MAX_PART or name in (".", "..") or _NO_PART.search(name):
        raise ValueError(f"name {name[:80]!r}: expected one part of a path")
    return name


Part = Annotated[str, AfterValidator(check_part)]


class Frozen(BaseModel):
    """An immutable value that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Model(Frozen):
    """A network as this dataset uses it; its file is stored in the dataset under its digest."""

    name: Part
    classes: tuple[str, ...]
    sha256: Part
    spec: Mapping[str, Any]  # the network's geometry, as inference reads it
    profile: Mapping[str, str]  # runtime, precision, tile and self-check digest

    @property
    def path(self) -> str:
        """Path of the network's file in the dataset."""
        return f"provenance/models/{self.sha256}.onnx"


class Prediction(Frozen):
    """One predicted array, ``predictions/<name>``, bytes ``128 t + 127``.

    t is ``tanh(distance / squash_nm)``, or ``2 p - 1`` of a probability p, which has no length.
    """

    name: Name
    model: Part | Literal[""] = ""  # the network that predicts it; empty: it lands beside raw
    channel: str = ""  # the network's class
    squash_nm: SquashLength = SQUASH_NM
    is_distance: bool = True  # False: a probability
    # Of one that lands: distances of labels (not 0 is inside), or of a mask (0, and 1 or 255).
    made_of: Literal["", "labels", "mask"] = ""

    @property
    def path(self) -> str:
        """Path of the array in the dataset."""
        return f"predictions/{self.name}"

    @property
    def length_nm(self) -> float:
        """The squash length of a distance; 0 of a probability."""
        return self.squash_nm if self.is_distance else 0.0

    @property
    def stage(self) -> str:
        """The stage that writes it."""
        return f"prediction/{self.model}" if self.model else f"stored/{self.name}"

    def stage_of(self, level: int) -> str:
        """Return the stage that writes a level: of what lands, all but the first are derived."""
        return f"pyramid/{self.name}" if level and not self.model else self.stage


class Organelle(Frozen):
    """A named refinement: a recipe, what it reads, and every parameter spelled out."""

    name: Name  # of labels/<name>, fragments/<name>, measures/<name>, tables/<name>
    recipe: Part
    inputs: Mapping[str, Name]  # role of the recipe -> name of a prediction or an organelle
    settings: Mapping[str, Any]


class Dataset(Frozen):
    """One acquisition and its pipeline; lengths are voxels, axes (z, y, x)."""

    format: Literal[2] = 2
    name: Part
    # Of running services, a word of its own for each creation: one that is deleted and created anew
    # under its name is another dataset, with another bus.
    incarnation: str = ""
    shape: tuple[Extent | None, Extent, Extent]
    chunk: Triple
    dtype: str = Field(pattern=r"^(u?int(8|16|32|64)|float(16|32|64))$")
    voxel_size_nm: Nanometres
    offset_nm: tuple[Offset, Offset, Offset] = (0.0, 0.0, 0.0)  # of the first voxel's centre
    # Voxels of the data along one of these, each of which is their mean; older records lack it.
    downsample: Triple = (1, 1, 1)
    contrast: tuple[Grey, Grey]
    invert: bool = False
    # What voxels hold that were never imaged; None: undeclared.
    absent_value: float | None = Field(default=None, ge=-MAX_ABSENT, le=MAX_ABSENT, strict=True)
    absent_mask: bool = False  # a mask of what was imaged lands beside raw
    models: tuple[Model, ...] = ()
    predictions: tuple[Prediction, ...] = ()
    organelles: tuple[Organelle, ...] = ()
    # What further words of the pipeline list, each word read by the service that declares it.
    steps: Mapping[str, tuple[Mapping[str, Any], ...]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _format_is_read(cls, record: Any) -> Any:
        """Raise Damaged for a record of an earlier format, whose other fields differ too."""
        if isinstance(record, Mapping) and record.get("format") == 1:
            raise Damaged(
                f"{echo(record.get('name'))}: a dataset of format 1, which this version does not"
                " read; run it anew into a new folder"
            )
        return record

    @model_serializer(mode="wrap")
    def _mask_if_any(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Keep the record of a dataset without a mask as earlier versions wrote it, and read it."""
        record: dict[str, Any] = dump(self)
        if not self.absent_mask:
            record.pop("absent_mask", None)
        return record

    @property
    def grid(self) -> Grid:
        """The volume cut into chunks."""
        return Grid(self.shape, self.chunk)

    @property
    def levels(self) -> int:
        """Pyramid levels of every multiscale group, the full one included."""
        return level_count(self.chunk)

    def prediction(self, name: str) -> Prediction:
        """Return the prediction of a name; KeyError where there is none."""
        return {prediction.name: prediction for prediction in self.predictions}[name]

    def sealed(self, extent_z: int) -> "Dataset":
        """Return the record of the sealed dataset, whose extent in z is ``extent_z`` voxels."""
        return self.model_copy(update={"shape": (extent_z, *self.shape[1:])})

    def chunk_bytes(self, itemsize: int) -> int:
        """Bytes of one full chunk whose voxels have ``itemsize`` bytes each."""
        z, y, x = self.chunk
        return z * y * x * itemsize

    def has_pipeline_of(self, other: "Dataset") -> bool:
        """Whether two records differ at most in the extent in z: one dataset, one pipeline."""
        mine, others = (d.model_dump(mode="json", exclude={"shape"}) for d in (self, other))
        return mine == others

    def differences(self, other: "Dataset", fields: Sequence[str] = ACQUISITION) -> list[str]:
        """Return one phrase per field in which ``other`` differs; empty if none does."""
        return [
            f"{field} is {getattr(self, field)}, not {getattr(other, field)}"
            for field in fields
            if getattr(self, field) != getattr(other, field)
        ]


def clip_chunk(chunk: Index, shape: tuple[int | None, int, int]) -> Index:
    """Return the edges (z, y, x) of a chunk, cut at a volume of ``shape`` voxels (z None: open)."""
    z, y, x = (c if s is None else min(c, s) for c, s in zip(chunk, shape, strict=True))
    return z, y, x

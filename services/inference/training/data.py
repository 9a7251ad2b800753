"""The data of a training, as its configuration has them: volumes with crops, and phantoms."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StrictBool, Tag, model_validator

from fibstream.core.dataset import Grey, Offset, VoxelEdge
from fibstream.core.grid import MAX_AXIS
from fibstream.kernels.schema.classes import super_class

FineId = Annotated[int, Field(strict=True, ge=0, le=255)]
Slice = Annotated[int, Field(strict=True, ge=0, le=MAX_AXIS)]
Triple = tuple[VoxelEdge, VoxelEdge, VoxelEdge]
Count = Annotated[int, Field(strict=True, ge=1, le=10_000_000)]
Seed = Annotated[int, Field(strict=True, ge=0, le=2**63 - 1)]  # torch takes no larger one
Weight = Annotated[float, Field(strict=True, gt=0, le=1e6)]


class Part(BaseModel):
    """Base of all settings: unknown words are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CropConfig(Part):
    """One annotated part of a volume: fine ids with what is annotated, or masks of classes."""

    labels: str | None = None  # fine ids, 0 where nobody annotated
    record: dict[str, list[FineId]] | Literal["all"] | None = None  # the lists of the database
    separate: dict[str, str] = {}  # classes drawn in a volume of their own; not 0 is inside
    masks: dict[str, str] = {}  # classes: not 0 is inside, and all of the volume is annotated
    annotated: dict[str, str] = {}  # classes: where they are annotated; overrides the record
    begins_nm: tuple[Offset, Offset, Offset] | None = None  # where labels begin in raw
    z: tuple[Slice, Slice] | None = None  # slices of the labels that are used, FIRST,STOP

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if bool(self.labels) == bool(self.masks):
            raise ValueError("a crop has either labels, with a record, or masks")
        if self.labels and self.record is None:
            raise ValueError("labels need a record: which ids are annotated, or all")
        if self.masks and (self.record is not None or self.separate or self.annotated):
            raise ValueError("record, separate and annotated belong to labels, not to masks")
        for name in (*self.masks, *self.separate, *self.annotated):
            super_class(name)  # refuses unknown ones
        if wrong := [name for name in self.separate if not super_class(name).separate]:
            raise ValueError(f"separate {wrong[0]}: it is drawn among the labels, never apart")
        if both := self.separate.keys() & self.annotated.keys():
            raise ValueError(f"{min(both)}: expected separate or annotated, not both")
        return self


class VolumeConfig(Part):
    """One volume and its crops. Its grey values are as the network will see those of others."""

    raw: str
    crops: Annotated[list[CropConfig], Field(min_length=1, max_length=10_000)]
    voxel_size_nm: Triple | None = None  # where files do not state it
    contrast: tuple[Grey, Grey] | None = None  # grey values that become black and white
    invert: StrictBool = False  # membranes are bright
    weight: Weight = 1.0  # how often patches come from it, among all volumes
    licence: str = ""


class PhantomConfig(Part):
    """Synthetic cells, made while training goes on: another one every so many steps."""

    phantom: tuple[Count, Count, Count]  # edges in voxels
    seed: Seed = 0
    count: Count = 100  # then the first one again
    every: Count = 50  # steps
    tissue: StrictBool = False
    look: str = "plain"
    jitter: Annotated[float, Field(strict=True, ge=0, le=16)] = 0.0
    organelles: tuple[str, ...] | None = None
    weight: Weight = 1.0


def _kind(entry: object) -> str:
    words = entry if isinstance(entry, dict) else vars(entry) if isinstance(entry, Part) else {}
    return "phantom" if "phantom" in words else "volume"


DataConfig = Annotated[
    Annotated[VolumeConfig, Tag("volume")] | Annotated[PhantomConfig, Tag("phantom")],
    Discriminator(_kind),
]

"""The settings of one training, read from a YAML file; what is wrong in it is one line."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from fibstream.core.dataset import SQUASH_NM, SquashLength, VoxelEdge
from fibstream.core.documents import Fields, Limits, parse_yaml, plain
from fibstream.core.echo import echo
from fibstream.core.errors import WrongUse
from fibstream.kernels.schema.strategies import classes_of

from .augment import Augmentation, Chance
from .data import Count, DataConfig, Part, PhantomConfig, Seed, VolumeConfig
from .shapes import Geometry
from .targets import Surface

MAX_BYTES = 1_000_000  # of a configuration: real ones have a thousand
TRAINING = Limits(size=MAX_BYTES, nodes=200_000)  # ten thousand crops of a few words each
MAX_PATCH = 512  # voxels an edge of a training patch
MAX_WIDTH = 4096  # channels; the paper's network has 2,592
MAX_THINNING = 4  # voxels of raw along one of the input; the paper has 2
CHANNELS = 16  # channels are multiples: others cost the same time (registers of the processors)

Width = Annotated[int, Field(strict=True, gt=0, le=MAX_WIDTH, multiple_of=CHANNELS)]
Kept = Annotated[float, Field(strict=True, ge=0, lt=1)]  # of a running mean, from step to step
Sharper = Annotated[float, Field(strict=True, ge=1, le=20)]
Some = Annotated[float, Field(strict=True, gt=0, le=1)]
Few = Annotated[int, Field(strict=True, ge=1, le=MAX_THINNING)]


class NetworkConfig(Part):
    """A U-Net; see ``shapes``."""

    widths: Annotated[tuple[Width, ...], Field(min_length=2, max_length=8)] = (16, 32, 64)
    widths_up: tuple[Width, ...] | None = None  # by default as on the way down
    factors: tuple[Annotated[int, Field(strict=True, ge=2, le=4)], ...] = (2, 2)
    convolutions: Annotated[int, Field(strict=True, ge=1, le=4)] = 2  # on each side of a level
    output: Literal["linear", "tanh"] = "linear"  # what follows the head
    padding: Literal["same", "valid"] = "same"  # same: zeros around, less to compute
    upsample: Few = 1  # the output is finer than the input
    stem: Few = 1  # voxels along an axis that become one of the finest level, and again many
    slope: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.0  # of a rectifier below nothing

    @model_validator(mode="after")
    def _levels(self) -> Self:
        if len(self.factors) != len(self.widths) - 1:
            raise ValueError(f"{len(self.widths)} widths need {len(self.widths) - 1} factors")
        if self.widths_up is not None and len(self.widths_up) != len(self.factors):
            raise ValueError(
                f"widths_up: expected {len(self.factors)} numbers, of all but the last"
            )
        if self.upsample > 1 and self.padding == "same":
            raise ValueError("upsample needs padding valid")
        if self.upsample > 1 and self.stem > 1:
            raise ValueError("upsample and stem: expected one of them")
        return self

    @property
    def geometry(self) -> Geometry:
        """The network's maps."""
        return Geometry(self.factors, self.convolutions, self.upsample, self.stem)

    @property
    def up(self) -> tuple[int, ...]:
        """Channels of each level on the way up, the finest first."""
        return self.widths_up or self.widths[:-1]


class TrainingConfig(Part):
    """One network: classes, data, architecture and schedule."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    classes: tuple[str, ...] | str  # names, or a strategy such as many
    voxel_size_nm: VoxelEdge  # of raw and of the result
    data: Annotated[list[DataConfig], Field(min_length=1, max_length=1000)]
    scale_nm: SquashLength = SQUASH_NM  # the network predicts tanh(distance / scale_nm)
    surface: Surface = "between"
    simulated_nm: VoxelEdge | None = None  # raw is thinned out to this voxel size first
    network: NetworkConfig = NetworkConfig()
    patch: Annotated[int, Field(strict=True, ge=4, le=MAX_PATCH)] = 64  # voxels, of the output
    batch: Annotated[int, Field(strict=True, ge=1, le=64)] = 2
    steps: Count
    learning_rate: Some = 1e-3
    schedule: Literal["constant", "cosine"] = "cosine"
    cycles: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1  # of the cosine
    optimiser: Literal["adam", "muon"] = "adam"
    betas: tuple[Kept, Kept] = (0.95, 0.999)  # muon: the first is its momentum
    mean: Kept = 0.999  # of the weights; it is exported
    priority: dict[str, Chance] = Field(default_factory=dict)  # classes: how often it is there
    least_valid: Some = 0.05  # share of a patch
    sharpen: Sharper = 1.0  # the loss is also that at a squash length so many times shorter
    dice: Annotated[float, Field(strict=True, ge=0, le=100)] = 0.0  # of that, weight in the loss
    # The share of the steps, from the first on, in which a class weighs the same as all else.
    balance: Annotated[float, Field(strict=True, ge=0, le=1)] = 1.0
    augment: Augmentation = Augmentation()
    seed: Seed = 0
    threads: Annotated[int, Field(strict=True, ge=1, le=1024)] = 2
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    save_every: Count = 200  # steps
    keep_every: Literal[0] | Count = 0  # steps whose checkpoints are kept; 0: the last
    citation: str
    licence: str

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.outputs  # noqa: B018  (raises for unknown classes)
        if unknown := [name for name in self.priority if name not in self.outputs]:
            raise ValueError(
                f"priority {echo(unknown[0])}: expected some of {', '.join(self.outputs)}"
            )
        for name, used in (("sharpen", self.sharpen > 1), ("dice", self.dice > 0)):
            if used and self.network.output != "tanh":
                raise ValueError(f"{name} needs a network whose output is tanh")
        if self.steps % self.cycles:
            raise ValueError(f"steps {self.steps}: expected a multiple of cycles, {self.cycles}")
        if self.cycles > 1 and self.schedule != "cosine":
            raise ValueError(f"cycles needs the schedule cosine, not {self.schedule}")
        if self.network.upsample != self.thinning:
            raise ValueError(
                f"network.upsample is {self.network.upsample}, but raw is thinned out by "
                f"{self.thinning}: expected the same"
            )
        self.input_edge  # noqa: B018  (raises where the patch does not fit the network)
        return self

    @property
    def volumes(self) -> list[VolumeConfig]:
        """The volumes among the data."""
        return [data for data in self.data if isinstance(data, VolumeConfig)]

    @property
    def phantoms(self) -> list[PhantomConfig]:
        """The phantoms among the data."""
        return [data for data in self.data if isinstance(data, PhantomConfig)]

    @property
    def outputs(self) -> tuple[str, ...]:
        """The classes of the network's channels."""
        return classes_of(self.classes)

    def balanced(self, step: int) -> bool:
        """Return whether classes are balanced in a step, counted from 0."""
        return step < self.balance * self.steps

    def falling(self, step: int) -> float:
        """Return the share of the learning rate that the schedule leaves in a step, from 0.

        A cosine from 1 to nothing, once in each cycle (Loshchilov & Hutter, ICLR 2017, equation 5).
        """
        if self.schedule == "constant":
            return 1.0
        return (1 + math.cos(math.pi * (step * self.cycles % self.steps) / self.steps)) / 2

    def steps_as(self, other: Self) -> bool:
        """Return whether two trainings that end at other steps take each of them alike."""
        alike = self.steps * other.cycles == other.steps * self.cycles  # cycles of one length
        return (self.schedule == "constant" or alike) and self.balance in (0, 1)

    @property
    def thinning(self) -> int:
        """How many voxels of raw along an axis become one of the input."""
        ratio = (self.simulated_nm or self.voxel_size_nm) / self.voxel_size_nm
        if abs(ratio - round(ratio)) > 1e-6 or not 1 <= round(ratio) <= MAX_THINNING:
            raise ValueError(
                f"simulated_nm {self.simulated_nm:g}: expected 1 to {MAX_THINNING} times "
                "voxel_size_nm"
            )
        return round(ratio)

    @property
    def input_edge(self) -> int:
        """Voxels an edge of the network's input in training."""
        geometry = self.network.geometry
        if self.network.padding == "valid":
            return geometry.edge_for(self.patch)
        if self.patch % geometry.stride:
            raise ValueError(f"patch {self.patch}: expected a multiple of {geometry.stride}")
        return self.patch


def read_config(path: Path) -> TrainingConfig:
    """Return the configuration in a YAML file; WrongUse, one line, for anything else."""
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise WrongUse(f"{path}: {error.strerror}") from None
    root = parse_yaml(text.decode(errors="replace"), str(path), TRAINING)
    if not isinstance(root, Fields):
        raise WrongUse(f"{path}: expected a YAML mapping with name, classes, data, steps and so on")
    return parse_config(plain(root), str(path))


def parse_config(found: dict[str, Any], where: str) -> TrainingConfig:
    """Return the configuration of a mapping, as a file or a checkpoint holds it.

    Raises WrongUse with the first thing wrong in it.
    """
    try:
        return TrainingConfig.model_validate(found)
    except ValidationError as error:
        raise WrongUse(f"{where}: {_first(error)}") from None
    except WrongUse as error:  # of classes, and of shapes that no network has
        raise WrongUse(f"{where}: {error}") from None


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    loc = list(first["loc"])
    if loc[:1] == ["data"]:
        del loc[2:3]  # the kind of the entry, which the file does not name
    place = ".".join(map(str, loc))
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    if isinstance(given, str | int | float):
        message += f" (got {echo(given)})"
    return f"{place}: {message}" if place else message

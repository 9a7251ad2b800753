"""The port of a network: its geometry, and the engine that runs it."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from fibstream.core.dataset import MAX_VOXEL_NM, MIN_VOXEL_NM, SQUASH_NM, Name, SquashLength
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Index

VOXEL_SIZE_TOLERANCE = 0.10  # per axis: a network trained at 10 nm is used from 9 to 11 nm

MAX_TILE = 1024  # voxels an edge: 1 GB of grey values; the largest tiles in use have 512
MAX_FINER = 8  # voxels of the output along one of the input; the paper has 2
FINER_TOLERANCE = 1e-3  # of a factor, for rounding of voxel sizes in metadata

Voxels = Annotated[int, Field(ge=0, le=MAX_TILE)]
Edge = Annotated[int, Field(gt=0, le=MAX_TILE)]
# What a network's output means. A byte of a prediction is 128 t + 127, where t is tanh(distance /
# scale_nm), or 2 p - 1 of a probability p; of a logit, p is its sigmoid.
Meaning = Literal["distance", "probability", "logit"]
Nanometres = Annotated[float, Field(ge=MIN_VOXEL_NM, le=MAX_VOXEL_NM)]


class GreyLevels(BaseModel):
    """Grey values of a volume as a network saw them, 0 to 255, and at edges that it predicted."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    mean: Annotated[float, Field(ge=0, le=255)]
    deviation: Annotated[float, Field(gt=0, le=255)]  # the standard deviation
    edges: Mapping[str, Annotated[float, Field(ge=0, le=255)]]  # means at edges, by class


class ModelSpec(BaseModel):
    """A network of valid convolutions: input ``tile``, output ``tile - 2 halo``, both (z, y, x).

    Moving a tile by a multiple of ``stride`` moves its output and changes nothing else, so tiles
    start on the lattice ``phase + k * stride`` of the dataset's voxels. All lengths count voxels of
    the input. Those of the output may be finer, ``finer`` to one of the input on each axis; they
    fill the same space, from the corner of the first voxel on.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    classes: tuple[Name, ...] = Field(min_length=1)
    voxel_size_nm: tuple[Nanometres, Nanometres, Nanometres]  # of the input
    output_voxel_size_nm: tuple[Nanometres, Nanometres, Nanometres] | None = None  # None: the same
    halo: tuple[Voxels, Voxels, Voxels]  # voxels that the output is smaller on each side
    stride: tuple[Edge, Edge, Edge]  # total pooling factor
    phase: tuple[Voxels, Voxels, Voxels] = (0, 0, 0)
    tile: tuple[Edge, Edge, Edge]
    # Of an earlier record, which has none, it is the signed distance that all networks then had.
    meaning: Meaning = "distance"
    scale_nm: SquashLength = SQUASH_NM  # of a distance: an output is tanh(distance / scale_nm)
    grey: GreyLevels | None = None  # of the training data
    sha256: str  # of the model file

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len({name.lower() for name in self.classes}) != len(self.classes):
            raise ValueError(f"classes {', '.join(self.classes)} are not unique")
        for tile, output, stride in zip(self.tile, self.output, self.stride, strict=True):
            # Only convolutions of finer voxels may take away a part of a stride.
            if output < stride or (output % stride and max(self.finer) == 1):
                wanted = "once or more" if max(self.finer) > 1 else "a positive multiple of"
                raise ValueError(
                    f"tile {tile} less twice the halo is {output}, not {wanted} the stride {stride}"
                )
        sizes = self.voxel_size_nm, self.output_voxel_size_nm or self.voxel_size_nm
        for here, there, factor in zip(*sizes, self.finer, strict=True):
            exact = abs(here / there - factor) <= FINER_TOLERANCE * factor
            if not (exact and 1 <= factor <= MAX_FINER):
                raise ValueError(
                    f"output_voxel_size_nm {there:g}: expected {here:g}, or that by a whole number "
                    f"up to {MAX_FINER}"
                )
        return self

    @property
    def output(self) -> Index:
        """Edges of a tile's output, in voxels of the input."""
        z, y, x = (t - 2 * h for t, h in zip(self.tile, self.halo, strict=True))
        return z, y, x

    @property
    def step(self) -> Index:
        """From one tile to the next: the largest multiple of the stride within the output."""
        z, y, x = (o // s * s for o, s in zip(self.output, self.stride, strict=True))
        return z, y, x

    @property
    def finer(self) -> Index:
        """Voxels of the output along one of the input."""
        sizes = self.voxel_size_nm, self.output_voxel_size_nm or self.voxel_size_nm
        z, y, x = (round(here / there) for here, there in zip(*sizes, strict=True))
        return z, y, x

    @property
    def predicted(self) -> Index:
        """Edges of a tile's output, in voxels of its own."""
        z, y, x = (o * f for o, f in zip(self.output, self.finer, strict=True))
        return z, y, x


class Described(Protocol):
    """How a network is computed somewhere."""

    @property
    def spec(self) -> ModelSpec:
        """The network's geometry and classes."""

    @property
    def profile(self) -> Mapping[str, str]:
        """Runtime, precision, tile and self-check digest; equal ones give equal bits."""


class Engine(Described, Protocol):
    """A network ready to run on one kind of hardware, always at the same input shape."""

    def infer(self, tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the prediction of one tile.

        Parameters
        ----------
        tile
            Grey values, uint8, shaped as ``spec.tile``, ``(z, y, x)``.

        Returns
        -------
        NDArray[np.uint8]
            ``(classes, *spec.predicted)``.

        Raises
        ------
        Poison
            The network yields a value that is not finite, or outside what its metadata declare.
        """


def check_one_grid(spec: ModelSpec) -> None:
    """Refuse a network whose output is finer than its input where all arrays have one grid.

    Raises WrongUse with what does run it.
    """
    if spec.finer != (1, 1, 1):
        coarse, fine = (
            " x ".join(f"{s:g}" for s in size)
            for size in (spec.voxel_size_nm, spec.output_voxel_size_nm or spec.voxel_size_nm)
        )
        raise WrongUse(
            f"model {spec.name}: predicts voxels of {fine} nm from {coarse} nm, and all arrays of "
            "a dataset have the voxels of raw; use `fibstream predict`, then `refine` and "
            "`measure` on what it writes"
        )


def check_voxel_size(
    spec: ModelSpec, voxel_size_nm: tuple[float, float, float], factors: Index = (1, 1, 1)
) -> None:
    """Refuse data whose voxels differ from those of the network by more than 10 % on an axis.

    Parameters
    ----------
    spec
        The network.
    voxel_size_nm
        Voxel size of the data in nm, (z, y, x).
    factors
        How many voxels of finer data each of these is the mean of, (z, y, x): the advice counts on.

    Raises
    ------
    WrongUse
        The voxel sizes differ by more; the message has both.
    """
    if not _fits(voxel_size_nm, spec.voxel_size_nm):
        given, made = (
            " x ".join(f"{s:g}" for s in size) for size in (voxel_size_nm, spec.voxel_size_nm)
        )
        pairs = list(zip(voxel_size_nm, spec.voxel_size_nm, strict=True))
        further = [max(1, round(b / a)) for a, b in pairs]
        averaged = [a * f for (a, _), f in zip(pairs, further, strict=True)]
        needed = ",".join(str(f * g) for f, g in zip(further, factors, strict=True))
        advice = (
            f"; `run`, `predict` and `create` average voxels with --downsample {needed}"
            if _fits(averaged, spec.voxel_size_nm)
            else ""
        )
        raise WrongUse(
            f"voxel size {given} nm does not fit model {spec.name}, made for {made} nm "
            f"(allowed: {VOXEL_SIZE_TOLERANCE:.0%} per axis){advice}"
        )


def _fits(size: Sequence[float], made_for: Sequence[float]) -> bool:
    # The slack of 1e-9 keeps 11 nm data within 10 % of a 10 nm network in binary floating point.
    most = VOXEL_SIZE_TOLERANCE * (1 + 1e-9)
    return all(abs(a - b) <= most * b for a, b in zip(size, made_for, strict=True))

"""A stage declared as data: what it reads with which halo, what it writes, and its pure function.

Dependencies, readiness and keys all derive from this one declaration.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .grid import Box, Grid, Halo, Index
from .pyramid import level_count
from .subject import CHUNKS, WHOLE, Lattice, Subject, Subjects

Arrays = dict[str, NDArray[Any]]  # a summary: named arrays, encoded canonically
NONE = Halo.of(0)
RAW = "raw"  # the stage that ingest lands, and its array


@dataclass(frozen=True)
class Input:
    """One input of a stage: the array or summary ``name``, written by ``stage``.

    ``level`` is that of the pyramid; ``halo`` is in voxels of the full level all the same. The
    outputs of ``stage`` belong to cells of ``lattice``.
    """

    stage: str
    name: str
    dtype: str = ""  # empty: a summary
    halo: Halo = NONE
    level: int = 0
    lattice: Lattice = CHUNKS

    @property
    def label(self) -> str:
        """The name under which a record has its content hash."""
        return f"{self.name}@{self.level}" if self.level else self.name


@dataclass(frozen=True)
class Output:
    """One array (with its pyramid), summary or file that a stage writes for each subject."""

    name: str  # the array's group inside the dataset, the summary's, or the path of a file
    dtype: str = ""  # empty: a summary, or the file of a whole dataset
    pyramid: Literal["mean", "mode"] | None = None
    first: int = 0  # the first level that this stage writes: raw's own pyramid starts at 1
    final: bool = True  # False: it depends on how the volume is cut, as fragments do

    def levels(self, edges: Index) -> range:
        """Return the levels of an array that its stage writes in cells of ``edges`` voxels."""
        return range(self.first, level_count(edges) if self.pyramid else 1)


class OwnedArray(NamedTuple):
    """Levels of an array as its metadata describe them: what is written, in shards: the cells.

    Several stages may write levels of one array, each in cells of its own.
    """

    output: Output
    lattice: Lattice = CHUNKS


@dataclass(frozen=True)
class Patch:
    """An array input as a block reads it: the voxels of ``box``, which is cut at the volume.

    ``array`` has axes (z, y, x), the shape of ``box`` and the dtype of the input. Voxels of chunks
    that were declared absent are 0 and lie in one of the boxes ``absent``, in voxels of the volume.
    """

    array: NDArray[Any]
    box: Box
    absent: tuple[Box, ...] = ()

    def present(self) -> NDArray[np.bool_]:
        """Return an array of bool, (z, y, x) like ``array``: False where a voxel is absent."""
        inside = np.ones(self.array.shape, bool)
        for box in self.absent:
            common = box.meet(self.box)
            if not common.empty:
                inside[common.slices(self.box.start)] = False
        return inside


@dataclass(frozen=True)
class Block:
    """The argument of a stage's function: one subject, and its inputs read with their halos."""

    subject: Subject
    core: Box  # the voxels of the subject
    patches: Mapping[str, Patch]  # array inputs by name
    summaries: Mapping[str, Arrays] = field(default_factory=dict)  # summary inputs by name
    extra: bytes = b""  # what a fold adds to the task, such as a mapping restricted to the chunk
    # Of a whole dataset: the summary inputs by name, and of each those of the known cells. A
    # summary is read when it is looked up; it is not kept.
    cells: Mapping[str, Mapping[Index, Arrays]] = field(default_factory=dict)
    grid: Grid | None = None  # the chunks, for a stage of the whole dataset

    @property
    def absent(self) -> bool:
        """Whether the subject itself was declared absent: its first array input is."""
        first = next(iter(self.patches.values()), None)
        return first is not None and any(self.core == box.meet(self.core) for box in first.absent)


# The outputs of one subject by name: arrays (z, y, x) of its shape, summaries, or bytes of a file.
Made = NDArray[Any] | Arrays | bytes
Compute = Callable[[Block], Mapping[str, Made]]


@dataclass(frozen=True)
class Stage:
    """A named step; ``version`` is raised by hand when its rule changes, never by a refactor."""

    name: str
    version: int
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    parameters: Mapping[str, Any]  # JSON values only: they enter the key
    compute: Compute
    folded: bool = False  # True: tasks carry ``extra`` bytes that a fold decides
    # Of the whole dataset: it is made of the cells known so far, again when many more are known
    # and in the end of all. Its inputs are summaries.
    subjects: Subjects = CHUNKS

    def __post_init__(self) -> None:
        """Raise ValueError for a declaration that no task can carry out."""
        if self.subjects is WHOLE and self.folded:
            raise ValueError(f"stage {self.name}: of the whole dataset, it cannot be folded too")
        for source in self.inputs:
            if self.subjects is WHOLE and source.dtype:
                raise ValueError(
                    f"stage {self.name}: of the whole dataset, it reads summaries alone, "
                    f"not the array {source.name}"
                )
            own = source.lattice == self.subjects and source.halo == NONE
            if isinstance(self.subjects, Lattice) and not source.dtype and not own:
                raise ValueError(
                    f"stage {self.name}: it reads the summary {source.name} of the same cell "
                    "alone: expected its own lattice and no halo"
                )

    @property
    def family(self) -> str:
        """The part of the name before the slash: the topic its records go to."""
        return self.name.partition("/")[0]

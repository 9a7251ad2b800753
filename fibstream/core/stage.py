"""A stage declared as data: what it reads with which halo, what it writes, and its pure function.

Dependencies, readiness and keys all derive from this one declaration.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .grid import Box, Grid, Halo, Index
from .pyramid import level_count
from .subject import CHUNKS, OBJECTS, WHOLE, Lattice, ObjectId, Subject, Subjects

Arrays = dict[str, NDArray[Any]]  # a summary: named arrays, encoded canonically
NONE = Halo.of(0)
RAW = "raw"  # the stage that ingest lands, and its array
MASK = "mask"  # the stage that lands which voxels were imaged, 1, or never, 0; and its array


@dataclass(frozen=True)
class Input:
    """One input of a stage: the array or summary ``name``, written by ``stage``.

    ``level`` is that of the pyramid; ``halo`` is in voxels of the full level all the same. The
    outputs of ``stage`` belong to ``subjects``: cells, or objects in an input of a whole dataset.
    """

    stage: str
    name: str
    dtype: str = ""  # empty: a summary
    halo: Halo = NONE
    level: int = 0
    subjects: Subjects = CHUNKS

    @property
    def cells(self) -> Lattice:
        """The lattice that an array, or a summary of a cell, belongs to a cell of."""
        assert isinstance(self.subjects, Lattice), self
        return self.subjects

    @property
    def label(self) -> str:
        """The name under which a record has its content hash."""
        return f"{self.name}@{self.level}" if self.level else self.name


@dataclass(frozen=True)
class Output:
    """One array (with its pyramid), summary or file that a stage writes for each subject."""

    name: str  # the array's group inside the dataset, the summary's, or the path of a file
    dtype: str = ""  # empty: a summary, or the file of an object or of a whole dataset
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
    # Of a whole dataset: the summary inputs by name, and of each those of the known cells or
    # objects. A summary is read when it is looked up; it is not kept.
    cells: Mapping[str, Mapping[Index, Arrays]] = field(default_factory=dict)
    objects: Mapping[str, Mapping[ObjectId, Arrays]] = field(default_factory=dict)
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
    # and in the end of all. Its inputs are summaries. Of objects: a fold adds the box of each to
    # its task; its inputs are arrays, its outputs summaries or files.
    subjects: Subjects = CHUNKS
    # Of objects: the rows that they are found in. An object waits until these are those of what it
    # reads: with a box of other labels it might not even be there.
    found_in: Input | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a declaration that no task can carry out."""
        for why in (*self._faults(), *(why for s in self.inputs for why in self._faults_of(s))):
            raise ValueError(f"stage {self.name}: {why}")

    def _faults(self) -> Iterator[str]:
        if self.subjects is WHOLE and self.folded:
            yield "of the whole dataset, it cannot be folded too"
        if self.subjects is WHOLE and {source.subjects for source in self.inputs} == {OBJECTS}:
            # Without an object nothing would ask for it: it also reads the cells they are found in.
            yield "of the whole dataset, it also reads summaries of cells, not of objects alone"
        if self.subjects is OBJECTS and not (self.folded and self.found_in):
            yield "of objects, it is folded and names the rows that a fold finds them in"
        if self.subjects is not OBJECTS and self.found_in:
            yield "rows that objects are found in are for a stage of objects"
        if self.subjects is OBJECTS and any(output.dtype for output in self.outputs):
            yield "of objects, it writes summaries or files, no arrays"

    def _faults_of(self, source: Input) -> Iterator[str]:
        if self.subjects is WHOLE and source.dtype:
            yield f"of the whole dataset, it reads summaries alone, not the array {source.name}"
        if source.subjects is WHOLE:
            yield f"it reads {source.name} of the whole dataset, which changes with every chunk"
        if source.subjects is OBJECTS and self.subjects is not WHOLE:
            yield f"it reads {source.name} of objects, as only what is of the whole dataset does"
        if self.subjects is OBJECTS and not source.dtype:
            yield f"of objects, it reads arrays alone, not the summary {source.name}"
        own = source.subjects == self.subjects and source.halo == NONE
        if isinstance(self.subjects, Lattice) and not source.dtype and not own:
            yield (
                f"it reads the summary {source.name} of the same cell alone: expected its own "
                "lattice and no halo"
            )

    @property
    def family(self) -> str:
        """The part of the name before the slash: the topic its records go to."""
        return self.name.partition("/")[0]

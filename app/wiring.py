"""What stages read is written by somebody: else a dataset without it would call itself complete.

The check is of what stages declare, those of services from elsewhere too: who adds one adds no
check.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fibstream.bus.memory import MemoryFiles
from fibstream.core.dataset import Dataset
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Index
from fibstream.core.stage import Input, Output, Stage
from fibstream.core.subject import Lattice, Subjects

from .catalogue import landed, stages_of


class Written(NamedTuple):
    """What a stage writes, or what lands: an array's level, or a summary, of its subjects."""

    stage: str
    name: str
    dtype: str
    level: int
    subjects: Subjects


def check_wiring(dataset: Dataset) -> None:
    """Raise WrongUse naming the first input of a stage that no stage writes and nobody lands."""
    stages = stages_of(dataset, MemoryFiles())  # they are only declared: no file is read
    for stage, read in unwritten(stages, landed(dataset), dataset.chunk):
        raise WrongUse(
            f"stage {stage.name} reads {read.label} ({read.dtype or 'a summary'}) of stage"
            f" {read.stage}, which writes no such thing"
        )


def unwritten(
    stages: Sequence[Stage], landing: Sequence[Input], chunk: Index
) -> Iterator[tuple[Stage, Input]]:
    """Yield each input of a stage that no stage writes and nobody lands; ``chunk`` in voxels."""
    there = {written(read) for read in landing}
    there |= {made for stage in stages for made in _made(stage, chunk)}
    for stage in stages:
        yield from ((stage, read) for read in stage.inputs if written(read) not in there)


def written(read: Input) -> Written:
    """Return what an input asks to be written."""
    return Written(read.stage, read.name, read.dtype, read.level, read.subjects)


def _made(stage: Stage, chunk: Index) -> Iterator[Written]:
    for output in stage.outputs:
        for level in _levels(output, stage.subjects, chunk):
            yield Written(stage.name, output.name, output.dtype, level, stage.subjects)


def _levels(output: Output, subjects: Subjects, chunk: Index) -> Sequence[int]:
    if output.dtype and isinstance(subjects, Lattice):
        return output.levels(subjects.edges or chunk)
    return [0]

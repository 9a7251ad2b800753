"""What names an output before it exists: its key, and the boxes that it reads. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

from .grid import Box, Grid
from .keys import NamedInput, parameters_digest, wanted_key
from .pyramid import level_box
from .stage import Input, Stage
from .subject import Subject, box_of


class Wanted(NamedTuple):
    """The key of an output that can be made, and what it is made of."""

    key: str
    inputs: tuple[NamedInput, ...]
    extra: bytes


def boxes(stage: Stage, grid: Grid, core: Box) -> dict[str, Box]:
    """Return the box that each array input is read in, by name, in voxels of its level.

    ``core`` is the box of the subject.
    """
    return {
        source.name: level_box(reading_box(source, grid, core), source.level)
        for source in stage.inputs
        if source.dtype
    }


def reading_box(source: Input, grid: Grid, core: Box) -> Box:
    """Return the voxels of the full level that a subject reads of an input, cut at the volume."""
    return core.grow(source.halo).meet(grid.volume)


def key_of(
    stage: Stage,
    grid: Grid,
    subject: Subject,
    inputs: Iterable[NamedInput],
    extra: bytes,
    rule: str = "",
) -> str:
    """Return the key of one output; the same in planner and worker, or the task is stale.

    Raises ValueError when ``extra`` is not the box of an object.
    """
    rule = rule or parameters_digest(stage)
    core = box_of(subject, stage.subjects, grid, extra)
    return wanted_key(rule, core, boxes(stage, grid, core), inputs, extra)

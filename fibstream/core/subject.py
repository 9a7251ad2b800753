"""What an output belongs to: a cell of a lattice, an object, or the whole dataset. Pure.

A *lattice* cuts the volume into cells: the chunk grid, or edges of its own (shards of a coarse
pyramid, cells of a mesh). A stage declares which subjects its outputs belong to; tasks, records,
keys and stamps name the subject.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from .grid import Box, Grid, Index


class Dataset(Enum):
    """The one subject of outputs that belong to the whole dataset."""

    WHOLE = "whole"


WHOLE: Literal[Dataset.WHOLE] = Dataset.WHOLE
Subject = Index | int | Literal[Dataset.WHOLE]  # a cell (z, y, x), the id of an object, all of it


@dataclass(frozen=True)
class Lattice:
    """A cut of the volume into cells of ``edges`` voxels (z, y, x); None: the chunks."""

    edges: Index | None = None

    def grid(self, chunks: Grid) -> Grid:
        """Return the cells of this lattice in the volume that ``chunks`` are the chunks of."""
        return chunks if self.edges is None else Grid(chunks.shape, self.edges)


CHUNKS = Lattice()
OBJECTS: Literal["objects"] = "objects"
Subjects = Lattice | Literal["objects"] | Literal[Dataset.WHOLE]  # of the outputs of one stage

_CELL = re.compile(r"(\d{1,7})\.(\d{1,7})\.(\d{1,7})")
_OBJECT = re.compile(r"object-(\d{1,20})")


def text(subject: Subject) -> str:
    """Return a subject as part of a key or a path: ``0.1.2``, ``object-17``, ``whole``."""
    if subject is WHOLE:
        return "whole"
    if isinstance(subject, int):
        return f"object-{subject}"
    z, y, x = subject
    return f"{z}.{y}.{x}"


def parse(given: str) -> Subject:
    """Return the subject that ``text`` made; raise ValueError for anything else."""
    if given == "whole":
        return WHOLE
    if found := _OBJECT.fullmatch(given):
        return int(found[1])
    if found := _CELL.fullmatch(given):
        return int(found[1]), int(found[2]), int(found[3])
    raise ValueError(f"{given[:80]!r}: expected Z.Y.X, object-ID or whole")


def order(subject: Subject) -> tuple[int, tuple[int, ...]]:
    """Return what subjects are sorted by: cells in raster order, objects by id, the whole."""
    if subject is WHOLE:
        return 2, ()
    return (1, (subject,)) if isinstance(subject, int) else (0, subject)


def cells(subjects: Subjects, chunks: Grid) -> Iterator[Subject]:
    """Yield the subjects of a sealed volume, but objects, which only a fold knows."""
    if subjects is WHOLE:
        yield WHOLE
    elif isinstance(subjects, Lattice):
        yield from subjects.grid(chunks).indices()


def box_of(subject: Subject, subjects: Subjects, chunks: Grid) -> Box:
    """Return the voxels of a cell, or the whole volume; an object's box comes from its fold."""
    if isinstance(subjects, Lattice) and isinstance(subject, tuple):
        return subjects.grid(chunks).box(subject)
    return chunks.volume

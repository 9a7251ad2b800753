"""What an output belongs to: a cell of a lattice, or the whole dataset. Pure.

A *lattice* cuts the volume into cells: the chunk grid, or edges of its own (shards of a coarse
pyramid, cells of a mesh). A stage declares which subjects its outputs belong to; tasks, records,
keys and stamps name the subject.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from .grid import Box, Grid, Halo, Index


class Whole(Enum):
    """The type of the one subject that is the whole dataset."""

    WHOLE = "whole"


WHOLE: Literal[Whole.WHOLE] = Whole.WHOLE
Subject = Index | Literal[Whole.WHOLE]  # a cell (z, y, x) of a lattice, or all of the dataset


@dataclass(frozen=True)
class Lattice:
    """A cut of the volume into cells of ``edges`` voxels (z, y, x); None: the chunks."""

    edges: Index | None = None

    def grid(self, chunks: Grid) -> Grid:
        """Return the cells of this lattice in the volume that ``chunks`` are the chunks of."""
        return chunks if self.edges is None else Grid(chunks.shape, self.edges)


CHUNKS = Lattice()
Subjects = Lattice | Literal[Whole.WHOLE]  # what the outputs of one stage belong to

_NUMBER = r"(0|[1-9][0-9]{0,6})"  # one text for each subject: no leading zeros
_CELL = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}")


def text(subject: Subject) -> str:
    """Return a subject as part of a key or a path: ``0.1.2`` or ``whole``."""
    if subject is WHOLE:
        return "whole"
    z, y, x = subject
    return f"{z}.{y}.{x}"


def parse(given: str) -> Subject:
    """Return the subject that ``text`` made; raise ValueError for anything else."""
    if given == "whole":
        return WHOLE
    found = _CELL.fullmatch(given)
    if found is None:
        raise ValueError(f"subject {given[:80]!r}: expected Z.Y.X or whole")
    return int(found[1]), int(found[2]), int(found[3])


def plain(subject: Subject) -> list[int] | str:
    """Return a subject as reports in JSON have it: ``[z, y, x]`` or ``"whole"``."""
    return "whole" if subject is WHOLE else list(subject)


def named(subject: Subject | list[int] | str) -> str:
    """Return a subject, or what ``plain`` made of it, for people: ``chunk 0,1,2`` or ``whole``."""
    if subject is WHOLE or isinstance(subject, str):
        return "whole"
    return f"chunk {','.join(map(str, subject))}"


def order(subject: Subject) -> tuple[int, ...]:
    """Return what subjects are sorted by: cells in raster order, then the whole."""
    return (1,) if subject is WHOLE else (0, *subject)


def exists(subject: Subject, subjects: Subjects, chunks: Grid) -> bool:
    """Whether a stage has outputs of a subject in a volume."""
    if subject is WHOLE or subjects is WHOLE:
        return subject is subjects
    return subjects.grid(chunks).contains(subject)


def members(subjects: Subjects, chunks: Grid) -> Iterator[Subject]:
    """Yield every subject of a stage in a sealed volume."""
    if subjects is WHOLE:
        yield WHOLE
    else:
        yield from subjects.grid(chunks).indices()


def count(subjects: Subjects, chunks: Grid) -> int:
    """Return how many subjects a stage has in a sealed volume."""
    if subjects is WHOLE:
        return 1
    z, y, x = subjects.grid(chunks).count
    return z * y * x


def box_of(subject: Subject, subjects: Subjects, chunks: Grid) -> Box:
    """Return the voxels that a subject covers, cut at the volume."""
    if subject is WHOLE or subjects is WHOLE:
        return chunks.volume
    return subjects.grid(chunks).box(subject)


def readers(
    cell: Index, cut: Lattice, halo: Halo, subjects: Subjects, chunks: Grid
) -> Iterator[Subject]:
    """Yield the subjects of a stage that read a cell of the lattice ``cut`` with a halo."""
    if subjects is WHOLE:
        yield WHOLE
    else:
        box = cut.grid(chunks).box(cell).grow(Halo(halo.high, halo.low))
        yield from subjects.grid(chunks).covering(box)

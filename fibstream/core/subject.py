"""What an output belongs to: a cell of a lattice, an object, or the whole dataset. Pure.

A *lattice* cuts the volume into cells: the chunk grid, or edges of its own (shards of a coarse
pyramid, cells of a mesh). An *object* is a labelled instance; which there are, and the box of each,
a fold finds while chunks land. A stage declares which subjects its outputs belong to; tasks,
records, keys and stamps name the subject.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from .echo import echo
from .grid import Box, Grid, Halo, Index


class Whole(Enum):
    """The type of the one subject that is the whole dataset."""

    WHOLE = "whole"


class Objects(Enum):
    """The type of what a stage declares whose outputs belong to one object each."""

    OBJECTS = "objects"


@dataclass(frozen=True, order=True)
class ObjectId:
    """The subject that is one object: ``number`` is its id, 1 + its smallest global voxel id."""

    number: int


WHOLE: Literal[Whole.WHOLE] = Whole.WHOLE
OBJECTS: Literal[Objects.OBJECTS] = Objects.OBJECTS
# A cell (z, y, x) of a lattice, one object, or all of the dataset.
Subject = Index | ObjectId | Literal[Whole.WHOLE]


@dataclass(frozen=True)
class Lattice:
    """A cut of the volume into cells of ``edges`` voxels (z, y, x); None: the chunks."""

    edges: Index | None = None

    def grid(self, chunks: Grid) -> Grid:
        """Return the cells of this lattice in the volume that ``chunks`` are the chunks of."""
        return chunks if self.edges is None else Grid(chunks.shape, self.edges)


CHUNKS = Lattice()
# What the outputs of one stage belong to.
Subjects = Lattice | Literal[Objects.OBJECTS] | Literal[Whole.WHOLE]

_NUMBER = r"(0|[1-9][0-9]{0,6})"  # one text for each subject: no leading zeros
_CELL = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}")
_ID = re.compile(r"[1-9][0-9]{0,19}")
_BOX = struct.Struct("<6i")


def text(subject: Subject) -> str:
    """Return a subject as part of a key or a path: ``0.1.2``, the object's id, or ``whole``."""
    if subject is WHOLE:
        return "whole"
    if isinstance(subject, ObjectId):
        return str(subject.number)
    z, y, x = subject
    return f"{z}.{y}.{x}"


def parse(given: str) -> Subject:
    """Return the subject that ``text`` made; raise ValueError for anything else."""
    if given == "whole":
        return WHOLE
    if _ID.fullmatch(given) and int(given) < 2**64:
        return ObjectId(int(given))
    found = _CELL.fullmatch(given)
    if found is None:
        raise ValueError(f"subject {echo(given)}: expected Z.Y.X, the id of an object or whole")
    return int(found[1]), int(found[2]), int(found[3])


def plain(subject: Subject) -> list[int] | str:
    """Return a subject as JSON has it: ``[z, y, x]``, an object's id as text, or ``"whole"``."""
    return list(subject) if isinstance(subject, tuple) else text(subject)


def named(subject: Subject | list[int] | str) -> str:
    """Return a subject, or what ``plain`` made of it, for people: ``chunk 0,1,2``."""
    if subject is WHOLE or subject == "whole":
        return "whole"
    if isinstance(subject, ObjectId | str):
        return f"object {subject if isinstance(subject, str) else subject.number}"
    return f"chunk {','.join(map(str, subject))}"


def order(subject: Subject) -> tuple[int, ...]:
    """Return what subjects are sorted by: cells in raster order, objects by id, then the whole."""
    if subject is WHOLE:
        return (2,)
    return (1, subject.number) if isinstance(subject, ObjectId) else (0, *subject)


def exists(subject: Subject, subjects: Subjects, chunks: Grid) -> bool:
    """Whether a stage may have outputs of a subject in a volume; which objects, a fold knows."""
    if subject is WHOLE or subjects is WHOLE:
        return subject is subjects
    if isinstance(subject, ObjectId) or subjects is OBJECTS:
        return isinstance(subject, ObjectId) and subjects is OBJECTS
    return subjects.grid(chunks).contains(subject)


def members(subjects: Subjects, chunks: Grid) -> Iterator[Subject]:
    """Yield every subject of a stage in a sealed volume, but objects, which a fold knows."""
    if subjects is OBJECTS:
        return
    if subjects is WHOLE:
        yield WHOLE
    else:
        yield from subjects.grid(chunks).indices()


def count(subjects: Subjects, chunks: Grid) -> int | None:
    """Return how many subjects a stage has in a sealed volume; None of objects: a fold knows."""
    if subjects is OBJECTS:
        return None
    if subjects is WHOLE:
        return 1
    z, y, x = subjects.grid(chunks).count
    return z * y * x


def box_of(subject: Subject, subjects: Subjects, chunks: Grid, extra: bytes = b"") -> Box:
    """Return the voxels that a subject covers, cut at the volume.

    ``extra`` is that of the task: of an object its box. Raises ValueError where it is none.
    """
    if isinstance(subjects, Lattice) and isinstance(subject, tuple):
        return subjects.grid(chunks).box(subject)
    return unpack_box(extra).meet(chunks.volume) if subjects is OBJECTS else chunks.volume


def pack_box(box: Box) -> bytes:
    """Return the box of an object as a fold adds it to a task."""
    return _BOX.pack(*box.start, *box.stop)


def unpack_box(extra: bytes) -> Box:
    """Return the box that ``pack_box`` packed; raise ValueError for anything else."""
    if len(extra) != _BOX.size:
        raise ValueError(f"the box of an object: expected {_BOX.size} bytes, got {len(extra)}")
    az, ay, ax, bz, by, bx = _BOX.unpack(extra)
    box = Box((az, ay, ax), (bz, by, bx))
    if box.empty or min(box.start) < 0:
        raise ValueError(f"the box of an object: {box}")
    return box


def readers(
    cell: Index, cut: Lattice, halo: Halo, subjects: Subjects, chunks: Grid
) -> Iterator[Subject]:
    """Yield the subjects of a stage, but objects, that read a cell of ``cut`` with a halo."""
    if subjects is WHOLE:
        yield WHOLE
    elif subjects is not OBJECTS:
        box = cut.grid(chunks).box(cell).grow(Halo(halo.high, halo.low))
        yield from subjects.grid(chunks).covering(box)

"""Registration of what has landed so far: a pure function of the cells that are known. Cold.

The last answer, of all cells, is that of `fibstream register` on the finished volume, to the bit:
no earlier answer is read.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Grid, Index

from .answer import Answer, none_yet
from .coarse import Coarse, Triple, assembled, known_shape
from .port import Image
from .register import register
from .settings import Microscope, Settings

# Of the volume: with 15 % no orientation stood out on phantoms, with 25 % the right one did.
LEAST = 0.25


def specimen(
    cells: Mapping[Index, NDArray[np.uint8]], grid: Grid, coarse: Coarse, corner_nm: Triple
) -> Image:
    """Return the prediction of what is known, 0 elsewhere, as the command reads it when stored."""
    voxels = assembled(cells, known_shape(cells, grid, coarse), coarse)
    return Image(voxels, coarse.voxel_nm, corner_nm)


def share_of(cells: Mapping[Index, Any], grid: Grid, coarse: Coarse) -> float:
    """Return the share of a volume's cells that is known, as far as its extent is."""
    shape = known_shape(cells, grid, coarse)
    z, y, x = Grid(shape, coarse.edges).count
    return len(cells) / (z * y * x)


def answer_of(
    em: Image, light: Image, by: tuple[Microscope, Settings], landed: float
) -> Answer:  # fmt: skip
    """Register what has landed; a pair that cannot be is an answer too, with the reason."""
    if landed < LEAST:
        return none_yet(f"searching: {landed:.0%} has landed, expected {LEAST:.0%}", landed)
    try:
        found = register(em, light, *by)
    except WrongUse as error:
        return none_yet(str(error), landed)
    return Answer(found.judgement, found, landed)

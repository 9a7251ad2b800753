"""Registration of what has landed so far: a pure function of the cells that are known.

The last answer, of all cells, is that of `fibstream register` on the finished volume, to the bit:
no earlier answer is read. Before it the orientation is that of the first layers, which is searched
for again when there are twice as many.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Grid, Index

from .answer import Answer, none_yet
from .coarse import Coarse, Triple, assembled, known_shape, landed_voxels
from .held_out import Score, held_out, scored
from .judge import GAP
from .port import Image, Registration
from .register import register, register_from, start_of
from .settings import Microscope, Settings
from .starts import Starts, part_of, start_key
from .support import support

# Of the volume: with 15 % no orientation stood out on phantoms, with 25 % the right one did.
LEAST = 0.25


class Known(NamedTuple):
    """A prediction as far as it has landed: ``image`` is 0 elsewhere, as the command reads it when
    stored; ``landed`` says where it is known, ``share`` how many of the cells are. ``part`` is
    that in which its orientation is searched for, None: in all of it.
    """  # noqa: D205

    image: Image
    landed: NDArray[np.bool_]
    share: float
    part: Image | None = None


STARTS = Starts()  # of this process


def known_of(
    cells: Mapping[Index, NDArray[np.uint8]], grid: Grid, coarse: Coarse, corner_nm: Triple
) -> Known | None:
    """Return what is known of a prediction, None where nothing has landed."""
    if not cells:
        return None
    z, y, x = known_shape(cells, grid, coarse)
    # Up to the last layer that landed: with the rest of a sealed volume as 0 no orientation stood
    # out at 38 % of a phantom.
    shape = min(z, (max(layer for layer, _, _ in cells) + 1) * coarse.edges[0]), y, x
    image = Image(assembled(cells, shape, coarse), coarse.voxel_nm, corner_nm)
    landed, share = landed_voxels(cells, shape, coarse), share_of(cells, grid, coarse)
    chosen = part_of(cells, Grid(grid.shape, coarse.edges), LEAST)
    if chosen is None:
        return Known(image, landed, share)
    layers = slice((max(z for z, _, _ in chosen) + 1) * coarse.edges[0] // coarse.windows[0])
    return Known(image, landed, share, Image(image.voxels[layers], coarse.voxel_nm, corner_nm))


def share_of(cells: Mapping[Index, Any], grid: Grid, coarse: Coarse) -> float:
    """Return the share of a volume's cells that is known, as far as its extent is."""
    shape = known_shape(cells, grid, coarse)
    z, y, x = Grid(shape, coarse.edges).count
    return len(cells) / (z * y * x)


def answer_of(
    known: Known | None, light: Image, by: tuple[Microscope, Settings], starts: Starts = STARTS
) -> Answer:
    """Register what has landed; a pair that cannot be is an answer too, with the reason.

    What ``starts`` remembers changes no bit.
    """
    landed = known.share if known else 0.0
    if known is None or landed < LEAST:
        return none_yet(f"searching: {landed:.0%} has landed, expected {LEAST:.0%}", landed)
    try:
        found = _continued(known, light, by, starts) or register(known.image, light, *by)
    except WrongUse as error:
        return none_yet(str(error), landed)
    valid = support(found, known.image, light, known.landed)
    return Answer(found.judgement, found, landed, valid)


def _continued(
    known: Known, light: Image, by: tuple[Microscope, Settings], starts: Starts
) -> Registration | None:
    """Register from the orientation of the first layers; None unless that is surely right."""
    if (part := known.part) is None:
        return None
    try:
        start = starts.of(start_key((part, light), *by), lambda: start_of(part, light, *by))
        if start.gap < GAP:
            return None
        found = register_from(start, known.image, light, *by)
    except WrongUse:  # of a part without signal; all that is known may have some
        return None
    return found if found.judgement.status == "registered" else None


def score_of(
    answer: Answer, seen: Known | None, apart: Known | None, light: Image,
    by: tuple[Microscope, Settings],
) -> Score | None:  # fmt: skip
    """Return the error of a held-out channel, or why there is none; None without a registration.

    ``seen`` is the prediction that was registered, ``apart`` and ``light`` are the channel's.
    """
    if answer.found is None:
        return None
    if apart is None:
        return Score(reason="nothing of its prediction has landed")
    if seen and np.array_equal(seen.image.voxels, apart.image.voxels):
        return Score(reason="its prediction is what registration sees")
    try:
        return scored(held_out(answer.found.transform, apart.image, light, *by))
    except WrongUse as error:
        return Score(reason=str(error))

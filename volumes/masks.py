"""A mask of what was imaged, beside a volume: 1 where a voxel was imaged, 0 where it never was.

That is how masks of valid data are written (of CloudVolume and gunpowder, too). A mask file has
the volume's shape, voxel size and place, and holds 0 and 1, 0 and 255, or bool.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import clip_chunk
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Grid, Index

from .downsampled import downsampled
from .positions import check_same_grid
from .sources import Source, open_volume

log = logging.getLogger(__name__)

PIECE: Index = (64, 512, 512)  # voxels read at a time when all of a mask is looked at
EXPECTED = "expected 0 where a voxel was never imaged and 1 or 255 where it was, or bool"

Track = Callable[[Sequence[Index]], Iterable[Index]]  # yields what it is given, as work goes on


def with_mask(
    raw: Source, path: str | None, factors: Index = (1, 1, 1), absent_value: float | None = None,
    track: Track | None = None,
) -> Source:  # fmt: skip
    """Return raw, downsampled by ``factors``, with the mask at ``path`` beside it, if any.

    A mask may have the voxels of raw, and is then downsampled with it, or the coarser ones. With
    ``track`` all of it is read first: a value that says nothing is found before anything is made.
    Raises WrongUse, which names the mask, where it does not lie where raw does.
    """
    if path is None:
        return downsampled(raw, factors, absent_value)
    try:
        mask = _fitting(path, raw)
    except WrongUse as error:
        coarse = downsampled(raw, factors, absent_value)
        try:
            mask = _fitting(path, coarse)
        except WrongUse:
            raise WrongUse(f"absent mask must fit raw: {error}") from None
        return replace(coarse, mask=_checked(mask, track))
    return downsampled(replace(raw, mask=_checked(mask, track)), factors, absent_value)


def _fitting(path: str, raw: Source) -> Source:
    source = open_volume(path, kind="labels", voxel_size_nm=raw.voxel_size_nm)
    check_same_grid(raw, source)
    return source


def _checked(mask: Source, track: Track | None) -> Source:
    """Return a mask that reads as 0 and 1, and raises WrongUse where it holds anything else."""

    def fetch(box: Box) -> NDArray[np.uint8]:
        return imaged(mask.read(box), mask.name)

    if track is not None:
        grid, highest = Grid(mask.shape, clip_chunk(PIECE, mask.shape)), 0
        for index in track(list(grid.indices())):
            values = mask.read(grid.box(index))
            imaged(np.array([*np.unique(values), highest]), mask.name)
            highest = max(highest, int(values.max()))
        if not highest:
            log.warning("absent mask %s is 0 everywhere: nothing was imaged", mask.name)
    return replace(mask, fetch=fetch, dtype=np.dtype(np.uint8))


def imaged(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Return 1 where values of a mask say that a voxel was imaged, else 0.

    Raises WrongUse, which names the mask, for values other than 0 and 1, or 0 and 255.
    """
    inside: NDArray[np.bool_] = values != 0
    highest = int(values.max())
    if highest not in (0, 1, 255) or not (values[inside] == highest).all():
        found = ", ".join(str(int(value)) for value in np.unique(values)[:4])
        raise WrongUse(f"absent mask {name} holds {found}: {EXPECTED}")
    return inside.astype(np.uint8)

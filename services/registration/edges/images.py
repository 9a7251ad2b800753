"""Light images and predictions as registration takes them, from any format that `volumes` reads.

Units are those that a file states, or a flag; where the first voxel lies too.  A file that states
no place begins with the centre of its first voxel at the origin, as everywhere in fibstream.
"""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from fibstream.core.dataset import SQUASH_NM
from fibstream.core.errors import LimitExceeded, WrongUse
from fibstream.core.grid import Box, Grid, Index
from fibstream.core.pyramid import level_box
from fibstream.services.registration.coarse import (
    PREDICTION_NM,
    TOLERANCE,
    corner_of,
    factors_of,
    halvings_of,
)
from fibstream.services.registration.port import MAX_VOXELS, Image, Triple, check_image
from fibstream.store.gate import FREE, Gate
from fibstream.volumes.downsampled import downsampled, moved
from fibstream.volumes.positions import offset_nm
from fibstream.volumes.sources import DTYPES, Source, open_volume

log = logging.getLogger(__name__)

LIGHT_FLAG = "--light-voxel-nm"
PIECE: Index = (64, 256, 256)  # voxels that are read at a time

Track = Callable[[Iterable[Box], str], Iterator[Box]]


def untracked(boxes: Iterable[Box], what: str) -> Iterator[Box]:  # noqa: ARG001
    """Yield boxes; nothing is shown."""
    yield from boxes


class Read(NamedTuple):
    """An image and the volume that it was read from."""

    image: Image
    source: Source


def read_light(
    path: str, voxel_nm: Triple | None = None, *, track: Track = untracked, gate: Gate = FREE,
    check: Callable[[Source], None] = lambda _: None,
) -> Read:  # fmt: skip
    """Return a light image, whole, with what its file states of size and place.

    Parameters
    ----------
    path
        As of any volume, see docs/formats.md.
    voxel_nm
        Edges of a voxel (z, y, x); needed where the file states none, none with a unit, or several.
    check
        Refuses a volume before its voxels are read.

    Raises
    ------
    WrongUse
        Not one stack (z, y, x) of real numbers, no or unclear units, NaN, flat or empty.
    LimitExceeded
        Too many voxels.
    """
    source = open_volume(
        path, kind="any", voxel_size_nm=voxel_nm, gate=gate, size_flag=LIGHT_FLAG, strict=True
    )
    if source.dtype.name not in DTYPES["raw"]:
        expected = ", ".join(DTYPES["raw"])
        raise WrongUse(f"{source.name} has dtype {source.dtype}; expected {expected} for light")
    check(source)
    return Read(_image(source, track), source)


def read_prediction(
    path: str, voxel_nm: Triple | None = None, *, track: Track = untracked, gate: Gate = FREE
) -> Read:
    """Return a prediction at the voxel size that is the nearest to 64 nm from below.

    Of a pyramid with levels s0, s1 and so on the coarsest one that is not above; a level that it
    lacks is made as the pyramid would have it, and further voxels are averaged: which levels are
    stored changes no voxel.  Raises as `read_light` does.
    """
    source = open_volume(path, kind="prediction", voxel_size_nm=voxel_nm, gate=gate, strict=True)
    source = _coarser_level(source, gate)
    for _ in range(halvings_of(source.voxel_size_nm)):  # those that the pyramid lacks
        if min(source.shape) >= 2:
            source = downsampled(source, (2, 2, 2))
    factors = _factors(source)
    if min(source.voxel_size_nm) > PREDICTION_NM * TOLERANCE:
        log.warning(
            "%s: voxels are coarser than %g nm, for which the window is meant",
            source.name, PREDICTION_NM,
        )  # fmt: skip
    if source.squash_nm not in (None, SQUASH_NM):
        log.warning(
            "%s: its distances are divided by %g nm; the window is meant for %g nm: see --window",
            source.name, source.squash_nm, SQUASH_NM,
        )  # fmt: skip
    if factors != (1, 1, 1):
        source = downsampled(source, factors)
    return Read(_image(source, track), source)


def _coarser_level(source: Source, gate: Gate) -> Source:
    """Return the level of the source's pyramid to begin with; the source if it has none."""
    above, _, name = source.name.rpartition("/" if "/" in source.name.partition("#")[2] else "#")
    best = source
    if not above or name != "s0":
        return best
    mark, whole = source.name[len(above)], Box((0, 0, 0), source.shape)
    for level in range(1, halvings_of(source.voxel_size_nm) + 1):
        z, y, x = (edge * 2.0**level for edge in source.voxel_size_nm)
        coarser = None
        with contextlib.suppress(WrongUse):  # there are no more levels
            coarser = open_volume(
                f"{above}{mark}s{level}", kind="prediction", voxel_size_nm=(z, y, x), gate=gate
            )
        if coarser is None or coarser.shape != level_box(whole, level).shape:
            break
        # Of the same material: some writers state the place of the finest level for all.
        coarser = replace(coarser, position=moved(source.position, (2**level,) * 3))
        best = coarser
    return best


def _factors(source: Source) -> Index:
    """Return how many voxels are averaged along each axis."""
    z, y, x = (
        min(f, n) for f, n in zip(factors_of(source.voxel_size_nm), source.shape, strict=True)
    )
    return z, y, x


def _image(source: Source, track: Track) -> Image:
    """Return a volume in memory, in pieces; raise for one that cannot be registered."""
    count = int(np.prod(source.shape, dtype=np.int64))
    if count > MAX_VOXELS:
        raise LimitExceeded(
            f"{source.name}: {source.shape} voxels; at most {MAX_VOXELS} in all: take a coarser one"
        )
    if source.shape[0] == 1:
        raise WrongUse(f"{source.name}: a single plane; expected a stack (z, y, x)")
    voxels = np.empty(source.shape, source.dtype)
    grid = Grid(source.shape, _piece(source.shape))
    boxes = [grid.box(index) for index in grid.indices()]
    for box in track(boxes, f"read {source.name}"):
        voxels[box.slices()] = source.read(box)
    image = Image(voxels, source.voxel_size_nm, corner_nm(source))
    check_image(image, source.name)
    return image


def _piece(shape: Index) -> Index:
    z, y, x = (min(a, b) for a, b in zip(PIECE, shape, strict=True))
    return z, y, x


def corner_nm(source: Source) -> Triple:
    """Return where the corner of a volume's first voxel lies, (z, y, x) nm."""
    return corner_of(offset_nm(source), source.voxel_size_nm)

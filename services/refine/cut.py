"""One chunk's fragments of objects, and the few facts about them that other chunks need.

A block labels its chunk and one more voxel on each positive side, so that every adjacency lies
in some block.  Two blocks share the planes where they overlap; the components of a shared plane
have the same name on both sides, and by these names the fold links pieces without ever looking
at two blocks together.

The summary of a chunk holds, sorted:

=========  =========  ============================================================================
``ids``    ``<u8``    the pieces: 1 + least gid, with ``BACKGROUND_BIT`` when background
``voxels`` ``<u4``    their voxels in the chunk
``touch``  ``u1``     which shared planes they have a voxel in: z low, z high, y low ... from bit 0
``links``  ``<u8``    rows (name, name) of pieces or plane components that are connected
``pairs``  ``<u8``    rows (background id, foreground id) of adjacent pieces
=========  =========  ============================================================================

``OUT`` is the name of the background that is no hole: it reaches the volume's border or an absent
voxel.  Pieces of it are in no summary, only links to it are.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box, Halo, Index
from fibstream.core.ids import BACKGROUND_BIT, gids
from fibstream.core.stage import Arrays, Patch
from fibstream.kernels.components import (
    Ints,
    Pieces,
    find_neighbours,
    find_pieces,
    mark_within,
    paint,
)
from fibstream.kernels.conventions import LEVEL_BITS
from fibstream.kernels.smooth import radius, smooth
from fibstream.kernels.union_find import OUT

from .recipe import RecipeSettings, Voxel, sigma_voxels, threshold_level

Bits = NDArray[np.bool_]
Names = NDArray[np.uint64]


def halo(settings: RecipeSettings, voxel_size_nm: Voxel) -> Halo:
    """Return the voxels of prediction that a block reads beyond its chunk."""
    z, y, x = radius(sigma_voxels(settings, voxel_size_nm))
    return Halo((z, y, x), (z + 1, y + 1, x + 1))


def cut_fragments(
    patch: Patch, core: Box, settings: RecipeSettings, voxel_size_nm: Voxel
) -> tuple[Names, Arrays]:
    """Cut a chunk of a prediction into fragments.

    Parameters
    ----------
    patch
        The prediction, uint8, ``(z, y, x)``: the chunk with its ``halo``, cut at the volume.
    core
        The chunk.  The summary of an absent chunk is needed too: pieces of its neighbours may
        touch across one of its edges.
    settings
        The size limits are not used here: they hold for whole objects.
    voxel_size_nm
        Voxel edges in nm, ``(z, y, x)``.

    Returns
    -------
    tuple
        The id of each voxel's piece, shaped as the chunk, 0 for background that is no hole; and
        the summary.
    """
    block, border = _extent(patch, core)
    mask = _foreground(patch, block, settings, voxel_size_nm)
    pieces = _pieces(mask, settings, core.shape)
    out = _outside(pieces, patch, block, border)
    names = np.where(out, np.uint64(OUT), _names(pieces, pieces.first, block))

    pairs = _pairs(pieces, settings, out)
    owner = _owners(pieces, pairs, merging=settings.fill_holes == "all")
    filled = owner != np.arange(owner.size)
    # Objects that a hole makes one; with fill_holes "one" there is nothing to say here.
    around = pairs[:, filled[pairs[0]]]
    links = [np.stack([names[around[1]], names[owner[around[0]]]], axis=1)]
    for axis, at in _shared_planes(block, border):
        parts, positions = _plane_parts(mask, axis, at, settings)
        own, whole = _names(pieces, positions, block), names[pieces.at(positions)]
        # A component that itself reaches the border is outside for the neighbour too.
        told = (whole != OUT) | (parts.touch & _sides(border, axis) == 0)
        links.append(np.stack([own, whole], axis=1)[told])

    summary = _summary(pieces, names, owner, pairs[:, ~filled[pairs[0]]], border)
    together = np.concatenate(links)
    summary["links"] = _rows(together[together[:, 0] != together[:, 1]])
    return paint(pieces, np.where(out, np.uint64(0), names)[owner], core.shape), summary


def _extent(patch: Patch, core: Box) -> tuple[Box, int]:
    """Return the chunk with one voxel more where the volume goes on, and its faces that end it."""
    stop, border = [], 0
    for axis in range(3):
        ends = patch.box.stop[axis] == core.stop[axis]
        stop.append(core.stop[axis] + (not ends))
        border |= ((core.start[axis] == 0) | ends << 1) << 2 * axis
    return Box(core.start, (stop[0], stop[1], stop[2])), border


def _foreground(patch: Patch, block: Box, settings: RecipeSettings, voxel_size_nm: Voxel) -> Bits:
    level = threshold_level(settings)
    if settings.smooth_nm == 0:
        mask: Bits = patch.array[block.slices(patch.box.start)] >= -(-level >> LEVEL_BITS)
    else:
        sigma = sigma_voxels(settings, voxel_size_nm)
        mask = smooth(patch.array, sigma, _shift(block, patch.box.start)) >= level
    for absent in _absent(patch, block):
        # Whatever smoothing bleeds into an absent chunk, nothing was seen there.
        mask[absent.slices()] = False
    return mask


def _pieces(mask: Bits, settings: RecipeSettings, core: Index) -> Pieces:
    background = settings.fill_holes != "none"
    return find_pieces(mask, settings.connectivity, background=background, core=core)


def _pairs(pieces: Pieces, settings: RecipeSettings, out: Bits) -> Ints:
    """Return the adjacent pairs (background, foreground) that may matter, as columns."""
    if settings.fill_holes == "none":
        return np.empty((2, 0), np.int32)
    across = settings.connectivity if settings.fill_holes == "all" else 6
    return find_neighbours(pieces, across, out)


def _outside(pieces: Pieces, patch: Patch, block: Box, border: int) -> Bits:
    """Return which pieces are background that reaches the border or an absent voxel."""
    out: Bits = ~pieces.solid & (pieces.touch & border != 0)
    for absent in _absent(patch, block):
        out |= mark_within(pieces, absent)
    return out


def _absent(patch: Patch, block: Box) -> Iterator[Box]:
    """Yield the absent boxes inside the block, in its own coordinates."""
    for box in patch.absent:
        inside = box.meet(block)
        if not inside.empty:
            yield _shift(inside, block.start)


def _shift(box: Box, origin: Index) -> Box:
    """Return ``box`` in the coordinates of an array whose first voxel is ``origin``."""
    z, y, x = origin
    return Box(*((p[0] - z, p[1] - y, p[2] - x) for p in box))


def _names(pieces: Pieces, positions: NDArray[np.integer], block: Box) -> Names:
    """Return the names that flat positions give to the pieces or plane components they start."""
    solid = pieces.solid[pieces.at(positions)]
    bit = np.where(solid, np.uint64(0), np.uint64(BACKGROUND_BIT))
    return gids(positions, block.start, block.shape) + np.uint64(1) | bit


def _owners(pieces: Pieces, pairs: NDArray[np.int32], *, merging: bool) -> Ints:
    """Return the piece that each piece is part of: itself, or the object around a local hole.

    With ``merging`` a hole may be inside several objects, which it makes one.
    """
    owner = np.arange(pieces.first.size, dtype=np.int32)
    hole, index, objects = np.unique(pairs[0], return_index=True, return_counts=True)
    local = (pieces.touch[hole] == 0) & (merging | (objects == 1))
    owner[hole[local]] = pairs[1][index[local]]
    return owner


def _shared_planes(block: Box, border: int) -> Iterator[tuple[int, int]]:
    """Yield axis and position of the planes that the block shares with a neighbour."""
    for face in range(6):
        if not border >> face & 1:
            yield face // 2, (block.shape[face // 2] - 1) * (face % 2)


def _plane_parts(
    mask: Bits, axis: int, at: int, settings: RecipeSettings
) -> tuple[Pieces, NDArray[np.integer]]:
    """Return the components of one plane and the positions in the block that name them.

    The plane lies flat as (1, y, x): the order of its voxels stays that of the block.
    """
    plane = np.take(mask, [at], axis)
    flat = plane.reshape(1, *(n for a, n in enumerate(plane.shape) if a != axis))
    parts = _pieces(flat, settings, flat.shape)
    where = list(np.unravel_index(parts.first, plane.shape))
    where[axis] = where[axis] + at
    return parts, np.ravel_multi_index(tuple(where), mask.shape)


def _sides(border: int, axis: int) -> int:
    """Return the border in ``touch`` bits of a plane across ``axis``, laid flat as (1, y, x)."""
    first, second = (a for a in range(3) if a != axis)
    return (border >> 2 * first & 3) << 2 | (border >> 2 * second & 3) << 4


def _summary(
    pieces: Pieces, names: Names, owner: Ints, pairs: NDArray[np.int32], border: int
) -> Arrays:
    """Return all of the summary but the links."""
    absorbed = owner != np.arange(owner.size)
    voxels = pieces.voxels.copy()
    np.add.at(voxels, owner[absorbed], pieces.voxels[absorbed])
    touch = pieces.touch & np.uint8(~border & 63)
    # What lies in a single shared plane and not in the chunk, the neighbour knows better.
    rim = np.where((voxels == 0) & (touch & touch - 1 == 0), touch, 0)
    pairs = pairs[:, (rim[pairs[0]] != rim[pairs[1]]) | (rim[pairs[0]] == 0)]
    named = np.zeros(owner.size, np.bool_)
    named[pairs] = True
    kept = np.flatnonzero((names != OUT) & ~absorbed & ((rim == 0) | named))
    kept = kept[np.argsort(names[kept])]
    return {
        "ids": names[kept].astype("<u8"),
        "voxels": voxels[kept].astype("<u4"),
        "touch": touch[kept],
        "pairs": _rows(names[pairs.T]),
    }


def _rows(pairs: Names) -> Names:
    """Return the rows of an (n, 2) array, sorted and unique."""
    ordered = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].astype("<u8")
    fresh = np.ones(len(ordered), np.bool_)
    fresh[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return ordered[fresh]

"""The fragments of one chunk, and a summary of them for the fold.

A block labels its chunk and one more voxel on each positive side, so that every adjacency lies
in some block. Two blocks share the planes where they overlap; the components of a shared plane
have the same name on both sides, and by these names the fold links fragments without ever
reading two blocks together.

The summary of a chunk holds, sorted:

=========  =========  ============================================================================
``ids``    ``<u8``    the fragments: 1 + least gid, with ``BACKGROUND_BIT`` when background
``voxels`` ``<u4``    their voxels in the chunk
``touch``  ``u1``     which shared planes they have a voxel in: z low, z high, y low ... from bit 0
``links``  ``<u8``    rows (name, name) of fragments or plane components that are connected
``pairs``  ``<u8``    rows (background id, foreground id) of adjacent fragments
=========  =========  ============================================================================

``OUT`` is the name of the background that is no hole: it reaches the volume's border or an absent
voxel. Fragments of it are in no summary, only links to it are.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box, Index
from fibstream.core.ids import BACKGROUND_BIT, gids
from fibstream.core.stage import Arrays, Patch
from fibstream.kernels.absent import Unimaged
from fibstream.kernels.components import (
    Components,
    Ints,
    find_components,
    find_neighbours,
    mark_within,
    paint,
)
from fibstream.kernels.conventions import LEVEL_BITS
from fibstream.kernels.planes import extended, shared_planes
from fibstream.kernels.smooth import smooth
from fibstream.kernels.union_find import OUT

from .rule import ObjectRule

Bits = NDArray[np.bool_]
Names = NDArray[np.uint64]


class Fragments(NamedTuple):
    """The components of a block as fragments.

    Attributes
    ----------
    components
        Of the chunk and one more voxel on each positive side where the volume goes on.
    names
        Of each component, uint64 ``(n,)``; ``OUT`` of background that is no hole.
    owner
        The component that each is part of, int32 ``(n,)``: itself, or what a local hole is in.
    """

    components: Components
    names: Names
    owner: Ints

    def painted(self, core: Index) -> Names:
        """Return the id of each voxel's fragment, uint64 of shape ``core``, 0 outside."""
        ids = np.where(self.names == OUT, np.uint64(0), self.names)
        return paint(self.components, ids[self.owner], core)


def cut_fragments(
    patch: Patch, core: Box, rule: ObjectRule, unimaged: Unimaged | None = None
) -> tuple[Names, Arrays]:
    """Cut a chunk of a prediction into fragments.

    Parameters
    ----------
    patch
        The prediction, uint8, ``(z, y, x)``: the chunk with ``rule.halo``, cut at the volume.
    core
        The chunk. The summary of an absent chunk is needed too: fragments of its neighbours may
        touch across one of its edges.
    rule
        The size limits are not used here: they hold for whole objects.
    unimaged
        What tells which voxels were never imaged; None where the dataset declares no value.

    Returns
    -------
    fragments
        The id of each voxel's fragment, uint64, shaped as the chunk, 0 for background that is no
        hole.
    summary
        As described above.
    """
    block, _ = extended(patch, core)
    mask = _foreground(patch, block, rule)
    absent = None if unimaged is None else unimaged.within(block)
    if absent is not None:
        mask &= ~absent
    found, summary = cut_foreground(mask, patch, core, rule, absent)
    return found.painted(core.shape), summary


def cut_foreground(
    mask: Bits, patch: Patch, core: Box, rule: ObjectRule, absent: Bits | None
) -> tuple[Fragments, Arrays]:
    """Cut the foreground of a chunk into fragments: see `cut_fragments`.

    ``mask``, and ``absent``, what was never imaged, have the shape of the chunk and one more voxel
    on each positive side where the volume goes on.
    """
    block, border = extended(patch, core)
    components = _label(mask, rule, core.shape)
    out = _outside(components, patch, block, border)
    if absent is not None:
        _mark_absent(components, absent, out)
    names = np.where(out, np.uint64(OUT), _names(components, components.first, block))

    pairs = _pairs(components, rule, out)
    owner = _owners(components, pairs, merging=rule.fill_holes == "all")
    filled = owner != np.arange(owner.size)
    # Objects that a hole joins; there are none with fill_holes "one".
    around = pairs[:, filled[pairs[0]]]
    links = [np.stack([names[around[1]], names[owner[around[0]]]], axis=1)]
    for axis, at in shared_planes(block, border):
        parts, positions = _plane_parts(mask, axis, at, rule)
        own, whole = _names(components, positions, block), names[components.at(positions)]
        # A component that itself reaches the border is outside for the neighbour too.
        kept = (whole != OUT) | (parts.touch & _sides(border, axis) == 0)
        links.append(np.stack([own, whole], axis=1)[kept])

    summary = _summary(components, names, owner, pairs[:, ~filled[pairs[0]]], border)
    together = np.concatenate(links)
    summary["links"] = _rows(together[together[:, 0] != together[:, 1]])
    return Fragments(components, names, owner), summary


def _foreground(patch: Patch, block: Box, rule: ObjectRule) -> Bits:
    if not any(rule.sigma):
        mask: Bits = patch.array[block.slices(patch.box.start)] >= -(-rule.level >> LEVEL_BITS)
    else:
        mask = smooth(patch.array, rule.sigma, _shift(block, patch.box.start)) >= rule.level
    for absent in _absent(patch, block):
        # Smoothing spreads foreground into an absent chunk, of which nothing is known.
        mask[absent.slices()] = False
    return mask


def _label(mask: Bits, rule: ObjectRule, core: Index) -> Components:
    background = rule.fill_holes != "none"
    return find_components(mask, rule.connectivity, background=background, core=core)


def _pairs(components: Components, rule: ObjectRule, out: Bits) -> Ints:
    """Return the adjacent pairs (background, foreground) that may matter, as columns."""
    if rule.fill_holes == "none":
        return np.empty((2, 0), np.int32)
    return find_neighbours(components, out)


def _outside(components: Components, patch: Patch, block: Box, border: int) -> Bits:
    """Return which components are background that reaches the border or an absent voxel."""
    out: Bits = ~components.solid & (components.touch & border != 0)
    for absent in _absent(patch, block):
        out |= mark_within(components, absent)
    return out


def _mark_absent(components: Components, absent: Bits, out: Bits) -> None:
    """Mark background with an absent voxel as outside; -1 is background without a number."""
    found = np.unique(components.at(np.flatnonzero(absent)))
    out[found[found >= 0]] = True


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


def _names(components: Components, positions: NDArray[np.integer], block: Box) -> Names:
    """Return the names of the components, of the block or of a plane, that flat positions start."""
    solid = components.solid[components.at(positions)]
    bit = np.where(solid, np.uint64(0), np.uint64(BACKGROUND_BIT))
    return gids(positions, block.start, block.shape) + np.uint64(1) | bit


def _owners(components: Components, pairs: NDArray[np.int32], *, merging: bool) -> Ints:
    """Return the component that each is part of: itself, or the object around a local hole.

    With ``merging`` a hole may be inside several objects, which it joins.
    """
    owner = np.arange(components.first.size, dtype=np.int32)
    hole, index, objects = np.unique(pairs[0], return_index=True, return_counts=True)
    local = (components.touch[hole] == 0) & (merging | (objects == 1))
    owner[hole[local]] = pairs[1][index[local]]
    return owner


def _plane_parts(
    mask: Bits, axis: int, at: int, rule: ObjectRule
) -> tuple[Components, NDArray[np.integer]]:
    """Return the components of one plane and the positions in the block that name them.

    The plane is reshaped to (1, y, x): the order of its voxels stays that of the block.
    """
    plane = np.take(mask, [at], axis)
    flat = plane.reshape(1, *(n for a, n in enumerate(plane.shape) if a != axis))
    parts = _label(flat, rule, flat.shape)
    where = list(np.unravel_index(parts.first, plane.shape))
    where[axis] = where[axis] + at
    return parts, np.ravel_multi_index(tuple(where), mask.shape)


def _sides(border: int, axis: int) -> int:
    """Return the border in ``touch`` bits of a plane across ``axis``, reshaped to (1, y, x)."""
    first, second = (a for a in range(3) if a != axis)
    return (border >> 2 * first & 3) << 2 | (border >> 2 * second & 3) << 4


def _summary(
    components: Components, names: Names, owner: Ints, pairs: NDArray[np.int32], border: int
) -> Arrays:
    """Return all of the summary but the links."""
    absorbed = owner != np.arange(owner.size)
    voxels = components.voxels.copy()
    np.add.at(voxels, owner[absorbed], components.voxels[absorbed])
    touch = components.touch & np.uint8(~border & 63)
    # What lies in a single shared plane and not in the chunk is in the neighbour's summary.
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
    first = np.ones(len(ordered), np.bool_)
    first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return ordered[first]

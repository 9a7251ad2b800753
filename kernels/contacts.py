"""Where two organelles are near each other: contact sites, cut into fragments chunk by chunk.

The naive rule is that of Heinrich et al. (Nature 2021; SparkContactSites with ``doNaiveMethod``). A
voxel is near an object when the object's nearest surface voxel is no farther than the contact
distance plus one voxel: distances lie between the centres of surface voxels, not between their
faces. A voxel has one nearest object of each organelle; where two are equally far, that with the
smaller id (the published code takes the first of a hash table). A contact site is a set of voxels
that touch by faces, edges or corners, and whose nearest objects are the same pair. The refined rule
is in `refined`.
"""

import cc3d
import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box, Index
from fibstream.core.ids import gids
from fibstream.core.stage import Arrays, Patch

from .absent import Unimaged
from .compiled import compiled
from .near import Footprint
from .planes import extended, shared_planes
from .refined import refined_pairs
from .spread import spread
from .surface import Ids, surface_of

Codes = NDArray[np.uint32]


def nearest(labels: Ids, near: Footprint, *, two: bool = True) -> tuple[Ids, Ids]:
    """Return the ids of the two nearest objects of each voxel, 0 where none is near.

    Parameters
    ----------
    labels
        Ids of objects, ``(z, y, x)``, 0 for none. Beyond the array there is nothing.
    near
        What counts as near.
    two
        Whether the second is wanted; else it may be 0.

    Returns
    -------
    first, second
        ``(z, y, x)`` each, two different objects in order of (rank, id). The first of a surface
        voxel is its own object; a voxel inside an object has none.
    """
    surface = surface_of(labels)
    if near.ball:
        first, second = spread(labels, surface, near.ball, two=two)
    else:
        first, second = np.zeros((2, *labels.shape), np.uint64)
        ranks = np.full((2, *labels.shape), 2**31 - 1, np.int32)
        _offer(labels, surface, near.steps, near.ranks, first, second, ranks)
    first[(labels != 0) & ~surface] = 0
    second[first == 0] = 0
    return first, second


@compiled
def _offer(
    labels: Ids, surface: NDArray[np.bool_], steps: NDArray[np.int32], lengths: NDArray[np.int32],
    first: Ids, second: Ids, ranks: NDArray[np.int32],
) -> None:  # fmt: skip
    """Let every surface voxel offer its id to all voxels near it, itself included."""
    nz, ny, nx = labels.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                if not surface[z, y, x]:
                    continue
                for n in range(lengths.size):
                    at = z - steps[n, 0], y - steps[n, 1], x - steps[n, 2]
                    if 0 <= at[0] < nz and 0 <= at[1] < ny and 0 <= at[2] < nx:
                        own, there = labels[z, y, x], labels[at]
                        if lengths[n] == 0 or own != there:
                            _take(own, lengths[n], at, first, second, ranks)


@compiled
def _take(
    own: int, rank: int, at: Index, first: Ids, second: Ids, ranks: NDArray[np.int32]
) -> None:
    """Keep the two nearest different ids of a voxel."""
    z, y, x = at
    if own == first[at]:
        ranks[0, z, y, x] = min(rank, ranks[0, z, y, x])
    elif rank < ranks[0, z, y, x] or (rank == ranks[0, z, y, x] and own < first[at]):
        second[at], ranks[1, z, y, x] = first[at], ranks[0, z, y, x]
        first[at], ranks[0, z, y, x] = own, rank
    elif own == second[at]:
        ranks[1, z, y, x] = min(rank, ranks[1, z, y, x])
    elif rank < ranks[1, z, y, x] or (rank == ranks[1, z, y, x] and own < second[at]):
        second[at], ranks[1, z, y, x] = own, rank


def naive_pairs(one: Ids, other: Ids | None, near: Footprint) -> tuple[Ids, Ids]:
    """Return the pair of objects that are both near each voxel, as `refined_pairs` does."""
    first, second = nearest(one, near, two=other is None)
    if other is None:
        first, second = np.minimum(first, second), np.maximum(first, second)
    else:
        second = nearest(other, near, two=False)[0]
    apart = (first == 0) | (second == 0)
    first[apart] = 0
    second[apart] = 0
    return first, second


PAIRS = {"naive": naive_pairs, "refined": refined_pairs}


def pairs(one: Ids, other: Ids) -> tuple[Codes, Ids]:
    """Return which pair of objects each voxel has.

    Parameters
    ----------
    one, other
        The two objects of each voxel, ``(z, y, x)`` each.

    Returns
    -------
    code
        uint32 ``(z, y, x)``: 1 + the row of the voxel's pair, 0 for none.
    found
        The pairs, uint64 ``(n, 2)``, sorted.
    """
    both = np.flatnonzero((one != 0) & (other != 0))
    rows = np.stack([one.ravel()[both], other.ravel()[both]], axis=1)
    found, inverse = np.unique(rows, axis=0, return_inverse=True)
    code = np.zeros(one.size, np.uint32)
    code[both] = inverse.reshape(-1) + 1
    return code.reshape(one.shape), found.reshape(-1, 2)


def cut_contacts(
    one: Patch, other: Patch | None, core: Box, near: Footprint, unimaged: Unimaged | None = None,
    *, kind: str = "naive",
) -> tuple[Ids, Arrays]:  # fmt: skip
    """Cut the contacts of a chunk into fragments.

    Parameters
    ----------
    one, other
        Labels of two organelles, uint64 ``(z, y, x)``: the chunk with its ``halo``, cut at the
        volume. None for ``other``: contacts between different objects of ``one``.
    core
        The chunk.
    near
        The footprint of the contact distance.
    unimaged
        What tells which voxels were never imaged; None where the dataset declares no value.
    kind
        ``naive`` or ``refined``.

    Returns
    -------
    fragments
        The id of each voxel's fragment, uint64, shaped as the chunk, 0 for none.
    summary
        As `FragmentSets` takes it, without holes; and ``parents``, uint64 ``(n, 2)``: the pair of
        objects of each fragment, in the order of the organelles, of one organelle the smaller
        first.
    """
    block, border = extended(one, core)
    inside = block.slices(one.box.start)
    theirs = None if other is None else other.array
    first, second = (ids[inside] for ids in PAIRS[kind](one.array, theirs, near))
    # Of an absent voxel nothing is known: what is near it does not reach into it.
    present = one.present()[inside]
    if unimaged is not None:
        present &= ~unimaged.within(block)
    code, found = pairs(np.where(present, first, np.uint64(0)), second)
    components = cc3d.connected_components(code, connectivity=26).astype(np.int32)
    first_at = _first(components)
    names = gids(first_at, block.start, block.shape) + np.uint64(1)
    names[0] = 0
    links = [
        _links(code, components, names, block, axis, at)
        for axis, at in shared_planes(block, border)
    ]
    chunk = components[Box((0, 0, 0), core.shape).slices()]
    voxels = np.bincount(chunk.ravel(), minlength=names.size)
    touch = _touch(components, names.size) & np.uint8(~border & 63)
    # What lies in a single shared plane and not in the chunk is in the neighbour's summary.
    kept = np.flatnonzero(((voxels > 0) | (touch & touch - 1 != 0)) & (names > 0))
    kept = kept[np.argsort(names[kept])]
    summary: Arrays = {
        "ids": names[kept].astype("<u8"),
        "voxels": voxels[kept].astype("<u4"),
        "touch": touch[kept],
        "links": np.unique(np.concatenate([np.empty((0, 2), "<u8"), *links]), axis=0),
        "pairs": np.empty((0, 2), "<u8"),
        "parents": found[code.ravel()[first_at[kept]].astype(np.int64) - 1].astype("<u8"),
    }
    return names[chunk], summary


def _first(components: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the flat position of the first voxel of each component, by its number from 0."""
    numbers, positions = np.unique(components, return_index=True)
    first = np.zeros(int(numbers[-1]) + 1, np.int64)
    first[numbers] = positions
    return first


def _touch(components: NDArray[np.int32], count: int) -> NDArray[np.uint8]:
    """Return the faces of the block in which each component has a voxel, as bits."""
    touch = np.zeros(count, np.uint8)
    for face in range(6):
        plane = np.take(components, -(face % 2), face // 2)
        touch[np.unique(plane)] |= np.uint8(1 << face)
    return touch


def _links(
    code: Codes, components: NDArray[np.int32], names: Ids, block: Box, axis: int, at: int
) -> Ids:
    """Return rows (name of a part of one plane, name of the component it is in).

    A part is named by its own least voxel, which is the same in both blocks that share the plane.
    """
    parts = cc3d.connected_components(np.take(code, at, axis), connectivity=8)
    numbers, first = np.unique(parts, return_index=True)
    first = first[numbers > 0]
    where = list(np.unravel_index(first, parts.shape))
    where.insert(axis, np.full(first.shape, at))
    flat = np.ravel_multi_index(tuple(where), code.shape)
    own = gids(flat, block.start, block.shape) + np.uint64(1)
    whole = names[components.ravel()[flat]]
    rows: Ids = np.stack([own, whole], axis=1)[own != whole]
    return rows

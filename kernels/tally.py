"""How much contact objects of two organelles have in all: by the boxes around the objects of one.

A contact site of an object lies within reach of it, so that only what is around objects is looked
at; sums are those of the whole volume, to the last integer.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple, SupportsInt

import cc3d
import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box, Halo, Index
from fibstream.core.stage import Patch

from .contacts import PAIRS, pairs
from .near import Footprint
from .sites import measure_sites
from .surface import Ids


class Rule(NamedTuple):
    """What a contact site is: how near, of which ``kind`` and of at least how many voxels.

    ``halo``: what `near.halo` returns for them.
    """

    near: Footprint
    halo: Halo
    kind: str
    least: int = 1


class Tally(NamedTuple):
    """Contact sites; of each side the faces (z, y, x) inside them, and how many objects have one.

    Of one organelle the first side is that of the smaller id of each two, and both counts of
    objects are those of all objects.
    """

    sites: int
    faces: tuple[Index, Index]
    touching: tuple[int, int]


def tally(
    one: Ids, other: Ids | None, around: Iterable[tuple[int, Box]], rule: Rule, *, side: int = 0
) -> Tally:
    """Count the contact sites of two organelles, or of one where ``other`` is None.

    Parameters
    ----------
    one, other
        Ids of objects, uint64 ``(z, y, x)``, 0 for none.
    around
        The id and the box of each object of one side.
    rule
        What a contact site is.
    side
        Whose objects ``around`` names: 0 for ``one``, 1 for ``other``.
    """
    opposite = one if side or other is None else other
    whole = Box((0, 0, 0), _triple(one.shape))
    cores: list[tuple[int | None, Box]] = [
        (id_, core) for id_, box in around if not (core := _core(box, opposite, rule, whole)).empty
    ]
    # Where objects are close together, boxes around them have more voxels than the volume.
    if sum(math.prod(_block(core, rule, whole).shape) for _, core in cores) > one.size:
        cores = [(None, whole)]
    sites, faces = 0, np.zeros((2, 3), np.int64)
    touching: tuple[set[int], set[int]] = (set(), set())
    for id_, core in cores:
        block = _block(core, rule, whole)
        ours, theirs = (
            None if ids is None else Patch(ids[block.slices()], block) for ids in (one, other)
        )
        assert ours is not None
        found = _within(ours, theirs, core, rule, None if id_ is None else (side, id_))
        sites += found.sites
        faces += found.faces
        touching[0].update(found.touching[0])
        touching[1].update(found.touching[1])
    if other is None:
        touching = (touching[0] | touching[1],) * 2
    first, second = (_triple(row) for row in faces)
    return Tally(sites, (first, second), (len(touching[0]), len(touching[1])))


class _Found(NamedTuple):
    sites: int
    faces: NDArray[np.int64]  # (2, 3): of each side by axis
    touching: tuple[list[int], list[int]]


def _within(
    one: Patch, other: Patch | None, core: Box, rule: Rule, only: tuple[int, int] | None
) -> _Found:
    """Return what lies in a box that cuts no site: of all objects, or ``only`` one of a side."""
    inside = core.slices(one.box.start)
    theirs = None if other is None else other.array
    both = [ids[inside] for ids in PAIRS[rule.kind](one.array, theirs, rule.near)]
    if only is not None:  # of one organelle it has the smaller id: each two are met once
        both[0] = np.where(both[only[0]] == only[1], both[0], np.uint64(0))
    code, found = pairs(*both)
    sites = cc3d.connected_components(code, connectivity=26)
    large = np.bincount(sites.ravel()) >= rule.least
    large[0] = False
    sites[~large[sites]] = 0
    at = np.flatnonzero(sites)
    parents = np.zeros((len(large), 2), np.uint64)  # of each site
    parents[sites.ravel()[at]] = found[code.ravel()[at].astype(np.int64) - 1]
    rows = measure_sites(sites.astype(np.uint64), one, other, core, rule.near)
    second = rows["side"] == 1
    if other is None:
        second = rows["object"] == parents[rows["id"].astype(np.int64), 1]
    faces = np.stack([rows["faces"][~second].sum(axis=0), rows["faces"][second].sum(axis=0)])
    first, last = parents[large].T.tolist()
    return _Found(int(large.sum()), faces, (first, last))


def _core(box: Box, opposite: Ids, rule: Rule, whole: Box) -> Box:
    """Return the voxels in which sites of an object may be; of one organelle all around it.

    A voxel of a site is within reach of the object, and of one on the other side.
    """
    reach = _triple(np.abs(rule.near.steps).max(axis=0))
    near = Halo(reach, reach)
    core = box.grow(near).meet(whole)
    far = core.grow(near).meet(whole)
    at = [
        np.flatnonzero(opposite[far.slices()].any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))
    ]
    if not at[0].size:
        return Box((0, 0, 0), (0, 0, 0))
    low, high = _triple(n[0] for n in at), _triple(n[-1] + 1 for n in at)
    origin = _triple(-n for n in far.start)
    return Box(low, high).relative(origin).grow(near).meet(core)


def _block(core: Box, rule: Rule, whole: Box) -> Box:
    return core.grow(rule.halo).meet(whole)


def _triple(values: Iterable[SupportsInt]) -> Index:
    z, y, x = map(int, values)
    return z, y, x

"""Where two organelles face each other: the refined rule of contact sites.

The rule is that of Heinrich et al. (Nature 2021; SparkContactSites). A surface voxel of one
organelle *faces* the nearest object of the other, if that is near. Two surface voxels that face
each other's objects and are near each other are joined by a line (Bresenham 1965, in space); where
no voxel strictly between them is of any object of either organelle, the line, ends included, is
part of the contact site of the two objects.

The published code gives a voxel on lines of several pairs to whichever it takes last, which depends
on blocks. Here the pair with the smaller ids has it, or, with ``ties: java``, the pair that lies
later in a Java hash table of 16 slots, and of two in one slot that with the larger ids: the
published order wherever a volume has at most 12 pairs, no two of which share a slot.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled
from .near import Footprint, between
from .spread import spread
from .surface import Ids, surface_of

Codes = NDArray[np.uint32]
_LOW = np.uint64(0xFFFFFFFF)
SLOTS = 16  # of the hash table of ``ties: java``


class _Rows(NamedTuple):
    """Steps in rows along x: ``row`` (dz, dy, least dx, first step, steps), and a line each.

    ``line`` has the flat steps to the voxels between, of which there are ``between``.
    """

    row: NDArray[np.int64]
    line: NDArray[np.int64]
    between: NDArray[np.int64]


def refined_pairs(one: Ids, other: Ids | None, near: Footprint) -> tuple[Ids, Ids]:
    """Return the pair of objects in whose contact site each voxel is.

    Parameters
    ----------
    one, other
        Ids of objects of two organelles, ``(z, y, x)``, 0 for none; beyond the arrays there is
        nothing. None for ``other``: sites between different objects of ``one``.
    near
        What counts as near.

    Returns
    -------
    first, second
        ``(z, y, x)`` each, 0 where there is no site: the object of ``one`` and that of ``other``;
        of one organelle the smaller id and the larger.
    """
    one = np.ascontiguousarray(one)
    theirs = one if other is None else np.ascontiguousarray(other)
    facing = _facing(one, theirs, near, same=other is None)
    faced = facing if other is None else _facing(theirs, one, near, same=False)
    occupied = one != 0 if other is None else (one != 0) | (theirs != 0)
    if other is None:  # of one organelle lines go from the smaller id to the larger
        facing, faced = np.where(facing > one, facing, 0), np.where(faced < theirs, faced, 0)
    codes, pairs = _coded((one, facing), (faced, theirs))
    order = _java_order(pairs) if near.java else np.arange(len(pairs))
    found = np.zeros(one.shape, np.uint32)
    _draw(
        codes[0], codes[1].ravel(), occupied.ravel(), _rows(near, one.shape), order, found.ravel()
    )
    first, second = pairs[found].transpose(3, 0, 1, 2)
    return first, second


def _facing(labels: Ids, others: Ids, near: Footprint, *, same: bool) -> Ids:
    """Return the object of ``others`` that each surface voxel of ``labels`` faces, 0 elsewhere.

    A voxel that is also of an object of ``others`` faces that one on its surface, none inside it.
    """
    theirs = surface_of(others)
    ours = theirs if same else surface_of(labels)
    if near.ball:
        found = spread(others, others != 0, near.ball, two=same)[same]
        return np.where(ours & (same | theirs | (others == 0)), found, np.uint64(0))
    facing = np.zeros(labels.shape, np.uint64)
    _look(labels, ours, others, theirs, same, near.steps, near.ranks, facing)
    return facing


@compiled
def _look(
    labels: Ids, ours: NDArray[np.bool_], others: Ids, theirs: NDArray[np.bool_], same: bool,
    steps: NDArray[np.int32], ranks: NDArray[np.int32], facing: Ids,
) -> None:  # fmt: skip
    """Let each surface voxel look around, nearest first, as far as it needs to."""
    nz, ny, nx = labels.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                if not ours[z, y, x]:
                    continue
                if not same and others[z, y, x] != 0:
                    if theirs[z, y, x]:
                        facing[z, y, x] = others[z, y, x]
                    continue
                found = ranks.size
                for n in range(ranks.size):
                    if found < n and ranks[n] > ranks[found]:
                        break
                    at = z + steps[n, 0], y + steps[n, 1], x + steps[n, 2]
                    if 0 <= at[0] < nz and 0 <= at[1] < ny and 0 <= at[2] < nx:
                        id_ = others[at]
                        if id_ == 0 or (same and id_ == labels[z, y, x]):
                            continue
                        if found == ranks.size or id_ < facing[z, y, x]:
                            facing[z, y, x] = id_
                            found = n


def _coded(ours: tuple[Ids, Ids], theirs: tuple[Ids, Ids]) -> tuple[tuple[Codes, Codes], Ids]:
    """Return for both sides which pair each voxel has, and the pairs ``(n, 2)``; the first is none.

    Of each side the objects of ``one`` and of ``other``, ``(z, y, x)``; a voxel that lacks one of
    them has no pair. Pairs are sorted.
    """
    places = [np.flatnonzero((a != 0) & (b != 0)) for a, b in (ours, theirs)]
    listed = [
        np.stack([a.ravel()[at], b.ravel()[at]], axis=1)
        for (a, b), at in zip((ours, theirs), places, strict=True)
    ]
    pairs, code = np.unique(np.concatenate(listed), axis=0, return_inverse=True)
    codes = []
    for at, part in zip(places, np.split(code.ravel(), [len(listed[0])]), strict=True):
        codes.append(np.zeros(ours[0].size, np.uint32))
        codes[-1][at] = part + 1
    none = np.zeros((1, 2), np.uint64)
    shaped = codes[0].reshape(ours[0].shape), codes[1].reshape(ours[0].shape)
    return shaped, np.concatenate([none, pairs.reshape(-1, 2)])


def _java_order(pairs: Ids) -> NDArray[np.int64]:
    """Return the place of each of sorted pairs among those that go before others with ``java``.

    By where ``Arrays.asList(a, b)`` of two Long lies in a hash table, the last slot first.
    """
    first, second = ((id_ ^ id_ >> np.uint64(32)) & _LOW for id_ in pairs.T)
    code = (np.uint64(31) * (np.uint64(31) + first) + second) & _LOW
    slot = (code ^ code >> np.uint64(16)) % np.uint64(SLOTS)
    order = np.empty(len(pairs), np.int64)
    order[np.lexsort((-np.arange(len(pairs)), -slot.astype(np.int64)))] = np.arange(len(pairs))
    return order


def _rows(near: Footprint, shape: tuple[int, ...]) -> _Rows:
    """Return the steps to what is near, row by row, for arrays of a shape."""
    steps = near.steps[np.lexsort(near.steps.T[::-1])]
    line, count = between(steps)
    starts = np.flatnonzero((np.diff(steps[:, :2], axis=0, prepend=-(2**30)) != 0).any(axis=1))
    ends = np.append(starts[1:], len(steps))
    row = np.column_stack([steps[starts], starts, ends - starts]).astype(np.int64)
    return _Rows(row, line @ np.array([shape[1] * shape[2], shape[2], 1], np.int64), count)


@compiled
def _draw(
    here: Codes, there: Codes, occupied: NDArray[np.bool_], rows: _Rows, order: NDArray[np.int64],
    found: Codes,
) -> None:  # fmt: skip
    """Draw all free lines from voxels of the one side to those of the other; flat but ``here``."""
    nz, ny, nx = here.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                code = here[z, y, x]
                if code == 0:
                    continue
                start = (z * ny + y) * nx + x
                for r in range(len(rows.row)):
                    dz, dy, dx = rows.row[r, 0], rows.row[r, 1], rows.row[r, 2]
                    if not (0 <= z + dz < nz and 0 <= y + dy < ny):
                        continue
                    first, end = rows.row[r, 3], start + (dz * ny + dy) * nx + dx
                    for k in range(max(0, -x - dx), min(rows.row[r, 4], nx - x - dx)):
                        if there[end + k] == code and _is_free(occupied, start, rows, first + k):
                            _mark(code, start, order, found)
                            _mark(code, end + k, order, found)
                            for m in range(rows.between[first + k]):
                                _mark(code, start + rows.line[first + k, m], order, found)


@compiled
def _is_free(occupied: NDArray[np.bool_], start: int, rows: _Rows, step: int) -> bool:
    for m in range(rows.between[step]):  # noqa: SIM110 - compiled
        if occupied[start + rows.line[step, m]]:
            return False
    return True


@compiled
def _mark(code: np.uint32, at: int, order: NDArray[np.int64], found: Codes) -> None:
    """Give a voxel to a pair, unless a pair that goes before has it."""
    if found[at] == 0 or order[code] < order[found[at]]:
        found[at] = code

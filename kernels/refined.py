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

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled
from .near import Footprint, between
from .spread import spread
from .surface import Ids, surface_of

_ROW, _LOW, _SLOTS = np.uint64(31), np.uint64(0xFFFFFFFF), np.uint64(15)
_HALF, _WORD = np.uint64(16), np.uint64(32)


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
    lines, counts = between(near.steps)
    strides = np.array([one.shape[1] * one.shape[2], one.shape[2], 1], np.int64)
    first, second = np.zeros((2, *one.shape), np.uint64)
    _draw(
        (one, facing), (theirs, faced), occupied.ravel(), (near.steps, lines @ strides, counts),
        other is None, near.java, (first.ravel(), second.ravel()),
    )  # fmt: skip
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


@compiled
def _draw(
    ours: tuple[Ids, Ids], theirs: tuple[Ids, Ids], occupied: NDArray[np.bool_],
    ways: tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]],
    same: bool, java: bool, out: tuple[Ids, Ids],
) -> None:  # fmt: skip
    """Draw all free lines from voxels of the one side to those of the other."""
    one, facing = ours
    other, faced = theirs
    steps, lines, counts = ways
    nz, ny, nx = one.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                own, wanted = one[z, y, x], facing[z, y, x]
                if wanted == 0 or (same and wanted < own):  # of one organelle from the smaller id
                    continue
                here = (z * ny + y) * nx + x
                for n in range(counts.size):
                    at = z + steps[n, 0], y + steps[n, 1], x + steps[n, 2]
                    if not (0 <= at[0] < nz and 0 <= at[1] < ny and 0 <= at[2] < nx):
                        continue
                    if faced[at] != own or other[at] != wanted:
                        continue
                    if _is_free(occupied, here, lines[n], counts[n]):
                        _mark(own, wanted, here, java, out)
                        _mark(own, wanted, (at[0] * ny + at[1]) * nx + at[2], java, out)
                        for k in range(counts[n]):
                            _mark(own, wanted, here + lines[n, k], java, out)


@compiled
def _is_free(occupied: NDArray[np.bool_], here: int, line: NDArray[np.int64], count: int) -> bool:
    for k in range(count):  # noqa: SIM110 - compiled
        if occupied[here + line[k]]:
            return False
    return True


@compiled
def _mark(own: np.uint64, wanted: np.uint64, at: int, java: bool, out: tuple[Ids, Ids]) -> None:
    """Give a voxel to a pair, unless a pair that goes before has it."""
    first, second = out
    a, b = first[at], second[at]
    if a == own and b == wanted:
        return
    smaller = own < a or (own == a and wanted < b)
    if a != 0 and java:
        slot, taken = _slot(own, wanted), _slot(a, b)
        smaller = slot > taken or (slot == taken and not smaller)
    if a == 0 or smaller:
        first[at], second[at] = own, wanted


@compiled
def _slot(a: np.uint64, b: np.uint64) -> np.uint64:
    """Return where ``Arrays.asList(a, b)`` of two Long lies in a hash table of 16 slots."""
    first, second = (a ^ (a >> _WORD)) & _LOW, (b ^ (b >> _WORD)) & _LOW
    code = (_ROW * (_ROW + first) + second) & _LOW
    return (code ^ (code >> _HALF)) & _SLOTS

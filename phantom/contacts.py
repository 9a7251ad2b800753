"""Contacts: where two organelles, or two instances of one, come within a distance of each other.

Every voxel is decided by itself, from formulas, so contacts of boxes add up to those of the whole:
:func:`merge_contacts` is that sum, whatever the boxes and their order.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box

from .fields import Field, membrane_field, nearest_two
from .scene import INFLUENCE

if TYPE_CHECKING:
    from .phantom import Phantom

Pair = tuple[str, str]
_IDS = np.dtype([("a", np.uint64), ("b", np.uint64)])


class Contact(NamedTuple):
    """A pair of instances near each other: ids, voxels of the contact, narrowest gap in nm."""

    a: int
    b: int
    voxels: int
    gap_nm: float


def contact_truth(
    phantom: "Phantom", a: str, b: str, distance_nm: float, box: Box
) -> tuple[NDArray[np.uint32], list[Contact]]:
    """Return where two organelles come within a distance of each other, from formulas.

    A voxel belongs to the contact of a pair if the shortest path from one surface to the other
    through its centre is at most ``distance_nm``; surfaces count to a depth of one voxel, and of
    the plasma membrane the inner one.  It is in the contact of one pair only: the nearest instance
    of each organelle, or, of an organelle with itself, its two nearest, the smaller id first.

    Parameters
    ----------
    phantom : Phantom
        The cell.
    a, b : str
        Organelles; the same one twice for contacts among its instances.
    distance_nm : float
        At most 64 nm, to which distances are known.
    box : Box
        Voxels of the phantom.

    Returns
    -------
    where : (z, y, x) uint32
        1 + the place in the list of a voxel's pair, 0 elsewhere.
    contacts : list of Contact
        Pairs by ascending ids.

    Raises
    ------
    WrongUse
        For a distance beyond 64 nm, an organelle to which there are no distances, or one that is a
        single instance with itself.
    """
    _check(distance_nm, a, b)
    gaps = _gaps(phantom, a, b, box, {})
    at, pair, found = _contacts_within(gaps, distance_nm)
    where = np.zeros(box.shape, np.uint32)
    where.ravel()[at] = pair + 1
    return where, found


def contacts_of_pairs(
    phantom: "Phantom", pairs: Sequence[Pair], distances_nm: Sequence[float], box: Box
) -> Iterator[tuple[Pair, float, list[Contact]]]:
    """Yield the contacts of each pair at each distance, as :func:`contact_truth` does.

    Distances that pairs share are computed once.
    """
    known: dict[str, _Surface] = {}
    for a, b in pairs:
        gaps = _gaps(phantom, a, b, box, known)
        for distance_nm in distances_nm:
            _check(distance_nm, a, b)
            yield (a, b), distance_nm, _contacts_within(gaps, distance_nm)[2]


class ContactFold:
    """The sum of contacts over parts of a volume; it does not depend on their order."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[int, float]] = {}

    def put(self, contacts: Iterable[Contact]) -> None:
        """Add the contacts of a part: voxels add up, the narrowest gap stays."""
        for a, b, voxels, gap in contacts:
            before, narrow = self._known.get((a, b), (0, gap))
            self._known[a, b] = before + voxels, min(narrow, gap)

    def total(self) -> list[Contact]:
        """Return one contact for each pair, by ascending ids."""
        return [Contact(*pair, *self._known[pair]) for pair in sorted(self._known)]


def merge_contacts(parts: Iterable[Iterable[Contact]]) -> list[Contact]:
    """Return the contacts of a whole from those of its parts; see :class:`ContactFold`."""
    fold = ContactFold()
    fold.put(chain.from_iterable(parts))
    return fold.total()


def _check(distance_nm: float, a: str, b: str) -> None:
    if not 0 < distance_nm <= INFLUENCE:
        raise WrongUse(
            f"contact of {a} and {b} at {distance_nm} nm: expected more than 0 and at most "
            f"{INFLUENCE:g} nm"
        )


class _Surface(NamedTuple):
    """The voxels at an organelle, their distance (nm) to it, and the instance it is to; flat."""

    near: NDArray[np.bool_]
    distance: NDArray[np.float32]
    thing: NDArray[np.uint64]


class _Gaps(NamedTuple):
    """Voxels (flat indices) at two organelles, the gap through each (nm), and the two instances."""

    at: NDArray[np.int64]
    width: NDArray[np.float32]
    a: NDArray[np.uint64]
    b: NDArray[np.uint64]


def _surface(phantom: "Phantom", field: Field) -> _Surface:
    distance, thing = field
    depth = max(phantom.spec.voxel_size_nm)
    return _Surface((distance > -depth) & (thing > 0), distance.ravel(), thing.ravel())


def _gaps(phantom: "Phantom", a: str, b: str, box: Box, known: dict[str, _Surface]) -> _Gaps:
    """Return the gaps of a box; ``known`` caches the surface of each organelle for other pairs."""
    if a == b:
        two = nearest_two(phantom.scene, a, phantom.checked(box))
        one, other = (_surface(phantom, field) for field in two)
    else:
        for name in (a, b):
            if name not in known:
                known[name] = _surface(phantom, _field(phantom, name, box))
        one, other = known[a], known[b]
    at = np.flatnonzero(one.near & other.near)
    width = one.distance[at].clip(0.0) + other.distance[at].clip(0.0)
    first, second = one.thing[at], other.thing[at]
    if a == b:
        first, second = np.minimum(first, second), np.maximum(first, second)
    return _Gaps(at, width, first, second)


def _field(phantom: "Phantom", name: str, box: Box) -> Field:
    if name == "plasma_membrane":
        return membrane_field(phantom.scene, phantom.checked(box))
    return phantom.distances(name, box)


def _contacts_within(
    gaps: _Gaps, distance_nm: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[Contact]]:
    """Return the voxels of contacts, the place in the list of each, and the list."""
    near = np.flatnonzero(gaps.width <= distance_nm)
    pairs = np.empty(len(near), _IDS)
    pairs["a"], pairs["b"] = gaps.a[near], gaps.b[near]
    unique, inverse, counts = np.unique(pairs, return_inverse=True, return_counts=True)
    place = inverse.reshape(-1)
    narrow = np.full(len(unique), np.inf)
    np.minimum.at(narrow, place, gaps.width[near])
    rows = zip(unique.tolist(), counts.tolist(), narrow.tolist(), strict=True)
    return gaps.at[near], place, [Contact(p[0], p[1], n, float(g)) for p, n, g in rows]

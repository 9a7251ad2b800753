"""Occupied and free space of the cytoplasm, used while a scene is placed.

Everything placed is covered by spheres.  A sphere is listed in every cell of a hashed grid that it
touches, so a query reads only the cells that its own spheres touch.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fibstream.kernels.compiled import compiled

from .shapes import Floats, ellipsoid_distance

Ints = NDArray[np.int64]
CELL = 250.0  # nm: about the size of the spheres
SLOTS = 1 << 20  # of the hash; collisions only cost time
FIRST_CAPACITY = 1 << 14
NO_OWNER = -1


@compiled
def _slot(z: int, y: int, x: int) -> int:
    return ((z * 73856093) ^ (y * 19349663) ^ (x * 83492791)) & (SLOTS - 1)


@compiled
def _enter(
    head: Ints, after: Ints, what: Ints, used: int, sphere: int, at: Floats, radius: float
) -> int:
    """Link ``sphere`` into its cells; return the number of links used, -1 if the lists are full."""
    lo = np.floor((at - radius) / CELL)
    hi = np.floor((at + radius) / CELL)
    for z in range(int(lo[0]), int(hi[0]) + 1):
        for y in range(int(lo[1]), int(hi[1]) + 1):
            for x in range(int(lo[2]), int(hi[2]) + 1):
                if used == len(after):
                    return -1
                slot = _slot(z, y, x)
                after[used], what[used] = head[slot], sphere
                head[slot] = used
                used += 1
    return used


@compiled
def _hit(
    link: int, after: Ints, what: Ints, spheres: Floats, owner: Ints,
    at: Floats, reach: float, mine: int, other: int,
) -> bool:  # fmt: skip
    """Whether a sphere of this cell's list comes nearer to a place than ``reach``."""
    while link >= 0:
        s = what[link]
        link = after[link]
        if owner[s] == mine or owner[s] == other:
            continue
        dz, dy, dx = spheres[s, 0] - at[0], spheres[s, 1] - at[1], spheres[s, 2] - at[2]
        far = reach + spheres[s, 3]
        if dz * dz + dy * dy + dx * dx < far * far:
            return True
    return False


@compiled
def _clash(
    head: Ints, after: Ints, what: Ints, spheres: Floats, owner: Ints,
    at: Floats, radius: Floats, gap: float, mine: int, other: int,
) -> int:  # fmt: skip
    """Return the first of the spheres that comes nearer than ``gap`` to another, or -1."""
    for i in range(len(at)):
        reach = radius[i] + gap
        lo, hi = np.floor((at[i] - reach) / CELL), np.floor((at[i] + reach) / CELL)
        for z in range(int(lo[0]), int(hi[0]) + 1):
            for y in range(int(lo[1]), int(hi[1]) + 1):
                for x in range(int(lo[2]), int(hi[2]) + 1):
                    link = head[_slot(z, y, x)]
                    if _hit(link, after, what, spheres, owner, at[i], reach, mine, other):
                        return i
    return -1


@compiled
def clearances(bodies: Floats, keys: NDArray[np.uint64], at: Floats) -> Floats:
    """Return for each place how far it is from nucleus and plasma membrane; negative outside."""
    out = np.empty(len(at))
    for i in range(len(at)):
        z, y, x = at[i]
        n = ellipsoid_distance(bodies[0], keys[0], z, y, x)
        p = ellipsoid_distance(bodies[1], keys[1], z, y, x)
        out[i] = min(n, -p)
    return out


class Space:
    """The cytoplasm between two bodies, and the spheres that occupy it."""

    def __init__(self, bodies: Floats, keys: NDArray[np.uint64]) -> None:
        self.bodies, self.keys = bodies, keys
        self._head = np.full(SLOTS, -1, np.int64)
        self._after = np.empty(FIRST_CAPACITY, np.int64)
        self._what = np.empty(FIRST_CAPACITY, np.int64)
        self._spheres = np.empty((FIRST_CAPACITY, 4))
        self._owner = np.empty(FIRST_CAPACITY, np.int64)
        self._links = self._count = 0

    def clearance(self, at: Floats) -> Floats:
        """Return the distance of each place to the nearer of nucleus and plasma membrane, nm."""
        return clearances(self.bodies, self.keys, np.atleast_2d(at))

    def free(
        self,
        at: Floats,
        radius: Floats | float,
        gap: float,
        *,
        mine: int = NO_OWNER,
        other: int = NO_OWNER,
        wall: float | None = None,
    ) -> bool:
        """Whether spheres, ``(n, 3)`` nm with radii, keep ``gap`` nm to all others.

        Spheres of the owners ``mine`` and ``other`` do not count.  ``wall`` is the gap to nucleus
        and plasma membrane, by default ``gap``; ``-inf`` means no limit.
        """
        at = np.atleast_2d(at)
        radii = np.broadcast_to(np.asarray(radius, float), len(at))
        wall = gap if wall is None else wall
        if wall > -math.inf and bool((self.clearance(at) < radii + wall).any()):
            return False
        return bool(
            _clash(
                self._head, self._after, self._what, self._spheres, self._owner,
                at, np.ascontiguousarray(radii), gap, mine, other,
            ) < 0
        )  # fmt: skip

    def occupy(self, at: Floats, radius: Floats | float, owner: int) -> None:
        """Occupy spheres, ``(n, 3)`` nm with radii; later queries can leave out an ``owner``."""
        at = np.atleast_2d(at)
        radii = np.broadcast_to(np.asarray(radius, float), len(at))
        for place, r in zip(at, radii, strict=True):
            if self._count == len(self._spheres):
                self._spheres = np.concatenate([self._spheres, np.empty_like(self._spheres)])
                self._owner = np.concatenate([self._owner, np.empty_like(self._owner)])
            self._spheres[self._count] = *place, r
            self._owner[self._count] = owner
            self._reserve(float(r))
            self._links = _enter(
                self._head, self._after, self._what, self._links, self._count, place, float(r)
            )
            self._count += 1

    def _reserve(self, radius: float) -> None:
        """Double the lists until one more sphere can be entered into every cell it touches."""
        cells = (math.ceil(2 * radius / CELL) + 1) ** 3
        while len(self._after) - self._links < cells:
            self._after = np.concatenate([self._after, np.empty_like(self._after)])
            self._what = np.concatenate([self._what, np.empty_like(self._what)])


@compiled
def along(points: Floats, step: float) -> Floats:
    """Return points at most ``step`` nm apart on a polyline ``(n, 3)``, its corners included."""
    counts = np.empty(len(points) - 1, np.int64)
    for i in range(len(counts)):
        apart = math.sqrt(((points[i + 1] - points[i]) ** 2).sum())
        counts[i] = max(1, math.ceil(apart / step))
    out = np.empty((counts.sum() + 1, 3))
    out[0] = points[0]
    n = 1
    for i in range(len(counts)):
        for k in range(1, counts[i] + 1):
            t = k / counts[i]
            for axis in range(3):
                a, b = points[i, axis], points[i + 1, axis]
                out[n, axis] = b if k == counts[i] else a + t * (b - a)
            n += 1
    return out

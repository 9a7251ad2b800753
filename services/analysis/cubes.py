"""What a cube of 2 x 2 x 2 voxels adds to its objects, for each way an object can lie in it.

Every voxel, pair, square and cube of voxels belongs to the cube of which it holds the lowest
corner, so each is counted once, by the chunk that owns that corner.  An object that lies in 8, or
in none, of the voxels of a cube inside the volume adds nothing: only cubes at surfaces count.

The sums are integers of which other measures follow:

- crossings: pairs of voxels, in each of 13 directions, of which one is in the object.  By the
  Cauchy-Crofton formula they give the area (Ohser and Muecklich 2000, Lehmann and Legland 2012);
  those along the three axes are the voxel faces.
- border faces: faces of voxels on the border of the volume, which belong to no pair.
- Euler numbers: alternating sums over voxels, pairs, squares and cubes that lie in the object
  whole (its voxels are connected by faces, 6) or at all (by corners, 26).
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Index

# One of each pair of opposite directions; the axes first, in the order z, y, x.
DIRECTIONS: tuple[Index, ...] = (
    (1, 0, 0), (0, 1, 0), (0, 0, 1),
    (0, 1, 1), (0, 1, -1), (1, 0, 1), (1, 0, -1), (1, 1, 0), (1, -1, 0),
    (1, 1, 1), (1, 1, -1), (1, -1, 1), (1, -1, -1),
)  # fmt: skip
CROSSINGS = slice(0, 13)
BORDER_FACES = slice(13, 16)  # across z, y, x
EULER = slice(16, 18)  # of connectivity 6, of 26
SUMS = 18

INSIDE, LOW, HIGH = 0, 1, 2  # along an axis: both layers of a cube in the volume, or one before
CORNERS: tuple[Index, ...] = tuple((z, y, x) for z, y, x in product((0, 1), repeat=3))
# Of the parts of a cube that its lowest corner owns: the corners of each, and the sign in the sum.
_PARTS = [
    ([c for c in CORNERS if all(a <= b for a, b in zip(c, part, strict=True))], (-1) ** sum(part))
    for part in CORNERS
]


def cube_sums() -> NDArray[np.int8]:
    """Return what an object adds to its sums in a cube.

    Returns
    -------
    NDArray[np.int8]
        ``(27, 256, SUMS)``: by the cube's place, ``9 z + 3 y + x`` of `INSIDE`, `LOW` (its lower
        layer lies before the volume) and `HIGH` (its upper one lies behind), and by the voxels of
        the object, of which bit ``4 z + 2 y + x`` is the voxel at ``(z, y, x)`` of the cube.
    """
    places = product((INSIDE, LOW, HIGH), repeat=3)
    return np.stack([_sums_at(np.array(place)) for place in places]).astype(np.int8)


def _sums_at(place: NDArray[np.int_]) -> NDArray[np.int64]:
    """Return the sums of all 256 cubes at one place."""
    within = {c: bool(np.all(np.where(c, place != HIGH, place != LOW))) for c in CORNERS}
    code = np.arange(256)
    voxel = {c: (code >> n & 1).astype(bool) & within[c] for n, c in enumerate(CORNERS)}
    sums = np.zeros((256, SUMS), np.int64)
    for n, direction in enumerate(DIRECTIONS):
        z, y, x = (int(d < 0) for d in direction)
        begin, end = (z, y, x), (z + direction[0], y + direction[1], x + direction[2])
        one, other = voxel[begin], voxel[end]
        differ = one ^ other
        if within[begin] and within[end]:
            sums[:, n] = differ
        elif n < 3:  # what lies outside is no voxel: only the one inside can be of the object
            sums[:, BORDER_FACES.start + n] = differ
    for corners, sign in _PARTS:
        members = np.stack([voxel[c] for c in corners])
        sums[:, EULER.start] += sign * members.all(axis=0)
        sums[:, EULER.start + 1] -= sign * members.any(axis=0)
    return sums

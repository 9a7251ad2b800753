"""Which component a picture shows, and in which window of which plane."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box

from ..drawing import edges, nearest
from ..planes import index_of
from .divided import COMPONENT, Divided

PLANES = 16  # across each axis, of which that is shown in which objects touch most
WINDOW = 768  # voxels: the edge of what is shown, at most; its plane is read at full resolution
LEAST = 64  # voxels, at least
MARGIN = 0.08  # of the edge, around the objects


class Plane(NamedTuple):
    """A window of one plane: the axis (z, y, x) that it is across, and its box of one voxel."""

    axis: int
    box: Box


def chosen_component(divided: Divided) -> int | None:
    """Return the component with most objects, of equal ones the largest; None where none has any.

    Of components as large as each other it is that with the least id.
    """
    sizes = divided.voxels[COMPONENT]
    ranked = [(-len(s.objects), -sizes[c], c) for c, s in divided.shares.items() if s.objects]
    return min(ranked)[2] if ranked else None


def candidates(
    low: NDArray[np.int64], high: NDArray[np.int64], shape: Sequence[int], most: int = PLANES
) -> list[Plane]:
    """Return the planes that cut the boxes of most objects, each with the window around these.

    Parameters
    ----------
    low, high : (n, 3) ndarray of int
        First and last voxel of each object along (z, y, x); at least one.
    shape
        Of the volume, ``(z, y, x)``.
    most
        Planes across one axis, evenly spaced among all; the middle one comes first.
    """
    cuts = []
    for axis in range(3):
        ends = np.zeros(shape[axis] + 1, np.int64)
        np.add.at(ends, low[:, axis], 1)
        np.add.at(ends, high[:, axis] + 1, -1)
        cuts.append(np.cumsum(ends))
    largest = max(each.max() for each in cuts)
    found = []
    for axis, counts in enumerate(cuts):
        best = np.flatnonzero(counts == largest)
        spaced = best[nearest(min(most, len(best)), len(best))].tolist()
        middle = spaced.pop(len(spaced) // 2) if spaced else None
        planes = [middle, *spaced] if middle is not None else []
        found += [_plane(low, high, shape, axis, at) for at in planes]
    return found


def touching_most(planes: Sequence[Plane], read: Callable[[Box], NDArray[Any]]) -> Plane:
    """Return the plane in which objects touch at most voxels; of equal ones the first.

    ``read`` returns the objects in a box, 0 elsewhere.
    """
    return max(planes, key=lambda plane: _touching(read(plane.box).squeeze(plane.axis)))


def _touching(labels: NDArray[Any]) -> int:
    return int(np.count_nonzero(edges(labels, touching=True)))


def _plane(
    low: NDArray[np.int64], high: NDArray[np.int64], shape: Sequence[int], axis: int, at: int
) -> Plane:
    """Return a plane with the window around the objects that it cuts."""
    cut = (low[:, axis] <= at) & (high[:, axis] >= at)
    start, stop = [0, 0, 0], [0, 0, 0]
    for n in range(3):
        span = int(low[cut, n].min()), int(high[cut, n].max()) + 1
        start[n], stop[n] = (at, at + 1) if n == axis else _window(*span, shape[n])
    return Plane(axis, Box(index_of(start), index_of(stop)))


def _window(start: int, stop: int, edge: int) -> tuple[int, int]:
    """Return a span around another one, `LEAST` to `WINDOW` voxels where the volume has them."""
    margin = max(round((stop - start) * MARGIN), 4)
    length = min(max(stop - start + 2 * margin, LEAST), WINDOW, edge)
    first = min(max((start + stop - length) // 2, 0), edge - length)
    return first, first + length

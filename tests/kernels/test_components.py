"""Components of a block against scipy, adjacency against every pair of neighbouring voxels."""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from fibstream.core.grid import Box
from fibstream.kernels.components import find_components, find_neighbours, mark_within, paint
from fibstream.kernels.conventions import Connectivity

RANK: dict[Connectivity, int] = {6: 1, 18: 2, 26: 3}
Bits = NDArray[np.bool_]


def labelled(mask: Bits, connectivity: Connectivity) -> NDArray[np.int64]:
    """Return the components of foreground and background, from 1 in order of their first voxels."""
    fore, count = ndimage.label(mask, ndimage.generate_binary_structure(3, RANK[connectivity]))
    back = ndimage.label(~mask)[0]
    both = np.where(mask, fore, back + count)
    _, first, inverse = np.unique(both, return_index=True, return_inverse=True)
    rank = np.empty(first.size, np.int64)
    rank[np.argsort(first)] = np.arange(1, first.size + 1)
    return rank[inverse].reshape(mask.shape)


def adjacent(
    labels: NDArray[np.int64], mask: Bits, connectivity: Connectivity
) -> set[tuple[int, int]]:
    """Return the pairs (background, foreground) of components with neighbouring voxels."""
    found = set()
    steps = [s for s in product((-1, 0, 1), repeat=3) if 0 < sum(map(abs, s)) <= RANK[connectivity]]
    for here in np.argwhere(~mask):
        for there in here + steps:
            inside = (there >= 0).all() and (there < mask.shape).all()
            if inside and mask[tuple(there)]:
                found.add((int(labels[tuple(here)]), int(labels[tuple(there)])))
    return found


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("seed", range(12))
def test_components_and_their_neighbours(seed: int, connectivity: Connectivity) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 9, 3)) < rng.uniform(0.05, 0.95)
    z, y, x = (int(rng.integers(1, n + 1)) for n in mask.shape)
    found = find_components(mask, connectivity, background=True, core=(z, y, x))
    labels = labelled(mask, connectivity)
    count = labels.max()
    numbers = np.arange(1, count + 1, dtype=np.uint64)
    assert np.array_equal(paint(found, numbers, mask.shape), labels)
    assert found.voxels.tolist() == [int((labels[:z, :y, :x] == n).sum()) for n in numbers]
    assert np.array_equal(found.solid, [mask[labels == n][0] for n in numbers])
    faces = [np.moveaxis(labels, axis, 0)[end] for axis in range(3) for end in (0, -1)]
    assert found.touch.tolist() == [
        sum(int(n in plane) << bit for bit, plane in enumerate(faces)) for n in numbers
    ]
    box = Box((0, 0, 0), (z, y, x))
    assert mark_within(found, box).tolist() == [n in labels[:z, :y, :x] for n in numbers]
    ignored = rng.random(count) < 0.2
    pairs = [(a + 1, b + 1) for a, b in find_neighbours(found, ignored).T.tolist()]
    for across in (6, connectivity):  # edges and corners add no pair of components
        expected = adjacent(labels, mask, across)
        assert pairs == sorted(p for p in expected if not ignored[p[0] - 1])


def test_background_that_is_not_labelled_is_in_no_component() -> None:
    mask = np.random.default_rng(1).random((5, 6, 7)) < 0.5
    found = find_components(mask, 6, background=False, core=mask.shape)
    assert np.array_equal(found.of_run >= 0, found.solid[found.of_run] & (found.of_run >= 0))
    assert found.solid.all() and int(found.voxels.sum()) == int(mask.sum())
    ones = np.ones(found.first.size, np.uint64)
    assert np.array_equal(paint(found, ones, mask.shape), mask)

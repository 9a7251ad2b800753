"""The nearest objects of every voxel, against all pairs of voxels."""

import numpy as np
import pytest
from numpy.typing import NDArray

from fibstream.kernels.spread import spread


def brute_force(
    labels: NDArray[np.uint64], seeds: NDArray[np.bool_], ball: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    found = np.zeros((2, *labels.shape), np.uint64)
    places = np.argwhere(seeds & (labels != 0))
    for at in np.ndindex(labels.shape):
        least: dict[int, int] = {}
        for place, square in zip(places, ((places - at) ** 2).sum(1).tolist(), strict=True):
            id_ = int(labels[tuple(place)])
            if square <= ball:
                least[id_] = min(square, least.get(id_, square))
        nearest = sorted(least, key=lambda i, least=least: (least[i], i))[:2]  # type: ignore[misc]
        for n, id_ in enumerate(nearest):
            found[(n, *at)] = id_
    return found[0], found[1]


@pytest.mark.parametrize("seed", range(24))
def test_the_two_nearest_are_those_of_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 10, 3)
    ids = np.array([3, 4, 2**63 + 9, 2**64 - 2], np.uint64)
    full = rng.random(shape) < rng.choice([0, 0.04, 0.3])
    labels = np.where(full, rng.choice(ids, shape), np.uint64(0))
    seeds = rng.random(shape) < 0.8
    ball = int(rng.choice([1, 2, 5, 9, 26, 200]))
    first, second = brute_force(labels, seeds, ball)
    found = spread(labels, seeds, ball, two=True)
    assert np.array_equal(found[0], first) and np.array_equal(found[1], second)
    alone = spread(labels, seeds, ball, two=False)
    assert np.array_equal(alone[0], first) and not alone[1].any()

"""Pieces of a mask read block by block are those of the whole, by scipy."""

import numpy as np
import pytest
from scipy import ndimage

from fibstream.core.grid import Grid
from fibstream.kernels.pieces import Pieces


@pytest.mark.parametrize("seed", range(20))
def test_blocks_give_the_pieces_of_the_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 14, 3))
    chunk = tuple(int(n) for n in rng.integers(1, 6, 3))
    mask = rng.random(shape) < rng.uniform(0.2, 0.8)
    grid, pieces, ids = Grid(shape, chunk), Pieces(), np.zeros(shape, np.uint64)  # type: ignore[arg-type]
    for index in grid.indices():
        inside = grid.box(index).slices()
        ids[inside] = pieces.add(index, mask[inside])
    names = pieces.names()
    named = np.vectorize(names.__getitem__, otypes=[int])(ids)
    assert all(names[name] == name <= number for number, name in names.items())
    expected, count = ndimage.label(mask)
    assert np.array_equal(named != 0, mask)
    both = {(int(a), int(b)) for a, b in zip(named[mask], expected[mask], strict=True)}
    assert len(both) == count == len({a for a, _ in both})

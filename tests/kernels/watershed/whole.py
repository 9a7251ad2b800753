"""Steepest descent, saddles and agglomeration of a whole volume, voxel by voxel in plain Python."""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box, Halo, Index
from fibstream.core.ids import gid
from fibstream.kernels.conventions import Connectivity
from fibstream.kernels.watershed.basins import OUTSIDE, Basins, find_basins
from fibstream.kernels.watershed.saddles import SaddleGraph, find_saddles, join

from ...support.geometry import triple

RANK: dict[Connectivity, int] = {6: 1, 18: 2, 26: 3}
Relief = NDArray[np.uint16]


def neighbours(relief: Relief, here: Index, connectivity: Connectivity) -> Iterator[Index]:
    """Yield the foreground voxels around one, itself included."""
    for step in product((-1, 0, 1), repeat=3):
        z, y, x = (h + s for h, s in zip(here, step, strict=True))
        inside = all(0 <= n < size for n, size in zip((z, y, x), relief.shape, strict=True))
        if sum(map(abs, step)) <= RANK[connectivity] and inside and relief[z, y, x] != OUTSIDE:
            yield z, y, x


def foreground(relief: Relief) -> list[Index]:
    """The voxels that are not outside, in raster order."""
    return [(int(z), int(y), int(x)) for z, y, x in np.argwhere(relief != OUTSIDE)]


def descent(relief: Relief, connectivity: Connectivity) -> dict[Index, Index]:
    """The minimum under each voxel of the foreground."""
    voxels = sorted(foreground(relief), key=lambda v: (relief[v], gid(v)))
    end: dict[Index, Index] = {}
    for here in voxels:  # the least neighbour comes earlier, or is the voxel itself
        least = min(neighbours(relief, here, connectivity), key=lambda v: (relief[v], gid(v)))
        end[here] = end.get(least, here)
    return end


def random_relief(rng: np.random.Generator, most: int = 9) -> Relief:
    """A small volume; few levels, so that plateaus are common."""
    shape = rng.integers(1, most, 3)
    relief = rng.integers(0, rng.choice([2, 4, 40, 30000]), shape).astype(np.uint16)
    relief[rng.random(shape) < rng.choice([0.0, 0.2, 0.6])] = OUTSIDE
    return relief


def block_of(relief: Relief, core: Box, connectivity: Connectivity) -> Basins:
    """The basins of a block, which reads one more voxel where there is one."""
    box = core.grow(Halo.of(1)).meet(whole_box(relief))
    return find_basins(relief[box.slices()], box, core, connectivity)


def whole_box(relief: Relief) -> Box:
    """The box of a volume."""
    z, y, x = relief.shape
    return Box((0, 0, 0), (z, y, x))


class Between(NamedTuple):
    """The least saddle of two basins, and the reliefs of the later voxels between them."""

    saddle: tuple[int, int, int]
    levels: Counter[int]


def name(here: Index) -> int:
    """The name of a voxel."""
    return 1 + gid(here)


def saddles(relief: Relief, connectivity: Connectivity) -> dict[tuple[int, int], Between]:
    """What lies between each two basins."""
    end = descent(relief, connectivity)
    found: dict[tuple[int, int], Between] = {}
    for p in end:
        for q in neighbours(relief, p, connectivity):
            if gid(q) <= gid(p) or end[p] == end[q]:
                continue
            one, other = sorted((name(end[p]), name(end[q])))
            saddle = int(max(relief[p], relief[q])), name(p), name(q)
            old = found.get((one, other), Between(saddle, Counter()))
            levels = old.levels + Counter([int(relief[q])])
            found[one, other] = Between(min(saddle, old.saddle), levels)
    return found


def joined(
    relief: Relief,
    core: Box,
    connectivity: Connectivity,
    rng: np.random.Generator,
    part: Callable[[SaddleGraph], SaddleGraph] = lambda graph: graph,
) -> SaddleGraph:
    """The graph of a box cut at random again and again, put together; checked on the way."""
    whole = part(find_saddles(block_of(relief, core, connectivity), connectivity))
    axis = int(rng.integers(3))
    if core.shape[axis] < 2 or rng.random() < 0.15:
        return whole
    cut = int(rng.integers(core.start[axis] + 1, core.stop[axis]))
    low, high = list(core.stop), list(core.start)
    low[axis] = high[axis] = cut
    halves = [Box(core.start, triple(low)), Box(triple(high), core.stop)]
    rng.shuffle(halves)
    one, other = (joined(relief, half, connectivity, rng, part) for half in halves)
    both = part(join(one, other))
    assert_equal(both, whole)
    return both


def assert_equal(one: SaddleGraph, other: SaddleGraph) -> None:
    """Every array is the same, to the bit and the type."""
    assert one.core == other.core
    for field in SaddleGraph._fields[1:]:
        a, b = getattr(one, field), getattr(other, field)
        assert a.dtype == b.dtype and np.array_equal(a, b), field

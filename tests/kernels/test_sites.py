"""Both sides of contact sites: by brute force, and the same for any cut into chunks."""

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fibstream.core.grid import Grid, Index
from fibstream.core.stage import Arrays, Patch
from fibstream.kernels.contacts import PAIRS, pairs
from fibstream.kernels.near import footprint, halo, lengths_nm
from fibstream.kernels.sites import measure_sites

from ..support.geometry import triple
from .test_contacts import Voxel, drawn

Ids = NDArray[np.uint64]
Rows = dict[tuple[int, int, int, float], list[int]]  # voxels and faces by site, side, object, gap


def brute(sites: Ids, one: Ids, other: Ids | None, distance: float, voxel: Voxel) -> Rows:
    """Return boundary voxels and faces by (site, side, object, gap in nm)."""
    near = footprint(distance, voxel)
    steps = {tuple(s) for s in near.steps.tolist()}
    found: Rows = {}
    sides = [(one, one)] if other is None else [(one, other), (other, one)]
    for side, (ours, theirs) in enumerate(sides):
        for p in np.argwhere((sites > 0) & (ours > 0)).tolist():
            own, gaps = int(ours[tuple(p)]), []
            for q in np.argwhere(theirs > 0).tolist():
                step = tuple(m - n for m, n in zip(q, p, strict=True))
                if step in steps and not (other is None and theirs[tuple(q)] == own):
                    gaps.append(float(np.sqrt(np.sum((np.array(step) * voxel) ** 2))))
            row = found.setdefault(
                (int(sites[tuple(p)]), side, own, round(min(gaps), 6)), [0, 0, 0, 0]
            )
            row[0] += 1
            for axis, sign in product(range(3), (-1, 1)):
                q = [c + sign * (n == axis) for n, c in enumerate(p)]
                if 0 <= q[axis] < ours.shape[axis] and ours[tuple(q)] != own:
                    row[1 + axis] += 1
    return found


def rows_of(parts: list[Arrays], lengths: list[float]) -> Rows:
    found: Rows = {}
    for part in parts:
        names = ("id", "side", "object", "rank", "voxels", "faces")
        keys = set()
        for i, side, o, rank, n, faces in zip(*(part[m].tolist() for m in names), strict=True):
            key = i, side, o, round(lengths[rank], 6)
            assert key not in keys  # a chunk adds up its own
            keys.add(key)
            row = found.setdefault(key, [0, 0, 0, 0])
            row[:] = [a + b for a, b in zip(row, [n, *faces], strict=True)]
    return found


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.tuples(*[st.integers(2, 9)] * 3),
       st.sampled_from([(4, (4, 4, 4)), (6, (4, 4, 8))]), st.booleans(),
       st.sampled_from(["naive", "refined"]))  # fmt: skip
def test_both_sides_add_up_for_any_chunks(
    seed: int, chunk: Index, rule: tuple[float, Voxel], same: bool, kind: str
) -> None:
    one = drawn(seed, (6, 7, 9), 0.05, blobs=seed % 2 == 0)
    other = None if same else drawn(seed + 1, (6, 7, 9), 0.05, blobs=seed % 3 == 0)
    near = footprint(*rule)
    sites = pairs(*PAIRS[kind](one, other, near))[0].astype(np.uint64)
    grid, parts = Grid(triple(one.shape), chunk), []
    for index in grid.indices():
        box, core = grid.block(index, halo(*rule)), grid.box(index)
        patches = [Patch(v[box.slices()], box) for v in (one, other) if v is not None]
        two = None if same else patches[1]
        parts.append(measure_sites(sites[core.slices()], patches[0], two, core, near))
    assert rows_of(parts, lengths_nm(near, rule[1])) == brute(sites, one, other, *rule)

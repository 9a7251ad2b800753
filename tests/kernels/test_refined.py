"""Refined contacts: the published rule word by word, the same for any cut, and within naive."""

from functools import cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from fibstream.core.grid import Index
from fibstream.kernels.contacts import naive_pairs
from fibstream.kernels.near import between, footprint
from fibstream.kernels.refined import refined_pairs

from ..analysis.test_measure import published_shapes
from .test_contacts import contacts_of, drawn, pieces, pieces_of

Ids = NDArray[np.uint64]
Point = tuple[int, int, int]  # x, y, z, as the published text has it
Voxel = tuple[float, float, float]


def line(a: Point, b: Point) -> list[Point]:
    """Return the voxels of a line as the published text goes along it, ends included."""
    step = [1 if n >= m else -1 for m, n in zip(a, b, strict=True)]
    d = [abs(n - m) for m, n in zip(a, b, strict=True)]
    if d[0] >= d[1] and d[0] >= d[2]:
        drive = 0
    elif d[1] >= d[0] and d[1] >= d[2]:
        drive = 1
    else:
        drive = 2
    others = [axis for axis in range(3) if axis != drive]
    p = {axis: 2 * d[axis] - d[drive] for axis in others}
    here, found = list(a), [a]
    while here[drive] != b[drive]:
        here[drive] += step[drive]
        for axis in others:
            if p[axis] >= 0:
                here[axis] += step[axis]
                p[axis] -= 2 * d[drive]
            p[axis] += 2 * d[axis]
        found.append((here[0], here[1], here[2]))
    return found


@cache
def java_order(square: int) -> list[Point]:
    """Return all offsets of one squared length in the order of Java's HashSet of lists of them."""
    n = range(-4, 5)
    ordered = sorted(
        (o for o in product(n, n, n) if sum(c * c for c in o) == square),
        key=lambda o: (*(abs(c) for c in o), *(c < 0 for c in o)),
    )
    capacity = 16
    while len(ordered) > 0.75 * capacity:
        capacity *= 2
    buckets: list[list[Point]] = [[] for _ in range(capacity)]
    for dx, dy, dz in ordered:
        code = (((31 + dx) * 31 + dy) * 31 + dz) % 2**32
        buckets[(code ^ code >> 16) % capacity].append((dx, dy, dz))
    return [offset for bucket in buckets for offset in bucket]


class Whole:
    """One organelle of a volume of cubes [x, y, z], by the text of the paper's analysis."""

    def __init__(self, labels: Ids, q: float, *, java: bool, same: bool = False) -> None:
        self.at = {(x, y, z): int(labels[z, y, x]) for z, y, x in np.argwhere(labels > 0).tolist()}
        self._same, self._java, self._q = same, java, q

    def surface(self, p: Point) -> bool:
        own = self.at.get(p)
        around = product(*((c - 1, c, c + 1) for c in p))
        return own is not None and any(self.at.get((x, y, z)) != own for x, y, z in around)

    def nearest(self, p: Point, but: int = 0) -> int:
        """Return the id of the nearest object, other than one, of voxel p."""
        if p in self.at and self.at[p] != but:
            return self.at[p] if self.surface(p) else 0
        found: dict[int, list[Point]] = {}
        for o, i in self.at.items():
            offset = (o[0] - p[0], o[1] - p[1], o[2] - p[2])
            if i != but and sum(c * c for c in offset) <= self._q:
                found.setdefault(sum(c * c for c in offset), []).append(offset)
        if not found:
            return 0
        least = found[min(found)]
        where = {o: self.at[p[0] + o[0], p[1] + o[1], p[2] + o[2]] for o in least}
        if not self._java:
            return min(where.values())
        return next(where[o] for o in java_order(min(found)) if o in where)


def later(pair: tuple[int, int]) -> tuple[int, int, int]:
    code = (31 * (31 + pair[0]) + pair[1]) % 2**32
    return ((code ^ code >> 16) % 16, *pair)


def brute(
    one: Ids, other: Ids | None, distance: float, voxel: float, *, java: bool = False
) -> dict[Point, tuple[int, int]]:
    """Return the pair of each voxel that is in a contact site, word by word."""
    q = (distance / voxel + 1) ** 2
    a_side = Whole(one, q, java=java)
    b_side = a_side if other is None else Whole(other, q, java=java)
    facing: dict[tuple[int, int], tuple[list[Point], list[Point]]] = {}
    for p, i in a_side.at.items():
        j = b_side.nearest(p, i if other is None else 0) if a_side.surface(p) else 0
        if j and other is None:
            facing.setdefault((min(i, j), max(i, j)), ([], []))[i > j].append(p)
        elif j:
            facing.setdefault((i, j), ([], []))[0].append(p)
    for p, j in b_side.at.items() if other is not None else ():
        i = a_side.nearest(p) if b_side.surface(p) else 0
        if i:
            facing.setdefault((i, j), ([], []))[1].append(p)
    sites: dict[Point, tuple[int, int]] = {}
    for pair, (ours, theirs) in facing.items():
        for a, b in product(ours, theirs):
            if sum((m - n) ** 2 for m, n in zip(a, b, strict=True)) > q:
                continue
            drawn_line = line(a, b)
            if any(p in a_side.at or p in b_side.at for p in drawn_line[1:-1]):
                continue
            for p in drawn_line:
                known = sites.get(p, pair)
                sites[p] = max(pair, known, key=later) if java else min(pair, known)
    return sites


def found(pairs: tuple[Ids, Ids]) -> dict[Point, tuple[int, int]]:
    first, second = pairs
    return {
        (x, y, z): (int(first[z, y, x]), int(second[z, y, x]))
        for z, y, x in np.argwhere(first > 0).tolist()
    }


def test_lines_between_are_those_of_the_text() -> None:
    steps = np.array(list(product(range(-4, 5), repeat=3)), np.int32)
    voxels, counts = between(steps)
    for (dz, dy, dx), voxel, count in zip(steps.tolist(), voxels, counts, strict=True):
        inside = line((0, 0, 0), (dx, dy, dz))[1:-1]
        assert [(x, y, z) for z, y, x in voxel[:count].tolist()] == inside


@settings(max_examples=16, deadline=None, derandomize=True)
@given(
    st.integers(0, 10**6), st.sampled_from([(4, 4), (10, 4), (0, 8)]), st.booleans(),
    st.booleans(), st.sampled_from([0.02, 0.06, 0.12]),
)  # fmt: skip
def test_pairs_are_those_of_the_text(
    seed: int, rule: tuple[float, float], same: bool, java: bool, share: float
) -> None:
    one = drawn(seed, (6, 6, 8), share, blobs=seed % 2 == 0)
    other = None if same else drawn(seed + 1, (6, 6, 8), share, blobs=seed % 3 == 0)
    near = footprint(rule[0], (rule[1],) * 3, "java" if java else "smallest")
    pairs = refined_pairs(one, other, near)
    assert found(pairs) == brute(one, other, *rule, java=java)
    assert not ((pairs[0] > 0) & (naive_pairs(one, other, near)[0] == 0)).any()  # within naive


@pytest.mark.parametrize("java", [False, True])
@pytest.mark.parametrize(
    ("seed", "same"), [(10, True), (36, True), (14, False), (29, False), (37, False), (52, False)]
)
def test_where_lines_of_pairs_cross_the_first_pair_has_the_voxel(
    seed: int, same: bool, java: bool
) -> None:
    """In these volumes another order of pairs gives other sites."""
    one = drawn(seed, (6, 6, 8), 0.12, blobs=seed % 2 == 0)
    other = None if same else drawn(seed + 1, (6, 6, 8), 0.12, blobs=seed % 3 == 0)
    near = footprint(10, (4, 4, 4), "java" if java else "smallest")
    assert found(refined_pairs(one, other, near)) == brute(one, other, 10, 4, java=java)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from([(9, 8, 10), (4, 5, 11), (12, 3, 3)]),
       st.tuples(*[st.integers(2, 6)] * 3), st.sampled_from([(4, (4, 4, 4)), (6, (4, 4, 8))]),
       st.booleans())  # fmt: skip
def test_contacts_are_those_of_the_whole_for_any_chunks(
    seed: int, shape: Index, chunk: Index, rule: tuple[float, Voxel], same: bool
) -> None:
    one = drawn(seed, shape, 0.05, blobs=seed % 2 == 0)
    other = None if same else drawn(seed + 1, shape, 0.05)
    labels, parents = contacts_of(one, other, chunk, *rule, seed, kind="refined")
    wanted = pieces(*refined_pairs(one, other, footprint(*rule)))
    assert pieces_of(labels, parents) == wanted


def test_what_a_voxel_faces_is_seen_from_twice_as_far() -> None:
    """A chunk with the end of a line alone depends on what is beyond the other end of it."""
    one, other = np.zeros((2, 3, 3, 12), np.uint64)
    one[1, 1, 5], other[1, 1, 8], other[1, 1, 3] = 1, 2, 3
    rule = 8, (4.0, 4.0, 4.0)
    assert found(refined_pairs(one, other, footprint(*rule))).get((8, 1, 1)) is None
    alone = other.copy()
    alone[1, 1, 3] = 0
    assert found(refined_pairs(one, alone, footprint(*rule)))[8, 1, 1] == (1, 2)
    labels, _ = contacts_of(one, other, (3, 3, 8), *rule, kind="refined")
    assert labels[1, 1, 3] and not labels[1, 1, 8]


def test_a_line_does_not_pass_an_object_of_either_side() -> None:
    one, other = np.zeros((2, 1, 1, 7), np.uint64)
    one[0, 0, 1], one[0, 0, 2], other[0, 0, 5] = 1, 4, 2
    near = footprint(16, (4, 4, 4))
    assert found(refined_pairs(one, other, near)) == {(x, 0, 0): (4, 2) for x in range(2, 6)}


@pytest.mark.parametrize("ties", ["smallest", "java"])
def test_the_published_volumes_have_ten_contact_sites(ties: str) -> None:
    """At 10 nm, of more than one voxel; the figures of each are kept for acceptance."""
    labels, _ = ndimage.label(published_shapes())
    n = np.arange(150)
    ends = [(n == 0) | (n == 149)] * 3
    planes = ends[0][:, None, None] ^ ends[1][:, None] ^ ends[2]
    other, _ = ndimage.label(planes)
    first, second = refined_pairs(
        labels.astype(np.uint64), other.astype(np.uint64), footprint(10, (4, 4, 4), ties)
    )
    sizes = map(len, pieces(first, second))
    assert sum(size > 1 for size in sizes) == 10

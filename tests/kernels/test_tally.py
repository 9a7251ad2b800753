"""Contacts counted around objects: those of the whole volume; and p values of chance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage, stats

from fibstream.core.grid import Box, Index
from fibstream.core.stage import Patch
from fibstream.kernels.contacts import PAIRS
from fibstream.kernels.near import footprint, halo
from fibstream.kernels.placing import Shape, paint, place, shapes_of
from fibstream.kernels.sites import measure_sites
from fibstream.kernels.tally import Rule, Tally, tally
from fibstream.services.analysis.null import Measures, null_table, placement_table

from ..support.geometry import triple
from .test_contacts import Voxel, drawn

Ids = NDArray[np.uint64]
CUBES = (4.0, 4.0, 4.0)


def rule_of(distance: float, voxel: Voxel, kind: str, least: int = 1) -> Rule:
    return Rule(footprint(distance, voxel), halo(distance, voxel, kind), kind, least)


def whole(one: Ids, other: Ids | None, rule: Rule) -> Tally:
    """Count contacts of a whole volume pair by pair, by scipy."""
    box = Box((0, 0, 0), triple(one.shape))
    first, second = PAIRS[rule.kind](one, other, rule.near)
    count, faces = 0, np.zeros((2, 3), np.int64)
    touching: tuple[set[int], set[int]] = (set(), set())
    for a, b in np.unique(np.stack([first[first > 0], second[first > 0]], 1), axis=0).tolist():
        parts, n = ndimage.label((first == a) & (second == b), np.ones((3, 3, 3)))
        kept = [i for i in range(1, n + 1) if (parts == i).sum() >= rule.least]
        parts[~np.isin(parts, kept)] = 0
        count += len(kept)
        patches = Patch(one, box), None if other is None else Patch(other, box)
        rows = measure_sites(parts.astype(np.uint64), *patches, box, rule.near)
        for side, object_, of in zip(rows["side"], rows["object"], rows["faces"], strict=True):
            faces[int(object_ == b) if other is None else side] += of
        if kept:
            touching[0].add(a)
            touching[other is not None].add(b)
    counts = [len(touching[0]), len(touching[other is not None])]
    return Tally(count, (triple(faces[0]), triple(faces[1])), (counts[0], counts[1]))


def dense(seed: int) -> Ids:
    """Draw objects in many pieces: the boxes around them have more voxels than the volume."""
    return drawn(seed, (9, 8, 10), 0.02, blobs=seed % 2 == 0)


def sparse(seed: int) -> Ids:
    """Draw a few small objects in a row, here and there as far apart as contacts reach."""
    chance, labels = np.random.default_rng(seed), np.zeros((9, 10, 90), np.uint64)
    for id_, x in enumerate(np.cumsum(chance.integers(4, 16, 8)).tolist(), 1):
        z, y = chance.integers(2, 5, 2)
        labels[z : z + 3, y : y + 2, x : x + 3] = id_
    return labels


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(0, 10**6), st.sampled_from(["naive", "refined"]), st.sampled_from([0, 1, None]),
    st.sampled_from([(4, CUBES), (6, (4.0, 4.0, 8.0)), (0, (8.0, 8.0, 8.0))]), st.integers(1, 5),
    st.booleans(),
)  # fmt: skip
def test_what_is_around_objects_is_what_the_whole_has(
    seed: int, kind: str, side: int | None, of: tuple[float, Voxel], least: int, apart: bool
) -> None:
    rule = rule_of(*of, kind, least)
    make = sparse if apart else dense
    one = make(seed)
    other = None if side is None else make(seed + 1)
    moved = other if side and other is not None else one
    around = [(shape.id, shape.box) for shape in shapes_of(moved)]
    assert tally(one, other, around, rule, side=side or 0) == whole(one, other, rule)


def forms(count: int, radii: Index) -> list[Shape]:
    z, y, x = (np.arange(-r, r + 1) / (r + 0.3) for r in radii)
    inside = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2 <= 1
    labels = inside.astype(np.uint64)
    (shape,) = shapes_of(labels)
    return [shape._replace(id=n) for n in range(1, count + 1)]


def scattered(shapes: list[Shape], free: NDArray[np.bool_], *seed: int) -> Ids:
    labels = np.zeros(free.shape, np.uint64)
    paint(labels, shapes, place(shapes, free, seed), erase=False)
    return labels


def p_of(rods: Ids, balls: Ids, mask: NDArray[np.bool_], seed: int, count: int) -> float:
    """Return p of the area of balls in contact with rods."""
    rule, shapes = rule_of(8, CUBES, "refined"), shapes_of(balls)
    measures = Measures((4, len(shapes)), CUBES)

    def tallied(labels: Ids, at: list[Index]) -> Tally:
        around = [(s.id, s.at(corner)) for s, corner in zip(shapes, at, strict=True)]
        return tally(rods, labels, around, rule, side=1)

    drawn_ = []
    for n in range(count):
        corners = place(shapes, mask & (rods == 0), (seed, n))
        labels = np.zeros_like(balls)
        paint(labels, shapes, corners, erase=False)
        drawn_.append(tallied(labels, corners))
    observed = tallied(balls, [shape.box.start for shape in shapes])
    table = null_table(observed, placement_table(drawn_, measures), measures).to_pylist()
    (row,) = [row for row in table if row["measure"] == "area_b_nm2"]
    return float(row["p_more"])


@pytest.fixture(scope="module")
def mask() -> NDArray[np.bool_]:
    z, y, x = (np.linspace(-1, 1, n) for n in (20, 28, 28))
    found: NDArray[np.bool_] = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2 < 1.5
    return found


def test_p_is_uniform_where_chance_places_objects(mask: NDArray[np.bool_]) -> None:
    """Kolmogorov and Smirnov, 40 phantoms; each p is one of twenty: half a step of it apart."""
    found = []
    for n in range(40):
        rods = scattered(forms(4, (2, 2, 8)), mask, 100, n)
        balls = scattered(forms(6, (2, 2, 2)), mask & (rods == 0), 200, n)
        found.append(p_of(rods, balls, mask, 300 + n, 19) - 0.025)
    assert stats.kstest(found, "uniform").pvalue > 0.05
    assert min(found) < 0.2 and max(found) > 0.8


def test_a_planted_attraction_is_found(mask: NDArray[np.bool_]) -> None:
    rods = scattered(forms(4, (2, 2, 8)), mask, 1)
    far = ndimage.distance_transform_edt(rods == 0)
    drawn_to = scattered(forms(6, (2, 2, 2)), mask & (far > 0) & (far < 6), 2)
    assert p_of(rods, drawn_to, mask, 3, 99) <= 0.02
    kept_off = scattered(forms(6, (2, 2, 2)), mask & (far > 4), 2)
    assert p_of(rods, kept_off, mask, 3, 39) == 1

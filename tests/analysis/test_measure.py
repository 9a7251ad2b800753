"""Partial rows and their fold: blocks in any order equal the whole volume, and both brute force."""

import math
from fractions import Fraction
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import euler_number

from fibstream.core.errors import WrongUse
from fibstream.core.grid import MAX_AXIS, Box, Grid, Index
from fibstream.core.ids import gid, voxel
from fibstream.core.stage import Arrays, Patch
from fibstream.kernels.runs import rank
from fibstream.services.analysis.conventions import HALO
from fibstream.services.analysis.cubes import DIRECTIONS
from fibstream.services.analysis.limbs import MASK, integers
from fibstream.services.analysis.measure import measure
from fibstream.services.analysis.table import finish
from fibstream.services.analysis.totals import RowTotals, merge

from ..support.geometry import triple


def random_volume(rng: np.random.Generator) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
    """Labels with long and short runs, ids up to 2**63, any share of background; a raw volume."""
    shape = tuple(int(n) for n in rng.integers(1, 23, 3))
    ids = np.append(rng.integers(1, 2**63, rng.integers(1, 9), np.uint64), np.uint64(0))
    coarse = rng.choice(ids, [n // 3 + 1 for n in shape])
    labels = coarse.repeat(3, 0).repeat(3, 1).repeat(3, 2)[: shape[0], : shape[1], : shape[2]]
    noisy = rng.random(shape) < rng.choice([0, 0.1, 0.5])
    labels = np.where(noisy, rng.choice(ids, shape), labels)
    return labels, rng.integers(0, 2**16, shape, np.uint16)


def random_grid(rng: np.random.Generator, shape: Index) -> Grid:
    return Grid(shape, triple(rng.integers(1, n + 2) for n in shape))


def rows_of(grid: Grid, labels: NDArray[Any], raw: NDArray[Any], index: Index) -> Arrays:
    core, box = grid.box(index), grid.block(index, HALO)
    return measure(Patch(labels[box.slices()], box), core, raw[core.slices()])


def whole(labels: NDArray[Any], raw: NDArray[Any] | None = None) -> Arrays:
    box = Box((0, 0, 0), labels.shape)
    return measure(Patch(labels, box), box, raw)


def brute(labels: NDArray[Any], raw: NDArray[Any]) -> dict[int, dict[str, Any]]:
    """Return the definition of each column, object by object."""
    objects = {}
    for name in np.unique(labels[labels > 0]).tolist():
        mask = labels == np.uint64(name)
        where = np.argwhere(mask)
        z, y, x = where.T
        levels, voxels = np.unique(raw[mask], return_counts=True)
        ends = [np.moveaxis(mask, axis, 0)[[0, -1]] for axis in range(3)]
        objects[name] = {
            "voxels": len(where),
            "wide": [int(s.sum()) for s in (z, y, x, z * z, y * y, x * x, z * y, z * x, y * x)],
            "low": where.min(0).tolist(),
            "high": where.max(0).tolist(),
            "crossings": [crossings(mask, direction) for direction in DIRECTIONS],
            "border_faces": [int(end.sum()) for end in ends],
            "euler": [euler_number(mask, 1), euler_number(mask, 3)],
            "grey": dict(zip(levels.tolist(), voxels.tolist(), strict=True)),
        }
    return objects


def crossings(mask: NDArray[np.bool_], direction: Index) -> int:
    """Count pairs of voxels of the array, one in the mask: at ``p`` and at ``p + direction``."""
    ahead = tuple(slice(d, None) if d > 0 else slice(None, d or None) for d in direction)
    behind = tuple(slice(-d, None) if d < 0 else slice(None, -d or None) for d in direction)
    return int((mask[ahead] != mask[behind]).sum())


def as_objects(total: Arrays) -> dict[int, dict[str, Any]]:
    plain = ("voxels", "low", "high", "crossings", "border_faces", "euler")
    columns = {name: total[name].tolist() for name in plain}
    columns["wide"] = integers(total["wide"])
    ends = np.cumsum(total["levels"]).tolist()
    pairs = list(zip(total["level"].tolist(), total["level_voxels"].tolist(), strict=True))
    columns["grey"] = [
        dict(pairs[end - n : end]) for end, n in zip(ends, total["levels"].tolist(), strict=True)
    ]
    return {
        number: {name: values[n] for name, values in columns.items()}
        for n, number in enumerate(total["id"].tolist())
    }


def same(a: Arrays, b: Arrays) -> bool:
    return a.keys() == b.keys() and all(
        np.array_equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a
    )


@pytest.mark.parametrize("seed", range(60))
def test_chunks_in_any_order_equal_the_whole_and_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, raw = random_volume(rng)
    grid = random_grid(rng, labels.shape)
    fold = RowTotals()
    chunks = list(grid.indices()) * 2  # every chunk is delivered twice
    for chunk in rng.permutation(chunks).tolist():
        fold.put(tuple(chunk), rows_of(grid, labels, raw, chunk))
        if rng.random() < 0.1:
            fold.total()
    assert as_objects(fold.total()) == brute(labels, raw)
    assert same(fold.total(), merge([whole(labels, raw)]))


@pytest.mark.parametrize("seed", range(20))
def test_replaced_and_removed_chunks_leave_no_trace(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, raw = random_volume(rng)
    old = np.roll(labels, 1, axis=2)
    grid = random_grid(rng, labels.shape)
    fold = RowTotals()
    content: dict[Index, Arrays] = {}
    for _ in range(60):
        chunk = triple(rng.integers(0, n) for n in grid.count)
        if chunk in content and rng.random() < 0.3:
            del content[chunk]
            fold.remove(chunk)
        else:
            content[chunk] = rows_of(grid, rng.choice([labels, old]), raw, chunk)
            fold.put(chunk, content[chunk])
        if rng.random() < 0.3:
            fold.total()
    assert same(fold.total(), merge(list(content.values())))


def test_merge_is_a_commutative_monoid() -> None:
    rng = np.random.default_rng(7)
    labels, raw = random_volume(rng)
    grid = Grid(labels.shape, tuple(-(-n // 2) for n in labels.shape))
    parts = [rows_of(grid, labels, raw, index) for index in grid.indices()]
    a, b, c = parts[0], merge(parts[1:3]), merge(parts[3:])
    expected = merge([a, b, c])
    assert expected["id"].size
    for order in permutations([a, b, c]):
        assert same(merge(order), expected)
    assert same(merge([merge([a, b]), c]), merge([a, merge([b, c])]))
    assert same(merge([expected, merge([])]), expected)


def test_sums_beyond_64_bits_stay_exact() -> None:
    """A thousand voxels at one far place: in float64 their covariance would be noise."""
    rows = whole(np.array([[[5]]], np.uint64))
    at = 2**42 + 3
    far = [[at >> 32, at & MASK]] * 3 + [[at * at >> 32, at * at & MASK]] * 6
    fold = RowTotals()
    for z in range(1000):
        fold.put((z, 0, 0), rows | {"wide": np.array([far])})
    assert integers(fold.total()["wide"]) == [[1000 * at] * 3 + [1000 * at * at] * 6]
    (row,) = finish(fold.total(), (1, 1, 1)).to_pylist()
    assert row["centroid_x_nm"] == float(at)
    assert row["radius_of_gyration_nm"] == 0


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32])
def test_sums_of_the_widest_grey_values_are_exact(dtype: type[np.signedinteger[Any]]) -> None:
    limits = np.iinfo(dtype)
    grey = np.array([[[limits.min, limits.max, limits.max, 1]]], dtype)
    total = merge([whole(np.ones(grey.shape, np.uint8), grey)])
    total["level_voxels"] = total["level_voxels"] * 2**44
    total["voxels"] = total["voxels"] * 2**44
    exact = [int(v) for v in grey.ravel()]
    (row,) = finish(total, (1, 1, 1), raw=True).to_pylist()
    mean = Fraction(sum(exact), 4)
    assert row["raw_mean"] == float(mean)
    assert row["raw_std"] == math.sqrt(float(sum((v - mean) ** 2 for v in exact) / 4))
    assert (row["raw_min"], row["raw_p75"], row["raw_max"]) == (
        min(exact), int(limits.max), int(limits.max),
    )  # fmt: skip


def test_a_chunk_far_out_uses_coordinates_of_the_volume() -> None:
    start = (MAX_AXIS - 2,) * 3
    core = Box(start, (MAX_AXIS,) * 3)
    rows = measure(Patch(np.full((2, 2, 2), 9, np.uint64), core), core)
    square = 4 * (MAX_AXIS - 2) ** 2 + 4 * (MAX_AXIS - 1) ** 2
    mixed = 2 * (2 * MAX_AXIS - 3) ** 2
    assert integers(rows["wide"]) == [[8 * MAX_AXIS - 12] * 3 + [square] * 3 + [mixed] * 3]
    assert rows["low"].tolist() == [list(start)]
    assert rows["high"].tolist() == [[MAX_AXIS - 1] * 3]
    assert rows["border_faces"].tolist() == [[4] * 3]


def test_an_object_at_voxel_zero_has_the_id_one_and_is_counted() -> None:
    labels = np.zeros((3, 3, 3), np.uint64)
    labels[0, 0, 0] = 1 + gid((0, 0, 0))
    rows = whole(labels)
    assert rows["id"].tolist() == [1]
    assert rows["voxels"].tolist() == [1]
    assert rows["crossings"].tolist() == [[1] * 3 + [1, 0, 1, 0, 1, 0] + [1, 0, 0, 0]]
    assert rows["border_faces"].tolist() == [[1, 1, 1]]
    assert voxel(int(rows["id"][0]) - 1) == (0, 0, 0)


def test_a_face_is_owned_by_its_lower_voxel_and_counts_for_both_ids() -> None:
    labels = np.array([[[3, 3, 8]]], np.uint64)
    grid = Grid((1, 1, 3), (1, 1, 1))
    _, lower, upper = (rows_of(grid, labels, labels.astype(np.uint8), i) for i in grid.indices())
    assert lower["id"].tolist() == [3, 8]
    assert lower["voxels"].tolist() == [1, 0]
    assert lower["crossings"].tolist() == [[0, 0, 1] + [0] * 10] * 2
    assert (lower["low"][1].tolist(), lower["high"][1].tolist()) == ([MAX_AXIS] * 3, [-1] * 3)
    assert upper["id"].tolist() == [8]
    assert upper["crossings"].tolist() == [[0] * 13]
    assert finish(merge([lower]), (1, 1, 1)).column("id").to_pylist() == [3]


def test_a_chunk_of_one_object_inside_the_volume_has_no_surface_and_no_border() -> None:
    core, box = Box((4, 4, 4), (6, 6, 6)), Box((4, 4, 4), (7, 7, 7))
    rows = measure(Patch(np.full((3, 3, 3), 9, np.uint64), box), core)
    assert rows["crossings"].tolist() == [[0] * 13]
    assert rows["border_faces"].tolist() == [[0, 0, 0]]
    assert rows["euler"].tolist() == [[0, 0]]


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int16, np.int64, np.uint64])
def test_labels_of_any_integer_type_give_the_same_rows(dtype: type[np.generic]) -> None:
    labels = np.random.default_rng(1).integers(0, 2, (5, 6, 7))
    assert same(whole(labels.astype(dtype)), whole(labels.astype(np.uint32)))


def test_what_has_no_exact_sum_is_wrong_use() -> None:
    labels = np.ones((2, 2, 2), np.uint64)
    with pytest.raises(WrongUse, match="labels: float32"):
        whole(labels.astype(np.float32))
    with pytest.raises(WrongUse, match="labels: id -3 is negative"):
        whole(np.full((1, 1, 1), -3))
    for dtype in (np.float32, np.int64, np.bool_):
        with pytest.raises(WrongUse, match=f"raw: {np.dtype(dtype)}"):
            whole(labels, labels.astype(dtype))


@pytest.mark.parametrize("distinct", [1, 255, 256, 257, 5000])
def test_rank_inverts_and_puts_the_background_first(distinct: int) -> None:
    rng = np.random.default_rng(distinct)
    labels = rng.choice(rng.integers(1, 2**63, distinct, np.uint64), (20, 30, 40))
    ids, ranks = rank(labels)
    assert ids[0] == 0
    assert np.array_equal(ids[ranks], labels)
    assert len(set(ids.tolist())) == len(ids) == len(np.unique(labels)) + 1


def published_shapes() -> NDArray[np.bool_]:
    """Return the "shapes" volume of the published unit tests, zyx, 150 voxels an edge."""
    x, y, z = np.ogrid[:150, :150, :150]
    cylinder = ((x - 75) ** 2 + (y - 50) ** 2 <= 49**2) & (z < 138)
    ball = (x - 117) ** 2 + (y - 117) ** 2 + (z - 98) ** 2 <= 29**2
    hole = (abs(x - 117) < 5) & (abs(y - 117) < 5) & (abs(z - 98) < 5)
    shapes = cylinder | (ball & ~hole) | (~ball & (z > 140))
    shapes |= (x > 130) & (x < 140) & (z > 70) & (z < 80) & (y < 4) & ~((y == 2) & (x < 139))
    for x_, y_ in ((100, 98), (100, 99), (100, 100), (102, 98), (102, 99), (104, 99)):
        shapes[x_, y_, 75] = True
    inside = np.zeros_like(shapes)
    inside[1:149, 1:149, 1:149] = shapes[1:149, 1:149, 1:149]
    return inside.T


def test_the_published_rows_of_the_shapes_volume() -> None:
    labels, _ = ndimage.label(published_shapes())
    sizes = np.bincount(labels.ravel())
    labels[(sizes == 1)[labels]] = 0
    grid = Grid((150, 150, 150), (64, 64, 64))
    fold = RowTotals()
    for index in grid.indices():
        fold.put(index, rows_of(grid, labels, labels.astype(np.uint8), index))
    rows = finish(fold.total(), (4, 4, 4)).to_pylist()
    assert len(rows) == 6
    found = {
        (r["volume_nm3"], r["area_nm2"], *(round(r[f"centroid_{a}_nm"], 3) for a in "xyz"))
        for r in rows
    }
    assert found >= {
        (6.59792e7, 1108832, 300, 200, 276),
        (10944, 6368, 540.842, 8, 300),
        (192, 224, 400, 396, 300),
    }

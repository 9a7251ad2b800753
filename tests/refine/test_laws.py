"""Blocks in any order, cut in any way, give the objects of the whole volume."""

import numpy as np
import pytest
from numpy.typing import NDArray

from fibstream.core.grid import Grid, Index
from fibstream.core.ids import gid
from fibstream.core.stage import Arrays
from fibstream.kernels.conventions import Connectivity
from fibstream.kernels.objects import ObjectChange, ObjectFold, State
from fibstream.kernels.relabel import relabel
from fibstream.services.refine.rule import FillHoles, object_fold

from ..support.geometry import triple
from .whole import absence, cut, random_absent, random_grid, random_volume, rule_of, whole

RULES = [(c, h) for h in ("none", "one", "all") for c in (6, 18, 26)]


class Case:
    """A random volume and grid, its chunks cut, and the objects of the whole volume."""

    def __init__(
        self, seed: int, connectivity: Connectivity, holes: FillHoles, top: int = 22
    ) -> None:
        self.rng = np.random.default_rng(seed)
        voxel = 8 * 4 * 4
        self.rule = rule_of(
            connectivity=connectivity,
            fill_holes=holes,
            min_volume_nm3=float(self.rng.integers(0, 5)) * voxel,
            max_volume_nm3=[None, 200.0 * voxel][self.rng.integers(2)],
        )
        self.mask = random_volume(self.rng, top)
        self.grid = random_grid(self.rng, self.mask.shape)
        self.absent = random_absent(self.rng, self.grid)
        gone = absence(self.grid, self.absent)
        self.expected = whole(self.mask & ~gone, gone, self.rule)
        self.chunks = self.cut(self.mask)
        indices = list(self.chunks)
        self.order = [indices[i] for i in self.rng.permutation(len(indices))]

    def cut(self, mask: NDArray[np.bool_]) -> dict[Index, tuple[NDArray[np.uint64], Arrays]]:
        volume = np.where(mask, 200, 50).astype(np.uint8)
        return {i: cut(volume, self.grid, i, self.absent, self.rule) for i in self.grid.indices()}

    def fold(self) -> ObjectFold:
        return object_fold(self.rule)

    def summary(self, index: Index) -> Arrays:
        return self.chunks[index][1]

    def label(self, fold: ObjectFold, index: Index) -> NDArray[np.uint64]:
        pieces, summary = self.chunks[index]
        return relabel(pieces, summary["ids"], fold.mapping(index))

    def labels(self, fold: ObjectFold) -> NDArray[np.uint64]:
        out = np.zeros(self.mask.shape, np.uint64)
        for index in self.chunks:
            out[self.grid.box(index).slices()] = self.label(fold, index)
        return out

    def sizes(self) -> dict[int, int]:
        ids, voxels = np.unique(self.expected[self.expected > 0], return_counts=True)
        return dict(zip(ids.tolist(), voxels.tolist(), strict=True))


@pytest.mark.parametrize(("connectivity", "holes"), RULES)
def test_blocks_are_the_whole(connectivity: Connectivity, holes: FillHoles) -> None:
    for seed in range(20):
        case = Case(seed, connectivity, holes)
        fold = case.fold()
        for index in case.order:
            fold.put(index, case.summary(index))
            if case.rng.random() < 0.3:
                fold.put(case.order[0], case.summary(case.order[0]))
            if case.rng.random() < 0.1:
                fold.snapshot()
        assert np.array_equal(case.labels(fold), case.expected), seed
        assert fold.objects() == {i: (v, "closed") for i, v in case.sizes().items()}, seed


@pytest.mark.parametrize(("connectivity", "holes"), RULES)
def test_closed_objects_are_final_at_once(connectivity: Connectivity, holes: FillHoles) -> None:
    """Half-way, a closed object has its voxels, its final labels, and is announced once."""
    for seed in range(100, 110):
        case = Case(seed, connectivity, holes)
        fold = case.fold()
        reported: dict[int, tuple[int, str]] = {}
        closed: dict[int, int] = {}
        written: dict[Index, bytes] = {}
        for index in case.order:
            fold.put(index, case.summary(index))
            if case.rng.random() < 0.2:
                fold.snapshot()
            for change in fold.changes():
                assert change.id not in closed
                if change.kind in ("merged_into", "withdrawn"):
                    del reported[change.id]
                else:
                    reported[change.id] = (change.voxels, change.kind)
                if change.kind == "closed":
                    closed[change.id] = change.voxels
            dirty = fold.dirty()
            for other, mapping in written.items():
                assert other in dirty or fold.mapping(other) == mapping
            written.update({other: fold.mapping(other) for other in dirty})
            state = {i: v for i, (v, _) in fold.objects().items()}
            assert state == {i: v for i, (v, _) in reported.items()}
            final = np.isin(case.expected, list(closed))
            for other in written:
                here = case.grid.box(other).slices()
                labels = case.label(fold, other)
                assert np.array_equal(labels[final[here]], case.expected[here][final[here]])
                assert np.isin(labels[~final[here]], list(closed)).sum() == 0
        assert closed == case.sizes()
        fold.seal()
        assert [(c.kind, c.id, c.voxels) for c in fold.changes()] == [
            ("final", i, v) for i, v in sorted(closed.items())
        ]


@pytest.mark.parametrize(("connectivity", "holes"), RULES)
def test_the_last_summary_of_a_chunk_counts(connectivity: Connectivity, holes: FillHoles) -> None:
    """Replaced, removed, repeated: the fold is that of the summaries it ends with."""
    for seed in range(200, 208):
        case = Case(seed, connectivity, holes, top=14)
        other = case.cut(case.rng.random(case.mask.shape) < case.rng.uniform(0.2, 0.8))
        fold = case.fold()
        reported: dict[int, tuple[int, State]] = {}
        for step in range(2 * len(case.order)):
            index = case.order[case.rng.integers(len(case.order))]
            summary = [None, other[index][1], case.summary(index)][case.rng.integers(3)]
            if summary is None:
                fold.remove(index)
            else:
                fold.put(index, summary)
            if step % 3 == 0:
                follow(reported, fold.changes())
                assert reported == fold.objects()
        for index in case.order:
            fold.put(index, case.summary(index))
        follow(reported, fold.changes())
        assert reported == fold.objects() == {i: (v, "closed") for i, v in case.sizes().items()}
        assert np.array_equal(case.labels(fold), case.expected), seed


@pytest.mark.parametrize(("connectivity", "holes"), RULES)
def test_dirty_names_every_mapping_that_changed(
    connectivity: Connectivity, holes: FillHoles
) -> None:
    """However seldom it is read, and whatever is replaced in between."""
    for seed in range(300, 320):
        case = Case(seed, connectivity, holes, top=14)
        other = case.cut(case.rng.random(case.mask.shape) < case.rng.uniform(0.2, 0.8))
        fold, written = case.fold(), {}
        for index in [*case.order, *case.order]:
            fold.put(index, [other[index][1], case.summary(index)][case.rng.integers(2)])
            if case.rng.random() < 0.3:
                fold.mapping(index)  # reading alone must not use up what is to be reported
            if case.rng.random() < 0.2:
                fold.snapshot()
            if case.rng.random() < 0.4:
                written.update({chunk: fold.mapping(chunk) for chunk in fold.dirty()})
        written.update({chunk: fold.mapping(chunk) for chunk in fold.dirty()})
        assert written == {index: fold.mapping(index) for index in case.order}, seed


def follow(reported: dict[int, tuple[int, State]], changes: list[ObjectChange]) -> None:
    for change in changes:
        if change.kind in ("merged_into", "withdrawn"):
            del reported[change.id]
        else:
            state = change.kind if change.kind in ("closed", "final") else "open"
            reported[change.id] = (change.voxels, state)


@pytest.mark.parametrize("holes", ["none", "one", "all"])
def test_a_part_of_the_chunks_gives_the_same_in_any_order(holes: FillHoles) -> None:
    """Order, repetition and grouping do not matter, open objects and mappings included."""
    for seed in range(300, 310):
        case = Case(seed, 26, holes, top=14)
        some = case.order[: 1 + len(case.order) // 2]
        seen = []
        for _ in range(3):
            fold = case.fold()
            again = [some[i] for i in case.rng.permutation(len(some))]
            for index in again + again[:3]:
                fold.put(index, case.summary(index))
            fold.snapshot()
            seen.append((fold.changes(), fold.objects(), {i: fold.mapping(i) for i in some}))
        for i in case.order[len(some) :]:
            fold.put(i, case.summary(i))
        for i in case.order[len(some) :]:
            fold.remove(i)
        seen.append((seen[0][0], fold.objects(), {i: fold.mapping(i) for i in some}))
        assert seen[0] == seen[1] == seen[2] == seen[3], seed


@pytest.mark.parametrize(("connectivity", "holes"), RULES)
def test_dense_volumes(connectivity: Connectivity, holes: FillHoles) -> None:
    """Small holes between many objects, and absent chunks inside objects: no hole is unknown."""
    rng = np.random.default_rng(5)
    rule = rule_of(connectivity=connectivity, fill_holes=holes)
    for density in (0.5, 0.6, 0.7, 0.8, 0.97, 1.0):
        mask = rng.random((10, 11, 12)) < density
        grid = Grid(mask.shape, (3, 4, 5))
        absent = {(1, 1, 1)} if rng.random() < 0.7 else set()
        gone = absence(grid, absent)
        volume = np.where(mask, 255, 0).astype(np.uint8)
        cuts = {i: cut(volume, grid, i, absent, rule) for i in grid.indices()}
        fold, found = object_fold(rule), np.zeros(mask.shape, np.uint64)
        for index, (_, summary) in cuts.items():
            fold.put(index, summary)
        for index, (pieces, summary) in cuts.items():
            found[grid.box(index).slices()] = relabel(pieces, summary["ids"], fold.mapping(index))
        assert np.array_equal(found, whole(mask & ~gone, gone, rule)), density


def crossed_box() -> NDArray[np.bool_]:
    """A hollow box with a cross inside, whose arms end around one empty voxel in the middle."""
    mask = np.zeros((9, 9, 9), bool)
    mask[1:-1, 1:-1, 1:-1] = True
    mask[2:-2, 2:-2, 2:-2] = False
    mask[4, 4, 1:-1] = mask[4, 1:-1, 4] = mask[1:-1, 4, 4] = True
    mask[4, 4, 4] = False
    return mask


def test_a_hole_waits_until_the_objects_beside_it_are_one() -> None:
    """The first chunk shows a hole between arms; that they are one object, only the others show."""
    mask, rule = crossed_box(), rule_of()
    grid = Grid(mask.shape, (6, 6, 6))
    volume = np.where(mask, 255, 0).astype(np.uint8)
    cuts = {i: cut(volume, grid, i, set(), rule) for i in grid.indices()}
    fold, seen = object_fold(rule), []
    for index in cuts:
        fold.put(index, cuts[index][1])
        fold.snapshot()
        pieces, summary = cuts[(0, 0, 0)]
        seen.append(relabel(pieces, summary["ids"], fold.mapping((0, 0, 0)))[4, 4, 4])
    assert seen[0] == 0
    assert seen[-1] == 1 + gid((1, 1, 1))
    assert fold.objects() == {1 + gid((1, 1, 1)): (7**3, "closed")}


def test_an_object_closes_as_soon_as_it_can() -> None:
    """Its chunks and what it could still touch are there: what happens elsewhere is no matter."""
    mask = np.zeros((4, 4, 32), bool)
    mask[1, 1, 1:10] = mask[2, 2, 12:30] = True
    rule = rule_of(fill_holes="all", connectivity=26)
    grid = Grid(mask.shape, (4, 4, 8))
    volume = np.where(mask, 255, 0).astype(np.uint8)
    fold = object_fold(rule)
    short, long = 1 + gid((1, 1, 1)), 1 + gid((2, 2, 12))
    seen = []
    for x in range(4):
        fold.put((0, 0, x), cut(volume, grid, (0, 0, x), set(), rule)[1])
        seen.append([(c.kind, c.id, c.voxels) for c in fold.changes()])
    assert seen == [
        [("opened", short, 7)],
        [("closed", short, 9), ("opened", long, 4)],
        [("grown", long, 12)],
        [("closed", long, 18)],
    ]
    fold.remove((0, 0, 3))
    assert [(c.kind, c.id, c.voxels) for c in fold.changes()] == [("opened", long, 12)]
    fold.remove((0, 0, 2))
    fold.remove((0, 0, 1))
    assert [c.kind for c in fold.changes()] == ["opened", "withdrawn"]


@pytest.mark.parametrize("axis", range(3))
def test_an_object_behind_the_chunk_counts_too(axis: int) -> None:
    """A hole at the chunk's end has its last neighbour in the next chunk: another object."""
    mask = np.zeros((8, 5, 5), bool)
    mask[2, 1:4, 1:4] = mask[3, 1:4, 1:4] = mask[4, 2, 2] = True
    mask[3, 2, 2] = mask[3, 1:4:2, 1:4:2] = False
    mask[5, 1:4, 1:4] = True
    mask[4, 2, 2], mask[5, 2, 2] = True, False
    mask, chunk = np.moveaxis(mask, 0, axis), np.roll((4, 5, 5), axis)
    rule, grid = rule_of(), Grid(mask.shape, triple(chunk))
    volume = np.where(mask, 255, 0).astype(np.uint8)
    fold = object_fold(rule)
    for index in grid.indices():
        fold.put(index, cut(volume, grid, index, set(), rule)[1])
    expected = whole(mask, np.zeros(mask.shape, bool), rule)
    ids, voxels = np.unique(expected[expected > 0], return_counts=True)
    assert len(ids) == 3
    assert {i: v for i, (v, _) in fold.objects().items()} == dict(
        zip(ids.tolist(), voxels.tolist(), strict=True)
    )

"""Objects of components that are still open: what is told of them early is what the whole gives."""

import numpy as np
import pytest

from fibstream.core.grid import Grid, Index
from fibstream.kernels.watershed.split import SplitFold

from ..support.geometry import triple
from .streamed import dataset_of
from .touching import CONNECTIVITIES, Case, painted, sizes
from .whole import absence, random_absent


def long(seed: int) -> Case:
    """A long volume that is nearly all foreground, in which many scores and saddles are equal."""
    case = Case(seed, CONNECTIVITIES[seed % 3], 0.0)
    rng = case.rng
    edges = [rng.integers(16, 40), rng.integers(4, 10), rng.integers(4, 10)]
    shape = triple(np.array(edges)[rng.permutation(3)])
    case.grid = Grid(shape, triple(rng.integers(3, 8, 3)))
    case.absent = random_absent(rng, case.grid) if seed % 3 == 0 else set()
    case.gone = absence(case.grid, case.absent)
    case.order = list(case.grid.indices())
    if seed % 2:
        case.order = [case.order[i] for i in rng.permutation(len(case.order))]
    solid = rng.random(shape) > rng.choice([0, 0.05, 0.15, 0.3])
    grey = rng.integers(rng.choice([128, 200, 250, 254]), 256, shape)
    case.values = np.where(solid & ~case.gone, grey, 0).astype(np.uint8)
    case.settings |= {
        "threshold_nm": 0.0, "max_volume_nm3": None, "smooth_nm": float(rng.choice([0, 0, 4])),
        "merge_below": float(rng.choice([0.02, 0.1, 0.3, 0.5, 0.9])),
        "quantile": int(rng.choice([0, 25, 50, 60, 75, 100])),
        "min_depth": float(rng.choice([0, 0.5, 2, 20])),
    }  # fmt: skip
    case.made = dataset_of(case.grid, "agglomerated", {"prediction": "p"}, case.settings)
    return case


def thin(seed: int) -> Case:
    """A line of a few levels, one or two voxels wide: shallow minima beside deep ones, and ties."""
    case = Case(seed, CONNECTIVITIES[seed % 3], 0.0)
    rng = case.rng
    shape = triple(np.array([rng.integers(12, 40), *rng.integers(1, 3, 2)])[rng.permutation(3)])
    case.grid = Grid(shape, triple(rng.integers(2, 5, 3)))
    case.absent, case.gone = set(), np.zeros(shape, bool)
    case.order = list(case.grid.indices())
    if seed % 2:
        case.order = [case.order[i] for i in rng.permutation(len(case.order))]
    case.values = (255 - 10 * rng.integers(0, 8, shape)).astype(np.uint8)
    case.settings |= {
        "threshold_nm": 0.0, "max_volume_nm3": None, "min_volume_nm3": 0.0,
        "merge_below": float(rng.choice([0.16, 0.24, 0.4])),
        "quantile": int(rng.choice([0, 25, 50, 75, 100])),
        "min_depth": float(rng.choice([0, 11, 21, 31])),
    }  # fmt: skip
    case.made = dataset_of(case.grid, "agglomerated", {"prediction": "p"}, case.settings)
    return case


def equal(seed: int) -> Case:
    """Five levels, so that most scores are those of others too."""
    case = Case(seed, CONNECTIVITIES[seed % 3], 0.0)
    rng = case.rng
    shape = triple(np.array([rng.integers(10, 24), *rng.integers(3, 6, 2)])[rng.permutation(3)])
    case.grid = Grid(shape, triple(rng.integers(2, 5, 3)))
    case.absent, case.gone = set(), np.zeros(shape, bool)
    case.order = list(case.grid.indices())
    if seed % 2:
        case.order = [case.order[i] for i in rng.permutation(len(case.order))]
    case.values = (255 - 10 * rng.integers(0, 5, shape)).astype(np.uint8)
    case.settings |= {
        "threshold_nm": 0.0, "max_volume_nm3": None, "min_volume_nm3": 0.0,
        "merge_below": float(rng.choice([0.1, 0.2, 0.3])), "min_depth": 0.0,
        "quantile": int(rng.choice([25, 50, 75, 90])), "fill_holes": "none",
    }  # fmt: skip
    case.made = dataset_of(case.grid, "agglomerated", {"prediction": "p"}, case.settings)
    return case


def rods(seed: int) -> Case:
    """Rods side by side; the layer that joins them, by edges or corners of voxels, lands last."""
    case = Case(seed, CONNECTIVITIES[1 + seed % 2], 0.0)
    rng = case.rng
    shape = triple(np.array([rng.integers(8, 14), rng.integers(5, 9), rng.integers(1, 3)]))
    case.grid = Grid(shape, triple(np.array([rng.integers(2, 4), 4, 3])))
    case.absent, case.gone = set(), np.zeros(shape, bool)
    z, y, _ = np.indices(shape)
    gap = y % 3 == 2
    bridge = gap & (z == rng.choice([0, case.grid.chunk[0] - 1, 2 * case.grid.chunk[0] - 1]))
    values = np.where(gap, 255 - rng.integers(0, 4), 255 - 10 * rng.integers(2, 10, shape))
    case.values = np.where(gap & ~bridge, 0, values).astype(np.uint8)
    joins = [i for i in case.grid.indices() if bridge[case.grid.box(i).slices()].any()]
    case.order = [i for i in case.grid.indices() if i not in joins] + joins
    case.settings |= {
        "threshold_nm": 0.0, "max_volume_nm3": None, "min_volume_nm3": 0.0, "fill_holes": "none",
        "merge_below": float(rng.choice([0.1, 0.3, 0.6])), "min_depth": float(rng.choice([0, 11])),
    }  # fmt: skip
    case.made = dataset_of(case.grid, "agglomerated", {"prediction": "p"}, case.settings)
    return case


class Told:
    """What a fold has said of objects, and the labels that follow it."""

    def __init__(self, fold: SplitFold) -> None:
        self.fold = fold
        self.objects: dict[int, tuple[int, str]] = {}
        self.written: dict[Index, bytes] = {}

    def follow(self, *, again: bool = False) -> None:
        """Take all changes; what is said, what is there and what is written agree.

        Nothing is said of a closed object but that it is final, unless chunks come ``again``.
        """
        for change in self.fold.changes():
            was = self.objects.pop(change.id, (0, ""))
            if change.kind not in ("merged_into", "withdrawn"):
                assert again or was[1] != "closed" or change.kind == "final", change
                self.objects[change.id] = change.voxels, change.kind
        dirty = self.fold.dirty()
        assert all(i in dirty or self.fold.mapping(i) == m for i, m in self.written.items())
        self.written |= {i: self.fold.mapping(i) for i in dirty}
        there = {i: voxels for i, (voxels, _) in self.fold.objects().items()}
        assert there == {i: voxels for i, (voxels, _) in self.objects.items()}


def run(case: Case) -> int:
    """Let a fold split what it can after most chunks; return the voxels that were done early."""
    expected, chunks = case.whole(), case.chunks(case.values)
    told = Told(case.fold(giant=1))
    for index in case.order:
        told.fold.put(index, chunks[index][1])
        if case.rng.random() < 0.7:
            told.fold.snapshot()
        told.follow()
        closed = {i: v for i, (v, kind) in told.objects.items() if kind == "closed"}
        assert closed.items() <= sizes(expected).items()
    early = sum(voxels for _, voxels in told.fold._giants._done)
    told.fold.seal()
    told.follow()
    assert told.objects == {i: (v, "final") for i, v in sizes(expected).items()}
    assert np.array_equal(painted(told.fold, case.grid, chunks), expected)
    return early


@pytest.mark.parametrize(("volumes", "trials"), [(long, 50), (thin, 250), (equal, 60)])
def test_what_is_done_of_an_open_component_is_what_the_whole_has(volumes, trials) -> None:
    early = [run(volumes(seed)) > 0 for seed in range(trials)]
    assert sum(early) > trials / 8


def test_components_that_join_by_corners_are_what_the_whole_has() -> None:
    """Descent leaves a chunk from both by one voxel, before it is known that they are one."""
    for seed in range(40):
        run(rods(seed))


@pytest.mark.parametrize("fill_holes", ["one", "all"])
def test_a_hole_that_fills_a_chunk_is_beside_the_basins_around_it(fill_holes: str) -> None:
    for seed in range(12):
        case = long(seed)
        case.grid = Grid((9, 3, 3), (3, 1, 1))
        case.absent, case.gone = set(), np.zeros((9, 3, 3), bool)
        case.values = (255 - 10 * case.rng.integers(0, 8, (9, 3, 3))).astype(np.uint8)
        case.values[3:6, 1, 1] = 0
        hole = [i for i in case.grid.indices() if not case.values[case.grid.box(i).slices()].any()]
        rest = [i for i in case.grid.indices() if i not in hole]
        case.order = hole + rest if seed % 2 else rest + hole
        case.settings |= {"fill_holes": fill_holes, "merge_below": 0.1, "smooth_nm": 0.0}
        case.made = dataset_of(case.grid, "agglomerated", {"prediction": "p"}, case.settings)
        run(case)


def test_lumps_that_touch_are_what_the_whole_has_too() -> None:
    for seed in range(40):
        run(Case(seed, CONNECTIVITIES[seed % 3], (0.0, 3.0, 9.0)[seed // 3 % 3]))


def test_a_chunk_that_is_acquired_again_takes_back_what_was_done() -> None:
    """Whatever was told, in the end it is what a fold that never saw the first content says."""
    for seed in range(500, 510):
        case, other = long(seed), long(seed)
        again = [i for i in case.order if case.rng.random() < 0.3]
        for index in again:
            box = case.grid.box(index).slices()
            flipped = np.flip(case.values[box])
            other.values[box] = np.where(case.gone[box], 0, flipped)
        first, last = case.chunks(case.values), case.chunks(other.values)
        told, fresh = Told(case.fold(giant=1)), case.fold(giant=1)
        for chunks in (first, last):
            for index in case.order:
                told.fold.put(index, chunks[index][1])
                if case.rng.random() < 0.5:
                    told.fold.snapshot()
                told.follow(again=chunks is last)
        for index in case.order:
            fresh.put(index, last[index][1])
        assert told.fold.objects() == fresh.objects(), seed
        assert np.array_equal(
            painted(told.fold, case.grid, last), painted(fresh, case.grid, last)
        ), seed
        case.values = other.values
        assert np.array_equal(painted(fresh, case.grid, last), case.whole()), seed


def test_a_component_through_the_whole_volume_is_not_left_to_the_end() -> None:
    """A row of lumps that touch, one component: each is done once the next chunks are there."""
    grid = Grid((160, 16, 16), (8, 16, 16))
    z, y, x = np.indices(grid.extent)
    values = 255 - ((z % 16 - 8) ** 2 + (y - 8) ** 2 + (x - 8) ** 2) / 2
    case = Case(0, 6, 0.0)
    case.grid, case.absent, case.gone = grid, set(), np.zeros(grid.extent, bool)
    case.values = values.astype(np.uint8)
    case.settings = {"quantile": 50, "merge_below": 0.3}
    case.made = dataset_of(grid, "agglomerated", {"prediction": "p"}, case.settings)
    chunks, told = case.chunks(case.values), Told(case.fold(giant=4))
    waiting = []
    for index in grid.indices():
        told.fold.put(index, chunks[index][1])
        told.fold.snapshot()
        told.follow()
        waiting.append([kind for _, kind in told.objects.values()].count("closed"))
    assert waiting[10] >= 3 and waiting[-2] >= 7, waiting
    (left,) = (
        (part for _, part in told.fold._giants._settled) if told.fold._giants._settled else (None,)
    )
    assert left is None or left.graph.basin.size < 10
    told.fold.seal()
    told.follow()
    expected = case.whole()
    assert len(sizes(expected)) >= 9
    assert told.objects == {i: (v, "final") for i, v in sizes(expected).items()}

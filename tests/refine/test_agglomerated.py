"""Watershed and agglomeration chunk by chunk: the objects of the whole volume, at every moment."""

from typing import Any

import numpy as np
import pytest

from fibstream.core.errors import Poison, WrongUse
from fibstream.core.events import GONE
from fibstream.core.grid import Grid, Index
from fibstream.core.keys import canonical
from fibstream.kernels.conventions import Connectivity
from fibstream.kernels.mapping import encode_mapping
from fibstream.kernels.relabel import relabel
from fibstream.kernels.watershed.agglomerate import agglomerate
from fibstream.services.refine import descent
from fibstream.services.refine.recipe import find_recipe, resolve
from fibstream.services.refine.recipes.agglomerated import AgglomeratedSettings

from ..support.geometry import triple
from .streamed import dataset_of, streamed
from .touching import CONNECTIVITIES, Case, holes, painted, sizes
from .whole import absence, random_absent, random_grid

TRIALS = 12  # of each pair below: about 100 in all


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("smooth_nm", [0.0, 3.0, 9.0])
def test_blocks_are_the_whole(connectivity: Connectivity, smooth_nm: float) -> None:
    for seed in range(TRIALS):
        case = Case(seed, connectivity, smooth_nm)
        found = streamed(case.made, {"predictions/p": case.values}, case.order, case.absent)
        expected = case.whole()
        assert np.array_equal(found.labels, expected), seed
        assert found.objects == sizes(expected), seed


@pytest.mark.parametrize("fill_holes", ["one", "all"])
def test_holes_between_objects_are_those_of_the_whole(fill_holes: str) -> None:
    """Many basins and many holes: some in one object, some between several."""
    inside = between = 0
    for seed in range(400, 408):
        case = Case(seed, CONNECTIVITIES[seed % 3], 0.0)
        shape = triple(case.rng.integers(7, 13, 3))
        case.grid = random_grid(case.rng, shape)
        case.absent = random_absent(case.rng, case.grid)
        case.gone = absence(case.grid, case.absent)
        case.order = sorted(case.grid.indices(), key=lambda _: case.rng.random())
        solid = case.rng.random(shape) > (0.07, 0.16)[seed % 2]  # the latter across chunks, too
        # One level: basins are large, and some alone around a hole.
        grey = case.rng.integers(128, 129 if seed % 4 == 2 else 256, shape)
        case.values = np.where(solid & ~case.gone, grey, 0).astype(np.uint8)
        case.settings |= {"fill_holes": fill_holes, "merge_below": 0.3, "threshold_nm": 0.0,
                          "quantile": 60}  # fmt: skip
        case.made = dataset_of(case.grid, "agglomerated", {"prediction": "p"}, case.settings)
        found = streamed(case.made, {"predictions/p": case.values}, case.order, case.absent)
        expected = case.whole()
        assert np.array_equal(found.labels, expected), seed
        assert found.objects == sizes(expected), seed
        ends, graph = case.graph()
        objects = agglomerate(graph, case.given.agglomeration)
        named = relabel(ends, graph.basin, encode_mapping(graph.basin, objects))
        around = [len(beside) for _, beside in holes(named, case.gone)]
        inside += around.count(1)
        between += len(around) - around.count(1)
    assert inside > 5 and between > 5, (inside, between)


@pytest.mark.parametrize("connectivity", [6, 26])
def test_a_closed_object_is_final_at_once(connectivity: Connectivity) -> None:
    """Half-way, objects of a closed component have their last voxels, ids and labels."""
    for seed in range(100, 115):
        case = Case(seed, connectivity, 0.0)
        expected, chunks, fold = case.whole(), case.chunks(case.values), case.fold()
        reported: dict[int, tuple[int, str]] = {}
        written: dict[Index, bytes] = {}
        for index in case.order:
            fold.put(index, chunks[index][1])
            if case.rng.random() < 0.3:
                fold.put(index, chunks[index][1])
            if case.rng.random() < 0.2:
                fold.snapshot()
            for change in fold.changes():
                if change.kind in ("merged_into", "withdrawn"):
                    del reported[change.id]
                else:
                    assert reported.get(change.id, (0, ""))[1] != "closed"
                    reported[change.id] = (change.voxels, change.kind)
                if change.kind == "closed":
                    assert sizes(expected)[change.id] == change.voxels
            dirty = fold.dirty()
            assert all(o in dirty or fold.mapping(o) == m for o, m in written.items())
            written.update({other: fold.mapping(other) for other in dirty})
            state = {i: v for i, (v, _) in fold.objects().items()}
            assert state == {i: v for i, (v, _) in reported.items()}
        fold.seal()
        assert {c.kind for c in fold.changes()} <= {"final"}
        assert fold.objects() == {i: (v, "final") for i, v in sizes(expected).items()}
        assert np.array_equal(painted(fold, case.grid, chunks), expected)


def test_what_is_acquired_again_leaves_nothing_of_the_first() -> None:
    for seed in range(200, 230):
        case = Case(seed, 6, 0.0)
        other = Case(seed + 1000, 6, 0.0)
        changed = case.values.copy()
        again = [i for i in case.order if case.rng.random() < 0.4]
        for index in again:
            box = case.grid.box(index).slices()
            fill = np.resize(other.values, changed[box].shape)
            changed[box] = np.where(case.gone[box], 0, fill)
        first, last = case.chunks(case.values), case.chunks(changed)
        fold, fresh = case.fold(), case.fold()
        for index in case.order:
            fold.put(index, first[index][1])
        reported = {change.id: change.voxels for change in fold.changes()}
        written = {index: fold.mapping(index) for index in case.order}
        fold.dirty()
        for index in case.order:
            fold.put(index, last[index][1])
            fresh.put(index, last[index][1])
            # Summaries of two contents meet: whatever is told meanwhile, nobody stops.
            for change in fold.changes():
                reported.pop(change.id, None)
                if change.kind not in GONE:
                    reported[change.id] = change.voxels
            assert reported == {i: v for i, (v, _) in fold.objects().items()}
            written |= {other: fold.mapping(other) for other in fold.dirty()}
            assert all(fold.mapping(i) == m for i, m in written.items())
        assert fold.objects() == fresh.objects()
        assert np.array_equal(painted(fold, case.grid, last), painted(fresh, case.grid, last))
        case.values = changed
        assert np.array_equal(painted(fold, case.grid, last), case.whole())


def test_in_which_order_two_contents_meet_leaves_no_trace() -> None:
    """First every chunk has its old or its new content, drawn; those that had the old one follow.

    So a fold that has seen no chunk twice may hold contents that contradict each other.
    """
    met = 0
    for seed in range(300, 306):
        case = Case(seed, CONNECTIVITIES[seed % 3], 0.0)
        other = Case(seed + 1000, 6, 0.0)
        filled = np.where(case.gone, 0, np.resize(other.values, case.values.shape))
        old, new = case.chunks(case.values), case.chunks(filled.astype(np.uint8))
        late = {index for index in case.order if case.rng.random() < 0.4}
        ends = []
        for _ in range(2):
            fold = case.fold()
            first, second = ([case.order[i] for i in case.rng.permutation(len(case.order))]
                             for _ in range(2))  # fmt: skip
            written: dict[Index, bytes] = {}
            events = [(i, (old if i in late else new)[i]) for i in first]
            for index, (_, summary) in events + [(i, new[i]) for i in second if i in late]:
                fold.put(index, summary)
                met += fold._stale and index not in written
                if case.rng.random() < 0.7:
                    written |= {i: fold.mapping(i) for i in fold.dirty()}
            written |= {i: fold.mapping(i) for i in fold.dirty()}
            fold.seal()
            written |= {i: fold.mapping(i) for i in fold.dirty()}
            ends.append((written, fold.objects()))
        assert ends[0] == ends[1], seed
        case.values = filled.astype(np.uint8)
        whole = case.whole()
        assert ends[0][1] == {i: (v, "final") for i, v in sizes(whole).items()}, seed
        assert np.array_equal(painted(fold, case.grid, new), whole), seed
    assert met


def test_touching_lumps_come_apart_and_components_do_not() -> None:
    """Two balls that overlap: one component, two objects, at a quantile that tells them apart."""
    grid = Grid((24, 40, 24), (10, 14, 12))
    z, y, x = np.indices(grid.extent)
    balls = [(z - 12) ** 2 + (y - middle) ** 2 + (x - 12) ** 2 for middle in (12, 28)]
    values = (255 - np.minimum(*balls) * 1.6).clip(0, 255).astype(np.uint8)
    found = []
    for below in (0.7, 1.0):
        settings = {"smooth_nm": 0.0, "merge_below": below, "quantile": 50, "min_volume_nm3": 0.0}
        made = dataset_of(grid, "agglomerated", {"prediction": "p"}, settings)
        order = list(grid.indices())
        found.append(streamed(made, {"predictions/p": values}, order, set()).objects)
    assert [len(objects) for objects in found] == [2, 1]
    assert sum(found[0].values()) == sum(found[1].values())


def test_only_labels_are_made_anew_when_what_agglomerates_changes() -> None:
    case = Case(1, 6, 3.0)
    settings = {**case.settings, "quantile": 99, "merge_below": 0.123, "min_depth": 7.0}
    other = dataset_of(case.grid, "agglomerated", {"prediction": "p"}, settings)
    cuts = [find_recipe("agglomerated").stages(*made)[0] for made in (case.made, other)]
    assert canonical(cuts[0].parameters) == canonical(cuts[1].parameters)
    again = dataset_of(case.grid, "agglomerated", {"prediction": "p"},
                       {**settings, "smooth_nm": 4.0})  # fmt: skip
    assert find_recipe("agglomerated").stages(*again)[0].parameters != cuts[0].parameters


def test_a_chunk_with_too_many_saddles_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "MAX_SADDLES", 3)
    case = Case(3, 26, 0.0)
    noise = case.rng.integers(127, 256, case.values.shape).astype(np.uint8)
    with pytest.raises(Poison, match=r"pairs of basins touch; expected at most 3: smooth"):
        case.chunks(noise)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"quantile": 101}, "expected a whole number from 0 to 100"),
        ({"quantile": 0.5}, "expected a whole number from 0 to 100"),
        ({"merge_below": 1.5}, "expected a number of one less affinity from 0 to 1"),
        ({"min_depth": -1}, "expected a number of grey levels from 0 to 255"),
        ({"fill_holes": "some"}, "fill_holes is 'some': expected one of none, one, all"),
        ({"max_volume_nm3": 1e3, "min_volume_nm3": 1e4}, "max_volume_nm3 is less"),
    ],
)
def test_settings_that_are_none_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(WrongUse, match=says):
        resolve("agglomerated", settings)


def test_published_parameters_are_recipes() -> None:
    for name, quantile, below in (
        ("mito-hela-2", 25, 0.9), ("mito-hela-3", 25, 0.875), ("mito-jurkat", 50, 0.6),
        ("mito-macrophage", 50, 0.7), ("nucleus-jurkat", 25, 0.1),
    ):  # fmt: skip
        settings = find_recipe(name).settings
        assert isinstance(settings, AgglomeratedSettings)
        assert (settings.quantile, settings.merge_below) == (quantile, below)
        assert (settings.smooth_nm, settings.min_volume_nm3, settings.min_rule) == (12, 2e7, "ceil")
        assert settings.agglomeration.background == 126
        assert settings.fill_holes == ("one" if name.startswith("mito") else "none")


def test_a_depth_is_rounded_up() -> None:
    """In grey levels times 128: a minimum that is a fraction too shallow is no basin."""
    depths = [AgglomeratedSettings(min_depth=d).agglomeration for d in (0, 0.3, 0.5, 20)]
    assert [rule.least_dynamics for rule in depths] == [1, 39, 64, 2560]


def test_components_are_those_of_connected_components() -> None:
    """With all basins of a component merged, it is what the fold of components says."""
    for seed in range(300, 312):
        case = Case(seed, 6, 0.0)
        case.settings |= {"merge_below": 1.0, "quantile": 100, "min_volume_nm3": 0.0,
                          "max_volume_nm3": None, "min_depth": 255.0}  # fmt: skip
        case.made = dataset_of(case.grid, "agglomerated", {"prediction": "p"}, case.settings)
        found = streamed(case.made, {"predictions/p": case.values}, case.order, case.absent)
        same = {key: case.settings[key] for key in ("fill_holes", "threshold_nm")}
        plain = dataset_of(case.grid, "generic", {"prediction": "p"}, same)
        wanted = streamed(plain, {"predictions/p": case.values}, case.order, case.absent)
        assert np.array_equal(found.labels, wanted.labels)
        assert found.objects == wanted.objects

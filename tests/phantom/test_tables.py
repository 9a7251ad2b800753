"""Contacts and the tables of truth: whatever the chunks, they are those of the whole."""

from functools import cache
from itertools import pairwise, product

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from fibstream.cli.phantom import truth as phantom_truth
from fibstream.cli.phantom.truth import CONTACTS, RIBOSOMES, pairs_of, truth_tables
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Halo
from fibstream.phantom import Contact, Phantom, PhantomSpec, contact_truth, grid_of, merge_contacts

from ..support.geometry import triple

SHAPE, VOXEL = (46, 70, 76), (22.0, 17.0, 16.0)
NAMES = ("er", "mito", "golgi", "vesicle", "microtubules", "ribosomes")
PAIRS = [("mito", "mito"), ("microtubules", "microtubules"), ("er", "mito")]
SEEDS = (15, 21)  # mitochondria touch in both
NM, SIZE = 8.0, np.array([40, 80, 80])  # of boxes in which contacts are searched


@cache
def cell(seed: int) -> Phantom:
    return Phantom(PhantomSpec(SHAPE, VOXEL, seed, NAMES, chunk=(23, 31, 76)))


def pairs_in(phantom: Phantom, a: str, b: str, box: Box) -> tuple[np.ndarray, list[Contact]]:
    """Return the two ids of every voxel's contact at 20 nm, 0 elsewhere, and the contacts."""
    where, found = contact_truth(phantom, a, b, 20.0, box)
    return np.array([(0, 0)] + [(c.a, c.b) for c in found], np.uint64)[where], found


@cache
def whole(seed: int, a: str, b: str) -> tuple[np.ndarray, list[Contact]]:
    return pairs_in(cell(seed), a, b, cell(seed).box())


@st.composite
def tilings(draw: st.DrawFn) -> list[Box]:
    """Return boxes that tile the volume, in any order."""
    cuts = [sorted({0, n, *draw(st.lists(st.integers(1, n - 1), max_size=2))}) for n in SHAPE]
    spans = product(*(pairwise(c) for c in cuts))
    return draw(st.permutations([Box(*zip(*span, strict=True)) for span in spans]))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(boxes=tilings(), pair=st.sampled_from(PAIRS), seed=st.sampled_from(SEEDS))
def test_contacts_of_any_boxes_add_up_to_those_of_the_whole(boxes, pair, seed) -> None:
    (a, b), parts = pair, []
    ids, found = whole(seed, a, b)
    for box in boxes:
        here, part = pairs_in(cell(seed), a, b, box)
        assert np.array_equal(here, ids[box.slices()])
        parts.append(part)
    assert merge_contacts(parts) == found


def test_the_law_is_tried_on_contacts() -> None:
    for pair in PAIRS:
        assert any(whole(seed, *pair)[1] for seed in SEEDS), pair


contacts = st.lists(
    st.builds(Contact, st.integers(1, 4), st.integers(1, 4), st.integers(1, 2**40),
              st.floats(0, 64, width=32)), max_size=6)  # fmt: skip


@given(one=contacts, two=contacts, three=contacts)
def test_merging_forgets_order_and_grouping(one, two, three) -> None:
    merged = merge_contacts([one, two, three])
    assert merged == merge_contacts([three, one, two])
    assert merged == merge_contacts([merge_contacts([one, two]), three])
    assert merged == merge_contacts([one, merge_contacts([three, two])])
    assert sum(c.voxels for c in merged) == sum(c.voxels for c in one + two + three)
    assert len({c[:2] for c in merged}) == len(merged)
    assert merge_contacts([]) == []


def pairs_of_voxels(ids: np.ndarray, nm: float, reach: float) -> dict[tuple[int, int], tuple]:
    """Return for each two instances the nearest voxels of both, nm apart, by trying all."""
    inner = np.pad(ids, 1)
    same = [np.roll(inner, step, axis) == inner for axis in range(3) for step in (1, -1)]
    surface = ids * ~np.logical_and.reduce(same)[1:-1, 1:-1, 1:-1]
    at = np.argwhere(surface)
    near = cKDTree(at).query_pairs(reach / nm, output_type="ndarray")
    own = surface[tuple(at.T)]
    near = near[own[near[:, 0]] != own[near[:, 1]]]
    far = np.linalg.norm(at[near[:, 0]] - at[near[:, 1]], axis=1) * nm
    found: dict[tuple[int, int], tuple] = {}
    for k in np.argsort(-far, kind="stable"):  # the nearest comes last, and stays
        one, other = sorted(near[k], key=lambda n: own[n])
        found[int(own[one]), int(own[other])] = float(far[k]), at[one], at[other]
    return found


@cache
def alone(name: str) -> Phantom:
    names = ("golgi", name) if name == "vesicle" else (name,)  # they gather at a stack
    return Phantom(PhantomSpec((300, 400, 400), (NM,) * 3, seed=3, organelles=names))


def meetings(name: str, most: int = 4) -> list[Box]:
    """Return boxes round places where two instances lie near each other, from what was placed."""
    placed = [(line.points, line.radii, line.thing) for line in alone(name).lines] or [
        (np.array([t.centre]), np.array([(3 * t.volume_nm3 / 4 / np.pi) ** (1 / 3)]), t.number)
        for t in alone(name).things if t.kind == "vesicle"
    ]  # fmt: skip
    at, wide = (np.concatenate([p[k] for p in placed]) for k in (0, 1))
    own = np.repeat([p[2] for p in placed], [len(p[0]) for p in placed])
    one, other = cKDTree(at).query_pairs(2 * wide.max() + 30, output_type="ndarray").T
    gap = np.linalg.norm(at[one] - at[other], axis=1) - wide[one] - wide[other]
    meet = (own[one] != own[other]) & (gap < 20)
    middle = (at[one[meet]] + at[other[meet]]) / 2 / NM
    deep = 8 + SIZE / 2  # a box may grow by eight voxels
    fits = ((middle > deep) & (middle < alone(name).spec.shape - deep)).all(axis=1)
    starts = (middle[fits] - SIZE / 2).astype(int)
    return [Box(triple(a), triple(a + SIZE)) for a in starts[:: max(1, len(starts) // most)][:most]]


@pytest.mark.parametrize(
    ("name", "distance"),
    [("mito", 10.0), ("mito", 20.0), ("microtubules", 20.0), ("vesicle", 30.0)],
)
def test_contacts_with_itself_agree_with_a_search(name: str, distance: float) -> None:
    compared, shadowed, slack = 0, 0, 2 * 3**0.5 * NM
    for box in meetings(name):
        wide = box.grow(Halo.of(8))
        ids = alone(name).instances(name, wide)
        where, found = contact_truth(alone(name), name, name, distance, box)
        assert np.bincount(where.ravel(), minlength=1)[1:].tolist() == [c.voxels for c in found]
        told = {(c.a, c.b): c.gap_nm for c in found}
        search = pairs_of_voxels(ids, NM, distance + slack)
        assert told.keys() <= search.keys()  # so 0 < a < b, and nothing too far is told
        for pair, (far, one, other) in search.items():
            inside = all(8 <= v < n - 8 for v, n in zip(one, wide.shape, strict=True))
            if far > distance or not inside:  # centres are never nearer than the surfaces
                continue
            if pair in told:
                assert far - slack <= told[pair] <= far
                compared += 1
            else:  # a third one lies nearer, and a voxel knows two
                around = ids[tuple(slice(v - 6, v + 7) for v in (one + other) // 2)]
                assert len(np.unique(around)) > 3
                shadowed += 1
    assert compared > 3 * shadowed


def test_mitochondria_that_touch_are_in_contact() -> None:
    """The pairs that share a face of two voxels, found without any distance."""
    touching = 0
    for box in meetings("mito"):
        ids = alone("mito").instances("mito", box)
        told = {(c.a, c.b): c for c in contact_truth(alone("mito"), "mito", "mito", 10.0, box)[1]}
        for axis in range(3):
            a, b = np.moveaxis(ids, axis, 0)[1:], np.moveaxis(ids, axis, 0)[:-1]
            meet = (a != b) & (a > 0) & (b > 0)
            both = np.sort(np.stack([a[meet], b[meet]], -1), axis=1)
            for one, other in np.unique(both, axis=0).tolist():
                assert told[one, other].gap_nm < NM
                touching += 1
    assert touching


@pytest.mark.parametrize(("name", "seed"), [("er", 5), ("mito", 9), ("vesicle", 5)])
def test_contacts_with_the_plasma_membrane_lie_inside_the_cell(name: str, seed: int) -> None:
    """Both ways through each voxel, by distances between voxels."""
    names = ("er", "mito", "vesicle")
    near = Phantom(PhantomSpec((80, 160, 160), (4.0,) * 3, seed=seed, organelles=names))
    where, found = contact_truth(near, name, "plasma_membrane", 40.0, near.box())
    membrane = near.instances("plasma_membrane", near.box()) > 0
    own = near.instances(name, near.box()) > 0
    cytosol = ~membrane & ~own & (near.labels(near.box()) != 1)
    way = sum(distance_transform_edt(~mask, sampling=4.0) for mask in (membrane, own))
    slack = 2 * 3**0.5 * 4.0
    assert found
    assert where[cytosol & (way < 40.0)].all()
    assert not where[way > 40.0 + slack].any()
    assert not where[near.labels(near.box()) == 1].any()


def test_a_single_instance_has_no_contact_with_itself() -> None:
    for name in ("er", "nucleus", "plasma_membrane"):
        with pytest.raises(WrongUse, match="single"):
            contact_truth(cell(15), name, name, 10.0, cell(15).box())
    with pytest.raises(WrongUse, match="at most 64 nm"):
        contact_truth(cell(15), "mito", "mito", 65.0, cell(15).box())
    with pytest.raises(WrongUse, match="distances exist for"):
        contact_truth(cell(15), "liver", "liver", 10.0, cell(15).box())
    with pytest.raises(WrongUse, match="expected a part of the volume"):
        contact_truth(cell(15), "mito", "mito", 10.0, Box((0, 0, 0), (99, 1, 1)))


@cache
def small() -> PhantomSpec:
    return PhantomSpec((60, 80, 90), (12.0, 9.0, 8.0), seed=3, chunk=(25, 80, 33))


def write_tables(folder, spec: PhantomSpec, **given) -> tuple[dict, dict]:
    phantom, grid = Phantom(spec), grid_of(spec)
    with truth_tables(folder, phantom, **given) as tables:
        for index in grid.indices():
            tables.add(grid.box(index))
    assert sorted(path.name for path in folder.iterdir()) == [CONTACTS, RIBOSOMES]
    read = [pq.read_table(folder / name).to_pydict() for name in (RIBOSOMES, CONTACTS)]
    return read[0], read[1]


def test_every_ribosome_is_in_the_table_once(tmp_path, monkeypatch) -> None:
    """A table of many groups of rows, against what one call says of the whole volume."""
    monkeypatch.setattr(phantom_truth, "BATCH", 40)
    spec = small()
    phantom = Phantom(spec)
    table, _ = write_tables(tmp_path, spec, pairs=())
    found = phantom.ribosomes(phantom.box())
    placed = (found.centre >= 0) & (found.centre < spec.extent_nm)
    inside = np.logical_and.reduce(placed, axis=1)
    assert 0 < inside.sum() < len(found.number)
    names = np.array(["free", "envelope", "sheet", "tubule"])[found.category]
    wanted = {int(n): (*c, s) for n, c, s, i in
              zip(found.number, found.centre, names, inside, strict=True) if i}  # fmt: skip
    rows = list(zip(*(table[c] for c in ("id", "z_nm", "y_nm", "x_nm", "class")), strict=True))
    assert len(rows) == len(wanted)
    assert {n: tuple(rest) for n, *rest in rows} == wanted
    assert set(names[inside]) >= {"free", "envelope"}
    ids = phantom.instances("ribosomes", phantom.box())
    seen = np.setdiff1d(np.unique(ids), [0])
    assert np.isin(table["id"], seen).mean() > 0.97  # the rest is hidden by what is drawn above
    chunk = np.array([np.array(row[1:4]) / spec.voxel_size_nm // spec.chunk for row in rows])
    assert chunk.tolist() == sorted(chunk.tolist())
    assert pq.ParquetFile(tmp_path / RIBOSOMES).num_row_groups > 2


def test_the_table_of_contacts_is_that_of_the_whole(tmp_path) -> None:
    spec = cell(15).spec
    pairs = [("mito", "mito"), ("er", "microtubules")]
    _, table = write_tables(tmp_path, spec, pairs=pairs)
    wanted = [
        (a, b, far, *contact) for a, b in pairs for far in (10.0, 20.0)
        for contact in contact_truth(cell(15), a, b, far, cell(15).box())[1]
    ]  # fmt: skip
    assert list(zip(*table.values(), strict=True)) == wanted
    assert {row[0] for row in wanted} == {"mito", "er"}
    names = ["a", "b", "distance_nm", "a_id", "b_id", "voxels", "gap_nm"]
    schema = pq.read_schema(tmp_path / CONTACTS)
    assert schema.names == names
    assert [str(t) for t in schema.types[2:]] == ["double", "uint64", "uint64", "int64", "double"]


def test_tables_of_what_is_not_placed_are_empty(tmp_path) -> None:
    bare = PhantomSpec((40, 40, 40), (10.0,) * 3, organelles=("LD",))
    assert pairs_of(bare) == ()
    assert set(pairs_of(small())) == set(phantom_truth.PAIRS)
    ribosomes, contacts = write_tables(tmp_path, bare)
    assert list(ribosomes) == ["id", "z_nm", "y_nm", "x_nm", "class"]
    assert set(map(len, [*ribosomes.values(), *contacts.values()])) == {0}


def test_nothing_is_left_of_tables_that_were_not_finished(tmp_path) -> None:
    grid = grid_of(small())

    def fail() -> None:
        with truth_tables(tmp_path, Phantom(small()), [("er", "er")]) as tables:
            tables.add(grid.box((0, 0, 0)))

    with pytest.raises(WrongUse, match="single"):
        fail()
    assert list(tmp_path.iterdir()) == []

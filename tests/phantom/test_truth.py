"""Every truth of a phantom against code that shares nothing with what made it."""

from functools import cache
from itertools import pairwise

import cc3d
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree
from skimage.measure import euler_number

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.kernels.schema.classes import SUPER
from fibstream.phantom import Annotated, Crop, Phantom, PhantomSpec, contact_truth, sizes
from fibstream.phantom.ribosomes import CYTOSOLIC, NUCLEAR
from fibstream.phantom.truth import annotation, label_mask, record, super_class

from ..support.geometry import triple

SHAPE, NM = (130, 200, 200), 6.0


@cache
def cell() -> Phantom:
    return Phantom(PhantomSpec(SHAPE, (NM, NM, NM), seed=21))


@cache
def crowd() -> Phantom:
    """Return a cell without a nucleus, full of what makes contacts."""
    names = ("er", "mito", "microtubules", "vesicle")
    return Phantom(PhantomSpec((90, 160, 160), (8.0, 8.0, 8.0), seed=3, organelles=names))


@cache
def labels() -> np.ndarray:
    return cell().labels(cell().box())


@cache
def instances(name: str) -> np.ndarray:
    return cell().instances(name, cell().box())


def whole_things(kind: str, reach: float) -> list:
    """Return the things of a kind that lie in the volume with ``reach`` nm to spare."""
    low, high = np.full(3, reach), np.array(SHAPE) * NM - reach
    return [
        t for t in cell().things
        if t.kind == kind and (np.array(t.centre) > low).all() and (np.array(t.centre) < high).all()
    ]  # fmt: skip


def crop_of(mask: np.ndarray) -> np.ndarray:
    """Return a mask cut to what is set, with one empty voxel around."""
    spans = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {k}))) for k in range(3)]
    return np.pad(mask[tuple(slice(s[0], s[-1] + 1) for s in spans)], 1)


def test_every_organelle_is_there() -> None:
    there = set(np.unique(labels()).tolist())
    assert there >= {1, 2, 3, 4, 6, 7, 8, 9, 16, 17, 20, 21, 22, 23, 24, 26, 28, 30, 34, 35, 36}
    assert 0 not in there and max(there) <= 36


def test_super_classes_are_unions_of_ids() -> None:
    assert len(SUPER) == 36
    for name, of in SUPER.items():
        assert np.array_equal(super_class(labels(), name), np.isin(labels(), of.ids)), name
    nucleus = super_class(labels(), "nucleus")
    assert (nucleus & super_class(labels(), "er")).any()  # they overlap in the envelope
    with pytest.raises(WrongUse, match="class 'liver'"):
        super_class(labels(), "liver")


@pytest.mark.parametrize(("kind", "reach"), [("vesicle", 45.0), ("LD", 290.0)])
def test_balls_have_their_volume_their_area_and_no_hole(kind: str, reach: float) -> None:
    only = Phantom(PhantomSpec((180, 300, 300), (8.0,) * 3, seed=4, organelles=(kind,)))
    own = only.instances(kind, only.box())
    high = np.array(only.spec.extent_nm) - reach
    ratios = []
    for thing in (t for t in only.things if t.kind == kind):
        if not all(reach < c < h for c, h in zip(thing.centre, high, strict=True)):
            continue
        mask = crop_of(own == thing.number)
        ratios.append(mask.sum() * 8.0**3 / thing.volume_nm3)
        radius = (3 * thing.volume_nm3 / 4 / np.pi) ** (1 / 3)
        assert thing.area_nm2 == pytest.approx(4 * np.pi * radius**2)
        assert euler_number(mask, 3) == 1
        assert cc3d.connected_components(mask, connectivity=6).max() == 1
    assert ratios
    assert np.abs(np.array(ratios) - 1).max() < 0.2  # a vesicle is six voxels across
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.02)


def test_membranes_close() -> None:
    """A membrane is a hollow ball: Euler number 2, and its lumen meets nothing else."""
    for thing in whole_things("vesicle", 45.0):
        own = instances("vesicle") == thing.number
        assert euler_number(crop_of(own & (labels() == 8)), 1) == 2
        at = np.argwhere(own & (labels() == 9))
        for step in np.vstack([np.eye(3, dtype=int), -np.eye(3, dtype=int)]):
            assert own[tuple((at + step).T)].all()


def test_mitochondria_are_one_piece_without_holes_along_their_lines() -> None:
    mito = instances("mito")
    checked = 0
    for number in np.unique(mito)[1:]:
        mask = mito == number
        touches = any(mask.take(i, k).any() for k in range(3) for i in (0, -1))
        if not touches:
            assert cc3d.connected_components(mask, connectivity=6).max() == 1
            assert euler_number(crop_of(mask), 3) == 1
            checked += 1
    for line in (line for line in cell().lines if line.kind == "mito"):
        at = np.floor(line.points / NM).astype(int)
        inside = ((at >= 0) & (at < SHAPE)).all(axis=1)
        assert (mito[tuple(at[inside].T)] == line.thing).all()
        checked += int(inside.any())
    assert checked


def test_mitochondria_are_tubes_round_their_lines() -> None:
    """Distances by brute force over the corners and widths of the lines."""
    box = Box((20, 30, 30), (90, 180, 180))
    mine, number = cell().distances("mito", box)
    points = np.stack(np.meshgrid(*[np.arange(a, b, 5) for a, b in zip(*box, strict=True)],
                                  indexing="ij"), -1).reshape(-1, 3)  # fmt: skip
    best = np.full(len(points), 64.0)
    for line in (line for line in cell().lines if line.kind == "mito"):
        for (a, b), (r, s) in zip(pairwise(line.points), pairwise(line.radii), strict=True):
            p = (points + 0.5) * NM
            t = ((p - a) @ (b - a) / ((b - a) @ (b - a))).clip(0, 1)
            best = np.minimum(
                best, np.linalg.norm(p - a - t[:, None] * (b - a), axis=1) - r - t * (s - r)
            )
    at = tuple((points - np.array(box.start)).T)
    assert np.allclose(mine[at], best.clip(-64, 64), atol=1e-3)
    assert ((number[at] > 0) == (best < 64)).all()


def test_pairs_of_mitochondria_touch_and_stay_two() -> None:
    touching = 0
    for seed in range(4):
        other = Phantom(PhantomSpec((60, 200, 200), (12.0,) * 3, seed=seed, organelles=("mito",)))
        mito = other.instances("mito", other.box())
        for axis in range(3):
            a, b = (
                mito.take(range(1, mito.shape[axis]), axis),
                mito.take(range(mito.shape[axis] - 1), axis),
            )
            touching += int(((a != b) & (a > 0) & (b > 0)).sum())
    assert touching > 20


@pytest.mark.parametrize("name", ["vesicle", "mito", "er", "microtubules", "nucleus"])
def test_distances_agree_with_those_between_voxels(name: str) -> None:
    there = np.argwhere(instances(name))
    middle, size = there[len(there) // 2], np.array([80, 130, 130])
    start = np.clip(middle - size // 2, 0, np.array(instances(name).shape) - size)
    box = Box(triple(start), triple(start + size))
    mine = cell().distances(name, box)[0]
    inside = mine < 0
    if name in ("vesicle", "mito", "microtubules"):
        cut = box.slices()
        assert np.array_equal(inside, instances(name)[cut] > 0)
    assert inside.any()
    outside = distance_transform_edt(~inside, sampling=NM)
    core = np.zeros_like(inside)
    core[8:-8, 8:-8, 8:-8] = True
    check = core & (outside < 40) & (outside > 0)
    error = mine[check] - (outside[check] - NM / 2)
    assert np.abs(error).max() < (1.3 if name != "nucleus" else 2.0) * NM


def test_no_organelle_lies_in_another() -> None:
    names = ("mito", "golgi", "vesicle", "MVB", "lysosome", "LD", "microtubules", "er")
    box = Box((20, 0, 0), (70, 200, 200))
    taken = np.zeros(box.shape, np.int8)
    for name in names:
        taken += cell().distances(name, box)[0] < -NM
    outside = cell().distances("plasma_membrane", box)[0] > 0
    assert taken.max() == 1
    assert not (taken.astype(bool) & outside).any()


def test_pores_go_through_the_envelope() -> None:
    pores = instances("nuclear_pore")
    holes = 0
    for number in np.unique(pores)[1:]:
        mask = pores == number
        if any(mask.take(i, k).any() for k in range(3) for i in (0, 1, -1, -2)):
            continue
        grown = distance_transform_edt(~mask) < 2.5
        around = set(np.unique(labels()[grown]).tolist())
        assert around & {35, 34} and around & {24, 26, 28}, around  # both sides meet
        channel = crop_of(mask & (labels() == 23))
        assert cc3d.connected_components(channel).max() == 1
        holes += 1
    assert holes


def test_the_envelope_is_two_membranes_with_a_space_of_its_width() -> None:
    depth = -cell().distances("nucleus", cell().box())[0]
    far_from_pores = distance_transform_edt(instances("nuclear_pore") == 0, sampling=NM) > 60
    other_er = np.isin(labels(), (16, 17, 18, 19))
    clear = far_from_pores & (distance_transform_edt(~other_er, sampling=NM) > 40)
    lumen = clear & (labels() == 21)
    assert depth[lumen].min() > 0.9 * sizes.MEMBRANE
    assert depth[lumen].max() < sizes.ENVELOPE - 0.9 * sizes.MEMBRANE
    assert (labels()[clear & (depth > 2) & (depth < 6)] == 20).all()


def test_the_reticulum_is_one_with_the_envelope() -> None:
    lumen = np.isin(labels(), (17, 19, 21, 16, 18, 20))
    parts = cc3d.connected_components(lumen, connectivity=26)
    envelope = set(np.unique(parts[labels() == 21]).tolist())
    loose = 0
    for part in range(1, parts.max() + 1):
        if part in envelope:
            continue
        mask = parts == part
        cut = any(mask.take(i, k).any() for k in range(3) for i in (0, -1))
        loose += not cut  # what a face cuts may be joined beyond it
    assert loose == 0


def test_tubules_join_by_threes() -> None:
    ends = [end for line in cell().lines if line.kind == "er" for end in line.ends]
    degree = np.bincount(ends)
    assert degree.max() == 3
    assert (degree == 3).sum() >= 5
    for line in (line for line in cell().lines if line.kind == "er"):
        for end in (0, -1):  # lines that share a node meet there
            mate = [o for o in cell().lines if o.kind == "er" and line.ends[end] in o.ends]
            gaps = [np.abs(o.points[[0, -1]] - line.points[end]).max(axis=1).min() for o in mate]
            assert max(gaps) < 1e-6


def test_ribosomes_are_where_and_what_they_are_said_to_be() -> None:
    found = cell().ribosomes(cell().box())
    assert len(found.centre) > 200
    assert len(np.unique(found.number)) == len(found.number)
    apart = cKDTree(found.centre).query(found.centre, k=2)[0][:, 1]
    assert apart.min() >= 2 * sizes.RIBOSOME
    er, far = np.isin(labels(), range(16, 22)), np.array(SHAPE) * NM - 60
    to_er = distance_transform_edt(~er, sampling=NM)
    to_ne = distance_transform_edt(~np.isin(labels(), (20, 21)), sampling=NM)
    well = ((found.centre > 60) & (found.centre < far)).all(axis=1)
    at = tuple(np.floor(found.centre[well] / NM).astype(int).T)
    category, near = found.category[well], to_er[at]
    bound = category != CYTOSOLIC
    assert bound.sum() > 10
    assert np.abs(near[bound] - sizes.RIBOSOME).max() < 1.8 * NM
    assert near[~bound].min() > sizes.RIBOSOME + 10.0 - NM
    assert np.abs(to_ne[at][category == NUCLEAR] - sizes.RIBOSOME).max() < 2 * NM


def test_ribosomes_are_balls_in_the_cytosol() -> None:
    found, own = cell().ribosomes(cell().box()), instances("ribosomes")
    assert np.array_equal(own > 0, labels() == 34)
    number, count = np.unique(own, return_counts=True)
    size = dict(zip(number.tolist(), count.tolist(), strict=True))
    far = np.array(SHAPE) * NM - 15
    exact = 4 / 3 * np.pi * sizes.RIBOSOME**3
    ratio = [
        size.get(int(n), 0) * NM**3 / exact
        for n, c in zip(found.number, found.centre, strict=True)
        if ((c > 15) & (c < far)).all()
    ]
    assert min(ratio) > 0.6
    assert np.mean(ratio) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("distance", [10.0, 20.0])
@pytest.mark.parametrize(("a", "b"), [("er", "mito"), ("er", "microtubules"), ("er", "vesicle")])
def test_contacts_agree_with_a_search_over_pairs_of_voxels(a: str, b: str, distance: float) -> None:
    box, nm = crowd().box(), 8.0
    where, pairs = contact_truth(crowd(), a, b, distance, box)
    told = {pair.b for pair in pairs}
    assert told or distance < 20 or b == "vesicle"
    surface = crowd().instances(a, box) > 0
    to_a = distance_transform_edt(~surface, sampling=nm)
    mine = crowd().instances(b, box)
    for number in np.unique(mine)[1:].tolist():
        gap = to_a[mine == number].min()
        if gap <= distance:  # centres of voxels are never nearer than the surfaces
            assert number in told
        if gap > distance + 2 * 3**0.5 * nm:
            assert number not in told
    assert int(where.max()) == len(pairs)
    assert np.bincount(where.ravel())[1:].tolist() == [pair.voxels for pair in pairs]


def test_a_wider_contact_holds_a_narrower_one() -> None:
    box = crowd().box()
    near = contact_truth(crowd(), "er", "mito", 10.0, box)[0] > 0
    wide = contact_truth(crowd(), "er", "mito", 20.0, box)[0] > 0
    assert (near <= wide).all()
    assert wide.sum() > near.sum() > 0
    with pytest.raises(WrongUse, match="at most 64 nm"):
        contact_truth(crowd(), "er", "mito", 65.0, box)


def test_what_was_not_annotated_reads_zero_and_is_masked() -> None:
    truth = labels()[:40, 60:140, 60:140]
    states = {34: Annotated.NOT, 35: Annotated.PARTLY}
    crop = Crop(1, Box((0, 60, 60), (40, 140, 140)), states)
    drawn = annotation(truth, crop)
    assert not (drawn == 34).any()
    assert not (drawn[20:] == 35).any()
    assert np.array_equal(drawn[:20] == 35, truth[:20] == 35)
    assert np.array_equal(drawn[~np.isin(truth, (34, 35))], truth[~np.isin(truth, (34, 35))])
    assert np.array_equal(label_mask(truth, crop, "microtubules"), drawn > 0)
    assert not label_mask(truth, crop, "ribosomes").any()
    assert not label_mask(truth, crop, "cytosol").any()
    assert (truth[20:] == 35).any()
    assert (truth == 34).any()
    lists = record(truth, crop)
    assert sorted(fine for ids in lists.values() for fine in ids) == list(range(1, 38))
    assert lists["present_unannotated"] == [34]
    assert lists["present_partial_annotation"] == [35]


def test_a_generic_nucleus_is_enough_for_the_nucleus_and_not_for_chromatin() -> None:
    truth = np.array([[[35, 20, 21, 24, 26, 28, 29]]], np.uint8)
    crop = Crop(7, Box((0, 0, 0), (1, 1, 7)), {}, generic=True)
    assert annotation(truth, crop).tolist() == [[[35, 20, 21, 37, 37, 37, 37]]]
    assert label_mask(truth, crop, "nucleus").all()
    assert not label_mask(truth, crop, "chromatin").any()
    assert not label_mask(truth, crop, "nucleolus").any()
    with pytest.raises(WrongUse, match="expected 1 to 37"):
        Crop(1, Box((0, 0, 0), (1, 1, 1)), {38: Annotated.NOT})

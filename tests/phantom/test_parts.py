"""What single organelles are made of: how many parts, of which shape, where."""

from functools import cache
from itertools import pairwise

import cc3d
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates
from skimage.measure import euler_number, marching_cubes, mesh_surface_area

from fibstream.core.grid import Box
from fibstream.kernels.schema.classes import FINE_IDS, SUPER
from fibstream.phantom import Annotated, Crop, Phantom, PhantomSpec, sizes
from fibstream.phantom.materials import MATERIAL
from fibstream.phantom.phantom import Voxels
from fibstream.phantom.truth import annotation, label_mask, super_class

from ..support.geometry import triple

WALL = 45.0  # nm: depth of the wall of triplets of a centriole (Winey)


def components(mask: np.ndarray, connectivity: int = 26) -> tuple[np.ndarray, int]:
    parts, count = cc3d.connected_components(mask, connectivity=connectivity, return_N=True)
    return parts, int(count)


def part_touches_face(mask: np.ndarray) -> bool:
    return any(mask.take(end, axis).any() for axis in range(3) for end in (0, -1))


def around(phantom: Phantom, centre: tuple[float, ...], reach_nm: float) -> Box | None:
    """Return the box with ``reach_nm`` around a place, or None if it leaves the volume."""
    voxel = np.array(phantom.spec.voxel_size_nm)
    low = np.floor((np.array(centre) - reach_nm) / voxel).astype(int)
    high = low + np.ceil(2 * reach_nm / voxel).astype(int)
    if (low < 0).any() or (high > phantom.spec.shape).any():
        return None
    return Box(triple(low), triple(high))


@cache
def window(seed: int) -> Phantom:
    return Phantom(PhantomSpec((90, 200, 200), (14.0,) * 3, seed, ("nucleus",)))


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_the_envelope_has_as_many_holes_as_pores(seed: int) -> None:
    """A closed shell with n holes has Euler number 2 - n, the disc of it in a window 1 - n.

    What a face cuts is a notch and no hole, so only pores with their whole rim inside count.
    """
    labels = window(seed).labels(window(seed).box())
    envelope = np.isin(labels, (20, 21))
    pores = np.array([t.centre for t in window(seed).things if t.kind == "nuclear_pore"])
    spare = np.minimum(pores, window(seed).spec.extent_nm - pores).min(axis=1)
    inside, beyond = spare > sizes.PORE_HOLE + 14, spare < sizes.PORE_HOLE - 14
    notches = int((~inside & ~beyond).sum())  # too near a face to tell
    assert inside.sum() > 5 and notches <= 2
    assert components(envelope)[1] == 1
    assert 0 <= 1 - euler_number(envelope, 3) - inside.sum() <= notches
    wall = envelope | np.isin(labels, (22, 23))
    sides, count = components(~wall, 6)
    assert count == 2  # with its pores filled, the shell keeps nucleus and cytoplasm apart
    assert components(~wall | (labels == 23), 6)[1] == 1  # and every way between is a channel
    inner = 1 + int(np.isin(labels[sides == 2], range(24, 30)).any())
    assert set(np.unique(labels[sides == 3 - inner]).tolist()) == {1, 2, 35}
    # A rim is a little wider than what fills it: single voxels there read as cytosol.
    assert np.isin(labels[sides == inner], range(24, 30)).all()


def test_the_envelope_of_a_whole_nucleus_is_closed_but_for_its_pores() -> None:
    """Slab by slab: Euler numbers add up, less those of the slices that slabs share."""
    cell = Phantom(PhantomSpec((690, 690, 690), (20.0,) * 3, 5, ("nucleus",)))
    centre, radii = cell.scene.bodies[0, :3], cell.scene.bodies[0, 3:6]
    low = ((centre - radii - 400) // 20).astype(int).tolist()
    high = ((centre + radii + 400) // 20).astype(int).tolist()
    total, shared, ends = 0, 0, []
    for z in range(low[0], high[0] - 1, 40):
        top = min(z + 41, high[0])
        labels = cell.labels(Box((z, *low[1:]), (top, *high[1:])))
        envelope = np.isin(labels, (20, 21))
        total += euler_number(envelope, 3)
        shared += euler_number(envelope[:1], 3) if z > low[0] else 0
        ends += [envelope[:, [0, -1]].any(), envelope[:, :, [0, -1]].any()]
        ends += [envelope[0].any()] if z == low[0] else []
        ends += [envelope[-1].any()] if top == high[0] else []
    assert not any(ends)  # the whole of it was seen
    pores = sum(thing.kind == "nuclear_pore" for thing in cell.things)
    assert pores > 1000
    assert total - shared == 2 - pores


def test_a_nucleus_is_one_and_holds_whole_nucleoli_with_their_chromatin() -> None:
    whole = 0
    for seed in range(2, 4):
        inside = Phantom(PhantomSpec((150, 150, 150), (20.0,) * 3, seed, ("nucleus",)))
        labels = inside.labels(inside.box())
        assert components(np.isin(labels, range(20, 30)))[1] == 1
        own = inside.instances("nucleolus", inside.box())
        placed = [t.number for t in inside.things if t.kind == "nucleolus"]
        assert np.unique(own)[1:].tolist() == placed == [1, 2, 3]
        assert np.array_equal(own > 0, labels == 29)
        far = distance_transform_edt(own == 0, sampling=20.0)
        assert far[np.isin(labels, (25, 27))].max() < 110 * 1.3  # a wobble makes it steeper
        assert far[np.isin(labels, (24, 26))].min() > 110 / 1.3
        assert (far[np.isin(labels, range(20, 24))] > 60).all()
        for number in placed:
            mask = own == number
            assert components(mask, 6)[1] == 1
            assert euler_number(np.pad(mask, 1), 3) == 1
            whole += not part_touches_face(mask)
    assert whole


def test_a_golgi_stack_is_its_cisternae_and_none_meets_another() -> None:
    seen = []
    for seed in (1, 4):
        golgi = Phantom(PhantomSpec((700, 700, 700), (4.0,) * 3, seed, ("golgi",)))
        boxes = [(t, around(golgi, t.centre, 540.0)) for t in golgi.things if t.kind == "golgi"]
        thing, box = next((t, b) for t, b in boxes if b is not None)
        mask = golgi.instances("golgi", box) == thing.number
        assert not part_touches_face(mask)
        parts, count = components(mask, 6)
        index = golgi.things.index(thing)
        discs = golgi.scene.world.rows[golgi.scene.world.thing == index]
        assert count == len(discs)
        least, most = sizes.GOLGI_CISTERNAE
        assert least <= count <= most
        volumes = np.sort(np.bincount(parts.ravel())[1:] * 4.0**3)
        assert all(euler_number(parts == n, 3) == 1 for n in range(1, count + 1))
        flat = np.sort(np.pi * discs[:, 7] ** 2 * 2 * sizes.GOLGI_HALF)
        assert 1.0 < volumes.sum() / flat.sum() < 1.3  # rims are swollen
        seen.append(count)
    assert len(set(seen)) == 2


TUBE_NM, TUBE_EDGE = 3.0, 150


@cache
def tubes(seed: int) -> Phantom:
    return Phantom(PhantomSpec((TUBE_EDGE,) * 3, (TUBE_NM,) * 3, seed, ("microtubules",)))


def walk(line, step: float = 0.5) -> tuple[np.ndarray, float]:
    """Return places along a centre line that lie in the volume, and how long that part is."""
    places, steps = [], []
    for a, b in pairwise(line.points):
        count = int(np.ceil(np.linalg.norm(b - a) / step))
        places.append(a + (np.arange(count)[:, None] + 0.5) / count * (b - a))
        steps.append(np.full(count, np.linalg.norm(b - a) / count))
    at, long = np.concatenate(places), np.concatenate(steps)
    inside = ((at > 0) & (at < TUBE_NM * TUBE_EDGE)).all(axis=1)
    return at[inside], float(long[inside].sum())


@pytest.mark.parametrize("seed", [0, 2])  # no line of these runs along a face
def test_microtubules_have_the_volume_and_the_area_of_their_lines(seed: int) -> None:
    own = tubes(seed).instances("microtubules", tubes(seed).box())
    placed = {t.number: t for t in tubes(seed).things if t.kind == "microtubule"}
    radius, crossing, length, ends = sizes.TUBULE_OUT, set(), 0.0, 0
    for line in (line for line in tubes(seed).lines if line.kind == "microtubule"):
        at, long = walk(line)
        if len(at):
            crossing.add(line.thing)
            assert (own[tuple(np.floor(at / TUBE_NM).astype(int).T)] == line.thing).all()
        length += long
        edge = TUBE_NM * TUBE_EDGE
        ends += sum(bool(((end > 0) & (end < edge)).all()) for end in line.points[[0, -1]])
        thing = placed[line.thing]
        whole = np.linalg.norm(np.diff(line.points, axis=0), axis=1).sum()
        assert thing.volume_nm3 == pytest.approx(np.pi * radius**2 * whole)
        assert thing.area_nm2 == pytest.approx(2 * np.pi * radius * whole)
    assert crossing <= set(np.unique(own).tolist())
    assert len(crossing) >= 4
    exact = np.pi * radius**2 * length + ends * 2 / 3 * np.pi * radius**3
    assert (own > 0).sum() * TUBE_NM**3 == pytest.approx(exact, rel=0.02)
    smooth = gaussian_filter((own > 0).astype(np.float32), 0.8)
    points, faces, *_ = marching_cubes(smooth, 0.5, spacing=(TUBE_NM,) * 3)
    area = 2 * np.pi * radius * length + ends * 2 * np.pi * radius**2
    assert mesh_surface_area(points, faces) == pytest.approx(area, rel=0.04)


def test_microtubules_are_hollow() -> None:
    labels = np.pad(tubes(1).labels(tubes(1).box()), 1, mode="edge")
    lumen = np.argwhere(labels == 36)
    for step in np.vstack([np.eye(3, dtype=int), -np.eye(3, dtype=int)]):
        beside = (lumen + step).clip(0, np.array(labels.shape) - 1)
        assert np.isin(labels[tuple(beside.T)], (30, 36)).all()
    share = len(lumen) / np.isin(labels, (30, 36)).sum()
    assert share == pytest.approx((sizes.TUBULE_IN / sizes.TUBULE_OUT) ** 2, rel=0.03)


def test_microtubules_pass_by_what_is_in_their_way() -> None:
    """A crowded cell: no line leaves its tube, and no tube is eaten by what it passes."""
    names = ("mito", "er", "golgi", "vesicle", "microtubules")
    full = Phantom(PhantomSpec((120, 160, 160), (6.0,) * 3, 21, names))
    own = full.instances("microtubules", full.box())
    others = np.minimum.reduce(
        [full.distances(name, full.box())[0] for name in names if name != "microtubules"]
    )
    passed = 0
    for line in (line for line in full.lines if line.kind == "microtubule"):
        steps = [np.linspace(a, b, 30, endpoint=False) for a, b in pairwise(line.points)]
        at = np.floor(np.concatenate(steps) / 6.0).astype(int)
        there = tuple(at[((at >= 0) & (at < own.shape)).all(axis=1)].T)
        assert (own[there] == line.thing).all()
        passed += int((others[there] < 60).any())
    assert passed >= 5
    assert others[own > 0].min() > 0


def test_centrioles_are_nine_fold() -> None:
    """Nine appendages of each kind on the mother, nine dark triplets in the wall of both."""
    for seed in (1, 4):
        cell = Phantom(PhantomSpec((700, 700, 700), (4.0,) * 3, seed, ("centrosome",)))
        (thing,) = (t for t in cell.things if t.kind == "centrosome")
        box = around(cell, thing.centre, 600.0)
        assert box is not None
        voxels = cell.voxels(box)
        labels = cell.labels_of(voxels)
        barrels, count = components(labels == 31)
        assert count == 2
        for appendage in (32, 33):
            assert components(labels == appendage)[1] == 9
        for barrel in (1, 2):
            waves = around_axis(np.argwhere(barrels == barrel), voxels)
            assert waves[9] > 100 * np.delete(waves[1:20], [8, 17]).max()


def around_axis(places: np.ndarray, voxels: Voxels) -> np.ndarray:
    """Return the strength of each number of waves of the tone round the wall of a barrel."""
    middle = places.mean(axis=0)
    axis, *sides = np.linalg.svd((places - middle)[::7], full_matrices=False)[2]
    turn = 2 * np.pi * np.arange(360) / 360
    radius = (sizes.CENTRIOLE - WALL / 2) / 4.0
    ring = radius * (np.cos(turn)[:, None] * sides[0] + np.sin(turn)[:, None] * sides[1])
    heights = np.linspace(-30, 30, 13)
    at = middle + ring[None] + heights[:, None, None] * axis
    tone = map_coordinates(voxels.tone.astype(float), at.reshape(-1, 3).T, order=1)
    return np.abs(np.fft.rfft(tone.reshape(13, 360).mean(axis=0)))


def test_endosomes_hold_small_vesicles() -> None:
    cell = Phantom(PhantomSpec((400, 400, 400), (6.0,) * 3, 1, ("MVB",)))
    seen = 0
    for thing in (t for t in cell.things if t.kind == "MVB"):
        if (box := around(cell, thing.centre, 400.0)) is None:
            continue
        voxels = cell.voxels(box)
        own = cell.instances_of("MVB", voxels) == thing.number
        assert euler_number(own, 3) == 1
        small = np.isin(voxels.material, (MATERIAL.ILV_MEMBRANE, MATERIAL.ILV_LUMEN))
        labels = cell.labels_of(voxels)
        assert (labels[small] == 11).all()  # annotators drew them as lumen
        parts, count = components(small & own, 6)
        radii = (3 * np.bincount(parts.ravel())[1:] * 6.0**3 / 4 / np.pi) ** (1 / 3)
        assert count >= 5
        assert np.median(radii) == pytest.approx(0.85 * sizes.ILV, rel=0.1)
        assert radii.min() > 0.6 * sizes.ILV
        seen += 1
    assert seen


def test_ribosomes_of_every_class_have_their_volume() -> None:
    names = ("nucleus", "er", "ribosomes")
    cell = Phantom(PhantomSpec((120, 180, 180), (6.0,) * 3, 1, names))
    found, own = cell.ribosomes(cell.box()), cell.instances("ribosomes", cell.box())
    far = np.array(cell.spec.extent_nm) - 15
    whole = ((found.centre > 15) & (found.centre < far)).all(axis=1)
    number, count = np.unique(own, return_counts=True)
    size = dict(zip(number.tolist(), count.tolist(), strict=True))
    ball = 4 / 3 * np.pi * sizes.RIBOSOME**3
    ratio = np.array([size.get(int(n), 0) for n in found.number]) * 6.0**3 / ball
    for category in range(4):
        these = ratio[whole & (found.category == category)]
        assert len(these) > 30
        assert these.mean() == pytest.approx(1.0, abs=0.03)
        assert these.min() > 0.7


states = st.dictionaries(st.integers(1, FINE_IDS), st.sampled_from(list(Annotated)))


@given(states=states, generic=st.booleans(), seed=st.integers(0, 20))
def test_what_a_mask_lets_through_is_true(states, generic, seed) -> None:
    """Of every class: where a network may learn, the annotation says what is there."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(rng.integers(1, FINE_IDS, 14), (6, 4, 4)).astype(np.uint8)
    crop = Crop(1, Box((0, 0, 0), (6, 4, 4)), states, generic)
    drawn = annotation(labels, crop)
    for name, of in SUPER.items():
        mask = label_mask(labels, crop, name)
        assert not (mask & (drawn == 0)).any()
        assert mask.all() or not mask.any() or np.array_equal(mask, drawn > 0)
        truth = super_class(labels, name)
        assert np.array_equal(super_class(drawn, name)[mask], truth[mask]), name
        lacking = [i for i in of.ids if crop.state(i) is not Annotated.FULLY and i in labels]
        if not generic:
            assert np.array_equal(mask, (drawn > 0) & (not lacking)), name

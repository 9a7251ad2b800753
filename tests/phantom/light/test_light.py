"""Light images: dyes on membranes, light at places, noise as it should be, boxes that fit."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation, binary_erosion

from fibstream.core.errors import LimitExceeded, WrongUse
from fibstream.core.grid import Box
from fibstream.phantom import Phantom, PhantomSpec
from fibstream.phantom.light import MODALITIES, Errors, LightField, Network, image
from fibstream.phantom.light import dyes as dyes_module
from fibstream.phantom.light.dyes import PER_UM2, dyes_on
from fibstream.phantom.light.field import neighbours, rim_nm
from fibstream.phantom.light.landmarks import landmarks
from fibstream.phantom.light.modality import OFFSET, READ_NOISE, STRAY_PER_UM3

SHAPE, NM = (90, 150, 150), 12.0


@cache
def cell(seed: int = 6) -> Phantom:
    return Phantom(PhantomSpec(SHAPE, (NM,) * 3, seed=seed))


@cache
def field(modality: str, family: str = "bspline") -> LightField:
    return LightField(cell(), modality, family)


@cache
def whole(modality: str, channel: str, family: str = "bspline") -> np.ndarray:
    lit = field(modality, family)
    return lit.counts(channel, Box((0, 0, 0), lit.shape))


# -- dyes ------------------------------------------------------------------------------------------


def dyes(phantom: Phantom, organelle: str):
    return dyes_on(phantom.scene, organelle, np.zeros(3), np.array(phantom.spec.extent_nm))


def test_dyes_lie_in_the_outer_membrane_of_their_mitochondrion() -> None:
    found = dyes(cell(), "mito")
    assert len(found.place) > 1000
    best = np.full(len(found.place), np.inf)
    owner = np.zeros(len(found.place), int)
    for line in (line for line in cell().lines if line.kind == "mito"):
        for (a, b), (r, s) in zip(pairwise(line.points), pairwise(line.radii), strict=True):
            t = ((found.place - a) @ (b - a) / ((b - a) @ (b - a))).clip(0, 1)
            d = np.linalg.norm(found.place - a - t[:, None] * (b - a), axis=1) - r - t * (s - r)
            owner[d < best], best = line.thing, np.minimum(best, d)
    assert np.abs(best + 3.25).max() < 1.1  # the middle of a membrane 6.5 nm thick
    assert (np.array([cell().things[t].number for t in found.thing]) == owner).mean() > 0.999


def test_every_piece_of_membrane_has_as_many_dyes() -> None:
    only = Phantom(PhantomSpec((300, 400, 400), (12.0,) * 3, seed=2, organelles=("mito",)))
    found = dyes(only, "mito")
    count = np.bincount(found.thing, minlength=len(only.things))
    high = np.array(only.spec.extent_nm)
    ratios = []
    for index, thing in enumerate(only.things):
        lines = [
            m for m in only.lines if m.kind == thing.kind == "mito" and m.thing == thing.number
        ]
        inside = lines and all(((m.points > 300) & (m.points < high - 300)).all() for m in lines)
        if inside and not np.isnan(thing.area_nm2):
            ratios.append(count[index] / (thing.area_nm2 * 1e-6 * PER_UM2))
    assert len(ratios) >= 3
    assert np.mean(ratios) == pytest.approx(0.97, abs=0.05)  # the middle of the membrane is smaller


def test_dyes_of_the_reticulum_lie_in_its_membrane() -> None:
    found = dyes(cell(), "er")
    labels = cell().labels(cell().box())
    membrane = np.isin(labels, (16, 18, 20, 22))
    at = np.minimum(np.floor(found.place / NM).astype(int), np.array(SHAPE) - 1)
    assert binary_dilation(membrane)[tuple(at.T)].mean() > 0.99  # a voxel is wider than a membrane
    lumen = binary_erosion(np.isin(labels, (17, 19, 21)), iterations=2, border_value=1)
    assert not lumen[tuple(at.T)].any()
    assert {16, 20} <= set(labels[tuple(at.T)].tolist())
    with pytest.raises(WrongUse, match="channel 'actin'"):
        dyes(cell(), "actin")


# -- the image of one dye --------------------------------------------------------------------------


def lone(modality: str, place: list[float], photons: float, shape=(60, 60, 60)) -> np.ndarray:
    kind, out = MODALITIES[modality], np.zeros(shape, np.int64)
    args = (np.array([place], np.float32), np.array([photons], np.float32))
    image.add_light(
        *args, np.zeros(3, np.int64), np.array(kind.voxel_nm), image.sigma_nm(kind), out
    )
    return out / image.PART


@pytest.mark.parametrize("modality", ["sim", "confocal"])
def test_a_dye_is_a_bell_of_its_point_spread_at_its_place(modality: str) -> None:
    voxel, sigma = np.array(MODALITIES[modality].voxel_nm), image.sigma_nm(MODALITIES[modality])
    place = np.array([30.3, 29.6, 31.1]) * voxel
    seen = lone(modality, place.tolist(), 1000.0)
    assert seen.sum() == pytest.approx(1000.0, rel=0.02)
    for axis in range(3):
        profile = seen.sum(axis=tuple({0, 1, 2} - {axis}))
        centres = (np.arange(60) + 0.5) * voxel[axis]
        mean = (profile * centres).sum() / profile.sum()
        spread = np.sqrt((profile * (centres - mean) ** 2).sum() / profile.sum())
        assert mean == pytest.approx(place[axis], abs=0.02 * voxel[axis])
        wanted = np.hypot(sigma[axis], voxel[axis] / np.sqrt(12))
        assert spread == pytest.approx(wanted, rel=0.04)


def test_a_dye_is_localised_as_often_and_as_far_off_as_said() -> None:
    kind, count = MODALITIES["palm"], 4000
    voxel, sigma = np.array([10.0, 10.0, 10.0]), image.sigma_nm(kind)
    out = np.zeros((40, 40, 40), np.int64)
    luck = np.random.default_rng(0).integers(0, 2**63, count).astype(np.uint64)
    place = np.full((count, 3), 200.0, np.float32)
    image.localise(
        place, np.full(count, 2.0, np.float32), luck, np.zeros(3, np.int64), voxel, sigma, out
    )
    assert out.sum() == pytest.approx(2.0 * count, rel=0.05)
    for axis in range(3):
        profile = out.sum(axis=tuple({0, 1, 2} - {axis}))
        centres = (np.arange(40) + 0.5) * 10.0
        mean = (profile * centres).sum() / profile.sum()
        assert mean == pytest.approx(200.0, abs=1.5)
        spread = np.sqrt((profile * (centres - mean) ** 2).sum() / profile.sum())
        assert spread == pytest.approx(np.hypot(sigma[axis], 10 / np.sqrt(12)), rel=0.05)


@pytest.mark.parametrize("mean", [0.0, 3.0, 300.0])
def test_counts_have_the_noise_of_photons_and_camera(mean: float) -> None:
    shape = (20, 60, 60)
    light = np.full(shape, int(mean * image.PART), np.int64)
    out = np.empty(shape, np.uint16)
    image.expose(np.uint64(5), light, np.zeros(3, np.int64), np.full(3, 50.0),
                 np.zeros((4, 8, 8)), 0.0, np.ones(20), out)  # fmt: skip
    assert out.mean() == pytest.approx(mean + OFFSET, abs=0.1 + 0.002 * mean)
    assert out.var() == pytest.approx(mean + READ_NOISE**2 + 1 / 12, rel=0.05)


def test_haze_fading_and_stray_localisations_are_as_strong_as_said() -> None:
    shape, edge = (20, 60, 60), 50.0
    dark, out = np.zeros(shape, np.int64), np.empty(shape, np.uint16)
    even, first, voxel = np.full((6, 12, 12), 2e6), np.zeros(3, np.int64), np.full(3, edge)
    fade = np.repeat([1.0, 0.5], 10)
    image.expose(np.uint64(5), dark, first, voxel, even, 0.25, fade, out)
    mean = 0.25 * 2e6 * (edge / image.HAZE_CELL_NM) ** 3
    assert out[:10].mean() - OFFSET == pytest.approx(mean, rel=0.01)
    assert out[10:].mean() - OFFSET == pytest.approx(mean / 2, rel=0.01)
    image.add_stray(np.uint64(7), first, np.full(3, 200.0), dark)
    assert dark.mean() == pytest.approx(STRAY_PER_UM3 * 0.2**3, rel=0.15)


def test_a_stack_fades_along_z() -> None:
    kind = MODALITIES["sim"]
    seen = whole("sim", "er").astype(float) - OFFSET
    steady = LightField(cell(), "sim")
    steady.modality = kind._replace(bleach=0.0)
    bright = steady.counts("er", Box((0, 0, 0), steady.shape)).astype(float) - OFFSET
    z = (np.arange(len(seen)) + 0.5) / len(seen)
    held = bright.mean(axis=(1, 2)) > 5
    ratio = seen.mean(axis=(1, 2))[held] / bright.mean(axis=(1, 2))[held]
    assert held.sum() > 5 and np.allclose(ratio, 1 - kind.bleach * z[held], atol=0.05)


def test_haze_keeps_all_light_and_spreads_it() -> None:
    place = np.array([[5000.0, 9000.0, 9000.0]], np.float32)
    haze = image.haze_of(place, np.array([500.0], np.float32), (10000.0, 18000.0, 18000.0))
    assert haze.sum() == pytest.approx(500.0, rel=0.01)
    assert haze.max() < 10.0


# -- the whole -------------------------------------------------------------------------------------


@st.composite
def boxes(draw: st.DrawFn, shape: tuple[int, int, int]) -> Box:
    spans = [sorted(draw(st.tuples(*[st.integers(0, n)] * 2))) for n in shape]
    starts = tuple(min(a, n - 1) for (a, _), n in zip(spans, shape, strict=True))
    return Box(starts, tuple(max(b, a + 1) for (_, b), a in zip(spans, starts, strict=True)))


@pytest.mark.parametrize("modality", MODALITIES)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_box_is_that_part_of_the_whole(modality: str, data: st.DataObject) -> None:
    box = data.draw(boxes(field(modality).shape))
    for channel in ("mito", "er"):
        part = field(modality).counts(channel, box)
        assert np.array_equal(part, whole(modality, channel)[box.slices()])


@pytest.mark.parametrize("family", ["bspline", "slabs", "cos7-sim"])
def test_membranes_shine_where_the_transform_puts_them(family: str) -> None:
    """Voxels of the labels, not dyes, are moved; a mirrored transform misses."""
    lit, seen = field("sim", family), whole("sim", "mito", family).astype(float)
    found = dyes(cell(), "mito")
    bright = lit._brightness("mito", 0, found)
    shown = {cell().things[i].number for i in found.thing[bright > 0].tolist()}
    labels, mito = cell().labels(cell().box()), cell().instances("mito", cell().box())
    at = np.argwhere((labels == 3) & np.isin(mito, sorted(shown)))
    at = at[((at > 8) & (at < np.array(SHAPE) - 8)).all(axis=1)]
    centres = (at + 0.5) * NM
    voxel = np.array(lit.voxel_size_nm)

    def level(places: np.ndarray) -> float:
        where = np.floor(lit.warp.to_light(places) / voxel).astype(int)
        return float(seen[tuple(where.T)].mean() - OFFSET)

    right = level(centres)
    assert right > 4 * (np.median(seen) - OFFSET)
    wrong = centres.copy()
    wrong[:, 2] = NM * SHAPE[2] - wrong[:, 2]
    assert right > 2.5 * level(wrong)


def test_a_share_of_mitochondria_has_no_dye() -> None:
    many = Phantom(PhantomSpec((200, 500, 500), (16.0,) * 3, seed=1, organelles=("mito",)))
    lit = LightField(many, "sim", "affine", unlabelled=0.2)
    found = dyes(many, "mito")
    bright = lit._brightness("mito", 0, found)
    dark = {t for t in set(found.thing.tolist()) if not bright[found.thing == t].any()}
    share = len(dark) / len(set(found.thing.tolist()))
    assert 0.1 < share < 0.3
    levels = np.array([bright[found.thing == t][0] for t in set(found.thing.tolist()) - dark])
    assert np.log(levels).std() == pytest.approx(0.4, abs=0.1)
    assert not any(bright[found.thing == t].any() for t in dark)


def test_neighbours_surround_the_specimen_and_do_not_enter_it() -> None:
    spec = cell().spec
    extent, rim = np.array(spec.extent_nm), rim_nm(np.array(spec.extent_nm))
    parts = neighbours(spec)
    area = sum(float(np.prod(part.extent[1:])) for part in parts)
    outer = (extent[1] + 2 * rim) * (extent[2] + 2 * rim)
    assert area == pytest.approx(outer - extent[1] * extent[2])
    for part in parts:
        low, high = part.origin[1:], (part.origin + part.extent)[1:]
        assert (high <= 0).any() or (low >= extent[1:]).any()
    assert len({part.scene.bodies.tobytes() for part in parts}) == 4
    lit = field("sim")
    for number, part in enumerate(parts, 1):
        back = lit.warp.to_specimen(lit._stain("mito", number).place.astype(float))
        assert len(back) and (back[:, 1:] > part.origin[1:] - 0.1).all()
        assert (back[:, 1:] < (part.origin + part.extent)[1:] + 0.1).all()
    # and they are seen: there is light well outside of the specimen
    grid = np.indices(field("sim").shape).reshape(3, -1).T
    back = field("sim").warp.to_specimen((grid + 0.5) * np.array(field("sim").voxel_size_nm))
    outside = ((back[:, 1:] < -150) | (back[:, 1:] > extent[1:] + 150)).any(axis=1)
    assert np.percentile(whole("sim", "mito").ravel()[outside], 99) > OFFSET + 20


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(WrongUse, match="light 'xray'"):
        LightField(cell(), "xray")
    with pytest.raises(WrongUse, match="unlabelled 1"):
        LightField(cell(), "sim", unlabelled=1.0)
    with pytest.raises(WrongUse, match="channel 'actin'"):
        field("sim").counts("actin", Box((0, 0, 0), (1, 1, 1)))
    with pytest.raises(WrongUse, match="expected a part of the light image"):
        field("sim").counts("mito", Box((0, 0, 0), (999, 1, 1)))


def test_too_many_dyes_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(dyes_module, "MAX_DYES", 1000)
    with pytest.raises(LimitExceeded, match="more than 1000 dyes; expected a smaller phantom"):
        dyes(cell(), "mito")


def test_landmarks_are_junctions_of_the_reticulum() -> None:
    found = landmarks(cell())
    assert len(found) >= 10
    ends = np.concatenate([line.points[[0, -1]] for line in cell().lines if line.kind == "er"])
    for place in found:
        assert (np.linalg.norm(ends - place, axis=1) < 1e-6).sum() >= 3
    assert np.array_equal(landmarks(cell()), found)


# -- predictions -----------------------------------------------------------------------------------


def test_a_network_without_errors_predicts_the_membranes() -> None:
    box, labels = cell().box(), cell().labels(cell().box())
    for name, ids in (("mito_membrane", (3,)), ("er_membrane", (16, 18, 20))):
        found, wanted = Network(cell()).predict(name, box), np.isin(labels, ids)
        sure = np.abs(found.astype(int) - 127) > 3  # what lies on the border may fall either way
        assert ((found >= 127) == wanted)[sure & ~np.isin(labels, (22, 23, 34))].mean() > 0.995
        assert wanted[found > 135].mean() > 0.97
    with pytest.raises(WrongUse, match="class 'golgi'"):
        Network(cell()).predict("golgi", box)


def test_what_a_network_misses_is_not_there_and_what_it_mistakes_is() -> None:
    names = ("mito", "lysosome", "MVB", "LD")
    phantom = Phantom(PhantomSpec((90, 220, 220), (16.0,) * 3, seed=8, organelles=names))
    network = Network(phantom, Errors(missed=0.3, false=0.3))
    box = phantom.box()
    found = network.predict("mito_membrane", box)
    mito, right = phantom.instances("mito", box), phantom.labels(box) == 3
    kept = set(np.unique(mito)[1:].tolist()) - network.missed
    assert network.missed and kept
    touched = found >= 131
    assert touched[np.isin(mito, list(kept)) & right].mean() > 0.7
    alone = np.isin(mito, list(network.missed)) & right
    assert touched[alone].mean() < 0.05
    for thing in network.false_things:
        if all(
            300 < c < e - 300 for c, e in zip(thing.centre, phantom.spec.extent_nm, strict=True)
        ):
            own = phantom.instances(thing.kind, box) == thing.number
            assert (touched & own).sum() > 0.2 * own.sum()
    assert not Network(phantom, Errors(0.0, 0.0)).missed
    with pytest.raises(WrongUse, match="missed 2"):
        Errors(missed=2)


def test_shares_of_errors_are_as_asked_for() -> None:
    names = ("mito", "lysosome", "MVB", "LD")
    many = Phantom(PhantomSpec((300, 900, 900), (16.0,) * 3, seed=1, organelles=names))
    network = Network(many, Errors())
    count = sum(thing.kind == "mito" for thing in many.things)
    assert len(network.missed) / count == pytest.approx(0.05, abs=0.02)
    assert len(network.false_things) / count == pytest.approx(0.05, abs=0.02)

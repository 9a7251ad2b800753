"""Laws of the parts: blocks are the whole, brightness moves nothing, fits keep what is smooth."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates

from fibstream.core.grid import Box
from fibstream.services.registration.fit import basis, domain, fit, grid_over, stretch_of
from fibstream.services.registration.judge import cross_validated, judged, jumps, regions
from fibstream.services.registration.match import Matches, Rule, joined, match, places
from fibstream.services.registration.port import Image, Registration
from fibstream.services.registration.register import Pair, deformed
from fibstream.services.registration.settings import Settings
from fibstream.services.registration.transform import Spline, Transform
from fibstream.services.registration.warp import (
    centres,
    difference,
    displacements,
    needed,
    pulled,
    stretch_map,
    warped,
)

from ..support.geometry import triple

VOXEL, CORNER = (128.0, 100.0, 90.0), (-300.0, 50.0, 1000.0)
SHAPE = (14, 30, 26)
RULE = Rule(700.0, 400.0, 260.0)


def smooth(seed: int, shape, sigma: float = 1.2) -> np.ndarray:
    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma, mode="wrap")
    return (field / np.abs(field).max() + 1).astype(np.float32)


def bent(seed: int, strength: float = 60.0) -> Transform:
    rng = np.random.default_rng(seed)
    grid = grid_over(Image(np.zeros(SHAPE), VOXEL, CORNER), 1500.0)
    spline = Spline(rng.normal(0, strength, (*grid.shape, 3)), grid.origin, grid.spacing)
    c, s = np.cos(seed), np.sin(seed)
    matrix = np.array([[1.0, 0.02, 0.0], [0.0, c, -s], [0.0, s, c]]) * 1.05
    middle = np.array(CORNER) + np.array(SHAPE) * VOXEL / 2
    return Transform(matrix, np.array([2400.0, 2500.0, 2500.0]) - matrix @ middle, spline)


@given(st.integers(0, 2**32), st.tuples(*[st.integers(1, n - 1) for n in SHAPE]))
@settings(max_examples=8, deadline=None)
def test_a_block_with_only_the_light_that_it_needs_is_the_whole_to_the_bit(seed, cut) -> None:
    transform, voxels = bent(seed), smooth(seed, (40, 48, 52))
    light = Image(voxels, (120.0, 100.0, 110.0), (10.0, -20.0, 5.0))
    whole = pulled(transform, light, Image(np.zeros(SHAPE), VOXEL, CORNER))
    assert (whole != 0).mean() > 0.05
    grid = (VOXEL, CORNER)
    for axis in range(3):
        for start, stop in ((0, cut[axis]), (cut[axis], SHAPE[axis])):
            low, high = [0, 0, 0], list(SHAPE)
            low[axis], high[axis] = start, stop
            box = Box(triple(low), triple(high))
            part = needed(transform, (light.voxel_nm, light.corner_nm), voxels.shape, grid, box)
            inside = whole[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
            if part is None:
                assert not inside.any()
                continue
            held = voxels[tuple(slice(a, b) for a, b in zip(*part, strict=True))]
            piece = Image(np.ascontiguousarray(held), light.voxel_nm, light.corner_nm)
            block = warped(transform, piece, part.start, voxels.shape, grid, box)
            assert block.tobytes() == np.ascontiguousarray(inside).tobytes()


def test_a_warped_voxel_is_the_light_at_its_place() -> None:
    transform, voxels = bent(3), smooth(3, (40, 48, 52))
    light = Image(voxels, (120.0, 100.0, 110.0), (10.0, -20.0, 5.0))
    whole = pulled(transform, light, Image(np.zeros(SHAPE), VOXEL, CORNER))
    points = centres((VOXEL, CORNER), Box((0, 0, 0), SHAPE)).reshape(-1, 3)
    index = (transform.to_light(points) - light.corner_nm) / light.voxel_nm - 0.5
    held = ((index >= 0) & (index <= np.array(voxels.shape) - 1)).all(axis=1)
    assert held.mean() > 0.3
    expected = map_coordinates(voxels.astype(float), index[held].T, order=1)
    assert np.abs(whole.ravel()[held] - expected).max() < 1e-4
    far = ((index < -0.5) | (index > np.array(voxels.shape) - 0.5)).any(axis=1)
    assert not whole.ravel()[far].any()


def test_light_that_is_missing_for_a_block_is_no_zero() -> None:
    light = Image(smooth(1, (40, 48, 52))[:5].copy(), (120.0, 100.0, 110.0))
    with pytest.raises(AssertionError, match="need light outside"):
        warped(bent(1), light, (0, 0, 0), (40, 48, 52), (VOXEL, CORNER), Box((0, 0, 0), SHAPE))


@given(st.integers(0, 2**32), st.integers(2, SHAPE[1] - 2))
@settings(max_examples=8, deadline=None)
def test_maps_of_blocks_are_those_of_the_whole(seed: int, cut: int) -> None:
    transform, grid = bent(seed), (VOXEL, CORNER)
    for make in (stretch_map, displacements):
        whole = make(transform, grid, Box((0, 0, 0), SHAPE))
        high = make(transform, grid, Box((0, cut, 0), SHAPE))
        assert np.isfinite(whole).all()
        assert whole[:, cut:].tobytes() == high.tobytes()


def test_a_field_sampled_every_512_nm_is_within_10_nm() -> None:
    grid = grid_over(Image(np.zeros((32, 128, 128)), (128.0,) * 3), 2000.0)
    rng = np.random.default_rng(5)
    spline = Spline(rng.normal(0, 300, (*grid.shape, 3)), grid.origin, grid.spacing)
    transform = Transform(np.eye(3), np.zeros(3), spline)
    box = Box((0, 0, 0), (8, 32, 32))
    field = displacements(transform, ((512.0,) * 3, (0.0,) * 3), box)
    points = rng.uniform(256, [3800, 16000, 16000], (3000, 3))
    index = (points / 512.0 - 0.5).T
    seen = np.stack([map_coordinates(field[..., k], index, order=1) for k in range(3)], axis=1)
    assert np.linalg.norm(points + seen - transform.to_light(points), axis=1).max() < 30
    calm = Transform(np.eye(3), np.zeros(3), Spline(spline.coefficients / 3, *spline_place(spline)))
    field = displacements(calm, ((512.0,) * 3, (0.0,) * 3), box)
    seen = np.stack([map_coordinates(field[..., k], index, order=1) for k in range(3)], axis=1)
    assert np.linalg.norm(points + seen - calm.to_light(points), axis=1).max() < 10


def spline_place(spline: Spline) -> tuple[np.ndarray, np.ndarray]:
    return spline.origin, spline.spacing


def test_two_transforms_differ_by_what_is_between_their_places() -> None:
    a = bent(2)
    b = Transform(a.matrix, a.offset + np.array([3.0, 4.0, 0.0]), a.spline)
    points = centres((VOXEL, CORNER), Box((3, 3, 3), (5, 6, 7))).reshape(-1, 3)
    assert difference(a, b, points) == pytest.approx(np.full(len(points), 5.0))
    assert not difference(a, a, points).any()


# -- matching --------------------------------------------------------------------------------------


def pair(seed: int, shift=(0.0, 0.0, 0.0)) -> tuple[Image, Image, Transform]:
    voxels = smooth(seed, (24, 40, 40), 1.0)
    em = Image(np.ascontiguousarray(voxels[5:19, 5:35, 5:31]), VOXEL, CORNER)
    corner = np.array(CORNER) - 5 * np.array(VOXEL)
    light = Image(voxels, VOXEL, (float(corner[0]), float(corner[1]), float(corner[2])))
    return em, light, Transform(np.eye(3), np.array(shift))


@given(st.integers(0, 2**32))
@settings(max_examples=5, deadline=None)
def test_patches_of_boxes_together_are_those_of_the_whole(seed: int) -> None:
    em, light, start = pair(seed)
    where = places(em, RULE.cell_nm)
    assert len(where) > 20
    whole = match(em, light, start, where, RULE)
    part = np.random.default_rng(seed).integers(0, 3, len(where))
    parts = [match(em, light, start, where[part == n], RULE) for n in range(3)]
    for a, b in zip(joined(parts), joined([whole]), strict=True):
        assert a.tobytes() == b.tobytes()


@given(st.floats(0.01, 100), st.floats(-50, 50), st.integers(0, 2**32))
@example(0.40625, 8.0, 3308493)
@settings(max_examples=5, deadline=None)
def test_gain_and_offset_of_the_light_change_no_place(gain, offset, seed) -> None:
    em, light, start = pair(seed, (60.0, -70.0, 50.0))
    where = places(em, RULE.cell_nm)
    other = Image((light.grey * np.float32(gain) + np.float32(offset)), VOXEL, light.corner_nm)
    # Beyond the image is 0, which is no gain of anything: only patches well inside are compared.
    one, two = (match(em, image, start, where, RULE) for image in (light, other))
    both = (one.weight > 0).all(axis=1) & (two.weight > 0).all(axis=1)
    assert both.sum() > 10
    moved = np.abs(one.move - two.move)[both].max(axis=1)
    # Of two voxels with nearly the same correlation rounding may choose the other one.
    assert np.quantile(moved, 0.9) < 0.1 and moved.max() < VOXEL[0] / 2
    assert np.abs(one.peak - two.peak).max() < 0.02


def test_a_shift_is_found_within_a_tenth_of_a_voxel() -> None:
    em, light, start = pair(4, (40.0, -75.0, 130.0))
    found = match(em, light, start, places(em, RULE.cell_nm), RULE)
    used = (found.weight > 0).all(axis=1)
    assert used.mean() > 0.8
    assert np.median(found.move[used], axis=0) == pytest.approx([-40.0, 75.0, -130.0], abs=12)
    assert found.peak[used].min() > 0.5


def test_no_place_no_patch_and_places_lie_in_their_cells() -> None:
    em, light, start = pair(4)
    assert match(em, light, start, np.empty((0, 3)), RULE).move.shape == (0, 3)
    dark = Image(np.zeros(SHAPE, np.float32), VOXEL, CORNER)
    assert places(dark, 700.0).shape == (0, 3)
    where = places(em, 700.0)
    assert len(np.unique(np.floor(where / 700.0), axis=0)) == len(where)


# -- fitting ---------------------------------------------------------------------------------------

EM = Image(np.zeros((32, 64, 64)), (128.0,) * 3)


def scattered(seed: int, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, EM.extent_nm, (count, 3))
    return points, 0.03 * (points - EM.middle_nm) @ rng.normal(0, 1, (3, 3)) + rng.normal(0, 50, 3)


def test_a_fit_keeps_what_bends_nothing_and_outliers_do_not_count() -> None:
    points, target = scattered(1)
    grid = grid_over(EM, 2000.0)
    wrong = target.copy()
    wrong[::10] += 1500.0
    found = fit(grid, points, wrong, np.ones(points.shape), 1e-2)
    good = np.arange(len(points)) % 10 != 0
    assert np.abs(found.spline.at(points)[0] - target)[good].max() < 3
    assert not found.weight[::10].any()
    assert found.weight[good].min() > 0.5


def test_a_region_that_moved_further_than_the_rest_is_followed() -> None:
    points, _ = scattered(3, 600)
    far = np.linalg.norm(points - np.array([0.0, 0.0, 0.0]), axis=1) < 2500.0
    moved = np.where(far[:, None], [0.0, 260.0, 0.0], 0.0)
    target = moved + np.random.default_rng(3).normal(0, 25, points.shape)
    default = Settings()
    found = fit(grid_over(EM, default.knots_nm), points, target, np.ones(points.shape),
                default.bending)  # fmt: skip
    deep = np.linalg.norm(points, axis=1) < 1800.0
    assert deep.sum() > 5
    assert found.weight[deep].min() > 0.3
    assert np.linalg.norm((found.spline.at(points)[0] - moved)[deep], axis=1).max() < 90


def test_patches_that_would_fold_are_held_by_more_bending() -> None:
    points, target = scattered(2)
    target[:, 2] = -1.5 * (points[:, 2] - EM.middle_nm[2])
    found = fit(grid_over(EM, 2000.0), points, target, np.ones(points.shape), 1e-2)
    assert found.bending > 1e-2
    assert stretch_of(found.spline, grid_over(EM, 2000.0)).min() >= 0.25


def test_the_basis_is_the_spline_and_the_domain_holds_the_specimen() -> None:
    grid = grid_over(EM, 1700.0)
    points, _ = scattered(3, 100)
    rng = np.random.default_rng(3)
    c = rng.normal(size=(int(np.prod(grid.shape)), 3))
    spline = Spline(c.reshape(*grid.shape, 3), grid.origin, grid.spacing)
    u, _, inside = spline.at(points)
    assert inside.all()
    assert np.abs(basis(grid, points) @ c - u).max() < 1e-12
    low, high = domain(grid)
    assert (low <= -500 + 1e-6).all()
    assert (high >= EM.extent_nm + 500 - 1e-6).all()


def test_no_patch_at_all_is_no_displacement() -> None:
    none = np.empty((0, 3))
    found = fit(grid_over(EM, 2000.0), none, none, none, 1e-2)
    assert not found.spline.coefficients.any()
    assert judged(0.9, 0.5, none, np.empty(0), np.ones(5)).status == "unregistered"


# -- judging ---------------------------------------------------------------------------------------


def test_cross_validation_sees_noise_that_the_fit_has_followed() -> None:
    points, target = scattered(5, 300)
    noise = np.random.default_rng(5).normal(0, 40, target.shape)
    weight = np.ones(points.shape)
    weight[7] = 0
    grid = grid_over(EM, 2000.0)
    miss = cross_validated(grid, points, target + noise, weight, 1e-2)
    error = np.linalg.norm(miss, axis=1)
    assert np.isnan(error[7])
    assert np.isfinite(np.delete(error, 7)).all()
    assert 55 < np.nanmedian(error) < 110  # the median length of the noise alone is 62
    near = np.linalg.norm(points[:, None] - points[None], axis=2) < 1.0
    assert (regions(points)[:, None] == regions(points)[None])[near].all()


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_a_jump_is_what_most_patches_of_a_layer_see_aside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    place = rng.uniform([-600, 0, 0], [1100, 9000, 9000], (120, 3))
    layer = np.floor(place[:, 0] / 256).astype(int)
    true = rng.normal(0, 100, (9, 3))[layer]
    move, weight = true + rng.normal(0, 1e-3, true.shape), np.ones(true.shape)
    astray = np.flatnonzero(layer == 0)[:3]
    move[astray] += 5000  # some patches are wrong, some found no place
    weight[np.flatnonzero(layer == 1)[:2]], move[np.flatnonzero(layer == 1)[:2]] = 0, 1e6
    weight[np.flatnonzero(layer == 2)[9:], 0] = 0  # nine are too few to tell
    found = jumps(Matches(place, move, weight[:, 0], weight))
    counted = [(weight[layer == n] > 0).all(axis=1).sum() for n in layer]
    assert not found[:, 0].any()
    told = np.array(counted) >= 10
    assert found[told, 1:] == pytest.approx(true[told, 1:], abs=0.1)
    assert not found[~told].any() and (~told).any()


def test_thin_patches_see_a_jump_where_it_is() -> None:
    em, light, start = pair(6)
    border = 12  # of 24 planes of the light image
    jumped = light.grey.copy()
    jumped[border:] = np.roll(jumped[border:], 2, axis=2)
    where = places(em, 400.0)
    thin = Rule(400.0, (VOXEL[0], 500.0, 500.0), 350.0)
    found = jumps(match(em, Image(jumped, VOXEL, light.corner_nm), start, where, thin))
    jump = CORNER[0] + (border - 5) * VOXEL[0]
    inside = np.floor(where[:, 0] / 256) * 256
    before, after = inside + 256 + 1.5 * VOXEL[0] < jump, inside - 1.5 * VOXEL[0] > jump
    assert before.sum() > 20 and after.sum() > 20
    assert np.abs(found[before]).max() < 15
    assert found[after] == pytest.approx(np.array([[0, 0, 2 * VOXEL[2]]] * after.sum()), abs=15)


def test_the_error_that_is_said_holds_jumps_that_the_fit_smooths_over() -> None:
    voxels = smooth(8, (16, 64, 64), 1.0)
    jumped, border = voxels.copy(), 8
    jumped[border:] = np.roll(jumped[border:], 3, axis=2)
    em, light = Image(voxels, (128.0,) * 3), Image(jumped, (128.0,) * 3)
    found = deformed(Pair(em, light), Transform(np.eye(3), np.zeros(3)), 0.5, Settings())
    places_nm = centres(((512.0, 512.0, 512.0), (0.0, 0.0, 0.0)), Box((0, 2, 2), (4, 14, 14)))
    points = places_nm.reshape(-1, 3)
    moved = np.where(points[:, :1] > border * 128.0, [[0.0, 0, 384.0]], 0.0)
    truth = np.linalg.norm(found.transform.to_light(points) - points - moved, axis=1)
    said = found.judgement.error_nm
    assert said == np.nanmedian(found.error_nm)
    assert 0.7 < said / np.median(truth) < 1.5  # a quarter without thin patches


def test_errors_of_patches_are_lengths_in_the_light_image() -> None:
    nothing = judged(0.9, 0.5, np.ones((2, 3)), np.ones(2), np.ones(5))
    affine = Transform(np.array([[0.0, 0, 2], [0, 1, 0], [3, 0, 0]]), np.array([5.0, 6, 7]))
    miss = np.array([[1.0, 2, 3], [np.nan] * 3])
    error = Registration(affine, nothing, affine, miss, miss).error_nm
    assert error[0] == pytest.approx(7.0)  # of (6, 2, 3)
    assert np.isnan(error[1])


def test_one_weak_measure_is_to_be_checked_and_two_are_no_registration() -> None:
    weight, error, calm = np.ones((100, 3)), np.full(100, 80.0), np.ones(9)
    assert judged(0.6, 0.2, weight, error, calm).status == "registered"
    weak = judged(0.39, 0.2, weight, error, calm)
    assert (weak.status, len(weak.reasons)) == ("check", 1)
    assert judged(0.39, 0.07, weight, error, calm).status == "unregistered"
    assert judged(0.2, 0.2, weight, error, calm).status == "unregistered"
    assert judged(0.6, 0.01, weight, error, calm).status == "unregistered"
    assert judged(0.6, 0.2, weight, error * 4, calm).status == "unregistered"
    assert judged(0.6, 0.2, weight[:30], error[:30], calm).status == "check"
    assert judged(0.6, 0.2, weight, error, np.array([1.0, -0.1])).status == "check"
    assert judged(float("nan"), 0.2, weight, error, calm).status != "registered"


def test_matches_join_in_one_order() -> None:
    place = np.array([[2.0, 0, 0], [1.0, 5, 0], [1.0, 4, 9]])
    one = Matches(place, place, place[:, 0], place)
    assert joined([one]).place.tolist() == sorted(place.tolist())

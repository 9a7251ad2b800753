"""Targets, validity and weights against slow loops that share nothing with them."""

import numpy as np
import pytest

from fibstream.core.grid import Box
from fibstream.kernels.distance import distance_bytes
from fibstream.services.inference.training.targets import (
    MAX_DISTANCE,
    Truth,
    balance,
    signed_distance,
    targets,
    to_unknown,
    valid_distance,
)  # fmt: skip

VOXEL = (10.0, 8.0, 8.0)


def nearest(at: np.ndarray, voxel, places: np.ndarray) -> float:
    """Return the distance in nm to the nearest of places, infinity where there is none."""
    if not len(places):
        return np.inf
    return float(np.sqrt((((places - at) * voxel) ** 2).sum(1).min()))


def slow_distance(inside, voxel, most, surface):
    out = np.zeros(inside.shape)
    for at in np.ndindex(inside.shape):
        here = np.array(at)
        if surface == "between":
            other = nearest(here, voxel, np.argwhere(inside != inside[at])) - min(voxel) / 2
            out[at] = other if inside[at] else -other
        elif inside[at]:
            # inside, and not deeper than one voxel: the eroded complement
            rim = [
                p
                for p in np.argwhere(inside)
                if not inside[tuple(slice(max(c - 1, 0), c + 2) for c in p)].all()
            ]
            out[at] = nearest(here, voxel, np.concatenate([np.argwhere(~inside), rim]))
        else:
            out[at] = -nearest(here, voxel, np.argwhere(inside))
    return np.clip(out, -most, most)


def slow_valid(distance, known, voxel, most, surface):
    out = np.zeros(known.shape, bool)
    unknown = np.argwhere(~np.pad(known, 1)) - 1
    for at in np.ndindex(known.shape):
        edge = nearest(np.array(at), voxel, unknown)
        d = distance[at]
        if surface == "between":
            sure = abs(d) <= edge - min(voxel) / 2 + 1e-4
        else:
            sure = d < edge if d >= 0 else -d < edge + min(voxel)
        out[at] = known[at] and (sure or edge >= most)
    return out


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    rng = np.random.default_rng(4)
    found = np.full((8, 9, 10), 35, np.uint8)
    found[2:6, 2:7, 3:8] = 4
    found[3:5, 3:6, 4:7] = 5
    found[:, 0, :3] = 0  # nobody annotated it
    found[rng.random(found.shape) < 0.02] = 3
    return found


@pytest.mark.parametrize("surface", ["between", "voxel"])
def test_targets_and_validity_are_those_of_a_slow_search(labels, surface) -> None:
    most = MAX_DISTANCE * 12
    truth = {"mito": Truth(labels, (3, 4, 5)), "mito_DNA": Truth(labels, (5,))}
    classes = ("mito_DNA", "ecs", "mito")
    found, valid = targets(truth, classes, voxel_nm=VOXEL, scale_nm=12.0, surface=surface)
    assert not valid[1].any()  # no crop knows it
    assert found.dtype == np.float32 and valid.any(axis=(1, 2, 3)).sum() == 2
    for channel, ids in ((0, (5,)), (2, (3, 4, 5))):
        distance = slow_distance(np.isin(labels, ids), VOXEL, most, surface)
        assert np.allclose(found[channel], np.tanh(distance / 12), atol=1e-5)
        wanted = slow_valid(distance.astype(np.float32), labels > 0, VOXEL, most, surface)
        assert np.array_equal(valid[channel], wanted)
        assert not valid[channel][labels == 0].any()


def test_what_is_drawn_thin_grows_and_stays_within_the_range(labels) -> None:
    plain, _ = targets({"ribosomes": Truth(labels, (3,))}, ("ribosomes",), voxel_nm=VOXEL,
                       scale_nm=50.0)  # fmt: skip
    thick, _ = targets({"ribosomes": Truth(labels, (3,), 8.0)}, ("ribosomes",), voxel_nm=VOXEL,
                       scale_nm=50.0)  # fmt: skip
    distance = np.arctanh(plain.astype(float)) * 50
    assert np.allclose(
        np.arctanh(thick.astype(float)) * 50, np.minimum(distance, 130) + 8, atol=0.02
    )


def test_microtubules_take_the_centrosome_and_are_valid_where_both_are() -> None:
    tube = np.full((4, 4, 12), 35, np.uint8)
    tube[1:3, 1:3, 1:3], tube[1:3, 1:3, 7:9] = 30, 31
    truths = {n: Truth(tube, i) for n, i in (("microtubules", (30, 36)), ("centrosome", (31,)))}
    one, _ = targets(truths, ("microtubules",), voxel_nm=VOXEL, scale_nm=50.0)
    both, valid = targets(truths, ("microtubules", "centrosome"), voxel_nm=VOXEL, scale_nm=50.0)
    assert np.array_equal(both[0], np.maximum(one[0], both[1])) and (both[0] > one[0]).any()
    assert (valid[0] <= valid[1]).all()


def test_distances_are_the_bytes_of_stored_labels() -> None:
    """What a network learns and what `land --labels` stores is one convention."""
    rng = np.random.default_rng(2)
    mask = rng.random((9, 10, 11)) < 0.2
    box = Box((0, 0, 0), (9, 10, 11))
    kept = distance_bytes(mask, box, box, (8.0, 8.0, 8.0), 50.0)
    ours = np.tanh(signed_distance(mask, (8.0,) * 3, 160.0) / 50)
    assert np.array_equal(np.rint(128 * ours + 127).clip(0, 255), kept)


def test_all_or_nothing_is_far_from_any_surface() -> None:
    for value in (True, False):
        found = signed_distance(np.full((3, 3, 3), value), VOXEL, 138.0)
        assert (found == (138 if value else -138)).all()
        # A crop with no surface in it says so only as far from its rim as 138 nm.
        wide = np.ones((40, 40, 40), bool)
        far = np.full(wide.shape, 138.0 if value else -138.0, np.float32)
        valid = valid_distance(far, to_unknown(wide, (10.0,) * 3, 138.0), (10.0,) * 3, 138.0)
        assert valid[20, 20, 20] and not valid[5, 20, 20] and valid[13:27, 20, 20].all()


def test_a_crop_that_is_annotated_in_full_needs_no_search() -> None:
    distance = np.random.default_rng(5).uniform(-40, 40, (5, 6, 7)).astype(np.float32)
    known = np.ones(distance.shape, bool)
    for surface in ("between", "voxel"):
        found = valid_distance(distance, to_unknown(known, VOXEL, 30.0), VOXEL, 30.0, surface)
        assert np.array_equal(found, slow_valid(distance, known, VOXEL, 30.0, surface))
        assert 0 < found.mean() < 1


def test_a_distance_to_what_is_not_annotated_itself_is_sure() -> None:
    """There the nearest voxel of the other side is the nearest unknown one: none is nearer."""
    known = np.random.default_rng(3).random((20, 20, 20)) < 0.99
    known[[0, -1]] = known[:, [0, -1]] = known[:, :, [0, -1]] = False
    for voxel in (VOXEL, (8.0, 8.0, 8.0), (3.36, 4.0, 5.24)):
        distance = signed_distance(known, voxel, 138.0)
        valid = valid_distance(distance, to_unknown(known, voxel, 138.0), voxel, 138.0)
        assert np.array_equal(valid, known)
        strict = valid_distance(distance, to_unknown(known, voxel, 138.0), voxel, 138.0, "voxel")
        assert not strict[~known].any()


def test_weights_balance_each_class_over_the_batch() -> None:
    rng = np.random.default_rng(7)
    classes = ("mito", "mito_membrane", "ecs", "golgi_membrane")
    target = rng.uniform(-1, 0.6, (2, 4, 5, 6, 7)).astype(np.float32)
    valid = rng.random(target.shape) < 0.7
    valid[:, 2] = False
    found = balance(target, valid, classes)
    slow = np.zeros_like(target)
    for c in range(4):
        of = 0 if c == 1 else c  # the membrane takes the weights of its organelle
        inside = total = 0
        for n, *at in np.argwhere(valid[:, of]):
            total += 1
            inside += target[n, of, *at] > 0
        p = min(max(inside / max(total, 1), 0.05), 0.95)
        for n, *at in np.argwhere(valid[:, c] & valid[:, of]):
            slow[n, c, *at] = 1 / (2 * p) if target[n, of, *at] > 0 else 1 / (2 * (1 - p))
    assert np.allclose(found, slow)
    assert not found[~valid].any() and found[valid].sum() > 0
    alone = balance(target[:, 1:2], valid[:, 1:2], ("mito_membrane",))
    assert alone.any()  # without its organelle it has weights of its own


def test_weights_have_bounds() -> None:
    target = np.full((1, 1, 4, 10, 10), -1, np.float32)
    target[0, 0, 0, 0, 0] = 1
    found = balance(target, np.ones(target.shape, bool), ("ecs",))
    assert found.max() == pytest.approx(10) and found.min() == pytest.approx(0.5 / 0.95)

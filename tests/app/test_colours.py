"""Colours of objects: from the id, apart where objects are near, for all kinds of eyes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fibstream.app.colours import (
    APART,
    MAX_APART,
    NEAREST,
    PALETTE,
    SIZE,
    Colouring,
    colours,
    css,
    distances,
    places,
    seen,
)

IDS = st.lists(st.integers(1, 2**64 - 1), min_size=1, max_size=20)
LITTLE = 0.02  # in OKLAB: what is just noticed


@given(IDS)
def test_a_colour_of_an_unknown_object_follows_from_the_id_alone(ids) -> None:
    alone = [colours(np.array([n], np.uint64))[0].tolist() for n in ids]
    assert colours(np.array(ids, np.uint64)).tolist() == alone
    assert css(colours(np.array(ids, np.uint64))[0]) == "#" + bytes(alone[0]).hex()


def test_eyes_are_those_that_confuse_red_and_green() -> None:
    """Known pairs: red and green of one lightness are near without green cones, alone there."""
    pair = np.array([(214, 90, 60), (150, 128, 54)], np.uint8)
    normal, deutan, protan = np.linalg.norm(np.diff(seen(pair), axis=1)[:, 0], axis=-1)
    assert normal > 2 * deutan
    dark = np.array([(255, 0, 0), (0, 0, 0)], np.uint8)  # red is dark without red cones
    all_cones, _, protan = np.linalg.norm(np.diff(seen(dark), axis=1)[:, 0], axis=-1)
    assert protan < 0.75 * all_cones
    grey = np.array([(90, 90, 90), (200, 200, 200)], np.uint8)
    assert np.ptp(np.linalg.norm(np.diff(seen(grey), axis=1)[:, 0], axis=-1)) < 0.01


def test_oklab_is_that_of_its_author() -> None:
    known = np.array([(255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)], np.uint8)
    wanted = [(1, 0, 0), (0.628, 0.225, 0.126), (0.866, -0.234, 0.179), (0.452, -0.032, -0.312)]
    assert np.abs(seen(known)[0] - wanted).max() < 0.001


def test_the_palette_has_chroma_and_spreads_over_all_hues() -> None:
    lab = seen(PALETTE)[0]
    assert np.linalg.norm(lab[:, 1:], axis=1).min() > 3 * LITTLE  # none is taken for raw
    turns = np.sort(np.arctan2(lab[:, 2], lab[:, 1]) / (2 * np.pi) % 1)
    for first in range(0, SIZE, 8):  # any run of the golden ratio is spread
        run = np.arctan2(lab[first : first + 8, 2], lab[first : first + 8, 1]) / (2 * np.pi) % 1
        gaps = np.diff(np.sort(run), append=np.sort(run)[0] + 1)
        assert gaps.max() < 0.3
    assert np.diff(turns, append=turns[0] + 1).max() < 0.06


@st.composite
def objects(draw):
    """Boxes of a size, thrown into a volume: some touch, some lie apart."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count, side = draw(st.integers(1, 120)), draw(st.sampled_from((20, 100, 2000)))
    low = rng.integers(0, side, (count, 3))
    high = low + rng.integers(0, 30, (count, 3))
    ids = rng.choice(2**40, count, replace=False).astype(np.uint64) + np.uint64(1)
    return ids, low, high, tuple(rng.choice((4.0, 8.0, 20.0), 3))


def gaps(n, low, high, size):
    """Return how far object ``n`` is from each larger one."""
    away = np.maximum(low[:n] - high[n] - 1, low[n] - high[:n] - 1)
    return np.linalg.norm(np.maximum(away, 0) * np.array(size), axis=1)


@given(objects())
def test_neighbours_are_told_apart_by_all_eyes(made) -> None:
    """Of the nearest larger objects (of as many as touch, any), none looks alike."""
    ids, low, high, size = made
    lab = seen(PALETTE)
    far = np.min([np.linalg.norm(eye[:, None] - eye, axis=-1) for eye in lab], axis=0)
    assert np.array_equal(far, distances(PALETTE))
    chosen = Colouring(ids, low, high, size).places(ids)
    for n in range(1, len(ids)):
        away = gaps(n, low, high, size)
        nearest = away < np.sort(away)[min(NEAREST, len(away)) - 1] if n > NEAREST else away >= 0
        if nearest.any():
            assert far[chosen[n], chosen[:n][nearest]].min() > 0.9 * APART


@given(objects())
def test_an_object_has_the_colour_of_its_id_where_no_neighbour_is_like_it(made) -> None:
    ids, low, high, size = made
    far, own = distances(PALETTE), places(ids)
    chosen = Colouring(ids, low, high, size).places(ids)
    for n in range(len(ids)):
        if n == 0 or far[own[n], chosen[:n]].min() >= APART:
            assert chosen[n] == own[n]


@given(objects())
def test_an_object_keeps_its_colour_when_smaller_ones_are_added(made) -> None:
    ids, low, high, size = made
    whole = Colouring(ids, low, high, size)
    half = len(ids) // 2
    before = Colouring(ids[:half], low[:half], high[:half], size)
    assert np.array_equal(before(ids[:half]), whole(ids[:half]))
    assert np.array_equal(whole(ids), [PALETTE[p] for p in whole.places(ids)])


@given(objects())
def test_objects_alone_keep_the_colour_of_their_id(made) -> None:
    ids, low, high, size = made
    known = Colouring(ids[:1], low[:1], high[:1], size)
    assert np.array_equal(known(ids), colours(ids))
    assert np.array_equal(Colouring(ids[:0], low[:0], high[:0], size)(ids), colours(ids))


def test_of_very_many_objects_the_smallest_have_the_colour_of_their_id() -> None:
    count = MAX_APART + 50
    ids = np.arange(1, count + 1, dtype=np.uint64)
    low = np.zeros((count, 3), np.int64)
    found = Colouring(ids, low, low + 5, (8, 8, 8)).places(ids)
    assert np.array_equal(found[MAX_APART:], places(ids)[MAX_APART:])
    assert (found[:MAX_APART] != places(ids)[:MAX_APART]).any()

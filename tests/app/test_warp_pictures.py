"""Pictures of a deformation: what is drawn where, and in which colour."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fibstream.app.drawing import DARK, GAP, MARK, TITLE
from fibstream.app.registration import Overlay
from fibstream.app.warp_pictures import (
    BINS,
    BLUE_TO_RED,
    FAINT,
    RISING,
    TILES,
    UNKNOWN,
    WIDE,
    bin_counts,
    draw_checkerboard,
    draw_error,
    draw_residuals,
    draw_stretch,
    draw_valid,
    error_scale,
    magnification,
    stretch_scale,
)

VOXEL = (100.0, 100.0, 100.0)
SHAPE = (20, 80, 80)
PER_NM = WIDE / 8000.0


def cut(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """Return the pixels of a cut of a volume of SHAPE."""
    high = WIDE * SHAPE[0] // SHAPE[1]
    left, top = (GAP, GAP + TITLE) if name == "xy" else (2 * GAP + WIDE, GAP + TITLE)
    top += (high + TITLE + GAP) * (name == "yz")
    pixels = np.asarray(image)
    return pixels[top : top + (WIDE if name == "xy" else high), left : left + WIDE]


def coloured(pixels: NDArray[np.uint8], colour: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the places (n, 2), down and across, of the pixels of a colour."""
    return np.argwhere((pixels == colour).all(axis=-1)).astype(float)


def test_both_are_shown_where_it_is_supported_and_the_specimen_dim_elsewhere() -> None:
    both = Overlay(np.ones(SHAPE, np.float32), np.zeros(SHAPE, np.float32), VOXEL)
    both.specimen[:, :40] = 0
    both.light[:, 40:] = 1
    valid = np.zeros((7, 27, 27), np.bool_)  # places of three voxels, the last ones cut
    valid[:, :, 14:] = True
    pixels = cut(draw_valid(both, valid, (300.0, 300.0, 300.0)), "xy")
    edge = round(14 * 300 * PER_NM)
    assert (pixels[: WIDE // 2, edge:] == (0, 0, 0)).all()
    assert (pixels[WIDE // 2 : -30, edge:] == 255).all()  # the last rows have the scale bar
    grey = pixels[:-30, :edge]
    assert (grey == grey[..., :1]).all()
    assert 0 < grey[0, 0, 0] < grey[-1, 0, 0] < 160
    grown = cut(draw_valid(both, valid[:, :, :20], (300.0, 300.0, 300.0)), "xy")
    edge = round(20 * 300 * PER_NM)
    assert (grown[:-30, edge:] == grown[:-30, edge:, :1]).all() and (grown[0, edge:] > 0).all()


def test_tiles_are_of_the_two_volumes_by_turns() -> None:
    both = Overlay(np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.float32), VOXEL)
    both.light[:, :, 40:] = 1  # the specimen is dark, the light bright in the half of large x
    pixels = cut(draw_checkerboard(both), "xy")
    side = WIDE // TILES
    middles = pixels[side // 2 :: side, side // 2 :: side, 0]
    corners = pixels[side:-side:side, side : WIDE // 2 : side]
    assert (corners == FAINT).all()
    wanted = np.indices((TILES, TILES)).sum(axis=0) % 2 == 1
    wanted[:, : TILES // 2] = False
    wanted, middles = wanted[:-1], middles[:-1]  # the last row has the scale bar
    assert np.array_equal(middles == 255, wanted)


def test_an_arrow_leads_along_its_two_axes_from_its_point_in_every_cut() -> None:
    points, miss = np.array([[500.0, 2000.0, 5000.0]]), np.array([[10.0, 20.0, 40.0]])
    specimen = np.zeros(SHAPE, np.float32)
    times = magnification(SHAPE, VOXEL, np.array([np.sqrt(2100.0)]))
    image = draw_residuals(specimen, VOXEL, points, miss)
    colour = tuple(int(v) for v in error_scale(np.array([np.sqrt(2100.0)])).colours(
        np.array(np.sqrt(2100.0))))  # fmt: skip
    for name, axes in (("xy", (1, 2)), ("xz", (0, 2)), ("yz", (0, 1))):
        drawn = coloured(cut(image, name), colour)
        start = points[0][list(axes)] * PER_NM
        end = start + miss[0][list(axes)] * times * PER_NM
        assert len(drawn) > 5, name
        for place in (start, end):
            assert np.linalg.norm(drawn - place, axis=1).min() < 2, name
        assert (drawn >= np.minimum(start, end) - 4).all(), name
        assert (drawn <= np.maximum(start, end) + 4).all(), name


def test_arrows_of_all_cuts_have_the_scale_of_the_legend() -> None:
    points, miss = np.array([[1000.0, 4000.0, 1000.0]]), np.array([[40.0, 0.0, 0.0]])
    length = np.array([40.0])
    times = magnification((20, 80, 40), VOXEL, length)
    image = draw_residuals(np.zeros((20, 80, 40), np.float32), VOXEL, points, miss)
    colour = tuple(int(v) for v in error_scale(length).colours(length)[0])
    pixels = np.asarray(image)[GAP + TITLE : GAP + TITLE + 2000 * WIDE // 8000, 2 * GAP + WIDE :]
    drawn = coloured(pixels, colour)  # along z in the cut xz, whose edges are half as long
    start = points[0][[0, 2]] * PER_NM
    end = start + np.array([40.0 * times * PER_NM, 0.0])
    for place in (start, end):
        assert np.linalg.norm(drawn - place, axis=1).min() < 2
    assert (np.abs(drawn[:, 0]) <= end[0] + 4).all()


def test_a_patch_without_a_place_is_a_cross_and_no_arrow() -> None:
    points = np.array([[500.0, 2000.0, 5000.0]])
    image = draw_residuals(np.zeros(SHAPE, np.float32), VOXEL, points, np.full((1, 3), np.nan))
    for name, axes in (("xy", (1, 2)), ("xz", (0, 2)), ("yz", (0, 1))):
        drawn = coloured(cut(image, name), UNKNOWN)
        assert np.abs(drawn.mean(axis=0) - points[0][list(axes)] * PER_NM).max() < 1, name
        assert np.abs(drawn - points[0][list(axes)] * PER_NM).max() < 5, name


@pytest.mark.parametrize(("middle", "times"), [(1.0, 100), (130.0, 2), (140.0, 1), (5000.0, 1)])
def test_arrows_are_magnified_by_a_round_number_that_keeps_them_short(
    middle: float, times: int
) -> None:
    length = np.array([0.0, middle, np.nan, 1e6])
    assert magnification(SHAPE, VOXEL, length) == times
    assert magnification(SHAPE, VOXEL, np.full(3, np.nan)) == 100


def test_a_change_of_volume_is_blue_below_one_white_at_one_and_red_above() -> None:
    stretch = np.ones(SHAPE)
    stretch[:, :20], stretch[:, 20:40], stretch[:, 40:60] = 0.5, 2.0, -0.1
    stretch[:, :, 70:] = np.nan
    pixels = cut(draw_stretch(stretch, VOXEL), "xy")
    found = [tuple(int(v) for v in pixels[row, 300]) for row in (70, 220, 370, 520)]
    assert found == [BLUE_TO_RED[0], BLUE_TO_RED[-1], MARK, BLUE_TO_RED[2]]
    assert tuple(pixels[70, 560]) == UNKNOWN


def test_half_is_as_far_from_one_as_twice() -> None:
    scale = stretch_scale(np.array([0.8, 1.0, 1.9]))
    assert scale.ticks == (0.5, 1.0, 2.0)
    assert scale.place(np.array([0.5, 1.0, 2.0])) == pytest.approx([0.0, 0.5, 1.0])
    assert stretch_scale(np.array([0.55, 1.0])).ticks == (0.5, 1.0, 2.0)
    assert stretch_scale(np.array([1.3, 0.0, -3.0, np.nan])).ticks == (1 / 1.5, 1.0, 1.5)


def test_an_error_has_its_own_layer_and_the_dots_of_that_layer() -> None:
    error = np.full((4, 8, 8), 100.0)
    error[2, :, 4:] = 0.0
    error[2, 0, 0] = np.inf
    points = np.array([[2500.0, 2500.0, 6500.0], [500.0, 5500.0, 6500.0]])
    pixels = cut(draw_error(error, (1000.0, 1000.0, 1000.0), points), "xy")
    at = WIDE // 8
    assert tuple(pixels[at + 30, at]) == RISING[-1]
    assert tuple(pixels[at + 30, 5 * at]) == RISING[0]
    assert tuple(pixels[30, 30]) == UNKNOWN
    dots = coloured(pixels[:500], DARK)  # below it the scale bar has an outline
    assert np.abs(dots - np.array([2500.0, 6500.0]) * PER_NM).max() < 4  # the other lies elsewhere


def test_a_histogram_counts_what_is_known_and_keeps_what_lies_beyond_in_its_ends() -> None:
    values = np.concatenate([np.linspace(0, 99, 100), [5000.0, np.nan, np.inf]])
    scale = error_scale(values)
    assert scale.ticks == (0.0, 50.0, 100.0)
    counts = bin_counts(values, scale)
    assert len(counts) == BINS
    assert counts.sum() == 101
    assert counts[-1] == 1 + (values[:100] >= 100 * (BINS - 1) / BINS).sum()
    beyond = bin_counts(np.array([0.001, 40.0]), stretch_scale(np.ones(3)))
    assert (beyond[0], beyond[-1], beyond.sum()) == (1, 1, 2)


def test_nothing_known_is_drawn_without_a_warning() -> None:
    none = np.empty((0, 3))
    draw_residuals(np.zeros(SHAPE, np.float32), VOXEL, none, none)
    draw_error(np.full((2, 3, 3), np.inf), (1000.0, 1000.0, 1000.0), none)
    draw_stretch(np.full((2, 3, 3), np.nan), (1000.0, 1000.0, 1000.0))

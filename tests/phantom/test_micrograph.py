"""The image: greys, point spread, noise and defects, each against its formula."""

from functools import cache
from typing import Any

import numpy as np
import pytest

from fibstream.core.grid import Box
from fibstream.phantom import Look, Phantom, PhantomSpec
from fibstream.phantom import micrograph as image

SHAPE = (40, 150, 150)
CALM: dict[str, Any] = {"curtain": 0.0, "charging": 0.0, "drift": 0.0}


@cache
def shown(look: Look, organelles: tuple[str, ...] | None = None) -> np.ndarray:
    given: dict[str, Any] = {} if organelles is None else {"organelles": organelles}
    cell = Phantom(PhantomSpec(SHAPE, (10.0,) * 3, seed=5, look=look, **given))
    return cell.micrograph(cell.box()).astype(float)


@cache
def truth() -> np.ndarray:
    cell = Phantom(PhantomSpec(SHAPE, (10.0,) * 3, seed=5))
    return cell.labels(cell.box())


def test_membranes_are_dark_and_resin_is_bright() -> None:
    grey, ids = shown(Look()), truth()
    mean = {i: grey[ids == i].mean() for i in (1, 3, 4, 16, 35)}
    assert mean[3] < mean[35] - 30
    assert mean[4] < mean[35] - 20
    assert mean[16] < mean[35] - 15
    assert mean[1] > mean[35] + 20


def test_noise_grows_with_the_root_of_the_signal() -> None:
    still = Look(grain=0.0, cloud=0.0, shot=0.0, **CALM)
    loud = Look(grain=0.0, cloud=0.0, shot=10.0, **CALM)
    level, noise = shown(still), shown(loud) - shown(still)
    spreads = {}
    for grey in (95, 120, 160):
        here = np.abs(level - grey) < 6
        assert here.sum() > 300
        spreads[grey] = noise[here].std()
        assert abs(noise[here].mean()) < 0.5
        assert spreads[grey] == pytest.approx(10 * np.sqrt(grey / 205), rel=0.1)
    apart = np.corrcoef(noise[:, :, 1:].ravel(), noise[:, :, :-1].ravel())[0, 1]
    assert abs(apart) < 0.02  # shot noise comes after the point spread


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.3, 2.2])
def test_the_point_spread_is_a_gaussian_of_its_width(sigma: float) -> None:
    optics = image.optics(Look(blur_nm=(0.0, 0.0, 4.0 * sigma)), (4.0, 4.0, 4.0))
    taps = optics.taps_x
    assert taps.sum() == image.TAPS
    assert np.array_equal(taps, taps[::-1])
    at = np.arange(len(taps)) - len(taps) // 2
    assert (taps * at**2).sum() / taps.sum() == pytest.approx(sigma**2, rel=0.12, abs=0.05)


def test_blurring_is_a_convolution_of_whole_numbers() -> None:
    optics = image.optics(Look(blur_nm=(5.0, 3.0, 8.0)), (4.0, 4.0, 4.0))
    source = np.random.default_rng(1).integers(0, 4081, (14, 15, 22)).astype(np.int16)
    expected = source.astype(np.int64)
    for axis, taps in ((2, optics.taps_x), (1, optics.taps_y), (0, optics.taps_z)):
        sums = np.apply_along_axis(np.convolve, axis, expected, taps, mode="valid")
        expected = (sums + 128) >> 8
    got = image.blurred(source, optics.taps_z, optics.taps_y, optics.taps_x)
    assert np.array_equal(got, expected)


def test_a_missing_slice_reads_zero_and_the_others_stay() -> None:
    whole, lost = shown(Look()), shown(Look(missing=(7, 20)))
    assert (lost[[7, 20]] == 0).all()
    rest = np.delete(np.arange(SHAPE[0]), [7, 20])
    assert np.array_equal(whole[rest], lost[rest])


def test_slices_are_displaced_by_what_is_told() -> None:
    still = Look(shot=0.0, grain=0.0, cloud=0.0, **CALM)
    shaken = Look(shot=0.0, grain=0.0, cloud=0.0, jitter=3.0, **CALM)
    cell = Phantom(PhantomSpec(SHAPE, (10.0,) * 3, seed=5, look=shaken))
    moves = [cell.shift_of(z) for z in range(SHAPE[0])]
    assert np.abs(moves).max() <= 3.0
    assert np.abs(moves).max() > 2.0
    y, x = np.mgrid[8 : SHAPE[1] - 8, 8 : SHAPE[2] - 8]
    for z in (3, 18, 31):
        dy, dx = moves[z]
        sample = shown(still)[z]
        iy, ix = np.floor(y + dy).astype(int), np.floor(x + dx).astype(int)
        fy, fx = dy - np.floor(dy), dx - np.floor(dx)
        low = (1 - fx) * sample[iy, ix] + fx * sample[iy, ix + 1]
        high = (1 - fx) * sample[iy + 1, ix] + fx * sample[iy + 1, ix + 1]
        assert np.abs((1 - fy) * low + fy * high - shown(shaken)[z][8:-8, 8:-8]).max() < 2.5


@pytest.mark.parametrize(
    ("name", "axes"), [("curtain", (1,)), ("charging", (2,)), ("drift", (1, 2))]
)
def test_a_defect_changes_only_along_its_own_axes(name: str, axes: tuple[int, ...]) -> None:
    quiet: dict[str, Any] = {"grain": 0.0, "cloud": 0.0, "shot": 0.0, **CALM}
    resin = ()  # nothing but membrane, cytosol and resin
    added = shown(Look(**{**quiet, name: 8.0}), resin) - shown(Look(**quiet), resin)
    assert added.std() > 0.5
    assert np.abs(added - added.mean(axis=axes, keepdims=True)).max() <= (
        1 if name != "drift" else 6
    )


def test_box_of_one_voxel() -> None:
    cell = Phantom(PhantomSpec(SHAPE, (10.0,) * 3, seed=5))
    box = Box((39, 149, 0), (40, 150, 1))
    assert cell.micrograph(box)[0, 0, 0] == cell.micrograph(cell.box())[39, 149, 0]
